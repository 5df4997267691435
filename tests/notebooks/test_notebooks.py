"""The notebooks as files: every .ipynb is its .py with outputs, and all are built alike; one is executed.

All of them are executed, from a clean kernel, by `python notebooks/build.py --check` (the extra `notebooks`).
"""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
LARGEST = 850_000  # bytes, with the sound that it plays
OPENING = ["What you will build", "What you need", "Which file this explains"]


def load_build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("notebooks_build", NOTEBOOKS / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build = load_build()
SOURCES: list[Path] = build.sources()
WALKTHROUGHS = [path for path in SOURCES if path.parent == NOTEBOOKS]
ASSIGNMENTS = [path for path in SOURCES if path.parent != NOTEBOOKS]


def name(path: Path) -> str:
    return path.stem


def cells(path: Path) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = build.cells(path.read_text(encoding="utf-8"))
    return found


def outputs(path: Path) -> list[dict[str, Any]]:
    written = json.loads(path.with_suffix(".ipynb").read_text(encoding="utf-8"))
    return [output for cell in written["cells"] for output in cell.get("outputs", [])]


def prose(path: Path) -> str:
    return "\n".join(source for kind, source in cells(path) if kind == "markdown")


def test_the_percent_format_is_cut_into_cells() -> None:
    text = "# %% [markdown]\n# # Title\n#\n# text\n\n# %%\nx = 1  # %% not a cell\n"
    assert build.cells(text) == [("markdown", "# Title\n\ntext"), ("code", "x = 1  # %% not a cell")]


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_jupytext_cuts_it_into_the_same_cells(path: Path) -> None:
    jupytext = pytest.importorskip("jupytext", reason="pip install npwhisper[notebooks]")
    theirs = jupytext.reads(path.read_text(encoding="utf-8"), "py:percent").cells
    assert [(cell.cell_type, cell.source) for cell in theirs] == cells(path)


def test_folded_solutions_are_found() -> None:
    folded = "<details><summary>Solution</summary>\n\n```python\nx = 2\n```\n\n</details>"
    text = "# %% [markdown]\n# ```python\n# shown = 1\n# ```\n" + re.sub(r"^", "# ", folded, flags=re.MULTILINE)
    assert build.solutions(text) == ["x = 2\n"]


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_the_ipynb_is_its_source_with_outputs(path: Path) -> None:
    assert build.in_step(path), f"run: python notebooks/build.py {path.stem}"


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


def test_one_notebook_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Executed here as plain Python: the quickest one, with its solutions."""
    matplotlib = pytest.importorskip("matplotlib", reason="pip install npwhisper[notebooks]")
    pytest.importorskip("IPython", reason="pip install npwhisper[notebooks]")
    matplotlib.use("Agg")
    monkeypatch.chdir(NOTEBOOKS)
    path = NOTEBOOKS / "02_layers.py"
    names: dict[str, Any] = {}
    for source in [
        *(source for kind, source in cells(path) if kind == "code"),
        *build.solutions(path.read_text(encoding="utf-8")),
    ]:
        exec(compile(source, path.name, "exec"), names)
    matplotlib.pyplot.close("all")
