"""What `transcribe` returns: a plain dict to every program, and a readable text in a notebook."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any


class Transcript(dict[str, Any]):
    """A dict of ``text``, ``segments`` and ``language``, equal to a plain one; notebooks show it as a table.

    >>> result = Transcript(text=" And so", segments=[{"start": 0.0, "end": 1.5, "text": " And so"}], language="en")
    >>> result == {"text": " And so", "segments": [{"start": 0.0, "end": 1.5, "text": " And so"}], "language": "en"}
    True
    """

    def _repr_html_(self) -> str:
        rows = "".join(_row(segment) for segment in self["segments"])
        head = "<tr><th>start</th><th>end</th><th style='text-align:left'>text</th></tr>"
        return f"<table><caption>language: {escape(self['language'])}</caption>{head}{rows}</table>"


def _row(segment: Mapping[str, Any]) -> str:
    times = "".join(f"<td>{segment[key]:.2f} s</td>" for key in ("start", "end"))
    return f"<tr>{times}<td style='text-align:left'>{_text(segment)}</td></tr>"


def _text(segment: Mapping[str, Any]) -> str:
    """The text; words with times show them in a tooltip, and doubtful ones are underlined."""
    if not segment.get("words"):
        return escape(segment["text"].strip())
    return "".join(_word(word) for word in segment["words"])


def _word(word: Mapping[str, Any]) -> str:
    when = f"{word['start']:.2f} to {word['end']:.2f} s, probability {word['probability']:.2f}"
    style = " style='text-decoration:underline dotted'" if word["probability"] < 0.5 else ""
    return f"<span title='{when}'{style}>{escape(word['word'])}</span>"
