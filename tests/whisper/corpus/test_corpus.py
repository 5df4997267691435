"""A corpus: what belongs to it, that results do not depend on how it is run, and that nothing is lost."""

from __future__ import annotations

import contextlib
import io
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import talkers

import npwhisper
from npwhisper.transcription.output.writers import FORMATS
from npwhisper.whisper.corpus import forking
from npwhisper.whisper.corpus.forking import sharing_memory
from npwhisper.whisper.corpus.lock import locked
from npwhisper.whisper.corpus.manifest import Manifest, read_manifest
from npwhisper.whisper.corpus.recordings import CorpusError, find_recordings
from npwhisper.whisper.corpus.run import transcribe_corpus

pytest.importorskip("joblib", reason="pip install npwhisper[corpus]")

ROOT = Path(__file__).parents[3]
OPTIONS: dict[str, Any] = {"temperature": 0, "sample_len": 20}


@pytest.fixture(scope="module")
def model() -> npwhisper.Whisper:
    return talkers.talker(talkers.ENGLISH)


@pytest.fixture
def talks(tmp_path: Path) -> Path:
    """A folder of five recordings, one of them broken, beside files that are none."""
    folder = tmp_path / "talks"
    for i, name in enumerate(["a.wav", "b.flac", "year/c.wav", "year/ü 'x'\n.wav"]):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(i).standard_normal(8000 * (i + 1)).astype(np.float32)
        soundfile.write(path, 0.1 * noise, 16000)
    (folder / "broken.wav").write_bytes(b"RIFF????WAVE")
    (folder / "notes.txt").write_text("no recording")
    (folder / ".hidden.wav").write_bytes(b"")
    return folder


def run(talks: Path, out: Path, model: Any, **options: Any) -> list[dict[str, Any]]:
    return transcribe_corpus(talks, out, model, weights_cache=out.parent / "cache", **{**OPTIONS, **options})


def outputs(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files if path.suffix != ".jsonl"}


def without_times(folder: Path) -> list[dict[str, Any]]:
    entries = map(json.loads, (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines())
    return [{key: value for key, value in entry.items() if key != "seconds"} for entry in entries]


def test_folders_keep_their_structure_and_hidden_files_stay_out(talks: Path) -> None:
    names = [recording.name for recording in find_recordings([talks])]
    assert names == ["a", "b", "broken", "year/c", "year/ü 'x'\n"]


def test_patterns_lists_and_standard_input(talks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [r.name for r in find_recordings([f"{talks}/**/*.wav"])] == ["a", "broken", "year/c", "year/ü 'x'\n"]
    text = f"# two talks\n{talks}/a.wav\n{talks}/year/c.wav\n"
    (talks / "some.list").write_text(text)
    assert [r.name for r in find_recordings([talks / "some.list"])] == ["a", "year/c"]
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    assert [r.name for r in find_recordings(["-"])] == ["a", "year/c"]


def test_a_list_may_come_from_windows(talks: Path) -> None:
    (talks / "some.list").write_bytes(b"\xef\xbb\xbf" + f"{talks}/a.wav\r\n\r\n{talks}/b.flac\r\n".encode())
    assert [r.name for r in find_recordings([talks / "some.list"])] == ["a", "b"]


def test_a_list_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "some.list").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CorpusError, match=r"some.list' is not UTF-8 text: write one path per line"):
        find_recordings([tmp_path / "some.list"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_threads": 0}, "the number of threads must be at least 1, got 0"),
        ({"n_jobs": 0}, "the number of jobs must be at least 1, got 0"),
        ({"journal": "a.journal"}, "a journal belongs to one recording: leave it out"),
        ({"language": "xx"}, "unknown language 'xx'"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"output_format": "pdf"}, "unknown output format"),
    ],
)
def test_a_wrong_option_ends_the_run_before_any_recording(
    options: dict[str, Any], message: str, talks: Path, tmp_path: Path, model: npwhisper.Whisper
) -> None:
    with pytest.raises(ValueError, match=message):
        run(talks, tmp_path / "out", model, **options)
    assert not (tmp_path / "out" / "manifest.jsonl").exists()


def test_recordings_of_one_name_keep_their_endings(talks: Path) -> None:
    shutil.copy(talks / "a.wav", talks / "a.flac")
    assert [r.name for r in find_recordings([talks / "a.wav", talks / "a.flac"])] == ["a.flac", "a.wav"]


def test_recordings_that_would_share_a_transcript_are_refused(talks: Path) -> None:
    shutil.copy(talks / "a.wav", talks / "year" / "a.wav")
    with pytest.raises(CorpusError, match=r"would share the name 'a.wav'"):
        find_recordings([talks / "a.wav", talks / "year" / "a.wav"])


@pytest.mark.parametrize(
    ("given", "message"),
    [("nowhere", "no file or folder 'nowhere'"), ("*.nothing", "contains no recording"), (os.devnull, "is not a file")],
)
def test_inputs_that_hold_nothing_are_refused(given: str, message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        find_recordings([given])


def test_a_corpus_gives_what_single_calls_give(talks: Path, tmp_path: Path, model: npwhisper.Whisper) -> None:
    entries = run(talks, tmp_path / "out", model, n_jobs=1, output_format="all")
    result = model.transcribe(talks / "a.wav", seed=0, **OPTIONS)
    for ending, text in FORMATS.items():
        assert (tmp_path / "out" / f"a.{ending}").read_bytes() == text(result).encode()
    assert [entry["status"] for entry in entries] == ["done", "done", "failed", "done", "done"]
    assert "broken" in entries[2]["error"] or entries[2]["error"]
    assert entries[0]["duration"] == 0.5
    assert entries[0]["language"] == "en"


def test_processes_give_the_same_files(talks: Path, tmp_path: Path, model: npwhisper.Whisper) -> None:
    run(talks, tmp_path / "one", model, n_jobs=1)
    run(talks, tmp_path / "two", model, n_jobs=2)
    assert outputs(tmp_path / "one") == outputs(tmp_path / "two") != {}
    assert without_times(tmp_path / "one") == without_times(tmp_path / "two")


def test_what_is_done_is_skipped_and_what_changed_is_done_again(
    talks: Path, tmp_path: Path, model: npwhisper.Whisper
) -> None:
    out, done = tmp_path / "out", list[str]()

    def names(**options: Any) -> list[str]:
        done.clear()
        run(talks, out, model, n_jobs=1, progress=lambda entry: done.append(entry["name"]), **options)
        return sorted(done)

    assert len(names()) == 5
    assert names() == []
    assert names(retry_failed=True) == ["broken"]
    (out / "b.txt").unlink()
    assert names() == ["b"]
    os.utime(talks / "a.wav", (1, 1))
    assert names() == []  # the same bytes
    soundfile.write(talks / "a.wav", np.zeros(4000, np.float32), 16000)
    assert names() == ["a"]
    assert len(names(sample_len=5)) == 5


@pytest.mark.slow
def test_the_largest_files_come_first(talks: Path, tmp_path: Path, model: npwhisper.Whisper) -> None:
    done = list[str]()
    run(talks, tmp_path / "out", model, n_jobs=1, progress=lambda entry: done.append(entry["path"]))
    assert len(done) == 5
    assert done == sorted(done, key=os.path.getsize, reverse=True) != sorted(done)


def test_a_torn_manifest_is_read_up_to_the_tear(talks: Path, tmp_path: Path, model: npwhisper.Whisper) -> None:
    out = tmp_path / "out"
    run(talks, out, model, n_jobs=1)
    whole = without_times(out)
    with open(out / "manifest.jsonl", "ab") as file:
        file.write(b'{"path": "torn')
    assert len(read_manifest(out / "manifest.jsonl")) == 5
    run(talks, out, model, n_jobs=1)
    assert without_times(out) == whole


@pytest.mark.parametrize("line", [b"[]\n", b"{}\n", b"nonsense\n", b"[" * 9999 + b"\n", b'{"path": []}\n'])
def test_a_manifest_that_is_none_is_refused(line: bytes, tmp_path: Path) -> None:
    (tmp_path / "manifest.jsonl").write_bytes(line)
    with pytest.raises(CorpusError, match=r"line 1 of .* is not a manifest entry"):
        read_manifest(tmp_path / "manifest.jsonl")


def test_a_folder_has_one_writer(talks: Path, tmp_path: Path, model: npwhisper.Whisper) -> None:
    with locked(tmp_path / "out"), pytest.raises(CorpusError, match="another process is writing"):
        run(talks, tmp_path / "out", model)


def test_a_full_disk_leaves_a_valid_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = Manifest(tmp_path)
    manifest.add({"path": "a"})

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CorpusError, match=r"No space left on device\): free some space"):
        manifest.add({"path": "b"})
    assert list(read_manifest(manifest.path)) == ["a"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills processes as POSIX does")
@pytest.mark.parametrize("processes", [sharing_memory, pytest.param(contextlib.nullcontext, marks=pytest.mark.slow)])
def test_a_worker_that_dies_costs_only_its_recording(
    processes: Any, talks: Path, tmp_path: Path, model: npwhisper.Whisper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("npwhisper.whisper.corpus.giving.carry_out", dies_on_b)
    with processes():
        entries = {entry["name"]: entry for entry in run(talks, tmp_path / "out", model, n_jobs=2)}
    assert entries.pop("b")["error"].startswith("the process transcribing it died twice")
    assert [entry["status"] for entry in entries.values()] == ["done", "failed", "done", "done"]


def dies_on_b(units: Any, job: Any) -> Any:
    from npwhisper.whisper.corpus.giving import carry_out

    if "b" in [unit.name for unit in units] and multiprocessing.parent_process() is not None:
        os.kill(os.getpid(), signal.SIGKILL)
    return carry_out(units, job)


SCRIPT = """
    import contextlib, talkers
    from npwhisper.whisper.corpus.forking import sharing_memory
    from npwhisper.whisper.corpus.run import transcribe_corpus
    with {processes}():
        transcribe_corpus({talks!r}, {out!r}, talkers.talker(talkers.ENGLISH), n_jobs=2, weights_cache={cache!r},
                          temperature=0, sample_len=20, progress=lambda entry: print(entry["name"], flush=True))
"""
PROCESSES = ["sharing_memory", pytest.param("contextlib.nullcontext", marks=pytest.mark.slow)]  # forked ones, loky's


def start(talks: Path, out: Path, processes: str) -> subprocess.Popen[str]:
    given = {"talks": str(talks), "out": str(out), "cache": str(out.parent / "cache"), "processes": processes}
    code = textwrap.dedent(SCRIPT).format_map(given)
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support")])
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,
    )  # fmt: skip


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills processes as POSIX does")
@pytest.mark.parametrize("processes", PROCESSES)
@pytest.mark.parametrize("end", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_run_that_is_stopped_goes_on_where_it_ended(
    talks: Path, tmp_path: Path, model: npwhisper.Whisper, end: signal.Signals, processes: str
) -> None:
    run(talks, tmp_path / "whole", model, n_jobs=1)
    out = tmp_path / "stopped"
    process = start(talks, out, processes)
    assert process.stdout is not None
    process.stdout.readline()
    os.killpg(process.pid, end)  # as Ctrl-C in a terminal does: every process of the run
    process.communicate(timeout=300)
    assert set(read_manifest(out / "manifest.jsonl"))
    wait_for(lambda: not _is_locked(out))
    run(talks, out, model, n_jobs=1)
    assert outputs(out) == outputs(tmp_path / "whole")
    assert without_times(out) == without_times(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are forked on Linux only")
@pytest.mark.parametrize("rate", [16000, 44100])
def test_the_resampler_is_loaded_once_for_all_processes_if_they_need_it(
    rate: int, talks: Path, tmp_path: Path, model: npwhisper.Whisper, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = list[int]()
    monkeypatch.setattr(forking, "resample", lambda samples, rate, sr: loaded.append(rate))
    soundfile.write(talks / "b.flac", np.zeros(rate, np.float32), rate)
    with sharing_memory():
        run(talks, tmp_path / "forked", model, n_jobs=2)
    assert bool(loaded) is (rate != 16000)
    run(talks, tmp_path / "one", model, n_jobs=1)
    assert outputs(tmp_path / "forked") == outputs(tmp_path / "one") != {}
    assert len(loaded) <= 1  # without forking nothing is loaded for others


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are forked on Linux only")
def test_a_header_that_crashes_its_reader_does_not_end_the_run(
    talks: Path, tmp_path: Path, model: npwhisper.Whisper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forking, "_has_another_rate", lambda path: os.kill(os.getpid(), signal.SIGKILL))
    with sharing_memory():
        entries = run(talks, tmp_path / "out", model, n_jobs=2)
    assert [entry["status"] for entry in entries] == ["done", "done", "failed", "done", "done"]


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc; processes are forked on Linux only")
def test_forked_processes_end_with_their_parent(talks: Path, tmp_path: Path) -> None:
    process = start(talks, tmp_path / "out", "sharing_memory")
    assert process.stdout is not None
    process.stdout.readline()
    assert len(_session(process.pid)) > 2  # the command and its jobs
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=300)
    wait_for(lambda: not _session(process.pid))


def _session(leader: int) -> list[int]:
    """The processes of a session that have not ended."""
    found = list[int]()
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, session = status.read_text().rpartition(")")[2].split()[:4]
            found += [int(status.parent.name)] * (int(session) == leader and state != "Z")
    return found


def _is_locked(folder: Path) -> bool:
    try:
        with locked(folder):
            return False
    except CorpusError:
        return True


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
