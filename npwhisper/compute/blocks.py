"""Work in blocks: pieces that stay in a processor's cache, shared among threads.

Almost everything in Whisper treats every position alike, so it can be computed for a few hundred positions at a time.
The decorators here say which parts of a function are independent, and how large the blocks are.

    positionwise   f(x, ...), every row of x by itself
    by_heads       attention, every head and every query by itself
    reproducible   a whole computation, whose bits depend on nothing that runs beside it

While layers are traced, replaced or profiled, functions made of layers run whole and in the caller's thread; single
layers are cut as ever, so that not a bit of the result changes.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable
from itertools import product
from typing import Any, ParamSpec, TypeVar

import numpy as np

from npwhisper.compute.cores import fewest_rows
from npwhisper.compute.threads import is_inside, limit_blas, pool_threads, run
from npwhisper.tracing.seam import Array, is_handled

P = ParamSpec("P")
R = TypeVar("R")

SMALLEST_BLOCK = 64  # rows: below, BLAS spends more on rearranging the weights than on multiplying
ROWS = {  # the most positions in a block of each function
    "linear": 750, "layer_norm": 750, "mlp": 750,
    "gelu": 188,  # many operations, each reading what the one before wrote
}  # fmt: skip
QUERIES = 375  # the most queries of one head in a block
FEW_QUERIES = 32  # up to here all heads are computed at once
MADE_OF_LAYERS = {"mlp"}
ELEMENTWISE = {"gelu", "layer_norm"}


def positionwise(function: Callable[P, Array]) -> Callable[P, Array]:
    """Every row of x is computed by itself, so do some rows at a time."""
    name = function.__name__
    return in_blocks(ROWS[name], composite=name in MADE_OF_LAYERS, elementwise=name in ELEMENTWISE)(function)


def in_blocks(
    rows: int, axis: int | None = None, composite: bool = False, elementwise: bool = False
) -> Callable[[Callable[P, Array]], Callable[P, Array]]:
    """Compute ``f(x, ...)`` for `rows` rows of x at a time, or for as many places along `axis` of x and of the result.

    Rows are all axes of x but the last: a function of (..., D) sees (rows, D). A `composite` function runs whole while
    its layers are watched; `elementwise` work is cut into larger pieces for many threads.
    """

    def decorate(function: Any) -> Any:
        @functools.wraps(function)
        def call(x: Array, *args: Any, **kwargs: Any) -> Any:
            n = math.prod(x.shape[:-1]) if axis is None else x.shape[axis]
            parts = parts_of(n, rows, fewest_rows(x.shape[-1]) if elementwise else 1)
            if len(parts) <= 1 or (composite and is_handled()):
                return function(x, *args, **kwargs)
            if axis is not None:
                return _computed(lambda block: function(block, *args, **kwargs), x, parts, axis)
            y = _computed(lambda block: function(block, *args, **kwargs), x.reshape(n, -1), parts, 0)
            return y.reshape(*x.shape[:-1], -1)

        return call

    return decorate


def _computed(function: Callable[[Array], Array], x: Array, parts: list[slice], axis: int) -> Array:
    result: list[Array] = []
    lock = threading.Lock()

    def work(part: slice) -> None:
        y = function(_cut(x, axis, part))
        with lock:
            if not result:  # only now is it known how wide the result is
                result.append(np.empty((*y.shape[:axis], x.shape[axis], *y.shape[axis + 1 :]), dtype=y.dtype))
        _cut(result[0], axis, part)[...] = y

    run(work, parts)
    return result[0]


def _cut(x: Array, axis: int, part: slice) -> Array:
    view: Array = x.swapaxes(0, axis)[part].swapaxes(0, axis)
    return view


def parts_of(n: int, size: int, fewest: int = 1) -> list[slice]:
    """Cut `n` rows into equal parts of at most `size`, at least one for each thread if they are not too small.

    No part is smaller than `fewest` rows would be. Rows that are themselves a part, taken by a thread, are not cut
    again for the others.
    """
    if not is_inside():
        size = max(fewest, min(size, max(SMALLEST_BLOCK, -(-n // pool_threads()))))
    count = -(-n // size)
    return [slice(n * i // count, n * (i + 1) // count) for i in range(count)]


def by_heads(function: Callable[[Array, Array, Array, Array | None], Array]) -> Callable[..., Array]:
    """Compute ``f(q, k, v, mask)``, every head and every query by itself, for one head and some queries at a time."""

    @functools.wraps(function)
    def call(q: Array, k: Array, v: Array, mask: Array | None = None) -> Array:
        if q.shape[-2] <= FEW_QUERIES or q.ndim != 4 or is_handled():
            return function(q, k, v, mask)
        batch, heads, length, width = q.shape
        result: Array = np.empty((batch, length, heads, width), dtype=q.dtype).transpose(0, 2, 1, 3)

        def work(piece: tuple[int, slice, slice]) -> None:
            b, h, part = piece
            result[b, h, part] = function(q[b, h, part], k[b, h], v[b, h], None if mask is None else mask[part])

        run(work, pieces_of(q))
        return result

    return call


def pieces_of(x: Array) -> list[tuple[int, slice, slice]]:
    """The blocks of (B, H, T, ...): one window, one head, some positions."""
    batch, heads, length, _ = x.shape
    return [(b, slice(h, h + 1), part) for b, h, part in product(range(batch), range(heads), parts_of(length, QUERIES))]


def reproducible(function: Callable[P, R]) -> Callable[P, R]:
    """Compute `f` with our threads only, BLAS on one: the same bits, whatever else the process computes."""
    return limit_blas(1)(function)


blocked = in_blocks  # its old name
