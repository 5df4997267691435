"""A backend of joblib whose processes are forked from the one that calls it, and share what it has loaded.

All of them are forked by Python's `ProcessPoolExecutor` at the first call, before it starts a thread of its own.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

from joblib import cpu_count
from joblib.parallel import ParallelBackendBase


@contextmanager
def without_warning() -> Iterator[None]:
    """Do without Python's warning of a fork while threads run: that of the progress bar, which a child lacks."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


class ForkedProcesses(ParallelBackendBase):  # type: ignore[misc]  # joblib has no types
    """What joblib asks of a backend; see its documentation, "Custom backend API"."""

    supports_retrieve_callback = True

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """How many processes there will be: `n_jobs`, or as many fewer than processors as a negative number says."""
        return 1 if n_jobs is None else n_jobs if n_jobs > 0 else max(1, cpu_count() + 1 + n_jobs)

    def configure(self, n_jobs: int = 1, parallel: Any = None, **_: Any) -> int:
        """Say how many processes there will be; they start when there is work."""
        self.parallel, self.n_jobs = parallel, self.effective_n_jobs(n_jobs)
        self._pools: list[ProcessPoolExecutor] = []
        return self.n_jobs

    def submit(self, func: Callable[[], Any], callback: Callable[[Any], Any] | None = None) -> Future[Any]:
        """Give work to a process."""
        if not self._pools:
            context = multiprocessing.get_context("fork")
            self._pools.append(ProcessPoolExecutor(self.n_jobs, context, initializer=_end_with_the_parent_only))
        with without_warning():
            future = self._pools[0].submit(func)
        if callback is not None:
            future.add_done_callback(callback)
        return future

    apply_async = submit  # joblib 1.4

    def retrieve_result_callback(self, future: Future[Any]) -> Any:
        """The result of some work, or its error."""
        return future.result()

    def terminate(self) -> None:
        """End the processes when they have finished."""
        for pool in self._pools:
            pool.shutdown()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """End the processes now."""
        for process in multiprocessing.active_children():
            if isinstance(process, multiprocessing.context.ForkProcess):
                process.kill()
        self.terminate()
        self._pools.clear()


def _end_with_the_parent_only() -> None:
    """Leave Ctrl-C to the parent, and end when it has ended, however it did."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_after_the_parent, daemon=True).start()


def _end_after_the_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
