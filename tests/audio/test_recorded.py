"""Recordings as datasets and torchcodec hand them over, in every function that takes a recording."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from talkers import talker

import npwhisper
from npwhisper import AudioError
from npwhisper.audio.files import count_channels
from npwhisper.audio.resampling import resample
from npwhisper.tracing.seam import Array

SPEECH = npwhisper.load_audio(npwhisper.example())


class AudioDecoder:
    """As torchcodec's: samples of shape (channels, samples), their rate beside them; no array of its own."""

    def __init__(self, data: Array, rate: int) -> None:
        self.data, self.rate = data, rate

    def get_all_samples(self) -> SimpleNamespace:
        return SimpleNamespace(data=self.data, sample_rate=self.rate)


def test_a_dict_of_datasets_is_read_at_its_rate() -> None:
    np.testing.assert_array_equal(npwhisper.load_audio({"array": SPEECH, "sampling_rate": 16000}), SPEECH)
    for rate in (8000, 44100):
        at_rate = resample(SPEECH, 16000, rate)
        expected = resample(at_rate, rate, 16000)
        np.testing.assert_array_equal(npwhisper.load_audio({"array": at_rate, "sampling_rate": rate}), expected)
    assert len(npwhisper.load_audio({"array": SPEECH, "sampling_rate": 16000}, sr=8000)) == len(SPEECH) / 2


def test_a_dict_may_hold_a_file() -> None:
    with open(npwhisper.example(), "rb") as file:
        contents = file.read()
    for given in ({"path": npwhisper.example()}, {"path": "elsewhere.flac", "bytes": contents}):
        np.testing.assert_array_equal(npwhisper.load_audio(given), SPEECH)


def test_a_decoder_is_read_with_its_channels() -> None:
    left, right = resample(SPEECH[:16000], 16000, 48000), resample(SPEECH[16000:32000], 16000, 48000)
    decoder = AudioDecoder(np.stack([left, right]), 48000)
    expected = resample(right, 48000, 16000)
    np.testing.assert_array_equal(npwhisper.load_audio(decoder, channel="right"), expected)
    assert count_channels(decoder) == 2
    mixed = (resample(left, 48000, 16000) + expected) / 2
    np.testing.assert_allclose(npwhisper.load_audio(decoder), mixed, atol=1e-7)


def test_torchcodecs_own_decoder_is_read() -> None:
    decoders = pytest.importorskip("torchcodec.decoders", reason="torchcodec is not installed")
    decoder = decoders.AudioDecoder(npwhisper.example())
    np.testing.assert_allclose(npwhisper.load_audio(decoder), SPEECH, atol=1e-5)


def test_every_function_takes_it() -> None:
    model, options = talker(), {"temperature": 0, "sample_len": 8, "language": "en"}
    given: dict[str, Any] = {"array": SPEECH[:48000], "sampling_rate": 16000}
    expected = model.transcribe(SPEECH[:48000], **options)
    assert model.transcribe(given, **options) == expected
    assert model.transcribe([given, given], batch_size=2, **options)[1]["language"] == "en"
    assert model.detect_language(given) == model.detect_language(SPEECH[:48000])
    mel = npwhisper.log_mel_spectrogram(SPEECH[:48000])
    np.testing.assert_array_equal(npwhisper.log_mel_spectrogram(given), mel)
    assert npwhisper.find_speech(given) == npwhisper.find_speech(SPEECH[:48000])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"waveform": SPEECH}, r"got a dict with the keys \['waveform'\]; expected 'array' and"),
        ({"array": SPEECH}, r"expected 'array' and 'sampling_rate', or 'bytes' or 'path'"),
        ({"array": SPEECH, "sampling_rate": 3}, "the array has a sampling rate of 3 Hz"),
        ({}, "a dict with the keys"),
    ],
)
def test_another_dict_is_explained(given: dict[str, Any], words: str) -> None:
    with pytest.raises(AudioError, match=words):
        npwhisper.load_audio(given)
