"""A long recording in parts for several processes: what a single call gives, or one sentence that says why not."""

from __future__ import annotations

import contextlib
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
from npwhisper.tracing.seam import Array
from npwhisper.transcription.output.writers import FORMATS
from npwhisper.whisper.corpus.forking import sharing_memory
from npwhisper.whisper.corpus.giving import carry_out
from npwhisper.whisper.corpus.parts import Part, Piece, edges_of

pytest.importorskip("joblib", reason="pip install npwhisper[corpus]")


def noise(seconds: int) -> Array:
    """Noise whose loudness changes, so that every part of it says something else."""
    rng = np.random.default_rng(5)
    samples = rng.standard_normal(16000 * seconds).astype(np.float32)
    return np.asarray(samples * np.repeat(rng.random(4 * seconds), 4000) * 0.3, np.float32)


@pytest.fixture
def talks(tmp_path: Path) -> Path:
    """A recording of four cuts and one of one, the longer of which has parts of two cuts."""
    folder = tmp_path / "talks"
    folder.mkdir()
    soundfile.write(folder / "long.flac", noise(95), 16000)
    soundfile.write(folder / "short.flac", noise(4), 16000)
    return folder


@pytest.fixture(autouse=True)
def parts_of_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("npwhisper.whisper.corpus.run.PART", 5000)


@pytest.mark.parametrize(
    ("cuts", "part", "edges"),
    [
        ([], 30, [0]),
        ([(0, 1000)], 30, [0, 1]),
        ([(0, 20), (20, 44)], 30, [0, 2]),
        ([(0, 20), (20, 40), (60, 65)], 30, [0, 2, 3]),
        ([(10 * i, 10 * i + 10) for i in range(9)], 30, [0, 3, 6, 9]),
    ],
)
def test_parts_are_whole_cuts_of_about_one_length(cuts: list[tuple[int, int]], part: int, edges: list[int]) -> None:
    assert edges_of(cuts, part) == edges


def parts_done(monkeypatch: pytest.MonkeyPatch) -> list[Part]:
    """The parts that this process transcribes."""
    done = list[Part]()
    from npwhisper.whisper.corpus import giving

    transcribe_part = giving.transcribe_part
    monkeypatch.setattr(giving, "transcribe_part", lambda part, job: (done.append(part), transcribe_part(part, job))[1])
    return done


@pytest.mark.parametrize(
    ("dims", "options"),
    [
        (talkers.ENGLISH, {}),
        pytest.param(talkers.MULTILINGUAL, {}, marks=pytest.mark.slow),
        (talkers.MULTILINGUAL, {"language": "auto-window"}),
        pytest.param(talkers.ENGLISH, {"temperature": 0.7, "best_of": 2}, marks=pytest.mark.slow),
        pytest.param(talkers.ENGLISH, {"word_timestamps": True, "prefix": "And"}, marks=pytest.mark.slow),
        pytest.param(talkers.ENGLISH, {"clip_timestamps": "3,50,60"}, marks=pytest.mark.slow),
    ],
)
def test_parts_give_what_a_single_call_gives(
    dims: Any, options: dict[str, Any], talks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, done = talkers.talker(dims), parts_done(monkeypatch)
    options = {"temperature": 0, "sample_len": 20, "batch_size": 1, **options}
    entry, _ = run(talks, tmp_path / "out", model, n_jobs=1, output_format="all", **options)
    assert [(part.first, part.end) for part in done] == [(0, 2), (2, 4)]
    result = model.transcribe(talks / "long.flac", seed=0, **options)
    assert len({segment["seek"] for segment in result["segments"]}) >= 4
    for ending, text in FORMATS.items():
        assert (tmp_path / "out" / f"long.{ending}").read_bytes() == text(result).encode()
    assert (entry["status"], entry["language"]) == ("done", result["language"])
    assert entry["duration"] == 95.0


def test_a_process_detects_the_language_once_and_opens_the_recording_once_for_all_its_parts(
    talks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from npwhisper.transcription import run as transcription

    detected, opened = list[str](), list[str]()
    language_of_windows, open_mel = transcription.language_of_windows, transcription.LogMelStream
    monkeypatch.setattr(
        transcription,
        "LogMelStream",
        lambda audio, *given, **more: (opened.append(audio), open_mel(audio, *given, **more))[1],
    )

    def counted(*arguments: Any) -> Any:
        found = language_of_windows(*arguments)
        detected.append(found[0])
        return found

    monkeypatch.setattr(transcription, "language_of_windows", counted)
    [entry] = run(talks / "long.flac", tmp_path / "out", talkers.talker(talkers.MULTILINGUAL), n_jobs=1, batch_size=1)
    assert detected == [entry["language"]]
    assert opened == [entry["path"]] * 2  # to find its parts, and for them


def test_without_batches_nothing_is_cut(talks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = parts_done(monkeypatch)
    run(talks / "long.flac", tmp_path / "out", talkers.talker(talkers.ENGLISH), n_jobs=1, batch_size=None)
    assert done == []


@pytest.mark.slow
@pytest.mark.parametrize("processes", [sharing_memory, contextlib.nullcontext])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_any_number_of_processes_gives_the_same_files(
    batch_size: int, processes: Any, talks: Path, tmp_path: Path
) -> None:
    model = talkers.talker(talkers.MULTILINGUAL)
    run(talks, tmp_path / "one", model, n_jobs=1, batch_size=batch_size)
    with processes():
        run(talks, tmp_path / "two", model, n_jobs=2, batch_size=batch_size)
    assert outputs(tmp_path / "one") == outputs(tmp_path / "two") != {}
    assert without_times(tmp_path / "one") == without_times(tmp_path / "two")


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 3])
def test_parts_of_real_speech(
    batch_size: int, tmp_path: Path, model: npwhisper.Whisper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same bits with single windows; with more, other rows are multiplied together at the edges of parts."""
    monkeypatch.setattr("npwhisper.whisper.corpus.run.PART", 2000)
    done, names = parts_done(monkeypatch), ("jfk", "sonnet")
    sounds = [npwhisper.load_audio(cases.HERE / "data" / f"{name}.flac") for name in names]
    soundfile.write(tmp_path / "speech.flac", np.concatenate(sounds), 16000)
    options: dict[str, Any] = {"temperature": 0, "batch_size": batch_size, "sample_len": None}
    run(tmp_path / "speech.flac", tmp_path / "out", model, n_jobs=1, word_timestamps=True, **options)
    assert len(done) >= 2
    alone = model.transcribe(tmp_path / "speech.flac", seed=0, num_threads=1, word_timestamps=True, **options)
    found = json.loads((tmp_path / "out" / "speech.json").read_bytes())
    assert len(found["text"].split()) > 80
    assert_equal(found, json.loads(FORMATS["json"](alone)))
    np.testing.assert_allclose(*(scores(result) for result in (found, alone)), rtol=0 if batch_size == 1 else 1e-5)


def scores(result: Any) -> list[float]:
    return [segment["avg_logprob"] for segment in result["segments"]]


def test_a_part_that_fails_fails_its_recording(talks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failure = Piece([], [], [], 0.25, "the second part cannot be transcribed")
    from npwhisper.whisper.corpus import giving

    transcribe_part = giving.transcribe_part
    monkeypatch.setattr(
        giving, "transcribe_part", lambda part, job: failure if part.first else transcribe_part(part, job)
    )
    long, short = run(talks, tmp_path / "out", talkers.talker(talkers.ENGLISH), n_jobs=1, batch_size=1)
    assert (long["status"], long["error"], short["status"]) == ("failed", failure.error, "done")
    assert long["seconds"] > 0.25
    assert set(outputs(tmp_path / "out")) == {"short.txt", "short.json"}


def test_a_recording_that_changes_between_its_parts_fails(
    talks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(talks / "other.flac", noise(95)[::-1], 16000)

    def changed(units: Any, job: Any) -> Any:
        if isinstance(units[0], Part):
            os.replace(talks / "other.flac", talks / "long.flac")
            monkeypatch.undo()
        return carry_out(units, job)

    monkeypatch.setattr("npwhisper.whisper.corpus.giving.carry_out", changed)
    model = talkers.talker(talkers.ENGLISH)
    [entry] = run(talks / "long.flac", tmp_path / "out", model, n_jobs=1, batch_size=1)
    assert entry["error"] == "the recording was changed while it was transcribed: run again"
    assert outputs(tmp_path / "out") == {}
    [entry] = run(talks / "long.flac", tmp_path / "out", model, n_jobs=1, batch_size=1)
    assert entry["status"] == "done"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills processes as POSIX does")
@pytest.mark.parametrize("processes", [sharing_memory, contextlib.nullcontext])
def test_a_worker_that_dies_costs_a_part_only_time(
    processes: Any, talks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = talkers.talker(talkers.ENGLISH)
    run(talks, tmp_path / "whole", model, n_jobs=1, batch_size=1)
    monkeypatch.setattr("npwhisper.whisper.corpus.giving.carry_out", dies_once)
    with processes():
        run(talks, tmp_path / "out", model, n_jobs=2, batch_size=1)
    assert (tmp_path / "out" / ".died").exists()
    assert outputs(tmp_path / "out") == outputs(tmp_path / "whole") != {}
    assert without_times(tmp_path / "out") == without_times(tmp_path / "whole")


def dies_once(units: Any, job: Any) -> Any:
    mark = Path(job.folder) / ".died"
    is_mine = isinstance(units[0], Part) and units[0].first and multiprocessing.parent_process() is not None
    if is_mine and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return carry_out(units, job)


def test_a_run_that_is_stopped_between_parts_does_the_recording_again(
    talks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = talkers.talker(talkers.ENGLISH)
    run(talks, tmp_path / "whole", model, n_jobs=1, batch_size=1)

    def interrupted(units: Any, job: Any) -> Any:
        if isinstance(units[0], Part):
            os.kill(os.getpid(), signal.SIGINT)
            monkeypatch.undo()
        return carry_out(units, job)

    monkeypatch.setattr("npwhisper.whisper.corpus.giving.carry_out", interrupted)
    entries = run(talks, tmp_path / "out", model, n_jobs=1, batch_size=1)
    assert [entry["name"] for entry in entries] == ["short"]
    assert set(outputs(tmp_path / "out")) == {"short.txt", "short.json"}
    monkeypatch.setattr("npwhisper.whisper.corpus.run.PART", 5000)
    run(talks, tmp_path / "out", model, n_jobs=1, batch_size=1)
    assert outputs(tmp_path / "out") == outputs(tmp_path / "whole") != {}
    assert without_times(tmp_path / "out") == without_times(tmp_path / "whole")
