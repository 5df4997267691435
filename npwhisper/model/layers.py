"""The layers of Whisper, each an explicit function of its input and its weights.

Every function takes `x` first and its weights `w` second (the slice of torch's state dict), and returns one new float32
array: for a torch module `m`, ``f(x, nest(m.state_dict()))`` equals ``m(x)``. The letters of all shapes:

    B batch (windows or beams)  T text positions  S audio positions (1500)  F mel frames (3000)
    D model width   H heads   K width of one head   V vocabulary   M mel bins
"""

from __future__ import annotations

import math

import numpy as np

from npwhisper import formerly
from npwhisper.compute.blocks import positionwise
from npwhisper.compute.elementwise import log_probabilities, normal_cdf, normalise, probabilities
from npwhisper.compute.products import affine, convolve
from npwhisper.tracing.seam import Array, Weights, layer


@layer
@positionwise
def linear(x: Array, w: Weights) -> Array:
    """Multiply by a matrix and add a bias, if there is one (Whisper's key projections have none): x @ weight.T + bias.

    (..., D_in), weight (D_out, D_in), bias (D_out,) -> (..., D_out)

    >>> linear(np.ones((1, 2), np.float32), {"weight": np.array([[1, 2], [3, 4], [5, 6]], np.float32)})
    array([[ 3.,  7., 11.]], dtype=float32)
    """
    return affine(x, w["weight"], w.get("bias"))


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
    return convolve(windows, w["weight"], w["bias"])


@layer
@positionwise
def layer_norm(x: Array, w: Weights, eps: float = 1e-5) -> Array:
    """Give every position mean 0 and variance 1 over its features, then scale and shift.

    (..., D), weight (D,), bias (D,) -> (..., D)

    >>> layer_norm(np.array([[1, 3]], np.float32), {"weight": np.ones(2, np.float32), "bias": np.zeros(2, np.float32)})
    array([[-0.999995,  0.999995]], dtype=float32)
    """
    return normalise(x, w["weight"], w["bias"], eps)


@layer
def embedding(tokens: Array, w: Weights) -> Array:
    """Look up a row for every token.

    (B, T) integers, weight (V, D) -> (B, T, D)

    >>> embedding(np.array([[2, 0]]), {"weight": np.array([[1], [2], [3]], np.float32)})
    array([[[3.],
            [1.]]], dtype=float32)
    """
    return np.asarray(w["weight"][tokens])


@layer
@positionwise
def gelu(x: Array) -> Array:
    """The Gaussian error linear unit, x times the normal distribution function: x/2 (1 + erf(x / sqrt 2)).

    (...) -> (...)

    >>> gelu(np.array([-1, 0, 1], np.float32)).round(4)
    array([-0.1587,  0.    ,  0.8413], dtype=float32)
    """
    return x * normal_cdf(x)


@layer
def softmax(x: Array) -> Array:
    """Turn scores along the last axis into probabilities: exponentials divided by their sum.

    (..., N) -> (..., N)

    >>> softmax(np.array([[0, 0, -np.inf]], np.float32))
    array([[0.5, 0.5, 0. ]], dtype=float32)
    """
    return probabilities(x)


@layer
def log_softmax(x: Array) -> Array:
    """The logarithm of `softmax`, computed in log space.

    (..., N) -> (..., N)

    >>> log_softmax(np.array([0, 0], np.float32))
    array([-0.6931472, -0.6931472], dtype=float32)
    """
    return log_probabilities(x)


def sinusoids(length: int, channels: int, max_timescale: float = 10000.0) -> Array:
    """The encoder's table of positions: sines in the left half of the features, cosines in the right half.

    -> (length, channels); ValueError for fewer than 4 channels or an odd number of them

    >>> sinusoids(2, 4).round(3)
    array([[0.   , 0.   , 1.   , 1.   ],
           [0.841, 0.   , 0.54 , 1.   ]], dtype=float32)
    """
    if channels % 2 or channels < 4:
        raise ValueError(f"sinusoids need an even number of at least 4 channels, got {channels}: use a multiple of 2")
    step = math.log(max_timescale) / (channels // 2 - 1)
    rates = np.exp(-step * np.arange(channels // 2, dtype=np.float64))
    angles = np.arange(length, dtype=np.float64)[:, None] * rates  # up to 1499: too large for float32's precision
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


__getattr__ = formerly("npwhisper.model.attention", "npwhisper.upstream_model")
