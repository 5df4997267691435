"""`npwhisper corpus` and `npwhisper report`, as they are typed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import talkers
from test_corpus import outputs, talks  # noqa: F401 (a fixture)

from npwhisper.__main__ import main
from npwhisper.checkpoint import Checkpoint, write_checkpoint
from npwhisper.whisper.corpus import run
from npwhisper.whisper.corpus.manifest import read_manifest

pytest.importorskip("joblib", reason="pip install npwhisper[corpus]")

ROOT = Path(__file__).parents[3]


def corpus(talks: Path, out: Path, model: Path, *more: str) -> int:  # noqa: F811
    where = ["--output_dir", str(out), "--model", str(model), "--weights_cache", str(out.parent / "cache")]
    quick = ["--beam_size", "None", "--temperature_increment_on_fallback", "None", "--jobs", "1"]
    return main(["corpus", str(talks), *where, *quick, *more])


def test_a_corpus_from_the_command_line(
    talks: Path,  # noqa: F811
    tmp_path: Path,
    talker_file: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    assert corpus(talks, out, talker_file, "--output_format", "srt", "tsv") == 1  # one recording is broken
    told = capsys.readouterr()
    assert "4 recordings done, 1 failed" in told.out
    assert "broken.wav" in told.err
    assert "5/5" in told.err
    assert {Path(name).suffix for name in outputs(out)} == {".srt", ".tsv"}
    assert "year/c.srt" in outputs(out)

    before = outputs(out)
    assert corpus(talks, out, talker_file, "--output_format", "srt", "tsv") == 1
    assert capsys.readouterr().err.count("recording/s") == 0  # nothing is left to do
    assert corpus(talks, out, talker_file, "--output_format", "srt", "tsv", "--verbose", "False", "--best_of", "2") == 1
    assert capsys.readouterr().err.count("recording/s") == 0
    assert outputs(out) == before

    assert main(["report", str(out), "--export", str(tmp_path / "table.csv")]) == 0
    assert capsys.readouterr().out.startswith("5 recordings: 4 done, 1 failed")
    assert len((tmp_path / "table.csv").read_text(encoding="utf-8").splitlines()) >= 6


@pytest.mark.filterwarnings("always:the model is English-only")
def test_an_english_model_ignores_another_language(
    talks: Path,  # noqa: F811
    tmp_path: Path,
    talker_file: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert corpus(talks / "a.wav", tmp_path / "out", talker_file, "--language", "de") == 0
    assert "npwhisper: the model is English-only: language 'de' is ignored" in capsys.readouterr().err
    assert [entry["language"] for entry in read_manifest(tmp_path / "out" / "manifest.jsonl").values()] == ["en"]


def test_a_language_that_the_vocabulary_lacks_ends_the_run(
    talks: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model, path = talkers.talker(talkers.MULTILINGUAL), tmp_path / "talker.safetensors"
    write_checkpoint(path, Checkpoint(vars(model.dims), dict(model.weights), model.alignment_heads), "float32")
    assert corpus(talks, tmp_path / "out", path, "--language", "yue") == 1
    assert "yue" in capsys.readouterr().err
    assert not (tmp_path / "out" / "manifest.jsonl").exists()


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are forked on Linux only")
def test_processes_forked_from_one_give_the_same_files(talks: Path, tmp_path: Path, talker_file: Path) -> None:  # noqa: F811
    assert corpus(talks, tmp_path / "one", talker_file) == 1  # one recording is broken
    command = [sys.executable, "-m", "npwhisper", "corpus", str(talks), "--jobs", "2", "--model", str(talker_file)]
    more = ["--beam_size", "None", "--temperature_increment_on_fallback", "None", "--output_dir", str(tmp_path / "two")]
    done = subprocess.run([*command, *more, "--weights_cache", str(tmp_path / "cache")], cwd=ROOT, capture_output=True)
    assert done.returncode == 1, done.stderr
    assert outputs(tmp_path / "one") == outputs(tmp_path / "two") != {}


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc; processes are forked on Linux only")
def test_four_jobs_need_little_more_memory_than_one() -> None:
    """Random weights of base's size; proportional set sizes, which count a page of four processes as a quarter each."""
    command = [sys.executable, "tests/benchmarks/corpus.py", "memory", "--model", "random-base"]
    told = subprocess.check_output([*command, "--count", "8", "--seconds", "20"], cwd=ROOT, text=True)
    assert float(told.split()[-1]) <= 1.6, told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["corpus", "nowhere", "-o", "OUT"], "there is no file or folder 'nowhere'"),
        (["corpus", "TALKS", "-o", "OUT", "--jobs", "-1"], "the number of jobs must be at least 1, got -1"),
        (["corpus", "TALKS", "-o", "OUT", "--beam_size", "0"], "beam_size"),
        (["report", "nowhere"], "there is no manifest 'nowhere'"),
    ],
)
def test_what_is_wrong_is_one_line(
    arguments: list[str],
    message: str,
    talks: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = {"TALKS": str(talks), "OUT": str(tmp_path / "out")}
    assert main([places.get(argument, argument) for argument in arguments]) == 1
    told = capsys.readouterr().err.strip()
    assert message in told
    assert told.count("\n") == 0


@pytest.mark.skipif(os.name == "nt", reason="Windows has no broken pipes")
@pytest.mark.parametrize("command", ["report", pytest.param("corpus", marks=pytest.mark.slow)])
def test_nothing_is_said_if_nobody_reads_it(
    command: str,
    talks: Path,  # noqa: F811
    tmp_path: Path,
    talker_file: Path,
) -> None:
    """As in `npwhisper report OUT | head`, when head has ended."""
    (tmp_path / "manifest.jsonl").write_text('{"path": "a", "status": "failed", "error": "no sound", "seconds": 1.0}\n')
    more = {"report": [tmp_path], "corpus": [talks / "a.wav", "-o", tmp_path, "--model", talker_file, "--jobs", "1"]}
    reading, writing = os.pipe()
    os.close(reading)
    words = [sys.executable, "-m", "npwhisper", command, *map(str, more[command])]
    done = subprocess.run(words, cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert done.returncode == 141
    assert "roken" not in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="Windows counts characters")
@pytest.mark.parametrize(("n_bytes", "form", "is_taken"), [(251, "txt", True), (251, "json", False)])
def test_a_long_name_is_refused_before_the_work_or_written_after_it(
    n_bytes: int, form: str, is_taken: bool, tmp_path: Path, talker_file: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """A file system takes 255 bytes, the recording's ending has four letters, and .json five."""
    folder = tmp_path / "talks" / "year"
    folder.mkdir(parents=True)
    recording = folder / f"{'講' * (n_bytes // 3)}{'x' * (n_bytes % 3)}.wav"
    soundfile.write(recording, np.full(8000, 0.1, np.float32), 16000)
    if not is_taken:
        monkeypatch.setattr(run, "shared_weights", lambda *_: pytest.fail("no weights are loaded"))
    assert corpus(tmp_path / "talks", tmp_path / "out", talker_file, "-f", form) == (0 if is_taken else 1)
    told = capsys.readouterr()
    assert ("1 recording done" in told.out) is is_taken
    assert ("the output '.json' of" in told.err and "1 bytes too long" in told.err) is not is_taken
    assert {Path(name).suffix for name in outputs(tmp_path / "out")} == ({".txt"} if is_taken else set())


def test_an_output_that_would_replace_something_else_is_refused(
    talks: Path,  # noqa: F811
    talker_file: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (talks / "year" / "c.txt").mkdir()
    assert corpus(talks, talks, talker_file, "-f", "txt") == 1
    assert "c.txt' would replace a folder" in capsys.readouterr().err


def test_a_file_called_like_a_command_is_a_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "report").write_bytes(b"no sound")
    assert main(["report", "--output_format", "none"]) == 1
    assert "'report' cannot be read" in capsys.readouterr().err
