"""The layers of Whisper, each an explicit function of its input and its weights.

Every function takes `x` first and its weights `w` second (the slice of torch's state dict), and returns one new float32
array: for a torch module `m`, ``f(x, nest(m.state_dict()))`` equals ``m(x)``. The letters of all shapes:

    B batch (windows or beams)  T text positions  S audio positions (1500)  F mel frames (3000)
    D model width   H heads   K width of one head   V vocabulary   M mel bins
"""

from __future__ import annotations

import math

import numpy as np

from npwhisper.compute.int8 import Int8Matrix
from npwhisper.compute.parallel import are_few, blocked, few_rows, headwise, outputwise, rowwise
from npwhisper.tracing.seam import Array, Weights, is_handled, layer


@outputwise
def product(x: Array, weight: Array | Int8Matrix) -> Array:
    """The inner product of every row of x with every row of a matrix.

    (..., D_in), (D_out, D_in) -> (..., D_out)
    """
    if isinstance(weight, Int8Matrix):
        return _product(x, weight.integers.astype(np.float32)) * weight.scale
    is_fetched = are_few(math.prod(x.shape[:-1]))  # a copy reads on and on, while the product would jump about
    return _product(x, weight.copy() if is_fetched else weight)


def _product(x: Array, weight: Array) -> Array:
    rows = math.prod(x.shape[:-1])
    if rows == 1:  # one dot product after the other reads the matrix in the order of memory
        return np.vecdot(weight, x[..., None, :])
    y: Array = few_rows(x, weight) if are_few(rows) else x @ weight.T
    return y


@layer
@blocked(rows=750)
def linear(x: Array, w: Weights) -> Array:
    """Multiply by a matrix and add a bias, if there is one (Whisper's key projections have none).

    (..., D_in), weight (D_out, D_in), bias (D_out,) -> (..., D_out)

    >>> linear(np.ones((1, 2), np.float32), {"weight": np.array([[1, 2], [3, 4], [5, 6]], np.float32)})
    array([[ 3.,  7., 11.]], dtype=float32)
    """
    y = product(x, w["weight"])
    if "bias" in w:
        y += w["bias"]
    return y


@layer
def conv1d(x: Array, w: Weights, stride: int = 1) -> Array:
    """Slide a kernel of width 3 over the time axis, with one frame of zeros beyond each end.

    (B, D_in, F), weight (D_out, D_in, 3), bias (D_out,) -> (B, D_out, F // stride)

    >>> x = np.array([[[1, 2, 3, 4]]], np.float32)
    >>> conv1d(x, {"weight": np.ones((1, 1, 3), np.float32), "bias": np.zeros(1, np.float32)}, stride=2)
    array([[[3., 9.]]], dtype=float32)
    """
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, 3, axis=2)[:, :, ::stride]  # a view: nothing is copied
    return _convolve(windows, w)


@blocked(rows=375, axis=2)
def _convolve(windows: Array, w: Weights) -> Array:
    """Multiply the kernel with each place that it slides over: (B, D_in, F, 3) -> (B, D_out, F)."""
    batch, d_in, length, width = windows.shape
    columns = windows.transpose(0, 1, 3, 2).reshape(batch, d_in * width, length)
    y: Array = w["weight"].reshape(-1, d_in * width) @ columns
    y += w["bias"][:, None]
    return y


@layer
@blocked(rows=750)
def layer_norm(x: Array, w: Weights, eps: float = 1e-5) -> Array:
    """Give every position mean 0 and variance 1 over its features, then scale and shift.

    (..., D), weight (D,), bias (D,) -> (..., D)

    >>> layer_norm(np.array([[1, 3]], np.float32), {"weight": np.ones(2, np.float32), "bias": np.zeros(2, np.float32)})
    array([[-0.999995,  0.999995]], dtype=float32)
    """
    y = x - total(x) / x.shape[-1]
    variance = np.vecdot(y, y)[..., None] / x.shape[-1]
    y /= np.sqrt(variance + eps)
    y *= w["weight"]
    y += w["bias"]
    return y


@layer
def embedding(tokens: Array, w: Weights) -> Array:
    """Look up a row for every token.

    (B, T) integers, weight (V, D) -> (B, T, D)

    >>> embedding(np.array([[2, 0]]), {"weight": np.array([[1], [2], [3]], np.float32)})
    array([[[3.],
            [1.]]], dtype=float32)
    """
    return np.asarray(w["weight"][tokens])


# erf(x / sqrt 2) = tanh(x P(x^2)): P fitted by iteratively reweighted least squares on |x| <= 5.2. In float32 it is
# within 2.5e-7 of erf and many times faster than scipy.special.erf, because NumPy's tanh is vectorised.
_ERF = (
    1.8137735985041677e-09, -1.3377693439945864e-07, 3.973977900032913e-06, -5.5272760147594394e-05,
    -3.302867005481261e-05, 0.03633415172777495, 0.7978842673502621,
)  # fmt: skip


@layer
@blocked(rows=188)
def gelu(x: Array) -> Array:
    """The Gaussian error linear unit, x times the normal distribution function: x/2 (1 + erf(x / sqrt 2)).

    (...) -> (...)

    >>> gelu(np.array([-1, 0, 1], np.float32)).round(4)
    array([-0.1587,  0.    ,  0.8413], dtype=float32)
    """
    with np.errstate(over="ignore"):  # beyond |x| = 5.2 the tanh is 1 in float32, also that of infinity
        square = x * x
        y = square * _ERF[0]
        for coefficient in _ERF[1:-1]:
            y += coefficient
            y *= square
        y += _ERF[-1]
        y *= x
    np.tanh(y, out=y)
    y += 1.0
    y *= x
    y *= 0.5
    return y


@layer
def softmax(x: Array, out: Array | None = None) -> Array:
    """Turn scores along the last axis into probabilities: exponentials divided by their sum.

    (..., N) -> (..., N), a new array or `out`, which may be x

    >>> softmax(np.array([[0, 0, -np.inf]], np.float32))
    array([[0.5, 0.5, 0. ]], dtype=float32)
    """
    y = np.subtract(x, x.max(axis=-1, keepdims=True), out=out)
    np.exp(y, out=y)
    y *= 1.0 / total(y)
    return y


def total(x: Array) -> Array:
    """The sum along the last axis, as a product with ones, which adds three times faster: (..., N) -> (..., 1)."""
    return np.vecdot(x, np.ones(x.shape[-1], dtype=np.float32))[..., None]


@layer
def log_softmax(x: Array) -> Array:
    """The logarithm of `softmax`, without ever leaving the logarithms.

    (..., N) -> (..., N)

    >>> log_softmax(np.array([0, 0], np.float32))
    array([-0.6931472, -0.6931472], dtype=float32)
    """
    y = x - x.max(axis=-1, keepdims=True)
    y -= np.log(total(np.exp(y)))
    return y


def sinusoids(length: int, channels: int, max_timescale: float = 10000.0) -> Array:
    """The encoder's table of positions: sines in the left half of the features, cosines in the right half.

    -> (length, channels)

    >>> sinusoids(2, 4).round(3)
    array([[0.   , 0.   , 1.   , 1.   ],
           [0.841, 0.   , 0.54 , 1.   ]], dtype=float32)
    """
    if channels % 2 or channels < 4:
        raise ValueError(f"sinusoids need an even number of at least 4 channels, got {channels}: use a multiple of 2")
    step = math.log(max_timescale) / (channels // 2 - 1)
    rates = np.exp(-step * np.arange(channels // 2, dtype=np.float64))
    angles = np.arange(length, dtype=np.float64)[:, None] * rates  # up to 1499: too large for float32's digits
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


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


@rowwise(rows=375)
def matmul(x: Array, y: Array) -> Array:
    """The product of every head's matrices: (B, H, T, K), (B, H, K, N) -> (B, H, T, N)."""
    z: Array = x @ y
    return z


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
@headwise(rows=375)
def attend(q: Array, k: Array, v: Array, mask: Array | None = None) -> Array:
    """Average the values, each query weighting them by the softmax of its scores (Vaswani et al. 2017, section 3.2.1).

    (B, H, T, K), (B, H, S, K), (B, H, S, K), (T, S) -> (B, H, T, K)

    >>> q, k, v = (np.ones((1, 2, n, 4), np.float32) for n in (3, 5, 5))
    >>> attend(q, k, v).shape
    (1, 2, 3, 4)
    """
    weights = scores(q, k)
    if mask is not None:
        weights = weights + mask
    # where nobody watches, the scores become probabilities in their own place: fewer arrays, so more stays in the cache
    return matmul(softmax(weights) if is_handled() else softmax(weights, out=weights), v)
