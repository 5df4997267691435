"""One process for one output folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from npwhisper.corpus.recordings import CorpusError

FILE = ".npwhisper.lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a folder to this process; the system releases it when the process ends, however it ends.

    Raises
    ------
    CorpusError
        If another process holds the folder, or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / FILE, "a+b")  # noqa: SIM115
    except OSError as error:
        raise CorpusError(f"cannot write into {str(folder)!r} ({error.strerror}): choose another folder") from error
    with file:
        if not _lock(file.fileno()):
            raise CorpusError(f"another process is writing to {str(folder)!r}: wait for it, or choose another folder")
        yield


def _lock(descriptor: int) -> bool:
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
