"""One run for one journal: a lock that the system releases when the run's process ends, however it ends."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import weakref
import zlib
from typing import TypeAlias

Path: TypeAlias = str | os.PathLike[str]
IS_HELD = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)  # other errors: the file system knows no locks


class JournalError(ValueError):
    """A journal that cannot be written, or belongs to another run; the message says what to do."""


class JournalLock(os.PathLike[str]):
    """A journal, and the outputs that it belongs to, kept to one run of one process.

    The lock is a hidden file beside the journal. It ends with `close`, when the object is collected, or with the
    process.

    Parameters
    ----------
    path : path
        The journal; it need not exist, but its folder must.

    Raises
    ------
    JournalError
        If another run holds the journal, of this process or of another, or if its folder cannot be written.

    Examples
    --------
    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder, JournalLock(f"{folder}/talk.journal") as journal:
    ...     JournalLock(journal)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    npwhisper.transcription.locking.JournalError: another run is writing '...talk.journal': wait for it (in Python, ...
    """

    def __init__(self, path: Path) -> None:
        self.path, self.process = os.fspath(path), os.getpid()
        folder, name = os.path.split(os.path.realpath(path))
        lock = os.path.join(folder, f".{zlib.crc32(os.path.normcase(name).encode(errors='surrogateescape')):08x}.lock")
        self._release = weakref.finalize(self, _release, self._opened(lock), lock, self.process)

    def _opened(self, lock: str) -> int:
        """The descriptor of the lock's file, once it is ours."""
        try:
            descriptor = _open_locked(lock)
            if descriptor is None:
                gc.collect()  # an abandoned transcription, which is part of a cycle, may still hold the journal
                descriptor = _open_locked(lock)
        except OSError as error:
            raise unwritable(self.path, error) from error
        if descriptor is None:
            raise JournalError(
                f"another run is writing {self.path!r}: wait for it (in Python, close() it), or choose another folder"
            )
        return descriptor

    def __fspath__(self) -> str:
        return self.path

    def __enter__(self) -> JournalLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the journal for other runs; a second call changes nothing."""
        self._release()

    def check(self) -> None:
        """Raise JournalError in a process that was forked from the one that holds the journal."""
        if os.getpid() != self.process:
            raise JournalError(
                f"{self.path!r} belongs to process {self.process}, from which this one was forked: "
                "give every process a journal of its own"
            )


def unwritable(path: str, error: OSError) -> JournalError:
    """The error that says why a journal cannot be written."""
    return JournalError(
        f"the journal {path!r} cannot be written ({error.strerror or error}): free some space, or choose "
        "another folder; what the journal already holds is not lost"
    )


def _release(descriptor: int, lock: str, process: int) -> None:
    """Remove the lock, and close it; in a forked process it stays, since its parent still holds it."""
    if os.name != "nt" and os.getpid() == process:
        with contextlib.suppress(OSError):
            os.unlink(lock)
    os.close(descriptor)


def _open_locked(lock: str) -> int | None:
    """Open and lock a file; None if somebody else has locked it."""
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        is_free = lock_file(descriptor)
        if is_free and _is_at(lock, descriptor):
            return descriptor
        os.close(descriptor)
        if not is_free:
            return None  # else a run that ended has just removed the file: make a new one


def _is_at(path: str, descriptor: int) -> bool:
    """Whether an open file is still the one at `path`."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def lock_file(descriptor: int) -> bool:
    """Lock an open file, without waiting; -> whether no other process, and no other part of this one, had locked it.

    True also where the file system has no locks.
    """
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in IS_HELD
    return True
