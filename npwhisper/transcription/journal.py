"""What was recognised so far, in a file: one line of JSON for each window, so that a crash loses nothing.

The first line states what the journal belongs to: the audio, the model and the options. Every further one holds the
segments of a window and the state after it, from which a transcription resumes exactly. A line counts if it is
whole: what a crash or a full disk cut off is decoded again.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from npwhisper.checkpoint.json_text import loads
from npwhisper.compute.int8 import Int8Matrix
from npwhisper.tracing.seam import Array
from npwhisper.transcription.locking import JournalError as JournalError
from npwhisper.transcription.locking import Path, unwritable

FORM = 1  # the version of the lines below; a journal of another version cannot be resumed
BEGINNING = b'{"journal": %d' % FORM
SAMPLED = 1000  # numbers of each tensor that enter a model's fingerprint


class Journal(NamedTuple):
    """A journal as it was read: `header` is empty if there is none, and `state` is None before the first window."""

    header: dict[str, Any]
    segments: list[dict[str, Any]]
    state: dict[str, Any] | None
    size: int


NO_JOURNAL = Journal({}, [], None, 0)


def read_journal(path: Path) -> Journal:
    """Read what was recognised before a run was stopped.

    Parameters
    ----------
    path : path
        The journal; it need not exist.

    Returns
    -------
    Journal
        With its ``header``, the ``segments`` of all whole lines, the ``state`` after the last of them, and the ``size``
        of the whole lines in bytes.

    Raises
    ------
    JournalError
        If the file is not a journal of this version.

    Examples
    --------
    >>> read_journal("no such file.journal").segments
    []
    """
    if not os.path.exists(path):
        return NO_JOURNAL
    with open(path, "rb") as file:
        lines = file.read().splitlines(keepends=True)
    if lines and not lines[0].startswith(BEGINNING):
        raise JournalError(f"{os.fspath(path)!r} is not a journal of this version of npwhisper: move it elsewhere")
    whole = _whole(lines)
    segments = [segment for entry in whole[1:] for segment in entry["segments"]]
    state = whole[-1]["state"] if len(whole) > 1 else None
    return Journal(whole[0] if whole else {}, segments, state, sum(map(len, lines[: len(whole)])))


def _whole(lines: Sequence[bytes]) -> list[dict[str, Any]]:
    """The entries up to the first line that is torn or damaged."""
    entries = list[dict[str, Any]]()
    for line in lines:
        try:
            entry: Any = loads(line) if line.endswith(b"\n") else None
        except (ValueError, RecursionError):
            entry = None
        if not (_is_window(entry, len(entries)) if entries else isinstance(entry, dict) and "journal" in entry):
            break
        entries.append(entry)
    return entries


def _is_window(entry: Any, number: int) -> bool:
    """Whether this is the entry of a window, and of that which comes next."""
    if not isinstance(entry, dict) or not isinstance(entry.get("state"), dict):
        return False
    segments = entry.get("segments")
    is_list = isinstance(segments, list) and all(isinstance(segment, dict) for segment in segments)
    return is_list and entry["state"].get("windows", number) == number


def start_journal(path: Path, header: Mapping[str, Any], resume: bool) -> Journal:
    """Begin a journal, or check that an existing one is of the same run and cut off an incomplete last line.

    Parameters
    ----------
    path : path
    header : mapping
        What must be the same to resume: the audio, the model, the options.
    resume : bool
        Whether to continue after the windows that are there, if any; without it they are an error, because starting
        over would lose them.

    Raises
    ------
    JournalError
        If there are windows and `resume` is False, if they are of another run, or if the journal cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> path = f"{tempfile.mkdtemp()}/talk.journal"
    >>> start_journal(path, {"audio": 1}, resume=False).header
    {'journal': 1, 'audio': 1}
    >>> record(path, [{"text": " And so"}], {"windows": 1})
    >>> start_journal(path, {"audio": 1}, resume=True).segments
    [{'text': ' And so'}]
    """
    new: dict[str, Any] = json.loads(_json({"journal": FORM, **header}))
    old = read_journal(path)
    if old.state is None:
        _write(path, new, "wb")
        return Journal(new, [], None, 0)
    name = repr(os.fspath(path))
    if not resume:
        raise JournalError(
            f"{name} holds {len(old.segments)} segments of an interrupted run: resume it (--resume), or delete it"
        )
    changed = differences(old.header, new)
    if changed:
        raise JournalError(f"{name} is of a run with another {', '.join(changed)}: use the same, or delete it")
    with open(path, "r+b") as file:
        file.truncate(old.size)
    return old


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The names of what differs.

    >>> differences({"audio": 1, "options": {"a": 1, "b": 2}}, {"audio": 1, "options": {"a": 1, "b": 3, "c": 4}})
    ['b', 'c']
    """
    found = list[str]()
    for key in dict.fromkeys([*old, *new]):
        a, b = old.get(key), new.get(key)
        if key == "options" and isinstance(a, dict) and isinstance(b, dict):
            found += differences(a, b)
        elif a != b:
            found.append(key)
    return found


def record(path: Path, segments: Sequence[Mapping[str, Any]], state: Mapping[str, Any]) -> None:
    """Add a finished window; when this returns, it is on the disk.

    >>> import tempfile
    >>> path = f"{tempfile.mkdtemp()}/talk.journal"
    >>> _ = start_journal(path, {}, resume=False)
    >>> record(path, [{"text": " And so"}], {"windows": 1})
    >>> read_journal(path).state
    {'windows': 1}
    """
    _write(path, {"segments": segments, "state": state}, "ab")


def _write(path: Path, entry: Mapping[str, Any], mode: str) -> None:
    """Write one line, at the end ("ab") or instead of all that is there ("wb"), and wait until it is on the disk."""
    try:
        with open(path, mode) as file:
            file.write(_json(entry).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise unwritable(os.fspath(path), error) from error


def _json(entry: Mapping[str, Any]) -> str:
    """Numbers survive exactly; NumPy's become Python's."""
    return json.dumps(entry, ensure_ascii=True, default=lambda value: value.tolist())


def fingerprint(weights: Mapping[str, Array | Int8Matrix]) -> int:
    """A number that tells models apart: the checksum of the names and of some numbers of every tensor.

    >>> import numpy as np
    >>> ones = np.ones(3, np.float32)
    >>> fingerprint({"a": ones}) == fingerprint({"a": ones.copy()}) != fingerprint({"b": ones})
    True
    """
    checksum = 0
    for name, array in sorted(weights.items()):
        flat = (array.integers if isinstance(array, Int8Matrix) else array).reshape(-1)
        checksum = zlib.crc32(flat[:: len(flat) // SAMPLED + 1].tobytes(), zlib.crc32(name.encode(), checksum))
    return checksum
