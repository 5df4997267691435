"""The hostile corpus given to other libraries as well: what becomes of each file, under 1 GB and 10 seconds.

    python tests/benchmarks/promises.py        (needs torch, safetensors and ctranslate2)

Every library gets the files of its own form, in a forked process each. "Loaded" is no fault by itself: a library that
knows nothing of Whisper cannot see that sizes do not fit, or that numbers are not finite.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support"), str(ROOT / "tests" / "checkpoint")]

import capped
import ctranslate2
import hostile
import hostile_folders
import safetensors.numpy
import torch

from npwhisper.checkpoint import CheckpointError

MEGABYTES, SECONDS = 1000, 10
OUTCOMES = ("one kind of error", "other errors", "loaded", "crashed", "over 1 GB or 10 s")
Case = tuple[str, Callable[[Path], object]]


def written(form: str) -> Iterator[Case]:
    """The names and writers of the hostile files of a form."""
    for name, (make, _) in hostile.CASES.items():
        kind = name.split(":")[0] if name.startswith(("safetensors", "ggml")) else ".pt"
        if kind == form:
            yield name, lambda path, make=make: path.write_bytes(make())  # type: ignore[misc]
    for name, (files, _) in hostile_folders.CASES.items():
        if name.startswith("CTranslate2") and form == "CTranslate2":
            yield name, lambda path, files=files: hostile_folders.write(path, files())  # type: ignore[misc]


def outcome(path: Path, load: Callable[[Path], object], error: type[Exception]) -> str:
    """What becomes of one file in a process of its own."""
    if (pid := os.fork()) == 0:
        os._exit(_status(path, load, error))
    _, status, usage = os.wait4(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if usage.ru_maxrss / 1024 > MEGABYTES + _resident() or code in (-signal.SIGALRM, 3):
        return OUTCOMES[4]
    return OUTCOMES[3] if code not in (0, 1, 2) else OUTCOMES[code]


def _status(path: Path, load: Callable[[Path], object], error: type[Exception]) -> int:
    limit = _data() + MEGABYTES * 2**20 + sum(file.stat().st_size for file in [path, *path.glob("*")])
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    signal.alarm(SECONDS)
    try:
        load(path)
    except MemoryError:
        return 3
    except BaseException as raised:
        return 0 if isinstance(raised, error) else 1
    return 2


def _data() -> int:
    """Bytes of data and stack that this process has now; RLIMIT_DATA counts them."""
    return int(Path("/proc/self/statm").read_text().split()[5]) * os.sysconf("SC_PAGE_SIZE")


def _resident() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


READERS: dict[str, tuple[str, Callable[[Path], object], type[Exception]]] = {
    "torch.load(weights_only=True)": (
        ".pt",
        lambda path: torch.load(path, map_location="cpu", weights_only=True),
        __import__("pickle").UnpicklingError,
    ),
    "safetensors.numpy.load_file": ("safetensors", safetensors.numpy.load_file, safetensors.SafetensorError),
    "ctranslate2.models.Whisper": ("CTranslate2", lambda path: ctranslate2.models.Whisper(str(path)), RuntimeError),
}


def main() -> None:
    torch.set_num_threads(1)
    for name, (form, load, error) in READERS.items():
        for label, reader, kind in ((name, load, error), ("npwhisper", capped.open_whole, CheckpointError)):
            counts: Counter[str] = Counter()
            for _, write in written(form):
                with tempfile.TemporaryDirectory() as folder:
                    write(Path(folder, "model"))
                    counts[outcome(Path(folder, "model"), reader, kind)] += 1
            print(f"{form}, {sum(counts.values())} files, {label} ({kind.__name__}):", dict(counts), flush=True)


if __name__ == "__main__":
    main()
