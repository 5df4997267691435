"""The frozen answers themselves: who gave them, how large they are, and the spectrograms among them."""

from __future__ import annotations

import hashlib
import json

import cases
import numpy as np
import pytest
from tolerances import MEL, MEL_MOSTLY

import npwhisper
from npwhisper.checkpoint.weights import embedded_path
from npwhisper.tracing.seam import Array

FILES = sorted(path.name for path in cases.REFERENCE.iterdir() if path.name in cases.REFERENCES)
SPECTROGRAMS = {name: mel for name, mel in cases.reference("audio.npz").items() if name != "versions"}


def test_all_references_are_there() -> None:
    assert sorted(cases.REFERENCES) == FILES


@pytest.mark.parametrize("file", cases.REFERENCES)
def test_a_reference_tells_what_made_it(file: str) -> None:
    versions = cases.reference(file)["versions"]
    versions = versions if isinstance(versions, dict) else json.loads(str(versions))
    assert set(versions) == {"numpy", "torch", "openai-whisper"}


def test_the_references_stay_small() -> None:
    assert sum((cases.REFERENCE / file).stat().st_size for file in FILES) < 600_000


def test_the_transcripts_belong_to_the_embedded_model() -> None:
    digest = hashlib.sha256(embedded_path().read_bytes()).hexdigest()
    assert cases.reference("transcription.json")["weights"] == digest, (
        "run tests/golden/make_reference.py transcription.json"
    )


@pytest.fixture(scope="module")
def signals() -> dict[str, Array]:
    return cases.audio_signals()


def test_every_signal_has_its_spectrograms(signals: dict[str, Array]) -> None:
    assert set(SPECTROGRAMS) == {f"{name}.{n_mels}" for name in signals for n_mels in (80, 128)}


@pytest.mark.parametrize("name", SPECTROGRAMS)
def test_a_spectrogram_equals_openai_whispers(signals: dict[str, Array], name: str) -> None:
    signal, n_mels = name.split(".")
    mel = npwhisper.log_mel_spectrogram(signals[signal], int(n_mels))
    difference = np.abs(mel[:, :: cases.FRAMES] - SPECTROGRAMS[name])
    assert difference.max() <= MEL
    assert np.quantile(difference, 0.99) <= MEL_MOSTLY
