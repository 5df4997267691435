"""Attention: every position looks at others and gathers what it finds (Vaswani et al. 2017, section 3.2).

`attend` is the formula, for queries, keys and values in heads; `self_attention` and `cross_attention` project them.
"""

from __future__ import annotations

import numpy as np

from npwhisper.compute.blocks import by_heads
from npwhisper.compute.parts import by_windows
from npwhisper.compute.products import matmul
from npwhisper.model.cache import KeyValues
from npwhisper.model.layers import linear, softmax
from npwhisper.tracing.seam import Array, Weights, layer


@layer
def split_heads(x: Array, n_head: int) -> Array:
    """Cut the features into heads and put the heads before the positions.

    (B, T, D) -> (B, H, T, K)

    >>> split_heads(np.zeros((2, 5, 12), np.float32), n_head=3).shape
    (2, 3, 5, 4)
    """
    batch, length, width = x.shape
    return x.reshape(batch, length, n_head, width // n_head).transpose(0, 2, 1, 3)


@layer
def merge_heads(x: Array) -> Array:
    """The inverse of `split_heads`.

    (B, H, T, K) -> (B, T, D)

    >>> merge_heads(np.zeros((2, 3, 5, 4), np.float32)).shape
    (2, 5, 12)
    """
    batch, n_head, length, width = x.shape
    return x.transpose(0, 2, 1, 3).reshape(batch, length, n_head * width)


@layer
def causal_mask(n_query: int, n_key: int) -> Array | None:
    """What to add to the scores so that none of the last `n_query` of `n_key` positions sees a later one.

    -> (n_query, n_key), or None for a single query, which may see everything

    >>> causal_mask(2, 3)
    array([[  0.,   0., -inf],
           [  0.,   0.,   0.]], dtype=float32)
    """
    if n_query == 1:
        return None
    return np.triu(np.full((n_query, n_key), -np.inf, dtype=np.float32), k=1 + n_key - n_query)


@layer
def scores(q: Array, k: Array) -> Array:
    """How well every query matches every key: their inner products, scaled by 1 / sqrt(K).

    (B, H, T, K), (B, H, S, K) -> (B, H, T, S)

    >>> scores(np.ones((1, 1, 2, 4), np.float32), np.ones((1, 1, 3, 4), np.float32))
    array([[[[2., 2., 2.],
             [2., 2., 2.]]]], dtype=float32)
    """
    return matmul(q * q.shape[-1] ** -0.5, k.swapaxes(-1, -2))


@layer
@by_heads
def attend(q: Array, k: Array, v: Array, mask: Array | None = None) -> Array:
    """Average the values, each query weighting them by the softmax of its scores (Vaswani et al. 2017, section 3.2.1).

    (B, H, T, K), (B, H, S, K), (B, H, S, K), (T, S) -> (B, H, T, K)

    >>> q, k, v = (np.ones((1, 2, n, 4), np.float32) for n in (3, 5, 5))
    >>> attend(q, k, v).shape
    (1, 2, 3, 4)
    """
    z = scores(q, k)
    return matmul(softmax(z if mask is None else z + mask), v)


@layer
def self_attention(x: Array, w: Weights, n_head: int, cache: KeyValues | None = None) -> Array:
    """Let positions attend to each other: to all in the encoder, to no later one in the decoder, which has a cache.

    (B, T, D) -> (B, T, D)
    """
    q, k, v = (split_heads(linear(x, w[name]), n_head) for name in ("query", "key", "value"))
    y = attend(q, k, v) if cache is None else _attend_to_text(q, k, v, cache)
    return linear(merge_heads(y), w["out"])


@by_windows
def _attend_to_text(q: Array, k: Array, v: Array, cache: KeyValues) -> Array:
    """Attend to what is in the cache and to the new positions, each to none after it: (B, H, T, K) -> (B, H, T, K)."""
    k, v = cache.append(k, v)
    return attend(q, k, v, causal_mask(q.shape[2], k.shape[2]))


@layer
def cross_attention(x: Array, w: Weights, n_head: int, audio: tuple[Array, Array]) -> Array:
    """Let text positions attend to the audio, whose keys and values were computed once by `start_cache`.

    (B, T, D), audio keys and values (A, H, S, K) of A windows, each shared by B / A rows -> (B, T, D)
    """
    return linear(_attend_to_audio(linear(x, w["query"]), audio, n_head=n_head), w["out"])


@by_windows
def _attend_to_audio(q: Array, audio: tuple[Array, Array], n_head: int) -> Array:
    """Attend to the audio; the rows of a window are further queries to it: (B, T, D) -> (B, T, D)."""
    k, v = audio
    y = attend(split_heads(q.reshape(len(k), -1, q.shape[-1]), n_head), k, v)
    return merge_heads(y).reshape(q.shape)
