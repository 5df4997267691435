"""Give changed files to everything that reads strangers' bytes; print the first input that breaks a promise.

    python tests/support/fuzz.py [TARGET ...] --runs 300 --seed 0      what the gate runs, for every target
    python tests/support/fuzz.py plain --runs 1000000 --guided         for longer, by coverage (needs atheris)

A target reads the bytes or raises its one kind of error, in one line, within 10 seconds and 1 GB. The corpus is
`tests/data/fuzz`, a folder for each target; with ``--keep FOLDER``, inputs that break a promise are written there, and
what a guided run finds on the way.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
CORPUS = ROOT / "tests" / "data" / "fuzz"
SECONDS, MEGABYTES = 10, 1000
sys.path[:0] = [str(ROOT), *(str(ROOT / "tests" / folder) for folder in ("support", "golden", "checkpoint"))]


def seeds(name: str, corpora: dict[str, str]) -> list[bytes]:
    """The small files that a target's inputs are made from."""
    return [path.read_bytes() for path in sorted((CORPUS / corpora.get(name, name)).iterdir())]


def fuzz(name: str, runs: int, seed: int, keep: Path | None) -> bool:
    """Give every seed and `runs` changed ones to a target; -> whether it kept its promise."""
    import fuzz_targets
    import numpy as np
    from mutated_recordings import mutated

    corpus = seeds(name, fuzz_targets.CORPORA)
    for i in range(len(corpus) + runs):
        rng = np.random.default_rng([seed, i])
        data, other = (corpus[i % len(corpus)], corpus[rng.integers(len(corpus))])
        data = data if i < len(corpus) else mutated(data, other, rng)
        if not is_kept(name, data, f"{name}-{seed}-{i}", keep):
            return False
    print(f"{name}: {len(corpus)} files and {runs} changed ones", flush=True)
    return True


def is_kept(name: str, data: bytes, label: str, keep: Path | None) -> bool:
    """Whether a target keeps its promise for one input."""
    import fuzz_targets

    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        fuzz_targets.run(name, data)
    except BaseException:
        traceback.print_exc()
        print(f"{label} breaks the promise of {name}", flush=True)
        if keep:
            (keep / label).write_bytes(data)
        return False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return True


def guided(name: str, runs: int, seed: int, keep: Path | None) -> None:
    """Let atheris choose the changes by the lines of npwhisper that they reach; ends the process."""
    import atheris

    with atheris.instrument_imports(include=["npwhisper"]):
        import fuzz_targets
    folders = [str(keep), f"-artifact_prefix={keep}/{name}-"] if keep else []
    limits = [f"-runs={runs}", f"-seed={seed + 1}", f"-timeout={SECONDS}", f"-rss_limit_mb={MEGABYTES}"]
    corpus = str(CORPUS / fuzz_targets.CORPORA.get(name, name))
    arguments = [sys.argv[0], *limits, "-max_len=40000", *folders, corpus]
    atheris.Setup(arguments, lambda data: fuzz_targets.run(name, data))
    atheris.Fuzz()


def limited() -> None:
    """Hold this process to the limits, without ffmpeg and without what decoders in C print."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEGABYTES << 20, MEGABYTES << 20))
    os.environ["PATH"] = ""
    said = os.dup(2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    sys.stderr = os.fdopen(said, "w", buffering=1)


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("targets", nargs="*", metavar="TARGET")
    p.add_argument("--runs", type=int, default=300)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--guided", action="store_true", help="by coverage, one target at a time; needs atheris")
    p.add_argument("--keep", type=Path)
    o: Any = p.parse_args()
    if o.keep:
        o.keep.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(KeyboardInterrupt):
        if o.guided:
            os.environ["PATH"] = ""
            guided(*o.targets, o.runs, o.seed, o.keep)
        limited()
        import fuzz_targets

        kept = [fuzz(name, o.runs, o.seed, o.keep) for name in o.targets or fuzz_targets.TARGETS]
        return int(not all(kept))
    return 130


if __name__ == "__main__":
    sys.exit(main())
