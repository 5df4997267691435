"""Several recordings at once: each gives what it gives alone, in order; errors say which recording they are about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from talkers import ENGLISH, MULTILINGUAL, talker
from transcripts import assert_equal

import npwhisper
from npwhisper.audio import AudioError
from npwhisper.tracing.seam import Array
from npwhisper.transcription import batch
from npwhisper.transcription.several import is_several


@pytest.fixture(scope="module")
def recordings() -> list[Array]:
    """Noise of 7 seconds, silence of 2, noise of 41, 3 and 12."""
    rng = np.random.default_rng(8)
    noise = [(0.2 * rng.standard_normal(16000 * n)).astype(np.float32) for n in (7, 41, 3, 12)]
    return [noise[0], np.zeros(32000, np.float32), *noise[1:]]


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0},
        pytest.param({"temperature": 0, "beam_size": 3, "word_timestamps": True}, marks=pytest.mark.slow),
        pytest.param({"temperature": (0, 0.6), "best_of": 2, "logprob_threshold": -0.5}, marks=pytest.mark.slow),
        pytest.param({"temperature": 0, "multilingual": True}, marks=pytest.mark.slow),
        {"temperature": 0, "batch_size": None},
    ],
    ids=str,
)
def test_each_gives_what_it_gives_alone(recordings: list[Array], options: dict[str, Any]) -> None:
    options = {"batch_size": 3, "sample_len": 9, "seed": 3, **options}
    model = talker(MULTILINGUAL if options.pop("multilingual", False) else ENGLISH, seed=1)
    together = model.transcribe(recordings, **options)
    assert len(together) == len(recordings)
    assert len({result["text"] for result in together}) > 2
    for result, recording in zip(together, recordings, strict=True):
        assert_equal(result, model.transcribe(recording, **options))
        assert [segment["id"] for segment in result["segments"]] == list(range(len(result["segments"])))


def test_short_recordings_fill_a_batch(recordings: list[Array], monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, run_once = list[int](), batch.run_once
    monkeypatch.setattr(
        batch, "run_once", lambda model, windows: (sizes.append(len(windows)), run_once(model, windows))
    )
    talker(ENGLISH, seed=1).transcribe(recordings[2:], batch_size=4, temperature=0, sample_len=9)
    assert max(sizes) == 4


@pytest.mark.parametrize("batch_size", [None, 2])
def test_an_error_says_which_recording(recordings: list[Array], batch_size: int | None, tmp_path: Path) -> None:
    model, text = talker(ENGLISH), tmp_path / "b.wav"
    text.write_text("no sound")
    options: dict[str, Any] = {"batch_size": batch_size, "temperature": 0, "sample_len": 3}
    with pytest.raises(ValueError, match=r"recording 2: .*NaN"):
        model.transcribe([recordings[0], np.full(16000, np.nan, np.float32)], **options)
    with pytest.raises(AudioError, match=r"b\.wav"):
        model.transcribe([recordings[0], text], **options)
    with pytest.raises(FileNotFoundError) as missing:
        model.transcribe([recordings[0], tmp_path / "c.wav"], **options)
    assert missing.value.filename == str(tmp_path / "c.wav")


def test_a_journal_is_of_one_recording(recordings: list[Array], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a journal belongs to one recording, got 5"):
        talker(ENGLISH).transcribe(recordings, batch_size=2, journal=tmp_path / "a.journal")
    assert not list(tmp_path.iterdir())


def test_what_is_a_list_of_recordings(recordings: list[Array]) -> None:
    assert is_several(recordings)
    assert is_several(("a.wav", Path("b.wav"), b"RIFF"))
    for one in ("a.wav", recordings[0], [0.0, 0.5], list(recordings[3][:9]), [], None, ["a.wav", 3]):
        assert not is_several(one)


def test_the_function_takes_them_too_and_prints(capsys: pytest.CaptureFixture[str]) -> None:
    paths = [npwhisper.example()] * 2
    first, second = npwhisper.transcribe(paths, talker(ENGLISH), batch_size=2, verbose=True, temperature=0)
    assert first["text"] == second["text"]
    assert capsys.readouterr().out.count("example") == 2
