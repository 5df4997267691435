"""The network by its definitions: plain loops in float64, slow and plain, against which the real functions are tested.

Names, arguments and the order of axes are those of `npwhisper.model.layers` and `npwhisper.model.network`; a `w` may be
a Scope or any nested dict. The letters of the shapes are those of `npwhisper.model.layers`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from npwhisper.tracing.seam import Array, Weights


def dot(a: Iterable[float], b: Iterable[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def float64(x: Array) -> Array:
    return np.asarray(x, dtype=np.float64)


def linear(x: Array, w: Weights) -> Array:
    """Each output is one inner product: (..., D_in) -> (..., D_out)."""
    weight = w["weight"].tolist()
    bias = w["bias"].tolist() if "bias" in w else [0.0] * len(weight)
    y = np.empty((*x.shape[:-1], len(weight)))
    for position in np.ndindex(x.shape[:-1]):
        features = x[position].tolist()
        y[position] = [dot(row, features) + b for row, b in zip(weight, bias, strict=True)]
    return y


def conv1d(x: Array, w: Weights, stride: int = 1) -> Array:
    """The sum over channels and the three taps; what lies beyond the ends is 0: (B, D_in, F) -> (B, D_out, F')."""
    weight, bias = w["weight"].tolist(), w["bias"].tolist()
    frames = x.shape[2]
    y = np.empty((len(x), len(weight), len(range(0, frames, stride))))
    for b, o, t in np.ndindex(y.shape):
        taps = [tap for tap in range(3) if 0 <= t * stride + tap - 1 < frames]
        y[b, o, t] = bias[o] + sum(
            kernel[tap] * float(x[b, i, t * stride + tap - 1]) for i, kernel in enumerate(weight[o]) for tap in taps
        )
    return y


def layer_norm(x: Array, w: Weights, eps: float = 1e-5) -> Array:
    """Mean 0 and (biased) variance 1 at each position, scaled and shifted: (..., D) -> (..., D)."""
    y = np.empty(x.shape)
    for position in np.ndindex(x.shape[:-1]):
        features = x[position].tolist()
        mean = sum(features) / len(features)
        variance = sum((value - mean) ** 2 for value in features) / len(features)
        normal = [(value - mean) / math.sqrt(variance + eps) for value in features]
        y[position] = [n * g + b for n, g, b in zip(normal, w["weight"].tolist(), w["bias"].tolist(), strict=True)]
    return y


def embedding(tokens: Array, w: Weights) -> Array:
    """The row of each token: (B, T) -> (B, T, D)."""
    return float64(np.array([[w["weight"][token] for token in row] for row in tokens.tolist()]))


def gelu(x: Array) -> Array:
    """x times the probability that a normal variable is below x: (...) -> (...)."""
    y = np.empty(x.shape)
    for i in np.ndindex(x.shape):
        y[i] = float(x[i]) * 0.5 * (1 + math.erf(float(x[i]) / math.sqrt(2)))
    return y


def softmax(x: Array) -> Array:
    """Exponentials as parts of their sum: (..., N) -> (..., N)."""
    y = np.empty(x.shape)
    for position in np.ndindex(x.shape[:-1]):
        largest = max(x[position].tolist())
        powers = [math.exp(value - largest) for value in x[position].tolist()]
        y[position] = [power / sum(powers) for power in powers]
    return y


def log_softmax(x: Array) -> Array:
    """Each value less the logarithm of the sum of all exponentials: (..., N) -> (..., N)."""
    y = np.empty(x.shape)
    for position in np.ndindex(x.shape[:-1]):
        largest = max(x[position].tolist())
        total = largest + math.log(sum(math.exp(value - largest) for value in x[position].tolist()))
        y[position] = [value - total for value in x[position].tolist()]
    return y


def sinusoids(length: int, channels: int, max_timescale: float = 10000.0) -> Array:
    """Waves whose lengths grow geometrically from 2 pi to 2 pi max_timescale: -> (length, channels)."""
    half = channels // 2
    y = np.empty((length, channels))
    for position, i in np.ndindex(length, half):
        angle = position / max_timescale ** (i / (half - 1))
        y[position, i], y[position, half + i] = math.sin(angle), math.cos(angle)
    return y


def causal_mask(n_query: int, n_key: int) -> Array:
    """0 where key j is not later than query i, the last query being the last key; else -inf: -> (n_query, n_key)."""
    return np.array([[0.0 if j <= n_key - n_query + i else -math.inf for j in range(n_key)] for i in range(n_query)])


def scores(q: Array, k: Array) -> Array:
    """Inner products of queries and keys, over the root of their length: (B, H, T, K), (B, H, S, K) -> (B, H, T, S)."""
    y = np.empty((*q.shape[:3], k.shape[2]))
    for b, h, t, s in np.ndindex(y.shape):
        y[b, h, t, s] = dot(q[b, h, t].tolist(), k[b, h, s].tolist()) / math.sqrt(q.shape[3])
    return y


def attend(q: Array, k: Array, v: Array, mask: Array | None = None) -> Array:
    """A weighted mean of the values for each query: (B, H, T, K), (B, H, S, K) twice -> (B, H, T, K)."""
    weights = softmax(scores(q, k) + (0.0 if mask is None else mask))
    y = np.zeros(q.shape)
    for b, h, t, s in np.ndindex(weights.shape):
        y[b, h, t] += weights[b, h, t, s] * v[b, h, s]
    return y


def attention(x: Array, source: Array, w: Weights, n_head: int, causal: bool) -> Array:
    """Head h sees features h K to (h + 1) K: (B, T, D) looks at (B, S, D) -> (B, T, D)."""
    q, k, v = linear(x, w["query"]), linear(source, w["key"]), linear(source, w["value"])
    width = q.shape[2] // n_head
    mask = causal_mask(x.shape[1], source.shape[1]) if causal else None
    y = np.empty(q.shape)
    for h in range(n_head):
        head = slice(h * width, (h + 1) * width)
        y[:, :, head] = attend(q[:, None, :, head], k[:, None, :, head], v[:, None, :, head], mask)[:, 0]
    return linear(y, w["out"])


def self_attention(x: Array, w: Weights, n_head: int, causal: bool = False) -> Array:
    return attention(x, x, w, n_head, causal)


def cross_attention(x: Array, w: Weights, n_head: int, audio_features: Array) -> Array:
    return attention(x, audio_features, w, n_head, causal=False)


def mlp(x: Array, w: Weights) -> Array:
    return linear(gelu(linear(x, w["0"])), w["2"])


def encoder_block(x: Array, w: Weights, n_head: int) -> Array:
    x = x + self_attention(layer_norm(x, w["attn_ln"]), w["attn"], n_head)
    return x + mlp(layer_norm(x, w["mlp_ln"]), w["mlp"])


def decoder_block(x: Array, w: Weights, n_head: int, audio_features: Array) -> Array:
    x = x + self_attention(layer_norm(x, w["attn_ln"]), w["attn"], n_head, causal=True)
    x = x + cross_attention(layer_norm(x, w["cross_attn_ln"]), w["cross_attn"], n_head, audio_features)
    return x + mlp(layer_norm(x, w["mlp_ln"]), w["mlp"])


def encoder(mel: Array, w: Weights, n_head: int) -> Array:
    """(B, M, F) -> (B, S, D)"""
    x = gelu(conv1d(mel, w["conv1"]))
    x = gelu(conv1d(x, w["conv2"], stride=2))
    x = x.swapaxes(1, 2) + w["positional_embedding"]
    for i in range(len(w["blocks"])):
        x = encoder_block(x, w["blocks"][str(i)], n_head)
    return layer_norm(x, w["ln_post"])


def decoder(tokens: Array, w: Weights, n_head: int, audio_features: Array) -> Array:
    """(B, T), (B, S, D) -> (B, T, V)"""
    x = embedding(tokens, w["token_embedding"]) + w["positional_embedding"][: tokens.shape[1]]
    for i in range(len(w["blocks"])):
        x = decoder_block(x, w["blocks"][str(i)], n_head, audio_features)
    return linear(layer_norm(x, w["ln"]), w["token_embedding"])


def packed(matrix: Array) -> tuple[list[list[int]], list[float], list[float]]:
    """Rows of integers, a scale for every row and every column: the square root of its root mean square."""
    columns = [math.sqrt(math.sqrt(sum(float(value) ** 2 for value in column) / len(column))) for column in matrix.T]
    even = [[float(value) / c for value, c in zip(row, columns, strict=True)] for row in matrix]
    scales = [max(map(abs, row)) / 127 for row in even]
    return [[round(value / s) for value in row] for row, s in zip(even, scales, strict=True)], scales, columns
