"""Putting your own function in the place of a layer, everywhere or in one place, while a `with` block lasts.

What is replaced is the call, not the function: the network asks for `layer_norm` and gets yours. A replacement that
calls the layer it replaces gets the original. Inside it other layers are traced and replaced as ever.
"""

from __future__ import annotations

import functools
import inspect
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from importlib import import_module
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from npwhisper.tracing.seam import LAYERS, Array, Function, handling
from npwhisper.tracing.shapes import Calls
from npwhisper.tracing.spelling import advice_on

Edit: TypeAlias = Callable[[Array], Any]


class SwapError(ValueError):
    """A replacement that cannot be put where it was meant to go, or that does not do what the layer does."""


class _Change(NamedTuple):
    """A wish: at the calls that `matches` picks by name and function name, `change` the function."""

    wish: str
    is_function_name: bool
    change: Callable[[str, Function], Function]

    def matches(self, name: str, function: Function) -> bool:
        if self.is_function_name:
            return self.wish in (function.__name__, name.rpartition(".")[2])
        return fnmatchcase(name, self.wish)


@contextmanager
def swap(
    places: Mapping[str, Function] | None = None, /, *, edit: Mapping[str, Edit] | None = None, **functions: Function
) -> Iterator[Counter[str]]:
    """Replace layers by your own functions while the block lasts.

    Parameters
    ----------
    places : mapping from names to functions, optional
        Dotted names or globs, as `trace` shows them: ``{"decoder.blocks.0.attn": my_attention}``.
    edit : mapping from names to functions of the value, optional
        What is done to results: ``{"decoder.blocks.2.mlp": lambda y: 0 * y}`` removes an mlp. The function gets a copy
        and returns an array of the same shape.
    **functions
        Replacements by the name of the layer's function: ``layer_norm=my_layer_norm`` replaces all of them.

    Yields
    ------
    Counter
        How often each name was replaced or edited so far.

    Raises
    ------
    SwapError
        If there is no such layer, if a replacement does not take the layer's arguments or does not return an array, if
        a shape that it returned made the block fail, or if no call had the dotted name when the block ends.

    Notes
    -----
    Only this thread or task is affected, and threads that were given a copy of its context; leaving the block ends the
    replacement in all of them.

    Examples
    --------
    >>> import numpy as np
    >>> from npwhisper.model.layers import softmax
    >>> def hardmax(x):
    ...     return (x == x.max(axis=-1, keepdims=True)).astype(np.float32)
    >>> with swap(softmax=hardmax):
    ...     softmax(np.array([[1, 3, 2]], np.float32))
    array([[0., 1., 0.]], dtype=float32)
    """
    calls = Calls()
    changes = [_replacement(wish, function, calls) for wish, function in {**(places or {}), **functions}.items()]
    block = _Block([*changes, *(_edit(wish, function) for wish, function in (edit or {}).items())])
    try:
        with handling(block.change, replaces=True):
            yield block.counts
    except Exception as error:
        if sentence := calls.explain(error):
            raise SwapError(sentence) from error
        raise
    block.require_met()


class _Block:
    """The wishes of one `with` block, the names that were called in it, and which of the wishes were met."""

    def __init__(self, changes: Sequence[_Change]) -> None:
        self.changes, self.counts, self.seen, self.met = changes, Counter[str](), set[str](), set[str]()

    def change(self, name: str, function: Function) -> Function:
        """The function that is called under `name` instead."""
        self.seen.add(name)
        for change in self.changes:
            if change.matches(name, function):
                function = change.change(name, function)
                self.met.add(change.wish)
                self.counts[name] += 1
        return function

    def require_met(self) -> None:
        """Raise SwapError for a dotted name that no call in the block had."""
        for wish in (change.wish for change in self.changes if not change.is_function_name):
            if wish not in self.met:
                raise SwapError(f"nothing computed in this block is called {wish!r}{advice_on(wish, self.seen)}")


def find_layer(name: str) -> Function | None:
    """The layer of this function name, wherever in the package it is; None if there is none.

    >>> find_layer("softmax").__name__, find_layer("softmix")
    ('softmax', None)
    """
    if name not in LAYERS:
        import_module("npwhisper.whisper.handle")  # which imports every module that has layers
    return LAYERS.get(name)


def _is_function_name(wish: str) -> bool:
    """Whether this names a function, and not a place; a name that could be neither is refused."""
    if find_layer(wish) is not None:
        return True
    if "." not in wish and not any(sign in wish for sign in "*?["):
        raise SwapError(f"there is no layer called {wish!r}{advice_on(wish, LAYERS)}")
    return False


def _replacement(wish: str, function: Function, calls: Calls) -> _Change:
    if not callable(function):
        raise SwapError(f"{wish} can only be replaced by a function, got {type(function).__name__}: pass one")
    is_function_name = _is_function_name(wish)
    original = find_layer(wish)
    if original is not None:
        check_signature(original, function)
    return _Change(wish, is_function_name, lambda name, layer: _guarded(name, layer, function, calls))


def check_signature(original: Function, function: Function) -> None:
    """Raise SwapError for a function that cannot be called with what the layer must be given.

    >>> check_signature(find_layer("softmax"), lambda: None)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    npwhisper.tracing.swapping.SwapError: <lambda>() cannot stand for softmax(x): too many positional arguments. ...
    """
    taken = _signature(function)
    needed = [p for p in inspect.signature(original).parameters.values() if p.default is p.empty]
    try:
        if taken is not None:
            taken.bind(*[None] * len(needed))
    except TypeError as error:
        raise SwapError(_wrong_signature(original, function, str(error))) from None


def _signature(function: Function) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):  # some functions written in C have none that could be asked for
        return None


def _wrong_signature(original: Function, function: Function, reason: str) -> str:
    theirs, ours = (", ".join(inspect.signature(f).parameters) for f in (function, original))
    name = getattr(function, "__name__", "the replacement")
    return f"{name}({theirs}) cannot stand for {original.__name__}({ours}): {reason}. Write it as {describe(original)}"


def describe(function: Function) -> str:
    """The first line of a function's definition without types: ``def conv1d(x, w, stride=1)``.

    >>> describe(find_layer("conv1d"))
    'def conv1d(x, w, stride=1)'
    """
    parameters = [
        p.name if p.default is p.empty else f"{p.name}={p.default!r}"
        for p in inspect.signature(function).parameters.values()
    ]
    return f"def {function.__name__}({', '.join(parameters)})"


def _guarded(name: str, layer: Function, function: Function, calls: Calls) -> Function:
    """The replacement, with messages for calls that it does not take and for results that are not arrays."""

    @functools.wraps(layer)
    def replaced(*args: Any, **kwargs: Any) -> Any:
        calls.begin(name, layer, function, args, kwargs)
        try:
            value = function(*args, **kwargs)
        except TypeError:
            _explain_call(name, layer, function, args, kwargs)
            raise
        if not isinstance(value, np.ndarray) and inspect.signature(layer).return_annotation == "Array":
            kind = getattr(function, "__name__", "the replacement")
            raise SwapError(f"{kind} returned {_kind(value)} at {name}, but {layer.__name__} returns an array")
        calls.end(name, value)
        return value

    return replaced


def _explain_call(name: str, layer: Function, function: Function, args: Any, kwargs: Any) -> None:
    """Raise SwapError if it was the call that failed, and not something inside the function."""
    taken = _signature(function)
    try:
        if taken is not None:
            taken.bind(*args, **kwargs)
    except TypeError as error:
        raise SwapError(f"at {name}, {_wrong_signature(layer, function, str(error))}") from None


def _kind(value: Any) -> str:
    return "None (is a return missing?)" if value is None else f"a {type(value).__name__}"


def _edit(wish: str, function: Edit) -> _Change:
    if not callable(function):
        raise SwapError(f"the edit of {wish} must be a function of its value, got {type(function).__name__}")
    return _Change(wish, _is_function_name(wish), lambda name, layer: _edited(name, layer, function))


def _edited(name: str, layer: Function, function: Edit) -> Function:
    @functools.wraps(layer)
    def edited(*args: Any, **kwargs: Any) -> Any:
        before = layer(*args, **kwargs)
        if not isinstance(before, np.ndarray):  # as the mask that a single query does not need
            return before
        after = function(before.copy())
        if after is None or np.shape(after) != before.shape:
            got = _kind(after) if after is None else f"shape {np.shape(after)}"
            raise SwapError(
                f"the edit of {name} returned {got}, but its value has shape {before.shape}: keep the shape"
            )
        return np.asarray(after, dtype=before.dtype)

    return edited
