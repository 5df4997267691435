"""The command line, as a person types it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import npwhisper
from npwhisper.__main__ import main, parser
from npwhisper.compute.threads import using_threads
from npwhisper.decoding import DecodingTask
from npwhisper.decoding.options import TranscribeOptions
from npwhisper.transcription.windows import parse_clips
from npwhisper.whisper.outputs import Outputs

DATA = Path(__file__).parent / "data"
EXAMPLE = npwhisper.example()


@pytest.fixture
def quick(talker_file: Path) -> list[str]:
    """A small network of random weights, and one greedy run of each window."""
    return ["--model", str(talker_file), "--beam_size", "None", "--temperature_increment_on_fallback", "None"]


def test_prints_segments_and_writes_every_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([EXAMPLE, "-o", str(tmp_path / "new")]) == 0
    printed = capsys.readouterr().out
    result = json.loads((tmp_path / "new" / "example.json").read_text(encoding="utf-8"))
    assert {path.suffix for path in (tmp_path / "new").iterdir()} == {".txt", ".vtt", ".srt", ".tsv", ".json"}
    assert printed.count(" --> ") == len(result["segments"]) >= 1
    assert result["segments"][0]["text"] in printed


def test_equals_the_function_with_the_same_options(tmp_path: Path, talker_file: Path, quick: list[str]) -> None:
    assert main([EXAMPLE, "-o", str(tmp_path), "-f", "json", *quick]) == 0
    expected = npwhisper.transcribe(EXAMPLE, talker_file, temperature=0.0, language="en")
    assert expected["segments"]
    assert json.loads((tmp_path / "example.json").read_text(encoding="utf-8")) == expected


def test_a_failing_file_does_not_stop_the_others(
    tmp_path: Path, quick: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    missing = str(tmp_path / "no such talk.wav")
    assert main([missing, EXAMPLE, "-o", str(tmp_path), "-f", "txt", *quick]) == 1
    errors = capsys.readouterr().err
    assert "no such talk.wav" in errors
    assert [line.split(": ")[1][:5] for line in errors.splitlines()[1:]] == ["wrote"]
    assert (tmp_path / "example.txt").exists()


def test_verbose_false_prints_no_segments(quick: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([EXAMPLE, "-f", "none", "--verbose", "False", *quick]) == 0
    output = capsys.readouterr()
    assert "-->" not in output.out
    assert "s of audio" in output.err


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--model", "large-v9"], 1, "large-v9"),
        (["--device", "cuda"], 1, "CPU"),
        (["--language", "klingon"], 1, "klingon"),
        (["--beam_size", "0"], 1, "beam_size"),
        (["--clip_timestamps", "ten"], 1, "clip_timestamps"),
    ],
)
def test_a_wrong_value_is_one_sentence(
    arguments: list[str], status: int, words: str, quick: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([EXAMPLE, "-f", "none", *quick, *arguments]) == status
    error = capsys.readouterr().err
    assert words in error
    assert error.startswith("npwhisper: ")
    assert "Traceback" not in error


@pytest.mark.parametrize(
    "arguments", [["--max_line_width", "20"], ["--verbose", "perhaps"], ["--output_format", "doc"], ["--nonsense"]]
)
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([EXAMPLE, "-f", "none", *arguments])
    assert stopped.value.code == 2


def test_another_language_is_ignored_by_an_english_model(quick: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([EXAMPLE, "-f", "none", "--language", "German", *quick]) == 0
    assert "is English-only" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "language"), [("auto", None), ("None", None), ("pt-BR", "pt"), ("auto-window", "auto-window")]
)
def test_languages_of_the_command_line(given: str, language: str | None) -> None:
    from types import SimpleNamespace

    from npwhisper.__main__ import _language

    model: Any = SimpleNamespace(is_multilingual=True, num_languages=99)
    assert _language(parser().parse_args(["a.wav", "--language", given]).language, model) == language


def test_ctrl_c_exits_with_130(quick: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(npwhisper.Whisper, "transcribe", interrupt)
    assert main([EXAMPLE, "-f", "none", *quick]) == 130


def test_threads_are_set_before_numpy_is_imported(quick: list[str]) -> None:
    code = (
        "import sys, os; from npwhisper.__main__ import main; assert 'numpy' not in sys.modules; "
        "main(sys.argv[1:]); print(os.environ['OPENBLAS_NUM_THREADS'])"
    )
    arguments = [sys.executable, "-c", code, EXAMPLE, "-f", "none", "--threads", "1", "--verbose", "True", *quick]
    free = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    root = Path(__file__).parent.parent
    run = subprocess.run(arguments, capture_output=True, text=True, check=True, cwd=root, env=free)
    assert run.stdout.endswith("\n1\n")


def test_convert_writes_our_form(
    tmp_path: Path, talker_file: Path, quick: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "model.safetensors"
    assert main(["convert", str(talker_file), str(target)]) == 0
    assert main([EXAMPLE, "-f", "none", *quick, "--model", str(target)]) == 0
    assert main(["convert", str(tmp_path / "missing.pt"), str(target)]) == 1
    assert "missing.pt" in capsys.readouterr().err


def test_recordings_of_one_name_are_refused_before_any_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(npwhisper, "load_model", lambda *_, **__: pytest.fail("no model is loaded"))
    assert main(["a/x.wav", "x.mp3"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("npwhisper: 'a/x.wav' and 'x.mp3' would write the same output files")
    assert error.count("\n") == 1


def test_folders_and_patterns_areexpanded(tmp_path: Path) -> None:
    from npwhisper.whisper.inputs import expanded

    for name in ("b.wav", "a.MP3", "notes.txt"):
        (tmp_path / name).touch()
    both = [str(tmp_path / "a.MP3"), str(tmp_path / "b.wav")]
    assert expanded([str(tmp_path)]) == both
    assert expanded([str(tmp_path / "*.wav"), "no [such].wav"]) == [both[1], "no [such].wav"]
    assert expanded([both[1], str(tmp_path)]) == [both[1], both[0]], "each once"
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no recordings"):
        expanded([str(tmp_path / "empty")])


def test_a_failed_download_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(*_: object, **__: object) -> None:
        raise npwhisper.DownloadError("base could not be downloaded: no network")

    monkeypatch.setattr(npwhisper, "load_model", fail)
    assert main([EXAMPLE, "-f", "none"]) == 1
    assert capsys.readouterr().err == "npwhisper: base could not be downloaded: no network\n"


VALUES = (" ", "nan", "inf", "-inf", "-1", "0", "1e-9", "1e308", "9" * 20, "-" + "9" * 20, "", "None", "\0", "é")
FLAGS = [action.option_strings[0] for action in parser()._actions if action.option_strings and action.nargs != 0]


@pytest.mark.parametrize("flag", [flag for flag in FLAGS if flag not in ("--model", "--model_dir", "--output_dir")])
def test_extreme_values_are_taken_or_refused_in_one_sentence(
    flag: str, model: npwhisper.Whisper, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Decoding is left out: its options are read and checked as for any recording."""

    def check_only(self: npwhisper.Whisper, audio: str, **options: Any) -> dict[str, Any]:
        options.pop("verbose")
        checked = TranscribeOptions.from_keywords(**options)
        parse_clips(checked.clip_timestamps, 3000)
        DecodingTask(self, checked.for_temperature(checked.temperatures()[0]))
        with using_threads(checked.num_threads):
            return {"text": "", "segments": [], "language": "en"}

    monkeypatch.setattr(npwhisper, "load_model", lambda *_, device=None, **__: model)
    monkeypatch.setattr(npwhisper.Whisper, "transcribe", check_only)
    for value in VALUES:
        try:
            status = main(["talk.wav", "-f", "none", "--word_timestamps", "True", f"{flag}={value}"])
        except SystemExit as stopped:
            status = int(stopped.code or 0)
        errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("npwhisper: ")]
        assert (status, len(errors)) in ((0, 0), (1, 1), (2, 1)) or (flag, status) == ("--language", 0), value


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--temperature", "nan"], "temperature must be at least 0 and finite"),
        (["--temperature", "inf"], "temperature must be at least 0 and finite"),
        (["--temperature", "-1"], "temperature must be at least 0 and finite; got temperature=-1.0"),
        (
            ["--temperature_increment_on_fallback", "nan"],
            "increment_on_fallback must be at least 0.010, or None, got nan",
        ),
        (
            ["--temperature_increment_on_fallback", "1e-9"],
            "increment_on_fallback must be at least 0.010, or None, got 1e-09",
        ),
        (["--beam_size", "1001"], "beam_size must be at most 1000"),
        (["--threads", "1025"], "at most 1024 threads"),
        (["--logprob_threshold", "nan"], "logprob_threshold must be a number or None, got NaN"),
    ],
)
def test_numbers_out_of_range(
    arguments: list[str], words: str, quick: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([EXAMPLE, "-f", "none", *quick[:2], *arguments]) == 1
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(("given", "value"), [("None", None), ("", ""), ("-1", "-1"), ("50,60", "50,60")])
def test_suppressed_tokens_of_the_command_line(given: str, value: str | None) -> None:
    assert parser().parse_args(["a.wav", f"--suppress_tokens={given}"]).suppress_tokens == value


def test_an_address_gets_advice(quick: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["https://example.org/talk.mp3", "-f", "none", *quick]) == 1
    error = capsys.readouterr().err
    assert "this is a URL, but npwhisper reads files: download it first" in error
    assert error.count("\n") == 1
    assert "spelling" not in error


def test_the_languages_of_recordings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from talkers import talker

    model = talker()
    monkeypatch.setattr("npwhisper.whisper.load_model", lambda name, download_root: model)
    missing = str(tmp_path / "missing.wav")
    assert main(["language", EXAMPLE, missing, str(DATA / "jfk.*"), "--top", "2"]) == 1
    output = capsys.readouterr()
    lines = output.out.splitlines()
    assert [line.split(": ")[0] for line in lines] == [EXAMPLE, str(DATA / "jfk.flac")]
    _, probs = model.detect_language(EXAMPLE)
    best, second = sorted(probs, key=probs.__getitem__)[:-3:-1]
    assert f"({best}) {probs[best]:.3f}, " in lines[0]
    assert lines[0].endswith(f"({second}) {probs[second]:.3f}")
    assert output.err.count("\n") == 1
    assert "missing.wav" in output.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "tiny.en"], "English-only model has no language tokens"),
        (["--top", "0"], "--top must be at least 1, got 0"),
        (["--model", "bass"], "no model is called"),
    ],
)
def test_a_language_that_cannot_be_told(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["language", EXAMPLE, *arguments]) == 1
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


@pytest.mark.filterwarnings("always:an English-only model transcribes")
def test_translation_by_an_english_model_gets_a_word(quick: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([EXAMPLE, "-f", "none", "--task", "translate", *quick]) == 0
    assert capsys.readouterr().err.count("an English-only model transcribes, whatever the task") == 1


def test_detection_in_several_windows_can_be_asked_for() -> None:
    arguments = ["a.wav", "--language_detection_segments", "4", "--language_detection_threshold", "0.5"]
    given = parser().parse_args(arguments)
    assert (given.language_detection_segments, given.language_detection_threshold) == (4, 0.5)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ([], ["out/talk.srt"]),
        (["--language_in_name"], ["out/talk.en.srt"]),
        (["--beside"], ["in/talk.srt"]),
        (["--beside", "--language_in_name"], ["in/talk.en.srt"]),
    ],
)
def test_names_of_outputs(options: list[str], names: list[str], tmp_path: Path, quick: list[str]) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "talk.flac").write_bytes(Path(EXAMPLE).read_bytes())
    place = [] if "--beside" in options else ["-o", str(tmp_path / "out")]
    assert main([str(tmp_path / "in"), "-f", "srt", *place, *options, *quick]) == 0
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*") if path.suffix != ".flac"] == names
    assert re.match(r"1\n00:00:00,\d{3} --> 00:00:", Path(tmp_path / names[0]).read_text(encoding="utf-8"))


def test_beside_and_another_folder_exclude_each_other() -> None:
    with pytest.raises(SystemExit) as stopped:
        main([EXAMPLE, "--beside", "-o", "elsewhere"])
    assert stopped.value.code == 2


@pytest.mark.parametrize(
    ("n_bytes", "form", "is_taken"),
    [(243, "all", True), (250, "all", True), (251, "all", False), (251, "srt", True), (251, "json", False)],
)
def test_a_name_is_refused_before_the_work_or_written_after_it(
    n_bytes: int, form: str, is_taken: bool, tmp_path: Path, model: npwhisper.Whisper, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    recording = tmp_path / f"{'講' * (n_bytes // 3)}{'x' * (n_bytes % 3)}.wav"
    recording.touch()
    monkeypatch.setattr(npwhisper, "load_model", lambda *_, **__: model if is_taken else pytest.fail("no work is done"))
    said = {"text": " Hm", "segments": [{"start": 0.0, "end": 1.0, "text": " Hm"}], "language": "en"}
    monkeypatch.setattr(npwhisper.Whisper, "transcribe", lambda self, audio, **options: said)
    assert main([str(recording), "-f", form, "-o", str(tmp_path / "out")]) == (0 if is_taken else 1)
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert ("wrote" if is_taken else "the output '.json' of") in error
    written = {path.suffix for path in (tmp_path / "out").iterdir()}
    assert written == (
        ({".txt", ".vtt", ".srt", ".tsv", ".json"} if form == "all" else {f".{form}"}) if is_taken else set()
    )


def test_the_journal_of_a_long_name_is_resumed(tmp_path: Path) -> None:
    names = [Outputs("srt", str(tmp_path)).journal(f"{'講' * 83}{letter}.wav") for letter in "ab"]
    assert len({str(name) for name in names}) == 2
    for name in names:
        assert name is not None
        assert len(name.name.encode()) <= 255
    assert Outputs("srt", str(tmp_path)).journal("talk.wav") == tmp_path / "talk.journal"


def test_outputs_that_would_replace_something_else_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(npwhisper, "load_model", lambda *_, **__: pytest.fail("no model is loaded"))
    (tmp_path / "talk.srt").mkdir()
    assert main(["talk.wav", "-o", str(tmp_path), "-f", "srt"]) == 1
    assert "would replace a folder" in capsys.readouterr().err
    recording = tmp_path / "other.txt"
    recording.touch()
    assert main([str(recording), "-o", str(tmp_path), "-f", "txt"]) == 1
    assert "would replace a recording" in capsys.readouterr().err
    assert main([str(recording), "-o", str(recording)]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_a_missing_recording_beside_which_nothing_can_be_written(
    quick: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["no such folder/talk.wav", "--beside", *quick]) == 1
    error = capsys.readouterr().err
    assert "there is no such audio file" in error
    assert error.count("\n") == 1
