"""Scopes: a flat state dict as a tree whose branches know their names, and back."""

from __future__ import annotations

import cases
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npwhisper.tracing.scope import Scope, flatten, nest

PARTS = st.sampled_from(["encoder", "blocks", "0", "11", "attn"])
LEAVES = st.sampled_from(["weight", "bias", "positional_embedding"])
NAMES = st.builds(lambda path, leaf: ".".join([*path, leaf]), st.lists(PARTS, max_size=4), LEAVES)


@given(st.dictionaries(NAMES, st.integers()))
def test_flatten_undoes_nest(flat: dict[str, int]) -> None:
    assert flatten(nest(flat)) == flat


@given(st.dictionaries(NAMES, st.integers()))
def test_every_scope_knows_its_path(flat: dict[str, int]) -> None:
    root = nest(flat)
    for name in flat:
        scope, path = root, name.split(".")[:-1]
        for i, part in enumerate(path):
            scope = scope[part]
            assert isinstance(scope, Scope)
            assert scope.name == ".".join(path[: i + 1])


def test_a_whole_model_keeps_its_order_and_its_arrays() -> None:
    weights = cases.random_weights()
    tree = nest(weights)
    assert list(tree["decoder"]["blocks"]) == ["0", "1", "2"]
    assert flatten(tree).keys() == weights.keys()
    assert all(flatten(tree)[name] is array for name, array in weights.items())


@pytest.mark.parametrize(
    ("name", "expected"), [("", "attn.query"), ("encoder.blocks.3", "encoder.blocks.3.attn.query")]
)
def test_a_slice_can_be_told_where_it_comes_from(name: str, expected: str) -> None:
    tree = nest({"attn.query.weight": 1}, name)
    assert (tree.name, tree["attn"]["query"].name) == (name, expected)


def test_a_scope_is_a_dict() -> None:
    scope = nest({"query.weight": 1, "scale": 2})
    assert scope == {"query": {"weight": 1}, "scale": 2}
    assert flatten({"query": {"weight": 1}, "scale": 2}) == {"query.weight": 1, "scale": 2}
    with pytest.raises(KeyError, match="bias"):
        scope["query"]["bias"]
    assert (nest({}), flatten({})) == ({}, {})
