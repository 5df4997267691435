"""Bad recordings and options: each is refused in one sentence, or transcribed; nothing hangs, no time is wrong."""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import itertools
import math
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cases
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from talkers import ENGLISH, MULTILINGUAL, talker

from npwhisper.audio import N_SAMPLES, SAMPLE_RATE, AudioError, AudioWarning, LogMelStream, load_audio
from npwhisper.decoding import decode
from npwhisper.decoding.options import TranscribeOptions
from npwhisper.tracing.seam import Array
from npwhisper.transcription.run import Transcription
from npwhisper.whisper import load_model, transcribe

SPEECH = load_audio(min(cases.recordings().values(), key=lambda path: path.stat().st_size))
NOT_SOUND = r"cannot be read: libsndfile says .*ffmpeg, which reads many more formats .*is not on the PATH; install"


@functools.cache
def encoded(form: str, subtype: str, n_samples: int = 20_000, rate: int = SAMPLE_RATE, channels: int = 1) -> bytes:
    buffer, sound = io.BytesIO(), 0.3 * cases.random_array("sound", n_samples, channels)
    soundfile.write(buffer, np.clip(sound, -0.9, 0.9), rate, format=form, subtype=subtype)
    return buffer.getvalue()


def wav(**changes: bytes) -> bytes:
    """A wave file of 32-bit floats with some fields of its header, or its samples, replaced."""
    places = {"form": 20, "channels": 22, "rate": 24, "align": 32, "bits": 34}
    data = bytearray(encoded("WAV", "FLOAT", 99))
    for name, value in changes.items():
        at = places.get(name, len(data) - len(value))
        data[at : at + len(value)] = value
    return bytes(data)


def float32(*values: float) -> bytes:
    return np.array(values, "<f4").tobytes()


# Files, by their contents

FILES: dict[str, tuple[bytes, str]] = {
    "empty.wav": (b"", r"is empty \(0 bytes\)"),
    "one byte.wav": (b"R", NOT_SOUND),
    "text.mp3": (b"Ask not what your country can do for you.\n" * 50, NOT_SOUND),
    "page.mp3": (b"<!DOCTYPE html><html><body>404 Not Found</body></html>", NOT_SOUND),
    "table.wav": (b'{"text": "no sound"}', NOT_SOUND),
    "picture.wav": (b"\x89PNG\r\n\x1a\n" + bytes(400), NOT_SOUND),
    "archive.flac": (b"PK\x03\x04" + bytes(400), NOT_SOUND),
    "paper.ogg": (b"%PDF-1.7\n" + bytes(400), NOT_SOUND),
    "program.mp3": (b"\x7fELF" + bytes(400), NOT_SOUND),
    "film.mp4": (b"\0\0\0 ftypisom\0\0\2\0isomiso2" * 9, NOT_SOUND),
    "film.webm": (b"\x1a\x45\xdf\xa3" + bytes(400), NOT_SOUND),
    "speech.amr": (b"#!AMR\n" + bytes(400), NOT_SOUND),
    "song.mid": (b"MThd\0\0\0\6\0\1\0\1\0\x60" + bytes(400), NOT_SOUND),
    "zeros.wav": (bytes(5000), NOT_SOUND),
    "samples.raw": (bytes(5000), r"holds raw samples without their type"),
    "magic.wav": (b"RIFF", NOT_SOUND),
    "magic.flac": (b"fLaC", NOT_SOUND),
    "magic.ogg": (b"OggS", NOT_SOUND),
    "tag only.mp3": (b"ID3\x03\0\0\0\0\0\x7f" + bytes(127), NOT_SOUND),
    "header only.wav": (wav()[:36], NOT_SOUND),
    "header only.flac": (encoded("FLAC", "PCM_16")[:60], NOT_SOUND),
    "header only.ogg": (encoded("OGG", "VORBIS")[:90], NOT_SOUND),
    "no samples.wav": (encoded("WAV", "PCM_16", 0), "holds no samples"),
    "no channels.wav": (wav(channels=b"\0\0"), NOT_SOUND),
    "no bits.wav": (wav(bits=b"\0\0"), NOT_SOUND),
    "unknown form.wav": (wav(form=b"\x99\x99"), NOT_SOUND),
    "no rate.wav": (wav(rate=bytes(4)), NOT_SOUND),
    "1 Hz.wav": (wav(rate=b"\1\0\0\0"), "sampling rate of 1 Hz, but 1000 to 768000 Hz are accepted"),
    "16 MHz.wav": (wav(rate=b"\0\0\xff\0"), "sampling rate of 16711680 Hz, but 1000 to 768000 Hz are accepted"),
    "nan.wav": (wav(samples=float32(0, math.nan)), "holds NaN or Inf; replace them first"),
    "inf.wav": (wav(samples=float32(math.inf, 0)), "holds NaN or Inf; replace them first"),
    "unscaled.wav": (
        wav(samples=float32(-32768, 0)),
        "reaches 32768, but samples must lie between -1 and 1; divide 16-bit",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_what_is_no_sound_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    contents, message = FILES[name]
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / name).write_bytes(contents)
    with pytest.raises(AudioError, match=message) as told:
        TALK(tmp_path / name)
    assert name in str(told.value), "the message names the file"
    assert "\n" not in str(told.value), "one sentence, one line"
    if not name.endswith(".raw"):
        with pytest.raises(AudioError, match=message):
            TALK(contents)


# Things that are no files


class Closed(io.BytesIO):
    def read(self, *_: Any) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))


THINGS: dict[str, tuple[Any, type[Exception], str]] = {
    "a number": (16000, AudioError, r"got samples of shape \(\)"),
    "None": (None, AudioError, r"got samples of shape \(\)"),
    "a dict": ({"audio": 1}, AudioError, r"got a dict with the keys \[.audio.\]; expected 'array' and"),
    "names": (["a.wav", "b.wav"], AudioError, "got samples of type <U5; expected float32"),
    "ragged": (np.array([None, 1.0]), AudioError, "got samples of type object; expected float32"),
    "complex": (np.zeros(9, complex), AudioError, "got samples of type complex128; expected float32"),
    "bool": (np.zeros(9, bool), AudioError, "got samples of type bool; expected float32"),
    "int64": (np.zeros(9, np.int64), AudioError, "got samples of type int64; expected float32"),
    "uint16": (np.zeros(9, np.uint16), AudioError, "got samples of type uint16; expected float32"),
    "dates": (np.zeros(9, "datetime64[s]"), AudioError, r"got samples of type datetime64\[s\]; expected float32"),
    "no axis": (np.float32(0.5), AudioError, r"got samples of shape \(\)"),
    "three axes": (np.zeros((2, 3, 4), np.float32), AudioError, r"got samples of shape \(2, 3, 4\)"),
    "nothing": (np.zeros(0, np.float32), AudioError, "the array holds no samples; at least one"),
    "no channels": (np.zeros((9, 0), np.float32), AudioError, "the array holds no samples; at least one"),
    "NaN": (np.full(9, np.nan), AudioError, "the array holds NaN or Inf; replace them"),
    "Inf": (np.full(9, -np.inf), AudioError, "the array holds NaN or Inf; replace them"),
    "beyond float32": (np.full(9, 1e200), AudioError, "the array holds NaN or Inf; replace them"),
    "unscaled": (np.full(9, 32767.0), AudioError, "the array reaches 32767, but samples must lie between -1 and 1"),
    "no bytes": (b"", AudioError, "is empty"),
    "a text file": (io.StringIO("text"), AudioError, "yields text, not bytes; open it with mode 'rb'"),
    "a broken disk": (Closed(), OSError, "Input/output error"),
    "no path": ("", FileNotFoundError, "there is no such audio file"),
    "a missing file": ("no/such talk.wav", FileNotFoundError, "there is no such audio file .*check the spelling"),
    "a zero in a path": ("talk\0.wav", FileNotFoundError, "there is no such audio file"),
    "a long path": ("a" * 5000, FileNotFoundError, "there is no such audio file"),
    "a URL": ("https://example.org/talk.mp3", FileNotFoundError, "this is a URL, .*download it first"),
    "a folder": (os.curdir, IsADirectoryError, "got a directory; name a file in it"),
}


@pytest.mark.parametrize("name", THINGS)
def test_what_is_no_recording_is_refused(name: str) -> None:
    thing, kind, message = THINGS[name]
    with pytest.raises(kind, match=message):
        TALK(thing)


# Options

OPTIONS: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "misspelt": ({"beam_sise": 5}, TypeError, "no option 'beam_sise': did you mean beam_size"),
    "temperature below 0": ({"temperature": -1}, ValueError, "temperature must be at least 0 and finite"),
    "temperature NaN": ({"temperature": math.nan}, ValueError, "temperature must be at least 0 and finite"),
    "no temperature": ({"temperature": ()}, ValueError, "got an empty one: give 0"),
    "one bad temperature": ({"temperature": (0, math.inf)}, ValueError, "temperature must be at least 0 and finite"),
    "temperature in words": ({"temperature": "hot"}, ValueError, "temperature must be a number or a sequence of them"),
    "no beams": ({"beam_size": 0, "temperature": 0}, ValueError, "beam_size must be at least 1"),
    "beams below 0": ({"beam_size": -5, "temperature": 0}, ValueError, "beam_size must be at least 1"),
    "no samples": ({"best_of": 0, "temperature": 1}, ValueError, "best_of must be at least 1"),
    "patience alone": ({"patience": 2.0, "temperature": 0}, ValueError, "patience needs a beam search: give beam_size"),
    "endless patience": ({"patience": math.inf, "beam_size": 2}, ValueError, "beam_size . patience"),
    "NaN patience": ({"patience": math.nan, "beam_size": 2}, ValueError, "beam_size . patience"),
    "length_penalty": ({"length_penalty": 2.0}, ValueError, "between 0 and 1"),
    "sample_len": ({"sample_len": 0}, ValueError, "sample_len must be at least 1"),
    "initial timestamp": ({"max_initial_timestamp": -1.0}, ValueError, "max_initial_timestamp must be at least 0"),
    "penalty 0": ({"repetition_penalty": 0.0}, ValueError, "repetition_penalty must be above 0"),
    "penalty NaN": ({"repetition_penalty": math.nan}, ValueError, "repetition_penalty must be above 0"),
    "n-grams": ({"no_repeat_ngram_size": -1}, ValueError, "no_repeat_ngram_size must be at least 0"),
    "task": ({"task": "sing"}, ValueError, "task must be 'transcribe', 'translate' or 'lang_id'"),
    "lang_id": ({"task": "lang_id"}, ValueError, "is for decode, for one window: use detect_language"),
    "prompt": ({"prompt": "Mr. Smith"}, ValueError, "give transcribe an initial_prompt"),
    "language": ({"language": "klingon"}, ValueError, "klingon"),
    "empty language": ({"language": "   "}, ValueError, "language"),
    "clips in words": ({"clip_timestamps": "ten"}, ValueError, "clip_timestamps must be seconds"),
    "clips backwards": ({"clip_timestamps": "1.0,0.5"}, ValueError, "put each end after its start"),
    "clips below 0": ({"clip_timestamps": [-1, 1]}, ValueError, "put each end after its start"),
    "clip NaN": ({"clip_timestamps": [math.nan]}, ValueError, "clip_timestamps must be seconds"),
    "clip infinite": ({"clip_timestamps": [0, math.inf]}, ValueError, "clip_timestamps must be seconds"),
    "clip None": ({"clip_timestamps": [None]}, ValueError, "clip_timestamps must be seconds"),
    "suppressed words": ({"suppress_tokens": "the"}, ValueError, "suppress_tokens must be token ids"),
    "suppressed ids": ({"suppress_tokens": [60_000]}, ValueError, "suppress_tokens must be token ids from 0 to 51864"),
    "suppressed below": ({"suppress_tokens": [-2]}, ValueError, "suppress_tokens must be token ids from 0 to 51864"),
    "prefix of no token": ({"prefix": [-5], "temperature": 0}, ValueError, "token ids of this model are 0 to 51864"),
    "prompt of a number": ({"initial_prompt": 5}, TypeError, "initial_prompt must be a string or None, got 5"),
    "hotwords": ({"hotwords": ["a", "b"]}, TypeError, "hotwords must be a string or None, got"),
    "beams in words": ({"beam_size": "5"}, TypeError, "beam_size must be a whole number or None, got '5'"),
    "half a beam": ({"beam_size": 2.5}, TypeError, "beam_size must be a whole number or None, got 2.5"),
    "half a sample": ({"best_of": 1.5, "temperature": 1}, TypeError, "best_of must be a whole number or None, got 1.5"),
    "temperature None": (
        {"temperature": None},
        TypeError,
        "temperature must be a number or a sequence of them, got None",
    ),
    "hot": ({"temperature": 1e300}, ValueError, "temperature must be at most 1000"),
    "seed below 0": ({"seed": -1}, ValueError, "seed must be at least 0"),
    "seed in words": ({"seed": "x"}, TypeError, "seed must be a whole number or None, got 'x'"),
    "threshold": ({"logprob_threshold": "low"}, TypeError, "logprob_threshold must be a number or None, got 'low'"),
    "punctuation": ({"append_punctuations": None}, TypeError, "append_punctuations must be a string, got None"),
    "suppressed number": ({"suppress_tokens": 5}, TypeError, "suppress_tokens must be token ids, as in '-1,50'"),
    "suppressed letters": ({"suppress_tokens": ["a"]}, ValueError, "suppress_tokens must be token ids, as in '-1,50'"),
    "clip of a number": ({"clip_timestamps": 5}, ValueError, "clip_timestamps must be seconds"),
    "a language number": ({"language": 5}, TypeError, "language must be a string or None, got 5"),
    "no thread": ({"num_threads": 0}, ValueError, "the number of threads must be at least 1, got 0: use 1"),
    "threads in words": ({"num_threads": "all"}, TypeError, "num_threads must be a whole number or None, got 'all'"),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_wrong_option_is_refused(name: str) -> None:
    options, kind, message = OPTIONS[name]
    with pytest.raises(kind, match=message) as told:
        TALK(SPEECH, **options)
    assert not isinstance(told.value, UnicodeError), "is a ValueError too, but tells nothing"


CALLS: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "no model": (lambda: transcribe(SPEECH, 3), TypeError, r"a name or a path, got int: use load_model\(\)"),
    "unknown model": (lambda: load_model("large-v9"), ValueError, "no model is called 'large-v9'"),
    "a device": (lambda: load_model(device="cuda"), ValueError, "computes on the CPU, got device 'cuda'"),
    "slow rate": (lambda: load_audio(SPEECH, sr=1), AudioError, "sampling rate of 1 Hz"),
    "mel of one axis": (lambda: decode(MODEL, np.zeros(3000, np.float32)), ValueError, "3000"),
    "mel of other bins": (lambda: decode(MODEL, np.zeros((128, 3000), np.float32)), ValueError, "80.*128|128.*80"),
    "mel too short": (lambda: decode(MODEL, np.zeros((80, 2999), np.float32)), ValueError, "2999"),
    "mel with NaN": (lambda: decode(MODEL, np.full((80, 3000), np.nan, np.float32)), ValueError, "NaN or infinity"),
}
MODEL = talker(ENGLISH)


@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_call_is_refused(name: str) -> None:
    call, kind, message = CALLS[name]
    with pytest.raises(kind, match=message):
        call()


def test_the_corpus_is_large() -> None:
    assert len(FILES) + len(THINGS) + len(OPTIONS) + len(CALLS) >= 60


def TALK(audio: Any, **options: Any) -> list[dict[str, Any]]:  # noqa: N802
    """Transcribe with a random network that talks, and check what it gives."""
    stream = Transcription(talker(MULTILINGUAL), audio, TranscribeOptions.from_keywords(**options))
    return checked(stream, limit=stream.n_frames + 2)


def checked(stream: Transcription, limit: int) -> list[dict[str, Any]]:
    """The segments of a transcription; `limit` is more windows than there can be."""
    segments = list(itertools.islice(stream, 100 * limit))
    starts = [decision.start for decision in stream.decisions]
    assert len(starts) < limit
    for segment in segments:
        times = [segment["start"], segment["end"]]
        for word in segment.get("words", []):
            times += [word["start"], word["end"]]
            assert word["start"] <= word["end"]
        assert all(0 <= time <= stream.duration for time in times), (times, stream.duration)
        assert segment["start"] <= segment["end"]
        assert math.isfinite(segment["avg_logprob"])
        assert 0 <= segment["no_speech_prob"] <= 1
    assert all(decision.next_start > decision.start for decision in stream.decisions), "seek grows"
    assert [segment["id"] for segment in segments] == list(range(len(segments)))
    assert [token for segment in segments for token in segment["tokens"]] == stream.history.tokens
    return segments


# Whatever samples and options

lengths = st.one_of(
    st.sampled_from([1, 159, 160, 200, 201, 320, N_SAMPLES - 1, N_SAMPLES, N_SAMPLES + 1]), st.integers(1, N_SAMPLES)
)
kinds = st.sampled_from(["silence", "noise", "speech", "loud", "offset", "clipped", "denormal"])
clip_points = st.lists(st.floats(0, 40), max_size=5).map(sorted)
transcribe_options = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.sampled_from([0, 0.3, (0, 0.5), (0.0, 1.0, 1000.0)]),
        "beam_size": st.sampled_from([None, 1, 3]),
        "best_of": st.sampled_from([None, 1, 2]),
        "language": st.sampled_from([None, "de", "auto-window"]),
        "task": st.sampled_from(["transcribe", "translate"]),
        "without_timestamps": st.booleans(),
        "word_timestamps": st.booleans(),
        "hallucination_silence_threshold": st.sampled_from([None, 0.0, 1.0]),
        "condition_on_previous_text": st.booleans(),
        "initial_prompt": st.text(max_size=8),
        "carry_initial_prompt": st.booleans(),
        "prefix": st.sampled_from([None, "And so"]),
        "suppress_tokens": st.sampled_from([None, "", "-1", [50256, 0]]),
        "suppress_blank": st.booleans(),
        "max_initial_timestamp": st.sampled_from([None, 0.0, 1.0, 30.0]),
        "length_penalty": st.sampled_from([None, 0.0, 1.0]),
        "no_speech_threshold": st.sampled_from([None, 0.0, 1.0]),
        "logprob_threshold": st.sampled_from([None, -1.0, 0.0]),
        "compression_ratio_threshold": st.sampled_from([None, 0.0, 2.4]),
        "repetition_penalty": st.sampled_from([0.5, 1.0, 3.0]),
        "no_repeat_ngram_size": st.sampled_from([0, 1, 3]),
        "clip_timestamps": clip_points,
        "vad": st.booleans(),
        "robust": st.booleans(),
    },
)


def samples(kind: str, length: int) -> Array:
    noise = cases.random_array("noise", length)
    return {
        "silence": lambda: np.zeros(length, np.float32),
        "noise": lambda: 0.1 * noise,
        "speech": lambda: np.resize(SPEECH, length),
        "loud": lambda: 30.0 * noise,
        "offset": lambda: np.full(length, 0.9, np.float32) + 1e-3 * noise,
        "clipped": lambda: np.sign(noise),
        "denormal": lambda: 1e-40 * noise,
    }[kind]()


@pytest.mark.slow
@settings(max_examples=int(os.environ.get("NPWHISPER_EXAMPLES", "8")))
@given(kind=kinds, length=lengths, options=transcribe_options, seed=st.integers(0, 3))
def test_no_time_is_wrong_and_seek_grows(kind: str, length: int, options: dict[str, Any], seed: int) -> None:
    if options.get("beam_size") or options.get("best_of"):
        options.setdefault("temperature", (0, 0.5))  # beams and samples apply where they can
        if options["temperature"] == 0 and options.get("best_of"):
            options["best_of"] = None
    options = {"sample_len": 12, "seed": seed, "temperature": 0, **options}
    stream = Transcription(
        talker(MULTILINGUAL, seed=seed), samples(kind, length), TranscribeOptions.from_keywords(**options)
    )
    segments = checked(stream, limit=stream.n_frames + 2)
    assert all("flags" in segment for segment in segments) == (stream.options.guarded or not segments)
    clips = stream.clips
    assert all(any(start <= 100 * decision.start + 1e-6 < end for start, end in clips) for decision in stream.decisions)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "float16", "float32", "float64", ">i2", ">f4"])
@pytest.mark.parametrize("shape", [(1600,), (1600, 1), (1600, 2), (6, 1600), (1600, 6)], ids=str)
def test_every_type_and_number_of_channels_is_read(dtype: str, shape: tuple[int, ...]) -> None:
    sound = np.clip(0.3 * cases.random_array("sound", *shape), -0.99, 0.99)
    kind = np.dtype(dtype)
    full = 2.0 ** (8 * kind.itemsize - 1) if kind.kind in "iu" else 1.0
    array = (sound * full + (128 if kind.kind == "u" else 0)).astype(kind)
    array.flags.writeable = False
    mono = sound.mean(axis=int(np.argmin(shape))) if len(shape) == 2 else sound
    np.testing.assert_allclose(load_audio(array), mono, atol=2 / min(full, 2.0**10) if full > 1 else 1e-3)
    np.testing.assert_array_equal(load_audio(np.repeat(array, 2, axis=0)[::2]), load_audio(array))


@pytest.mark.parametrize("rate", [1000, 7350, 8000, 11025, 22050, 44100, 48000, 96000, 192_000, 384_000])
def test_every_rate_is_brought_to_16_khz(rate: int) -> None:
    sound = load_audio(encoded("WAV", "PCM_16", rate // 2, rate, channels=2))
    assert len(sound) == -(-(rate // 2) * SAMPLE_RATE // rate)
    assert np.isfinite(sound).all()


@pytest.mark.parametrize(
    "name", [b"two words", b"new\nline", b"not utf-8 \xff", b"--help", "日本語".encode(), b"%s {0}"]
)
def test_strange_names_are_read(tmp_path: Path, name: bytes) -> None:
    path = os.path.join(os.fsencode(tmp_path), name + b".wav")
    with open(path, "wb") as file:
        file.write(encoded("WAV", "PCM_16"))
    LogMelStream(os.fsdecode(path), 80)
    np.testing.assert_array_equal(load_audio(Path(os.fsdecode(path))), load_audio(encoded("WAV", "PCM_16")))


# Truncated and damaged files

FORMS = {
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}
SOUND = 6 * SAMPLE_RATE


@pytest.mark.parametrize("form", FORMS)
def test_of_a_truncated_file_everything_that_is_there_is_used(form: str) -> None:
    whole = encoded(*FORMS[form], n_samples=SOUND)
    expected = load_audio(whole)
    seconds = "" if form == "ogg" else r" of 6\.0"  # ogg nowhere tells how long it is
    with pytest.warns(AudioWarning, match=rf"is truncated or damaged.*\d{seconds} seconds can be read and are used"):
        sound = load_audio(whole[: len(whole) // 2])
    assert len(sound) > (0.25 if form == "ogg" else 0.4) * SOUND, "ogg has pages of about a second"
    settled = len(sound) - 3000
    np.testing.assert_allclose(sound[:settled], expected[:settled], atol=1e-3)


@pytest.mark.parametrize("form", ["flac", "mp3"])
def test_what_comes_after_damage_is_used_too(form: str) -> None:
    whole = encoded(*FORMS[form], n_samples=SOUND)
    expected, damaged = load_audio(whole), bytearray(whole)
    damaged[len(whole) // 3 : len(whole) // 3 + 3000] = bytes(3000)
    reason = {"flac": "0.26 seconds are missing between its frames", "mp3": "3060 bytes in it are not MP3 frames"}[form]
    with pytest.warns(AudioWarning, match=f"is truncated or damaged .{reason}"):
        sound = load_audio(bytes(damaged))
    assert abs(len(sound) - SOUND) < 0.5 * SAMPLE_RATE, "silence stands for what is missing"
    assert np.abs(sound[-SAMPLE_RATE:]).max() > 0.3
    if form == "flac":  # mp3 has no exact places
        assert np.count_nonzero(sound != expected) < SAMPLE_RATE


def test_a_whole_file_gives_no_warning() -> None:
    for form, subtype in FORMS.values():
        assert abs(len(load_audio(encoded(form, subtype, n_samples=SOUND))) - SOUND) < 3000


def test_a_wave_of_unknown_length_gives_no_warning() -> None:
    whole = bytearray(encoded("WAV", "PCM_16"))
    whole[4:8] = whole[40:44] = b"\xff\xff\xff\xff"  # as ffmpeg writes to a pipe
    assert len(load_audio(bytes(whole))) == 20_000


FUZZED = int(os.environ.get("NPWHISPER_FUZZ", "60"))  # mutants of each form


def mutant(data: bytes, rng: np.random.Generator) -> bytes:
    """The file with some bytes replaced, removed, repeated or inserted, more often at its beginning."""
    result = bytearray(data)
    for _ in range(rng.integers(1, 6)):
        limit = len(result) if rng.random() < 0.5 else min(len(result), 200)
        at, n = int(rng.integers(0, limit + 1)), int(rng.choice([1, 1, 2, 4, 100, 3000]))
        new = {0: rng.bytes(n), 1: b"", 2: bytes(n), 3: b"\xff" * n, 4: bytes(result[at : at + n]) * 2}[
            int(rng.integers(0, 5))
        ]
        result[at : at + n] = new
    return bytes(result)


@pytest.mark.parametrize("form", FORMS)
def test_damaged_files_are_read_or_refused(form: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    rng, data, n_read = np.random.default_rng(0), encoded(*FORMS[form]), 0
    for _ in range(FUZZED):
        with warnings.catch_warnings(), contextlib.suppress(AudioError):
            warnings.simplefilter("ignore", AudioWarning)
            sound = load_audio(mutant(data, rng))
            assert np.isfinite(sound).all()
            n_read += 1
    assert n_read, "some damage does no harm"


# Damage at random


@pytest.mark.skipif(os.name == "nt", reason="there is no fork")
@pytest.mark.parametrize("n", [20, pytest.param(1000, marks=pytest.mark.slow)])
def test_damaged_recordings_are_read_or_refused_within_limits(n: int) -> None:
    script = Path(__file__).parents[1] / "support" / "mutated_recordings.py"
    path = os.environ["PATH"] if n > 20 else ""  # without ffmpeg and its formats, which take long to write
    command = [sys.executable, str(script), "--n", str(n), "--seed", str(n)]
    run = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PATH": path})
    assert run.returncode == 0, run.stdout + run.stderr
    counts = run.stdout.splitlines()[-1]
    assert counts.startswith(f"{n} files of ")
    assert "'read'" in counts
    assert "'refused'" in counts
