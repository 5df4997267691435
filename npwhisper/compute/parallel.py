"""Work in blocks: pieces that stay in a processor's cache, shared among a few threads.

Almost everything in Whisper treats every position alike, so it can be computed for a few hundred positions at a time:
what is made on the way never leaves the cache, and several threads can each take the next block. The decorators here
do this to functions that know nothing of it. NumPy computes without Python's lock, so threads really run at once; the
library under its matrix products (BLAS) is held to one thread meanwhile, or its threads would fight with ours.

    blocked     a function of x, cut along one axis of x and of the result
    headwise    attention, one head and some queries at a time
    outputwise  x @ weight.T, cut along the outputs: for few rows of x, where reading the weight is all the work

While layers are traced, swapped or profiled, functions made of layers run whole and in the caller's thread; only single
layers are shared among threads, with the same cuts as ever, so that not a bit of the result changes.
"""

from __future__ import annotations

import functools
import math
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from itertools import product
from typing import Any, ParamSpec, TypeAlias

import numpy as np

from npwhisper.tracing.seam import Array, is_handled

P = ParamSpec("P")
Piece: TypeAlias = Any
Matrix: TypeAlias = Any  # an array or an Int8Matrix

SMALLEST_BLOCK = 64  # rows: below, BLAS spends more on rearranging the weights than on multiplying
FEW_ROWS = 32  # up to here a product goes faster in pieces that BLAS multiplies without rearranging
FEW_RESULTS, FEW_PRODUCTS = 1200, 1_000_000  # the most results (rows x outputs) and multiplications of such a piece
AVX512 = ("SkylakeX", "Cooperlake", "SapphireRapids")  # as OpenBLAS calls what it computes for
FETCHED = 1 << 19  # weights copied or unpacked at a time: fewer cost more in Python than they save in the cache
WORTH_SHARING = 1 << 22  # multiplications: below, another thread comes too late to help

# Linux takes freed memory back beyond a limit, and every page that is wanted again costs time. Freeing one large array,
# never touched, raises that limit for the process: the encoder becomes 8 to 12 % faster.
np.empty(31 << 20, dtype=np.uint8)

_threads: list[int] = []  # what set_num_threads was given last
_is_inside: ContextVar[bool] = ContextVar("npwhisper_is_inside_a_block", default=False)
_lock = threading.Lock()


def get_num_threads() -> int:
    """How many threads compute: what was set, or one for each processor, at most OMP_NUM_THREADS."""
    if _threads:
        return _threads[-1]
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return min(processors, int(wanted)) if wanted.isdecimal() and int(wanted) else processors


def set_num_threads(n: int) -> None:
    """Compute with `n` threads from now on, the calling one included.

    Parameters
    ----------
    n : int

    Raises
    ------
    ValueError
        If `n` is less than 1.

    Examples
    --------
    >>> before = get_num_threads()
    >>> set_num_threads(1)
    >>> get_num_threads()
    1
    >>> set_num_threads(before)
    """
    if n < 1:
        raise ValueError(f"at least one thread must compute, got {n}: use 1")
    _threads[:] = [n]


def blocked(
    rows: int, axis: int | None = None, composite: bool = False
) -> Callable[[Callable[P, Array]], Callable[P, Array]]:
    """Compute ``f(x, ...)`` for `rows` rows of x at a time, or for as many places along `axis` of x and of the result.

    Rows are all axes of x but the last: a function of (..., D) sees (rows, D).
    """

    def decorate(function: Any) -> Any:
        @functools.wraps(function)
        def call(x: Array, *args: Any, **kwargs: Any) -> Any:
            n = math.prod(x.shape[:-1]) if axis is None else x.shape[axis]
            parts = _parts(n, rows)
            if len(parts) <= 1 or (composite and is_handled()):
                return function(x, *args, **kwargs)
            if axis is not None:
                return _in_blocks(lambda block: function(block, *args, **kwargs), x, parts, axis)
            y = _in_blocks(lambda block: function(block, *args, **kwargs), x.reshape(n, -1), parts, 0)
            return y.reshape(*x.shape[:-1], -1)

        return call

    return decorate


def _in_blocks(function: Callable[[Array], Array], x: Array, parts: list[slice], axis: int) -> Array:
    result: list[Array] = []

    def work(part: slice) -> None:
        y = function(_cut(x, axis, part))
        with _lock:
            if not result:  # only now is it known how wide the result is
                result.append(np.empty((*y.shape[:axis], x.shape[axis], *y.shape[axis + 1 :]), dtype=y.dtype))
        _cut(result[0], axis, part)[...] = y

    _run(work, parts)
    return result[0]


def _cut(x: Array, axis: int, part: slice) -> Array:
    view: Array = x.swapaxes(0, axis)[part].swapaxes(0, axis)
    return view


def _parts(n: int, size: int) -> list[slice]:
    """Cut `n` rows into equal parts of at most `size`, at least one for each thread if they are not too small.

    Rows that are themselves a part, taken by a thread, are not cut again for the others.
    """
    if not _is_inside.get():
        size = min(size, max(SMALLEST_BLOCK, -(-n // get_num_threads())))
    count = -(-n // size)
    return [slice(n * i // count, n * (i + 1) // count) for i in range(count)]


def headwise(rows: int) -> Callable[[Callable[P, Array]], Callable[P, Array]]:
    """Compute ``f(q, k, v, mask)`` for one head and about `rows` queries at a time."""

    def decorate(function: Any) -> Any:
        @functools.wraps(function)
        def call(q: Array, k: Array, v: Array, mask: Array | None = None) -> Any:
            if q.shape[-2] <= FEW_ROWS or q.ndim != 4 or is_handled():
                return function(q, k, v, mask)
            batch, heads, length, width = q.shape
            result = np.empty((batch, length, heads, width), dtype=q.dtype).transpose(0, 2, 1, 3)

            def work(piece: tuple[int, int, slice]) -> None:
                b, h, part = piece
                result[b, h, part] = function(q[b, h, part], k[b, h], v[b, h], None if mask is None else mask[part])

            _run(work, _pieces(q, rows))
            return result

        return call

    return decorate


def _pieces(x: Array, rows: int) -> list[tuple[int, int, slice]]:
    batch, heads, length, _ = x.shape
    return list(product(range(batch), range(heads), _parts(length, rows)))


def rowwise(rows: int) -> Callable[[Callable[[Array, Array], Array]], Callable[[Array, Array], Array]]:
    """Compute ``f(x, y)``, a product of heads, with the cut of `headwise`: attention watched is the same to the bit."""

    def decorate(function: Any) -> Any:
        @functools.wraps(function)
        def call(x: Array, y: Array) -> Any:
            if x.shape[-2] <= FEW_ROWS or x.ndim != 4:
                return function(x, y)
            result = np.empty((*x.shape[:-1], y.shape[-1]), dtype=x.dtype)

            def work(piece: tuple[int, int, slice]) -> None:
                b, h, part = piece
                result[b, h, part] = function(x[b, h, part], y[b, h])

            _run(work, _pieces(x, rows))
            return result

        return call

    return decorate


def outputwise(function: Callable[[Array, Matrix], Array]) -> Callable[[Array, Matrix], Array]:
    """Compute ``f(x, weight)``, a product with the rows of `weight`, for some of these rows at a time if that pays."""

    @functools.wraps(function)
    def call(x: Array, weight: Matrix) -> Array:
        rows, n = math.prod(x.shape[:-1]), len(weight)
        is_large = rows * weight.size >= WORTH_SHARING
        size = _outputs_at_a_time(rows, weight, is_large)
        if size >= n:
            return function(x, weight)
        y = np.empty((*x.shape[:-1], n), dtype=x.dtype)

        def work(part: slice) -> None:
            y[..., part] = function(x, weight[part])

        parts = [slice(i, i + size) for i in range(0, n, size)]
        _run(work, parts) if is_large else _run_alone(work, parts)
        return y

    return call


def _outputs_at_a_time(rows: int, weight: Matrix, is_large: bool) -> int:
    n, width = weight.shape
    if rows >= SMALLEST_BLOCK:
        return n
    size = n // (2 * get_num_threads()) + 1 if is_large else n
    is_fetched = are_few(rows) or weight.dtype == np.int8
    return min(size, max(1, FETCHED // width)) if is_fetched else size


def are_few(rows: int) -> bool:
    """Whether so many rows are multiplied by `few_rows`; a single one is a matter of dot products."""
    return 1 < rows <= FEW_ROWS


def few_rows(x: Array, weight: Array) -> Array:
    """``x @ weight.T`` in pieces that BLAS multiplies without rearranging them, if it can, all in one call of NumPy."""
    if not _has_small_products():
        return np.asarray(x @ weight.T)
    n, width = weight.shape
    rows = x.reshape(-1, x.shape[-1])
    size = max(1, min(FEW_RESULTS, FEW_PRODUCTS // width) // len(rows))
    count = n // size
    y, whole = np.empty((len(rows), n), dtype=x.dtype), slice(0, count * size)
    pieces = weight[whole].reshape(count, size, width).swapaxes(1, 2)
    np.matmul(rows, pieces, out=y[:, whole].reshape(len(rows), count, size).swapaxes(0, 1))
    np.matmul(rows, weight[count * size :].T, out=y[:, count * size :])
    return y.reshape(*x.shape[:-1], n)


@functools.cache
def _has_small_products() -> bool:
    """Whether BLAS has code of its own for small matrices: OpenBLAS has, for processors with AVX-512."""
    return any(getattr(library, "architecture", "") in AVX512 for library in _blas_threads.libraries)


def _run(work: Callable[[Piece], None], pieces: Sequence[Piece]) -> None:
    """Do `work` for all pieces, in whatever order: in several threads, except inside a piece of other such work."""
    if _is_inside.get():
        _run_alone(work, pieces)
        return
    todo = iter(pieces)  # shared: every thread takes the next piece that nobody has taken
    n = min(get_num_threads(), len(pieces)) - 1
    token = _is_inside.set(True)
    try:
        with limit_blas(1):
            futures = [_pool(n, os.getpid()).submit(copy_context().run, _drain, work, todo) for _ in range(n)]
            try:
                _drain(work, todo)
            finally:
                failures = [future.exception() for future in futures if not future.cancel()]
    finally:
        _is_inside.reset(token)
    for failure in failures:
        if failure is not None:
            raise failure


def _run_alone(work: Callable[[Piece], None], pieces: Iterable[Piece]) -> None:
    for piece in pieces:
        work(piece)


def _drain(work: Callable[[Piece], None], todo: Iterator[Piece]) -> None:
    """Work until nothing is left; after an error nothing is left for anybody."""
    try:
        for piece in todo:
            work(piece)
    except BaseException:
        for _ in todo:
            pass
        raise


@functools.cache
def _pool(n: int, pid: int) -> ThreadPoolExecutor:
    """Threads that wait for work; a process that was forked has none of its parent's, so it starts its own."""
    return ThreadPoolExecutor(n, thread_name_prefix="npwhisper")


class _BlasThreads:
    """How many threads the calls under way let BLAS have, and how many it had before them."""

    def __init__(self) -> None:
        self.allowed: list[int] = []
        self.before: list[tuple[Callable[[int], object], int]] = []

    @functools.cached_property
    def libraries(self) -> list[Any]:
        from threadpoolctl import ThreadpoolController

        return list(ThreadpoolController().select(user_api="blas").lib_controllers)

    def enter(self, n: int) -> None:
        with _lock:
            if not self.allowed:
                # threadpoolctl lets only the first thread that asks change OpenBLAS, and ignores others in silence
                setters = [getattr(x, "_real_set_num_threads", x.set_num_threads) for x in self.libraries]
                self.before = [(set_, x.get_num_threads()) for set_, x in zip(setters, self.libraries, strict=True)]
            self.allowed.append(n)
            self._apply()

    def leave(self, n: int) -> None:
        with _lock:
            self.allowed.remove(n)
            self._apply()

    def _apply(self) -> None:
        for set_, before in self.before:
            set_(min([before, *self.allowed]))


_blas_threads = _BlasThreads()


@contextmanager
def limit_blas(n: int) -> Iterator[None]:
    """Let BLAS use at most `n` threads inside the `with` block; of several calls at once the most modest decides."""
    _blas_threads.enter(n)
    try:
        yield
    finally:
        _blas_threads.leave(n)
