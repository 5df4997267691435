"""How close is equal: stated once, never tuned for a single test."""

from __future__ import annotations

import numpy as np

from npwhisper.tracing.seam import Array

LAYER = {"rtol": 1e-5, "atol": 1e-6}
STACK = 1e-4  # of the largest value
MEL = 1e-4  # upstream's own float32 transform is 5e-5 off, 80 dB below the loudest; 99 % are within MEL_MOSTLY
MEL_MOSTLY = 1e-5
PROBABILITY = 1e-3  # avg_logprob, no_speech_prob


def assert_layer_equal(got: Array, want: Array) -> None:
    """One layer or block beside its oracle: float32, the same shape, close in every element."""
    assert (got.dtype, got.shape) == (np.float32, want.shape)
    np.testing.assert_allclose(got, want, **LAYER)


def assert_stack_equal(got: Array, want: Array) -> None:
    """Many layers beside their oracle: float32, the same shape, the error small beside the largest value."""
    assert (got.dtype, got.shape) == (np.float32, want.shape)
    assert error(got, want) <= STACK, f"relative error {error(got, want):.1e}"


def error(got: Array, want: Array) -> float:
    """The largest difference as a part of the largest value."""
    return float(np.abs(got - want).max() / np.abs(want).max())
