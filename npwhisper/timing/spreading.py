"""On request, a duration for words without one, which players of subtitles and karaoke skip.

The alignment works in steps of 20 ms, and a short word may get none of them. Whisper's times stay as they are unless
`spread_words` is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

SPREAD = 0.2  # seconds that a word is given at most where nobody speaks before or after it


def spread(words: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The words of a segment with a duration for each: ``word start end probability``, times in seconds.

    A word without duration gets some of the pause after it, or before it; where there is none, it shares the time of
    the next word, or of the last one, in equal parts. All other words keep their times.

    >>> words = [("a", 0.0, 1.0), ("b", 1.0, 1.0), ("c", 1.0, 2.0), ("d", 2.5, 2.5)]
    >>> [(word["start"], word["end"]) for word in spread([{"word": w, "start": s, "end": e} for w, s, e in words])]
    [(0.0, 1.0), (1.0, 1.5), (1.5, 2.0), (2.3, 2.5)]
    """
    words = [dict(word) for word in words]
    for first, end in _without_duration(words):
        _give_time(words, first, end)
    return words


def _without_duration(words: Sequence[dict[str, Any]]) -> Iterator[tuple[int, int]]:
    """Runs of words that begin and end at one moment, as (first, after the last)."""
    first = 0
    while first < len(words):
        end, moment = first, words[first]["start"]
        while end < len(words) and words[end]["start"] == words[end]["end"] == moment:
            end += 1
        if end > first:
            yield first, end
        first = max(end, first + 1)


def _give_time(words: list[dict[str, Any]], first: int, end: int) -> None:
    """Find time for the words from `first` to `end`: a pause beside them, or the next or last word's."""
    moment, wanted = words[first]["start"], SPREAD * (end - first)
    last_end = words[first - 1]["end"] if first else moment
    next_start = words[end]["start"] if end < len(words) else moment
    if next_start > moment:
        _share(words[first:end], moment, min(next_start, moment + wanted))
    elif last_end < moment:
        _share(words[first:end], max(last_end, moment - wanted), moment)
    elif end < len(words):
        _share(words[first : end + 1], moment, words[end]["end"])
    elif first:
        _share(words[first - 1 : end], words[first - 1]["start"], moment)


def _share(words: Sequence[dict[str, Any]], start: float, end: float) -> None:
    """Divide the time equally."""
    if start < end:
        edges = np.linspace(start, end, len(words) + 1).round(3).tolist()
        for word, *times in zip(words, edges[:-1], edges[1:], strict=True):
            word.update(zip(("start", "end"), times, strict=True))
