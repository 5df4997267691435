"""Rows of one batch that have different memories: each part of the rows is computed with its own value.

The windows of a batch are at different positions in their texts, and each has its own audio. The products with the
weights, which they share, are computed for all rows at once; attention is computed part by part.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from npwhisper.compute.threads import run, run_alone
from npwhisper.tracing.seam import Array

WORTH_SHARING = 1 << 19  # numbers that a part reads: below, starting another thread takes longer than it saves


class Parts(NamedTuple):
    """The value of each part of the rows, and its number of rows."""

    values: Sequence[Any]
    rows: Sequence[int]


def by_windows(function: Callable[..., Array]) -> Callable[..., Array]:
    """Compute ``f(*arrays, memory, ...)`` for the rows of every window with the window's own memory.

    >>> @by_windows
    ... def scaled(x, factor, offset):
    ...     return factor * x + offset
    >>> scaled(np.ones((3, 2), np.float32), Parts([1, 5], [1, 2]), offset=1.0)[:, 0]
    array([2., 6., 6.], dtype=float32)
    """

    @functools.wraps(function)
    def call(*args: Any, **config: Any) -> Array:
        *arrays, memory = args
        if not isinstance(memory, Parts):
            return function(*args, **config)
        return by_parts(lambda own, *rows: function(*rows, own, **config), memory, *arrays)

    return call


def by_parts(function: Callable[..., Array], value: Any, *arrays: Array) -> Array:
    """Compute ``function(value, *arrays)``, or with `Parts` that of every part with its rows of the arrays.

    The result has the shape of the first array. Parts that own large arrays are shared among threads.

    >>> x = np.ones((3, 2), np.float32)
    >>> by_parts(lambda factor, x: factor * x, Parts([1, 5], [1, 2]), x)[:, 0]
    array([1., 5., 5.], dtype=float32)
    """
    if not isinstance(value, Parts):
        return function(value, *arrays)
    if len(value.values) == 1:
        return function(value.values[0], *arrays)
    y, ends = np.empty_like(arrays[0]), np.cumsum(value.rows).tolist()

    def compute(part: tuple[Any, slice]) -> None:
        own, rows = part
        y[rows] = function(own, *(x[rows] for x in arrays))

    spans = [slice(end - n, end) for end, n in zip(ends, value.rows, strict=True)]
    parts = list(zip(value.values, spans, strict=True))
    is_large = _n_numbers(value.values[0]) >= WORTH_SHARING
    run(compute, parts) if is_large else run_alone(compute, parts)
    return y


def _n_numbers(value: Any) -> int:
    """How many numbers a tuple of arrays holds; 0 of anything else."""
    return sum(x.size for x in value) if isinstance(value, tuple) else 0
