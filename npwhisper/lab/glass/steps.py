"""What is kept of a decode step: candidates before and after each rule, attention, terms of the residual stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from npwhisper.lab.glass.masks import Marks, Masked, masked
from npwhisper.lab.glass.packing import levels
from npwhisper.tracing.seam import Array

BEST = 20  # candidates kept before the rules, and after them
PIECE = 128  # of the vocabulary is searched by its maximum first


@dataclass
class Candidates:
    """The most probable tokens of one row, with their log-probabilities before the rules and after each.

    ``ids`` (N,); ``logprobs`` (1 + rules, N), -inf where a token is forbidden; ``ranks`` (N,), the number of more
    probable tokens before the rules; ``allowed`` (1 + rules,), the number of tokens that are not forbidden. ``masked``
    holds the numbers of the rules' worked examples.
    """

    ids: Array
    logprobs: Array
    ranks: Array
    allowed: Array
    masked: Masked


@dataclass
class Step:
    """One call of the decoder, with a row for each beam or sample.

    ``fed`` (B, T) are the tokens passed to the decoder, ``length`` is the number of positions then in the cache.
    Attention is that of the last position: ``cross`` (B, L, H, S) and ``own`` (B, L, H, length), quantised relative to
    the exact maximum of each row. ``parts`` (B, 1 + 3 L, D) sum to the residual stream: embedding, then self-attention,
    cross-attention and mlp of each block.
    """

    fed: Array
    length: int
    candidates: list[Candidates]
    cross: Array
    cross_max: Array
    cross_at: Array
    own: Array
    own_max: Array
    parts: Array

    @property
    def last(self) -> Array:
        """The last token of each row: (B,)."""
        return self.fed[:, -1]


def candidates(stages: Sequence[Array], related: Array, marks: Marks) -> Candidates:
    """The candidates of one row, from the logits (V,) before the rules and after each; `related` ids are kept too."""
    ids = np.unique(np.concatenate([largest(stages[0], BEST), largest(stages[-1], BEST), related]))
    known: dict[int, tuple[Array, int]] = {}
    rows = []
    for logits in stages:
        if id(logits) not in known:  # most rules change nothing at most steps, so stages share arrays
            total = _log_total(logits) if logits is not stages[-1] else np.float32(0)  # those are log-probabilities
            known[id(logits)] = ((logits[ids] - total).astype(np.float32), int(np.count_nonzero(logits > -np.inf)))
        rows.append(known[id(logits)])
    logprobs = np.stack([row for row, _ in rows])
    order = np.lexsort((ids, -logprobs[0], -logprobs[-1]))
    allowed = np.array([count for _, count in rows], np.int32)
    return Candidates(ids[order], logprobs[:, order], _ranks(stages[0], ids)[order], allowed, masked(stages, marks))


def _ranks(logits: Array, ids: Array) -> Array:
    """How many logits (V,) are larger than those of the `ids` (N,), which include the `BEST` largest: (N,).

    >>> _ranks(np.array([0.5, 2.0, 1.0]), np.array([1, 0, 2]))
    array([0, 2, 1], dtype=int32)
    """
    values = logits[ids]
    ranks = (values[:, None] < values).sum(axis=1, dtype=np.int32)
    for i in np.flatnonzero(ranks >= BEST):
        ranks[i] = np.count_nonzero(logits > values[i])
    return ranks


def _log_total(x: Array) -> np.float32:
    """Log-sum-exp; 0 if nothing is allowed."""
    top = x.max()
    return np.float32(0) if np.isneginf(top) else np.float32(top + np.log(np.exp(x - top).sum()))


def largest(x: Array, n: int) -> Array:
    """The indices of the `n` largest numbers of (V,), in any order.

    They are in the `n` pieces with the largest maxima, or after the last whole piece.
    """
    n, end = min(n, len(x)), len(x) - len(x) % PIECE
    if end < 4 * n * PIECE:
        return np.argpartition(x, len(x) - n)[len(x) - n :]
    pieces = largest(x[:end].reshape(-1, PIECE).max(axis=1), n)
    ids = np.concatenate([(PIECE * pieces[:, None] + np.arange(PIECE)).ravel(), np.arange(end, len(x))])
    return ids[np.argpartition(x[ids], len(ids) - n)[len(ids) - n :]]


def cross_attention(values: Mapping[str, Array], n_layers: int, rows: int) -> Array:
    """Each row's attention from the last position to the audio: -> (B, L, H, S)."""
    maps = [values[f"decoder.blocks.{i}.cross_attn.softmax"] for i in range(n_layers)]
    last = [m.transpose(0, 2, 1, 3).reshape(rows, -1, m.shape[1], m.shape[3])[:, -1] for m in maps]
    return np.stack(last, axis=1)


def self_attention(values: Mapping[str, Array], n_layers: int) -> Array:
    """Each row's attention from the last position to the text so far: -> (B, L, H, length)."""
    return np.stack([values[f"decoder.blocks.{i}.attn.softmax"][:, :, -1] for i in range(n_layers)], axis=1)


def residual_parts(values: Mapping[str, Array], n_layers: int, positions: Array) -> Array:
    """The terms of the residual stream at each row's last position, in order: -> (B, 1 + 3 L, D)."""
    parts = [values["decoder.token_embedding"][:, -1] + positions[values["length"].item() - 1]]
    for i in range(n_layers):
        parts += [values[f"decoder.blocks.{i}.{part}"][:, -1] for part in ("attn", "cross_attn", "mlp")]
    return np.stack(parts, axis=1)


def make_step(
    values: Mapping[str, Array], fed: Array, n_layers: int, positions: Array, found: list[Candidates]
) -> Step:
    """Reduce the values of one decoder call to what the page shows."""
    cross, own = cross_attention(values, n_layers, len(fed)), self_attention(values, n_layers)
    cross_max, own_max = cross.max(axis=-1), own.max(axis=-1)
    return Step(
        fed=fed,
        length=int(values["length"]),
        candidates=found,
        cross=levels(cross, cross_max[..., None]),
        cross_max=cross_max,
        cross_at=cross.argmax(axis=-1).astype(np.uint16),
        own=levels(own, own_max[..., None]),
        own_max=own_max,
        parts=residual_parts(values, n_layers, positions),
    )
