"""One process for one output folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from npwhisper.transcription.locking import lock_file
from npwhisper.whisper.corpus.recordings import CorpusError

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
        raise CorpusError(f"cannot write to {str(folder)!r} ({error.strerror}): choose another folder") from error
    with file:
        if not lock_file(file.fileno()):
            raise CorpusError(f"another process is writing to {str(folder)!r}: wait for it, or choose another folder")
        yield
