"""Who keeps the journal of a transcription: the transcription itself, or the one that it is a part of."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from npwhisper.decoding.options import TranscribeOptions
from npwhisper.transcription.journal import NO_JOURNAL, Journal, record, start_journal
from npwhisper.transcription.locking import JournalLock


class Keeper:
    """The journal of one transcription, locked while it runs; without a path in the options, nothing is kept.

    Attributes
    ----------
    tags : dict
        What every segment is marked with.
    """

    tags: Mapping[str, Any] = {}

    def __init__(self, options: TranscribeOptions) -> None:
        self._path, self._resume = options.journal, options.resume
        self._lock: JournalLock | None = None

    @property
    def keeps(self) -> bool:
        """Whether there is a journal."""
        return self._path is not None

    @property
    def name(self) -> str:
        """The journal's path, in a message."""
        return repr(os.fspath(self._path or ""))

    def lock(self) -> None:
        """Keep other runs away from the journal, unless the caller does."""
        if self._path is not None and not isinstance(self._path, JournalLock):
            self._lock = JournalLock(self._path)

    def start(self, header: Mapping[str, Any]) -> Journal:
        """Begin the journal, or read what it holds of an earlier run; that must have had the same header."""
        if self._path is None:
            return NO_JOURNAL
        return start_journal(self._path, header, self._resume)

    def add(self, segments: Sequence[Mapping[str, Any]], state: Mapping[str, Any]) -> None:
        """Write a finished window to the journal."""
        if self._path is None:
            return
        if self._lock is not None:
            self._lock.check()
        record(self._path, segments, state)

    def close(self) -> None:
        """Release the journal for other runs."""
        if self._lock is not None:
            self._lock.close()
