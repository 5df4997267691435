"""Python's own switches change nothing: -O, -W error, -X dev, a low recursion limit, np.seterr(all="raise")."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLACES = [ROOT, ROOT / "tests" / "support", ROOT / "tests" / "golden"]
CODE = """
import sys
import numpy as np
BEFORE
import cases
from talkers import MULTILINGUAL, talker
from npwhisper.checkpoint.weights import embedded_path
from npwhisper.checkpoint import read_checkpoint
sound = 0.1 * cases.random_array("sound", 40 * 16000)
model = talker(MULTILINGUAL)
options = {"sample_len": 8, "language": "en", "seed": 1}
greedy = model.transcribe(sound, temperature=0, word_timestamps=True, **options)
drawn = model.transcribe(sound, temperature=(0, 0.6), logprob_threshold=0.0, beam_size=2, **options)
print(len(read_checkpoint(embedded_path()).weights), greedy["segments"], drawn["text"])
"""
FRAMES = "depth = len(__import__('inspect').stack()); sys.setrecursionlimit(depth + 120)"
WAYS: dict[str, tuple[list[str], str]] = {
    "-O": (["-O"], "assert False"),
    "-OO": (["-OO"], "assert False"),
    "-W error": (["-W", "error"], ""),
    "-X dev": (["-X", "dev"], ""),
    "a low recursion limit": ([], FRAMES),
    "errors raise": ([], "np.seterr(all='raise')"),
}


def said(switches: list[str], before: str) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, PLACES))}
    code = CODE.replace("BEFORE", before)
    run = subprocess.run([sys.executable, *switches, "-c", code], capture_output=True, text=True, env=environment)
    assert (run.returncode, run.stderr) == (0, "")
    return run.stdout


@pytest.fixture(scope="module")
def expected() -> str:
    return said([], "")


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_the_interpreters_switches_change_no_result(way: str, expected: str) -> None:
    assert said(*WAYS[way]) == expected
    assert "'words': " in expected


DEEP = """
import sys
sys.setrecursionlimit(10**6)
import pathlib, tempfile
import hostile, hostile_folders
from npwhisper.checkpoint import CheckpointError, read_checkpoint
from npwhisper.lab.grading.wire import WireError, unpack
from npwhisper.transcription.journal import read_journal
deep = [(name, make) for name, (make, _) in hostile.CASES.items() if "deep" in name]
folders = [(name, make) for name, (make, _) in hostile_folders.CASES.items() if "deep" in name]
with tempfile.TemporaryDirectory() as folder:
    for i, (name, make) in enumerate(deep + folders):
        path = pathlib.Path(folder, str(i))
        path.write_bytes(make()) if i < len(deep) else hostile_folders.write(path, make())
        try:
            read_checkpoint(path)
        except CheckpointError:
            print("refused")
    path.with_name("journal").write_bytes(b'{"journal": 1}\\n' + b"[" * 10**6 + b"\\n")
    print(read_journal(path.with_name("journal")).size)
try:
    unpack((10**6).to_bytes(8, "big") + b"[" * 10**6)
except WireError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_raised_recursion_limit_lets_no_file_kill_python() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [*PLACES, ROOT / "tests" / "checkpoint"]))}
    run = subprocess.run([sys.executable, "-c", DEEP], capture_output=True, text=True, env=environment)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout == 5 * "refused\n" + "15\nthis is not a message: RecursionError\n"
