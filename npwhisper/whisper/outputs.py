"""Where the output files of each recording go: names, lengths and folders, settled before anything is decoded."""

from __future__ import annotations

import glob
import os
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from npwhisper.decoding.flags import FORMATS

LONGEST_CODE = "haw"  # no code of a language has more letters
STDIN = "stdin"  # what the outputs of a recording from standard input are called


class Outputs(NamedTuple):
    """The output files of a run.

    Parameters
    ----------
    form : str
        One of `FORMATS`, "all" of them, or "none".
    folder : str or None
        Where they go; None means beside each recording.
    with_language : bool
        Whether file names contain the language: ``talk.de.srt``.
    subtitles : mapping
        Options of the subtitles, as for `npwhisper.utils.get_writer`.

    Examples
    --------
    >>> outputs = Outputs("srt", "subtitles")
    >>> [path.as_posix() for path in outputs.paths("talks/first.mp3", "de")]
    ['subtitles/first.srt']
    >>> [path.as_posix() for path in Outputs("srt", None, with_language=True).paths("talks/first.mp3", "de")]
    ['talks/first.de.srt']
    """

    form: str = "all"
    folder: str | None = "."
    with_language: bool = False
    subtitles: Mapping[str, Any] = {}

    @property
    def forms(self) -> tuple[str, ...]:
        """The formats that are written."""
        return {"all": FORMATS, "none": ()}.get(self.form, (self.form,))

    def folder_of(self, recording: str) -> Path:
        """The folder of a recording's files."""
        return Path(recording).parent if self.folder is None else Path(self.folder)

    def stem(self, recording: str, language: str = "") -> str:
        """What a recording's files are called, without their endings."""
        stem = STDIN if recording == "-" else Path(recording).stem
        return f"{stem}.{language}" if self.with_language and language else stem

    def paths(self, recording: str, language: str) -> list[Path]:
        """The files of a recording in this language."""
        return [self.folder_of(recording) / f"{self.stem(recording, language)}.{form}" for form in self.forms]

    def existing(self, recording: str) -> list[Path]:
        """Those files that are there already, in any language."""
        start = glob.escape(str(self.folder_of(recording) / self.stem(recording)))
        middle = ".*" if self.with_language else ""
        return [Path(path) for form in FORMATS for path in glob.glob(f"{start}{middle}.{form}")]

    def journal(self, recording: str) -> Path | None:
        """Where finished windows are kept until the files are written; a long name is cut."""
        folder, stem = self.folder_of(recording), self.stem(recording)
        if not self.forms or not folder.is_dir():
            return None
        if _length(f"{stem}.journal") > _longest(folder):
            stem = f"{stem[:40]}.{zlib.crc32(os.fsencode(stem)):08x}"
        return folder / f"{stem}.journal"

    def settle(self, recordings: Sequence[str]) -> None:
        """Make the folder, and raise ValueError or OSError if anything could not be written after all the work."""
        if not self.forms:
            return
        if self.folder is not None:
            os.makedirs(self.folder, exist_ok=True)
        for folder in sorted({self.folder_of(recording) for recording in recordings}):
            _require_writable(folder)
        self._refuse_same_names(recordings)
        require_names({recording: self.paths(recording, LONGEST_CODE) for recording in recordings})

    def _refuse_same_names(self, recordings: Sequence[str]) -> None:
        owners = dict[str, str]()
        for recording in recordings:
            name = os.path.abspath(self.folder_of(recording) / self.stem(recording))
            other = owners.setdefault(os.path.normcase(name), recording)
            if other is not recording:
                raise ValueError(
                    f"{other!r} and {recording!r} would write the same output files: rename one, or transcribe them "
                    "separately, into different folders (--output_dir)"
                )

    def write(self, result: Mapping[str, Any], recording: str) -> list[Path]:
        """Write the files of a recording; returns their paths."""
        from npwhisper.transcription.output.writers import get_writer

        if not self.forms:
            return []
        name = f"{self.stem(recording, result['language'])}.any"  # writers cut an ending off
        return get_writer(self.form, self.folder_of(recording))(result, name, self.subtitles)


def require_names(outputs: Mapping[str, Sequence[Path]]) -> None:
    """Raise ValueError if one of the outputs of a recording, by its path, cannot be written under its name."""
    inputs = {os.path.abspath(recording) for recording in outputs}
    for recording, paths in outputs.items():
        for path in paths:
            _require_name(path, recording, inputs)


def _require_writable(folder: Path) -> None:
    """Raise OSError if the folder cannot hold files; one that does not exist is the recording's own error."""
    if folder.is_dir():
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(1 << 16))


def _require_name(path: Path, recording: str, inputs: set[str]) -> None:
    """Raise ValueError if an output cannot have this name."""
    excess = _length(path.name) - _longest(path.parent)
    if excess > 0:
        raise ValueError(
            f"the output {path.suffix!r} of {recording!r} would have a name {excess} bytes too long for its folder: "
            "rename the recording, or choose another --output_format"
        )
    if path.is_dir():
        raise ValueError(f"the output {str(path)!r} would replace a folder: rename it, or choose another --output_dir")
    if os.path.abspath(path) in inputs:
        raise ValueError(f"the output {str(path)!r} would replace a recording: choose another --output_dir")


def _length(name: str) -> int:
    """How long a file system finds a name: bytes, on Windows characters."""
    return len(name) if os.name == "nt" else len(os.fsencode(name))


def _longest(folder: Path) -> int:
    """The longest name that a folder takes, or, if it is still to be made, the one that it will be in."""
    try:
        return os.pathconf(next(path for path in (folder, *folder.absolute().parents) if path.exists()), "PC_NAME_MAX")
    except (AttributeError, OSError, ValueError):
        return 255
