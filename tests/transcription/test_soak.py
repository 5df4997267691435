"""A few forks and kills of the long runs in `tests/benchmarks/soak.py`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).parents[1] / "benchmarks" / "soak.py"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks, and kills processes as POSIX does")
@pytest.mark.parametrize(("name", "times"), [("forks", 30), ("kills", 3)])
def test_forks_and_kills_leave_nothing_hanging_or_wrong(name: str, times: int) -> None:
    command = [sys.executable, "-W", "ignore::DeprecationWarning", str(SOAK), name, "--times", str(times)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert str(times) in done.stdout
