"""How many seconds are read of every kind of recording, whole, joined and truncated, beside ffmpeg's number.

    python tests/benchmarks/recordings.py
    python tests/benchmarks/recordings.py --each

Prints one line for each kind, or for each file, and makes the exit status 1 if a rule is broken: a whole file gives no
warning and is read to within one frame of ffmpeg's count; one that is cut gives a warning, unless its sizes are open
and it ends with a whole sample.
Needs ffmpeg, lame and sox.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import npwhisper
from npwhisper.audio import AudioError, AudioWarning, load_audio

RATE = 16000
FRAMES = {True: 576 / 8000, False: 1152 / 44100}  # seconds of a frame at 8 kHz, and at the other files' rate
LAME = {
    "mp3 CBR": "-b 64", "mp3 VBR, Xing": "-V 5", "mp3 VBR, no Xing": "-V 5 -t", "mp3 ABR, no Xing": "--abr 64 -t",
    "mp3 CBR, no Xing": "-b 64 -t", "mp3 free format": "--freeformat -b 200", "mp3 8 kHz": "--resample 8 -b 16",
}  # fmt: skip
FFMPEG = {
    "wav": "-f wav", "wav float": "-c:a pcm_f32le -f wav", "wav of a pipe": "-f wav pipe:1", "w64": "-f w64",
    "rf64": "-rf64 always -f wav", "rf64 of a pipe": "-rf64 always -f wav pipe:1", "au": "-f au", "caf": "-f caf",
    "aiff": "-f aiff", "flac": "-f flac", "flac of a pipe": "-f flac pipe:1", "ogg vorbis": "-c:a libvorbis -f ogg",
    "opus": "-c:a libopus -f ogg", "ogg flac": "-c:a flac -f oga", "speex": "-c:a libspeex -f spx",
    "m4a": "-f ipod", "webm": "-c:a libopus -f webm", "mkv": "-c:a flac -f matroska",
    "wma": "-f asf", "wma of a pipe": "-f asf pipe:1", "aac": "-f adts", "avi": "-f avi",
    "avi of a pipe": "-f avi pipe:1", "w64 of a pipe": "-f w64 pipe:1", "caf of a pipe": "-f caf pipe:1",
    "au of a pipe": "-f au pipe:1", "aiff of a pipe": "-f aiff pipe:1", "voc": "-f voc", "ac3": "-f ac3",
    "eac3": "-f eac3", "dts": "-strict -2 -ar 48000 -ac 2 -f dts", "mp2": "-f mp2", "ts": "-f mpegts", "mpg": "-f mpeg",
    "vob": "-f vob", "flv": "-f flv", "flv of a pipe": "-f flv pipe:1", "webm of a pipe": "-c:a libopus -f webm pipe:1",
    "mkv of a pipe": "-c:a flac -f matroska pipe:1", "gsm": "-ar 8000 -ac 1 -f gsm", "wv": "-f wv", "tta": "-f tta",
}  # fmt: skip
SOX = {"sphere": "{} -t sph -", "sphere of a pipe": "--ignore-length {} -t sph -", "aiff of sox's pipe": "{} -t aiff -"}
PLACES = [0.053 + 0.1 * i for i in range(10)]  # no simple fraction, where frames of one size would end
# No size is in these, so every whole sample of two bytes may be the last; their headers have even sizes.
ENDLESS = ("wav of", "rf64 of", "w64 of", "caf of", "au of", "aiff of", "sphere of")
UNKNOWABLE = "cut between two samples"
SECONDS = 11.0  # of free-format MP3, which ffmpeg does not read


class Row(NamedTuple):
    """A file that was read."""

    kind: str
    read: float
    right: float
    warned: bool
    fault: str


def made() -> dict[str, bytes]:
    """The example in every format, whole."""
    files = dict[str, bytes]()
    with tempfile.TemporaryDirectory() as folder:
        wave, target = f"{folder}/source.wav", Path(folder, "target")
        _run("ffmpeg", "-v", "error", "-i", npwhisper.example(), "-ar", "44100", wave)
        for kind, options in LAME.items():
            _run("lame", "--quiet", *options.split(), wave, str(target))
            files[kind] = target.read_bytes()
        for kind, options in FFMPEG.items():
            last = [] if options.endswith("pipe:1") else [str(target)]
            out = _run("ffmpeg", "-v", "error", "-y", "-i", wave, *options.split(), *last)
            files[kind] = out if not last else target.read_bytes()
        for kind, options in SOX.items():
            files[kind] = _run("sox", *options.format(wave).split())
    return files


def _run(*command: str) -> bytes:
    return subprocess.run(command, capture_output=True, check=True).stdout


def matrix() -> Iterator[tuple[str, bytes, float, bool]]:
    """Name, contents, seconds that are right (0: ask ffmpeg), whether it is whole."""
    files = made()
    id3v1, id3v2 = b"TAG" + b"title".ljust(125, b"\0"), b"ID3\4\0\0\0\0\3\7" + bytes(391)
    for kind, data in files.items():
        yield kind, data, 0.0, True
    for kind in LAME:
        yield f"{kind}, ID3 before", id3v2 + files[kind], 0.0, True
        yield f"{kind}, ID3 after", files[kind] + id3v1, 0.0, True
    for kind in (*(k for k in LAME if "free" not in k), "ogg vorbis", "opus"):
        yield f"{kind}, joined", files[kind] + files[kind], 2 * _ffmpeg(files[kind]), True
    for kind, data in files.items():
        for place in PLACES:
            yield f"{kind}, cut at {place:.0%}", data[: int(place * len(data)) + 1], _ffmpeg(data), False


def _ffmpeg(data: bytes) -> float:
    """Seconds that ffmpeg decodes."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        command = ["ffmpeg", "-v", "quiet", "-i", file.name, "-f", "s16le", "-ac", "1", "-ar", "16000", "-"]
        return len(subprocess.run(command, capture_output=True).stdout) / 2 / RATE


def row(kind: str, data: bytes, right: float, whole: bool) -> Row:
    """Read one, and say what is wrong about it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", AudioWarning)
        try:
            read = len(load_audio(data)) / RATE
        except AudioError:
            return Row(kind, 0.0, right, True, "refused" if whole else "")
    right, warned, fault = right or _ffmpeg(data) or SECONDS, bool(caught), ""
    frame = FRAMES["8 kHz" in kind]
    if whole and abs(read - right) > frame * (2 if "joined" in kind else 1):
        fault = "not as long as it should be"
    elif whole and warned:
        fault = f"a false warning: {caught[0].message}"
    elif not whole and not warned:
        fault = UNKNOWABLE if kind.startswith(ENDLESS) and len(data) % 2 == 0 else "lost without a warning"
    return Row(kind, read, right, warned, fault)


def each(rows: list[Row]) -> str:
    """A line for each file."""
    head = f"| {'file':34} | read | right | warning | |\n|---|---|---|---|---|"
    told = [f"{r.kind:34} | {r.read:.2f} | {r.right:.2f} | {'yes' if r.warned else 'no'} | {r.fault}" for r in rows]
    return "\n".join([head, *(f"| {line} |" for line in told)])


def summary(rows: list[Row]) -> str:
    """A line for each kind: what is read of it whole, and of how many that were cut there is a warning."""
    lines = ["| kind | read | expected | cut: warning | cut: none |", "|---|---|---|---|---|"]
    for whole in (r for r in rows if ", cut at" not in r.kind):
        cut = [r for r in rows if r.kind.startswith(f"{whole.kind}, cut at")]
        counts = sum(r.warned for r in cut), sum(r.fault == UNKNOWABLE for r in cut)
        told = f"{counts[0]} of {len(cut)} | {counts[1] or ''}" if cut else " | "
        lines.append(f"| {whole.kind} | {whole.read:.2f} | {whole.right:.2f} | {told} |")
    return "\n".join(lines)


def main() -> int:
    rows = [row(*case) for case in matrix()]
    print(each(rows) if "--each" in sys.argv[1:] else summary(rows))
    faults = [r for r in rows if r.fault not in ("", UNKNOWABLE)]
    print(f"{len(rows)} files, {len(faults)} faults")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
