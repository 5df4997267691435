"""openai-whisper's own tests, unchanged, on npwhisper: ``whisper`` is npwhisper there (`tests/support/as_whisper.py`).

They come with its source package, which `.ci/run` downloads and unpacks: `NPWHISPER_UPSTREAM` names that folder. What
they call of torch (tensors given to `median_filter`, the question whether there is a GPU) is torch's own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import cases
import pytest
import upstream

pytest.importorskip("torch")
ROOT = Path(__file__).parents[2]
PASSED = {  # of version 20250625, on a machine without a GPU
    "test_audio": 1,
    "test_normalizer": 4,
    "test_timing": 8,
    "test_tokenizer": 4,
    "test_transcribe": 2,  # with tiny.en and with base
}


def upstreams_tests() -> Path:
    """The folder of the tests in openai-whisper's unpacked source package; a test without it is skipped."""
    if "NPWHISPER_UPSTREAM" not in os.environ:
        pytest.skip("NPWHISPER_UPSTREAM names no folder with openai-whisper's unpacked source package")
    return Path(os.environ["NPWHISPER_UPSTREAM"], "tests")


def test_upstreams_own_tests_pass(tmp_path: Path) -> None:
    """In a process of its own, since there ``whisper`` means npwhisper; their recording lies beside them."""
    tests = shutil.copytree(upstreams_tests(), tmp_path / "tests")
    shutil.copy(cases.recordings()["jfk"], tests / "jfk.flac")
    report = tmp_path / "report.xml"
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests/support")])
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "as_whisper", "-m", "not requires_cuda", "--junit-xml", report, tests],
        env={**os.environ, "PYTHONPATH": path, "NPWHISPER_WEIGHTS": str(upstream.weights_folder())},
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-4000:]
    passed: dict[str, int] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        assert not list(case), f"{case.get('name')} was not run"
        file = str(case.get("classname")).rpartition(".")[2]
        passed[file] = passed.get(file, 0) + 1
    assert passed == PASSED
