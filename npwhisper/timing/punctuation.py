"""Words with their times, and what punctuation means for them: a mark joins its word, a sentence ends with a pause.

Source: openai-whisper's ``timing.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

SENTENCE_ENDS = ".。!！?？"  # noqa: RUF001
LONGEST_MEDIAN = 0.7  # seconds: the median duration of a word is taken to be at most this


@dataclass
class WordTiming:
    """A word, its tokens, when it was said (seconds in the window) and the mean probability of its tokens."""

    word: str
    tokens: list[int]
    start: float
    end: float
    probability: float

    @property
    def duration(self) -> float:
        """Seconds from start to end."""
        return self.end - self.start


def merge_punctuations(alignment: list[WordTiming], prepended: str, appended: str) -> None:
    """Join punctuation to its word, in place; what was joined stays in the list as an empty word without tokens.

    Parameters
    ----------
    alignment : list of WordTiming
    prepended : str
        Marks that join the word after them, if a space stands before them.
    appended : str
        Marks that join the word before them, if no space stands between.

    Examples
    --------
    >>> words = [WordTiming(word, [i], i, i + 1, 1.0) for i, word in enumerate((' "', "Ask", "!"))]
    >>> merge_punctuations(words, prepended='"(', appended='.!')
    >>> [word.word for word in words], words[1].tokens
    (['', ' "Ask!', ''], [0, 1, 2])

    Notes
    -----
    The word keeps its own times. A "mark" is any part of the given string. Source: the same name in openai-whisper.
    """
    following = len(alignment) - 1
    for i in range(len(alignment) - 2, -1, -1):
        mark = alignment[i]
        if mark.word.startswith(" ") and mark.word.strip() in prepended:
            _join(mark, alignment[following], before=True)
        else:
            following = i
    previous = 0
    for i in range(1, len(alignment)):
        mark = alignment[i]
        if not alignment[previous].word.endswith(" ") and mark.word in appended:
            _join(mark, alignment[previous], before=False)
        else:
            previous = i


def _join(mark: WordTiming, word: WordTiming, before: bool) -> None:
    first, second = (mark, word) if before else (word, mark)
    word.word, word.tokens = first.word + second.word, first.tokens + second.tokens
    mark.word, mark.tokens = "", []


def median_duration(alignment: Sequence[WordTiming]) -> float:
    """The median duration of the words that have one, in seconds, and at most 0.7; 0 if none has.

    >>> median_duration([WordTiming(" a", [1], 1.0, 1.5, 1.0), WordTiming(" b", [2], 1.5, 1.5, 1.0)])
    0.5
    """
    durations = [word.duration for word in alignment if word.duration]
    return min(LONGEST_MEDIAN, float(np.median(durations))) if durations else 0.0


def shorten_sentence_ends(alignment: Sequence[WordTiming], longest: float) -> None:
    """Give back the pause between two sentences, of which the mark, or the word after it, was given too much.

    >>> words = [WordTiming(".", [1], 1.0, 1.5, 1.0), WordTiming(" So", [2], 1.5, 4.0, 1.0)]
    >>> shorten_sentence_ends(words, longest=0.8)
    >>> words[1].start
    3.2
    """
    for previous, word in pairwise(alignment):
        if word.duration > longest:
            if word.word in SENTENCE_ENDS:
                word.end = word.start + longest
            elif previous.word in SENTENCE_ENDS:
                word.start = word.end - longest


def tidy_words(alignment: list[WordTiming], prepended: str, appended: str) -> float:
    """Shorten words at the ends of sentences and join punctuation, in place; return the median duration of a word.

    >>> words = [WordTiming(" Ask", [1], 0.0, 0.5, 1.0), WordTiming("!", [2], 0.5, 1.0, 1.0)]
    >>> tidy_words(words, prepended='"', appended="!"), words[0].word
    (0.5, ' Ask!')
    """
    median = median_duration(alignment)
    shorten_sentence_ends(alignment, longest=2 * median)
    merge_punctuations(alignment, prepended, appended)
    return median
