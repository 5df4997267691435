# ruff: noqa: SIM905  (a list of words is easier to read as words)
"""Small free programs that speak: espeak-ng, flite, svox pico, RHVoice, festival (and hibari, a Python package).

A voice is named by its program and its own name, as in "flite slt". The programs lie in an unpacked folder (usr/bin,
usr/lib, ...), for they need not be installed.
"""

from __future__ import annotations

import contextlib
import functools
import os
import random
import subprocess
import sys
import wave
from collections.abc import Iterator
from typing import Any

import numpy as np

RATE = 16000
Array = np.ndarray[Any, Any]
Phones = list[list[Any]]  # [name, end in seconds]
ACCENTS = (
    "en-us en-us en-us en-gb en-gb en-gb-scotland en-gb-x-rp en-gb-x-gbclan en-gb-x-gbcwmd en-029 en-us-nyc"
).split()
VARIANTS = (
    "f1 f2 f3 f4 f5 m1 m2 m3 m4 m5 m6 m7 m8 Andy Alicia Andrea Annie belinda benjamin boris caleb david ed edward "
    "Gene grandma grandpa iven iven2 john klatt klatt2 klatt4 Lee linda max michael mike norbert pablo paul "
    "quincy rob robert shelby steph steph2 travis victor zac"
).split()
FLITE_PITCH = {"slt": (150, 215), "kal16": (85, 130), "rms": (80, 120), "awb": (105, 150)}


def resample(x: Array, rate: int) -> Array:
    """To 16 kHz, by the Fourier transform of the whole utterance."""
    if rate == RATE or not len(x):
        return x
    n = int(len(x) * RATE / rate)
    s = np.fft.rfft(x)[: n // 2 + 1]
    return np.asarray(np.fft.irfft(np.pad(s, (0, n // 2 + 1 - len(s))), n) * (n / len(x)))


def read_wav(path: str) -> Array:
    with wave.open(path) as f:
        x = np.frombuffer(f.readframes(f.getnframes()), np.int16)[:: f.getnchannels()].astype(np.float32)
        return resample(x, f.getframerate())


def link(target: str, name: str) -> None:
    """festival and pico have fixed data folders: give them links to the unpacked ones."""
    with contextlib.suppress(OSError):
        os.makedirs(os.path.dirname(name), exist_ok=True)
        if not os.path.lexists(name):
            os.symlink(target, name)


def environment(pack: str) -> dict[str, str]:
    """The environment in which the unpacked programs find their libraries and voices."""
    lib, share = f"{pack}/usr/lib/x86_64-linux-gnu", f"{pack}/usr/share"
    link(f"{share}/festival", "/usr/share/festival")
    link(f"{share}/pico/lang", "/tmp/pico/lang")
    own = {
        "LD_LIBRARY_PATH": f"{lib}:{lib}/pulseaudio:{pack}/lib/x86_64-linux-gnu",
        "PATH": f"{pack}/usr/bin:" + os.environ.get("PATH", ""),
        "ESPEAK_DATA_PATH": lib,
        "RHVOICE_DATA_PATH": f"{share}/RHVoice",
        "RHVOICE_CONFIG_PATH": f"{pack}/etc/RHVoice",
    }
    return {**os.environ, **own}


def run(command: list[str], env: dict[str, str], text: bytes | None = None) -> str:
    done = subprocess.run(command, input=text, env=env, capture_output=True, timeout=60, check=False)
    return done.stdout.decode("utf8", "replace")


def festival_script(name: str, sentences: list[str], slow: float, folder: str) -> str:
    """A program for festival that speaks all sentences and writes down when each phone and word ends."""
    lines = [f"(voice_{name})", f"(Parameter.set 'Duration_Stretch {slow:.2f})"]
    for i, s in enumerate(sentences):
        lines += [f'(set! u (utt.synth (Utterance Text "{s}")))', f'(utt.save.wave u "{folder}/{i}.wav")']
        lines += [f'(utt.save.segs u "{folder}/{i}.seg")', f'(utt.save.words u "{folder}/{i}.words")']
    return "\n".join(lines) + "\n"


def command(engine: str, name: str, s: str, r: random.Random, slow: float, out: str) -> tuple[list[str], bytes | None]:
    """The command that speaks one sentence with a random pitch, and its input."""
    if engine == "espeak":
        voice = r.choice(ACCENTS) + ("+" + r.choice(VARIANTS) if r.random() < 0.85 else "")
        return ["espeak-ng", "-v", voice, "-s", f"{165 / slow:.0f}", "-p", str(r.randint(30, 70)), "-w", out, s], None
    if engine == "flite":
        pitch = f"int_f0_target_mean={r.uniform(*FLITE_PITCH[name]):.0f}"
        stretch = f"duration_stretch={slow:.2f}"
        return ["flite", "-voice", name, "--setf", stretch, "--setf", pitch, "-psdur", "-t", s, "-o", out], None
    if engine == "pico":
        pitched = f'<pitch level="{r.randint(80, 122)}">{s}</pitch>'
        return ["pico2wave.p", "-l", name, "-w", out, f'<speed level="{100 / slow:.0f}">{pitched}</speed>'], None
    rate, pitch = f"{100 / slow:.0f}", str(r.randint(85, 118))
    return ["RHVoice-test", "-p", name, "-q", "min", "-r", rate, "-t", pitch, "-o", out], s.encode()


@functools.cache
def hibari() -> Any:
    from hibari import Hibari

    return Hibari()


def phones_of(engine: str, printed: str, folder: str, i: int) -> Phones | None:
    """Phone ends, where the program tells them."""
    if engine == "flite":
        return [[p.rsplit(":", 1)[0], float(p.rsplit(":", 1)[1])] for p in printed.split()]
    if engine == "festival":
        with open(f"{folder}/{i}.seg", encoding="latin-1") as f:
            return [[row[2], float(row[0])] for row in map(str.split, f) if len(row) == 3]
    return None


def speak(
    voice: str, sentences: list[str], r: random.Random, env: dict[str, str], folder: str
) -> Iterator[tuple[str, Array, Phones | None]]:
    """Speak a batch at one random pace; yields (text, samples at 16 kHz, phones). Failed sentences are left out."""
    engine, _, name = voice.partition(" ")
    slow = r.uniform(0.88, 1.18)
    if engine == "festival":
        with open(f"{folder}/f.scm", "w", encoding="latin-1") as f:
            f.write(festival_script(name, sentences, slow, folder))
        run(["festival", "-b", f"{folder}/f.scm"], env)
    for i, s in enumerate(sentences):
        out = f"{folder}/{i}.wav"
        try:
            if engine == "hibari":
                yield s, resample(np.asarray(hibari()(s, speed=1 / slow), np.float32) * 32768, 24000), None
                continue
            printed = "" if engine == "festival" else run_one(engine, name, s, r, slow, out, env)
            yield s, read_wav(out), phones_of(engine, printed, folder, i)
            os.remove(out)
        except (OSError, ValueError, wave.Error, EOFError, subprocess.SubprocessError) as e:
            print(voice, repr(e)[:200], file=sys.stderr, flush=True)


def run_one(engine: str, name: str, s: str, r: random.Random, slow: float, out: str, env: dict[str, str]) -> str:
    words, text = command(engine, name, s, r, slow, out)
    return run(words, env, text)


def trim(x: Array, phones: Phones | None, keep: float = 0.03) -> tuple[Array | None, Phones | None, float]:
    """Cut the silence at both ends, move the phone times, bring the peak to 0.5; also the seconds cut off in front."""
    if len(x) < RATE // 10:
        return None, None, 0.0
    frames = np.abs(x[: len(x) // 160 * 160]).reshape(-1, 160).max(1)
    loud = np.flatnonzero(frames > 0.02 * frames.max())
    if frames.max() < 300 or not len(loud):
        return None, None, 0.0
    a = max(0, loud[0] * 160 - int(keep * RATE))
    b = min(len(x), (loud[-1] + 1) * 160 + int(keep * RATE))
    moved = [[p, round(min(t - a / RATE, (b - a) / RATE), 3)] for p, t in phones or [] if t > a / RATE]
    y = (x[a:b] * (16384 / frames.max())).clip(-32767, 32767).astype(np.int16)
    return y, moved if phones else None, a / RATE
