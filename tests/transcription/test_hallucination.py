"""Rules for text that nobody said: scores of words, odd segments, and silence around them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from npwhisper.transcription.hallucination import (
    drop_hallucinations,
    first_hallucination,
    first_with_words,
    is_anomalous,
    skip_leading_silence,
    word_anomaly_score,
)
from npwhisper.transcription.windows import Window


def word(start: float, end: float, probability: float = 0.9, text: str = " so") -> dict[str, Any]:
    return {"word": text, "start": start, "end": end, "probability": probability}


def segment(*words: dict[str, Any]) -> dict[str, Any]:
    return {"start": words[0]["start"], "end": words[-1]["end"], "words": list(words)}


def normal(start: float) -> dict[str, Any]:
    return segment(word(start, start + 0.3), word(start + 0.3, start + 0.7))


def odd(start: float, end: float | None = None) -> dict[str, Any]:
    return segment(word(start, start + 0.2 if end is None else end, probability=0.01))


EMPTY: dict[str, Any] = {"start": 0.0, "end": 0.0, "words": []}
WINDOW = Window(start=6000, size=3000)  # from 60 to 90 s


@pytest.mark.parametrize(
    ("duration", "probability", "score"),
    [
        (0.5, 0.9, 0.0),
        (0.5, 0.15, 0.0),
        (0.5, 0.149, 1.0),
        (0.033, 0.9, 1.5),
        (0.0, 0.1, 1 + 15 * 0.133),
        (2.0, 0.9, 0.0),
        (5.0, 0.1, 4.0),
    ],
)
def test_a_word_is_odd_if_improbable_short_or_long(duration: float, probability: float, score: float) -> None:
    assert word_anomaly_score(word(1.0, 1.0 + duration, probability)) == pytest.approx(score, abs=1e-9)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([word(0, 1, 0.1)], True),  # all one of them
        ([word(0, 1, 0.1), word(1, 2)], False),
        ([word(0, 1, 0.1)] * 3 + [word(1, 2)] * 5, True),  # a score of 3
        ([word(0, 1, 0.1)] * 2 + [word(1, 2)] * 5, False),
        ([word(1, 2)] * 8 + [word(0, 1, 0.1)] * 9, False),  # only the first eight count
        ([word(0, 1, 0.1, text=".")] * 9 + [word(1, 2)], False),  # punctuation does not
        ([word(0, 1, text=".")], True),  # upstream: nothing is left, and 0 >= 0
        ([word(0, 0.0667)], True),  # 15 * (0.133 - 0.0667) = 0.99
        ([word(0, 0.068)], False),
    ],
)
def test_a_segment_is_odd_by_its_first_eight_words(words: list[dict[str, Any]], expected: bool) -> None:
    assert is_anomalous(segment(*words)) == expected


def test_nothing_is_not_odd() -> None:
    assert not is_anomalous(None)
    assert not is_anomalous(EMPTY)
    assert first_with_words([EMPTY, EMPTY]) is None
    assert first_with_words([EMPTY, odd(1), odd(2)]) == odd(1)


@pytest.mark.parametrize(
    ("segments", "seek"),
    [
        ([odd(68.5)], 6850),
        ([EMPTY, odd(68.5)], 6850),
        ([odd(62.0)], None),  # the gap is not longer than the threshold
        ([odd(62.01)], 6201),
        ([normal(68.5), odd(80)], None),
        ([EMPTY], None),
        ([], None),
    ],
)
def test_leading_silence_is_skipped_before_an_odd_segment(segments: list[dict[str, Any]], seek: int | None) -> None:
    move = skip_leading_silence(segments, WINDOW, threshold=2.0)
    assert (move and move.seek) == seek


@pytest.mark.parametrize(
    ("segments", "last_speech", "expected"),
    [
        ([normal(61), odd(66), normal(75)], 60.0, 1),  # silence on both sides
        ([normal(61), odd(63), normal(75)], 60.0, None),  # spoken shortly before
        ([normal(61), odd(66), normal(67)], 60.0, None),  # spoken shortly after
        ([normal(61), odd(66), odd(67), normal(75)], 60.0, 1),  # one more odd segment after it
        ([normal(61), EMPTY, odd(66), EMPTY, normal(75)], 60.0, 2),
        ([odd(61.5), normal(75)], 61.4, 0),  # at the window's start
        ([odd(62.5), normal(75)], 61.4, None),
        ([odd(62.5), normal(75)], 60.4, 0),  # nobody spoke for longer than the threshold
        ([normal(61), odd(85)], 60.0, 1),  # silence until the window's end
        ([normal(61), odd(88.3, 88.4)], 60.0, 1),  # near the window's end
        ([normal(61), normal(70)], 60.0, None),
        ([], 60.0, None),
    ],
)
def test_an_odd_segment_in_silence(segments: list[dict[str, Any]], last_speech: float, expected: int | None) -> None:
    assert first_hallucination(segments, WINDOW, 2.0, last_speech) == expected


def test_in_the_first_seconds_of_a_recording_nobody_need_have_been_silent() -> None:
    segments = [odd(1.9), normal(9)]
    assert first_hallucination(segments, Window(0, 3000), 2.0, last_speech=1.9) == 0
    assert first_hallucination([odd(2.1), normal(9)], Window(0, 3000), 2.0, last_speech=1.9) is None


@pytest.mark.parametrize(
    ("segments", "n_frames", "seek", "kept"),
    [
        ([normal(61), odd(66), normal(75)], 99_999, 6600, 1),
        ([odd(60.5), normal(75)], 99_999, 6100, 0),  # at least a second on
        ([normal(61), odd(88.3, 88.4)], 9000, 9000, 1),  # less than the threshold is left
        ([normal(61), odd(88.3, 88.4)], 9041, 8830, 1),
        ([normal(61), normal(70)], 99_999, None, 2),
    ],
)
def test_hallucinated_segments_are_dropped_with_all_after_them(
    segments: list[dict[str, Any]], n_frames: int, seek: int | None, kept: int
) -> None:
    segments = list(segments)
    move = drop_hallucinations(segments, WINDOW, 2.0, 60.0, n_frames)
    assert (move and move.seek, len(segments)) == (seek, kept)


tenths = st.integers(0, 300).map(lambda n: n / 10)


@given(st.lists(st.tuples(tenths, tenths, st.sampled_from([0.1, 0.9])), max_size=6), tenths, tenths)
def test_what_is_found_is_odd_and_dropping_shortens(
    parts: list[tuple[float, float, float]], threshold: float, last_speech: float
) -> None:
    segments = [segment(word(60 + a, 60 + a + b, p)) if b else dict(EMPTY) for a, b, p in parts]
    i = first_hallucination(segments, WINDOW, threshold, 30 + last_speech)
    before = list(segments)
    move = drop_hallucinations(segments, WINDOW, threshold, 30 + last_speech, 20_000)
    if i is None:
        assert (move, segments) == (None, before)
    else:
        assert is_anomalous(before[i])
        assert segments == before[:i]
        assert move is not None
        assert move.seek > WINDOW.start
