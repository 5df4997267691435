"""A whole recording: fallback, silence, cutting, seeking, what the next window is told, and the log of it all.

Most rules are tested on answers that are written here (`Answers`), the rest on networks of random weights that talk.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import cases
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from talkers import ENGLISH, HUNDRED, MULTILINGUAL, Script, talker

import npwhisper
from npwhisper import DecodingOptions, TranscribeOptions
from npwhisper.audio import mel, streaming
from npwhisper.audio.files import open_blocks
from npwhisper.audio.mel import stft
from npwhisper.decoding import DecodingResult, window
from npwhisper.tokenizer import get_tokenizer
from npwhisper.tracing.seam import Array
from npwhisper.transcription import passage
from npwhisper.transcription import run as transcription
from npwhisper.transcription.run import Attempt, Decision, Transcription, encode
from npwhisper.transcription.windows import History, TimedTokens, last_word_end, parse_clips, split_at_timestamps

EN = get_tokenizer(False)
BEGIN = EN.timestamp_begin
A, B, C = (EN.encode(word)[0] for word in (" alpha", " beta", " gamma"))


def stamp(seconds: float) -> int:
    return BEGIN + round(seconds * 50)


def silence(seconds: float) -> Array:
    return np.zeros(round(seconds * 16000), np.float32)


class Answers:
    """Stands where `DecodingTask` stands: gives the results that it was told, and keeps the options it got."""

    def __init__(self) -> None:
        self.given: list[DecodingResult] = []
        self.options: list[DecodingOptions] = []

    def add(self, *tokens: int, text: str | None = None, **scores: Any) -> Answers:
        """One more result; good scores unless told otherwise."""
        defaults = {"avg_logprob": -0.1, "no_speech_prob": 0.01, "compression_ratio": 1.0, "language": "en"}
        text = EN.decode(tokens).strip() if text is None else text
        self.given.append(DecodingResult(np.zeros((1500, 24)), tokens=list(tokens), text=text, **defaults | scores))
        return self

    def __call__(self, model: Any, options: DecodingOptions) -> Answers:
        self.options.append(options)
        return self

    def run(self, features: Array) -> list[DecodingResult]:
        assert features.shape == (1, 1500, 24)
        number = len(self.options) - 1
        return [replace(self.given[min(number, len(self.given) - 1)], temperature=self.options[-1].temperature)]


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    fake = Answers()
    monkeypatch.setattr(transcription, "DecodingTask", fake)
    return fake


def stream_of(seconds: float, n_vocab: int = 51864, **options: Any) -> Transcription:
    return Script(lambda _: {}, n_vocab).iter_segments(silence(seconds), **options)


def times(segments: Sequence[dict[str, Any]]) -> list[tuple[float, float]]:
    return [(round(segment["start"], 3), round(segment["end"], 3)) for segment in segments]


# Cutting a window at its timestamps


@pytest.mark.parametrize(
    ("tokens", "pieces", "steps", "ends_alone"),
    [
        ((), [(0.0, 7.0, 0)], None, False),
        ((5,), [(0.0, 7.0, 1)], None, False),
        ((100, 5), [(0.0, 7.0, 2)], None, False),  # <|0.00|> is no end
        ((100, 5, 150), [(0.0, 1.0, 3)], None, True),
        ((110, 5, 150), [(0.0, 1.0, 3)], None, True),  # a single segment starts with its window
        ((150, 5), [(0.0, 1.0, 2)], None, False),
        ((100, 5, 150, 150, 6), [(0.0, 1.0, 3)], 50, False),
        ((100, 5, 150, 160, 6, 200), [(0.0, 1.0, 3), (1.2, 2.0, 3)], None, True),
        ((100, 5, 150, 160, 6, 200, 200), [(0.0, 1.0, 3), (1.2, 2.0, 3)], 100, False),
        ((100, 5, 150, 160, 6, 200, 210, 7), [(0.0, 1.0, 3), (1.2, 2.0, 3)], 100, False),
        ((100, 101), [(0.0, 0.0, 1)], 0, False),
    ],
)
def test_tokens_are_cut_where_two_timestamps_meet(
    tokens: tuple[int, ...], pieces: list[tuple[float, float, int]], steps: int | None, ends_alone: bool
) -> None:
    split = split_at_timestamps(tokens, 100, duration=7.0)
    assert [(round(start, 9), round(end, 9), len(part)) for start, end, part in split.parts] == pieces
    assert (split.steps, split.ends_alone) == (steps, ends_alone)


@given(st.lists(st.sampled_from([1, 2, 100, 101, 150]), max_size=12))
def test_cutting_loses_nothing_but_an_unfinished_end(tokens: list[int]) -> None:
    split = split_at_timestamps(tokens, 100, duration=7.0)
    kept = [token for piece in split.parts for token in piece.tokens]
    assert kept == tokens[: len(kept)]
    rest = tokens[len(kept) :]
    assert all(not (a >= 100 and b >= 100) for a, b in itertools.pairwise(rest))
    if split.steps is None:
        assert not rest
    else:
        assert split.parts[-1] == TimedTokens(split.parts[-1].start, split.steps * 0.02, split.parts[-1].tokens)


# Clips


@pytest.mark.parametrize(
    ("clips", "expected"),
    [
        ("0", [(0, 3000)]),
        ("", [(0, 3000)]),
        ([], [(0, 3000)]),
        ("1,2,5", [(100, 200), (500, 3000)]),
        ([1, 2.005], [(100, 200)]),
        (np.array([1.0, 2.0]), [(100, 200)]),
        ("1,2,5,99", [(100, 200), (500, 3000)]),  # upstream never ends
        ("31,99", [(3000, 3000)]),
        ("40", [(3000, 3000)]),
        ("20,25,5,8", [(2000, 2500), (500, 800)]),
        (" 1 , 2", [(100, 200)]),
    ],
)
def test_clips_are_frames_within_the_recording(clips: Any, expected: list[tuple[int, int]]) -> None:
    assert parse_clips(clips, n_frames=3000) == expected


@pytest.mark.parametrize("clips", ["a", "1;2", "-1,2", "5,2", "nan", "0,inf", 3.0, [None], "1,2,-3"])
def test_clips_that_cannot_be(clips: Any) -> None:
    with pytest.raises(ValueError, match=r"clip_timestamps must be seconds 'start,end,\.\.\.', got"):
        parse_clips(clips, n_frames=3000)


@pytest.mark.parametrize(
    ("clips", "windows"),
    [
        ("0", [(0, 30), (30, 35)]),
        ("1,3,10", [(1, 3), (10, 35)]),
        ("2,99", [(2, 32), (32, 35)]),
        ("40,50", []),
        ("30,33,5,6", [(30, 33), (5, 6)]),
        ("4,4,5,6", [(5, 6)]),
    ],
)
def test_only_clips_are_heard(answers: Answers, clips: str, windows: list[tuple[float, float]]) -> None:
    answers.add(BEGIN, A, text="alpha")
    stream = stream_of(35, clip_timestamps=clips)
    segments = list(stream)
    assert [(decision.start, decision.end) for decision in stream.decisions] == windows
    assert times(segments) == windows
    assert [segment["id"] for segment in segments] == list(range(len(windows)))


# What a window is told


@given(st.integers(0, 60), st.integers(0, 90), st.integers(0, 90), st.booleans(), st.booleans())
def test_history_is_told_as_upstream_tells_it(
    n_initial: int, first: int, second: int, carry: bool, reset: bool
) -> None:
    """Upstream's bookkeeping with one list and a running index, for a limit of 70 tokens; where it is sound."""
    limit, initial = 70, list(range(n_initial))
    everything, since = [*initial], 0
    history = History(initial, []) if carry else History([], initial)
    for n in (first, second):
        new = list(range(1000 + len(everything), 1000 + len(everything) + n))
        everything += new
        history.tokens += new
        if reset:
            since = len(everything)
            history.forget()
        if carry and n_initial < limit:
            rest = everything[max(n_initial, since) :]
            expected = initial + rest[-(limit - n_initial) :]
        else:
            expected = everything[since:][-limit:]
        assert history.prompt(limit) == expected


@pytest.mark.parametrize("length", [222, 223, 224, 400])
def test_a_carried_prompt_of_any_length_is_kept(answers: Answers, length: int) -> None:
    """From 223 tokens on upstream tells the history instead, or cuts it from the wrong end."""
    answers.add(stamp(0), A, B, stamp(29))
    text = " ".join(["alpha"] * length)
    list(stream_of(95, initial_prompt=text, carry_initial_prompt=True))
    tokens = EN.encode(" " + text)
    assert len(tokens) == length
    heard = [stamp(0), A, B, stamp(29)]
    expected = [tokens[-223:], *[(tokens + (heard * n)[-1:])[-223:] if length < 223 else tokens[-223:] for n in (1, 2)]]
    assert [options.prompt for options in answers.options][:3] == expected


def test_each_window_is_told_the_text_before_it(answers: Answers) -> None:
    answers.add(stamp(0), A, stamp(29)).add(stamp(0), B, stamp(29)).add(stamp(0), C, stamp(29))
    list(stream_of(85, initial_prompt=" Hello "))
    hello, first, second = EN.encode(" Hello"), [stamp(0), A, stamp(29)], [stamp(0), B, stamp(29)]
    assert [options.prompt for options in answers.options] == [hello, hello + first, hello + first + second]


@pytest.mark.parametrize(
    ("options", "first", "others"),
    [
        ({"condition_on_previous_text": False}, [], []),
        ({"condition_on_previous_text": False, "initial_prompt": "beta"}, [B], []),
        ({"condition_on_previous_text": False, "initial_prompt": "beta", "carry_initial_prompt": True}, [B], [B]),
        ({"condition_on_previous_text": False, "hotwords": "gamma"}, [C], [C]),
        ({"condition_on_previous_text": False, "hotwords": "gamma", "initial_prompt": "beta"}, [C, B], [C]),
        ({"initial_prompt": "", "hotwords": "  ", "condition_on_previous_text": False}, [], []),
    ],
)
def test_without_conditioning_only_what_is_carried_stays(
    answers: Answers, options: dict[str, Any], first: list[int], others: list[int]
) -> None:
    answers.add(stamp(0), A, stamp(29))
    list(stream_of(85, **options))
    assert [options.prompt for options in answers.options] == [first, others, others]


@pytest.mark.parametrize(("temperature", "is_told"), [(0.0, True), (0.5, True), (0.50001, False), (0.6, False)])
def test_a_text_from_a_high_temperature_is_not_told(answers: Answers, temperature: float, is_told: bool) -> None:
    answers.add(stamp(0), A, stamp(29))
    list(stream_of(55, temperature=temperature, initial_prompt="beta"))
    assert answers.options[1].prompt == ([B, stamp(0), A, stamp(29)] if is_told else [])


def test_hotwords_come_first_and_stay_when_the_history_grows(answers: Answers) -> None:
    answers.add(stamp(0), *[A] * 150, stamp(29))
    list(stream_of(85, hotwords="gamma", initial_prompt="beta"))
    prompts = [options.prompt for options in answers.options]
    assert [prompt[0] for prompt in prompts] == [C, C, C]
    assert prompts[0] == [C, B]
    assert len(prompts[2]) == 223
    assert prompts[2][1:] == ([stamp(0), *[A] * 150, stamp(29)] * 2)[-222:]


def test_a_prefix_begins_the_first_window_only(answers: Answers) -> None:
    answers.add(stamp(0), A, stamp(29))
    list(stream_of(85, prefix="So"))
    assert [options.prefix for options in answers.options] == ["So", None, None]


# Fallback


GOOD = {"avg_logprob": -0.5, "compression_ratio": 1.5, "no_speech_prob": 0.1}
LOOP, UNSURE = {**GOOD, "compression_ratio": 2.5}, {**GOOD, "avg_logprob": -1.1}
EMPTY = {**UNSURE, "no_speech_prob": 0.7}
EMPTY_LOOP = {**EMPTY, "compression_ratio": 9.0}


@pytest.mark.parametrize(
    ("results", "options", "temperatures", "failed"),
    [
        ([GOOD], {}, [0.0], [()]),
        ([LOOP, GOOD], {}, [0.0, 0.2], [("compression_ratio",), ()]),
        ([UNSURE, LOOP, GOOD], {}, [0.0, 0.2, 0.4], [("avg_logprob",), ("compression_ratio",), ()]),
        ([{**UNSURE, **{"compression_ratio": 3.0}}, GOOD], {}, [0.0, 0.2], [("compression_ratio", "avg_logprob"), ()]),
        # rule 1: what is as unlikely as silence is not tried again, whatever else failed
        ([EMPTY], {}, [0.0], [("avg_logprob",)]),
        ([EMPTY_LOOP], {}, [0.0], [("compression_ratio", "avg_logprob")]),
        ([{**LOOP, "no_speech_prob": 0.7}, GOOD], {}, [0.0, 0.2], [("compression_ratio",), ()]),
        # rule 2: comparisons are strict, None disables
        ([{**GOOD, "avg_logprob": -1.0, "compression_ratio": 2.4}], {}, [0.0], [()]),
        ([LOOP], {"compression_ratio_threshold": None}, [0.0], [()]),
        ([UNSURE], {"logprob_threshold": None}, [0.0], [()]),
        ([EMPTY_LOOP, GOOD], {"logprob_threshold": None}, [0.0, 0.2], [("compression_ratio",), ()]),
        ([EMPTY, GOOD], {"no_speech_threshold": None}, [0.0, 0.2], [("avg_logprob",), ()]),
        # rule 3: when all fail, the last one stays
        ([UNSURE], {"temperature": (0.1, 0.3)}, [0.1, 0.3], [("avg_logprob",)] * 2),
        ([LOOP], {}, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [("compression_ratio",)] * 6),
        ([UNSURE], {"temperature": 0.7}, [0.7], [("avg_logprob",)]),
    ],
)
def test_fallback(
    answers: Answers, results: list[dict[str, Any]], options: dict[str, Any], temperatures: list[float], failed: Any
) -> None:
    for scores in results:
        answers.add(stamp(0), A, stamp(5), **scores)
    stream = stream_of(5, **options)
    segments = list(stream)
    assert [given.temperature for given in answers.options] == temperatures
    (decision,) = stream.decisions
    assert [attempt.temperature for attempt in decision.attempts] == temperatures
    assert [attempt.failed for attempt in decision.attempts] == failed
    if segments:
        assert segments[0]["temperature"] == temperatures[-1]


def test_beams_are_for_temperature_zero_and_samples_for_the_others(answers: Answers) -> None:
    """Rule 4: `transcribe` accepts both."""
    answers.add(stamp(0), A, stamp(5), **LOOP).add(stamp(0), A, stamp(5))
    list(stream_of(5, beam_size=3, patience=2.0, best_of=4))
    found = [(given.beam_size, given.patience, given.best_of) for given in answers.options]
    assert found == [(3, 2.0, None), (None, None, 4)]


@pytest.mark.parametrize(
    "given_temperature", [0, 0.0, np.float32(0), np.float64(0), (0,), [0.0], np.array([0.0]), np.zeros((), np.float32)]
)
def test_a_temperature_may_be_any_number_or_sequence(answers: Answers, given_temperature: Any) -> None:
    """Rule 8: upstream refuses np.float32."""
    answers.add(stamp(0), A, stamp(5))
    (segment,) = stream_of(5, temperature=given_temperature)
    assert type(segment["temperature"]) is float


@pytest.mark.parametrize("empty", [(), [], np.array([])])
def test_no_temperature_is_an_error(empty: Any) -> None:
    with pytest.raises(ValueError, match="at least one, got an empty one"):
        stream_of(5, temperature=empty)


def test_attempts_of_one_seed_draw_differently_and_repeat(answers: Answers) -> None:
    answers.add(stamp(0), A, stamp(5), **LOOP)
    list(stream_of(35, seed=7))
    seeds = [given.seed for given in answers.options]
    assert len(set(seeds)) == len(seeds) == 12
    list(stream_of(35, seed=7))
    assert [given.seed for given in answers.options[12:]] == seeds
    list(stream_of(5))
    assert answers.options[-1].seed is None


# Silence


@pytest.mark.parametrize(
    ("scores", "options", "skipped"),
    [
        (EMPTY, {}, True),
        (GOOD, {}, False),
        ({**EMPTY, "avg_logprob": -0.9}, {}, False),  # sure of its words
        ({**EMPTY, "avg_logprob": -1.0}, {}, True),  # must be greater
        ({**EMPTY, "no_speech_prob": 0.6}, {"temperature": 0}, False),  # must be greater
        (EMPTY, {"no_speech_threshold": None, "temperature": 0}, False),
        ({**GOOD, "no_speech_prob": 0.7}, {"logprob_threshold": None}, True),
    ],
)
def test_silent_windows_are_skipped(
    answers: Answers, scores: dict[str, Any], options: dict[str, Any], skipped: bool
) -> None:
    answers.add(stamp(0), A, stamp(1), stamp(1), B, **scores)
    stream = stream_of(20, **options)
    next(stream, None)
    assert stream.decisions[0].skipped == skipped
    assert stream.seek == (2000 if skipped else 100)


def test_a_skipped_window_leaves_prompt_and_reset_alone(answers: Answers) -> None:
    answers.add(stamp(0), A, stamp(29)).add(stamp(0), B, stamp(29), **EMPTY).add(stamp(0), C, stamp(20))
    stream = stream_of(85, condition_on_previous_text=True, initial_prompt="beta")
    assert [segment["text"] for segment in stream] == [" alpha", " gamma"]
    assert [given.prompt for given in answers.options][1:] == [[B, stamp(0), A, stamp(29)]] * 2
    assert [decision.reason for decision in stream.decisions][1] == "the window was taken for silence"
    assert stream.text == " alpha gamma"


# Seeking


@pytest.mark.parametrize(
    ("tokens", "seek", "reason", "expected"),
    [
        ((stamp(0), A), 3000, "the whole window was used", [(0, 30)]),
        ((stamp(0), A, stamp(7)), 3000, "the whole window was used", [(0, 7)]),
        ((stamp(0), A, stamp(7), stamp(7), B), 700, "the last closing timestamp", [(0, 7)]),
        ((stamp(0), A, stamp(7), stamp(8), B, stamp(9)), 3000, "the whole window was used", [(0, 7), (8, 9)]),
        ((A,), 3000, "the whole window was used", [(0, 30)]),
    ],
)
def test_the_next_window_starts_where_the_text_ended(
    answers: Answers, tokens: tuple[int, ...], seek: int, reason: str, expected: list[tuple[float, float]]
) -> None:
    answers.add(*tokens).add(stamp(0), C)
    stream = stream_of(50)
    segments = [next(stream) for _ in expected]
    assert times(segments) == expected
    assert (stream.seek, stream.decisions[0].next_start, stream.decisions[0].reason) == (seek, seek / 100, reason)
    following = next(stream)
    assert (following["seek"], following["start"]) == (seek, seek / 100)
    assert answers.options[1].prompt == [token for segment in segments for token in segment["tokens"]]


def test_a_window_that_would_not_move_on_is_left(answers: Answers) -> None:
    """Upstream would decode it for ever."""
    answers.add(stamp(0), stamp(0), A)
    stream = stream_of(65)
    list(stream)
    assert [decision.next_start for decision in stream.decisions] == [30, 60, 65]
    assert stream.decisions[0].reason == "not back to the last closing timestamp"


def test_a_segment_without_text_or_duration_is_cleared_but_stays(answers: Answers) -> None:
    answers.add(stamp(0), A, stamp(0), stamp(0), 220, stamp(2), stamp(2), B, stamp(3))
    stream = stream_of(5)
    segments = list(stream)
    assert [(segment["text"], segment["id"]) for segment in segments] == [("", 0), ("", 1), (" beta", 2)]
    assert [len(segment["tokens"]) for segment in segments] == [0, 0, 3]
    assert [segment.get("words") for segment in segments] == [[], [], None]
    assert stream.text == " beta"


def test_nothing_ends_after_the_recording(answers: Answers) -> None:
    answers.add(stamp(0), A, stamp(4), stamp(6), B, stamp(9))
    assert times(list(stream_of(5))) == [(0, 4), (5, 5)]


@pytest.mark.parametrize("seconds", [0.001, 0.009, 0.01, 0.3])
def test_the_shortest_recordings_have_no_window_or_one(answers: Answers, seconds: float) -> None:
    answers.add(stamp(0), A)
    stream = stream_of(seconds)
    assert len(list(stream)) == len(stream.decisions) == int(seconds >= 0.01)
    assert stream.duration == int(seconds * 100) / 100


# Words


def give_words(monkeypatch: pytest.MonkeyPatch, *windows: list[list[tuple[str, float, float, float]]]) -> list[Any]:
    """Let the n-th window's segments get these words (text, start, end, probability); returns the keywords received."""
    received: list[Any] = []

    def add(**keywords: Any) -> None:
        window = windows[min(len(received), len(windows) - 1)]
        received.append(keywords)
        for segment, words in zip(keywords["segments"], window, strict=True):
            names = ("word", "start", "end", "probability")
            segment["words"] = [dict(zip(names, word, strict=True)) for word in words]
            if words:
                segment["start"], segment["end"] = words[0][1], words[-1][2]

    monkeypatch.setattr(passage, "add_word_timestamps", add)
    return received


def test_words_move_the_seek_unless_a_lone_timestamp_ends_the_window(
    answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers.add(stamp(0), A, stamp(7), stamp(7), B).add(stamp(0), A, stamp(9))
    received = give_words(monkeypatch, [[(" alpha", 0.5, 6.28, 0.9)]], [[(" alpha", 7.0, 15.0, 0.9)]])
    stream = stream_of(40, word_timestamps=True)
    segments = list(stream)
    assert [decision.next_start for decision in stream.decisions] == [6.28, 36.28, 40.0]
    assert [decision.reason for decision in stream.decisions][:2] == [
        "the end of the last word",
        "the whole window was used",
    ]
    assert [keywords["last_speech_timestamp"] for keywords in received] == [0.0, 6.28, 15.0]
    assert [keywords["num_frames"] for keywords in received] == [3000, 3000, 372]
    assert segments[0]["words"] == [{"word": " alpha", "start": 0.5, "end": 6.28, "probability": 0.9}]


def test_words_end_with_the_recording(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    answers.add(stamp(0), A, stamp(9))
    give_words(monkeypatch, [[(" alpha", 4.0, 5.2, 0.9)]])
    (segment,) = stream_of(5, word_timestamps=True)
    assert (segment["end"], segment["words"][0]["end"]) == (5.0, 5.0)


def test_a_last_word_at_the_windows_start_does_not_move_the_seek(
    answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers.add(stamp(0), A, stamp(7), stamp(7), B)
    give_words(monkeypatch, [[(" alpha", 0.0, 0.0, 0.9)]])
    stream = stream_of(20, word_timestamps=True)
    next(stream)
    assert stream.seek == 700


def test_the_last_word_is_that_of_the_last_segment_that_has_any() -> None:
    word = {"word": "a", "start": 1.0, "end": 2.0}
    assert last_word_end([]) is None
    assert last_word_end([{"words": [word], "end": 3.0}, {"words": [], "end": 9.0}]) == 2.0
    assert last_word_end([{"words": [], "end": 3.0}, {"words": [], "end": 9.0}]) == 9.0


def test_silence_before_an_odd_segment_is_skipped_and_leaves_no_trace(
    answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers.add(stamp(0), A, stamp(29)).add(stamp(0), B, stamp(20))
    received = give_words(monkeypatch, [[(" alpha", 8.0, 8.3, 0.01)]], [[(" beta", 9.0, 10.0, 0.9)]])
    options = {"word_timestamps": True, "hallucination_silence_threshold": 2.0, "initial_prompt": "gamma"}
    stream = stream_of(35, **options, condition_on_previous_text=False)
    assert [segment["text"] for segment in stream] == [" beta"]
    assert stream.decisions[0].next_start == 8.0
    assert stream.decisions[0].reason == "a silence before a segment that looks hallucinated"
    assert [given.prompt for given in answers.options] == [[C], [C]], "not yet forgotten"
    assert received[1]["last_speech_timestamp"] == 0.0


def test_an_odd_segment_in_silence_is_dropped_with_all_after_it(
    answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = (stamp(0), A, stamp(2), stamp(2), B, stamp(9), stamp(9), C, stamp(20))
    answers.add(*tokens).add(stamp(0), C)
    words = [[(" alpha", 0.1, 1.5, 0.9)], [(" beta", 6.0, 6.1, 0.1)], [(" gamma", 15.0, 15.9, 0.9)]]
    give_words(monkeypatch, words, [[(" gamma", 16.0, 17.0, 0.9)]])
    stream = stream_of(35, word_timestamps=True, hallucination_silence_threshold=2.0)
    assert next(stream)["text"] == " alpha"
    assert stream.seek == 600
    assert stream.decisions[0].reason == "a segment in silence that looks hallucinated"
    assert next(stream)["seek"] == 600
    assert answers.options[1].prompt == [stamp(0), A, stamp(2)]


def test_an_odd_segment_before_the_end_finishes_the_recording(
    answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers.add(stamp(0), A, stamp(2), stamp(2), B, stamp(9))
    give_words(monkeypatch, [[(" alpha", 0.1, 1.5, 0.9)], [(" beta", 28.1, 28.2, 0.1)]])
    stream = stream_of(29.5, word_timestamps=True, hallucination_silence_threshold=2.0)
    assert [segment["text"] for segment in stream] == [" alpha"]
    assert stream.decisions[0].next_start == 29.5


@pytest.mark.parametrize(("threshold", "seek"), [(2.0, 2700), (3.0, 3000), (4.0, 3000)])
def test_a_short_silence_after_the_last_word_ends_the_window(
    answers: Answers, monkeypatch: pytest.MonkeyPatch, threshold: float, seek: int
) -> None:
    answers.add(stamp(0), A, stamp(27), stamp(27), B)
    give_words(monkeypatch, [[(" alpha", 26.0, 27.0, 0.9)]])
    stream = stream_of(60, word_timestamps=True, hallucination_silence_threshold=threshold)
    next(stream)
    assert stream.seek == seek


# Languages


def test_the_language_is_detected_once_in_the_first_30_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    model = talker(HUNDRED)
    mel = npwhisper.log_mel_spectrogram(silence(5), 128, padding=480000)[:, :3000]
    _, probs = model.detect_language(mel)
    stream = model.iter_segments(silence(5), temperature=0, sample_len=4)
    assert stream.language == max(probs, key=probs.get)
    assert model.transcribe(silence(5), temperature=0, sample_len=4)["language"] == stream.language
    assert {decision.language for decision in stream.decisions} <= {stream.language}


def test_a_window_is_not_encoded_again_after_the_language_was_detected_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[Array] = []

    def counted(model: Any, mel: Array) -> Array:
        encoded.append(mel)
        return encode(model, mel)

    monkeypatch.setattr(transcription, "encode", counted)
    stream = talker().iter_segments(sounds(45), temperature=0, sample_len=4)
    list(stream)
    assert len(encoded) == len(stream.decisions) > 1


@pytest.mark.parametrize("vad", [False, True])
def test_a_recording_is_decoded_and_its_mel_computed_once(monkeypatch: pytest.MonkeyPatch, vad: bool) -> None:
    opened, frames = list[Any](), list[int]()

    def counted_blocks(file: Any, *args: Any, **kwargs: Any) -> Any:
        opened.append(file)
        return open_blocks(file, *args, **kwargs)

    def counted_stft(samples: Array) -> Array:
        power = stft(samples)
        frames.append(power.shape[-1])
        return power

    monkeypatch.setattr(streaming, "open_blocks", counted_blocks)
    monkeypatch.setattr(mel, "stft", counted_stft)
    stream = talker().iter_segments(npwhisper.example(), vad=vad, temperature=0, sample_len=4)
    list(stream)
    assert len(opened) == 1
    assert sum(frames) <= stream.n_frames + 3000


def test_the_language_is_looked_for_in_sound_and_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """As upstream does: where the recording ends, silence follows, not the zeros that follow in every other window."""
    heard: list[Array] = []

    def detect(model: Any, windows: Iterator[Array], threshold: float | None) -> tuple[str, dict[str, float]]:
        heard.extend(windows)
        return "de", {}

    monkeypatch.setattr(transcription, "language_of_windows", detect)
    talker().iter_segments(sounds(5))
    expected = npwhisper.log_mel_spectrogram(sounds(5), padding=480_000)[:, :3000]
    np.testing.assert_array_equal(heard, [expected])


def windows_looked_at(monkeypatch: pytest.MonkeyPatch, samples: Array, **options: Any) -> list[Array]:
    """What the encoder made of the windows in which the language is looked for."""
    looked_at: list[Array] = []

    def detect(model: Any, windows: Iterator[Array], threshold: float | None) -> tuple[str, dict[str, float]]:
        looked_at.extend(windows)
        return "de", {}

    monkeypatch.setattr(transcription, "language_of_windows", detect)
    talker().iter_segments(samples, **options)
    return looked_at


@pytest.mark.parametrize(
    ("options", "starts"),
    [
        ({}, [0]),
        ({"language_detection_segments": 3}, [0, 3000, 6000]),
        ({"language_detection_segments": 9}, [0, 3000, 6000]),
        ({"clip_timestamps": "40"}, [4000]),
        ({"clip_timestamps": "40,50,55,60", "language_detection_segments": 2}, [4000, 5500]),
    ],
)
def test_the_language_is_detected_in_the_windows_that_are_decoded(
    options: dict[str, Any], starts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, samples = talker(), sounds(70)
    looked_at = windows_looked_at(monkeypatch, samples, **options)
    stream = model.iter_segments(samples, language="en", **options)
    sizes = [1000, 500] if len(starts) == 2 else [min(3000, 7000 - start) for start in starts]
    for features, start, size in zip(looked_at, starts, sizes, strict=True):
        expected = model.embed_audio(stream.mel.window(start, size))[0]
        np.testing.assert_array_equal(np.squeeze(features), expected)


@pytest.mark.parametrize("guard", ["vad", "robust"])
def test_the_silence_that_is_skipped_does_not_decide_the_language(guard: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spoken = npwhisper.load_audio(npwhisper.example())
    samples = np.concatenate([silence(35), spoken])
    (start, end), *_ = npwhisper.find_speech(samples)
    assert 30 < start < 37
    (features,) = windows_looked_at(monkeypatch, samples, **{guard: True})
    stream = talker().iter_segments(samples, language="en", vad=True)
    expected = talker().embed_audio(stream.mel.window(round(start * 100), round((end - start) * 100)))[0]
    np.testing.assert_array_equal(features, expected)


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [(None, ("de", 3)), (0.5, ("de", 2)), (0.3, ("en", 1)), (0.9, ("de", 3))],
)
def test_several_windows_decide_together_unless_one_is_certain(
    threshold: float | None, expected: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = iter([{"en": 0.4, "de": 0.35}, {"en": 0.3, "de": 0.6}, {"en": 0.2, "de": 0.3}])
    monkeypatch.setattr(window, "detect_language", lambda model, mel: (0, next(found)))
    language, probs = window.language_of_windows(talker(), [sounds(1)] * 3, threshold)
    assert (language, 3 - len(list(found))) == expected
    assert probs[language] == max(probs.values())


@pytest.mark.parametrize(
    ("dims", "words"),
    [
        (ENGLISH, "an English-only model transcribes, whatever the task: translate with a multilingual model"),
        (replace(MULTILINGUAL, n_audio_layer=32, n_text_layer=4), "turbo was not trained to translate"),
        (MULTILINGUAL, None),
    ],
)
def test_a_model_that_cannot_translate_says_so(dims: Any, words: str | None) -> None:
    model = Script(lambda _: {}, dims.n_vocab)
    model.dims = replace(dims, n_audio_state=model.dims.n_audio_state)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.iter_segments(silence(1), language="en", task="transcribe")
        assert not caught
        model.iter_segments(silence(1), language="en", task="translate")
    assert [str(warning.message).startswith(words or "nothing") for warning in caught] == [True] * bool(words)


@pytest.mark.parametrize(("given_language", "code"), [("German", "de"), ("de", "de"), ("CASTILIAN", "es")])
def test_a_language_that_is_given_is_echoed(answers: Answers, given_language: str, code: str) -> None:
    answers.add(stamp(0), A)
    stream = stream_of(5, 51865, language=given_language)
    list(stream)
    assert (stream.language, stream.tokenizer.language) == (given_language, code)
    assert answers.options[0].language == given_language


def test_english_models_are_english(answers: Answers) -> None:
    answers.add(stamp(0), A)
    for language in (None, "auto-window"):
        stream = stream_of(5, language=language)
        assert (stream.language, next(iter(stream)).get("language")) == ("en", None)


def test_every_window_may_have_its_own_language(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    many = get_tokenizer(True)
    end = [many.timestamp_begin, *many.encode(" a"), many.timestamp_begin + 1450]
    answers.add(*end, language="fr").add(*end, language="ja").add(*end, language="fr")
    received = give_words(monkeypatch, [[(" a", 0.0, 1.0, 0.9)]])
    model = Script(lambda _: {many.to_language_token("de"): 30.0}, 51865)
    stream = model.iter_segments(silence(85), language="auto-window", word_timestamps=True)
    assert stream.language == "de"
    segments = list(stream)
    assert stream.language == "fr", "the language of most of what was decoded"
    assert [given.language for given in answers.options] == [None] * 3
    assert [segment["language"] for segment in segments] == ["fr", "ja", "fr"]
    assert [decision.language for decision in stream.decisions] == ["fr", "ja", "fr"]
    assert [keywords["tokenizer"].language for keywords in received] == ["fr", "ja", "fr"]


def test_windows_are_detected_by_real_networks_too() -> None:
    model, recording = talker(seed=1), np.random.default_rng(0).standard_normal(16000 * 40).astype(np.float32)
    recording[16000 * 30 :] = 0
    stream = model.iter_segments(recording, language="auto-window", temperature=0, sample_len=5)
    list(stream)
    for decision in stream.decisions:
        start, end = (round(100 * time) for time in (decision.start, decision.end))
        _, probs = model.detect_language(stream.mel.window(start, end - start))
        assert decision.language == max(probs, key=probs.get)


def test_unknown_languages_are_refused_before_any_work() -> None:
    with pytest.raises(ValueError, match="unknown language 'klingon'"):
        stream_of(5, 51865, language="klingon")


# Options


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"beam_sise": 5}, TypeError, "no option 'beam_sise': did you mean beam_size"),
        ({"xyzzy": 5}, TypeError, "no option 'xyzzy': see TranscribeOptions"),
        ({"decoding": 5}, TypeError, "no option 'decoding'"),
        ({"prompt": "So"}, ValueError, "give transcribe an initial_prompt"),
        ({"task": "lang_id"}, ValueError, "use detect_language"),
        ({"task": "transcript"}, ValueError, "'translate' or 'lang_id'"),
        ({"patience": 2.0}, ValueError, "give beam_size"),
        ({"temperature": (0.0, -1.0)}, ValueError, "temperature must be at least 0"),
        ({"length_penalty": 2}, ValueError, "between 0 and 1"),
        ({"clip_timestamps": "a"}, ValueError, "clip_timestamps must be seconds"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        stream_of(5, **options)


def test_defaults_are_those_of_openai_whisper() -> None:
    names = ["temperature", "compression_ratio_threshold", "logprob_threshold", "no_speech_threshold"]
    names += ["condition_on_previous_text", "initial_prompt", "carry_initial_prompt", "word_timestamps"]
    names += ["clip_timestamps", "hallucination_silence_threshold", "prepend_punctuations"]
    defaults = [(0.0, 0.2, 0.4, 0.6, 0.8, 1.0), 2.4, -1.0, 0.6, True, None, False, False, "0", None, "\"'“¿([{-"]
    assert [getattr(TranscribeOptions(), name) for name in names] == defaults


def test_what_belongs_to_one_window_reaches_it(answers: Answers) -> None:
    answers.add(stamp(0), A)
    mine = [1, 2]
    options = {"suppress_tokens": mine, "sample_len": 7, "without_timestamps": True, "max_initial_timestamp": None}
    list(stream_of(5, **options, fp16=True, prompt=None))
    (given,) = answers.options
    assert {name: getattr(given, name) for name in options} == {**options, "suppress_tokens": (1, 2)}
    assert mine == [1, 2]


# The stream, its progress and its log


def test_the_next_window_is_decoded_when_it_is_asked_for(answers: Answers) -> None:
    answers.add(stamp(0), A, stamp(3), stamp(3), B, stamp(29))
    stream = stream_of(85)
    assert (len(answers.options), stream.decisions) == (0, [])
    assert iter(stream) is stream
    for expected in (1, 1, 2, 2, 3, 3):
        next(stream)
        assert len(answers.options) == len(stream.decisions) == expected
    assert next(stream, None) is None


def test_progress_and_decisions_are_told_after_each_window(answers: Answers) -> None:
    answers.add(stamp(0), A, stamp(3), stamp(3), B, **LOOP).add(stamp(0), A, stamp(3), stamp(3), B)
    answers.add(stamp(0), A, **EMPTY).add(stamp(0), C)
    told: list[Any] = []
    model = Script(lambda _: {})
    options = {"progress": lambda *seconds: told.append(seconds), "on_decision": told.append}
    stream = model.iter_segments(silence(40.5), **options)
    list(stream)
    assert [item for item in told if isinstance(item, tuple)] == [(3.0, 40.5), (33.0, 40.5), (40.5, 40.5)]
    assert [item for item in told if isinstance(item, Decision)] == stream.decisions
    first = stream.decisions[0]
    assert (first.start, first.end, first.language, first.skipped, first.next_start) == (0, 30, "en", False, 3)
    text = "alpha beta"
    assert first.attempts == [
        Attempt(0.0, -0.5, 2.5, 0.1, text, ("compression_ratio",)),
        Attempt(0.2, -0.1, 1.0, 0.01, text, ()),
    ]
    assert [decision.skipped for decision in stream.decisions] == [False, True, False]


def test_segments_have_upstreams_keys(answers: Answers) -> None:
    answers.add(stamp(0), A)
    (segment,) = stream_of(5)
    names = ["id", "seek", "start", "end", "text", "tokens", "temperature"]
    assert list(segment) == [*names, "avg_logprob", "compression_ratio", "no_speech_prob"]
    assert (segment["avg_logprob"], segment["no_speech_prob"], segment["compression_ratio"]) == (-0.1, 0.01, 1.0)


# Networks that talk


def sounds(seconds: float, seed: int = 0) -> Array:
    """Noise whose loudness changes every second."""
    rng = np.random.default_rng(seed)
    loudness = np.repeat(rng.random(math.ceil(seconds)) ** 4, 16000)[: round(seconds * 16000)]
    return (rng.standard_normal(len(loudness)) * loudness * 0.3).astype(np.float32)


COMBINATIONS: list[dict[str, Any]] = [
    {},
    {"word_timestamps": True},
    {"word_timestamps": True, "hallucination_silence_threshold": 1.0},
    {"word_timestamps": True, "hallucination_silence_threshold": 0.0},
    {"beam_size": 2, "initial_prompt": "Hello", "carry_initial_prompt": True},
    {"without_timestamps": True, "word_timestamps": True, "prefix": "So"},
    {"clip_timestamps": "1,2,4,99", "hotwords": "gamma", "max_initial_timestamp": None},
    {"temperature": (0.0, 0.8), "compression_ratio_threshold": 0.5, "seed": 1, "best_of": 2},
    {"suppress_tokens": "", "suppress_blank": False, "condition_on_previous_text": False},
    {"no_speech_threshold": 1e-12, "logprob_threshold": 0.0},
    {"prefix": "So", "no_repeat_ngram_size": 2, "repetition_penalty": 1.5},
    {"language": "auto-window", "task": "translate", "word_timestamps": True},
]


@pytest.mark.filterwarnings("ignore:an English-only model transcribes")
@pytest.mark.parametrize("number", range(len(COMBINATIONS)))
def test_invariants_hold_for_all_options(number: int) -> None:
    options, model, recording = COMBINATIONS[number], talker([MULTILINGUAL, ENGLISH][number % 2]), sounds(41.3)
    stream = model.iter_segments(recording, **{"temperature": 0.0, "sample_len": 14} | options)
    segments = []
    for segment in stream:
        segments.append(segment)
        assert len(stream.decisions) < 200
    assert [segment["id"] for segment in segments] == list(range(len(segments)))
    assert stream.text == "".join(segment["text"] for segment in segments)
    if "clip_timestamps" not in options:
        starts = [0.0, *(decision.next_start for decision in stream.decisions)]
        assert all(a < b for a, b in itertools.pairwise(starts))
        assert [decision.start for decision in stream.decisions] == starts[:-1]
        assert starts[-1] == pytest.approx(stream.duration, abs=30)
    for segment in segments:
        assert 0 <= segment["start"] <= segment["end"] <= stream.duration
        assert segment["text"] == model.tokenizer.decode([t for t in segment["tokens"] if t < model.tokenizer.eot])
        for word in segment.get("words", ()):
            assert 0 <= word["start"] <= word["end"] <= stream.duration
    assert all(type(value) is float for segment in segments for value in numbers(segment))


def numbers(segment: dict[str, Any]) -> Iterator[Any]:
    yield from (segment[name] for name in ("start", "end", "temperature", "avg_logprob", "no_speech_prob"))
    yield from (word[name] for word in segment.get("words", ()) for name in ("start", "end", "probability"))


def test_a_seed_repeats_a_transcription() -> None:
    options = {"temperature": (0.9, 1.2), "logprob_threshold": 0.0, "sample_len": 8}
    runs = [talker().transcribe(sounds(12), language="en", **options, seed=seed)["text"] for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


# Real speech, as openai-whisper wrote it down


FROZEN = cases.reference("transcription.json")["results"]


@pytest.mark.parametrize(
    "name", [name if name == "jfk" else pytest.param(name, marks=pytest.mark.slow) for name in FROZEN]
)
def test_real_speech_is_written_down_as_by_openai_whisper(model: npwhisper.Whisper, name: str) -> None:
    recording = cases.speech_signals()[name]
    found, expected = model.transcribe(recording, temperature=0.0), FROZEN[name]
    assert (found["text"], found["language"]) == (expected["text"], expected["language"])
    duration = len(recording) // 160 / 100
    for segment, wanted in zip(found["segments"], expected["segments"], strict=True):
        for exact in ("seek", "text", "tokens", "temperature"):
            assert segment[exact] == wanted[exact]
        for time in ("start", "end"):
            assert segment[time] == min(wanted[time], duration)
        for close in ("avg_logprob", "no_speech_prob", "compression_ratio"):
            assert segment[close] == pytest.approx(wanted[close], abs=1e-3)


@pytest.mark.parametrize("is_embedded", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_what_the_caller_lets_raise_does_not_raise_here(model: npwhisper.Whisper, is_embedded: bool) -> None:
    model = model if is_embedded else talker(ENGLISH)
    faint = np.full(16000, 1e-40, np.float32)
    with np.errstate(all="raise"):
        faint_text = model.transcribe(faint, temperature=0.01, repetition_penalty=1e-9, sample_len=4, seed=2)["text"]
        mel = npwhisper.log_mel_spectrogram(faint, model.dims.n_mels, padding=29 * 16000)
        assert model.decode(mel, temperature=1e-300, sample_len=3, seed=2).temperature == 1e-300
        assert len(model.align(faint, "Ask not")) == 2
        assert np.geterr()["under"] == "raise"
    again = model.transcribe(faint, temperature=0.01, repetition_penalty=1e-9, sample_len=4, seed=2)
    assert again["text"] == faint_text
