"""Freed memory goes back to the system when it is asked to."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from npwhisper.compute.memory import return_freed_memory
from npwhisper.compute.threads import keep_freed_memory


def resident() -> float:
    """MB of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc, asks glibc")
def test_what_glibc_keeps_is_returned() -> None:
    keep_freed_memory()
    arrays = [np.ones(1 << 18, np.float32) for _ in range(64)]
    full, last = resident(), arrays.pop()  # the last keeps glibc from cutting the heap's end off
    del arrays
    kept = resident()
    return_freed_memory()
    assert resident() < min(full, kept) - 40
    assert last[0] == 1
