"""Extracting what the tasks of a notebook or a Python file need, as a Python file. Nothing is executed.

The functions that are tasks are kept, with everything they name: helpers, constants, tables that are filled in a loop
or by a call, imports. Statements that change another module are kept too, so that the grader refuses them. The rest is
left out and reported: calls of `check`, plots, last cells, code that is not Python.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from npwhisper.checkpoint.json_text import loads
from npwhisper.lab.exercises import EXERCISES
from npwhisper.lab.grading.changing import changes
from npwhisper.lab.grading.encodings import read_text
from npwhisper.lab.grading.source import Names, Patches, Source, bound, statements
from npwhisper.tracing.spelling import similar

JUDGES = ("npwhisper", "numpy", "builtins")  # modules that a cheat would change
PYTHON_MAGICS = ("%%time", "%%timeit", "%%capture", "%%prun")  # cells with any other cell magic are not Python


class NotebookError(ValueError):
    """The file is not a notebook."""


def is_notebook(name: str, text: str) -> bool:
    """Whether a file is a notebook, by its name or, if it was renamed, by its content.

    >>> is_notebook("a1.ipynb", ""), is_notebook("a1.py", '{"cells": [], "nbformat": 4}'), is_notebook("a1.py", "x = 1")
    (True, True, False)
    """
    return name.lower().endswith(".ipynb") or (
        text.lstrip().startswith("{") and '"nbformat"' in text and ('"cells"' in text or '"worksheets"' in text)
    )


class Part(NamedTuple):
    """A top-level statement of a cell: its first line and its source; without a node it is not Python."""

    cell: int
    line: int
    text: str
    node: ast.stmt | None


class Collected(NamedTuple):
    """The code that was kept, a sentence for everything left out, and one for every task that is not Python."""

    code: str
    left_out: list[str]
    broken: dict[str, str]


def collect(path: Path) -> Collected:
    """Extract what can be graded from a notebook.

    Raises
    ------
    NotebookError
        If the file cannot be read as a notebook.
    """
    parts = [part for number, code in _cells(path) for part in _parts(number, code)]
    kept, left_out, names = _sorted(parts, EXERCISES)
    early = [part for part in kept if _is_future(part.node)]
    late = [part for part in kept if not _is_future(part.node)]
    code = "\n\n\n".join(_reduced(part, names) for part in [*early, *late]) + "\n"
    return Collected(code, [f"cell {part.cell}: {_shown(part)}" for part in left_out], _broken(left_out, "cell"))


def collect_script(text: str, tasks: Collection[str] = EXERCISES) -> Collected:
    """Extract what these tasks need from a Python file; line numbers stay the same."""
    kept, left_out, _ = _sorted(_parts(1, text), tasks)
    code = ""
    for part in kept:
        lines = part.line - 1 - code.count("\n")
        code += ("\n" * lines or "; " if code else "\n" * lines) + part.text
    return Collected(code + "\n", [f"line {part.line}: {_shown(part)}" for part in left_out], _broken(left_out, "line"))


def _sorted(parts: Sequence[Part], tasks: Collection[str]) -> tuple[list[Part], list[Part], set[str]]:
    """The parts that are kept, the parts that are not, and the needed names."""
    needed, names = _needed([part.node for part in parts if part.node], tasks)
    kept = [part for part in parts if part.node in needed or _is_future(part.node)]
    return kept, [part for part in parts if part not in kept], names


def _broken(left_out: Sequence[Part], unit: str) -> dict[str, str]:
    """The tasks whose code is not Python, each with the reason."""
    found = dict[str, str]()
    for part in left_out:
        match = re.search(r"^(?:async\s+)?def\s+(\w+)", part.text, re.MULTILINE)
        if part.node is None and match and match[1] in EXERCISES:
            place = f"line {part.line}" if unit == "line" else f"cell {part.cell}"
            found[match[1]] = f"{match[1]} ({place}) is not Python: {_reason(part.text)}"
    return found


def _reason(text: str) -> str:
    try:
        ast.parse(text)
    except SyntaxError as error:
        return f"{error.msg}, at {(error.text or '').strip()[:60]!r}"
    except (ValueError, RecursionError, MemoryError) as error:
        return type(error).__name__
    return "it has commands of IPython inside"


def _cells(path: Path) -> Iterator[tuple[int, str]]:
    """The number (from 1) and the code of every code cell; damaged cells have none."""
    try:
        text = read_text(path)[0]
        if not text.strip():
            raise NotebookError(f"{path} is empty: save the notebook, and hand it in again")
        notebook: Any = loads(text)
        cells = notebook["cells"] if "cells" in notebook else notebook["worksheets"][0]["cells"]
        found = [(number, _code(cell)) for number, cell in enumerate(cells, 1)]
    except NotebookError:
        raise
    except (OSError, ValueError, RecursionError, KeyError, TypeError, IndexError) as error:
        raise NotebookError(f"{path} cannot be read as a notebook: {type(error).__name__}: {error}") from None
    return iter([(number, code) for number, code in found if code.strip()])


def _code(cell: Any) -> str:
    if not isinstance(cell, dict) or cell.get("cell_type") != "code":
        return ""
    source: Any = cell.get("source", cell.get("input", ""))
    return source if isinstance(source, str) else "".join(map(str, source))


def _parts(number: int, code: str, line: int = 1) -> list[Part]:
    """The statements of a cell; if it is not Python as a whole, it is parsed piece by piece."""
    code = code.replace("\r\n", "\n").replace("\0", "")
    if code.startswith("%%"):
        first, _, rest = code.partition("\n")
        if not first.startswith(PYTHON_MAGICS):
            return [Part(number, line, code, None)]
        code, line = rest, line + 1
    for text in (code, _without_magics(code)):
        if (nodes := _parsed(text)) is not None:
            return [Part(number, line + _first(node) - 1, _text(text, node), node) for node in nodes]
    return _pieced(number, code, line)


def _pieced(number: int, code: str, line: int) -> list[Part]:
    """The parts of code that does not parse as a whole."""
    pieces, found = _pieces(code), list[Part]()
    if len(pieces) == 1:
        return [Part(number, line, code, None)] if code.strip() else []
    for piece in pieces:
        found += _parts(number, piece, line)
        line += piece.count("\n") + 1
    return found


def _parsed(text: str) -> list[ast.stmt] | None:
    try:
        return ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _without_magics(code: str) -> str:
    """The code with IPython's commands (`%matplotlib inline`, `!pip install`, `np.dot?`) replaced by `pass`."""

    def plain(line: str) -> str:
        bare = line.strip()
        indent = line[: len(line) - len(line.lstrip())]
        return f"{indent}pass" if bare.startswith(("%", "!", "?")) or bare.endswith("?") else line

    return "\n".join(plain(line) for line in code.split("\n"))


def _pieces(code: str) -> list[str]:
    """Split code before every unindented line, but not after a decorator or before a closing bracket."""
    pieces: list[list[str]] = []
    for line in code.split("\n"):
        continues = not line.strip() or line[0] in " \t)]}#" or line.startswith(("else", "elif", "except", "finally"))
        if pieces and (continues or pieces[-1][-1].startswith("@")):
            pieces[-1].append(line)
        else:
            pieces.append([line])
    return ["\n".join(piece) for piece in pieces]


def _first(node: ast.stmt) -> int:
    """The line of a statement, or of its first decorator."""
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return decorators[0].lineno if decorators else node.lineno


def _text(code: str, node: ast.stmt) -> str:
    """The source of a statement, with its decorators."""
    if _first(node) == node.lineno:
        return ast.get_source_segment(code, node) or ast.unparse(node)
    return "\n".join(code.split("\n")[_first(node) - 1 : node.end_lineno])


def _reduced(part: Part, names: set[str]) -> str:
    """The text of a statement; imports are reduced to the needed names, since other libraries may be missing."""
    node = part.node
    if not isinstance(node, (ast.Import, ast.ImportFrom)) or len(node.names) == 1 or _is_future(node):
        return part.text
    given = {name for name, _ in bound(node)} & names
    node.names = [alias for alias in node.names if (alias.asname or alias.name.partition(".")[0]) in given]
    return ast.unparse(node)


def _needed(nodes: Sequence[ast.stmt], tasks: Collection[str]) -> tuple[set[ast.stmt], set[str]]:
    """The statements that the tasks need, directly or indirectly, and the needed names."""
    source = Source(ast.Module(list(nodes), []))
    touched = {node: {*_bindings(node), *_changes(node, source)} for node in nodes}
    names = {name for node in nodes for name in touched[node] if _is_task(node, name, tasks)}
    new, kept = {node for node in nodes if _changes_modules(node, source)}, set[ast.stmt]()
    while new := (new | {node for node in nodes if touched[node] & names or "*" in touched[node]}) - kept:
        kept |= new
        for node in new:
            uses = Names(source)
            uses.look(node)
            names |= uses.names
    return kept, names


def _is_task(node: ast.stmt, name: str, tasks: Collection[str]) -> bool:
    """Whether a name is that of a task, or a function name close to one, which the grader reports as misspelt."""
    return name in tasks or (
        isinstance(node, ast.FunctionDef) and name not in EXERCISES and bool(similar(name, tasks, most=1, cutoff=0.8))
    )


def _changes_modules(node: ast.stmt, source: Source) -> bool:
    """Whether a statement changes npwhisper or NumPy, or a setting of the interpreter."""
    patches = Patches(source)
    patches.look(node)
    return any(origin.partition(".")[0] in JUDGES for origin in patches.changed) or _is_setting(node, source)


def _is_setting(node: ast.stmt, source: Source) -> bool:
    is_call = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    return is_call and Names(source).dotted(node.value.func) == "sys.setrecursionlimit"  # type: ignore[attr-defined]


def _bindings(node: ast.stmt) -> Iterator[str]:
    """The names that a statement binds, also in blocks."""
    yield from (name for name, _ in bound(node))
    for inner in _inside(node):
        yield from _bindings(inner)


def _changes(node: ast.stmt, source: Source) -> Iterator[str]:
    """The names that a statement changes, except those of other modules."""
    return (name for name in changes(node, source.names) if not source.origin(name))


def _inside(node: ast.stmt) -> Iterator[ast.stmt]:
    is_definition = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
    return iter(()) if is_definition else statements(node)


def _is_future(node: ast.stmt | None) -> bool:
    return isinstance(node, ast.ImportFrom) and node.module == "__future__"


def _shown(part: Part) -> str:
    """The first line of a part that was left out."""
    lines = [line.strip() for line in part.text.split("\n") if line.strip()]
    more = " ..." if len(lines) > 1 else ""
    return f"{lines[0] if lines else ''}{more}{'' if part.node else '  (not Python)'}"[:100]


def write(path: Path) -> tuple[Path, list[str]]:
    """Write what can be graded of ``alice.ipynb`` as ``alice.py`` beside it; return what was left out."""
    if path.suffix != ".ipynb":
        raise NotebookError(f"{path} is not a notebook: give files that end in .ipynb")
    collected = collect(path)
    target = path.with_suffix(".py")
    target.write_text(collected.code, encoding="utf-8")
    return target, collected.left_out


def main(arguments: Sequence[str]) -> int:
    """Collect several notebooks; those that cannot be read are reported and skipped."""
    code = 0
    for argument in arguments:
        try:
            target, left_out = write(Path(argument))
        except (NotebookError, OSError) as error:
            print(error, file=sys.stderr)
            code = 1
            continue
        print(target)
        for line in left_out:
            print(f"    left out, {line}")
    return code
