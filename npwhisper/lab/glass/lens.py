"""Where in the network a token comes from: the logit lens, and what each part adds to a difference of logits.

*The lens*: the residual stream after each block, through the final norm and the embedding, as if the network ended
there (nostalgebraist 2020, "interpreting GPT: the logit lens").

*The parts*: the last norm divides by one standard deviation and is otherwise linear, so a difference of two logits is a
sum, with one term for the embedding and for every self-attention, cross-attention and mlp (Elhage et al. 2021, "A
Mathematical Framework for Transformer Circuits").
"""

from __future__ import annotations

from typing import Any

import numpy as np

from npwhisper.lab.glass.steps import largest
from npwhisper.model import Network
from npwhisper.tracing.seam import Array

ROWS = 32  # whose logits are in memory at once
BEST = 5


def logit_lens(model: Network, parts: Array, embeddings: Array, chosen: Array) -> dict[str, Array]:
    """The five likeliest tokens after the embedding and after each block, and how likely the chosen one is there.

    parts (N, 1 + 3 L, D), chosen (N,) -> ``ids`` and ``probs`` (N, 1 + L, 5), ``chosen`` and ``rank`` (N, 1 + L)
    """
    stream = np.cumsum(parts, axis=1)[:, ::3]
    n, depth, width = stream.shape
    rows = _final_norm(model, stream.reshape(-1, width))
    wanted = np.repeat(chosen, depth)
    found = [_best(rows[i : i + ROWS] @ embeddings.T, wanted[i : i + ROWS]) for i in range(0, len(rows), ROWS)]
    joined = [np.concatenate([f[k] for f in found]).reshape(n, depth, *found[0][k].shape[1:]) for k in range(4)]
    return dict(zip(("ids", "probs", "chosen", "rank"), joined, strict=True))


def _best(logits: Array, chosen: Array) -> tuple[Array, Array, Array, Array]:
    """(N, V), (N,) -> ids (N, 5), probabilities (N, 5), those of the chosen (N,), their ranks (N,), 0 the best."""
    top = np.stack([largest(row, BEST) for row in logits])
    values = np.take_along_axis(logits, top, axis=1)
    order = np.argsort(-values, axis=1)
    top, values = np.take_along_axis(top, order, axis=1), np.take_along_axis(values, order, axis=1)
    best = values[:, :1]
    logits -= best
    wanted = logits[np.arange(len(chosen)), chosen]
    rank = (logits > wanted[:, None]).sum(axis=1)
    total = np.exp(logits, out=logits).sum(axis=1, keepdims=True)
    probs, own = np.exp(values - best) / total, np.exp(wanted) / total[:, 0]
    return top.astype(np.int32), probs.astype(np.float32), own.astype(np.float32), rank.astype(np.int32)


def _final_norm(model: Network, x: Array) -> Array:
    """The decoder's last norm, whatever layers are swapped: (N, D) -> (N, D)."""
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
