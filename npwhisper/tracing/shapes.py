"""Which replaced layer broke a computation, and which shape its result should have had.

While replacements work, only the shapes of what they were given are kept. After an error the layer that was replaced is
called with zeros of these shapes: what it returns has the shape that was wanted.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import Context
from typing import Any, NamedTuple

import numpy as np

from npwhisper.tracing.seam import Function

SHAPE_ERRORS = (ValueError, IndexError)  # NumPy's own; their subclasses here tell more already
PLAIN = (Mapping, str, int, float, type(None))


class _Shape(NamedTuple):
    """In the place of an array."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class Call(NamedTuple):
    """The last call of a replacement at one place; `result` is a shape, or None while there is none."""

    layer: Function
    function: Function
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: tuple[int, ...] | None = None


class Calls(dict[tuple[str, bool], Call]):
    """The first and the last call (True) of each replaced place: what failed may be the second that it made wrong."""

    def begin(self, name: str, layer: Function, function: Function, args: Any, kwargs: Any) -> None:
        """Keep the shapes of what a replacement is given."""
        call = Call(layer, function, _shapes(args), _shapes(kwargs))
        self.setdefault((name, False), call)
        self.pop((name, True), None)
        self[name, True] = call

    def end(self, name: str, value: Any) -> None:
        """Keep the shape of what it returned."""
        if isinstance(value, np.ndarray) and (call := self.get((name, True))):
            done = call._replace(result=value.shape)
            self.update({key: done for key in ((name, False), (name, True)) if self.get(key) is call})

    def explain(self, error: BaseException) -> str | None:
        """The sentence for an error of NumPy's: which replacement has the wrong shape, or which one failed."""
        if type(error) not in SHAPE_ERRORS:
            return None
        for (name, _), call in self.items():
            if call.result is not None and (wanted := _wanted(call)) not in (None, call.result):
                return f"{_title(call)} returned an array of shape {call.result} at {name}; expected {wanted}"
        for (name, _), call in reversed(self.items()):
            if call.result is None and (wanted := _wanted(call)):
                return f"{_title(call)} failed at {name}, given {_given(call)} (expected shape {wanted}): {error}"
        return None


def _shapes(given: Any) -> Any:
    """Arguments with a `_Shape` for every array."""
    if isinstance(given, np.ndarray):
        return _Shape(given.shape, given.dtype)
    if isinstance(given, (tuple, list)) and not hasattr(given, "_fields"):
        return type(given)(_shapes(item) for item in given)
    return {key: _shapes(item) for key, item in given.items()} if type(given) is dict else given


def _zeros(given: Any) -> Any:
    """Arguments with zeros for every `_Shape`."""
    if isinstance(given, _Shape):
        return np.zeros(given.shape, given.dtype)
    if isinstance(given, (tuple, list)):
        return type(given)(_zeros(item) for item in given)
    return {key: _zeros(item) for key, item in given.items()} if type(given) is dict else given


def _wanted(call: Call) -> tuple[int, ...] | None:
    """The shape that the layer itself would return; None if that cannot be told."""
    given = [*call.args, *call.kwargs.values()]
    if not all(isinstance(item, (*PLAIN, _Shape, tuple, list)) for item in given):  # a cache: it may not be changed
        return given[0].shape if isinstance(given[0], _Shape) else None
    try:
        value = Context().run(call.layer, *_zeros(call.args), **_zeros(call.kwargs))  # seen by no handler
    except SHAPE_ERRORS:
        return None
    return value.shape if isinstance(value, np.ndarray) else None


def _title(call: Call) -> str:
    return str(getattr(call.function, "__name__", "the replacement"))


def _given(call: Call) -> str:
    """The shapes of arrays and weights: ``(1, 5, 24), weight (24, 24)``."""
    shown = list[str]()
    for item in [*call.args, *call.kwargs.values()]:
        if isinstance(item, _Shape):
            shown.append(str(item.shape))
        elif isinstance(item, Mapping):
            shown += [f"{key} {value.shape}" for key, value in item.items() if hasattr(value, "shape")]
    return ", ".join(shown)
