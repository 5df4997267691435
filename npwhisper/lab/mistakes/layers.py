"""Mistakes in the layers."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from npwhisper import model
from npwhisper.model import gelu, layer_norm, softmax
from npwhisper.tracing.seam import Array, Function, Weights


def _convolve(
    x: Array, w: Weights, stride: int = 1, pad: tuple[int, int] = (1, 1), first: int = 0, flip: bool = False, **how: Any
) -> Array:
    """A convolution in which everything can be wrong."""
    weight = w["weight"][:, :, ::-1] if flip else w["weight"]
    padded = np.pad(x, ((0, 0), (0, 0), pad), **how)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 3, axis=2)[:, :, first::stride]
    y: Array = np.einsum("bifk,oik->bof", windows, weight) + w["bias"][:, None]
    return y


def _normalise(
    x: Array, w: Weights, axis: Any = -1, ddof: int = 0, inside: float = 1e-5, outside: float = 0.0
) -> Array:
    """A layer norm in which everything can be wrong."""
    variance = x.var(axis=axis, ddof=ddof, keepdims=True)
    y: Array = (x - x.mean(axis=axis, keepdims=True)) / (np.sqrt(variance + inside) + outside) * w["weight"] + w["bias"]
    return y


def _normalise_without_mean(x: Array, w: Weights) -> Array:
    y: Array = x / np.sqrt(np.square(x).mean(axis=-1, keepdims=True) + 1e-5) * w["weight"] + w["bias"]
    return y


def _softmax_over(x: Array, axis: Any, maximum: Any = -1) -> Array:
    y = np.exp(x - (0.0 if maximum is None else x.max(axis=None if maximum == "all" else maximum, keepdims=True)))
    return y / y.sum(axis=axis, keepdims=True)


def _waves(length: int, channels: int, last: int = -1, start: int = 0, joined: str = "sin cos") -> Array:
    rates = np.exp(-math.log(10000.0) / (channels // 2 + last) * np.arange(channels // 2, dtype=np.float32))
    angles = np.arange(start, start + length, dtype=np.float32)[:, None] * rates
    waves = {"sin": np.sin(angles), "cos": np.cos(angles)}
    if joined == "interleaved":
        return np.stack([waves["sin"], waves["cos"]], axis=-1).reshape(length, channels)
    return np.concatenate([waves[name] for name in joined.split()], axis=1)


MISTAKES: dict[str, dict[str, Function]] = {
    "linear": {
        "torch keeps weights as (out, in): multiply by weight.T": lambda x, w: x @ w["weight"] + w.get("bias", 0.0),
        "the bias is not added": lambda x, w: x @ w["weight"].T,
        "the bias is subtracted": lambda x, w: x @ w["weight"].T - w.get("bias", 0.0),
    },
    "conv1d": {
        "the kernel is flipped: torch's convolution does not flip it": functools.partial(_convolve, flip=True),
        "there is no padding: one frame of zeros belongs beyond each end": functools.partial(_convolve, pad=(0, 0)),
        "the padding is on the left only": functools.partial(_convolve, pad=(2, 0)),
        "with a stride, the first frame is skipped": lambda x, w, stride=1: _convolve(x, w, stride, first=stride // 2),
        "the padding is on the right only": functools.partial(_convolve, pad=(0, 2)),
        "the ends are repeated instead of padded with zeros": functools.partial(_convolve, mode="edge"),
        "the stride is ignored": lambda x, w, stride=1: _convolve(x, w),
        "the bias is not added": lambda x, w, stride=1: _convolve(x, {**w, "bias": 0 * w["bias"]}, stride),
    },
    "layer_norm": {
        "the variance is divided by D - 1 (unbiased); layer norm divides by D": functools.partial(_normalise, ddof=1),
        "eps is added outside the square root": functools.partial(_normalise, inside=0.0, outside=1e-5),
        "eps is missing or far too small: it is 1e-5": functools.partial(_normalise, inside=1e-12),
        "eps is 1e-6, but Whisper's is 1e-5": functools.partial(_normalise, inside=1e-6),
        "the wrong axis is normalised: the features are the last": functools.partial(_normalise, axis=-2),
        "the batch is normalised instead of the features": functools.partial(_normalise, axis=0),
        "all axes are normalised together: every position needs its own mean": functools.partial(_normalise, axis=None),
        "a whole window is normalised together: every position needs its own mean": functools.partial(
            _normalise, axis=(-2, -1)
        ),
        "the mean is not subtracted": _normalise_without_mean,
        "weight and bias are not applied": lambda x, w: layer_norm(x, {"weight": 1.0, "bias": 0.0}),
        "the bias is not added": lambda x, w: layer_norm(x, {**w, "bias": 0.0}),
        "the weight is not applied": lambda x, w: layer_norm(x, {**w, "weight": 1.0}),
        "divided by the variance: divide by its square root, the standard deviation": lambda x, w: (
            layer_norm(x, {"weight": 1.0, "bias": 0.0}) / np.sqrt(x.var(axis=-1, keepdims=True) + 1e-5) * w["weight"]
            + w["bias"]
        ),
    },
    "embedding": {
        "tokens are counted from 0, not from 1": lambda tokens, w: w["weight"][tokens - 1],
    },
    "gelu": {
        "this is the tanh approximation: Whisper's GELU is exact": lambda x: (
            0.5 * x * (1 + np.tanh(0.7978845608028654 * (x + 0.044715 * x**3)))
        ),
        "this is the sigmoid approximation: Whisper's GELU is exact": lambda x: x / (1 + np.exp(-1.702 * x)),
        "this is SiLU: GELU multiplies by the normal distribution function": lambda x: x / (1 + np.exp(-x)),
        "this is ReLU": lambda x: np.maximum(x, 0.0),
        "x is not divided by the square root of 2 before erf": lambda x: x * gelu(x * 2**0.5) / (x * 2**0.5),
        "GELU is x times the distribution function, not the function alone": lambda x: gelu(x) / x,
    },
    "softmax": {
        "the sum is over the wrong axis: it is over the last": lambda x: _softmax_over(x, -2, -2),
        "the sum is over the batch: it is over the last axis": lambda x: _softmax_over(x, 0, 0),
        "the sum is over the whole array: it is over the last axis": lambda x: _softmax_over(x, None, "all"),
        "large scores overflow: subtract each row's maximum first": lambda x: _softmax_over(x, -1, None),
        "rows far below the others underflow: subtract each row's own maximum": lambda x: _softmax_over(x, -1, "all"),
        "this is the logarithm of softmax": model.log_softmax,
        "the exponentials are not divided by their sum": lambda x: np.exp(x - x.max(axis=-1, keepdims=True)),
    },
    "log_softmax": {
        "the logarithm of a probability that became 0 is -inf: stay in the logarithms": lambda x: np.log(softmax(x)),
        "large scores overflow: subtract each row's maximum first": lambda x: np.log(_softmax_over(x, -1, None)),
        "the sum is over the wrong axis: it is over the last": lambda x: np.swapaxes(
            model.log_softmax(np.swapaxes(x, -1, -2)), -1, -2
        ),
        "this is softmax, without the logarithm": softmax,
        "use the natural logarithm, not base 10": lambda x: model.log_softmax(x) / math.log(10.0),
    },
    "sinusoids": {
        "sines and cosines alternate: Whisper has all sines first": functools.partial(_waves, joined="interleaved"),
        "the cosines come first: sines belong in the left half": functools.partial(_waves, joined="cos sin"),
        "the rates fall over channels / 2 steps: there are channels / 2 - 1": functools.partial(_waves, last=0),
        "positions are counted from 0, not from 1": functools.partial(_waves, start=1),
        "interleaved, and the rates fall over channels / 2 steps: this is the first Transformer's": functools.partial(
            _waves, last=0, joined="interleaved"
        ),
    },
}
