"""The laboratory of the browser, outside of one: what its page asks of Python, and how its parts are put together."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scripts import loaded

import npwhisper

LITE = Path(__file__).parents[2] / "notebooks" / "lite"


@pytest.fixture(scope="module")
def laboratory() -> ModuleType:
    module = loaded(LITE / "page" / "laboratory.py")
    module.load()
    return module


@pytest.fixture(scope="module")
def build() -> ModuleType:
    return loaded(LITE / "build.py")


def asked(laboratory: ModuleType, name: str, *args: Any) -> Any:
    return json.loads(laboratory.answer(name, *args))


def test_the_example_becomes_the_same_tokens_segment_by_segment(laboratory: ModuleType) -> None:
    segments: list[str] = []
    samples = npwhisper.load_audio(npwhisper.example())
    figures = json.loads(asked(laboratory, "transcribe", samples, "", segments.append)["value"])
    expected = npwhisper.transcribe(samples)["segments"]
    assert figures["tokens"] == [token for segment in expected for token in segment["tokens"]]
    assert [json.loads(segment)["text"] for segment in segments] == [segment["text"] for segment in expected]
    assert figures["calls"] == 0


def test_a_layer_of_the_editor_is_called(laboratory: ModuleType) -> None:
    silence = np.zeros(16000, np.float32)
    code = "def gelu(x):\n    return x * normal_cdf(x)\n"
    figures = json.loads(asked(laboratory, "transcribe", silence, code, lambda _: None)["value"])
    assert figures["calls"] > 0


def test_every_layer_that_is_offered_runs_as_it_is_shown(laboratory: ModuleType) -> None:
    sources = asked(laboratory, "sources")["value"]
    assert set(sources) == set(laboratory.EDITABLE)
    for name, code in sources.items():
        assert list(laboratory.layers(code)) == [name]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("def gelu(x):\n    return x +\n", "SyntaxError"),
        ("def gelu(x):\n    return x / undefined\n", "line 2: NameError: name 'undefined' is not defined"),
        ("x = 1\n", "the code defines no layer: name the function gelu"),
    ],
)
def test_wrong_code_gets_a_sentence_with_its_line(laboratory: ModuleType, code: str, expected: str) -> None:
    result = asked(laboratory, "transcribe", np.zeros(16000, np.float32), code, lambda _: None)
    assert expected in result["error"]


def test_cells_of_an_assignment_run_one_after_another(laboratory: ModuleType) -> None:
    first = asked(
        laboratory, "run_cell", "a1_layers", "import numpy as np\nfrom npwhisper import check\nprint('ready')"
    )
    assert json.loads(first["value"]) == {"text": "ready\n", "passed": None}
    right = "def softmax(x):\n    y = np.exp(x - x.max(-1, keepdims=True))\n    return y / y.sum(-1, keepdims=True)\n\n"
    assert json.loads(asked(laboratory, "run_cell", "a1_layers", f"{right}check(softmax)")["value"])["passed"] is True
    wrong = right.replace("return y", "return 2 * y")
    assert json.loads(asked(laboratory, "run_cell", "a1_layers", f"{wrong}check(softmax)")["value"])["passed"] is False
    broken = json.loads(asked(laboratory, "run_cell", "a1_layers", "x = 1\nx / 0")["value"])
    assert broken == {"text": "line 2: ZeroDivisionError: division by zero", "passed": False}


def test_packages_come_with_all_that_they_need(build: ModuleType) -> None:
    known = {"a": {"depends": ["b"]}, "b": {"depends": ["c"]}, "c": {"depends": []}, "d": {"depends": []}}
    assert build.closure(known, ["a"]) == ["a", "b", "c"]
    with pytest.raises(SystemExit, match="e is needed and is in no lock file"):
        build.closure({"a": {"depends": ["e"]}}, ["a"])


def test_a_file_is_taken_out_of_a_wheel_and_of_its_record(build: ModuleType, tmp_path: Path) -> None:
    wheel = tmp_path / "thing-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("thing/heavy.bin", b"heavy")
        archive.writestr("thing/__init__.py", b"")
        archive.writestr("thing-1.0.dist-info/RECORD", "thing/heavy.bin,,5\nthing/__init__.py,,0\n")
    assert build.without(wheel, "thing/heavy.bin") == b"heavy"
    with zipfile.ZipFile(wheel) as archive:
        assert set(archive.namelist()) == {"thing/__init__.py", "thing-1.0.dist-info/RECORD"}
        assert archive.read("thing-1.0.dist-info/RECORD") == b"thing/__init__.py,,0\n"


def test_a_folder_with_other_things_in_it_is_left_alone(build: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(SystemExit, match="is not empty and was not made by this command: give another folder"):
        build.build(tmp_path, tmp_path / "cache")
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_the_page_asks_no_other_server_for_anything() -> None:
    for path in (LITE / "page").iterdir():
        assert "//" not in path.read_text(encoding="utf-8").replace("// ", ""), path.name
