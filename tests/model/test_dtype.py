"""Everything the network computes is float32, and nothing it computes changes a weight."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import cases
import numpy as np
import pytest
from talkers import ENGLISH, talker

import npwhisper
from npwhisper.model import Network
from npwhisper.tracing.seam import Array, handling

SPEECH = min(cases.recordings().values(), key=lambda path: path.stat().st_size)


def digest(weights: dict[str, Array]) -> str:
    whole = hashlib.sha256()
    for name, array in weights.items():
        whole.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
    return whole.hexdigest()


class Dtypes:
    """A handler that keeps the dtype of every array by its name, and no array."""

    def __init__(self) -> None:
        self.seen: dict[str, set[str]] = {}

    def __call__(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any, **kwargs: Any) -> Any:
            value = function(*args, **kwargs)
            if isinstance(value, np.ndarray):
                self.seen.setdefault(name, set()).add(str(value.dtype))
            return value

        return noted


@pytest.fixture(scope="module", params=["random", pytest.param("embedded", marks=pytest.mark.slow)])
def model(request: pytest.FixtureRequest) -> npwhisper.Whisper:
    return npwhisper.load_model() if request.param == "embedded" else talker(ENGLISH)


@pytest.fixture(scope="module")
def transcription(model: npwhisper.Whisper) -> tuple[dict[str, set[str]], str, str]:
    """The dtypes of a small transcription, and the digests of the weights before and after."""
    dtypes, before = Dtypes(), digest(model.weights)
    with handling(dtypes):
        model.transcribe(SPEECH, temperature=0, sample_len=12, condition_on_previous_text=False)
    return dtypes.seen, before, digest(model.weights)


def test_every_activation_of_a_transcription_is_float32(
    model: npwhisper.Whisper, transcription: tuple[dict[str, set[str]], str, str]
) -> None:
    seen = transcription[0]
    assert {name: dtypes for name, dtypes in seen.items() if dtypes != {"float32"}} == {}
    modules = {name.rsplit(".", 1)[0] for name in model.weights} - {"encoder", "decoder"}
    assert modules <= set(seen), "every module with weights took part"
    assert {"mel", "encoder", "decoder", "decoder.logits"} <= set(seen), "from mel to logits"


def test_a_transcription_leaves_the_weights_as_they_are(transcription: tuple[dict[str, set[str]], str, str]) -> None:
    _, before, after = transcription
    assert before == after


def test_the_weights_are_float32_and_read_only(model: npwhisper.Whisper) -> None:
    for name, array in model.weights.items():
        assert array.dtype == np.float32, name
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_sampling_and_beams_are_float32_too(tiny_random: Network) -> None:
    dtypes, features = Dtypes(), cases.random_features(batch=2)
    with handling(dtypes):
        cache = tiny_random.start_cache(features)
        tiny_random.decoder(cases.random_tokens("rows", 6, 3), features, cache)
        cache.reorder(np.array([0, 0, 3, 4]))
        tiny_random.decoder(cases.random_tokens("rows", 4, 1), features, cache, at=(-1,))
    assert len(dtypes.seen) > 40
    assert set().union(*dtypes.seen.values()) == {"float32"}


def test_the_spectrogram_is_float32_whatever_the_samples_are() -> None:
    for dtype in (np.float64, np.float32):
        assert npwhisper.log_mel_spectrogram(np.zeros(3200, dtype=dtype)).dtype == np.float32
