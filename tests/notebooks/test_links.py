"""What README and notebooks point to exists: files, headings, and the functions and names they speak of."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import pkgutil
import re
from functools import cache
from pathlib import Path

import pytest

import npwhisper

ROOT = Path(__file__).parents[2]
TEXTS = [
    ROOT / "README.md",
    *sorted((ROOT / "notebooks").rglob("*.md")),
    *sorted((ROOT / "weights").glob("*.md")),
    *sorted((ROOT / ".github").glob("*.md")),
]
NOTEBOOKS = sorted(path for path in (ROOT / "notebooks").rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts)


def text_of(path: Path) -> str:
    """The prose of a file: of a notebook, its markdown cells."""
    if path.suffix != ".ipynb":
        return path.read_text(encoding="utf-8")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def without_code(text: str) -> str:
    return re.sub(r"^( *)```.*?^\1```", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(path: Path) -> set[str]:
    """What GitHub makes of the headings."""
    titles = re.findall(r"^#+ (.+)$", without_code(text_of(path)), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-") for title in titles}


def identity(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", TEXTS + NOTEBOOKS, ids=identity)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(text_of(path))):
        if re.match(r"https?://|mailto:", target):
            continue
        file, _, anchor = target.partition("#")
        where = (path.parent / file).resolve() if file else path
        assert where.exists(), f"{identity(path)} links to {target}, which does not exist"
        assert not anchor or anchor in anchors(where), f"{identity(path)} links to {target}: no such heading"


@cache
def package_names() -> set[str]:
    """Everything that the package, its tests' files and its options name."""
    found = {path.name for path in ROOT.rglob("*.*") if ".git" not in path.parts}
    for info in pkgutil.walk_packages(npwhisper.__path__, "npwhisper."):
        if info.name == "npwhisper.__main__":
            continue
        module = importlib.import_module(info.name)
        found |= {info.name, info.name.rpartition(".")[2], *vars(module)}
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                found.add(node.name)
            elif isinstance(node, ast.arg):
                found.add(node.arg)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                found.add(node.target.id)
    return found


def called(text: str) -> set[str]:
    """Names in backticks that are written as calls of the package: `decode(...)`, `npwhisper.decoding.search.rank`."""
    spans = re.findall(r"`([^`\n]+)`", without_code(text))
    calls = {
        match for span in spans for match in re.findall(r"\bnpwhisper((?:\.\w+)+)", span) if not span.endswith("/")
    }
    return {name.strip(".") for name in calls}


@pytest.mark.parametrize("path", TEXTS + NOTEBOOKS, ids=identity)
def test_what_is_said_of_the_package_exists(path: Path) -> None:
    for dotted in called(text_of(path)):
        for part in dotted.split("."):
            assert part in package_names() | {"pt", "safetensors"}, f"{identity(path)} speaks of npwhisper.{dotted}"


@pytest.mark.parametrize("path", TEXTS + NOTEBOOKS, ids=identity)
def test_files_that_are_spoken_of_exist(path: Path) -> None:
    """`npwhisper/audio.py`, `notebooks/build.py`, `tests/cases.py`, `weights/...`"""
    for file in re.findall(r"`((?:npwhisper|notebooks|tests|weights)/[\w./-]*)", without_code(text_of(path))):
        assert (ROOT / file).exists() or file == "npwhisper/assets/tiny.en.safetensors", f"{identity(path)}: {file}"
