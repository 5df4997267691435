"""Long, repeated and interrupted runs, too slow for the tests.

    python tests/benchmarks/soak.py [NAME ...] [--minutes 180] [--times N]

Each function prints what it measured and fails if a promise is broken:

    memory    the peak memory of a long recording is within 100 MB of ten minutes', and its text that of its parts
    resume    killed at five random moments and resumed, the output files are those of an unbroken run
    threads   eight threads transcribe twenty times each with one model: all results are equal
    repeats   after 200 transcriptions the process is at most 2 % larger than after 20
    forks     of 300 processes forked while two threads transcribe, none hangs, and all compute the same
    kills     after each of 30 kills, 10 of them of two runs at once, a resumed run's outputs are right
    silence   five minutes each of silence, noise, hum and tones give no text with robust=True
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

import cases

import npwhisper
from npwhisper.audio import SAMPLE_RATE, load_audio

PART = 30  # seconds
EVERY = int(os.environ.get("NPWHISPER_SOAK_EVERY", "1"))  # of a long recording decode one part of so many, for haste
PLAIN = ["--beam_size", "None", "--temperature_increment_on_fallback", "None", "--condition_on_previous_text", "False"]
Array = Any


def parts() -> list[Array]:
    """Half minutes of speech, silence and noise, each with the same loudest moment and with silent edges."""
    noise = np.random.default_rng(0).standard_normal(PART * SAMPLE_RATE).astype(np.float32)
    made = []
    recordings = [load_audio(path) for path in cases.recordings().values()]
    for i, speech in enumerate(speech for speech in recordings if len(speech) < 20 * SAMPLE_RATE):
        part = noise * (0.0, 0.001, 0.01)[i % 3]
        at = (2 + i % 7) * SAMPLE_RATE
        part[at : at + len(speech)] += 0.2 * speech  # nowhere as loud as the moment below
        part[:SAMPLE_RATE] = part[-SAMPLE_RATE:] = 0
        part[SAMPLE_RATE : SAMPLE_RATE + 160] = noise[:160].clip(-0.9, 0.9)
        made.append(part.clip(-0.95, 0.95))
    return made


def recording(folder: Path, minutes: int) -> Path:
    """The parts in a row, over and over."""
    import soundfile

    path, some = folder / f"{minutes} minutes.wav", parts()
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1, "PCM_16") as file:
        for i in range(minutes * 60 // PART):
            file.write(some[i % len(some)])
    return path


def start(path: Path, folder: Path, *more: str, quiet: bool = False) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "npwhisper", str(path), "-o", str(folder), *PLAIN, *more]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    errors = subprocess.DEVNULL if quiet else None  # a second run on one output is refused
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors, env=environment, cwd=folder)


def finished(process: subprocess.Popen[bytes]) -> float:
    """Wait for success; the peak memory in MB."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, process.returncode
    return usage.ru_maxrss / 1024


def memory(folder: Path, minutes: int, _: int | None) -> None:
    peaks = {}
    for length in (10, minutes):
        path, began = recording(folder, length), time.monotonic()
        step = PART * (EVERY if length == minutes else 1)
        clips = ",".join(f"{i},{i + PART}" for i in range(0, length * 60, step))
        peaks[length] = finished(start(path, folder, "--clip_timestamps", clips, "-f", "json"))
        print(f"{length} minutes: {peaks[length]:.0f} MB, {time.monotonic() - began:.0f} s")
    assert peaks[minutes] - peaks[10] < 100
    segments = json.loads((folder / f"{minutes} minutes.json").read_text(encoding="utf-8"))["segments"]
    model = npwhisper.load_model()
    alone = [
        model.transcribe(np.round(part * 32768) / 32768, temperature=0, condition_on_previous_text=False)["text"]
        for part in parts()
    ]
    for i in range(0, minutes * 60 // PART, EVERY):
        text = "".join(s["text"] for s in segments if i * PART * 100 <= s["seek"] < (i + 1) * PART * 100)
        assert text == alone[i % len(alone)], (i, text, alone[i % len(alone)])
    n_parts = len(range(0, minutes * 60 // PART, EVERY))
    print(f"all {n_parts} parts have the text that they have alone ({sum(map(bool, alone))} of {len(alone)} have one)")


def resume(folder: Path, minutes: int, _: int | None) -> None:
    path = recording(folder, minutes)
    whole, broken = folder / "whole", folder / "broken"
    for place in (whole, broken):
        place.mkdir()
    began = time.monotonic()
    finished(start(path, whole))
    seconds = time.monotonic() - began
    for i in range(5):
        process = start(path, broken, "--resume")
        wait = random.Random(i).uniform(0.1, 0.9) * seconds / 3
        time.sleep(wait)
        assert process.poll() is None, "it ended before it could be killed"
        process.send_signal(signal.SIGKILL)
        process.wait()
        journal = broken / f"{path.stem}.journal"
        print(f"killed after {wait:.1f} s with", journal.read_bytes().count(b"\n") if journal.exists() else 0, "lines")
    finished(start(path, broken, "--resume"))
    expected = {file.name: file.read_bytes() for file in whole.iterdir()}
    assert {file.name: file.read_bytes() for file in broken.iterdir()} == expected
    print(f"{minutes} minutes, unbroken in {seconds:.0f} s: {sorted(expected)} are identical")


def threads(*_: Any) -> None:
    model, speech = npwhisper.load_model(), min(map(load_audio, cases.recordings().values()), key=len)
    expected = model.transcribe(speech, temperature=0)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: model.transcribe(speech, temperature=0), range(160)))
    assert results == [expected] * 160
    print("160 results of 8 threads are equal:", repr(expected["text"]))


def resident() -> float:
    """Memory of this process now, in MB (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def repeats(*_: Any) -> None:
    model, speech = npwhisper.load_model(), min(map(load_audio, cases.recordings().values()), key=len)
    sizes = {}
    for i in range(1, 201):
        model.transcribe(speech, temperature=0)
        sizes[i] = resident()
    print(f"after 20: {sizes[20]:.1f} MB, after 100: {sizes[100]:.1f} MB, after 200: {sizes[200]:.1f} MB")
    assert sizes[200] <= 1.02 * sizes[20]


def forks(_: Path, __: int, times: int | None) -> None:
    model, speech = npwhisper.load_model(), min(map(load_audio, cases.recordings().values()), key=len)
    expected, stop, bad = npwhisper.log_mel_spectrogram(speech).tobytes(), threading.Event(), 0

    def busy() -> None:
        while not stop.is_set():
            model.transcribe(speech, temperature=0, sample_len=25)

    with ThreadPoolExecutor(2) as pool:
        working = [pool.submit(busy) for _ in range(2)]
        time.sleep(1)
        for _ in range(times or 300):
            bad += not _is_right_in_a_child(lambda: npwhisper.log_mel_spectrogram(speech).tobytes() == expected)
        stop.set()
        for thread in working:
            thread.result()
    print(f"{times or 300} forks while two threads transcribe: {bad} hung or computed something else")
    assert bad == 0


def _is_right_in_a_child(work: Callable[[], bool]) -> bool:
    """Whether `work` is true in a forked process, within 20 seconds."""
    if (pid := os.fork()) == 0:
        signal.alarm(20)
        os._exit(not work())
    return os.waitpid(pid, 0)[1] == 0


def kills(folder: Path, _: int, times: int | None) -> None:
    path, chance, killed, times = recording(folder, 2), random.Random(0), 0, times or 30
    whole, broken = folder / "whole", folder / "broken"
    for place in (whole, broken):
        place.mkdir()
    began = time.monotonic()
    finished(start(path, whole))
    seconds, expected = time.monotonic() - began, _visible(whole)
    while killed < times:
        n_runs = 2 if killed % 3 == 2 else 1
        processes = [start(path, broken, "--resume", quiet=True) for _ in range(n_runs)]
        time.sleep(chance.uniform(0.05, 1.0) * seconds)
        killed += any(process.poll() is None for process in processes)
        for process in processes:
            process.kill()
            process.wait()
        left = sorted(_visible(broken))
        finished(start(path, broken, "--resume"))
        assert _visible(broken) == expected, (killed, left)
        for file in broken.iterdir():
            file.unlink()
        print(f"kill {killed} of {n_runs} runs: left {[Path(name).suffix for name in left]}, then whole", flush=True)


def _visible(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if not file.name.startswith(".")}


def silence(*_: Any) -> None:
    t = np.arange(300 * SAMPLE_RATE, dtype=np.float32) / SAMPLE_RATE
    noise = np.random.default_rng(0).standard_normal(len(t)).astype(np.float32)
    notes = 220 * 2 ** (np.random.default_rng(1).integers(0, 12, 900) / 12)
    hz = notes[(3 * t).astype(int)]
    phase = 2 * np.pi * np.cumsum(hz) / SAMPLE_RATE
    sounds = {
        "silence": np.zeros_like(t),
        "white noise": 0.1 * noise,
        "mains hum": sum(0.2 / k * np.sin(2 * np.pi * 50 * k * t) for k in range(1, 10)) + 0.001 * noise,
        "tones": sum(0.1 / k * np.sin(k * r * phase) for k in range(1, 6) for r in (1, 1.25, 1.5)),
    }
    model = npwhisper.load_model()
    for name, sound in sounds.items():
        texts = {
            robust: model.transcribe(sound.astype(np.float32), temperature=0, robust=robust)["text"]
            for robust in (True, False)
        }
        print(f"{name}: robust {texts[True]!r}; by default {len(texts[False])} characters: {texts[False][:60]!r}")
        assert texts[True] == ""


SOAKS: dict[str, Callable[[Path, int, int | None], None]] = {
    f.__name__: f for f in (memory, resume, threads, repeats, forks, kills, silence)
}


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("names", nargs="*", metavar="NAME")
    p.add_argument("--minutes", type=int, default=180)
    p.add_argument("--times", type=int, help="of forks and kills")
    options = p.parse_args()
    for name in options.names or SOAKS:
        print(f"== {name}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            SOAKS[name](Path(folder), options.minutes, options.times)


if __name__ == "__main__":
    main()
