"""A student's file as a syntax tree: which tasks it has, and what each of them uses. Nothing is executed.

A task uses what is in its function and in everything that function names: helpers, constants, imports. The rest of the
file (calls of `check`, a last cell that transcribes) is ignored, except for changes to other modules.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from npwhisper.lab.exercises import EXERCISES
from npwhisper.lab.grading.changing import FUNCTIONS, changes, root_name
from npwhisper.lab.grading.rules import (
    BUILTINS,
    DUNDERS,
    FILES,
    MODULES,
    REACHING,
    READY_MADE,
    Finding,
    may_call,
    refusal,
)

SCOPES = (*FUNCTIONS, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
HARMLESS = ("matplotlib", "os.environ")  # modules whose settings a file may change
Scope = dict[str, str]  # a name -> the dotted name it was imported from, or an empty string


class Source:
    """The names that a file binds, each with the statements that bind it."""

    def __init__(self, tree: ast.Module) -> None:
        self.names: dict[str, list[ast.stmt]] = {}
        self.stars: list[str] = []
        self.tree = tree
        for statement in self.tree.body:
            self._bind(statement, is_direct=True)

    def _bind(self, statement: ast.stmt, is_direct: bool) -> None:
        """The last direct definition of a name counts; definitions inside an `if` or a `try` all count."""
        for name, origin in bound(statement):
            if name == "*":
                self.stars.append(origin)
            kept = [] if is_direct and not isinstance(statement, ast.AugAssign) else self.names.get(name, [])
            self.names[name] = [*kept, statement]
        if not isinstance(statement, (*FUNCTIONS, ast.ClassDef)):
            for inner in statements(statement):
                self._bind(inner, is_direct=False)

    @cached_property
    def changes(self) -> dict[str, list[ast.stmt]]:
        """The names that the file changes, each with the statements that do so: `x.append(y)`, `x.y = z`."""
        found: dict[str, list[ast.stmt]] = {}
        for statement in self.tree.body:
            for name in set(changes(statement, self.names)):
                found.setdefault(name, []).append(statement)
        return found

    @property
    def tasks(self) -> list[str]:
        """The tasks that the file defines."""
        return [name for name in EXERCISES if name in self.names]

    def may_have(self, task: str) -> bool:
        """Whether the file defines a task, or may import it with a star or `__getattr__`."""
        return bool({task, "__getattr__"} & set(self.names) or self.stars)

    @property
    def functions(self) -> list[str]:
        """All functions; one of them may be a task with a misspelt name."""
        return [name for name, where in self.names.items() if any(isinstance(node, FUNCTIONS) for node in where)]

    def origin(self, name: str) -> str | None:
        """The dotted name that a name of the file was imported from, if it was."""
        for statement in reversed(self.names.get(name, [])):
            for given, origin in bound(statement):
                if given == name and origin:
                    return origin
        if name not in self.names and name not in _builtins():
            return next((f"{star}.{name}" for star in self.stars if star.startswith("npwhisper")), None)
        return None

    def findings(self, task: str) -> list[Finding]:
        """What a task uses but may not, in line order."""
        found, open_names, seen = set(Patches(self).look(self.tree)), [task], {task}
        if origin := self.origin(task):
            last = self.names.get(task, [None])[-1]
            found |= {Finding(getattr(last, "lineno", 0), sentence) for sentence in _judge(task, origin)}
        while open_names:
            name = open_names.pop()
            for statement in [*self.names.get(name, []), *self.changes.get(name, [])]:
                uses = Uses(self, task)
                found |= set(uses.look(statement))
                open_names += uses.names - seen
                seen |= uses.names
        return sorted(found)


class Walker(ast.NodeVisitor):
    """Visits a tree, tracking which names are local and what the others were imported from."""

    def __init__(self, source: Source) -> None:
        self.source, self.scopes = source, list[Scope]()
        self.found: list[Finding] = []

    def look(self, tree: ast.AST) -> list[Finding]:
        """Visit a tree and return the findings."""
        self.visit(tree)
        return self.found

    def visit(self, node: ast.AST) -> Any:
        """Open a scope for each function."""
        if not isinstance(node, SCOPES):
            return super().visit(node)
        for outside in _outside(node):
            self.visit(outside)
        self.scopes.append(_locals(node))
        super().visit(node)
        self.scopes.pop()
        return None

    def origin(self, name: str) -> str | None:
        """The dotted name that a name was imported from; None if it is local."""
        for scope in reversed(self.scopes):
            if name in scope:
                return scope[name] or None
        return self.source.origin(name)

    def is_local(self, name: str) -> bool:
        """Whether a name is local to an enclosing function."""
        return any(name in scope for scope in self.scopes)

    def dotted(self, node: ast.expr) -> str | None:
        """`np.linalg.norm` -> numpy.linalg.norm, if `np` was imported."""
        if isinstance(node, ast.Name):
            return self.origin(node.id)
        if isinstance(node, ast.Attribute) and (before := self.dotted(node.value)):
            return f"{before}.{node.attr}"
        return None

    def add(self, node: Any, sentence: str) -> None:
        """Record a finding."""
        self.found.append(Finding(getattr(node, "lineno", 0), sentence))


class Names(Walker):
    """The names of the file that a statement uses."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.names = set[str]()

    def visit_Name(self, node: ast.Name) -> None:
        """A name alone."""
        if not self.is_local(node.id):
            self.names.add(node.id)


class Uses(Names):
    """What a statement uses but the task may not, and the names of the file that it uses."""

    def __init__(self, source: Source, task: str) -> None:
        super().__init__(source)
        self.task = task

    def visit_Name(self, node: ast.Name) -> None:
        """A name alone."""
        super().visit_Name(node)
        if not self.is_local(node.id) and node.id not in self.source.names and node.id in BUILTINS:
            self.add(node, f"it uses {node.id}, which no task needs")
        self._judge(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        """A dotted name; if it cannot be resolved, its parts are visited."""
        if node.attr in REACHING or (node.attr.startswith("__") and node.attr not in DUNDERS):
            self.add(node, f"it uses {node.attr}, which no task needs")
        if self.dotted(node) is None:
            self.visit(node.value)
            return
        self._judge(node)
        root = root_name(node)
        if root and not self.is_local(root):
            self.names.add(root)

    def visit_MatchClass(self, node: ast.MatchClass) -> None:
        """`case object(name=x)` is an attribute like any other."""
        for name in node.kwd_attrs:
            self.visit_Attribute(ast.copy_location(ast.Attribute(node.cls, name, ast.Load()), node))
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        """`getattr(x, "name")` is an attribute like any other."""
        match node:
            case ast.Call(func=ast.Name(id="getattr"), args=[value, ast.Constant(value=str(name)), *default]):
                self.visit(ast.copy_location(ast.Attribute(value, name, ast.Load()), node))
                for other in default:
                    self.visit(other)
            case _:
                self.generic_visit(node)

    def _judge(self, node: ast.expr) -> None:
        for sentence in _judge(self.task, self.dotted(node) or ""):
            self.add(node, sentence)


class Patches(Walker):
    """Changes to other modules, which affect all tasks: `npwhisper.lab.checking.check = mine`."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.changed = set[str]()

    def visit_Attribute(self, node: ast.Attribute) -> None:
        """An attribute that is assigned or deleted."""
        if isinstance(node.ctx, (ast.Store, ast.Del)):
            self._change(node, node)
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        """An item of a module that is assigned or deleted."""
        if isinstance(node.ctx, (ast.Store, ast.Del)):
            self._change(node, node.value)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        """`setattr`, and code that is evaluated at import."""
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name in ("setattr", "delattr") and node.args and not self.is_local(name):
            self._change(node, node.args[0])
        if name in ("exec", "eval", "globals", "vars", "__import__") and not self.scopes:
            self.add(node, f"the file calls {name}, so that nothing in it can be read")
        self.generic_visit(node)

    def _change(self, node: ast.expr, what: ast.expr) -> None:
        origin = self.dotted(what)
        if origin and not origin.startswith(HARMLESS):
            self.changed.add(origin)
            self.add(node, f"the file changes {origin}, so that nothing in it counts")


def _judge(task: str, dotted: str) -> Iterator[str]:
    """Why a task may not use an imported name."""
    root, *parts = dotted.split(".")
    if not root:
        return
    if root not in MODULES:
        yield f"it uses {root}: {EXERCISES[task].assignment} is written with NumPy"
    elif root == "npwhisper":
        yield from _judge_ours(task, dotted)
    elif any(dotted == name or dotted.startswith(f"{name}.") for name in READY_MADE) or (
        root == "numpy" and FILES & set(parts)
    ):
        yield f"it uses {dotted}, which is not allowed"
    elif REACHING & {part.lstrip("_") for part in parts}:
        yield f"it uses {dotted}, which no task needs"


def _judge_ours(task: str, dotted: str) -> Iterator[str]:
    parts = dotted.split(".")
    n = max(n for n in range(1, len(parts) + 1) if _is_module(".".join(parts[:n])))
    if n == len(parts):
        yield f"it uses the module {dotted} as a value: import what you need from it by name"
        return
    owner, *members = parts[n:]
    for name in [owner, *(member for member in members if member in EXERCISES)]:
        if not may_call(task, name):
            yield refusal(task, name)
            return


@cache
def _is_module(dotted: str) -> bool:
    try:
        return find_spec(dotted) is not None
    except (ImportError, ValueError):  # the parent is a module, not a package
        return False


@cache
def _builtins() -> frozenset[str]:
    import builtins

    return frozenset(dir(builtins))


def read(path: Path) -> Source:
    """Parse a file; one that is not Python has no names here, and importing it reports why."""
    try:
        return Source(ast.parse(path.read_bytes()))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Source(ast.Module([], []))


def bound(node: ast.AST) -> Iterator[tuple[str, str]]:
    """The names that a statement binds, each with the dotted name it is imported from, or an empty string."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield node.name, ""
    elif isinstance(node, ast.Import):
        for alias in node.names:
            yield (alias.asname, alias.name) if alias.asname else (alias.name.partition(".")[0],) * 2
    elif isinstance(node, ast.ImportFrom):
        for alias in node.names:
            origin = node.module or "" if alias.name == "*" else f"{node.module or '.'}.{alias.name}"
            yield alias.asname or alias.name, origin
    elif isinstance(node, ast.ExceptHandler) and node.name:
        yield node.name, ""
    else:
        yield from ((name, "") for name in _stored(node))


def _stored(node: ast.AST) -> Iterator[str]:
    """The names that an assignment, a loop, a `with` or a walrus of this statement binds."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store):
            yield child.id
        elif not isinstance(child, (*SCOPES, ast.stmt, ast.ExceptHandler)):
            yield from _stored(child)


def _outside(node: ast.AST) -> list[ast.expr]:
    """The parts of a function that are evaluated at its definition: decorators and default values."""
    arguments = getattr(node, "args", None)
    defaults = [*arguments.defaults, *filter(None, arguments.kw_defaults)] if arguments else []
    return [*getattr(node, "decorator_list", []), *defaults]


def statements(node: ast.AST) -> Iterator[ast.stmt]:
    """The statements directly inside an `if`, `for`, `with`, `try`, `match`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt):
            yield child
        elif isinstance(child, (ast.ExceptHandler, ast.match_case)):
            yield from statements(child)


def _locals(node: ast.AST) -> Scope:
    """The names local to a function: its arguments and everything it binds."""
    arguments = getattr(node, "args", None)
    names: Scope = {child.arg: "" for child in ast.walk(arguments) if isinstance(child, ast.arg)} if arguments else {}
    names |= {name: "" for generator in getattr(node, "generators", []) for name in _stored(generator)}
    foreign: set[str] = set()
    for child in _own(node):
        names |= dict(bound(child))
        if isinstance(child, (ast.Global, ast.Nonlocal)):
            foreign |= set(child.names)
    return {name: origin for name, origin in names.items() if name not in foreign}


def _own(node: ast.AST) -> Iterator[ast.AST]:
    """The statements of a function, without those of nested functions and classes."""
    body = getattr(node, "body", [])
    todo = list(body) if isinstance(body, list) else []
    while todo:
        child = todo.pop()
        yield child
        if not isinstance(child, (*FUNCTIONS, ast.ClassDef)):
            inner = ast.iter_child_nodes(child)
            todo += [n for n in inner if isinstance(n, (ast.stmt, ast.ExceptHandler, ast.match_case))]
