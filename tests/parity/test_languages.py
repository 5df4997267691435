"""The multilingual `base` beside openai-whisper in seven languages: detection, transcription, translation to English.

The voice is espeak-ng's, so the texts have errors; both engines must make the same ones. The weights come from
`weights/make.py --to FOLDER base`; `NPWHISPER_WEIGHTS` names the folder.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import upstream

import npwhisper
from npwhisper.tracing.seam import Array

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="needs espeak-ng"),
    *upstream.WARNINGS,
]

SENTENCES = {
    "de": "Guten Tag. Ich hätte gern zwei Fahrkarten nach Berlin, und einen Sitzplatz am Fenster.",
    "fr": "Bonjour, je voudrais deux billets pour Paris, s'il vous plaît. À quelle heure part le train?",
    "es": "Buenos días. El tren para Madrid sale a las ocho de la mañana, y llega por la tarde.",
    "it": "Buongiorno, vorrei un biglietto per Roma. Il treno parte questa mattina alle nove?",
    "ja": "おはようございます。きょうはとてもいい天気ですね。",
    "zh": "你好,今天天气很好,我们一起去公园吧。",
    "hi": "नमस्ते, आज मौसम बहुत अच्छा है। हम बाज़ार जा रहे हैं।",
}
VOICES = {"zh": "cmn"}


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture(scope="module", params=SENTENCES)
def spoken(request: pytest.FixtureRequest) -> tuple[str, Array]:
    """A language and a sentence in it, spoken by espeak-ng, 16 kHz."""
    code = request.param
    command = ["espeak-ng", "-v", VOICES.get(code, code), "-s", "140", "--stdout", SENTENCES[code]]
    return code, npwhisper.load_audio(subprocess.run(command, capture_output=True, check=True).stdout)


def test_the_language_is_detected_equally(spoken: tuple[str, Array]) -> None:
    ours, theirs = upstream.models("base")
    mel = npwhisper.log_mel_spectrogram(npwhisper.pad_or_trim(spoken[1]), 80)
    _, found = ours.detect_language(mel)
    _, expected = theirs.detect_language(torch.from_numpy(mel))
    assert found == pytest.approx(expected, abs=1e-4)
    assert max(found, key=found.__getitem__) == max(expected, key=expected.__getitem__)


@pytest.mark.parametrize("options", [{}, {"task": "translate"}, {"beam_size": 5}], ids=upstream.label)
def test_what_is_heard_is_equal(spoken: tuple[str, Array], options: dict[str, Any]) -> None:
    code, samples = spoken
    ours, theirs = upstream.models("base")
    options = {"temperature": 0.0, **({"language": code} if "task" in options else {}), **options}
    found = ours.transcribe(samples, **options)
    upstream.assert_results_equal(found, theirs.transcribe(samples, fp16=False, **options), len(samples) // 160 / 100)


def test_words_have_equal_times(spoken: tuple[str, Array]) -> None:
    code, samples = spoken
    ours, theirs = upstream.models("base")
    options: dict[str, Any] = {"temperature": 0.0, "language": code, "word_timestamps": True}
    found = ours.transcribe(samples, **options)
    assert any(segment["words"] for segment in found["segments"])
    upstream.assert_results_equal(found, theirs.transcribe(samples, fp16=False, **options), len(samples) // 160 / 100)


def recorded_german(before: Array) -> Array:
    """A sentence in German after 35 seconds in which nobody speaks, 16 kHz."""
    command = ["espeak-ng", "-v", "de", "-s", "140", "--stdout", SENTENCES["de"]]
    spoken = npwhisper.load_audio(subprocess.run(command, capture_output=True, check=True).stdout)
    return np.concatenate([before, spoken])


@pytest.mark.parametrize("loudness", [0.0, 1e-3], ids=["silence", "faint noise"])
@pytest.mark.parametrize("options", [{"vad": True}, {"robust": True}, {"clip_timestamps": "34"}], ids=upstream.label)
def test_the_language_is_that_of_the_speech_not_of_the_silence_before(options: dict[str, Any], loudness: float) -> None:
    ours, _ = upstream.models("base")
    noise = np.random.default_rng(0).standard_normal(35 * 16000) * loudness
    samples = recorded_german(noise.astype(np.float32))
    assert ours.iter_segments(samples, **options).language == "de"
    _, probs = ours.detect_language(samples, **options)
    assert max(probs, key=probs.__getitem__) == "de"
    _, probs = ours.detect_language(samples)
    assert max(probs, key=probs.__getitem__) != "de", "else this test shows nothing"


def test_most_languages_are_recognised() -> None:
    """The recordings are clear enough to mean something: at most two are taken for another language."""
    ours, _ = upstream.models("base")
    right = 0
    for code, sentence in SENTENCES.items():
        command = ["espeak-ng", "-v", VOICES.get(code, code), "-s", "140", "--stdout", sentence]
        samples = npwhisper.load_audio(subprocess.run(command, capture_output=True, check=True).stdout)
        _, probabilities = ours.detect_language(npwhisper.log_mel_spectrogram(npwhisper.pad_or_trim(samples), 80))
        right += max(probabilities, key=probabilities.__getitem__) == code
    assert right >= len(SENTENCES) - 2
    assert np.isfinite(right)
