"""The manifest of a corpus: one line of JSON for each recording, which is also what a later run resumes from.

While a run is under way, one process appends a line for every recording that is finished, and each line is on the disk
before the next begins. At the end the file is rewritten in the order of the recordings. A line that a crash tore off is
ignored, so a manifest is valid at any moment.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

from npwhisper.checkpoint.download import sha256_of
from npwhisper.checkpoint.replacing import replacing
from npwhisper.whisper.corpus.recordings import CorpusError, Recording

Entry: TypeAlias = dict[str, Any]
"""``path name size modified sha256 settings status seconds`` and, if done, ``duration language words avg_logprob``,
or, if failed, ``error``."""

FILE = "manifest.jsonl"


def read_manifest(path: str | os.PathLike[str]) -> dict[str, Entry]:
    """Read a manifest.

    Parameters
    ----------
    path : path
        The ``manifest.jsonl`` of an output folder; it need not exist.

    Returns
    -------
    dict
        The latest entry of each recording, by the recording's path.

    Raises
    ------
    CorpusError
        If the file is something else.
    """
    if not os.path.exists(path):
        return {}
    entries: dict[str, Entry] = {}
    for number, line in enumerate(Path(path).read_bytes().splitlines(keepends=True), 1):
        if not line.endswith(b"\n"):
            break  # torn off by a crash
        try:
            entry = json.loads(line)
            entries[entry["path"]] = entry
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise CorpusError(
                f"line {number} of {os.fspath(path)!r} is not a manifest entry: move the file away to start again"
            ) from error
    return entries


class Manifest:
    """The manifest of one output folder, open for writing by one process.

    Parameters
    ----------
    folder : path
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.path = Path(folder) / FILE
        self.entries = read_manifest(self.path)
        self._drop_torn_line()

    def add(self, entry: Entry) -> None:
        """Append an entry; when this returns, it is on the disk."""
        size = self.path.stat().st_size if self.path.exists() else 0
        try:
            with open(self.path, "ab") as file:
                file.write(_line(entry))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            if self.path.exists():
                os.truncate(self.path, size)
            reason = error.strerror or str(error)
            raise CorpusError(f"cannot write {str(self.path)!r} ({reason}): free some space, then run again") from error
        self.entries[entry["path"]] = entry

    def finish(self, recordings: Iterable[Recording]) -> None:
        """Rewrite the manifest in the order of the recordings; those of earlier runs follow, sorted by path."""
        order = [recording.path for recording in recordings if recording.path in self.entries]
        order += sorted(self.entries.keys() - set(order))
        with suppress(OSError), replacing(self.path) as file:  # the lines that were appended say the same
            file.write(b"".join(_line(self.entries[path]) for path in order))

    def is_done(self, recording: Recording, settings: str, folder: Path, endings: Iterable[str]) -> bool:
        """Whether a recording was transcribed with these settings, has not changed since, and has all its outputs."""
        entry = self.entries.get(recording.path)
        if entry is None or entry["status"] != "done":
            return False
        if entry["settings"] != settings or entry["name"] != recording.name:
            return False
        if not all((folder / f"{recording.name}.{ending}").exists() for ending in endings):
            return False
        return is_unchanged(entry)

    def has_failed(self, recording: Recording, settings: str) -> bool:
        """Whether a recording failed with these settings and has not changed since."""
        entry = self.entries.get(recording.path)
        return (
            entry is not None
            and entry["status"] == "failed"
            and entry["settings"] == settings
            and (is_unchanged(entry) or not os.path.exists(recording.path))
        )

    def _drop_torn_line(self) -> None:
        if self.path.exists() and (text := self.path.read_bytes()) and not text.endswith(b"\n"):
            os.truncate(self.path, text.rfind(b"\n") + 1)


def identity(path: str | os.PathLike[str]) -> Entry:
    """What distinguishes one version of a file from another: size in bytes, time of the last change, checksum."""
    status = os.stat(path)
    return {"size": status.st_size, "modified": status.st_mtime_ns, "sha256": sha256_of(path)}


def is_unchanged(entry: Entry) -> bool:
    """Whether the file is as it was: the same size, and the same time of the last change or the same checksum."""
    try:
        status = os.stat(entry["path"])
        if status.st_size != entry["size"]:
            return False
        return bool(status.st_mtime_ns == entry["modified"] or identity(entry["path"])["sha256"] == entry["sha256"])
    except OSError:
        return False


def _line(entry: Entry) -> bytes:
    try:
        return json.dumps(entry, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:  # a file name that is not UTF-8
        return json.dumps(entry).encode() + b"\n"
