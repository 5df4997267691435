"""What is done element by element and row by row, with few passes over memory."""

from __future__ import annotations

import numpy as np

from npwhisper.tracing.seam import Array

# erf(x / sqrt 2) = tanh(x P(x^2)): P fitted by iteratively reweighted least squares on |x| <= 5.2. In float32 it is
# within 2.5e-7 of erf and many times faster than scipy.special.erf, because NumPy's tanh is vectorised.
_ERF = (
    1.8137735985041677e-09, -1.3377693439945864e-07, 3.973977900032913e-06, -5.5272760147594394e-05,
    -3.302867005481261e-05, 0.03633415172777495, 0.7978842673502621,
)  # fmt: skip


def normal_cdf(x: Array) -> Array:
    """The standard normal distribution function, (1 + erf(x / sqrt 2)) / 2: (...) -> (...).

    >>> normal_cdf(np.array([-1, 0, 1], np.float32)).round(4)
    array([0.1587, 0.5   , 0.8413], dtype=float32)
    """
    with np.errstate(over="ignore", under="ignore"):  # beyond |x| = 5.2 the tanh is 1 in float32, also that of infinity
        square = x * x
        y = square * _ERF[0]
        for coefficient in _ERF[1:-1]:
            y += coefficient
            y *= square
        y += _ERF[-1]
        y *= x
    np.tanh(y, out=y)
    y += 1.0
    y *= 0.5
    return y


def row_sum(x: Array) -> Array:
    """The sum along the last axis, as a product with ones, which adds three times faster: (..., N) -> (..., 1)."""
    sums: Array = np.vecdot(x, np.ones(x.shape[-1], dtype=np.float32))[..., None]
    return sums


@np.errstate(under="ignore")  # tiny probabilities become 0, whatever error handling the caller has set
def probabilities(x: Array) -> Array:
    """Exponentials along the last axis divided by their sum, the largest subtracted first: (..., N) -> (..., N)."""
    y: Array = x - x.max(axis=-1, keepdims=True)
    np.exp(y, out=y)
    y *= 1.0 / row_sum(y)
    return y


@np.errstate(under="ignore")
def log_probabilities(x: Array) -> Array:
    """The logarithm of `probabilities`, computed in log space: (..., N) -> (..., N)."""
    y: Array = x - x.max(axis=-1, keepdims=True)
    y -= np.log(row_sum(np.exp(y)))
    return y


@np.errstate(under="ignore")
def normalise(x: Array, weight: Array, bias: Array, eps: float) -> Array:
    """Give the last axis mean 0 and variance 1, then scale and shift: (..., D), (D,), (D,) -> (..., D)."""
    y: Array = x - row_sum(x) / x.shape[-1]
    variance = np.vecdot(y, y)[..., None] / x.shape[-1]
    y /= np.sqrt(variance + eps)
    y *= weight
    y += bias
    return y
