"""Many windows at once: what each gives does not depend on its neighbours, over options; order, journal, memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from talkers import ENGLISH, MULTILINGUAL, talker
from transcripts import assert_equal

import npwhisper
from npwhisper.audio import N_FRAMES
from npwhisper.tracing.seam import Array, trace
from npwhisper.transcription.voice import cut_at_pauses


@pytest.fixture(scope="module")
def long_recording() -> Array:
    """100 seconds of noise whose loudness and colour change, so that the windows differ."""
    rng = np.random.default_rng(5)
    noise = rng.standard_normal(16000 * 100).astype(np.float32)
    return np.asarray(noise * np.repeat(rng.random(400), 4000) * 0.3, np.float32)


@pytest.fixture(scope="module")
def recording(long_recording: Array) -> Array:
    """Its first 62 seconds: three windows."""
    return long_recording[: 62 * 16000]


def run(recording: Array, batch_size: int | None, multilingual: bool = False, **options: Any) -> dict[str, Any]:
    model = talker(MULTILINGUAL if multilingual else ENGLISH, seed=1)
    return model.transcribe(recording, batch_size=batch_size, **{"sample_len": 12, "seed": 3, **options})


OPTIONS: list[dict[str, Any]] = [
    {"temperature": 0},
    {"temperature": 0, "beam_size": 3},
    {"temperature": 0.7, "best_of": 3},
    {"temperature": (0, 0.4, 1.0), "logprob_threshold": -0.5, "best_of": 2},
    {"temperature": 0, "word_timestamps": True},
    {"temperature": 0, "word_timestamps": True, "hallucination_silence_threshold": 1.0},
    {"temperature": 0, "without_timestamps": True, "repetition_penalty": 1.3, "no_repeat_ngram_size": 2},
    {"temperature": 0, "initial_prompt": "Ask not", "hotwords": "country", "prefix": "And"},
    {"temperature": 0, "carry_initial_prompt": True, "initial_prompt": "Ask not", "max_initial_timestamp": None},
    {"temperature": 0, "condition_on_previous_text": False, "suppress_tokens": "", "suppress_blank": False},
    {"temperature": 0, "clip_timestamps": "3,40,50,91"},
    {"temperature": (0, 0.6), "compression_ratio_threshold": 1.0, "no_speech_threshold": 0.01},
    {"temperature": 0, "multilingual": True},
    {"temperature": 0, "multilingual": True, "language": "auto-window", "task": "translate"},
]


def named(options: dict[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in options.items())


@pytest.mark.parametrize(
    "options", [*OPTIONS[:2], *(pytest.param(options, marks=pytest.mark.slow) for options in OPTIONS[2:])], ids=named
)
def test_a_window_gives_beside_another_what_it_gives_alone(recording: Array, options: dict[str, Any]) -> None:
    alone = run(recording, 1, **options, sample_len=7)
    assert alone["segments"]
    assert_equal(run(recording, 2, **options, sample_len=7), alone)


@pytest.mark.slow
@pytest.mark.parametrize("options", OPTIONS, ids=named)
def test_a_window_gives_in_any_batch_what_it_gives_alone(long_recording: Array, options: dict[str, Any]) -> None:
    alone = run(long_recording, 1, **options)
    assert alone["segments"]
    for size in (2, 5, 16):
        assert_equal(run(long_recording, size, **options), alone)


@pytest.mark.slow
def test_a_cut_gives_what_it_gives_as_a_clip(recording: Array) -> None:
    """The parts of a batch are those of `clip_timestamps`, one by one."""
    model = talker(ENGLISH, seed=1)
    options: dict[str, Any] = {"temperature": 0, "sample_len": 12, "batch_size": 4}
    stream = model.iter_segments(recording, **options)
    whole = list(stream)
    clips = [f"{start / 100},{end / 100}" for start, end in stream.cuts]  # type: ignore[attr-defined]
    single = [s for clip in clips for s in model.transcribe(recording, clip_timestamps=clip, **options)["segments"]]
    assert [segment["tokens"] for segment in whole] == [segment["tokens"] for segment in single]
    assert [segment["start"] for segment in whole] == [segment["start"] for segment in single]


@pytest.mark.parametrize("size", [1, 3])
def test_segments_are_numbered_in_order_and_end_in_their_cut(recording: Array, size: int) -> None:
    stream = talker(ENGLISH, seed=1).iter_segments(recording, batch_size=size, sample_len=9, temperature=0)
    segments = list(stream)
    assert [segment["id"] for segment in segments] == list(range(len(segments)))
    assert [segment["seek"] for segment in segments] == sorted(segment["seek"] for segment in segments)
    assert [decision.start for decision in stream.decisions] == sorted(d.start for d in stream.decisions)
    assert stream.seek == stream.n_frames
    assert max(segment["end"] for segment in segments) <= stream.duration


@pytest.mark.slow
def test_the_first_segments_come_before_the_last_windows_are_encoded(
    recording: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, encoded = talker(ENGLISH, seed=1), list[int]()
    whole = npwhisper.Whisper.embed_audio

    def counted(self: npwhisper.Whisper, mel: Array) -> Array:
        encoded.append(len(mel))
        return whole(self, mel)

    monkeypatch.setattr(npwhisper.Whisper, "embed_audio", counted)
    stream = model.iter_segments(np.tile(recording, 5), batch_size=2, sample_len=9, temperature=0)
    next(stream)
    n_encoded = len(encoded)
    list(stream)
    assert 2 <= n_encoded < len(encoded) / 2


@pytest.mark.slow
def test_a_stopped_batch_goes_on(recording: Array, tmp_path: Path) -> None:
    model, journal = talker(ENGLISH, seed=1), tmp_path / "a.journal"
    options: dict[str, Any] = {"batch_size": 2, "sample_len": 9, "seed": 1, "temperature": (0, 0.8)}
    expected = model.transcribe(recording, **options)
    stream = model.iter_segments(recording, journal=journal, **options)
    first = next(stream)
    del stream
    resumed = model.iter_segments(recording, journal=journal, resume=True, **options)
    segments = list(resumed)
    assert segments[0] == first
    assert_equal({"segments": segments, "text": resumed.text, "language": resumed.language}, expected)


@pytest.mark.slow
def test_a_traced_batch_shows_single_windows(recording: Array) -> None:
    model = talker(ENGLISH, seed=1)
    with trace("decoder") as acts:
        traced = model.transcribe(recording, batch_size=3, temperature=0, sample_len=4)
    assert {len(value) for value in acts.all("decoder")} == {1}
    assert_equal(traced, model.transcribe(recording, batch_size=3, temperature=0, sample_len=4))


@pytest.mark.parametrize("size", [0, -1])
def test_a_batch_has_at_least_one_window(size: int) -> None:
    with pytest.raises(ValueError, match="batch_size must be at least 1, or None, got"):
        talker(ENGLISH).transcribe(np.zeros(16000, np.float32), batch_size=size)
    with pytest.raises(TypeError, match="batch_size must be a whole number or None, got 'x'"):
        talker(ENGLISH).transcribe(np.zeros(16000, np.float32), batch_size="x")


def test_cuts_are_at_pauses_and_at_most_30_seconds_long() -> None:
    share = np.ones(9000)
    share[2700:2760] = share[5200:5300] = share[1600:1650] = 0
    cuts = cut_at_pauses([(0, 9000)], share)
    assert cuts[:2] == [(0, 2730), (2730, 5250)]
    assert all(end - start <= N_FRAMES for start, end in cuts)
    assert [start for start, _ in cuts[1:]] == [end for _, end in cuts[:-1]]
    assert cut_at_pauses([(5, 90), (100, 3100)], share) == [(5, 90), (100, 3100)]
