"""Changed files for everything that reads strangers' bytes; `tests/support/fuzz.py` does it for longer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).parent / "support" / "fuzz.py"
TARGETS = ("checkpoint", "ctranslate2", "mlx", "recording", "plain", "journal", "wire")

pytestmark = pytest.mark.skipif(os.name == "nt", reason="limits are POSIX's")


def fuzzed(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(FUZZ), *arguments], capture_output=True, text=True, timeout=600)


@pytest.mark.slow
def test_every_target_keeps_its_promise() -> None:
    runs = 1000
    done = fuzzed("--runs", str(runs), "--seed", str(runs))
    assert done.returncode == 0, done.stdout + done.stderr
    kept = [line.split(":")[0] for line in done.stdout.splitlines() if line.endswith(f"{runs} changed ones")]
    assert kept == list(TARGETS)


@pytest.mark.slow
def test_a_broken_promise_is_found_and_kept(tmp_path: Path) -> None:
    script = (
        "import sys, runpy; sys.path.insert(0, sys.argv[1]); import fuzz; fuzz.limited(); import fuzz_targets;"
        "fuzz_targets.TARGETS['wire'] = (lambda data: {}[data], fuzz_targets.WireError); sys.argv = sys.argv[:1];"
        "from pathlib import Path; print(fuzz.fuzz('wire', 5, 0, Path(sys.orig_argv[-1])))"
    )
    command = [sys.executable, "-c", script, str(FUZZ.parent), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.stdout == "wire-0-0 breaks the promise of wire\nFalse\n"
    assert "KeyError" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["wire-0-0"]


def test_flac_whose_predictions_grow_without_end_is_damaged() -> None:
    """Found by fuzzing: a changed coefficient of a predictor."""
    from fuzz_targets import run

    run("plain", (FUZZ.parents[1] / "data" / "fuzz" / "recording" / "growing.flac").read_bytes())
