"""The detector of speech hears speech, in noise too, and neither silence, noise, hum nor held notes."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import cases
import numpy as np
import pytest
import soundfile
from talkers import MULTILINGUAL, talker

from npwhisper.audio import SAMPLE_RATE, AudioError, LogMelStream, load_audio
from npwhisper.decoding.options import ROBUST, TranscribeOptions
from npwhisper.tracing.seam import Array, trace
from npwhisper.transcription.voice import MARGIN, REACH, changes_of, colour_change, find_speech, speech_spans

RECORDINGS = {name: load_audio(path) for name, path in cases.recordings().items()}
SHORTEST = min(RECORDINGS.values(), key=len)
SECONDS = 9
TIME = np.arange(SECONDS * SAMPLE_RATE) / SAMPLE_RATE


def noise(n_samples: int = len(TIME), seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(n_samples).astype(np.float32)


def melody(notes_per_second: int) -> Array:
    """Chords of three harmonic tones, each held until the next."""
    roots = 220 * 2 ** (np.random.default_rng(0).integers(0, 12, SECONDS * notes_per_second) / 12)
    hz = roots[(TIME * notes_per_second).astype(int)]
    return sum(0.1 / k * np.sin(2 * np.pi * k * r * hz * TIME) for k in range(1, 7) for r in (1, 5 / 4, 3 / 2))


def silent_sounds() -> dict[str, Array]:
    brown = np.cumsum(noise())
    return {
        "zeros": np.zeros(len(TIME)),
        "constant": np.full(len(TIME), 0.5),
        "one step of 16 bits": np.round(0.4 * noise()) / 32768,
        "white noise": 0.2 * noise(),
        "faint white noise": 0.001 * noise(),
        "brown noise": brown / np.abs(brown).max(),
        "noise that comes and goes": 0.1 * noise() * (1 + 0.8 * np.sin(2 * np.pi * 4 * TIME)),
        "mains hum": sum(0.2 / k * np.sin(2 * np.pi * 50 * k * TIME) for k in range(1, 10)) + 0.001 * noise(),
        "hum that starts late": np.where(TIME < 7.3, 0.0, 0.5 * np.sin(2 * np.pi * 100 * TIME)),
        "tone": 0.5 * np.sin(2 * np.pi * 440 * TIME),
        "held chords": melody(1),
        "a melody": melody(3),
        "clicks": np.where(np.arange(len(TIME)) % 8000 == 0, 0.8, 0.0),
    }


SILENT = silent_sounds()


@pytest.mark.parametrize("name", SILENT)
def test_nobody_speaks(name: str) -> None:
    assert find_speech(SILENT[name].astype(np.float32)) == []


@pytest.mark.parametrize("name", RECORDINGS)
@pytest.mark.parametrize("decibels", [None, 10], ids=str)
def test_speech_between_silences_is_found_whole(name: str, decibels: int | None) -> None:
    speech, silence = RECORDINGS[name], np.zeros(4 * SAMPLE_RATE, np.float32)
    sound = np.concatenate([silence, speech, silence])
    if decibels is not None:
        sound += noise(len(sound)) * np.sqrt(np.mean(speech**2)) * 10 ** (-decibels / 20)
    spans = find_speech(sound)
    loud = np.flatnonzero(np.abs(speech) > 0.2 * np.abs(speech).max()) / SAMPLE_RATE + 4
    heard = [any(start <= second <= end for start, end in spans) for second in loud]
    assert np.mean(heard) > 0.99
    assert all(start > 2 and end < 6 + len(speech) / SAMPLE_RATE for start, end in spans)


@pytest.mark.parametrize("gain", [0.003, 0.1, 30.0])
def test_loudness_changes_nothing(gain: float) -> None:
    speech = RECORDINGS["jfk"]
    assert find_speech(gain * speech) == find_speech(speech) != []


@pytest.mark.parametrize(("pause", "parts"), [(1.5, 1), (6.0, 2)])
def test_a_pause_between_words_does_not_split(pause: float, parts: int) -> None:
    speech = SHORTEST
    gap = np.zeros(int(pause * SAMPLE_RATE), np.float32)
    assert len(find_speech(np.concatenate([speech, gap, speech]))) == parts


def test_a_single_short_word_counts() -> None:
    word = RECORDINGS["jfk"][int(0.35 * SAMPLE_RATE) :][: int(0.4 * SAMPLE_RATE)]
    alone = np.zeros(10 * SAMPLE_RATE, np.float32)
    alone[5 * SAMPLE_RATE :][: len(word)] = word
    [(start, end)] = find_speech(alone)
    assert 4 < start <= 5
    assert 5.4 <= end < 6.5


@pytest.mark.parametrize("n_samples", [1, 160, 201, 2000, 8000])
def test_short_recordings_have_spans_within_them(n_samples: int) -> None:
    spans = speech_spans(stream := LogMelStream(RECORDINGS["jfk"][6000 : 6000 + n_samples], 80))
    assert all(0 <= start < end <= stream.n_frames for start, end in spans)


@pytest.mark.parametrize("n_mels", [80, 128])
def test_blocks_equal_the_whole(n_mels: int) -> None:
    log_mel = np.concatenate(list(LogMelStream(RECORDINGS["jfk"], n_mels).blocks()), axis=1)
    (whole,) = changes_of(iter([log_mel]))
    assert whole.shape == (log_mel.shape[1] - REACH + 1,)
    assert whole.dtype == np.float32
    for size in (3, 7, 1000):
        blocks = [log_mel[:, i : i + size] for i in range(0, 1100, size)]
        np.testing.assert_allclose(np.concatenate(list(changes_of(iter(blocks))))[:1000], whole[:1000], rtol=1e-6)


def test_a_file_is_read_as_its_samples_are(tmp_path: Path) -> None:
    speech = RECORDINGS["jfk"]
    soundfile.write(tmp_path / "speech.wav", speech, SAMPLE_RATE)
    assert find_speech(tmp_path / "speech.wav") == find_speech(speech)
    with pytest.raises(AudioError, match="empty"):
        find_speech(b"")


def test_spans_keep_their_distance_and_stay_inside() -> None:
    speech, gap = SHORTEST, np.zeros(5 * SAMPLE_RATE, np.float32)
    spans = speech_spans(stream := LogMelStream(np.concatenate([speech, gap] * 4), 80))
    assert len(spans) == 4
    assert all(end - start > 2 * MARGIN for start, end in spans)
    assert all(a_end < b_start for (_, a_end), (b_start, _) in itertools.pairwise(spans))
    assert spans[-1][1] <= stream.n_frames


def test_what_it_measures_can_be_looked_at() -> None:
    with trace("colour_change") as acts:
        find_speech(RECORDINGS["jfk"])
    power = np.ones((20, 30), np.float32)
    power[3, 15:] = 100.0  # one band of twenty rises by 20 dB: 19 dB from the mean there, 1 dB in each of the others
    assert acts["colour_change"].ndim == 1
    assert colour_change(power).max() == pytest.approx((19 + 19) / 20)


# In a transcription

FAST = {"temperature": 0, "sample_len": 8}


def test_silence_is_skipped_and_times_stay_those_of_the_recording() -> None:
    gap = np.zeros(40 * SAMPLE_RATE, np.float32)
    sound = np.concatenate([gap, SHORTEST, gap, SHORTEST])
    stream = talker(MULTILINGUAL).iter_segments(sound, vad=True, clip_timestamps="0,60,70", **FAST)
    spans = [(round(100 * start), round(100 * end)) for start, end in find_speech(sound)]
    assert stream.clips == spans
    segments = list(stream)
    assert len(stream.decisions) == 2 == len({segment["seek"] for segment in segments})
    for segment in segments:
        assert any(start <= 100 * segment["start"] <= 100 * segment["end"] <= end for start, end in spans)


@pytest.mark.parametrize("guard", ["vad", "robust"])
def test_where_nobody_speaks_nothing_is_decoded(guard: str) -> None:
    stream = talker(MULTILINGUAL).iter_segments(SILENT["white noise"].astype(np.float32), **{guard: True}, **FAST)
    assert list(stream) == [] == stream.decisions
    assert (stream.text, stream.seek) == ("", stream.n_frames)
    assert list(talker(MULTILINGUAL).iter_segments(SILENT["white noise"].astype(np.float32), **FAST)) != []


def test_guarded_segments_tell_why_they_may_be_hallucinated() -> None:
    def flags(**options: Any) -> list[Any]:
        return [
            segment.get("flags") for segment in talker(MULTILINGUAL).transcribe(SHORTEST, **FAST, **options)["segments"]
        ]

    assert set(flags()) == {None}, "by default, segments have openai-whisper's keys"
    assert flags(robust=True, logprob_threshold=0.0, no_speech_threshold=1.0)[0] == ["improbable"]
    assert flags(vad=True, logprob_threshold=None, compression_ratio_threshold=0.01, no_speech_threshold=None)[0] == [
        "loop"
    ]


def test_robust_stands_for_options_that_may_be_given_too() -> None:
    assert ROBUST == {"vad": True, "condition_on_previous_text": False, "no_repeat_ngram_size": 10}
    options = TranscribeOptions.from_keywords(robust=True, condition_on_previous_text=True)
    assert (options.vad, options.condition_on_previous_text, options.decoding.no_repeat_ngram_size) == (True, True, 10)
    assert TranscribeOptions.from_keywords(robust=False) == TranscribeOptions()
