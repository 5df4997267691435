"""Decoding with the ffmpeg program, for what libsndfile cannot read."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

import numpy as np

from npwhisper.audio.containers import announcement
from npwhisper.audio.damage import warn_of_missing
from npwhisper.audio.ffmpeg_messages import check_chosen, chosen_track, damage, length, refusal, tracks
from npwhisper.audio.mixing import EVERYTHING, Chosen
from npwhisper.audio.samples import checked_blocks
from npwhisper.audio.units import READ_BLOCK, AudioError, Blocks, name_of

if TYPE_CHECKING:
    import subprocess
    import threading

# Containers that hold their sound themselves. Playlists (hls, dash, concat, imf, sdp), which name other files, devices,
# pictures, and bare samples, which nothing identifies, are not among them.
CONTAINERS = (
    "3gp,aa,aac,aax,ac3,adx,aiff,amr,amrnb,amrwb,ape,asf,asf_o,ast,au,avi,caf,codec2,dsf,dss,dts,dtshd,dv,eac3,flac,flv,"
    "g722,g723_1,g726,g726le,g729,gsm,gxf,iff,ilbc,ircam,iv8,kux,live_flv,loas,m4v,matroska,mlp,mmf,mov,mp3,mpc,mpc8,"
    "mpeg,mpegts,mpegvideo,mxf,nistsphere,nsv,nut,ogg,oma,pvf,qcp,rm,rso,s337m,sbc,shn,sox,spdif,swf,tak,truehd,tta,"
    "voc,w64,wav,wsd,wtv,wv,xwma"
)
STALL = 120.0  # seconds that ffmpeg may take for a piece of sound
MESSAGES = 1 << 20  # bytes of ffmpeg's messages that are read
PAN: dict[str | int, str] = {"left": "FL", "right": "FR", "centre": "FC", "center": "FC"}


def ffmpeg_blocks(source: str | bytes, sr: int, complaint: str, chosen: Chosen = EVERYTHING) -> Blocks:
    """Let ffmpeg decode, mix and resample to 16-bit integers, as upstream does with every file."""
    output = ["-f", "s16le", "-acodec", "pcm_s16le", "-ac", "1", "-ar", str(sr), "pipe:1"]
    with _command(source, complaint, chosen, output) as command:
        data = _run(command, source, sr, complaint, chosen)
        yield from checked_blocks((np.frombuffer(d, "<i2").astype(np.float32) / 32768.0 for d in data), source)


def ffmpeg_channels(source: str | bytes, complaint: str, chosen: Chosen) -> int:
    """How many channels a sound track has."""
    import tempfile

    with (
        _command(source, complaint, chosen, ["-t", "0", "-f", "null", "-"]) as command,
        tempfile.TemporaryFile() as messages,
        _started(command, messages) as process,
    ):
        while _read(process, complaint):
            pass
        process.wait()
        told = _told(messages)
    check_chosen(told, name_of(source), chosen)
    if not (found := tracks(told)):
        raise AudioError(f"{complaint} and ffmpeg {refusal(told)}")
    return found[chosen_track(told)].n_channels


@contextlib.contextmanager
def _command(source: str | bytes, complaint: str, chosen: Chosen, output: list[str]) -> Iterator[list[str]]:
    """The command that decodes a source; inside the block, bytes are in a temporary file."""
    import shutil
    import tempfile

    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        raise AudioError(
            f"{complaint}, and ffmpeg, which reads many more formats (m4a, aac, mp4, webm), is not on the PATH; "
            "install ffmpeg, or convert the file to wav, flac, ogg or mp3"
        )
    with tempfile.TemporaryDirectory() as folder:
        yield [*_parent_death(), ffmpeg, *_reading(_as_path(source, folder), chosen), *output]


def _run(command: list[str], source: str | bytes, sr: int, complaint: str, chosen: Chosen) -> Iterator[bytes]:
    """What ffmpeg writes, in pieces of whole samples; AudioError if it writes nothing, a warning if it found damage."""
    import tempfile

    n_bytes = 0
    with tempfile.TemporaryFile() as messages, _started(command, messages) as process:
        while data := _read(process, complaint):
            n_bytes += len(data)
            yield data[: len(data) // 2 * 2]
        status, told = process.wait(), _told(messages)
    check_chosen(told, name_of(source), chosen)
    if status and not n_bytes:
        raise AudioError(f"{complaint} and ffmpeg {refusal(told)}")
    seconds = n_bytes / 2 / sr
    announced, found = announcement(source, seconds, length(told))
    warn_of_missing(name_of(source), seconds, announced, damage(told, status) or found)


def _told(messages: IO[bytes]) -> str:
    messages.seek(0)
    return messages.read(MESSAGES).decode(errors="replace").strip()


@contextlib.contextmanager
def _started(command: list[str], messages: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program, which is killed when the block is left, in whatever way."""
    import subprocess

    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=messages)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _read(process: subprocess.Popen[bytes], complaint: str) -> bytes:
    """The next piece, b"" at the end; AudioError if none comes for a long time."""
    assert process.stdout is not None
    with _killed_after(STALL, process) as was_killed:
        data = process.stdout.read(2 * READ_BLOCK)
    if was_killed.is_set():
        raise AudioError(f"{complaint} and ffmpeg has written nothing for {STALL:g} seconds, so it was stopped")
    return data


@contextlib.contextmanager
def _killed_after(seconds: float, process: subprocess.Popen[bytes]) -> Iterator[threading.Event]:
    """Kill a process if the block takes longer; the event says whether it was."""
    import threading

    was_killed = threading.Event()

    def kill() -> None:
        was_killed.set()
        process.kill()

    alarm = threading.Timer(seconds, kill)
    alarm.daemon = True
    alarm.start()
    try:
        yield was_killed
    finally:
        alarm.cancel()


@functools.cache
def _parent_death() -> list[str]:
    """A prefix that makes Linux kill a command when we are killed: setpriv, of util-linux, if it is installed."""
    import shutil
    import subprocess

    setpriv = shutil.which("setpriv") if sys.platform == "linux" else None
    prefix = [setpriv, "--pdeathsig", "KILL"] if setpriv else []
    works = not prefix or not subprocess.run([*prefix, sys.executable, "-c", ""], capture_output=True).returncode
    return prefix if works else []


def _as_path(source: str | bytes, folder: str) -> str:
    """The source as a file: mp4 keeps its index at the end, so a pipe would not do."""
    if isinstance(source, str):
        return source
    path = os.path.join(folder, "audio")
    with open(path, "wb") as file:
        file.write(source)
    return path


def _reading(path: str, chosen: Chosen) -> list[str]:
    # "file:" and the whitelists: neither a name nor a playlist may make ffmpeg open another file or a network address.
    safety = ["-protocol_whitelist", "file", "-format_whitelist", CONTAINERS]
    reading = ["-nostdin", "-hide_banner", "-nostats", "-loglevel", "level+info", *safety, "-i", f"file:{path}", "-vn"]
    if chosen.track is not None:
        reading += ["-map", f"0:a:{chosen.track}"]
    if chosen.channel is not None:
        reading += ["-af", f"pan=mono|c0={PAN.get(chosen.channel, f'c{chosen.channel}')}"]
    return reading
