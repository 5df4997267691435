"""The handle: what a `Whisper` has, what `load_model` accepts, and that one model serves many threads."""

from __future__ import annotations

import inspect
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cases
import numpy as np
import pytest
from talkers import ENGLISH, talker

import npwhisper
from npwhisper.model import Network
from npwhisper.whisper import default_model

SPEECH = min(cases.recordings().values(), key=lambda path: path.stat().st_size)
SHORT = {"temperature": 0, "sample_len": 6}


def test_a_whisper_has_what_upstreams_has(model: npwhisper.Whisper) -> None:
    upstreams = (
        "dims is_multilingual num_languages embed_audio logits encoder decoder detect_language decode transcribe"
    )
    for name in [*upstreams.split(), "weights", "tokenizer", "alignment_heads", "iter_segments"]:
        assert hasattr(model, name), name
    assert callable(model)
    assert isinstance(model, Network)
    assert model.tokenizer is model.tokenizer
    assert model.tokenizer.eot < model.dims.n_vocab


def test_dimensions_are_ten_numbers_in_upstreams_order() -> None:
    names = "n_mels n_audio_ctx n_audio_state n_audio_head n_audio_layer n_vocab n_text_ctx n_text_state n_text_head"
    assert list(inspect.signature(npwhisper.ModelDimensions).parameters) == [*names.split(), "n_text_layer"]
    assert npwhisper.ModelDimensions(**vars(cases.SMALL)) == cases.SMALL


def test_every_public_name_can_be_had_and_listed() -> None:
    for name in npwhisper.__all__:
        assert getattr(npwhisper, name) is not None
    assert set(npwhisper.__all__) <= set(dir(npwhisper))
    assert {"load_model", "transcribe", "decode", "detect_language", "trace", "iter_segments"} <= set(npwhisper.__all__)


def test_a_model_introduces_itself() -> None:
    text = repr(npwhisper.Whisper(cases.OFFICIAL["turbo"], {}))
    assert text == "<Whisper: 32 + 4 layers of 1280, 128 mels, 51866 tokens, 100 languages>"


@pytest.mark.parametrize("device", [None, "cpu"])
def test_the_cpu_is_accepted(tmp_path: Path, device: str | None) -> None:
    model = npwhisper.load_model("tiny.en", device=device, download_root=str(tmp_path), in_memory=True)
    assert isinstance(model, npwhisper.Whisper)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "mps"])
def test_any_other_device_is_refused(device: str) -> None:
    with pytest.raises(ValueError, match=f"computes on the CPU, got device '{device}': leave it out"):
        npwhisper.load_model(device=device)


@pytest.mark.parametrize("wrong", [3, {"a": 1}, b"tiny.en"])
def test_a_model_is_a_whisper_a_name_or_a_path(wrong: object) -> None:
    for call in (npwhisper.transcribe, npwhisper.iter_segments):
        with pytest.raises(TypeError, match=rf"a name or a path, got {type(wrong).__name__}: use load_model\(\)"):
            call(SPEECH, wrong)


def test_an_unknown_option_is_refused(model: npwhisper.Whisper) -> None:
    for call in (model.transcribe, model.iter_segments):
        with pytest.raises(TypeError, match=r"beam_sise.*beam_size"):
            call(SPEECH, beam_sise=5)


def test_functions_and_methods_are_the_same(talker_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = talker(ENGLISH)
    expected = model.transcribe(SPEECH, **SHORT)
    assert sorted(expected) == ["language", "segments", "text"]
    assert npwhisper.transcribe(SPEECH, talker_file, fp16=False, **SHORT) == expected
    stream = npwhisper.iter_segments(SPEECH, model, **SHORT)
    assert list(stream) == expected["segments"]
    assert (stream.text, stream.language) == (expected["text"], expected["language"])
    assert capsys.readouterr() == ("", ""), "silent unless asked"


def test_the_default_model_is_loaded_once() -> None:
    assert default_model() is default_model()


def test_decode_and_detect_language_hear_one_window() -> None:
    model = talker(ENGLISH)
    mel = npwhisper.log_mel_spectrogram(npwhisper.load_audio(SPEECH), model.dims.n_mels)
    mel = npwhisper.pad_or_trim(mel, 2 * model.dims.n_audio_ctx)
    method, function = model.decode(mel, sample_len=6), npwhisper.decode(model, mel, sample_len=6)
    assert (method.tokens, method.text, method.language) == (function.tokens, function.text, "en")
    with pytest.raises(ValueError, match="English-only model has no language tokens: use a multilingual model"):
        model.detect_language(mel)


def test_the_language_of_a_recording_is_that_of_its_first_window() -> None:
    model, samples = talker(), npwhisper.load_audio(SPEECH)
    token, probs = npwhisper.detect_language(model, npwhisper.log_mel_spectrogram(samples, padding=480_000)[:, :3000])
    for found in (
        npwhisper.detect_language(SPEECH, model),
        npwhisper.detect_language(model, SPEECH),
        npwhisper.detect_language(model=model, mel=samples),
        model.detect_language(SPEECH.read_bytes(), clip_timestamps="0", language_detection_segments=2),
    ):
        assert found == (token, probs)
    assert model.transcribe(SPEECH, sample_len=4, temperature=0)["language"] == max(probs, key=probs.__getitem__)


def test_an_english_model_detects_no_language_in_a_recording() -> None:
    with pytest.raises(ValueError, match="English-only model has no language tokens: use a multilingual model"):
        npwhisper.detect_language(SPEECH)
    with pytest.raises(FileNotFoundError, match=r"no such audio file"):
        talker().detect_language("missing.wav")


def test_verbose_prints_each_segment(capsys: pytest.CaptureFixture[str]) -> None:
    segments = talker(ENGLISH).transcribe(SPEECH, verbose=True, **SHORT)["segments"]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("]")[1].strip() for line in lines] == [segment["text"].strip() for segment in segments]
    assert all(line.startswith("[00:") for line in lines)


def test_one_model_serves_many_threads(tiny_random: Network) -> None:
    inputs = [(cases.random_mel(seed=i), cases.random_tokens("tokens", cases.B, cases.T, seed=i)) for i in range(8)]
    alone = [tiny_random(mel, tokens) for mel, tokens in inputs]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda pair: tiny_random(*pair), inputs * 5))
    for got, want in zip(together, alone * 5, strict=True):
        np.testing.assert_array_equal(got, want)
