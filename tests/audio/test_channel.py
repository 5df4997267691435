"""One channel of a recording, by name or number, from every reader."""

from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from npwhisper.audio import AudioError, load_audio


def levels(n: int) -> np.ndarray:
    """Channels that differ in their level: 0.1, 0.2, ..."""
    return np.tile(0.1 * np.arange(1, n + 1, dtype=np.float32), (800, 1))


def wav(n: int) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, levels(n), 16000, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


CHOICES = [(2, "left", 0.1), (2, "right", 0.2), (2, 1, 0.2), (1, 0, 0.1), (6, "centre", 0.3), (6, "center", 0.3)]
CHOICES += [(6, "right", 0.2), (6, 5, 0.6), (3, 2, 0.3)]  # type: ignore[list-item]


@pytest.mark.parametrize(("n", "channel", "level"), CHOICES)
@pytest.mark.parametrize("read", [wav, levels, lambda n: levels(n).T], ids=["file", "columns", "rows"])
def test_a_channel_is_chosen(read: Any, n: int, channel: str | int, level: float) -> None:
    np.testing.assert_allclose(load_audio(read(n), channel=channel), np.full(800, level), atol=1e-6)


MISSING = [(1, "left"), (1, 1), (2, "centre"), (2, 2), (4, 4), (3, "centre")]


@pytest.mark.parametrize(("n", "channel"), MISSING)
@pytest.mark.parametrize("read", [wav, levels], ids=["file", "array"])
def test_a_channel_that_is_not_there_is_refused(read: Any, n: int, channel: str | int) -> None:
    with pytest.raises(AudioError, match=f"the recording has no channel '?{channel}'?: it has (one|{n}) channel"):
        load_audio(read(n), channel=channel)


@pytest.mark.parametrize("channel", ["middle", 1.0, True, [0], "", -1])
def test_what_names_no_channel_is_refused(channel: Any) -> None:
    with pytest.raises(AudioError, match="channel must be 'left', 'right', 'centre', a number from 0, or None for all"):
        load_audio(wav(2), channel=channel)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed")
@pytest.mark.parametrize("n", [1, 2, 6])
def test_ffmpeg_gives_one_channel_too(tmp_path: Path, n: int) -> None:
    (tmp_path / "a.wav").write_bytes(wav(n))
    command = ["ffmpeg", "-v", "error", "-i", str(tmp_path / "a.wav"), "-c:a", "alac", str(tmp_path / "a.m4a")]
    subprocess.run(command, check=True)
    for count, channel, level in CHOICES:
        if count == n:
            found = load_audio(tmp_path / "a.m4a", channel=channel)[:700]
            np.testing.assert_allclose(found, np.full(len(found), level), atol=1e-3)
    for count, channel in MISSING:
        if count == n:
            with pytest.raises(AudioError, match=f"the recording has no channel '?{channel}'?: it has (one|{n}) chan"):
                load_audio(tmp_path / "a.m4a", channel=channel)
