"""Open every hostile file and folder in a process of its own, under limits; print a line for each that breaks one.

    python capped.py megabytes seconds

A child is forked for each file after all imports, so that its memory and time are those of opening the file.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import hostile
import hostile_folders

from npwhisper.checkpoint import CheckpointError, read_checkpoint, to_float32
from npwhisper.checkpoint.weights import check_weights
from npwhisper.model import ModelDimensions

REFUSED = 77


def open_whole(path: Path) -> None:
    checkpoint = read_checkpoint(path)
    check_weights(checkpoint.weights, ModelDimensions(**checkpoint.dims))
    for name, array in checkpoint.weights.items():
        to_float32(array, name)


def child(path: Path, megabytes: int, seconds: int) -> int:
    # Mapping the file needs address space as well, so the limit on it is the file's size above that on memory.
    files = [path] if path.is_file() else [file for file in path.iterdir() if file.is_file()]
    limit = megabytes * 2**20 + sum(file.stat().st_size for file in files)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    signal.alarm(seconds)
    try:
        open_whole(path)
    except CheckpointError:
        return REFUSED
    return 0


def cases() -> Iterator[tuple[str, Callable[[Path], object]]]:
    """Every name with what writes its file or folder to a path."""
    for name, (make, _) in hostile.CASES.items():
        yield name, lambda path, make=make: path.write_bytes(make())  # type: ignore[misc]
    for name, (files, _) in hostile_folders.CASES.items():
        yield name, lambda path, files=files: hostile_folders.write(path, files())  # type: ignore[misc]
    yield from hostile_folders.NO_FILES.items()


def main() -> None:
    megabytes, seconds = map(int, sys.argv[1:])
    count = 0
    for count, (name, write) in enumerate(cases(), start=1):  # noqa: B007
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model")
            write(path)
            pid = os.fork()
            if pid == 0:
                try:
                    status = child(path, megabytes, seconds)
                except BaseException as error:
                    print(f"{name}: {error!r}"[:200], flush=True)
                    status = 1
                os._exit(status)
            _, status, usage = os.wait4(pid, 0)
        peak = usage.ru_maxrss // 1024  # kilobytes on Linux
        if os.waitstatus_to_exitcode(status) != REFUSED or peak > megabytes:
            print(f"{name}: exit {os.waitstatus_to_exitcode(status)}, {peak} MB", flush=True)
    print(f"{count} files")


if __name__ == "__main__":
    main()
