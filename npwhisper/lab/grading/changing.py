"""Which names a statement changes without binding them: `x[i] = ...`, `x.append(...)`, also in functions it calls.

A table may be filled by a bare call, `fill()` or `fill(TABLE)`; the source of `fill` says what it changes.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import TypeAlias

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
Names: TypeAlias = Mapping[str, list[ast.stmt]]  # the names of a file -> the statements that bind them
DEFINITIONS = (*FUNCTIONS, ast.ClassDef)


def changes(statement: ast.stmt, names: Names, open_calls: frozenset[str] = frozenset()) -> Iterator[str]:
    """The names of the file that a statement changes, also in blocks and in functions of the file that it calls.

    >>> tree = ast.parse("def fill(x):\\n    x.append(1)\\nfill(TABLE)")
    >>> list(changes(tree.body[1], {"fill": tree.body[:1]}))
    ['TABLE']
    """
    for node in _executed(statement):
        yield from _directly(node)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id not in open_calls:
            yield from _by_call(node, node.func.id, names, open_calls)


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that run with a statement: decorators of functions, but not their bodies."""
    if isinstance(node, DEFINITIONS):
        for decorator in getattr(node, "decorator_list", []):
            yield from _executed(decorator)
            if isinstance(decorator, ast.Name):
                yield ast.Call(decorator, [], [])
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _executed(child)


def _directly(node: ast.AST) -> Iterator[str]:
    """The names whose parts are assigned, deleted, or changed by a method."""
    if isinstance(node, (ast.Attribute, ast.Subscript)) and isinstance(node.ctx, (ast.Store, ast.Del)):
        yield root_name(node)
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Attribute):
        yield root_name(node.value.func)


def _by_call(call: ast.Call, name: str, names: Names, open_calls: frozenset[str]) -> Iterator[str]:
    """What a function of the file changes: names of the file, and its arguments."""
    for function in names.get(name, []):
        if not isinstance(function, ast.FunctionDef):
            continue
        given = _given(call, function.args)
        foreign = {n for node in ast.walk(function) if isinstance(node, ast.Global) for n in node.names}
        yield from foreign
        local = _bound_in(function) - foreign
        for inner in function.body:
            for changed in changes(inner, names, open_calls | {name}):
                if changed in given:
                    yield given[changed]
                elif changed not in local:
                    yield changed


def _given(call: ast.Call, parameters: ast.arguments) -> dict[str, str]:
    """Parameter names -> the names of the arguments."""
    places = (parameter.arg for parameter in (*parameters.posonlyargs, *parameters.args))
    given = {name: root_name(value) for name, value in zip(places, call.args, strict=False)}
    return given | {keyword.arg: root_name(keyword.value) for keyword in call.keywords if keyword.arg}


def _bound_in(function: ast.FunctionDef) -> set[str]:
    """The names local to a function."""
    stored = (n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
    return {*stored, *(n.arg for n in ast.walk(function.args) if isinstance(n, ast.arg))}


def root_name(node: ast.AST) -> str:
    """The first name of `a.b[c].d()`, or an empty string."""
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call, ast.Starred)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""
