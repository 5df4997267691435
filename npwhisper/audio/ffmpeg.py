"""Decoding with the ffmpeg program, for what libsndfile cannot read."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

from npwhisper.audio.samples import checked_blocks
from npwhisper.audio.units import READ_BLOCK, AudioError, Blocks


def ffmpeg_blocks(source: str | bytes, sr: int, complaint: str) -> Blocks:
    """Let ffmpeg decode, mix and resample to 16-bit integers, as upstream does with every file."""
    import shutil
    import tempfile

    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        raise AudioError(
            f"{complaint}, and ffmpeg, which reads many more formats (m4a, aac, mp4, webm), is not on the PATH; "
            "install ffmpeg, or convert the file to wav, flac, ogg or mp3"
        )
    with tempfile.TemporaryDirectory() as folder:
        data = _run([ffmpeg, *_ffmpeg_arguments(_as_path(source, folder), sr)], complaint)
        yield from checked_blocks((np.frombuffer(d, "<i2").astype(np.float32) / 32768.0 for d in data), source)


def _run(command: list[str], complaint: str) -> Iterator[bytes]:
    """What a program writes, in pieces; AudioError with its last message if it fails."""
    import subprocess
    import tempfile

    with (
        tempfile.TemporaryFile() as messages,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=messages) as process,
    ):
        assert process.stdout is not None
        while data := process.stdout.read(2 * READ_BLOCK):
            yield data
        if process.wait():
            messages.seek(0)
            reason = messages.read().decode(errors="replace").strip().rpartition("\n")[2]
            raise AudioError(f"{complaint} and ffmpeg says {reason!r}; is it an audio file, and is it complete?")


def _as_path(source: str | bytes, folder: str) -> str:
    """The source as a file: mp4 keeps its index at the end, so a pipe would not do."""
    if isinstance(source, str):
        return source
    path = os.path.join(folder, "audio")
    with open(path, "wb") as file:
        file.write(source)
    return path


def _ffmpeg_arguments(path: str, sr: int) -> list[str]:
    # "file:" and the whitelist: neither a name nor a playlist in the file may make ffmpeg open a network address.
    reading = ["-nostdin", "-loglevel", "error", "-protocol_whitelist", "file,pipe", "-i", f"file:{path}"]
    return [*reading, "-f", "s16le", "-acodec", "pcm_s16le", "-ac", "1", "-ar", str(sr), "pipe:1"]
