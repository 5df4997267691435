"""The seam: one decorator through which every layer can be watched or replaced.

A function marked `@layer` is an ordinary function. Only while handlers are installed does a call pass through them:
each handler receives the call's dotted name and the function, and returns the function to call in its place.
Recording (`trace`) is one such handler; replacing (`swap`) and timing (`profile`) are others. No recording call stands
in the maths.

A call is named after its weights (`decoder.blocks.0.attn.query`: torch's module path) or, when the function has none,
after the module around it (`decoder.blocks.0.attn.softmax`).
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from fnmatch import fnmatchcase
from typing import Any, NamedTuple, ParamSpec, TypeAlias, TypeVar, overload

import numpy as np

from npwhisper.tracing.scope import Scope
from npwhisper.tracing.spelling import advice_on

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Weights: TypeAlias = Mapping[str, Any]
Function: TypeAlias = Callable[..., Any]
Handler: TypeAlias = Callable[[str, Function], Function]
"""``handler(name, function)`` returns the function that is called instead."""

P = ParamSpec("P")
R = TypeVar("R")


LAYERS: dict[str, Function] = {}
"""Every layer that has been imported, by the function's name and by the name under which its calls are seen."""


class _Frame(NamedTuple):
    module: str = ""  # the dotted path of the innermost module that has weights
    replacing: tuple[Handler, ...] = ()
    watching: tuple[Handler, ...] = ()  # they see what the replacing ones left
    replaced: frozenset[str] = frozenset()  # the calls around this one in which a replacement runs


_frame: ContextVar[_Frame | None] = ContextVar("npwhisper_frame", default=None)


@overload
def layer(function: Callable[P, R]) -> Callable[P, R]: ...
@overload
def layer(*, name: str) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def layer(function: Any = None, *, name: str = "") -> Any:
    """Let handlers see each call of `function`; without handlers the call falls straight through.

    >>> @layer
    ... def double(x):
    ...     return 2 * x
    >>> with trace() as acts:
    ...     _ = double(np.ones(2))
    >>> acts["double"]
    array([2., 2.])
    """
    if function is None:
        return functools.partial(layer, name=name)
    label = name or function.__name__

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        frame = _frame.get()
        if frame is None:
            return function(*args, **kwargs)
        return _handled(frame, label, function, args, kwargs)

    for key in (label, function.__name__):
        LAYERS.setdefault(key, call)
    return call


def _handled(frame: _Frame, label: str, function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Pass one call through the handlers, those of the innermost `with` block last."""
    scope = next((a for a in (*args[1:2], kwargs.get("w")) if isinstance(a, Scope)), None)
    module = frame.module if scope is None else scope.name
    name = module if scope is not None and module else f"{module}.{label}".lstrip(".")
    inside, original = frame._replace(module=module), function
    if name not in frame.replaced:  # a replacement that calls what it replaces gets the original, as a part of itself
        for handler in frame.replacing:
            function = handler(name, function)
        if function is not original:
            inside = inside._replace(replaced=frame.replaced | {name})
        for handler in frame.watching:
            function = handler(name, function)
    token = _frame.set(inside)
    try:
        return function(*args, **kwargs)
    finally:
        _frame.reset(token)


@contextmanager
def handling(handler: Handler, replaces: bool = False) -> Iterator[None]:
    """Install a handler for the calls made inside the `with` block, in this thread or task only.

    A thread that was given a copy of this context (`contextvars.copy_context`) is included until the block is left.

    >>> names = []
    >>> with handling(lambda name, function: names.append(name) or function):
    ...     _ = layer(abs)(-1)
    >>> names
    ['abs']
    """
    is_open = True

    def while_open(name: str, function: Function) -> Function:
        return handler(name, function) if is_open else function

    frame = _frame.get() or _Frame()
    if replaces:
        frame = frame._replace(replacing=(*frame.replacing, while_open))
    else:
        frame = frame._replace(watching=(*frame.watching, while_open))
    token = _frame.set(frame)
    try:
        yield
    finally:
        is_open = False
        _frame.reset(token)


def is_handled() -> bool:
    """Whether any handler is installed here: then functions made of layers must stay whole and in this context.

    >>> with trace():
    ...     is_handled()
    True
    >>> is_handled()
    False
    """
    return _frame.get() is not None


class Activations(Mapping[str, Array]):
    """What `trace` recorded: ``acts[name]`` is the last value under a name, ``acts.all(name)`` every one, in order.

    Attributes
    ----------
    steps : list of dict
        What was recorded from each call of the decoder to the next, or to the next call of the encoder: one for every
        decode step.
    records : list of (name, array)
        Everything, in the order in which it was finished.
    """

    def __init__(self) -> None:
        self._values: dict[str, list[Array]] = {}
        self._step: dict[str, Array] | None = None
        self.steps: list[dict[str, Array]] = []
        self.records: list[tuple[str, Array]] = []

    def __getitem__(self, name: str) -> Array:
        return self.all(name)[-1]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def all(self, name: str) -> list[Array]:
        """Every value recorded under `name`: one for each call, so one for each decode step."""
        if name not in self._values:
            raise KeyError(
                f"nothing was recorded as {name!r}; the recorded names are: {', '.join(self._values) or 'nothing'}"
            )
        return self._values[name]

    def names(self, pattern: str = "*") -> list[str]:
        """The recorded names that match a glob."""
        return [name for name in self._values if fnmatchcase(name, pattern)]

    def begin(self, name: str) -> None:
        """Note that `name` is about to be computed: the decoder begins a step, the encoder ends it."""
        if name in ("mel", "encoder"):
            self._step = None
        elif name == "decoder":
            self._step = {}
            self.steps.append(self._step)

    def record(self, name: str, value: Array) -> None:
        """Keep `value`, frozen: a caller that writes into what it was given raises instead of falsifying the record."""
        value.flags.writeable = False
        self._values.setdefault(name, []).append(value)
        self.records.append((name, value))
        if self._step is not None:
            self._step[name] = value

    def __repr__(self) -> str:
        size = sum(value.nbytes for _, value in self.records) / 1e6
        return f"<Activations: {len(self)} names, {len(self.records)} arrays, {size:.1f} MB, {len(self.steps)} steps>"

    def _repr_html_(self) -> str:
        from npwhisper.tracing.tables import html_table

        header = ["name", "calls", "shape of the last", "dtype", "smallest", "mean", "largest"]
        return html_table(header, [_summary(name, values) for name, values in self._values.items()], str(self))


def _summary(name: str, values: list[Array]) -> list[str]:
    last = values[-1]
    numbers = (last.min(), last.mean(), last.max()) if last.size else ()
    return [name, str(len(values)), str(last.shape), str(last.dtype), *(f"{number:.4g}" for number in numbers)]


def is_chosen(name: str, patterns: Sequence[str]) -> bool:
    """Whether a name matches one of the globs, or there are none.

    >>> is_chosen("decoder.ln", ("decoder.*",)), is_chosen("decoder.ln", ("encoder.*",)), is_chosen("decoder.ln", ())
    (True, False, True)
    """
    return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)


def _recorded(acts: Activations, name: str, function: Function) -> Function:
    """A function that also keeps the array that it returns."""

    @functools.wraps(function)
    def recorded(*args: Any, **kwargs: Any) -> Any:
        value = function(*args, **kwargs)
        if isinstance(value, np.ndarray):
            acts.record(name, value)
        return value

    return recorded


@contextmanager
def trace(*patterns: str) -> Iterator[Activations]:
    """Record the result of every layer called inside the `with` block.

    Parameters
    ----------
    *patterns : str
        Globs over the dotted names (``"decoder.blocks.*.cross_attn*"``; ``*`` also crosses dots). Without any,
        everything is recorded, which for a long recording is a great deal of memory.

    Yields
    ------
    Activations
        A mapping from names to frozen arrays, filled as the calls happen.

    Warns
    -----
    UserWarning
        When the block ends, about each pattern that matched no call.

    Examples
    --------
    >>> import numpy as np
    >>> from npwhisper.model.layers import softmax
    >>> with trace("soft*") as acts:
    ...     _ = softmax(np.zeros((1, 4), np.float32))
    >>> acts["softmax"]
    array([[0.25, 0.25, 0.25, 0.25]], dtype=float32)
    """
    acts, seen = Activations(), set[str]()

    def record(name: str, function: Function) -> Function:
        acts.begin(name)
        seen.add(name)
        return _recorded(acts, name, function) if is_chosen(name, patterns) else function

    with handling(record):
        yield acts
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in seen):
            message = f"nothing computed in this block is called {pattern!r}{advice_on(pattern, seen)}"
            warnings.warn(message, stacklevel=3)
