"""Which recordings a corpus holds, and what their transcripts are called.

Inputs are files, folders (searched recursively), patterns with wildcards, and lists: a text file ending in ``.list``
with one path per line, or ``-`` for such a list on standard input. Transcripts keep the folder structure.
"""

from __future__ import annotations

import glob
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path, PurePath
from typing import NamedTuple

SUFFIXES = frozenset(
    f".{ending}"
    for ending in (
        *("3gp", "aac", "ac3", "aif", "aifc", "aiff", "amr", "au", "avi", "caf", "flac", "m4a", "m4b", "mka", "mkv"),
        *("mov", "mp2", "mp3", "mp4", "mpeg", "mpg", "oga", "ogg", "opus", "spx", "ts", "w64", "wav", "webm", "wma"),
    )
)


class CorpusError(ValueError):
    """A corpus that cannot be transcribed as asked; the message says what to do."""


class Recording(NamedTuple):
    """One recording: where it is, and the name of its transcripts below the output folder, without an ending."""

    path: str
    name: str

    @property
    def size(self) -> int:
        """Bytes of the file; 0 if it is gone."""
        with suppress(OSError):
            return os.path.getsize(self.path)
        return 0


def find_recordings(inputs: Iterable[str | os.PathLike[str]]) -> list[Recording]:
    """List the recordings of a corpus.

    Parameters
    ----------
    inputs : iterable of str or path
        Files, folders, patterns (``talks/**/*.mp3``), lists (``talks.list``), or ``-`` for a list on standard input.
        In folders, files are recognised by their endings; a file that is named is always taken.

    Returns
    -------
    list of Recording
        Each file once, sorted by the name of its transcripts. Two recordings whose transcripts would have the same
        name keep their endings: ``talk.mp3`` and ``talk.wav`` become ``talk.mp3.txt`` and ``talk.wav.txt``.

    Raises
    ------
    CorpusError
        If an input does not exist or contains no recording, or if two recordings would still share a name.

    Examples
    --------
    >>> import npwhisper
    >>> [recording.name for recording in find_recordings([npwhisper.example()])]
    ['example']
    """
    found: dict[str, PurePath] = {}
    for path, name in _listed(inputs):
        found.setdefault(os.path.abspath(path), name)
    for path in found:
        if not os.path.isfile(path):
            raise CorpusError(f"{path!r} is not a file: a corpus consists of files that can be read twice")
    times = Counter(name.with_suffix("") for name in found.values())
    recordings = [
        Recording(path, (name if times[name.with_suffix("")] > 1 else name.with_suffix("")).as_posix())
        for path, name in found.items()
    ]
    _refuse_collisions(recordings)
    return sorted(recordings, key=lambda recording: recording.name)


def _listed(inputs: Iterable[str | os.PathLike[str]]) -> Iterator[tuple[str, PurePath]]:
    for given in inputs:
        found = list(_expanded(os.fspath(given)))
        if not found:
            raise CorpusError(f"{given!r} contains no recording: name files, folders, patterns or a .list file")
        yield from found


def _expanded(given: str) -> Iterator[tuple[str, PurePath]]:
    """The files that an input stands for, with their names relative to it."""
    if given == "-" or (given.endswith(".list") and os.path.isfile(given)):
        yield from _from_list(given)
    elif os.path.isdir(given):
        for path in sorted(Path(given).rglob("*")):
            relative = path.relative_to(given)
            if path.suffix.lower() in SUFFIXES and path.is_file() and not _is_hidden(relative):
                yield str(path), relative
    elif os.path.exists(given):
        yield given, PurePath(PurePath(given).name)
    elif glob.has_magic(given):
        start = _fixed_part(given)
        for match in sorted(filter(os.path.isfile, glob.glob(given, recursive=True))):
            yield match, PurePath(os.path.relpath(match, start))
    else:
        raise CorpusError(f"there is no file or folder {given!r}: check the spelling")


def _from_list(given: str) -> Iterator[tuple[str, PurePath]]:
    try:
        text = sys.stdin.read() if given == "-" else Path(given).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise CorpusError(f"the list {given!r} is not UTF-8 text: write one path per line") from error
    paths = [os.path.abspath(line) for line in text.splitlines() if line.strip() and not line.startswith("#")]
    for path in paths:
        if not os.path.exists(path):
            raise CorpusError(f"the list {given!r} names {path!r}, which does not exist: check the spelling")
    start = os.path.commonpath([os.path.dirname(path) for path in paths]) if paths else ""
    for path in paths:
        yield path, PurePath(os.path.relpath(path, start))


def _fixed_part(pattern: str) -> str:
    """The folder before the first wildcard.

    >>> _fixed_part("talks/2024/**/*.mp3")
    'talks/2024'
    """
    parts = PurePath(pattern).parts
    fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    return str(PurePath(*parts[:fixed])) if fixed else "."


def _is_hidden(path: PurePath) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _refuse_collisions(recordings: list[Recording]) -> None:
    owners: dict[str, str] = {}
    for path, name in recordings:
        other = owners.setdefault(os.path.normcase(name), path)
        if other != path:
            raise CorpusError(
                f"the transcripts of {other!r} and {path!r} would share the name {name!r}: "
                "transcribe them into two folders, or name the folder that contains both"
            )
