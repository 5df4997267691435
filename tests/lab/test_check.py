"""`check`: what is right passes however it is written, what is wrong is caught, and classic mistakes are named."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from npwhisper import model, timing
from npwhisper.decoding import rules, search
from npwhisper.lab.attempting import attempt
from npwhisper.lab.checking import CheckError, CheckResult, check, judge
from npwhisper.lab.exercises import EXERCISES, load_cases, solution
from npwhisper.lab.fresh import fresh_cases
from npwhisper.lab.mistakes import MISTAKES
from npwhisper.model import layers
from npwhisper.model.attention import merge_heads, scores, split_heads
from npwhisper.model.cache import KeyValues
from npwhisper.model.layers import gelu, layer_norm, linear, softmax
from npwhisper.tracing.seam import Array, Weights


@pytest.mark.parametrize("name", EXERCISES)
def test_the_packages_own_functions_pass(name: str) -> None:
    result = check(solution(name), name)
    assert result.passed, str(result)
    assert len(result.outcomes) == len(load_cases(name)) + len(fresh_cases(name, 0)) > 1


@pytest.mark.parametrize(
    ("name", "sentence"), [(name, sentence) for name, mistakes in MISTAKES.items() for sentence in mistakes]
)
def test_every_known_mistake_is_caught_and_named(name: str, sentence: str) -> None:
    result = check(MISTAKES[name][sentence], name)
    assert not result.passed
    assert sentence in result.mistakes


# Functions as students write them, wrong


def linear_transposed(x: Array, w: Weights) -> Array:
    return np.dot(x, w["weight"]) + w["bias"]


def linear_needs_bias(x: Array, w: Weights) -> Array:
    return np.dot(x, w["weight"].T) + w["bias"]


def linear_in_place(x: Array, w: Weights) -> Array:
    y = x @ w["weight"].T
    if "bias" in w:
        y += w["bias"]
        x *= 0
    return y


def layer_norm_unbiased(x: Array, w: Weights) -> Array:
    std = np.std(x, axis=-1, ddof=1, keepdims=True)
    return (x - x.mean(-1, keepdims=True)) / (std + 1e-8) * w["weight"] + w["bias"]


def layer_norm_eps_outside(x: Array, w: Weights) -> Array:
    return (x - x.mean(-1, keepdims=True)) / (x.std(-1, keepdims=True) + 1e-5) * w["weight"] + w["bias"]


def layer_norm_wrong_axis(x: Array, w: Weights) -> Array:
    return (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5) * w["weight"] + w["bias"]


def layer_norm_in_place(x: Array, w: Weights) -> Array:
    x -= x.mean(-1, keepdims=True)
    x /= np.sqrt(np.square(x).mean(-1, keepdims=True) + 1e-5)
    return x * w["weight"] + w["bias"]


def layer_norm_of_float64(x: Array, w: Weights) -> Array:
    x = x.astype(np.float64)
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * w["weight"] + w["bias"]


def gelu_tanh(x: Array) -> Array:
    return 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x * x * x)))


def gelu_of_new_array(x: Array) -> Array:
    return 0.5 * x * (1 + np.vectorize(math.erf, otypes=[np.float32])(x / math.sqrt(2))) * np.ones(7)


def gelu_without_root(x: Array) -> Array:
    return 0.5 * x * (1.0 + np.vectorize(math.erf, otypes=[np.float32])(x))


def softmax_first_axis(x: Array) -> Array:
    e = np.exp(x - x.max(axis=0))
    return e / e.sum(axis=0)


def softmax_overflowing(x: Array) -> Array:
    e = np.exp(x)
    return e / e.sum(axis=-1, keepdims=True)


def softmax_forgets_to_return(x: Array) -> None:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    _ = e / e.sum(axis=-1, keepdims=True)


def log_softmax_of_softmax(x: Array) -> Array:
    return np.log(softmax(x))


def sinusoids_interleaved(length: int, channels: int) -> Array:
    table = np.zeros((length, channels), np.float32)
    for i in range(channels // 2):
        angle = np.arange(length) / 10000 ** (2 * i / channels)
        table[:, 2 * i], table[:, 2 * i + 1] = np.sin(angle), np.cos(angle)
    return table


def scores_unscaled(q: Array, k: Array) -> Array:
    return np.einsum("bhtk,bhsk->bhts", q, k)


def scores_scaled_by_k(q: Array, k: Array) -> Array:
    return q @ k.transpose(0, 1, 3, 2) / q.shape[-1]


def attend_wrong_axis(q: Array, k: Array, v: Array, mask: Array | None = None) -> Array:
    w = scores(q, k) + (0 if mask is None else mask)
    w = np.exp(w - w.max(axis=-2, keepdims=True))
    return (w / w.sum(axis=-2, keepdims=True)) @ v


def attend_unscaled(q: Array, k: Array, v: Array, mask: Array | None = None) -> Array:
    w = q @ k.swapaxes(-1, -2)
    return softmax(w if mask is None else w + mask) @ v


def attend_always_masked(q: Array, k: Array, v: Array, mask: Array) -> Array:
    return softmax(scores(q, k) + mask) @ v


def causal_mask_off_by_one(n_query: int, n_key: int) -> Array:
    mask = np.zeros((n_query, n_key), np.float32)
    for i in range(n_query):
        mask[i, n_key - n_query + i :] = -np.inf
    return mask


def causal_mask_without_offset(n_query: int, n_key: int) -> Array:
    return np.triu(np.full((n_query, n_key), -np.inf, np.float32), 1)


def split_heads_by_reshape(x: Array, n_head: int) -> Array:
    batch, length, width = x.shape
    return x.reshape(batch, n_head, length, width // n_head)


def self_attention_unscaled(x: Array, w: Weights, n_head: int, cache: KeyValues | None = None) -> Array:
    q, k, v = (split_heads(linear(x, w[name]), n_head) for name in ("query", "key", "value"))
    weights = None
    if cache is not None:
        k, v = cache.append(k, v)
        weights = model.causal_mask(q.shape[2], k.shape[2])
    products = q @ k.swapaxes(-1, -2)
    return linear(merge_heads(softmax(products if weights is None else products + weights) @ v), w["out"])


def self_attention_maskless(x: Array, w: Weights, n_head: int, cache: KeyValues | None = None) -> Array:
    q, k, v = (split_heads(linear(x, w[name]), n_head) for name in ("query", "key", "value"))
    if cache is not None:
        k, v = cache.append(k, v)
    return linear(merge_heads(softmax(scores(q, k)) @ v), w["out"])


def cross_attention_cached_per_step(x: Array, w: Weights, n_head: int, audio: tuple[Array, Array]) -> Array:
    rows = np.repeat(np.arange(len(audio[0])), len(x) // len(audio[0]))
    k = np.concatenate([audio[0][rows], split_heads(linear(x, w["key"]), n_head)], axis=2)
    v = np.concatenate([audio[1][rows], split_heads(linear(x, w["value"]), n_head)], axis=2)
    return linear(merge_heads(softmax(scores(split_heads(linear(x, w["query"]), n_head), k)) @ v), w["out"])


def mlp_with_tanh_gelu(x: Array, w: Weights) -> Array:
    return linear(gelu_tanh(linear(x, w["0"])), w["2"])


def encoder_block_post_norm(x: Array, w: Weights, n_head: int) -> Array:
    x = layer_norm(x + model.self_attention(x, w["attn"], n_head), w["attn_ln"])
    return layer_norm(x + linear(gelu(linear(x, w["mlp"]["0"])), w["mlp"]["2"]), w["mlp_ln"])


def conv1d_flipped(x: Array, w: Weights, stride: int = 1) -> Array:
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1)))
    out = [[np.zeros(0)] * len(w["weight"]) for _ in x]
    for b, item in enumerate(padded):
        for o, kernel in enumerate(w["weight"]):
            total = sum(np.convolve(signal, k, "valid") for signal, k in zip(item, kernel, strict=True))
            out[b][o] = (total + w["bias"][o])[::stride]
    return np.array(out, np.float32)


def conv1d_without_stride(x: Array, w: Weights) -> Array:
    return layers.conv1d(x, w)


def stft_of_magnitude(samples: Array) -> Array:
    frames = np.stack([samples[i : i + 400] for i in range(0, len(samples) - 399, 160)])
    return np.abs(np.fft.rfft(frames * np.hanning(401)[:-1])).T.astype(np.float32)


def hann_symmetric() -> Array:
    return np.hanning(400).astype(np.float32)


def median_filter_zero_padded(x: Array, filter_width: int) -> Array:
    pad = [(0, 0)] * (x.ndim - 1) + [(filter_width // 2,) * 2]
    return np.median(np.lib.stride_tricks.sliding_window_view(np.pad(x, pad), filter_width, axis=-1), axis=-1)


def dtw_cost_without_diagonals(x: Array) -> Array:
    cost = np.cumsum(np.cumsum(x, axis=0), axis=1)
    for i in range(1, x.shape[0]):
        for j in range(1, x.shape[1]):
            cost[i, j] = x[i, j] + min(cost[i - 1, j], cost[i, j - 1])
    return cost


def suppress_tokens_in_place(logits: Array, sampled: Array, context: rules.RuleContext) -> Array:
    logits[:, context.suppressed] = -np.inf
    return logits


def beam_search_that_is_greedy(step: Any, tokens: Array, eot: int, max_tokens: int, beam_size: int) -> Any:
    return [row * beam_size for row in search.greedy_search(step, tokens, eot, max_tokens)]


seen: dict[int, Array] = {}


def scores_remembering(q: Array, k: Array) -> Array:
    seen[0] = scores(q, k) if len(seen) == 0 or seen[0].shape != (*q.shape[:3], k.shape[2]) else seen[0] + 1
    return seen[0]


def softmax_without_keepdims(x: Array) -> Array:
    e = np.exp(x - np.max(x, axis=-1, keepdims=True))
    return e / np.sum(e, axis=-1)


def layer_norm_without_keepdims(x: Array, w: Weights) -> Array:
    return (x - x.mean(-1)) / np.sqrt(x.var(-1) + 1e-5) * w["weight"] + w["bias"]


def causal_mask_of_nan(n_query: int, n_key: int) -> Array:
    return np.triu(np.ones((n_query, n_key), np.float32), k=1 + n_key - n_query) * -np.inf


def attend_multiplying_the_mask(q: Array, k: Array, v: Array, mask: Array | None = None) -> Array:
    s = q @ np.swapaxes(k, -1, -2) / np.float32(math.sqrt(q.shape[-1]))
    return softmax(s * mask if mask is not None else s) @ v


def _cross(q: Array, k: Array, v: Array, w: Weights, mask: Array | None = None) -> Array:
    s = np.einsum("bhtk,bhsk->bhts", q, k) / math.sqrt(q.shape[-1])
    y = softmax(s if mask is None else s + mask) @ v
    return linear(merge_heads(y), w["out"])


def cross_attention_of_x(x: Array, w: Weights, n_head: int, audio: tuple[Array, Array]) -> Array:
    return _cross(*(split_heads(linear(x, w[name]), n_head) for name in ("query", "key", "value")), w)


def cross_attention_projecting_again(x: Array, w: Weights, n_head: int, audio: tuple[Array, Array]) -> Array:
    n = len(x) // len(audio[0])
    k, v = (np.repeat(split_heads(linear(merge_heads(a), w[name]), n_head), n, 0)
            for a, name in zip(audio, ("key", "value"), strict=True))  # fmt: skip
    return _cross(split_heads(linear(x, w["query"]), n_head), k, v, w)


def cross_attention_with_a_mask(x: Array, w: Weights, n_head: int, audio: tuple[Array, Array]) -> Array:
    k, v = (np.repeat(a, len(x) // len(audio[0]), axis=0) for a in audio)
    mask = np.triu(np.full((x.shape[1], k.shape[2]), -np.inf, np.float32), 1)
    return _cross(split_heads(linear(x, w["query"]), n_head), k, v, w, mask)


def self_attention_with_wrong_heads(x: Array, w: Weights, n_head: int, cache: KeyValues | None = None) -> Array:
    def heads(y: Array) -> Array:
        return y.reshape(y.shape[0], n_head, y.shape[1], -1)

    q, k, v = (heads(linear(x, w[name])) for name in ("query", "key", "value"))
    mask = None
    if cache is not None:
        k, v = cache.append(k, v)
        mask = np.triu(np.full((q.shape[2], k.shape[2]), -np.inf, np.float32), 1 + k.shape[2] - q.shape[2])
    return _cross(q, k, v, w, mask)


def encoder_block_with_one_norm(x: Array, w: Weights, n_head: int) -> Array:
    x = x + model.self_attention(layer_norm(x, w["attn_ln"]), w["attn"], n_head)
    return x + model.mlp(layer_norm(x, w["attn_ln"]), w["mlp"])


def decoder_block_with_the_crossed_norm(x: Array, w: Weights, n_head: int, cache: Any) -> Array:
    x = x + model.self_attention(layer_norm(x, w["attn_ln"]), w["attn"], n_head, cache.text)
    x = x + model.cross_attention(layer_norm(x, w["cross_attn_ln"]), w["cross_attn"], n_head, cache.audio)
    return x + model.mlp(layer_norm(x, w["cross_attn_ln"]), w["mlp"])


def greedy_search_keeping_the_end(step: Any, tokens: Array, eot: int, max_tokens: int) -> Any:
    found = search.greedy_search(step, tokens, eot, max_tokens)
    return [[(t if len(t) == max_tokens else [*t, eot], total) for t, total in row] for row in found]


def sinusoids_twice(length: int, channels: int) -> Array:
    return 2 * layers.sinusoids(length, channels)


WRONG: list[tuple[Callable[..., Any], str]] = [
    (linear_transposed, "multiply by weight.T"),
    (linear_needs_bias, "key projections have no bias"),
    (linear_in_place, "in place"),
    (layer_norm_unbiased, "unbiased"),
    (layer_norm_eps_outside, "outside the square root"),
    (layer_norm_wrong_axis, "the wrong axis"),
    (layer_norm_in_place, "in place"),
    (layer_norm_of_float64, "float64 by default"),
    (gelu_tanh, "tanh approximation"),
    (gelu_of_new_array, "NumPy scalars"),
    (gelu_without_root, "divided by the square root of 2"),
    (softmax_first_axis, "over the batch"),
    (softmax_overflowing, "overflow"),
    (softmax_forgets_to_return, "a return is missing"),
    (log_softmax_of_softmax, "-inf"),
    (sinusoids_interleaved, "interleaved"),
    (scores_unscaled, r"1 / sqrt\(K\) is missing"),
    (scores_scaled_by_k, "instead of its square root"),
    (attend_wrong_axis, "in softmax: the sum is over the wrong axis"),
    (attend_unscaled, r"in scores: the scale 1 / sqrt\(K\) is missing"),
    (attend_always_masked, r"def attend\(q, k, v, mask=None\)"),
    (causal_mask_off_by_one, "off by one: a position may see itself"),
    (causal_mask_without_offset, "the cached ones come before"),
    (split_heads_by_reshape, "transpose after the reshape"),
    (self_attention_unscaled, r"in scores: the scale 1 / sqrt\(K\) is missing"),
    (self_attention_maskless, "later positions are not hidden"),
    (cross_attention_cached_per_step, "appended to those of the audio at each step"),
    (mlp_with_tanh_gelu, "in gelu: this is the tanh approximation"),
    (encoder_block_post_norm, "layer norm comes before"),
    (conv1d_flipped, "the kernel is flipped"),
    (conv1d_without_stride, r"def conv1d\(x, w, stride=1\)"),
    (stft_of_magnitude, "the power is its square"),
    (hann_symmetric, "symmetric"),
    (median_filter_zero_padded, "the ends are padded with zeros"),
    (dtw_cost_without_diagonals, "diagonal"),
    (suppress_tokens_in_place, "in place"),
    (beam_search_that_is_greedy, ""),
    (scores_remembering, "state is kept"),
    (softmax_without_keepdims, "keepdims=True is missing"),
    (layer_norm_without_keepdims, "keepdims=True is missing"),
    (causal_mask_of_nan, r"0 \* -inf is NaN"),
    (attend_multiplying_the_mask, "the scores are multiplied by the mask"),
    (cross_attention_of_x, "come from the text: use the given ones"),
    (cross_attention_projecting_again, "are projected again"),
    (cross_attention_with_a_mask, "there is a causal mask"),
    (self_attention_with_wrong_heads, "in split_heads: heads and positions must be swapped"),
    (encoder_block_with_one_norm, "is mlp_ln, not attn_ln"),
    (decoder_block_with_the_crossed_norm, "is mlp_ln, not cross_attn_ln"),
    (greedy_search_keeping_the_end, "eot is kept in the tokens"),
    (sinusoids_twice, "every value is 2 times what it should be"),  # where 0 is expected, 0 is right
]


def name_of(function: Callable[..., Any]) -> str:
    return function.__name__


def layer_of(function: Callable[..., Any]) -> str:
    return max((name for name in EXERCISES if function.__name__.startswith(name)), key=len)


@pytest.mark.parametrize(("function", "diagnosis"), WRONG, ids=[function.__name__ for function, _ in WRONG])
def test_wrong_functions_are_caught_with_the_right_diagnosis(function: Callable[..., Any], diagnosis: str) -> None:
    seen.clear()
    result = check(function, layer_of(function))
    assert not result.passed
    assert re.search(diagnosis, str(result)), str(result)
    assert bool(result.mistakes) == bool(diagnosis), str(result)


def test_there_are_enough_of_them() -> None:
    assert len(WRONG) >= 25
    assert sum(bool(diagnosis) for _, diagnosis in WRONG) >= 15


# Functions as students write them, right


def linear_by_einsum(x: Array, w: Weights) -> Array:
    return np.einsum("...i,oi->...o", x, w["weight"]) + w.get("bias", np.float32(0))


def linear_by_loops(x: Array, w: Weights) -> Array:
    y = np.zeros((*x.shape[:-1], len(w["weight"])), np.float32)
    for place in np.ndindex(*x.shape[:-1]):
        for o, row in enumerate(w["weight"]):
            y[(*place, o)] = sum(float(a) * float(b) for a, b in zip(x[place], row, strict=True))
            y[(*place, o)] += w["bias"][o] if "bias" in w else 0
    return y


def linear_in_fortran_order(x: Array, w: Weights) -> Array:
    return np.asfortranarray(linear(x, w))


def layer_norm_by_var(x: Array, w: Weights, eps: float = 1e-5) -> Array:
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps) * w["weight"] + w["bias"]


def layer_norm_by_loops(x: Array, w: Weights) -> Array:
    y = np.empty_like(x)
    for place in np.ndindex(*x.shape[:-1]):
        mean = sum(map(float, x[place])) / x.shape[-1]
        variance = sum((float(value) - mean) ** 2 for value in x[place]) / x.shape[-1]
        y[place] = (x[place] - mean) / math.sqrt(variance + 1e-5) * w["weight"] + w["bias"]
    return y


def gelu_by_erf(x: Array) -> Array:
    return 0.5 * x * (1.0 + np.vectorize(math.erf, otypes=[np.float32])(x / math.sqrt(2.0)))


def softmax_by_rows(x: Array) -> Array:
    rows = [np.exp(row - row.max()) for row in x.reshape(-1, x.shape[-1])]
    return np.stack([row / row.sum() for row in rows]).reshape(x.shape)


def conv1d_by_einsum(x: Array, w: Weights, stride: int = 1) -> Array:
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, 3, axis=2)[:, :, ::stride]
    return np.einsum("bifk,oik->bof", windows, w["weight"]) + w["bias"][:, None]


def conv1d_by_loops(x: Array, w: Weights, stride: int = 1) -> Array:
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1)))
    columns = [
        np.tensordot(padded[:, :, t : t + 3], w["weight"], axes=([1, 2], [1, 2])) + w["bias"]
        for t in range(0, x.shape[2], stride)
    ]
    return np.stack(columns, axis=2)


def attend_by_einsum(q: Array, k: Array, v: Array, mask: Array | None = None) -> Array:
    weights = np.einsum("bhtk,bhsk->bhts", q, k) / math.sqrt(q.shape[-1])
    return np.einsum("bhts,bhsk->bhtk", softmax(weights if mask is None else weights + mask), v)


def causal_mask_large_and_negative(n_query: int, n_key: int) -> Array:
    rows, columns = np.arange(n_query)[:, None] + n_key - n_query, np.arange(n_key)
    return np.where(columns > rows, -1e9, 0.0).astype(np.float32)


def self_attention_head_by_head(x: Array, w: Weights, n_head: int, cache: KeyValues | None = None) -> Array:
    q, k, v = (split_heads(linear(x, w[name]), n_head) for name in ("query", "key", "value"))
    if cache is not None:
        k, v = cache.append(k, v)
    mask = (
        np.zeros((1, 1), np.float32)
        if cache is None
        else np.triu(np.full((q.shape[2], k.shape[2]), -np.inf, np.float32), 1 + k.shape[2] - q.shape[2])
    )
    heads = [softmax(q[:, h] @ k[:, h].swapaxes(1, 2) / math.sqrt(q.shape[-1]) + mask) @ v[:, h] for h in range(n_head)]
    return linear(np.concatenate(heads, axis=-1), w["out"])


def stft_frame_by_frame(samples: Array) -> Array:
    starts = range(0, len(samples) - 399, 160)
    spectra = [np.fft.rfft(samples[i : i + 400] * np.hanning(401)[:-1]) for i in starts]
    return np.stack([np.abs(spectrum) ** 2 for spectrum in spectra], axis=1).astype(np.float32)


def median_filter_by_sorting(x: Array, filter_width: int) -> Array:
    pad = [(0, 0)] * (x.ndim - 1) + [(filter_width // 2,) * 2]
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, pad, mode="reflect"), filter_width, axis=-1)
    return np.sort(windows, axis=-1)[..., filter_width // 2]


def dtw_cost_cell_by_cell(x: Array) -> Array:
    cost = np.full((x.shape[0] + 1, x.shape[1] + 1), np.inf)
    cost[0, 0] = 0
    for i, j in np.ndindex(*x.shape):
        cost[i + 1, j + 1] = x[i, j] + min(cost[i, j], cost[i, j + 1], cost[i + 1, j])
    return cost[1:, 1:]


def beam_search_by_sorting_all(step: Any, tokens: Array, eot: int, max_tokens: int, beam_size: int) -> Any:
    return [_one_row(step, row, eot, max_tokens, beam_size) for row in tokens]


def _one_row(step: Any, row: Array, eot: int, max_tokens: int, beam_size: int) -> list[tuple[list[int], float]]:
    beams, ended, parents = [([], 0.0)], [], None
    for _ in range(max_tokens):
        logprobs = step(np.array([[*row, *taken] for taken, _ in beams]), parents)
        every = [
            (total + float(value), i, token)
            for i, (_, total) in enumerate(beams)
            for token, value in enumerate(logprobs[i])
        ]
        new, sources = [], []
        for total, i, token in sorted(every, reverse=True):
            if len(new) == beam_size:
                break
            if token == eot:
                ended.append((beams[i][0], total))
            else:
                new.append(([*beams[i][0], token], total))
                sources.append(i)
        beams, parents = new, np.array(sources)
        if len(ended) >= beam_size:
            return ended[:beam_size]
    return (ended + beams)[:beam_size]


RIGHT = [
    linear_by_einsum, linear_by_loops, linear_in_fortran_order, layer_norm_by_var, layer_norm_by_loops, gelu_by_erf,
    softmax_by_rows, conv1d_by_einsum, conv1d_by_loops, attend_by_einsum, causal_mask_large_and_negative,
    self_attention_head_by_head, stft_frame_by_frame, median_filter_by_sorting, dtw_cost_cell_by_cell,
    beam_search_by_sorting_all,
]  # fmt: skip


@pytest.mark.parametrize("function", RIGHT, ids=name_of)
def test_right_functions_pass_however_they_are_written(function: Callable[..., Any]) -> None:
    result = check(function, layer_of(function))
    assert result.passed, str(result)


@pytest.mark.parametrize("seed", [1, 3169173263, 2**32 - 1])  # with the second, two beams were equally likely once
@pytest.mark.parametrize("function", RIGHT, ids=name_of)
def test_right_functions_pass_with_every_students_numbers(function: Callable[..., Any], seed: int) -> None:
    cases = fresh_cases(layer_of(function), seed)
    result = judge(cases, [attempt(case, function) for case in cases])
    assert result.passed, str(result)


def test_the_report_says_which_values_are_wrong_and_where() -> None:
    def gelu_with_a_wrong_value(x: Array) -> Array:
        y = gelu(x)
        if y.shape == (5, 7):
            y[2, 3] += 7
        return y

    text = str(check(gelu_with_a_wrong_value, "gelu"))
    assert text.startswith("gelu: 7 of 8 cases right")
    assert "1 of 35 values are wrong; largest error 7: at [2, 3] it is 8.158079 instead of 1.15808" in text


def split_heads_backwards(x: Array, n_head: int) -> Array:
    return split_heads(x, n_head).transpose(0, 3, 2, 1)


def merge_heads_twice(x: Array) -> Array:
    return 2 * merge_heads(x)


@pytest.mark.parametrize(
    ("name", "function", "sentence"),
    [
        ("split_heads", split_heads_backwards, "its shape is (2, 4, 5, 3), but should be (2, 3, 5, 4)"),
        ("split_heads", split_heads_backwards, "two axes are swapped"),
        ("gelu", lambda x: x * np.nan, "35 of 35 values are wrong; 35 NaN or Inf"),
        ("gelu", lambda x: [1], "it returns a list, not an array"),
        ("merge_heads", merge_heads_twice, "every value is 2 times what it should be"),
        ("gelu", lambda x: gelu(x) + 3, "every value is 3 more than it should be"),
    ],
)
def test_shapes_nan_and_types_are_reported(name: str, function: Callable[..., Any], sentence: str) -> None:
    assert sentence in str(check(function, name))


def test_a_mask_is_spoken_of_as_0_and_inf() -> None:
    result = check(causal_mask_off_by_one, "causal_mask")
    assert "at [0, " in str(result)
    assert "it is -inf instead of 0" in str(result)
    assert re.search(r"at \[0, 0\] it is nan instead of (0|-inf)", str(check(causal_mask_of_nan, "causal_mask")))


def test_searches_are_spoken_of_as_hypotheses() -> None:
    def beam_search(step: Any, tokens: Array, eot: int, max_tokens: int, beam_size: int) -> Any:
        return [[([*t, 7], s) for t, s in row] for row in search.beam_search(step, tokens, eot, max_tokens, beam_size)]

    report = str(check(beam_search))
    assert re.search(r"a hypothesis has 7 tokens, but at most 6 are asked for", report), report
    assert "its shape is" not in report
    report = str(check(greedy_search_keeping_the_end, "greedy_search"))
    assert re.search(
        r"hypotheses are wrong: in row \d it is tokens \[[\d, ]+\], sum -[\d.]+\n +instead of tokens \[", report
    )
    report = str(check(lambda *a: search.beam_search(*a)[:-1], "beam_search"))
    assert re.search(r"it returns \d rows of \d hypotheses, but should return \d rows of \d hypotheses", report), report
    report = str(check(lambda *a: [row[:1] for row in search.beam_search(*a)], "beam_search"))
    assert "rows of 1 hypotheses, but should return" in report


def test_an_error_in_the_function_is_shown_with_its_line() -> None:
    def my_gelu(x: Array) -> Array:
        return x + undefined  # type: ignore[name-defined]  # noqa: F821

    shown = r"NameError: name 'undefined' is not defined, line \d+: return x \+ undefined"
    assert re.search(shown, str(check(my_gelu)))


def test_what_is_not_written_yet_says_so() -> None:
    def my_gelu(x: Array) -> Array:
        raise NotImplementedError

    result = check(my_gelu)
    assert str(result) == f"gelu: 0 of {len(result.outcomes)} cases right, it is not written yet"
    assert result._repr_html_() == f"<p>{result}</p>"


def test_a_name_may_have_more_in_it() -> None:
    def my_own_layer_norm_2(x: Array, w: Weights) -> Array:
        return layer_norm(x, w)

    assert check(my_own_layer_norm_2).layer == "layer_norm"
    with pytest.raises(CheckError, match="no cases for 'layernorm': did you mean layer_norm"):
        check(layer_norm, "layernorm")
    with pytest.raises(CheckError, match="Use check"):
        check(lambda x: x)
    for value in (np.zeros(3), "linear", None):
        with pytest.raises(CheckError, match=r"check expects a function, got \w+: write check\(linear\)"):
            check(value)  # type: ignore[arg-type]


def test_the_result_asserts() -> None:
    good, bad = check(gelu), check(layers.softmax, "gelu")
    good.assert_passed()
    assert good
    assert not bad
    with pytest.raises(AssertionError, match="gelu: 0 of 8 cases right"):
        bad.assert_passed()


def test_a_notebook_gets_a_table() -> None:
    result: CheckResult = check(lambda x: np.exp(x) / np.exp(x).sum(axis=0), "softmax")
    html = result._repr_html_()
    assert html.count("<tr>") == 1 + len(load_cases("softmax")) + len(fresh_cases("softmax", 0))
    assert "✗" in html
    assert "&lt;" not in check(gelu)._repr_html_()


def test_checking_changes_no_case() -> None:
    check(linear_in_place, "linear")
    check(suppress_tokens_in_place, "suppress_tokens")
    assert check(linear)
    assert check(rules.suppress_tokens)
    assert check(timing.dtw)
