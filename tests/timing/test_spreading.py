"""Words that last no time get a duration when it is asked for, and nothing else changes."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import npwhisper
from npwhisper.timing import spread
from npwhisper.transcription.output.writers import cues


def words(*times: tuple[float, float]) -> list[dict[str, Any]]:
    return [{"word": f" w{i}", "start": start, "end": end, "probability": 0.5} for i, (start, end) in enumerate(times)]


def times(found: list[dict[str, Any]]) -> list[tuple[float, float]]:
    return [(word["start"], word["end"]) for word in found]


@pytest.mark.parametrize(
    ("given_times", "expected"),
    [
        ([(0.0, 1.0), (1.0, 2.0)], [(0.0, 1.0), (1.0, 2.0)]),
        ([(0.0, 1.0), (1.0, 1.0), (1.0, 2.0)], [(0.0, 1.0), (1.0, 1.5), (1.5, 2.0)]),  # the next word's time
        ([(0.0, 1.0), (1.0, 1.0), (1.0, 1.0), (1.0, 1.6)], [(0.0, 1.0), (1.0, 1.2), (1.2, 1.4), (1.4, 1.6)]),
        ([(0.0, 1.0), (1.0, 1.0)], [(0.0, 0.5), (0.5, 1.0)]),  # the last word's
        ([(0.0, 1.0), (1.0, 1.0), (3.0, 4.0)], [(0.0, 1.0), (1.0, 1.2), (3.0, 4.0)]),  # the pause after it
        ([(0.0, 1.0), (1.0, 1.0), (1.1, 4.0)], [(0.0, 1.0), (1.0, 1.1), (1.1, 4.0)]),
        ([(0.0, 1.0), (3.0, 3.0), (3.0, 4.0)], [(0.0, 1.0), (2.8, 3.0), (3.0, 4.0)]),  # the pause before it
        ([(3.74, 3.74)], [(3.74, 3.74)]),  # nothing to share
        ([], []),
    ],
)
def test_time_comes_from_a_pause_or_a_neighbour(
    given_times: list[tuple[float, float]], expected: list[tuple[float, float]]
) -> None:
    before = words(*given_times)
    assert times(spread(before)) == expected
    assert times(before) == given_times, "the words that were given stay as they are"


@given(st.lists(st.integers(0, 20), min_size=2, max_size=24))
def test_words_stay_in_order_and_each_lasts(steps: list[int]) -> None:
    """Times as the alignment gives them: multiples of 20 ms that never go back."""
    ends = [round(0.02 * total, 2) for total in itertools.accumulate(steps)]
    found = spread(words(*itertools.pairwise([0.0, *ends])))
    assert all(a <= b for a, b in itertools.pairwise(itertools.chain.from_iterable(times(found))))
    if ends[-1] > 0.02 * len(ends):
        assert all(word["start"] < word["end"] for word in found)
    assert [word["word"] for word in found] == [f" w{i}" for i in range(len(ends))]


@pytest.mark.slow
def test_every_word_of_a_transcription_lasts_and_is_shown_in_a_cue_of_its_own(model: npwhisper.Whisper) -> None:
    options: dict[str, Any] = {"temperature": 0.0, "word_timestamps": True}
    audio = npwhisper.load_audio(npwhisper.example())[: 4 * 16000]
    plain, result = model.transcribe(audio, **options), model.transcribe(audio, spread_words=True, **options)
    assert [segment["tokens"] for segment in result["segments"]] == [segment["tokens"] for segment in plain["segments"]]
    found = [word for segment in result["segments"] for word in segment["words"]]
    assert found
    assert all(word["start"] < word["end"] for word in found)
    assert sum("<u>" in cue.text for cue in cues(result, highlight_words=True)) == len(found)


def test_spreading_needs_words() -> None:
    with pytest.raises(ValueError, match="spread_words needs word_timestamps=True"):
        npwhisper.TranscribeOptions.from_keywords(spread_words=True)
