"""How many hours of recordings an hour of this machine transcribes, by jobs: ours, and faster-whisper's.

    python tests/benchmarks/corpus.py speed --jobs 1 2 4 8 16 --threads 16 --model FOLDER --out speed.json
    python tests/benchmarks/corpus.py speed --table speed.json

Every way to use the cores is a command of its own, its start included, and all take turns. A way gets `each` recordings
for each job (four times as many for one process of many threads), always copies of the same ones, so all commands take
about equally long, and what is compared is throughput. faster-whisper is measured where it is installed and the
model is a folder of CTranslate2's form. Rounds that would not fit into the minutes are left out.
"""

from __future__ import annotations

import itertools
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

HERE = Path(__file__).parent
OURS, THREADS, PROCESSES = "npwhisper", "faster-whisper", "faster-whisper, processes"
TICK = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
Rounds = list[dict[str, float]]


class Way(NamedTuple):
    """An engine, how many recordings it transcribes at a time, with how many threads each, how many windows at once."""

    engine: str
    jobs: int
    threads: int
    batch_size: int | None = None

    def count(self, each: int) -> int:
        """How many recordings this way gets."""
        return each * (self.jobs if self.threads == 1 else 4)

    def command(self, listed: Path, out: Path, model: str, cache: Path) -> list[str]:
        """What transcribes the recordings of a list, greedily and without fallback."""
        numbers = ["--jobs", str(self.jobs), "--threads", str(self.threads)]
        if self.engine != OURS:
            kind = ["--processes"] if self.engine == PROCESSES else []
            return [sys.executable, str(HERE / "corpus_peer.py"), str(listed), str(out), model, *numbers, *kind]
        where = [str(listed), "-o", str(out), "--model", model, "--weights_cache", str(cache), *numbers]
        quick = ["--beam_size", "None", "--temperature_increment_on_fallback", "None", "--verbose", "False"]
        return [sys.executable, "-m", "npwhisper", "corpus", *where, *quick, "--batch_size", str(self.batch_size)]


def ways(given: Any, has_peer: bool) -> list[Way]:
    """The longest curves that were asked for; the peer's processes only with the most jobs, and without batches."""
    counts = [(n, 1) for n in given.jobs] + [(1, n) for n in given.threads]
    found = list[Way]()
    for jobs, threads in counts:
        found += [Way(OURS, jobs, threads, size) for size in given.batch_size]
        found += [Way(THREADS, jobs, threads)] * has_peer
    return found + [Way(PROCESSES, max(given.jobs), 1)] * has_peer


def measure(folder: Path, talks: Path, given: Any, found: Sequence[Way], save: Callable[[Any], None]) -> None:
    """Let all ways take turns until the next round would end too late; save after every command."""
    rows: list[dict[str, Any]] = [{**way._asdict(), "rounds": []} for way in found]
    end = time.monotonic() + 60 * given.minutes
    for turn in itertools.count():
        begin = time.monotonic()
        for way, row in zip(found, rows, strict=True):
            row["rounds"].append(once(folder / f"turn {turn}", talks, way, given))
            print(f"round {turn}: {line(way, row['rounds'][-1:])}", flush=True)
            save([row for row in rows if row["rounds"]])
        if 2 * time.monotonic() - begin > end:
            return


def copy(talks: Path, times: int) -> None:
    """Make `times` folders that each hold the recordings of all folders of `talks`."""
    recordings = sorted(talks.rglob("*.flac"))
    for turn in range(times):
        (talks / f"copy {turn:03}").mkdir()
        for path in recordings:
            shutil.copy(path, talks / f"copy {turn:03}" / f"{turn:03} {path.name}")
    for path in recordings:
        path.unlink()


def once(folder: Path, talks: Path, way: Way, given: Any) -> dict[str, float]:
    """Seconds of one command, of processors and of audio."""
    recordings = sorted(talks.rglob("*.flac"))[: way.count(given.each)]
    out, listed = folder / " ".join(map(str, way)), folder / "some.list"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    listed.write_text("\n".join(map(str, recordings)), encoding="utf-8")
    environment = os.environ | {"OPENBLAS_NUM_THREADS": str(way.threads), "OMP_NUM_THREADS": str(way.threads)}
    begin = time.perf_counter()
    command = way.command(listed, out, given.model, folder.parent / "cache")
    process = subprocess.Popen(command, start_new_session=True, env=environment)
    processors = processor_seconds(process)
    seconds = time.perf_counter() - begin
    texts = [path.read_text(encoding="utf-8") for path in out.rglob("*.txt")]
    assert len(texts) == len(recordings), f"{way} ended with {process.returncode} and {len(texts)} transcripts"
    words = sum(len(text.split()) for text in texts)
    return {"seconds": seconds, "processors": processors, "recordings": len(recordings), "words": words}


def processor_seconds(process: subprocess.Popen[bytes]) -> float:
    """Wait for a command; the processor time of all processes of its session, as last seen of each."""
    spent: dict[str, float] = {}
    watcher = threading.Thread(target=_watch, args=(process, spent))
    watcher.start()
    process.wait()
    watcher.join()
    return sum(spent.values())


def _watch(process: subprocess.Popen[bytes], spent: dict[str, float]) -> None:
    while process.poll() is None:
        for status in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = status.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == process.pid:
                spent[status.parent.name] = (int(fields[11]) + int(fields[12])) / TICK
        time.sleep(0.1)


def speed(folder: Path, talks: Path, given: Any, has_peer: bool) -> dict[str, Any]:
    """Measure, write ``given.out`` as it goes, and return all of it."""
    from npwhisper.whisper.corpus.sharing import shared_weights

    shared_weights(given.model, folder / "cache")
    found = ways(given, has_peer)
    copy(talks, max(way.count(given.each) for way in found) // given.each)
    told = {"machine": machine(), "model": Path(given.model).name, "seconds of a recording": given.seconds}

    def save(rows: Any) -> None:
        told["rows"] = rows
        if given.out:
            Path(given.out).write_text(json.dumps(told, indent=1), encoding="utf-8")

    measure(folder, talks, given, found, save)
    return told


def machine() -> dict[str, Any]:
    """Whose figures these are."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if os.path.exists("/proc/cpuinfo") else []
    name = next((text.partition(":")[2].strip() for text in lines if text.startswith("model name")), "")
    versions = {"python": platform.python_version(), "numpy": np.__version__}
    return {"processor": name, "cores": os.cpu_count(), "load before": os.getloadavg()[0], **versions}


def middle(rounds: Rounds, name: str) -> float:
    """The median of the rounds, for each recording."""
    return statistics.median(seen[name] / seen["recordings"] for seen in rounds)


def line(way: Way, rounds: Rounds) -> str:
    """One way, in words."""
    pace, work = (middle(rounds, name) for name in ("seconds", "processors"))
    batch = "" if way.batch_size is None else f", batches of {way.batch_size}"
    return f"{way.engine}, {way.jobs} x {way.threads}{batch}: {pace:.3f} s a recording, {work:.3f} s of processors"


def table(result: dict[str, Any]) -> str:
    """Markdown: a row for each way, factors beside one job of ours."""
    length, rows = result["seconds of a recording"], result["rows"]
    one = middle(rows[0]["rounds"], "seconds")
    told = result["machine"]
    lines = [
        f"{result['model']}, recordings of {length:.0f} s, {told['cores']} cores ({told['processor']}), "
        f"NumPy {told['numpy']}, {len(rows[0]['rounds'])} rounds",
        "",
        "| | jobs | threads | batch | hours of audio an hour | times the first | processor seconds for one of audio |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        pace, work = (middle(row["rounds"], name) for name in ("seconds", "processors"))
        ours = f"{row['jobs']} | {row['threads']} | {row.get('batch_size') or ''}"
        numbers = f"{ours} | {length / pace:.1f} | {one / pace:.2f} | {work / length:.4f}"
        lines.append(f"| {row['engine']} | {numbers} |")
    return "\n".join(lines)


def table_of(path: str) -> str:
    """The table of a file that an earlier run wrote."""
    return table(json.loads(Path(path).read_text(encoding="utf-8")))
