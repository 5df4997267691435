"""Mistakes in attention and its cache."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np

from npwhisper import model
from npwhisper.model import BlockCache, Cache, KeyValues, attend, linear, merge_heads, scores, softmax, split_heads
from npwhisper.tracing.seam import Array, Function, Weights


def _mask(n_query: int, n_key: int, k: int) -> Array:
    return np.triu(np.full((n_query, n_key), -np.inf, dtype=np.float32), k=k)


def _scores_times(factor: Callable[[Array], float]) -> Function:
    return lambda q, k: (q @ k.swapaxes(-1, -2)) * factor(q)


def _attend_without_softmax(q: Array, k: Array, v: Array, mask: Array | None = None) -> Array:
    y: Array = scores(q, k) @ v
    return y


def _mask_after_softmax(q: Array, k: Array, v: Array, mask: Array | None = None) -> Array:
    weights = softmax(scores(q, k))
    y: Array = (weights if mask is None else np.where(mask == 0, weights, 0.0).astype(np.float32)) @ v
    return y


def _attention(
    x: Array, w: Weights, n_head: int, cache: KeyValues | None = None, names: str = "query key value", out: bool = True
) -> Array:
    """A self-attention in which everything can be wrong."""
    q, k, v = (split_heads(linear(x, w[name]), n_head) for name in names.split())
    mask = None
    if cache is not None:
        k, v = cache.append(k, v)
        mask = model.causal_mask(q.shape[2], k.shape[2])
    y = merge_heads(attend(q, k, v, mask))
    return linear(y, w["out"]) if out else y


def _attention_without_mask(x: Array, w: Weights, n_head: int, cache: KeyValues | None = None) -> Array:
    q, k, v = (split_heads(linear(x, w[name]), n_head) for name in ("query", "key", "value"))
    if cache is not None:
        k, v = cache.append(k, v)
    return linear(merge_heads(attend(q, k, v)), w["out"])


def _attention_without_cache(x: Array, w: Weights, n_head: int, cache: KeyValues | None = None) -> Array:
    q, k, v = (split_heads(linear(x, w[name]), n_head) for name in ("query", "key", "value"))
    mask = None if cache is None else model.causal_mask(q.shape[2], k.shape[2])
    return linear(merge_heads(attend(q, k, v, mask)), w["out"])


def _heads_not_transposed(x: Array, w: Weights, n_head: int, cache: KeyValues | None = None) -> Array:
    q, k, v = (split_heads(linear(x, w[name]), n_head) for name in ("query", "key", "value"))
    mask = None
    if cache is not None:
        k, v = cache.append(k, v)
        mask = model.causal_mask(q.shape[2], k.shape[2])
    return linear(attend(q, k, v, mask).reshape(x.shape), w["out"])


def _text_added_to_audio(x: Array, w: Weights, n_head: int, audio: tuple[Array, Array]) -> Array:
    """Cross-attention whose keys and values grow with the text, as in self-attention."""
    grown = [split_heads(linear(x, w[name]), n_head) for name in ("key", "value")]
    rows = np.repeat(np.arange(len(audio[0])), len(x) // len(audio[0]))
    k, v = (np.concatenate([old[rows], new], axis=2) for old, new in zip(audio, grown, strict=True))
    return linear(merge_heads(attend(split_heads(linear(x, w["query"]), n_head), k, v)), w["out"])


def _shared(x: Array, audio: tuple[Array, Array]) -> tuple[Array, Array]:
    """The audio's keys and values, repeated for every row."""
    k, v = (np.repeat(part, len(x) // len(part), axis=0) for part in audio)
    return k, v


def _of_the_text(x: Array, w: Weights, n_head: int, audio: tuple[Array, Array]) -> Array:
    """Cross-attention that attends to the text, as self-attention does."""
    return model.self_attention(x, w, n_head)


def _projected_again(x: Array, w: Weights, n_head: int, audio: tuple[Array, Array]) -> Array:
    """Cross-attention that mistakes the audio's keys and values for its features."""
    k, v = (
        split_heads(linear(merge_heads(part), w[name]), n_head)
        for name, part in zip(("key", "value"), audio, strict=True)
    )
    return model.cross_attention(x, w, n_head, (k, v))


def _with_a_mask(from_the_end: bool) -> Function:
    """Cross-attention with a causal mask."""

    def cross_attention(x: Array, w: Weights, n_head: int, audio: tuple[Array, Array]) -> Array:
        q, (k, v) = split_heads(linear(x, w["query"]), n_head), _shared(x, audio)
        first = 1 + k.shape[2] - q.shape[2] if from_the_end else 1
        return linear(merge_heads(attend(q, k, v, _mask(q.shape[2], k.shape[2], first))), w["out"])

    return cross_attention


def _first_windows_audio(x: Array, w: Weights, n_head: int, audio: tuple[Array, Array]) -> Array:
    return model.cross_attention(x, w, n_head, (audio[0][:1], audio[1][:1]))


def _beams_in_turn(x: Array, w: Weights, n_head: int, audio: tuple[Array, Array]) -> Array:
    rows = np.arange(len(x)) % len(audio[0])
    return model.cross_attention(x, w, n_head, (audio[0][rows], audio[1][rows]))


def _only_the_new(cache: KeyValues, k: Array, v: Array) -> tuple[Array, Array]:
    cache.append(k, v)
    return k, v


def _whole_room(cache: KeyValues, k: Array, v: Array) -> tuple[Array, Array]:
    cache.append(k, v)
    return cache.k, cache.v


def _reorder_one(cache: KeyValues, parents: Array) -> None:
    cache.k = cache.k[parents]


def _reorder_back(cache: KeyValues, parents: Array) -> None:
    if len(parents) == len(cache.k):
        cache.k[parents], cache.v[parents] = cache.k.copy(), cache.v.copy()


def _keys_and_values_exchanged(features: Array, w: Weights, n_head: int, capacity: int) -> Cache:
    blocks = model.start_cache(features, w, n_head, capacity).blocks
    return Cache(tuple(BlockCache(block.text, block.audio[::-1]) for block in blocks))


MISTAKES: dict[str, dict[str, Function]] = {
    "split_heads": {
        "heads and positions must be swapped: transpose after the reshape": lambda x, n: x.reshape(
            x.shape[0], n, x.shape[1], -1
        ),
        "heads come before positions": lambda x, n: x.reshape(*x.shape[:2], n, -1),
        "a head is a run of consecutive features, not every H-th": lambda x, n: x.reshape(
            *x.shape[:2], -1, n
        ).transpose(0, 3, 1, 2),
    },
    "merge_heads": {
        "heads and positions must be swapped: transpose before the reshape": lambda x: x.reshape(
            x.shape[0], x.shape[2], -1
        ),
        "a head is a run of consecutive features, not every H-th": lambda x: x.transpose(0, 2, 3, 1).reshape(
            x.shape[0], x.shape[2], -1
        ),
    },
    "causal_mask": {
        "off by one: a position may see itself": lambda q, k: _mask(q, k, k - q),
        "off by one: a position may not see the next one": lambda q, k: _mask(q, k, 2 + k - q),
        "the queries are the last positions, not the first: the cached ones come before": lambda q, k: _mask(q, k, 1),
        "upside down: later positions must be hidden, not earlier ones": lambda q, k: _mask(k, k, 1).T[k - q :],
        "the mask is missing": lambda q, k: None,
        "hidden positions get -inf, not 0 or 1: the mask is added to the scores": lambda q, k: np.where(
            np.isinf(_mask(q, k, 1 + k - q)), 0.0, 1.0
        ),
        "0 * -inf is NaN: fill an array with -inf and keep its upper triangle, or use np.where": lambda q, k: (
            np.triu(np.ones((q, k), np.float32), 1 + k - q) * np.float32(-np.inf)
        ),
    },
    "scores": {
        "the scale 1 / sqrt(K) is missing": _scores_times(lambda q: 1.0),
        "divided by K instead of its square root": _scores_times(lambda q: 1 / q.shape[-1]),
        "multiplied by sqrt(K): the scores are divided by it": _scores_times(lambda q: math.sqrt(q.shape[-1])),
        "the scale is only K ** -0.25: apply that to both queries and keys, or K ** -0.5 to one of them": _scores_times(
            lambda q: q.shape[-1] ** -0.25
        ),
        "the scale uses the number of positions: K is the width of a head": _scores_times(
            lambda q: q.shape[-2] ** -0.5
        ),
        "rows are keys: each query has a row": lambda q, k: scores(k, q),
    },
    "attend": {
        "there is no softmax": _attend_without_softmax,
        "the mask is ignored": lambda q, k, v, mask=None: attend(q, k, v),
        "the mask is applied after the softmax, so rows no longer sum to 1: add it before": _mask_after_softmax,
        "the scores are multiplied by the mask: add it": lambda q, k, v, mask=None: (
            softmax(scores(q, k) if mask is None else scores(q, k) * mask) @ v
        ),
        "the mask is subtracted: add it": lambda q, k, v, mask=None: attend(q, k, v, None if mask is None else -mask),
        "keys and values are swapped": lambda q, k, v, mask=None: attend(q, v, k, mask),
    },
    "self_attention": {
        "the output projection is missing": functools.partial(_attention, out=False),
        "keys and values are swapped": functools.partial(_attention, names="query value key"),
        "queries and keys are swapped": functools.partial(_attention, names="key query value"),
        "later positions are not hidden: add causal_mask when there is a cache": _attention_without_mask,
        "the cache is not used: keys and values of earlier positions are missing": _attention_without_cache,
        "heads are merged without being swapped with the positions": _heads_not_transposed,
    },
    "cross_attention": {
        "keys and values of the text are appended to those of the audio at each step: the audio's never change": (
            _text_added_to_audio
        ),
        "keys and values come from the text: use the given ones, of the audio": _of_the_text,
        "the given keys and values are projected again: they are ready to use, split into heads": _projected_again,
        "there is a causal mask: text may attend to all of the audio": _with_a_mask(from_the_end=True),
        "there is a causal mask over the first positions: text may attend to all of the audio": _with_a_mask(False),
        "every row attends to the first window": _first_windows_audio,
        "the beams of a window are consecutive rows: repeat each window, do not cycle through them": _beams_in_turn,
        "keys and values are swapped": lambda x, w, n, audio: model.cross_attention(x, w, n, audio[::-1]),
        "the output projection is missing": lambda x, w, n, audio: merge_heads(
            attend(split_heads(linear(x, w["query"]), n), *audio)
        ),
    },
    "append": {
        "only the newest positions are returned: keep the earlier ones, and continue from cache.length": _only_the_new,
        "the unused room is returned too: slice up to cache.length": _whole_room,
    },
    "reorder": {
        "the values are not reordered": _reorder_one,
        "row i continues row parents[i], not the other way round": _reorder_back,
        "nothing is reordered": lambda cache, parents: None,
    },
    "start_cache": {
        "keys and values are swapped": _keys_and_values_exchanged,
    },
}
