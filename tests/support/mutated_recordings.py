"""Read damaged recordings of every format at hand, each in a process under limits; count what became of them.

    python mutated_recordings.py --n 5000 --seed 0 --megabytes 1000 --seconds 10

A recording is read or refused with `AudioError`; whatever else happens is printed, with the file kept in --keep, and
makes the exit status 1. A child is forked for each file after all imports; ffmpeg inherits its limits.
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.signal  # noqa: F401 (imported before the children are forked)
import soundfile

from npwhisper.audio import AudioError, load_audio

READ, REFUSED = 0, 77
SOUNDFILE = [
    ("WAV", "PCM_16", 2), ("WAV", "FLOAT", 1), ("WAV", "ULAW", 1), ("WAV", "IMA_ADPCM", 1), ("WAVEX", "PCM_24", 6),
    ("FLAC", "PCM_16", 1), ("FLAC", "PCM_24", 8), ("OGG", "VORBIS", 2), ("OGG", "OPUS", 1),
    ("MP3", "MPEG_LAYER_III", 2), ("AIFF", "PCM_16", 1), ("AU", "PCM_16", 1), ("CAF", "PCM_16", 2),
    ("W64", "PCM_16", 1), ("RF64", "PCM_16", 1), ("VOC", "PCM_16", 1), ("NIST", "PCM_16", 1),
]  # fmt: skip
FFMPEG = ("m4a", "mp4", "webm", "mkv", "aac", "wma", "flv", "ts", "avi", "ac3", "wv", "tta", "amr", "spx", "mp2", "3gp")
EXTREMES = [bytes(4), b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80\0\0\0", b"\0\0\0\x80", b"\1\0\0\0"]


def originals() -> dict[str, bytes]:
    """Two seconds of noise in every format that can be written here."""
    sound = np.random.default_rng(0).normal(0, 0.1, (32_000, 8)).clip(-0.9, 0.9)
    files = dict[str, bytes]()
    for form, subtype, channels in SOUNDFILE:
        buffer = io.BytesIO()
        soundfile.write(buffer, sound[:, :channels], 16000, format=form, subtype=subtype)
        files[f"{form} {subtype}"] = buffer.getvalue()
    files["joined MP3"] = 2 * files["MP3 MPEG_LAYER_III"]
    files["chained OGG"] = files["OGG VORBIS"] + files["OGG OPUS"]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "source.wav")
        source.write_bytes(files["WAV PCM_16"])
        for ending in FFMPEG if shutil.which("ffmpeg") else ():
            target = Path(folder, f"a.{ending}")
            rate = ["-ar", "8000", "-ac", "1"] if ending in ("amr", "3gp", "spx") else []
            subprocess.run(["ffmpeg", "-v", "quiet", "-i", source, *rate, target], check=False)
            if target.exists() and target.stat().st_size:
                files[ending] = target.read_bytes()
    return files


def mutated(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """Damage of one to three kinds."""
    for _ in range(rng.integers(1, 4)):
        kind = KINDS[rng.integers(len(KINDS))]
        data = kind(bytearray(data), other, rng) or b"\0"
    return data


def _place(data: bytearray, rng: np.random.Generator) -> int:
    """Half of all damage is in the first 200 bytes, where headers are."""
    return int(rng.integers(min(len(data), 200) if rng.random() < 0.5 else len(data)))


def _flipped(data: bytearray, other: bytes, rng: np.random.Generator) -> bytes:
    for _ in range(rng.integers(1, 20)):
        data[_place(data, rng)] ^= 1 << int(rng.integers(8))
    return bytes(data)


def _extreme(data: bytearray, other: bytes, rng: np.random.Generator) -> bytes:
    at = _place(data, rng)
    data[at : at + 4] = EXTREMES[rng.integers(len(EXTREMES))]
    return bytes(data)


def _cut(data: bytearray, other: bytes, rng: np.random.Generator) -> bytes:
    return bytes(data[: _place(data, rng)])


def _without(data: bytearray, other: bytes, rng: np.random.Generator) -> bytes:
    at = _place(data, rng)
    return bytes(data[:at] + data[at + int(rng.integers(1, 5000)) :])


def _doubled(data: bytearray, other: bytes, rng: np.random.Generator) -> bytes:
    at = _place(data, rng)
    return bytes(data[: at + int(rng.integers(1, 5000))] + data[at:])


def _overwritten(data: bytearray, other: bytes, rng: np.random.Generator) -> bytes:
    at, n = _place(data, rng), int(rng.integers(1, 3000))
    data[at : at + n] = bytes(n) if rng.random() < 0.5 else rng.bytes(n)
    return bytes(data)


def _spliced(data: bytearray, other: bytes, rng: np.random.Generator) -> bytes:
    return bytes(data[: _place(data, rng)]) + other[_place(bytearray(other), rng) :]


Mutation = Callable[[bytearray, bytes, np.random.Generator], bytes]
KINDS: list[Mutation] = [_flipped, _flipped, _extreme, _extreme, _cut, _without, _doubled, _overwritten, _spliced]


def child(path: str, megabytes: int, seconds: int) -> int:
    """What the forked process does; -> its exit status."""
    resource.setrlimit(resource.RLIMIT_DATA, (megabytes << 20, megabytes << 20))
    signal.alarm(seconds)
    warnings.simplefilter("ignore")
    silence = os.open(os.devnull, os.O_WRONLY)  # mpg123 writes there what it thinks
    kept = os.dup(2)
    os.dup2(silence, 2)
    try:
        sound = load_audio(path)
    except AudioError as error:
        return REFUSED if "\n" not in str(error) else 3
    except BaseException as error:
        os.dup2(kept, 2)
        print(f"{path}: {error!r}"[:300], file=sys.stderr, flush=True)
        return 1
    return READ if sound.dtype == np.float32 and np.isfinite(sound).all() else 4


def outcome(path: str, megabytes: int, seconds: int) -> tuple[str, int]:
    """What became of a file, and the memory that it took in megabytes."""
    pid = os.fork()
    if pid == 0:
        os._exit(child(path, megabytes, seconds))
    _, status, usage = os.wait4(pid, 0)
    code, peak = os.waitstatus_to_exitcode(status), usage.ru_maxrss // 1024  # kilobytes on Linux
    if peak > megabytes:
        return f"took {peak} MB", peak
    return {READ: "read", REFUSED: "refused"}.get(code, f"ended with {code}"), peak


def main() -> int:
    p = argparse.ArgumentParser(description="Read damaged recordings.")
    p.add_argument("--n", type=int, default=5000)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--megabytes", type=int, default=1000)
    p.add_argument("--seconds", type=int, default=10)
    p.add_argument("--keep", help="folder for the files that break a promise")
    o = p.parse_args()
    files, counts, highest = originals(), Counter[str](), 0
    names = list(files)
    with tempfile.TemporaryDirectory() as folder:
        for i in range(o.n):
            rng = np.random.default_rng([o.seed, i])
            name, other = names[i % len(names)], names[rng.integers(len(names))]
            path = Path(folder, "talk")
            path.write_bytes(mutated(files[name], files[other], rng))
            became, peak = outcome(str(path), o.megabytes, o.seconds)
            counts[became], highest = counts[became] + 1, max(highest, peak)
            if became not in ("read", "refused"):
                print(f"{i} ({name}): {became}", flush=True)
                if o.keep:
                    shutil.copy(path, Path(o.keep, f"{o.seed}-{i}"))
    print(f"{o.n} files of {len(files)} formats: {dict(counts)}; at most {highest} MB")
    return int(bool(counts.keys() - {"read", "refused"}))


if __name__ == "__main__":
    sys.exit(main())
