"""A journal keeps every finished window: torn lines are cut off, other runs are told apart, full disks are told."""

from __future__ import annotations

import errno
import io
import itertools
import json
import math
import os
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cases
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from talkers import MULTILINGUAL, talker

import npwhisper
from npwhisper.__main__ import main
from npwhisper.audio import SAMPLE_RATE, AudioError
from npwhisper.transcription.journal import (
    BEGINNING,
    JournalError,
    differences,
    fingerprint,
    read_journal,
    record,
    start_journal,
)
from npwhisper.transcription.locking import JournalLock
from npwhisper.transcription.output.writers import to_json
from npwhisper.transcription.passage import Passage
from npwhisper.transcription.run import Transcription
from npwhisper.transcription.windows import Window

HEADER = {"audio": {"frames": 400, "checksum": 7}, "options": {"beam_size": 5, "language": None}}
WINDOWS = [
    ([{"id": 0, "start": 0.1 + 0.2, "text": " Grüße\u2028", "tokens": [1, 2]}], {"seek": 100}),
    ([], {"seek": 200}),
    ([{"id": 1, "start": 1 / 3, "text": "", "tokens": []}, {"id": 2, "start": 2.0, "text": " b"}], {"seek": 300}),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a talk.journal"


def written(path: Path, n_windows: int = 3) -> bytes:
    start_journal(path, HEADER, resume=False)
    for segments, state in WINDOWS[:n_windows]:
        record(path, segments, state)
    return path.read_bytes()


def test_what_is_written_is_read(path: Path) -> None:
    written(path)
    journal = read_journal(path)
    assert journal.segments == [segment for segments, _ in WINDOWS for segment in segments]
    assert journal.state == {"seek": 300}
    assert journal.size == path.stat().st_size
    assert start_journal(path, HEADER, resume=True) == journal


def test_every_line_is_json_by_itself(path: Path) -> None:
    lines = written(path).decode("ascii").splitlines()
    assert [sorted(json.loads(line)) for line in lines[1:]] == [["segments", "state"]] * 3


@settings(max_examples=25)
@given(cut=st.integers(0, 400))
def test_a_torn_end_is_cut_off_and_written_again(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("torn") / "journal"
    whole = written(path)
    path.write_bytes(whole[: min(cut, len(whole))])
    n_lines = whole[:cut].count(b"\n")
    if 0 < cut < len(BEGINNING):
        with pytest.raises(JournalError, match="is not a journal"):
            start_journal(path, HEADER, resume=True)
        return
    start_journal(path, HEADER, resume=True)
    for segments, state in WINDOWS[max(n_lines - 1, 0) :]:
        record(path, segments, state)
    assert path.read_bytes() == whole


@pytest.mark.parametrize("damage", [b"\0" * 40 + b"\n", b"[1]\n", b"{}\n", b'{"segments": []}\n', b"\xff\n"])
def test_a_damaged_line_ends_what_counts(path: Path, damage: bytes) -> None:
    lines = written(path).splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], damage, *lines[2:]]))
    journal = read_journal(path)
    assert (len(journal.segments), journal.state) == (1, {"seek": 100})
    assert journal.size == len(lines[0]) + len(lines[1])


@pytest.mark.parametrize("value", [0.1 + 0.2, 1e-320, -0.0, 123456789.123456789, np.float64(1 / 3), np.float32(0.1)])
def test_numbers_survive_exactly(path: Path, value: Any) -> None:
    start_journal(path, {}, resume=False)
    record(path, [{"start": value, "ids": np.arange(3)}], {"large": 2**127, "nan": math.nan})
    journal = read_journal(path)
    assert repr(journal.segments[0]["start"]) == repr(value.tolist() if isinstance(value, np.generic) else value)
    assert journal.segments[0]["ids"] == [0, 1, 2]
    assert journal.state is not None
    assert journal.state["large"] == 2**127
    assert math.isnan(journal.state["nan"])


def test_windows_that_are_there_are_not_overwritten(path: Path) -> None:
    whole = written(path)
    with pytest.raises(
        JournalError, match=r"a talk\.journal' holds 3 segments .* resume it \(--resume\), or delete it"
    ):
        start_journal(path, HEADER, resume=False)
    assert path.read_bytes() == whole


@pytest.mark.parametrize("resume", [False, True])
def test_without_windows_a_journal_begins_anew(path: Path, resume: bool) -> None:
    written(path, n_windows=0)
    assert start_journal(path, {"audio": 2}, resume).state is None
    record(path, *WINDOWS[0])
    assert read_journal(path).header == {"journal": 1, "audio": 2}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"audio": {"frames": 401, "checksum": 7}}, "audio"),
        ({"options": {"beam_size": None, "language": None}}, "beam_size"),
        ({"options": {"beam_size": 5, "language": "de", "vad": True}}, "language, vad"),
        ({"npwhisper": "0.2"}, "npwhisper"),
    ],
)
def test_another_run_is_told_apart(path: Path, change: dict[str, Any], told: str) -> None:
    whole = written(path)
    with pytest.raises(JournalError, match=f"of a run with another {told}: use the same, or delete it"):
        start_journal(path, {**HEADER, **change}, resume=True)
    assert path.read_bytes() == whole
    assert differences(HEADER, HEADER) == []


@pytest.mark.parametrize("contents", [b"\n", b"RIFF....", b'{"journal": 2}\n', b'{"a": 1}\n', b"\x89PNG"])
def test_another_file_is_left_alone(path: Path, contents: bytes) -> None:
    path.write_bytes(contents)
    for resume in (False, True):
        with pytest.raises(JournalError, match="is not a journal of this version of npwhisper: move it elsewhere"):
            start_journal(path, HEADER, resume)
    assert path.read_bytes() == contents


def test_a_full_disk_is_told_and_loses_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = written(path)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(JournalError, match=r"cannot be written \(No space left on device\): free some space"):
        record(path, [], {})
    assert path.read_bytes().startswith(whole)


@pytest.mark.parametrize("place", ["missing/journal", "file/journal", "."])
def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises((JournalError, OSError), match=r"cannot be written|directory"):
        start_journal(tmp_path / place, HEADER, resume=False)


def test_models_are_told_apart() -> None:
    weights, other = cases.random_weights(), cases.random_weights(seed=1)
    assert fingerprint(weights) == fingerprint(dict(reversed(weights.items())))
    assert fingerprint(weights) != fingerprint(other)
    name = "decoder.blocks.2.mlp.0.bias"
    assert fingerprint(weights) != fingerprint({**weights, name: other[name]})
    assert fingerprint({}) == 0


# A transcription that is stopped and goes on

SOUND = 0.1 * cases.random_array("a long recording", 64 * SAMPLE_RATE)
FAST = {"sample_len": 8, "temperature": (0.0, 0.7), "seed": 5}
RUNS: dict[str, dict[str, Any]] = {
    "chance without a seed": {"temperature": 0.8, "seed": None, "hotwords": "Yes"},
    "words": {"word_timestamps": True, "hallucination_silence_threshold": 0.5, "clip_timestamps": [3, 14, 41, 42]},
    "prompts and languages": {"initial_prompt": "Mr. Smith", "prefix": "And so", "language": "auto-window"},
    "beams": {"temperature": 0, "beam_size": 2, "condition_on_previous_text": False},
}


def stream(journal: Path, audio: Any = SOUND, **options: Any) -> Transcription:
    return talker(MULTILINGUAL).iter_segments(audio, journal=journal, **FAST | options)


@pytest.mark.parametrize("name", ["words", *(pytest.param(x, marks=pytest.mark.slow) for x in RUNS if x != "words")])
def test_a_stopped_run_goes_on_as_if_it_had_not_been(tmp_path: Path, name: str) -> None:
    whole, part = tmp_path / "whole", tmp_path / "part"
    expected = list(unbroken := stream(whole, **RUNS[name]))
    lines = whole.read_bytes().splitlines(keepends=True)
    assert len(lines) == len(unbroken.decisions) + 1 > 2
    for n_lines in (1, 2, len(lines)):
        part.write_bytes(b"".join(lines[:n_lines]) + b'{"segm')
        if n_lines == 1 and RUNS[name].get("seed", 5) is None:
            continue  # nothing is decided yet, nor is chance
        resumed = stream(part, resume=True, **RUNS[name])
        heard = [
            token
            for line in lines[1:n_lines]
            for segment in json.loads(line)["segments"]
            for token in segment["tokens"]
        ]
        assert resumed.history.tokens == heard
        assert to_json({"segments": list(resumed)}) == to_json({"segments": expected})
        assert (resumed.text, resumed.language, resumed.state()) == (unbroken.text, unbroken.language, unbroken.state())
        assert part.read_bytes() == whole.read_bytes()


def test_each_window_is_written_before_it_is_given(path: Path) -> None:
    run = stream(path)
    first = next(run)
    assert read_journal(path).segments[0] == first
    assert read_journal(path).state == run.state()


def test_silent_windows_are_written_too(path: Path) -> None:
    assert list(stream(path, no_speech_threshold=0.0, logprob_threshold=None)) == []
    assert read_journal(path).state is not None
    assert list(stream(path, no_speech_threshold=0.0, logprob_threshold=None, resume=True)) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"audio": SOUND[:-1]}, "audio"),
        ({"audio": -SOUND}, "audio"),
        ({"beam_size": 2, "vad": True}, "vad, beam_size"),
        ({"seed": 6}, "seed"),
    ],
)
def test_another_recording_or_option_is_refused(path: Path, change: dict[str, Any], told: str) -> None:
    next(stream(path))
    with pytest.raises(JournalError, match=f"of a run with another {told}: use the same"):
        stream(path, resume=True, **change)
    with pytest.raises(JournalError, match="or delete it"):
        stream(path)


def test_another_model_is_refused(path: Path) -> None:
    next(stream(path))
    with pytest.raises(JournalError, match="of a run with another model"):
        talker(MULTILINGUAL, seed=1).iter_segments(SOUND, journal=path, resume=True, **FAST)


# On the command line


@pytest.fixture
def talk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A recording, in a working directory of its own, and a model that answers fast."""
    monkeypatch.setattr(npwhisper, "load_model", lambda *_, **__: talker(MULTILINGUAL), raising=False)
    monkeypatch.chdir(tmp_path)
    soundfile.write("talk one.wav", SOUND, SAMPLE_RATE)
    return "talk one.wav"


ARGUMENTS = ["-o", "out", "-f", "all", "--beam_size", "None", "--temperature_increment_on_fallback", "None"]


def outputs() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path("out").iterdir()}


@pytest.mark.slow
def test_ctrl_c_leaves_what_was_heard_and_resume_goes_on(
    talk: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([talk, *ARGUMENTS]) == 0
    expected = outputs()
    assert set(expected) == {f"talk one.{form}" for form in ("txt", "vtt", "srt", "tsv", "json")}
    whole = Passage.transcribe
    n_windows = itertools.count()

    def interrupted(self: Passage, window: Window) -> Any:
        if next(n_windows) == 1:
            raise KeyboardInterrupt
        return whole(self, window)

    monkeypatch.setattr(Passage, "transcribe", interrupted)
    for old in Path("out").iterdir():
        old.unlink()
    assert main([talk, *ARGUMENTS]) == 130
    part = outputs()
    assert set(part) == {*expected, "talk one.journal"}
    segments = json.loads(part["talk one.json"])["segments"]
    assert 0 < len(segments) < len(json.loads(expected["talk one.json"])["segments"])
    assert expected["talk one.txt"].startswith(part["talk one.txt"])
    assert "--resume continues it" in capsys.readouterr().err
    assert main([talk, *ARGUMENTS]) == 1, "what was heard is not overwritten"
    assert "resume it (--resume), or delete it" in capsys.readouterr().err
    assert main([talk, *ARGUMENTS, "--resume"]) == 0
    assert outputs() == expected


def test_resume_without_a_journal_begins(talk: str) -> None:
    assert main([talk, *ARGUMENTS, "--resume"]) == 0
    assert len(outputs()) == 5


@pytest.mark.slow
def test_ctrl_c_leaves_earlier_outputs_as_they_are(
    talk: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([talk, *ARGUMENTS]) == 0
    expected, whole, n_windows = outputs(), Passage.transcribe, itertools.count()

    def interrupted(self: Passage, window: Window) -> Any:
        if next(n_windows) == 1:
            raise KeyboardInterrupt
        return whole(self, window)

    monkeypatch.setattr(Passage, "transcribe", interrupted)
    assert main([talk, *ARGUMENTS]) == 130
    found = outputs()
    assert found.pop("talk one.journal")
    assert found == expected
    assert "kept the earlier outputs of 'talk one.wav'" in capsys.readouterr().err


def test_a_second_run_on_the_same_output_is_refused(talk: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("out").mkdir()
    with JournalLock("out/talk one.journal"):
        assert main([talk, *ARGUMENTS]) == 1
    assert "another run is writing 'out/talk one.journal'" in capsys.readouterr().err
    assert main([talk, *ARGUMENTS]) == 0
    assert len(outputs()) == 5


def test_one_run_at_a_time_writes_a_journal(path: Path) -> None:
    first = stream(path)
    before = [next(first)]
    for options in ({}, {"resume": True}, {"resume": True, "batch_size": 2}):
        with pytest.raises(JournalError, match=r"another run is writing '.*a talk\.journal': wait for it"):
            stream(path, **options)
    expected = before + list(first)
    assert list(stream(path, resume=True)) == expected
    assert [file.name for file in path.parent.iterdir()] == [path.name], "no lock is left"


def test_threads_of_one_process_do_not_mix_their_windows(path: Path) -> None:
    def told(_: int) -> str:
        try:
            return to_json({"segments": list(stream(path))})
        except JournalError as error:
            return str(error)

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(told, range(4)))
    whole = [text for text in results if text.startswith("{")]
    assert len(whole) == 1
    assert to_json({"segments": read_journal(path).segments}) == whole[0]
    assert all("another run is writing" in text or "holds" in text for text in set(results) - set(whole))


OTHER_PROCESS = """
import sys, numpy as np, test_journal
print(next(test_journal.stream(sys.argv[1], np.load(sys.argv[2])))["id"], flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("end", [pytest.param("asked", marks=pytest.mark.slow), "killed"])
def test_another_process_keeps_its_journal_until_it_ends(path: Path, end: str) -> None:
    np.save(path.with_suffix(".npy"), SOUND)
    places = os.pathsep.join([*sys.path, str(Path(__file__).parent)])
    command = [sys.executable, "-c", OTHER_PROCESS, str(path), str(path.with_suffix(".npy"))]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, env={**os.environ, "PYTHONPATH": places}, **pipes) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "0\n"
        with pytest.raises(JournalError, match="another run is writing"):
            stream(path, resume=True)
        process.kill() if end == "killed" else process.communicate(timeout=300)
        process.wait()
    assert len(list(stream(path, resume=True))) == len(list(stream(path.with_name("whole"))))


@pytest.mark.slow
def test_what_ends_a_run_frees_its_journal(path: Path) -> None:
    def stop(decision: Any) -> None:
        raise KeyboardInterrupt

    interrupted = stream(path, on_decision=stop)
    with pytest.raises(KeyboardInterrupt):
        next(interrupted)
    assert list(interrupted) == [], "no window may come after one that was lost"
    closed = stream(path)
    assert next(closed)
    closed.close()
    closed.close()
    assert list(closed) == []
    with pytest.raises(AudioError):
        stream(path, b"no sound", resume=True)
    with pytest.raises(JournalError, match="holds"):
        stream(path)
    abandoned = stream(path, resume=True)
    assert next(abandoned)
    del abandoned
    assert len(list(stream(path, resume=True))) > 1


def test_a_journal_has_one_lock_by_whatever_path(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.touch()
    monkeypatch.chdir(path.parent)
    others = [Path(path.name), path.parent / ".." / path.parent.name / path.name, path.parent / "link"]
    others[-1].symlink_to(path)
    with JournalLock(path):
        for other in others:
            with pytest.raises(JournalError, match="another run is writing"):
                JournalLock(other)
        JournalLock("another").close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Python 3.12 warns of threads
def test_a_forked_process_neither_writes_nor_frees_its_parents_journal(path: Path) -> None:
    lock = JournalLock(path)
    if (child := os.fork()) == 0:
        try:
            lock.check()
        except JournalError as error:
            lock.close()
            os._exit("from which this one was forked: give every process a journal of its own" not in str(error))
        os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    with pytest.raises(JournalError, match="another run is writing"):
        JournalLock(path)
    lock.close()
    JournalLock(path).close()


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS])
@pytest.mark.skipif(os.name == "nt", reason="uses fcntl")
def test_a_file_system_without_locks_is_written_to(path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def no_locks(*_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fcntl.flock", no_locks)
    assert next(stream(path))


def test_a_folder_that_is_not_there_is_told_before_the_recording_is_read(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match=r"cannot be written \(No such file or directory\)"):
        stream(tmp_path / "missing" / "journal", b"no sound")


@pytest.mark.parametrize("state", [b"{}", b'{"seek": 0, "windows": 1}', b'{"seek": [], "windows": 1, "clip": 0}'])
def test_a_tampered_journal_is_one_sentence(path: Path, state: bytes) -> None:
    next(stream(path))
    header = path.read_bytes().splitlines(keepends=True)[0]
    path.write_bytes(header + b'{"segments": [], "state": ' + state + b"}\n")
    with pytest.raises(JournalError, match="is damaged: start again without it"):
        stream(path, resume=True)


@pytest.mark.parametrize(("old", "new"), [(b"PCG64", b"PCG65"), (b'"inc": ', b'"inc": -')])
def test_a_changed_value_of_a_state_is_one_sentence(path: Path, old: bytes, new: bytes) -> None:
    """Found by fuzzing: a generator of another name."""
    next(stream(path))
    header, window = path.read_bytes().splitlines(keepends=True)[:2]
    before, _, state = window.partition(b'"state": ')
    assert old in state
    path.write_bytes(header + before + b'"state": ' + state.replace(old, new))
    with pytest.raises(JournalError, match="is damaged: start again without it"):
        next(stream(path, resume=True))


@pytest.mark.parametrize("line", [b"[" * 100_000, b'{"segments": 7, "state": {}}', b'{"segments": [1], "state": {}}'])
def test_a_line_that_is_no_window_ends_what_counts(path: Path, line: bytes) -> None:
    whole = written(path)
    path.write_bytes(whole + line + b"\n")
    assert read_journal(path).size == len(whole)


def test_windows_must_continue_one_another(path: Path) -> None:
    next(stream(path))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines, lines[1]]))
    assert read_journal(path).size == sum(map(len, lines))


@pytest.mark.parametrize("folder", ["talk one.wav", "talk one.wav/out"])
def test_a_folder_that_is_none_is_told_before_any_work(
    talk: str, folder: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(npwhisper, "load_model", lambda *_, **__: pytest.fail("not even the model is loaded"))
    assert main([talk, "-o", folder]) == 1
    error = capsys.readouterr().err
    assert error.startswith("npwhisper: ")
    assert "talk one.wav" in error
    assert error.count("\n") == 1


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the administrator may write everywhere")
def test_a_read_only_folder_is_told_before_any_work(talk: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("out").mkdir(mode=0o500)
    assert main([talk, *ARGUMENTS]) == 1
    assert "Permission denied" in capsys.readouterr().err


@pytest.mark.slow
def test_a_disk_that_fills_up_keeps_the_windows_before(
    talk: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([talk, *ARGUMENTS]) == 0
    expected, n_lines, sync = outputs(), itertools.count(), os.fsync

    def full(descriptor: int) -> None:
        if next(n_lines) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    assert main([talk, *ARGUMENTS]) == 1
    assert "cannot be written (No space left on device): free some space" in capsys.readouterr().err
    assert main([talk, *ARGUMENTS, "--resume"]) == 0
    assert outputs() == expected


def test_outputs_are_on_the_disk_before_the_journal_goes(talk: str, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    sync, replace, unlink = os.fsync, os.replace, Path.unlink

    def removed(path: Path, missing_ok: bool = False) -> None:
        if path.suffix == ".journal":
            events.append("journal removed")
        unlink(path, missing_ok)

    monkeypatch.setattr(os, "fsync", lambda descriptor: events.append("sync") or sync(descriptor))
    monkeypatch.setattr(os, "replace", lambda a, b: events.append(f"named {Path(b).suffix}") or replace(a, b))
    monkeypatch.setattr(Path, "unlink", removed)
    assert main([talk, *ARGUMENTS]) == 0
    named = [f"named .{form}" for form in ("txt", "vtt", "srt", "tsv", "json")]
    assert events[-11:] == [event for name in named for event in ("sync", name)] + ["journal removed"]


def test_a_recording_that_cannot_be_read_leaves_no_journal(talk: str) -> None:
    Path(talk).write_bytes(b"no sound")
    assert main([talk, *ARGUMENTS]) == 1
    assert outputs() == {}


def test_damage_is_told_in_one_line(talk: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path(talk).write_bytes(Path(talk).read_bytes()[:200_000])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "warnoptions", ["default"])
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            assert main([talk, *ARGUMENTS, "-f", "none"]) == 0
    error = capsys.readouterr().err
    assert error.startswith("npwhisper: 'talk one.wav' is truncated or damaged: 6.2 of 64.0 seconds can be read")
    assert error.count("\n") == 1


def test_stdin_is_read(talk: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main([talk, *ARGUMENTS]) == 0
    with open(talk, "rb") as file:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(file.read())))
    assert main(["-", *ARGUMENTS]) == 0
    assert outputs()["stdin.json"] == outputs()["talk one.json"]


def test_robust_gives_way_to_what_is_given(talk: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[dict[str, Any]] = []
    monkeypatch.setattr(npwhisper.Whisper, "transcribe", lambda *_, **options: given.append(options) or {})
    for arguments in ([], ["--robust"], ["--robust", "--no_repeat_ngram_size", "3"]):
        main([talk, "-f", "none", *arguments])
    names = ("vad", "condition_on_previous_text", "no_repeat_ngram_size", "robust")
    assert [[options[name] for name in names] for options in given] == [
        [False, True, 0, False],
        [True, False, 10, True],
        [True, False, 3, True],
    ]
