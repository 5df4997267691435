"""Short recordings that share batches: each gives what it gives alone, and a broken one fails alone."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import cases
import numpy as np
import pytest
import soundfile
import talkers
from test_corpus import outputs, run, without_times
from transcripts import assert_equal

import npwhisper
from npwhisper.audio import LogMelStream
from npwhisper.transcription import batch
from npwhisper.transcription.output.writers import FORMATS
from npwhisper.whisper.corpus.forking import sharing_memory
from npwhisper.whisper.corpus.giving import carry_out
from npwhisper.whisper.corpus.groups import SHORT, in_groups
from npwhisper.whisper.corpus.job import Job
from npwhisper.whisper.corpus.recordings import Recording

pytest.importorskip("joblib", reason="pip install npwhisper[corpus]")


@pytest.fixture
def talks(tmp_path: Path) -> Path:
    """Six short recordings of which two are broken; one has several cuts, one is stereo."""
    folder = tmp_path / "talks"
    folder.mkdir()
    for i, seconds in enumerate([4, 7, 33, 2]):
        noise = 0.2 * np.random.default_rng(i).standard_normal((16000 * seconds, 1 + i // 3)).astype(np.float32)
        soundfile.write(folder / f"{'abcd'[i]}.flac", noise, 16000)
    (folder / "x_broken.wav").write_bytes(b"RIFF????WAVE")
    (folder / "y_empty.wav").write_bytes(b"")
    return folder


@pytest.fixture
def talker() -> npwhisper.Whisper:
    return talkers.talker(talkers.ENGLISH, seed=1)


def job(**options: Any) -> Job:
    return Job("", None, "", ("txt",), 1, options, {}, "", 60_000)


def test_only_short_recordings_share_batches_and_only_if_there_are_any(tmp_path: Path) -> None:
    sizes = [9, *[SHORT - 1] * 4, SHORT, 3 * SHORT]
    recordings = [Recording(str(tmp_path / str(i)), str(i)) for i in range(len(sizes))]
    for recording, size in zip(recordings, sizes, strict=True):
        with open(recording.path, "wb") as file:
            file.truncate(size)
    lengths = [len(group) for group in in_groups(recordings, job(batch_size=2))]
    assert lengths == [1, 1, 2, 2, 1]
    for options in ({}, {"batch_size": 1}, {"batch_size": 2, "channels": "separate"}):
        assert in_groups(recordings, job(**options)) == [
            *((r,) for r in recordings[-2:]),
            *((r,) for r in recordings[:-2]),
        ]


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0},
        pytest.param({"temperature": 0, "word_timestamps": True, "beam_size": 2}, marks=pytest.mark.slow),
        pytest.param({"temperature": (0, 0.6), "best_of": 2, "logprob_threshold": -0.5}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_each_gives_what_it_gives_alone(
    options: dict[str, Any], talks: Path, tmp_path: Path, talker: npwhisper.Whisper, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes, run_once = list[int](), batch.run_once
    monkeypatch.setattr(batch, "run_once", lambda model, some: (sizes.append(len(some)), run_once(model, some)))
    options = {"batch_size": 3, "sample_len": 20, **options}
    entries = run(talks, tmp_path / "out", talker, n_jobs=1, **options)
    assert max(sizes) == 3
    assert [entry["status"] for entry in entries] == ["done"] * 4 + ["failed"] * 2
    for entry in entries[:4]:
        alone = talker.transcribe(entry["path"], seed=0, **options)
        assert_equal(json.loads((tmp_path / "out" / f"{entry['name']}.json").read_bytes()), alone)
        assert (tmp_path / "out" / f"{entry['name']}.txt").read_text(encoding="utf-8") == FORMATS["txt"](alone)
    assert [entry["duration"] for entry in entries[:4]] == [4, 7, 33, 2]


def test_a_group_shares_its_time_by_duration_and_each_has_its_warnings(
    talks: Path, tmp_path: Path, talker: npwhisper.Whisper
) -> None:
    whole = (talks / "b.flac").read_bytes()
    (talks / "b.flac").write_bytes(whole[: len(whole) // 2])
    alone = run(talks, tmp_path / "alone", talker, n_jobs=1, batch_size=1)
    entries = run(talks, tmp_path / "out", talker, n_jobs=1, batch_size=6)
    done = [entry for entry in entries if entry["status"] == "done"]
    pace = [entry["seconds"] / entry["duration"] for entry in done]
    assert np.ptp(pace) <= 0.001
    assert min(pace) > 0
    assert [entry.get("warnings") for entry in entries] == [entry.get("warnings") for entry in alone]
    assert [bool(entry.get("warnings")) for entry in entries] == [False, True, False, False, False, False]
    assert [entry.get("error") for entry in entries] == [entry.get("error") for entry in alone]


def test_an_error_while_decoding_fails_one_recording(
    talks: Path, tmp_path: Path, talker: npwhisper.Whisper, monkeypatch: pytest.MonkeyPatch
) -> None:
    window, wrong = LogMelStream.window, LogMelStream(talks / "b.flac", 80).checksum

    def damaged(self: LogMelStream, start: int, size: int = 3000) -> Any:
        if self.checksum == wrong:
            raise ValueError("the window cannot be read")
        return window(self, start, size)

    monkeypatch.setattr(LogMelStream, "window", damaged)
    entries = run(talks, tmp_path / "out", talker, n_jobs=1, batch_size=3)
    assert [entry["status"] for entry in entries] == ["done", "failed", "done", "done", "failed", "failed"]
    assert entries[1]["error"] == "the window cannot be read"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills processes as POSIX does")
def test_a_worker_that_dies_in_a_group_costs_only_the_recording_that_killed_it(
    talks: Path, tmp_path: Path, talker: npwhisper.Whisper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("npwhisper.whisper.corpus.giving.carry_out", dies_on_b)
    with sharing_memory():
        entries = run(talks, tmp_path / "out", talker, n_jobs=2, batch_size=3)
    assert [entry["status"] for entry in entries] == ["done", "failed", "done", "done", "failed", "failed"]
    assert entries[1]["error"].startswith("the process transcribing it died twice")


def dies_on_b(units: Any, job: Any) -> Any:
    if "b" in [unit.name for unit in units] and multiprocessing.parent_process() is not None:
        os.kill(os.getpid(), signal.SIGKILL)
    return carry_out(units, job)


def test_what_is_left_of_a_group_is_done_in_another(talks: Path, tmp_path: Path, talker: npwhisper.Whisper) -> None:
    run(talks, tmp_path / "whole", talker, n_jobs=1, batch_size=2)
    (talks / "a.flac").rename(talks / "z.flac")
    run(talks, tmp_path / "out", talker, n_jobs=1, batch_size=2)
    (talks / "z.flac").rename(talks / "a.flac")
    done = list[str]()
    run(talks, tmp_path / "out", talker, n_jobs=1, batch_size=2, progress=lambda entry: done.append(entry["name"]))
    assert done == ["a"]
    texts = {name: text for name, text in outputs(tmp_path / "out").items() if name.endswith(".txt")}
    assert texts.pop("z.txt") == texts["a.txt"]
    assert texts.items() <= outputs(tmp_path / "whole").items()


@pytest.mark.slow
def test_any_number_of_processes_gives_the_same_files(talks: Path, tmp_path: Path, talker: npwhisper.Whisper) -> None:
    for name, n_jobs in (("one", 1), ("two", 2)):
        run(talks, tmp_path / name, talker, n_jobs=n_jobs, batch_size=2)
    assert outputs(tmp_path / "one") == outputs(tmp_path / "two") != {}
    assert without_times(tmp_path / "one") == without_times(tmp_path / "two")


@pytest.mark.slow
def test_short_recordings_of_real_speech(tmp_path: Path, model: npwhisper.Whisper) -> None:
    """Text and times of single calls; scores in the first five digits."""
    talks, options = sorted((cases.HERE / "data").glob("austen*.flac")), {"batch_size": 4, "word_timestamps": True}
    run([*talks], tmp_path / "out", model, n_jobs=1, sample_len=None, **options)
    for path in talks:
        alone = model.transcribe(path, seed=0, num_threads=1, temperature=0, **options)
        found = json.loads((tmp_path / "out" / f"{path.stem}.json").read_bytes())
        assert_equal(found, json.loads(FORMATS["json"](alone)))
        mine, theirs = ([segment["avg_logprob"] for segment in result["segments"]] for result in (found, alone))
        np.testing.assert_allclose(mine, theirs, rtol=1e-5)
