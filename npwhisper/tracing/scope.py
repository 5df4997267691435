"""Weights that know their names.

A checkpoint is a flat mapping from torch's dotted names to arrays. `nest` turns it once into a tree of `Scope`s,
so that a layer receives its own slice (``w["attn"]["query"]``) and the slice still knows where it came from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


class Scope(dict[str, Any]):
    """A dict of arrays and further Scopes that remembers its dotted path in the model.

    >>> w = nest({"decoder.ln.weight": 1, "decoder.ln.bias": 2})
    >>> w["decoder"]["ln"].name
    'decoder.ln'
    """

    __slots__ = ("name",)

    def __init__(self, name: str = "") -> None:
        super().__init__()
        self.name = name


def nest(flat: Mapping[str, Any], name: str = "") -> Scope:
    """Nest a flat state dict at its dots; `name` is the path of the module that it came from.

    >>> nest({"query.weight": "W", "query.bias": "b"})
    {'query': {'weight': 'W', 'bias': 'b'}}
    """
    root = Scope(name)
    for key, value in flat.items():
        scope = root
        *path, leaf = key.split(".")
        for part in path:
            if part not in scope:
                scope[part] = Scope(f"{scope.name}.{part}".lstrip("."))
            scope = scope[part]
        scope[leaf] = value
    return root


def flatten(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `nest`.

    >>> flatten({"query": {"weight": "W", "bias": "b"}})
    {'query.weight': 'W', 'query.bias': 'b'}
    """
    return dict(_leaves(tree, ""))


def _leaves(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
