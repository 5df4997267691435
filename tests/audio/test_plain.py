"""WAV and FLAC without libsndfile give what libsndfile gives."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import npwhisper
from npwhisper.audio.libsndfile import soundfile_blocks
from npwhisper.audio.plain import plain_blocks, plain_channels
from npwhisper.audio.units import AudioError, AudioWarning
from npwhisper.audio.wav import wav_bytes

ROOT = Path(__file__).parents[2]
RNG = np.random.default_rng(3)
N = 10_007
TONE = np.sin(np.arange(N) * 0.05)[:, None] * [0.5, 0.4] + RNG.normal(0, 0.01, (N, 2))
KINDS = {
    "mono": TONE[:, :1], "alike": TONE, "apart": RNG.uniform(-1, 1, (N, 2)), "three": RNG.normal(0, 0.1, (N, 3)),
    "constant": np.full((N, 1), 0.25), "silence": np.zeros((N, 2)), "short": TONE[:5], "loud": np.sign(TONE),
    "steps": np.round(TONE * 16) / 16,
}  # fmt: skip
FORMS = [
    ("WAV", "PCM_U8"), ("WAV", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "PCM_32"), ("WAV", "FLOAT"), ("WAV", "DOUBLE"),
    ("WAVEX", "PCM_16"), ("FLAC", "PCM_S8"), ("FLAC", "PCM_16"), ("FLAC", "PCM_24"),
]  # fmt: skip


def encoded(samples: np.ndarray, form: str, subtype: str, rate: int = 16000) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=form, subtype=subtype)
    return file.getvalue()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("form", "subtype"), FORMS)
def test_every_bit_is_libsndfiles(kind: str, form: str, subtype: str) -> None:
    data = encoded(KINDS[kind], form, subtype)
    mine, theirs = (np.concatenate(list(read(data, 16000))) for read in (plain_blocks, soundfile_blocks))
    np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("form", ["WAV", "FLAC"])
@pytest.mark.parametrize("channel", ["right", 0, None])
def test_channels_and_rates(form: str, channel: str | int | None) -> None:
    data = encoded(KINDS["alike"], form, "PCM_16", 22050)
    mine, theirs = (np.concatenate(list(read(data, 16000, channel))) for read in (plain_blocks, soundfile_blocks))
    np.testing.assert_array_equal(mine, theirs)
    assert plain_channels(data) == 2


def test_a_recording_that_was_cut_is_read_as_far_as_it_goes() -> None:
    data = encoded(TONE, "FLAC", "PCM_16")
    with pytest.warns(AudioWarning, match=r"it ends within a frame"):
        samples = np.concatenate(list(plain_blocks(data[: len(data) * 3 // 4], 16000)))
    whole = np.concatenate(list(plain_blocks(data, 16000)))
    assert 0 < len(samples) < N
    np.testing.assert_array_equal(samples, whole[: len(samples)])


def test_a_changed_sample_is_noticed() -> None:
    data = bytearray(encoded(KINDS["apart"], "FLAC", "PCM_16"))
    data[-1000] ^= 1
    with pytest.warns(AudioWarning, match="truncated or damaged"):
        list(plain_blocks(bytes(data), 16000))


def test_a_wav_file_without_its_length() -> None:
    data = bytearray(encoded(TONE, "WAV", "PCM_16"))
    at = data.index(b"data") + 4
    data[at : at + 4] = bytes(4)
    np.testing.assert_array_equal(
        np.concatenate(list(plain_blocks(bytes(data), 16000))),
        np.concatenate(list(soundfile_blocks(bytes(data), 16000))),
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"ID3" + bytes(100), "without libsndfile only wav and flac are"),
        (encoded(TONE, "WAV", "ULAW"), "8-bit samples of format 7"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", "no complete header"),
        (b"fLaC" + bytes(10), "without libsndfile"),
    ],
)
def test_what_cannot_be_read_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(AudioError, match=message):
        list(plain_blocks(data, 16000))


def test_our_wav_file_is_read_by_libsndfile() -> None:
    samples, rate = soundfile.read(io.BytesIO(wav_bytes(TONE[:, 0])))
    assert rate == 16000
    np.testing.assert_allclose(samples, TONE[:, 0], atol=1 / 32000)


BROWSER = """
import sys
for name in ("soundfile", "threadpoolctl", "pooch"):
    sys.modules[name] = None
import numpy, scipy.signal, tqdm, tiktoken
sys.platform = "emscripten"
import threading, npwhisper
"""


def in_a_browser(code: str, *arguments: str) -> str:
    """What the code prints in a Python that has what a browser's has."""
    command = [sys.executable, "-W", "error", "-c", BROWSER + code, *arguments]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


@pytest.mark.parametrize("is_embedded", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_browser_has_no_libsndfile_no_threadpoolctl_and_no_threads(talker_file: Path, is_embedded: bool) -> None:
    code = """
npwhisper.set_num_threads(4)
model = sys.argv[1] if len(sys.argv) > 1 else None
print(npwhisper.transcribe(npwhisper.example(), model, word_timestamps=True, temperature=0)["text"])
assert threading.active_count() == 1, threading.enumerate()
try:
    npwhisper.load_model("base.en", download_root=".")
except npwhisper.DownloadError as error:
    assert "as in a browser" in str(error), error
"""
    model = () if is_embedded else (str(talker_file),)
    expected = npwhisper.transcribe(npwhisper.example(), *model, word_timestamps=True, temperature=0)
    assert in_a_browser(code, *model) == expected["text"].strip()


@pytest.mark.slow
def test_a_browser_draws_the_glass_box_and_takes_arrays(tmp_path: Path) -> None:
    code = """
run = npwhisper.glass(npwhisper.example(), sys.argv[1])
assert run.result["text"] == npwhisper.transcribe(npwhisper.load_audio(npwhisper.example()))["text"]
assert threading.active_count() == 1, threading.enumerate()
print(run.result["text"])
"""
    page = tmp_path / "glass.html"
    assert in_a_browser(code, str(page)) == npwhisper.transcribe(npwhisper.example())["text"].strip()
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
