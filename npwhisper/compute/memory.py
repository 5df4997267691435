"""Freed memory: glibc keeps it for the next arrays, but those of the next stage may not fit into it."""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable


def return_freed_memory() -> None:
    """Give freed memory back to the system, where the C library can (glibc).

    The encoder's temporary arrays are of other sizes than the keys and values, which would be put beside them.
    """
    _trim()(0)


@functools.cache
def _trim() -> Callable[[int], object]:
    if not sys.platform.startswith("linux"):
        return bool
    trim: Callable[[int], object] = getattr(ctypes.CDLL(None), "malloc_trim", bool)
    return trim
