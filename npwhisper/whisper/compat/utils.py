"""openai-whisper's ``utils.py``: writers and a few helpers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from npwhisper.decoding import compression_ratio
from npwhisper.transcription.output.writers import (
    ResultWriter,
    SubtitlesWriter,
    WriteJSON,
    WriteSRT,
    WriteTSV,
    WriteTXT,
    WriteVTT,
    format_timestamp,
    get_writer,
)

__all__ = [
    "ResultWriter",
    "SubtitlesWriter",
    "WriteJSON",
    "WriteSRT",
    "WriteTSV",
    "WriteTXT",
    "WriteVTT",
    "compression_ratio",
    "exact_div",
    "format_timestamp",
    "get_end",
    "get_start",
    "get_writer",
    "make_safe",
    "optional_float",
    "optional_int",
    "str2bool",
]


def exact_div(x: int, y: int) -> int:
    """``x // y``; a remainder raises ValueError.

    >>> exact_div(480000, 160)
    3000
    """
    if x % y:
        raise ValueError(f"{x} is not divisible by {y}")
    return x // y


def str2bool(string: str) -> bool:
    """``"True"`` or ``"False"`` as a bool; any other text raises ValueError.

    >>> str2bool("True")
    True
    """
    if string not in ("True", "False"):
        raise ValueError(f"expected 'True' or 'False', got {string!r}")
    return string == "True"


def optional_int(string: str) -> int | None:
    """A whole number, or None for ``"None"``.

    >>> optional_int("5"), optional_int("None")
    (5, None)
    """
    return None if string == "None" else int(string)


def optional_float(string: str) -> float | None:
    """A number, or None for ``"None"``.

    >>> optional_float("0.5"), optional_float("None")
    (0.5, None)
    """
    return None if string == "None" else float(string)


def make_safe(string: str) -> str:
    """The text with a question mark for what the system's encoding lacks.

    >>> make_safe("naïve")
    'naïve'
    """
    from sys import getdefaultencoding

    return string.encode(getdefaultencoding(), errors="replace").decode(getdefaultencoding())


def get_start(segments: Sequence[Mapping[str, Any]]) -> float | None:
    """When the first word starts, or the first segment if none has words.

    >>> get_start([{"start": 1.0, "words": [{"start": 1.5}]}]), get_start([])
    (1.5, None)
    """
    words = [word for segment in segments for word in segment.get("words", ())]
    return next((item["start"] for item in [*words, *segments]), None)


def get_end(segments: Sequence[Mapping[str, Any]]) -> float | None:
    """When the last word ends, or the last segment if none has words.

    >>> get_end([{"end": 3.0, "words": [{"end": 2.5}]}]), get_end([])
    (2.5, None)
    """
    words = [word for segment in segments for word in segment.get("words", ())]
    return next((item["end"] for item in [*reversed(words), *reversed(segments)]), None)
