"""Pairs of submissions that share more code than chance explains, even with renamed variables.

The syntax tree of every function is split into subtrees. Names of variables, helper functions and arguments, types,
docstrings and the order of functions are ignored. A subtree that many submissions have gets a small weight, so that
common idioms do not count; functions of about one line are ignored.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import math
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from npwhisper.lab.exercises import EXERCISES, solution

SMALLEST_FUNCTION = 40  # nodes; `return x @ w["weight"].T + w["bias"]` has about 20
SMALLEST_TREE = 8
UNCOUNTED = ("ctx", "annotation", "returns", "type_comment", "kind", "name", "arg")  # fields of the syntax tree
LIBRARY = "npwhisper's own source"
Shapes = Mapping[str, Mapping[str, int]]  # a function -> the hash of each of its subtrees and its size


class Pair(NamedTuple):
    """Two submissions, the share of common code (0 to 1), and the functions that are identical."""

    first: str
    second: str
    score: float
    same: list[str]


def fingerprints(code: str) -> dict[str, dict[str, int]]:
    """The subtrees of every function that is long enough, hash -> size; none if the code is not Python."""
    try:
        tree = ast.parse(code)
        found = {
            node.name: _subtrees(node, _module_names(tree)) for node in tree.body if isinstance(node, ast.FunctionDef)
        }
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    return {name: shape for name, shape in found.items() if max(shape.values(), default=0) >= SMALLEST_FUNCTION}


def similar_pairs(shapes: Mapping[str, Shapes], least: float, assignment: str = "") -> list[Pair]:
    """The pairs that share at least this much, most similar first; the library's solutions count as a submission."""
    everyone = {**shapes, **({LIBRARY: library_shapes(assignment)} if assignment else {})}
    students = {name: _merged(shape) for name, shape in everyone.items() if shape}
    weights = _weights(list(students.values()))
    names, found = list(students), list[Pair]()
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            score = _score(students[first], students[second], weights)
            if score >= least:
                found.append(Pair(first, second, round(score, 2), _same(everyone[first], everyone[second])))
    return sorted(found, key=lambda pair: (-pair.score, -len(pair.same), pair.first, pair.second))


def library_shapes(assignment: str) -> dict[str, dict[str, int]]:
    """The fingerprints of the solutions in the package."""
    names = [name for name, exercise in EXERCISES.items() if exercise.assignment == assignment]
    code = "\n\n".join(_source(name) for name in names)
    return fingerprints(code)


def _source(name: str) -> str:
    try:
        return textwrap.dedent(inspect.getsource(inspect.unwrap(solution(name))))
    except (OSError, TypeError):  # installed without source files
        return ""


def _merged(shapes: Shapes) -> dict[str, int]:
    return {tree: size for shape in shapes.values() for tree, size in shape.items()}


def _weights(students: Sequence[Mapping[str, int]]) -> dict[str, float]:
    """The weight of each subtree: small if many submissions have it."""
    counts = Counter(tree for trees in students for tree in trees)
    return {tree: math.log((len(students) + 1) / count) for tree, count in counts.items()}


def _score(a: Mapping[str, int], b: Mapping[str, int], weights: Mapping[str, float]) -> float:
    """The weight of the common subtrees, divided by the smaller weight plus half of the difference to the larger."""
    both, mine, theirs = (sum(weights[t] for t in trees) for trees in (a.keys() & b.keys(), a, b))
    smaller, larger = sorted((mine, theirs))
    return both / (smaller + (larger - smaller) / 2) if both else 0.0


def _same(a: Shapes, b: Shapes) -> list[str]:
    """The functions of the first that the second also has, under any name."""
    theirs = {_top(shape) for shape in b.values()}
    return sorted(name for name, shape in a.items() if _top(shape) in theirs)


def _top(shape: Mapping[str, int]) -> str:
    return max(shape, key=lambda tree: (shape[tree], tree))


def _module_names(tree: ast.Module) -> set[str]:
    """The names of helper functions and constants, which are free to choose, unlike those of tasks."""
    names = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    names |= {
        target.id for node in ast.walk(tree) for target in getattr(node, "targets", []) if isinstance(target, ast.Name)
    }
    return names - set(EXERCISES)


def _subtrees(function: ast.FunctionDef, free: set[str]) -> dict[str, int]:
    """The subtrees of a function, hash -> size."""
    local = {node.id for node in ast.walk(function) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    local |= {node.arg for node in ast.walk(function) if isinstance(node, ast.arg)} | free
    local |= {node.name for node in ast.walk(function) if isinstance(node, ast.FunctionDef)}
    found: dict[str, int] = {}
    _walk(function, local, found)
    return found


def _walk(node: ast.AST, local: set[str], found: dict[str, int]) -> tuple[str, int]:
    """The hash and the size of a subtree; large enough subtrees are added to `found`."""
    parts, size = [type(node).__name__], 1
    for field, value in ast.iter_fields(node):
        if field in UNCOUNTED and not isinstance(node, ast.keyword):
            continue
        for child in _body(value) if field == "body" else value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                part, inner = _walk(child, local, found)
                size += inner
            else:
                part = "v" if field == "id" and child in local else repr(child)
            parts.append(f"{field}:{part}")
    text = hashlib.sha256(" ".join(parts).encode("utf-8", "replace")).hexdigest()[:12]
    if size >= SMALLEST_TREE:
        found[text] = size
    return text, size


def _body(statements: Any) -> list[Any]:
    """The statements without bare constants such as docstrings."""
    if not isinstance(statements, list):
        return [statements]
    return [s for s in statements if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
