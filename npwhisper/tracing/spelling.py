"""Suggestions for misspelt names."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable


def did_you_mean(name: str, known: Iterable[str], most: int = 2, cutoff: float = 0.6) -> str:
    """A question that offers the names most like one that does not exist, or an empty text.

    >>> did_you_mean("layernorm", ["layer_norm", "linear"])
    'did you mean layer_norm?'
    >>> did_you_mean("xyz", ["layer_norm", "linear"])
    ''
    """
    return question(similar(name, sorted(known), most, cutoff))


def similar(name: str, known: Iterable[str], most: int = 3, cutoff: float = 0.6) -> list[str]:
    """The names most like one that does not exist, the likest first.

    >>> similar("layernorm", ["linear", "layer_norm"])
    ['layer_norm']
    """
    return difflib.get_close_matches(name, list(known), n=most, cutoff=cutoff)


def question(meant: Iterable[str]) -> str:
    """The question whether one of these was meant; an empty text without any.

    >>> question(["layer_norm", "linear"])
    'did you mean layer_norm or linear?'
    """
    names = " or ".join(meant)
    return f"did you mean {names}?" if names else ""


def advice_on(name: str, known: Collection[str]) -> str:
    """The end of a sentence on a layer that does not exist or was not called: what was meant, or what there is."""
    if meant := did_you_mean(name, known, most=3, cutoff=0.5):
        return f": {meant}"
    return f": there are {', '.join(sorted(known)[:40])}" if known else ": no layer was called at all"
