"""What a corpus must stand, too slow for the tests, on recordings cut out of the tests' speech.

    python tests/benchmarks/corpus.py same       200 recordings: 1 and 2 jobs, Dask, Ray and single calls agree
    python tests/benchmarks/corpus.py kill       killed at five moments and continued: the same manifest and files
    python tests/benchmarks/corpus.py memory     proportional memory of 1 and of 4 processes
    python tests/benchmarks/corpus.py speed      throughput by jobs, beside one process of threads and faster-whisper
    python tests/benchmarks/corpus.py spread     one long recording, shared by more and more jobs

Options: ``--help``; `corpus_speed.py` says what is measured. Models of random weights need no download: ``--model
random`` is the smallest, ``random-tiny`` and ``random-base`` have official sizes.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[2] / place) for place in (".", "tests/benchmarks", "tests/support")]

import cases
import corpus_speed
import numpy as np
import soundfile
import talkers

import npwhisper
from npwhisper.checkpoint import Checkpoint, write_checkpoint
from npwhisper.transcription.output.writers import FORMATS
from npwhisper.whisper.corpus.manifest import FILE
from npwhisper.whisper.corpus.run import transcribe_corpus
from npwhisper.whisper.corpus.sharing import shared_weights

RATE = 16_000
OPTIONS: dict[str, Any] = {"temperature": 0, "beam_size": None, "batch_size": None}
RANDOM = {
    "random": talkers.ENGLISH,
    "random-tiny": npwhisper.ModelDimensions(80, 1500, 384, 6, 4, 51864, 448, 384, 6, 4),
    "random-base": npwhisper.ModelDimensions(80, 1500, 512, 8, 6, 51865, 448, 512, 8, 6),
}


def made(folder: Path, name: str) -> str:
    """A model's name, or the file of random weights that it stands for."""
    if name not in RANDOM:
        return name
    model, path = talkers.talker(RANDOM[name]), folder / f"{name}.safetensors"
    write_checkpoint(path, Checkpoint(vars(model.dims), dict(model.weights), model.alignment_heads), "float32")
    return str(path)


def make(folder: Path, count: int, hours: float, length: float | None = None) -> None:
    """Recordings of 1 s to 5 min cut out of real speech, five broken ones, two hostile names, and one of hours.

    With a `length` in seconds there are only `count` recordings of that length.
    """
    rng = random.Random(0)
    sounds = [npwhisper.load_audio(path) for path in sorted((cases.HERE / "data").glob("*.flac"))]
    speech = np.concatenate([np.pad(sound, (0, RATE)) for sound in sounds])
    for i in range(count - 8 if length is None else count):
        seconds = length or min(300.0, rng.lognormvariate(2.3, 1.0) + 1)
        start = rng.randrange(len(speech))
        samples = np.take(speech, range(start, start + int(seconds * RATE)), mode="wrap")
        path = folder / f"part{i % 7}" / f"{i:03}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples, RATE)
    if length is None:
        make_hostile(folder, speech, hours)


def make_hostile(folder: Path, speech: Any, hours: float) -> None:
    for i in range(5):
        (folder / f"broken{i}.wav").write_bytes([b"", b"RIFF", b"no sound" * 99, b"fLaC" + bytes(40), b"OggS" * 9][i])
    for name in ("new\nline.flac", "--model=x;$(reboot) 'ü'.flac"):
        soundfile.write(folder / name, speech[: 3 * RATE], RATE)
    with soundfile.SoundFile(folder / "long.flac", "w", RATE, 1) as file:
        for _ in range(int(hours * 3600 * RATE / len(speech)) if hours else 1):
            file.write(speech if hours else speech[: 20 * RATE])


def files(folder: Path) -> dict[str, bytes]:
    """The transcripts, and the manifest without times."""
    found = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name[0] != "."}
    lines = [json.loads(line) for line in found[FILE].splitlines()]
    found[FILE] = "\n".join(json.dumps({k: v for k, v in line.items() if k != "seconds"}) for line in lines).encode()
    return found


def run(talks: Path, out: Path, model: str, **options: Any) -> None:
    begin = time.perf_counter()
    entries = transcribe_corpus(talks, out, model, weights_cache=out.parent / "cache", **{**OPTIONS, **options})
    audio = sum(entry.get("duration", 0) for entry in entries)
    seconds = time.perf_counter() - begin
    failed = sum(entry["status"] == "failed" for entry in entries)
    print(
        f"{out.name}: {len(entries)} recordings, {failed} failed, {audio:.0f} s of audio in {seconds:.1f} s", flush=True
    )


def same(folder: Path, talks: Path, given: argparse.Namespace) -> None:
    """Every way to run the corpus gives the same bytes."""
    run(talks, folder / "one job", given.model, n_jobs=1)
    expected = files(folder / "one job")
    run(talks, folder / "two jobs", given.model, n_jobs=2)
    for name in ("dask", "ray"):
        with cluster(name):
            run(talks, folder / name, given.model, n_jobs=2)
    for name in ("two jobs", "dask", "ray"):
        found = files(folder / name)
        different = sorted(path for path in expected.keys() | found.keys() if expected.get(path) != found.get(path))
        print(f"{name}: {len(found)} files, different: {different[:5] or 'none'}", flush=True)
    model, wrong = npwhisper.load_model(given.model), []
    recordings = sorted(talks.rglob("*.flac"))
    for path in recordings:
        name = path.relative_to(talks).with_suffix("")
        result = model.transcribe(path, seed=0, num_threads=1, **OPTIONS)
        texts = {f"{name}.{form}": FORMATS[form](result).encode() for form in ("txt", "json")}
        wrong += [name for name, text in texts.items() if not is_same(name, text, expected[name])]
    print(f"{len(recordings)} single calls: different: {wrong or 'none'}", flush=True)


def is_same(name: str, one: bytes, other: bytes) -> bool:
    """Whether two files are the same bytes; in batches, whether all numbers agree in their first five digits."""
    if (OPTIONS["batch_size"] or 1) == 1:
        return one == other
    number = re.compile(rb"-?\d+\.\d+(?:e-\d+)?")
    values = [np.array(number.findall(text), float) for text in (one, other)]
    last_digit = 1.01e-4 if name == FILE else 0.0
    return number.sub(b"", one) == number.sub(b"", other) and np.allclose(*values, rtol=1e-5, atol=last_digit)


@contextlib.contextmanager
def cluster(name: str) -> Any:
    import joblib

    if name == "dask":
        import distributed

        options: dict[str, Any] = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
        with (
            distributed.LocalCluster(protocol="tcp://", **options) as workers,
            distributed.Client(workers),
            joblib.parallel_config(backend="dask"),
        ):
            yield
    else:
        import ray
        from ray.util.joblib import register_ray

        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        register_ray()
        with joblib.parallel_config(backend="ray"):
            yield
        ray.shutdown()


def command(talks: Path, out: Path, model: str, jobs: int) -> list[str]:
    where = [str(talks), "-o", str(out), "--model", model, "--weights_cache", str(out.parent / "cache")]
    quick = ["--beam_size", "None", "--temperature_increment_on_fallback", "None", "--verbose", "False"]
    batch = ["--batch_size", str(OPTIONS["batch_size"])]
    return [sys.executable, "-m", "npwhisper", "corpus", *where, *quick, *batch, "--jobs", str(jobs)]


def kill(folder: Path, talks: Path, given: argparse.Namespace) -> None:
    """End a run with SIGKILL at five moments, continue it each time, and compare with one that was left alone."""
    begin = time.perf_counter()
    subprocess.run(command(talks, folder / "whole", given.model, 2), check=False, capture_output=True)
    whole, rng = time.perf_counter() - begin, random.Random(1)
    for _ in range(5):
        wait = rng.uniform(2, max(3, whole / 4))
        process = subprocess.Popen(
            command(talks, folder / "killed", given.model, 2), start_new_session=True, stderr=subprocess.DEVNULL
        )
        time.sleep(wait)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        manifest = folder / "killed" / FILE
        done = len(manifest.read_bytes().splitlines()) if manifest.exists() else 0
        print(f"killed after {wait:.1f} s: {done} entries", flush=True)
        time.sleep(1)
    subprocess.run(command(talks, folder / "killed", given.model, 2), check=False, capture_output=True)
    killed, whole_files = files(folder / "killed"), files(folder / "whole")
    wrong = [name for name in whole_files if not is_same(name, killed.get(name, b""), whole_files[name])]
    is_all = killed.keys() == whole_files.keys() and not wrong
    print("the same" if is_all else f"DIFFERENT: {wrong}", flush=True)


def memory(folder: Path, talks: Path, given: argparse.Namespace) -> None:
    """The largest sum of the proportional set sizes of all processes of a run, once the shared weights are made."""
    shared_weights(given.model, folder / "cache")
    one, four = (peak_of(folder, talks, given.model, jobs) for jobs in (1, 4))
    print(f"4 jobs / 1 job: {four / one:.2f}", flush=True)


def peak_of(folder: Path, talks: Path, model: str, jobs: int) -> float:
    """MB of a run with so many jobs."""
    process = subprocess.Popen(command(talks, folder / f"{jobs} jobs", model, jobs), start_new_session=True)
    peak = [0.0]
    watcher = threading.Thread(target=watch, args=(process, peak))
    watcher.start()
    process.wait()
    watcher.join()
    print(f"{jobs} jobs: {peak[0]:.0f} MB of proportional memory", flush=True)
    return peak[0]


def watch(process: subprocess.Popen[bytes], peak: list[float]) -> None:
    while process.poll() is None:
        total = 0.0
        for status in Path("/proc").glob("[0-9]*/smaps_rollup"):
            with contextlib.suppress(OSError, ValueError, IndexError):
                if os.getsid(int(status.parent.name)) == process.pid:
                    total += int(status.read_text().split("Pss:")[1].split()[0]) / 1024
        peak[0] = max(peak[0], total)
        time.sleep(0.1)


def speed(folder: Path, talks: Path, given: argparse.Namespace) -> None:
    """Throughput of more and more jobs, of one process of many threads, and of faster-whisper."""
    has_peer = importlib.util.find_spec("faster_whisper") is not None and Path(given.model, "model.bin").is_file()
    result = corpus_speed.speed(folder, talks, given, has_peer)
    print(corpus_speed.table(result), flush=True)


def spread(folder: Path, talks: Path, given: argparse.Namespace) -> None:
    """One recording of `seconds`: how long each number of jobs takes, in turns, and how long on all processors."""
    shared_weights(given.model, folder / "cache")
    end = time.monotonic() + 60 * given.minutes
    for turn in itertools.count():
        begin = time.monotonic()
        for jobs in given.jobs:
            start, out = time.perf_counter(), folder / f"{turn} {jobs}"
            process = subprocess.Popen(command(talks, out, given.model, jobs), start_new_session=True)
            processors = corpus_speed.processor_seconds(process)
            print(f"{jobs} jobs: {time.perf_counter() - start:.1f} s, {processors:.1f} s of processors", flush=True)
        if 2 * time.monotonic() - begin > end:
            return


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description="Try a corpus.")
    p.add_argument("what", choices=("same", "kill", "memory", "speed", "spread"))
    p.add_argument("--count", type=int, default=200, help="recordings, of 1 s to 5 min")
    p.add_argument("--hours", type=float, default=0.0, help="of the longest recording")
    p.add_argument("--model", default="tiny.en")
    p.add_argument("--seconds", type=float, help="only recordings of this length; speed: 60, spread: 1800 unless given")
    p.add_argument("--batch_size", type=int, nargs="+", default=[None], help="speed: several are compared")
    p.add_argument("--jobs", type=int, nargs="+", default=[1, 2], help="speed, spread: jobs of one thread")
    p.add_argument("--threads", type=int, nargs="*", default=[], help="speed: also one job of so many threads")
    p.add_argument("--each", type=int, default=6, help="speed: recordings for each job")
    p.add_argument("--minutes", type=float, default=5.0, help="speed, spread: no round begins that would end later")
    p.add_argument("--out", help="speed: a JSON file for all rounds")
    p.add_argument("--table", help="speed: only print the table of such a file")
    return p


def main() -> None:
    given = parser().parse_args()
    if given.table:
        print(corpus_speed.table_of(given.table))
        return
    if given.what == "speed":
        given.seconds = given.seconds or 60.0
        given.count = given.each
    if given.what == "spread":
        given.seconds, given.count = given.seconds or 1800.0, 1
    OPTIONS["batch_size"] = given.batch_size[0]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "talks").mkdir()
        given.model = made(folder, given.model)
        make(folder / "talks", given.count, given.hours, given.seconds)
        globals()[given.what](folder, folder / "talks", given)


if __name__ == "__main__":
    main()
