"""What the glass box costs: the time and the memory of writing the page, beside those of the transcription alone.

    python tests/benchmarks/glass_cost.py [--rounds 3] [--seconds 180]

Each round transcribes real speech (the recordings of `tests/data`, one after the other) and writes its page, with the
same options, word times in both. Prints processor time on one thread of each round, the median of the ratios with
their range, and the peak memory of two fresh processes.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import numpy as np

import npwhisper
from npwhisper.audio import SAMPLE_RATE

OPTIONS: dict[str, Any] = {"word_timestamps": True, "num_threads": 1, "seed": 0}


def speech(seconds: float) -> Any:
    """So many seconds of the recordings, from the first one again where they are too short."""
    wanted = round(seconds * SAMPLE_RATE)
    once = np.concatenate([npwhisper.load_audio(path) for path in sorted((ROOT / "tests/data").glob("*.flac"))])
    return np.tile(once, -(-wanted // len(once)))[:wanted]


def transcription(samples: Any) -> None:
    """The transcription alone."""
    npwhisper.transcribe(samples, **OPTIONS)


def page(samples: Any) -> None:
    """The transcription and its page."""
    with tempfile.TemporaryDirectory() as folder:
        npwhisper.glass(samples, f"{folder}/talk.html", **OPTIONS)


RUNS: dict[str, Callable[[Any], None]] = {"transcription": transcription, "page": page}


def cpu_seconds(run: Callable[[Any], None], samples: Any) -> float:
    """The processor time of a run, of the system's part too."""
    start = time.process_time()
    run(samples)
    return time.process_time() - start


def ratio(n: int, samples: Any) -> float:
    """One round: print both times, and return how many times the transcription's the page's is."""
    alone, both = (cpu_seconds(run, samples) for run in RUNS.values())
    print(f"round {n}: transcription {alone:.1f} s, with its page {both:.1f} s, {both / alone:.2f} times", flush=True)
    return both / alone


def peak(name: str, seconds: float) -> str:
    """The peak memory of a fresh process, in megabytes."""
    command = [sys.executable, __file__, "--only", name, "--seconds", str(seconds)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def show_memory(name: str, samples: Any) -> None:
    """Run once and print the peak memory of this process."""
    import resource

    RUNS[name](samples)
    print(round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000))


def show_cost(samples: Any, given: argparse.Namespace) -> None:
    """Alternate both runs and print the figures."""
    transcription(samples[: 10 * SAMPLE_RATE])  # the model is loaded, the threads are there
    found = [ratio(n + 1, samples) for n in range(given.rounds)]
    print(f"median {statistics.median(found):.2f} times, from {min(found):.2f} to {max(found):.2f}")
    print("peak memory: " + ", ".join(f"{name} {peak(name, given.seconds)} MB" for name in RUNS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--only", choices=RUNS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    samples = speech(given.seconds)
    if given.only:
        show_memory(given.only, samples)
    else:
        show_cost(samples, given)


if __name__ == "__main__":
    main()
