"""The notebooks as files: every .ipynb is its .py with outputs, and all are built alike; one is executed.

All of them are executed, from a clean kernel in an empty folder, by
`python notebooks/build.py --check` (the extra `notebooks`).
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from scripts import loaded

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
LARGEST = 850_000  # bytes, with the sound that it plays
OPENING = ["What you will build", "What you need", "Which file this explains"]


build = loaded(NOTEBOOKS / "build.py")
SOURCES: list[Path] = build.sources()
WALKTHROUGHS = [path for path in SOURCES if path.parent == NOTEBOOKS]
ASSIGNMENTS = [path for path in SOURCES if path.parent != NOTEBOOKS]


def name(path: Path) -> str:
    return path.stem


def cells(path: Path) -> list[tuple[str, str]]:
    return [(cell.kind, cell.source) for cell in build.written(path.read_text(encoding="utf-8"))]


def outputs(path: Path) -> list[dict[str, Any]]:
    written = json.loads(path.with_suffix(".ipynb").read_text(encoding="utf-8"))
    return [output for cell in written["cells"] for output in cell.get("outputs", [])]


def prose(path: Path) -> str:
    return "\n".join(source for kind, source in cells(path) if kind == "markdown")


def test_the_percent_format_is_cut_into_cells() -> None:
    text = "# %% [markdown]\n# # Title\n#\n# text\n\n# %%\nx = 1  # %% not a cell\n"
    text += '\n# %% jupyter={"source_hidden": true} tags=["claim", "b"]\nassert x\n'
    claim = ("code", "assert x", {"jupyter": {"source_hidden": True}, "tags": ["claim", "b"]})
    assert build.cells(text) == [("markdown", "# Title\n\ntext", {}), ("code", "x = 1  # %% not a cell", {}), claim]
    assert build.written(text) == build.cells(text)[:2]


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_jupytext_cuts_it_into_the_same_cells(path: Path) -> None:
    jupytext = pytest.importorskip("jupytext", reason="pip install npwhisper[notebooks]")
    theirs = jupytext.reads(path.read_text(encoding="utf-8"), "py:percent").cells
    ours = build.cells(path.read_text(encoding="utf-8"))
    for cell in theirs:
        cell.metadata.pop("lines_to_next_cell", None)  # jupytext's note on blank lines
    assert [(cell.cell_type, cell.source, cell.metadata) for cell in theirs] == ours


def test_folded_solutions_are_found() -> None:
    folded = "<details><summary>Solution</summary>\n\n```python\nx = 2\n```\n\n</details>"
    text = "# %% [markdown]\n# ```python\n# shown = 1\n# ```\n" + re.sub(r"^", "# ", folded, flags=re.MULTILINE)
    assert build.solutions(text) == ["x = 2\n"]


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_the_ipynb_is_its_source_with_outputs(path: Path) -> None:
    assert build.in_step(path), f"run: python notebooks/build.py {path.stem}"


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_cells_are_numbered_without_gaps(path: Path) -> None:
    assert build.is_numbered(path), f"run: python notebooks/build.py {path.stem}"


def test_a_gap_in_the_numbers_is_found(tmp_path: Path) -> None:
    made = [
        {"cell_type": kind, "execution_count": count} for kind, count in (("code", 1), ("markdown", 0), ("code", 3))
    ]
    (tmp_path / "x.ipynb").write_text(json.dumps({"cells": made}))
    assert not build.is_numbered(tmp_path / "x.py")
    made[2]["execution_count"] = 2
    (tmp_path / "x.ipynb").write_text(json.dumps({"cells": made}))
    assert build.is_numbered(tmp_path / "x.py")


@pytest.fixture
def copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files of two notebooks, to which the build is turned."""
    folder = tmp_path / "notebooks"
    (folder / "assignments").mkdir(parents=True)
    for path in (NOTEBOOKS / "02_layers.py", NOTEBOOKS / "assignments" / "a1_layers.py"):
        for file in (path, path.with_suffix(".ipynb")):
            shutil.copy(file, folder / file.relative_to(NOTEBOOKS))
    monkeypatch.setattr(build, "FOLDER", folder)
    return folder


def first_cell(path: Path) -> str:
    return "".join(json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"])


def test_a_badge_opens_each_notebook_in_colab(copies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("nbformat", reason="pip install npwhisper[notebooks]")
    before = (copies / "02_layers.ipynb").read_bytes()
    for repository in ("someone/npwhisper", "Some-One/np.whisper"):  # the second takes the place of the first
        monkeypatch.setattr(sys, "argv", ["build.py", "--repository", repository])
        assert build.main() == 0
        for place in ("notebooks/02_layers.ipynb", "notebooks/assignments/a1_layers.ipynb"):
            text = first_cell(copies.parent / place)
            address = f"https://colab.research.google.com/github/{repository}/blob/main/{place}"
            assert text.partition("\n")[0].endswith(f"({address})")
            assert re.match(r"\n# (02|Assignment 1) ·", text.partition("\n")[2])
            assert text.count("Open in Colab") == 1
    assert all(build.in_step(path) for path in build.sources())  # a badge is no difference
    badge = build.badge_of(copies / "02_layers.ipynb")
    assert badge
    assert build.with_badge(json.loads(before), badge)["cells"][0]["source"] == first_cell(copies / "02_layers.ipynb")


def test_a_repository_is_an_owner_and_a_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["build.py", "--repository", "https://github.com/someone/npwhisper"])
    with pytest.raises(SystemExit):
        build.main()
    assert "give OWNER/NAME, as on GitHub" in capsys.readouterr().err


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_without_a_repository_there_is_no_badge(path: Path) -> None:
    assert not build.badge_of(path.with_suffix(".ipynb"))


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_formulas_are_between_dollars(path: Path) -> None:
    """Commands of LaTeX stand between dollars, in pairs, and on one line: Jupyter, Colab and GitHub draw them."""
    text = re.sub(r"```.*?```|`[^`]*`", "", prose(path), flags=re.DOTALL)
    outside = re.sub(r"\$\$[^$]+\$\$|\$[^$\n]+\$", "", re.sub(r"\n(?!\n)", " ", text))
    assert "$" not in outside
    assert not re.search(r"\\[a-zA-Z]+", outside), outside


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_outputs_hold_no_warning_traceback_or_path_and_are_small(path: Path) -> None:
    assert path.with_suffix(".ipynb").stat().st_size < LARGEST
    assert not build.complaints(outputs(path))
    texts = "".join(
        str(output.get("text", "")) + str(output.get("data", {}).get("text/html", ""))[:2000]
        for output in outputs(path)
    )
    assert not re.search(r"Warning|Traceback|/(home|root|tmp|work|usr)/", texts)


@pytest.mark.parametrize("path", WALKTHROUGHS, ids=name)
def test_a_walkthrough_opens_and_ends_like_the_others(path: Path) -> None:
    found, text = cells(path), prose(path)
    opening, code = found[0][1], [source for kind, source in found if kind == "code"]
    assert opening.startswith(f"# {path.stem[:2]} · ")
    assert re.findall(r"^\*\*(.+?)\*\* · ", opening, re.MULTILINE) == OPENING
    assert re.search(r"^## The equality", text, re.MULTILINE)
    assert re.search(r"^assert ", "\n".join(code), re.MULTILINE)
    exercises = text.split("\n## Exercises\n")[1]
    assert re.findall(r"^\*\*(\d)\. ", exercises, re.MULTILINE) == ["1", "2", "3"]
    assert exercises.count("<details><summary>Solution</summary>\n\n") == exercises.count("\n</details>") == 3


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_pictures_name_their_axes(path: Path) -> None:
    code = [source for kind, source in cells(path) if kind == "code"]
    helpers = {match: source for source in code for match in re.findall(r"^def (\w+)", source, re.MULTILINE)}
    for source in code:
        if "plt.show()" in source:
            used = source + "".join(text for function, text in helpers.items() if f"{function}(" in source)
            assert "xlabel" in used or "plot_" in used, f"a picture without a name on its axis:\n{source[:300]}"


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_the_first_code_installs_the_package_on_colab_only(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = next(cell for cell in build.written(path.read_text(encoding="utf-8")) if cell.kind == "code")
    assert first.metadata == {"jupyter": {"source_hidden": True}, "tags": ["install"]}
    commands: list[list[str]] = []
    monkeypatch.setattr(subprocess, "run", lambda command, check: commands.append(command))
    exec(first.source, {})
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    exec(first.source, {})
    assert not commands
    monkeypatch.setitem(sys.modules, "google.colab", ModuleType("google.colab"))
    exec(first.source, {})
    assert [command[1:] for command in commands] == [["-m", "pip", "install", "--quiet", "npwhisper[notebooks]"]]


@pytest.mark.parametrize("path", WALKTHROUGHS, ids=name)
def test_every_exercise_has_a_cell_to_write_in_and_a_check(path: Path) -> None:
    found = build.cells(path.read_text(encoding="utf-8"))
    tags = [tag for cell in found for tag in cell.metadata.get("tags", []) if tag in ("exercise", "check")]
    assert tags == ["exercise", "check"] * 3
    assert all("..." in cell.source for cell in found if cell.has("exercise"))
    assert all("notebooks.exercise(" in cell.source for cell in found if cell.has("check"))


def test_one_notebook_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Executed here as plain Python in an empty folder: the quickest one, with its exercises."""
    matplotlib = pytest.importorskip("matplotlib", reason="pip install npwhisper[notebooks]")
    pytest.importorskip("IPython", reason="pip install npwhisper[notebooks]")
    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    path = NOTEBOOKS / "02_layers.py"
    names: dict[str, Any] = {}
    for source in [
        *(source for kind, source in cells(path) if kind == "code"),
        *build.trials(path.read_text(encoding="utf-8")),
    ]:
        exec(compile(source, path.name, "exec"), names)
    matplotlib.pyplot.close("all")
    matplotlib.rcdefaults()  # the style is the notebook's
    matplotlib.use("Agg")
