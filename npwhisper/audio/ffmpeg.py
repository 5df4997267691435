"""Decoding with the ffmpeg program, for what libsndfile cannot read."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import sys
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

import numpy as np

from npwhisper.audio.damage import warn_of_missing
from npwhisper.audio.mixing import Channel, missing_channel
from npwhisper.audio.samples import checked_blocks
from npwhisper.audio.units import READ_BLOCK, AudioError, Blocks, name_of

if TYPE_CHECKING:
    import subprocess

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
COUNTS = {"mono": 1, "stereo": 2, "quad": 4, "quad(side)": 4, "hexagonal": 6, "octagonal": 8}
DAMAGE = r"prematurely|partial file|while decoding|corrupt input packet|input/output error|backstep|error reading"


def ffmpeg_blocks(source: str | bytes, sr: int, complaint: str, channel: Channel = None) -> Blocks:
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
        command = [*_parent_death(), ffmpeg, *_arguments(_as_path(source, folder), sr, channel)]
        data = _run(command, name_of(source), sr, complaint, channel)
        yield from checked_blocks((np.frombuffer(d, "<i2").astype(np.float32) / 32768.0 for d in data), source)


def _run(command: list[str], name: str, sr: int, complaint: str, channel: Channel) -> Iterator[bytes]:
    """What ffmpeg writes, in pieces of whole samples; AudioError if that is nothing, a warning if it found damage."""
    import tempfile

    n_bytes = 0
    with tempfile.TemporaryFile() as messages, _started(command, messages) as process:
        while data := _read(process, complaint):
            n_bytes += len(data)
            yield data[: len(data) // 2 * 2]
        status = process.wait()
        messages.seek(0)
        told = messages.read(MESSAGES).decode(errors="replace").strip()
    if status and not n_bytes:
        raise AudioError(f"{complaint} and ffmpeg {_refusal(told)}")
    _check_layout(told, channel)
    warn_of_missing(name, n_bytes / 2 / sr, _length(told), _damage(told, status))


@contextlib.contextmanager
def _started(command: list[str], messages: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program; however we leave, it has ended."""
    import subprocess

    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=messages)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _read(process: subprocess.Popen[bytes], complaint: str) -> bytes:
    """The next piece, b"" at the end; AudioError if none comes for a long time."""
    import threading

    stalled = threading.Event()

    def stop() -> None:
        stalled.set()
        process.kill()

    alarm = threading.Timer(STALL, stop)
    alarm.daemon = True
    alarm.start()
    try:
        assert process.stdout is not None
        data = process.stdout.read(2 * READ_BLOCK)
    finally:
        alarm.cancel()
    if stalled.is_set():
        raise AudioError(f"{complaint} and ffmpeg has written nothing for {STALL:g} seconds, so it was stopped")
    return data


@functools.cache
def _parent_death() -> list[str]:
    """A prefix for a command with which Linux kills it when we are killed: setpriv, of util-linux, if it is there."""
    import shutil
    import subprocess

    setpriv = shutil.which("setpriv") if sys.platform == "linux" else None
    prefix = [setpriv, "--pdeathsig", "KILL"] if setpriv else []
    works = not prefix or not subprocess.run([*prefix, sys.executable, "-c", ""], capture_output=True).returncode
    return prefix if works else []


def _damage(told: str, status: int) -> str | None:
    """What ffmpeg says of damage, in its own words, or None."""
    lines = re.findall(r"^(?:\[[^]]*\] )*\[(?:error|fatal|warning)\] (.*)", told, re.MULTILINE)
    damage = [line for line in lines if re.search(DAMAGE, line, re.IGNORECASE)]
    reason = damage[0] if damage else f"exit status {status}" if status else None
    return reason and f"ffmpeg says {reason.rstrip('.')!r}"


def _refusal(told: str) -> str:
    """Why ffmpeg gave nothing."""
    if refused := re.search(r"\[(\S+) @ \S+\] .*Format not on whitelist", told):
        return f"takes it for {refused[1]!r}, which is not among the formats that are read: playlists name other files"
    reason = re.sub(r"^(\[[^]]*\] )+", "", told.rpartition("\n")[2])
    return f"says {reason!r}; is it an audio file, and is it complete?"


def _length(told: str) -> float:
    """How many seconds the container tells of; 0 where ffmpeg guesses, or where a film may be longer than its sound."""
    length = re.search(r"Duration: (\d+):(\d+):(\d+\.\d+)", told)
    if not length or "Estimating duration" in told or re.search(r"Stream #.*: Video:", told):
        return 0.0
    hours, minutes, seconds = map(float, length.groups())
    return 3600 * hours + 60 * minutes + seconds


def _check_layout(told: str, channel: Channel) -> None:
    """Refuse a channel that is not there: ffmpeg would give silence."""
    layout = re.search(r"Stream #.*: Audio: .*?, \d+ Hz, ([^,\n]+)", told)
    if channel is None or not layout:
        return
    numbers = re.match(r"(\d+)(?: channels|\.(\d+))", layout[1])
    n_channels = sum(int(n) for n in numbers.groups("0")) if numbers else COUNTS.get(layout[1], 2)
    named = {"left": n_channels > 1, "right": n_channels > 1}
    centre = n_channels > 2 and not layout[1].startswith(("2.1", "quad"))
    if not (named.get(channel, centre) if isinstance(channel, str) else 0 <= channel < n_channels):
        raise AudioError(missing_channel(channel, n_channels))


def _as_path(source: str | bytes, folder: str) -> str:
    """The source as a file: mp4 keeps its index at the end, so a pipe would not do."""
    if isinstance(source, str):
        return source
    path = os.path.join(folder, "audio")
    with open(path, "wb") as file:
        file.write(source)
    return path


def _arguments(path: str, sr: int, channel: Channel) -> list[str]:
    # "file:" and the whitelists: neither a name nor a playlist may make ffmpeg open another file or a network address.
    safety = ["-protocol_whitelist", "file", "-format_whitelist", CONTAINERS]
    reading = ["-nostdin", "-hide_banner", "-nostats", "-loglevel", "level+info", *safety, "-i", f"file:{path}"]
    if channel is not None:
        reading += ["-af", f"pan=mono|c0={PAN.get(channel, f'c{channel}')}"]
    return [*reading, "-f", "s16le", "-acodec", "pcm_s16le", "-ac", "1", "-ar", str(sr), "pipe:1"]
