"""Where in the network a prediction forms: the logit lens, and what each part adds to a difference of logits.

*Logit lens*: apply the final norm and the embedding to the residual stream after each block, as if the network ended
there (nostalgebraist 2020, "interpreting GPT: the logit lens").

*Attribution*: the final norm is linear except for its division by the standard deviation, so a difference of two logits
is a sum with one term for the embedding and for each self-attention, cross-attention and mlp (Elhage et al. 2021, "A
Mathematical Framework for Transformer Circuits").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from npwhisper.lab.glass.steps import PIECE, Candidates
from npwhisper.model import Network
from npwhisper.tracing.seam import Array

ROWS = 128  # per product: with fewer, BLAS spends more of the time packing the embedding
BEST = 5
KEPT = {"ids": np.int32, "probs": np.float32, "chosen": np.float32, "rank": np.int32}


def logit_lens(
    model: Network, parts: Array, embeddings: Array, chosen: Array, ends: Sequence[Candidates]
) -> dict[str, Array]:
    """The five most probable tokens after the embedding and each block, and the probability of the chosen one.

    After the last block they are the network's own predictions, from the candidates at the `ends` of the steps.

    parts (N, 1 + 3 L, D), chosen (N,) -> ``lens/ids``, ``/probs`` (N, 1 + L, 5), ``/chosen`` and ``/rank`` (N, 1 + L)
    """
    stream = np.cumsum(parts[:, :-3], axis=1)[:, ::3]
    n, depth, width = stream.shape
    inside = _predictions(_final_norm(model, stream.reshape(-1, width)), embeddings, np.repeat(chosen, depth))
    last = [_own_predictions(found, int(token)) for found, token in zip(ends, chosen, strict=True)]
    shown = {}
    for k, (name, dtype) in enumerate(KEPT.items()):
        end = np.stack([np.asarray(values[k]) for values in last])[:, None]
        shown[f"lens/{name}"] = np.concatenate([inside[k].reshape(n, depth, *end.shape[2:]), end], axis=1).astype(dtype)
    return shown


def _own_predictions(found: Candidates, token: int) -> tuple[Array, ...]:
    """The network's own predictions before the rules: the same four values."""
    best = np.argsort(-found.logprobs[0], kind="stable")[:BEST]
    own = int(np.flatnonzero(found.ids == token)[0])
    return found.ids[best], np.exp(found.logprobs[0, best]), np.exp(found.logprobs[0, own]), found.ranks[own]


def _predictions(rows: Array, embeddings: Array, chosen: Array) -> list[Array]:
    """The four values for rows of the normalised stream, computed in batches of rows."""
    logits, found = np.empty((ROWS, len(embeddings)), rows.dtype), []
    for i in range(0, len(rows), ROWS):
        part = rows[i : i + ROWS]
        product = np.matmul(part, embeddings.T, out=logits[: len(part)])
        found.append(_best(product, chosen[i : i + ROWS]))
    return [np.concatenate(values) for values in zip(*found, strict=True)]


def _best(logits: Array, chosen: Array) -> tuple[Array, Array, Array, Array]:
    """(N, V), (N,) -> ids (N, 5), probabilities (N, 5), those of the chosen (N,), their ranks (N,), 0 the best.

    The logits are overwritten.
    """
    top, values = _largest(logits)
    wanted = logits[np.arange(len(chosen)), chosen]
    rank = np.count_nonzero(logits > wanted[:, None], axis=1)
    best = values[:, :1]
    total = np.exp(np.subtract(logits, best, out=logits), out=logits).sum(axis=1, keepdims=True)
    probs, own = np.exp(values - best) / total, np.exp(wanted - best[:, 0]) / total[:, 0]
    return top, probs, own, rank


def _largest(logits: Array) -> tuple[Array, Array]:
    """Indices and values of the five largest numbers of each row, largest first: (N, V) -> (N, 5) twice.

    They are in the five pieces with the largest maxima, or after the last whole piece.
    """
    n, vocab = logits.shape
    end = vocab - vocab % PIECE
    maxima = logits[:, :end].reshape(n, -1, PIECE).max(axis=2)
    pieces = np.argpartition(maxima, -BEST, axis=1)[:, -BEST:]
    ids = (PIECE * pieces[:, :, None] + np.arange(PIECE)).reshape(n, -1)
    ids = np.concatenate([ids, np.broadcast_to(np.arange(end, vocab), (n, vocab - end))], axis=1)
    values = np.take_along_axis(logits, ids, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")[:, :BEST]
    return np.take_along_axis(ids, order, axis=1), np.take_along_axis(values, order, axis=1)


def _final_norm(model: Network, x: Array) -> Array:
    """The decoder's final norm, even if layers are swapped: (N, D) -> (N, D)."""
    w: Any = model.scope["decoder"]["ln"]
    y = x - x.mean(axis=-1, keepdims=True)
    return y / np.sqrt((y * y).mean(axis=-1, keepdims=True) + 1e-5) * w["weight"] + w["bias"]


def contributions(model: Network, parts: Array, embeddings: Array, chosen: int, others: Array) -> Array:
    """What each part of one step adds to logit(chosen) - logit(other): parts (1 + 3 L, D) -> (N, 1 + 3 L + 1).

    The last column is the bias of the norm. Each row sums to the difference.
    """
    w: Any = model.scope["decoder"]["ln"]
    stream = parts.sum(axis=0)
    std = np.sqrt(np.square(stream - stream.mean()).mean() + 1e-5)
    direction = embeddings[chosen] - embeddings[others]
    centred = (parts - parts.mean(axis=1, keepdims=True)) / std
    terms = (direction * w["weight"]) @ centred.T
    return np.concatenate([terms, (direction @ w["bias"])[:, None]], axis=1).astype(np.float32)
