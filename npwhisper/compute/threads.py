"""Threads: how many compute, our pool of them, and those of the library under NumPy's products (BLAS).

NumPy releases Python's lock while it computes, so threads really run in parallel. While ours run, BLAS is limited to
one thread, or its threads would compete with ours for the same cores.
"""

from __future__ import annotations

import functools
import math
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")

MOST_THREADS = 1024
HAS_LOCK = getattr(sys, "_is_gil_enabled", lambda: True)()  # a free-threaded Python runs without its global lock
MOST_OF_OURS = 8 if HAS_LOCK else 16  # threads of our pool: another costs more in Python's lock than it computes
MOST_OF_BLAS = 8  # threads of BLAS on few rows: sixteen take longer to meet than they save
IS_BROWSER = sys.platform == "emscripten"  # Python in WebAssembly: it starts no threads, and NumPy there has no BLAS

_threads: list[int] = []  # what set_num_threads was given last
_wanted_here: ContextVar[int | None] = ContextVar("npwhisper_threads", default=None)
_is_inside: ContextVar[bool] = ContextVar("npwhisper_is_inside_a_block", default=False)


def get_num_threads() -> int:
    """How many threads compute: what was set, or one for each available processor, at most OMP_NUM_THREADS.

    In a browser, one.
    """
    if IS_BROWSER:
        return 1
    if (here := _wanted_here.get()) is not None:
        return here
    if _threads:
        return _threads[-1]
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return min(processors(), int(wanted)) if wanted.isdecimal() and int(wanted) else processors()


def processors() -> int:
    """The processors that this process may use, no more than its container's CPU quota pays for."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(available, _quota())


@functools.cache
def _quota(folder: str = "/sys/fs/cgroup") -> int:
    """The processors that the control group grants, rounded up; a very large number if it sets no limit."""
    try:
        quota, period = Path(folder, "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota, period = (Path(folder, "cpu", f"cpu.cfs_{x}_us").read_text().strip() for x in ("quota", "period"))
        except OSError:
            return 1 << 20
    is_limited = quota.isdecimal() and period.isdecimal() and int(period) > 0
    return max(1, math.ceil(int(quota) / int(period))) if is_limited else 1 << 20


def pool_threads() -> int:
    """How many threads of ours share a piece of work.

    >>> 1 <= pool_threads() <= MOST_OF_OURS
    True
    """
    return min(get_num_threads(), MOST_OF_OURS)


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
    _threads[:] = [_checked(n)]


@contextmanager
def using_threads(n: int | None) -> Iterator[None]:
    """Compute with `n` threads inside the `with` block, in this thread or task only; None keeps the number of now.

    A step of the decoder needs the number a hundred times; inside the block Linux is not asked each time.

    >>> with using_threads(3):
    ...     get_num_threads()
    3
    """
    token = _wanted_here.set(get_num_threads() if n is None else _checked(n))
    try:
        yield
    finally:
        _wanted_here.reset(token)


def _checked(n: int) -> int:
    if n < 1:
        raise ValueError(f"the number of threads must be at least 1, got {n}: use 1")
    if n > MOST_THREADS:
        raise ValueError(f"at most {MOST_THREADS} threads can be used, got {n}: use no more than there are processors")
    return n


def is_inside() -> bool:
    """Whether this is already a piece of shared work: it is not shared again."""
    return _is_inside.get()


def run(work: Callable[[T], None], pieces: Sequence[T]) -> None:
    """Do `work` for all pieces, in any order: in several threads, except inside a piece of other such work."""
    if is_inside():
        run_alone(work, pieces)
        return
    keep_freed_memory()
    token = _is_inside.set(True)
    try:
        with limit_blas(1):
            failures = _share(work, iter(pieces), min(pool_threads(), len(pieces)) - 1)
    finally:
        _is_inside.reset(token)
    for failure in failures:
        if failure is not None:
            raise failure


def run_alone(work: Callable[[T], None], pieces: Iterable[T]) -> None:
    """Do `work` for all pieces in the calling thread."""
    for piece in pieces:
        work(piece)


def _share(work: Callable[[T], None], todo: Iterator[T], n_helpers: int) -> list[BaseException | None]:
    """Work with up to `n_helpers` threads, each taking the next piece that none has taken; -> their errors."""
    futures = _start(n_helpers, work, todo)
    try:
        _drain(work, todo)
    finally:
        failures = [future.exception() for future in futures if not future.cancel()]
    return failures


def _start(n: int, work: Callable[[T], None], todo: Iterator[T]) -> list[Future[None]]:
    """Let up to `n` threads help; none once the interpreter ends, since it starts no more: the caller does it all."""
    futures: list[Future[None]] = []
    try:
        for _ in range(n):
            futures.append(_pool(n, os.getpid()).submit(copy_context().run, _drain, work, todo))
    except RuntimeError:
        pass
    return futures


def _drain(work: Callable[[T], None], todo: Iterator[T]) -> None:
    """Work until nothing is left; after an error nothing is left for any thread."""
    try:
        for piece in todo:
            work(piece)
    except BaseException:
        for _ in todo:
            pass
        raise


@functools.cache
def _pool(n: int, pid: int) -> ThreadPoolExecutor:
    """Threads that wait for work; a forked process has none of its parent's, so it starts its own."""
    return ThreadPoolExecutor(n, thread_name_prefix="npwhisper")


@functools.cache
def keep_freed_memory() -> None:
    """Let glibc keep freed memory instead of returning it to Linux, which clears each page before it is used again.

    Freeing one large array, never touched, raises glibc's limit for the process: the encoder takes 8 to 12 % less time.
    """
    np.empty(31 << 20, dtype=np.uint8)


@functools.cache
def blas_libraries() -> tuple[Any, ...]:
    """threadpoolctl's controllers of the loaded BLAS libraries."""
    if IS_BROWSER:
        return ()
    from threadpoolctl import ThreadpoolController

    return tuple(ThreadpoolController().select(user_api="blas").lib_controllers)


def _setter(library: Any) -> Callable[[int], object]:
    """What sets a library's threads from any thread.

    threadpoolctl's public method obeys only the first thread that called it and silently ignores the others.
    """
    setter: Callable[[int], object] = getattr(library, "_real_set_num_threads", library.set_num_threads)
    return setter


class _BlasThreads:
    """How many threads the calls under way let BLAS have, and how many it had before them."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.allowed: list[tuple[int, int]] = []  # the thread that asked, and how many it lets BLAS have
        self.before: list[tuple[Callable[[int], object], int]] = []

    def enter(self, n: int) -> None:
        with self.lock:
            if not self.allowed and not self.before:
                self.before = [(_setter(x), x.get_num_threads()) for x in blas_libraries()]
            self.allowed.append((threading.get_ident(), n))
            self._apply()

    def leave(self, n: int) -> None:
        with self.lock:
            if (mine := (threading.get_ident(), n)) in self.allowed:  # not in a child that was forked inside the block
                self.allowed.remove(mine)
            self._apply()
            if not self.allowed:
                self.before = []

    def _apply(self) -> None:
        for set_, before in self.before:
            set_(min([before, *(n for _, n in self.allowed)]))

    def lend(self, n: int) -> None:
        """Let BLAS have `n` threads until the next change, unless another thread holds it to fewer."""
        with self.lock:
            if {thread for thread, _ in self.allowed} <= {threading.get_ident()}:
                for set_, before in self.before:
                    set_(min(before, n))

    def take_back(self) -> None:
        with self.lock:
            self._apply()

    def hold(self) -> None:
        """Before a fork: wait until no other thread is changing BLAS, so that the child gets it whole."""
        self.lock.acquire()

    def release(self) -> None:
        """After a fork, in the parent."""
        self.lock.release()

    def renew(self) -> None:
        """In a forked child: its parent's other threads are gone, with the lock and the limits that they held."""
        self.lock, self.allowed = threading.Lock(), []


_blas_threads = _BlasThreads()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_blas_threads.hold, after_in_parent=_blas_threads.release, after_in_child=_blas_threads.renew
    )


@contextmanager
def limit_blas(n: int) -> Iterator[None]:
    """Let BLAS use at most `n` threads inside the `with` block; of several calls at once the lowest limit holds."""
    _blas_threads.enter(n)
    try:
        yield
    finally:
        _blas_threads.leave(n)


@contextmanager
def lend_to_blas(n: int) -> Iterator[None]:
    """Let BLAS use `n` threads inside the `with` block, in spite of this thread's own limits.

    While other threads compute too, their limits hold: then a product may differ in its last bits.
    """
    _blas_threads.lend(n)
    try:
        yield
    finally:
        _blas_threads.take_back()
