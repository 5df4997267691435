"""Layers and blocks beside torch (frozen) and the loops of `naive.py`, at their edges, and without side effects."""

from __future__ import annotations

import cases
import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from network_calls import NAIVE, OURS, called, function_called
from tolerances import LAYER, assert_layer_equal

from npwhisper.model import attention, layers
from npwhisper.tracing.seam import Array

TORCH = cases.reference("layers.npz")
NUMBERS = st.floats(-80, 80, width=32)
ROWS = arrays(np.float32, array_shapes(min_dims=1, max_dims=4, max_side=5), elements=NUMBERS)


@pytest.mark.parametrize("path", cases.MODULES)
def test_a_module_equals_torch(path: str) -> None:
    assert_layer_equal(called(OURS, path), TORCH[path])


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("path", cases.MODULES)
def test_a_module_equals_its_definition(path: str, seed: int) -> None:
    assert_layer_equal(called(OURS, path, seed), called(NAIVE, path, seed))


@pytest.mark.parametrize("name", cases.FUNCTIONS)
def test_a_function_equals_torch_and_its_definition(name: str) -> None:
    assert_layer_equal(function_called(layers, name), TORCH[name])
    assert_layer_equal(function_called(layers, name, seed=1), function_called(naive, name, seed=1))


@pytest.mark.parametrize("path", cases.MODULES)
def test_the_oracle_equals_torch(path: str) -> None:
    np.testing.assert_allclose(called(NAIVE, path), TORCH[path], **LAYER)


@pytest.mark.parametrize("name", cases.SINUSOIDS)
def test_the_positions_of_real_models_equal_torch(name: str) -> None:
    length, channels = cases.SINUSOIDS[name]
    table = layers.sinusoids(length, channels)
    assert (table.dtype, table.shape) == (np.float32, (length, channels))
    rounding = length * np.finfo(np.float32).eps  # torch has the angles, up to 1499, in float32
    np.testing.assert_allclose(cases.sparse(table), TORCH[name], rtol=0, atol=rounding)


@pytest.mark.parametrize(("length", "channels"), [(11, 26), (1500, 18)])
def test_sinusoids_equal_their_definition(length: int, channels: int) -> None:
    assert_layer_equal(layers.sinusoids(length, channels), naive.sinusoids(length, channels))


@pytest.mark.parametrize("channels", [1, 2, 7])
def test_sinusoids_need_an_even_number_of_channels(channels: int) -> None:
    with pytest.raises(ValueError, match=f"got {channels}: use a multiple of 2"):
        layers.sinusoids(3, channels)


def test_gelu_is_close_everywhere() -> None:
    x = np.concatenate([np.linspace(-12, 12, 4801), [-1e15, -1e4, -30, 30, 1e4, 1e15]]).astype(np.float32)
    assert_layer_equal(layers.gelu(x), naive.gelu(x))


def test_gelu_of_huge_numbers_is_themselves_or_nothing() -> None:
    x = np.array([6, 1e3, 1e6, 1e38], np.float32)
    np.testing.assert_array_equal(layers.gelu(x), x)
    np.testing.assert_array_equal(layers.gelu(-x), 0)


@given(ROWS)
def test_gelu_on_any_shape(x: Array) -> None:
    assert_layer_equal(layers.gelu(x), naive.gelu(x))


@given(ROWS)
def test_softmax_on_any_shape(x: Array) -> None:
    y = layers.softmax(x)
    assert_layer_equal(y, naive.softmax(x))
    np.testing.assert_allclose(y.sum(axis=-1), 1, **LAYER)


@given(ROWS)
def test_log_softmax_on_any_shape(x: Array) -> None:
    assert_layer_equal(layers.log_softmax(x), naive.log_softmax(x))


def test_softmax_of_huge_and_forbidden_scores() -> None:
    x = np.array([[1e4, 1e4, -np.inf], [-1e4, -np.inf, -np.inf]], dtype=np.float32)
    np.testing.assert_array_equal(layers.softmax(x), [[0.5, 0.5, 0], [1, 0, 0]])
    assert layers.log_softmax(x)[0, 2] == -np.inf


@given(arrays(np.float32, st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(2, 9)), elements=NUMBERS))
def test_layer_norm_on_any_shape(x: Array) -> None:
    w = {"weight": cases.random_array("weight", x.shape[-1]), "bias": cases.random_array("bias", x.shape[-1])}
    got, want = layers.layer_norm(x, w), naive.layer_norm(x, w)
    assert (got.dtype, got.shape) == (np.float32, x.shape)
    # values that differ by less than float32 can tell at their size are all but one value: allow that much noise
    noise = 1e-6 * np.abs(x).max() / np.sqrt(x.astype(np.float64).var(axis=-1, keepdims=True) + 1e-5)
    assert (np.abs(got - want) <= 1e-5 + 4 * noise).all()


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("frames", [1, 2, 3, 8, 13])
def test_conv1d_at_both_ends(frames: int, stride: int) -> None:
    x, weight = cases.random_array("x", 2, 5, frames), cases.random_array("weight", 4, 5, 3) / 4
    w = {"weight": weight, "bias": cases.random_array("bias", 4)}
    assert_layer_equal(layers.conv1d(x, w, stride), naive.conv1d(x, w, stride))


@pytest.mark.parametrize(("n_query", "n_key"), [(1, 1), (1, 4), (3, 3), (2, 7), (5, 6)])
def test_the_causal_mask_forbids_what_is_later(n_query: int, n_key: int) -> None:
    mask = attention.causal_mask(n_query, n_key)
    if mask is None:
        assert (n_query, naive.causal_mask(n_query, n_key).max()) == (1, 0)
        mask = np.zeros((1, n_key), dtype=np.float32)
    assert mask.dtype == np.float32
    np.testing.assert_array_equal(mask, naive.causal_mask(n_query, n_key))


def test_heads_are_neighbouring_features() -> None:
    x = cases.random_array("x", cases.B, cases.T, cases.D)
    heads = attention.split_heads(x, cases.H)
    for b, h, t, k in np.ndindex(cases.B, cases.H, cases.T, cases.K):
        assert heads[b, h, t, k] == x[b, t, h * cases.K + k]
    np.testing.assert_array_equal(attention.merge_heads(heads), x)


@pytest.mark.parametrize("path", cases.MODULES | cases.STACKS)
def test_a_module_gives_a_new_array(path: str) -> None:
    """Inputs and weights are read-only here, so writing into them would raise; a result is the caller's own."""
    first, second = called(OURS, path), called(OURS, path)
    kept = second.copy()
    first[...] = 0
    np.testing.assert_array_equal(second, kept)


@pytest.mark.parametrize("path", ["encoder.blocks.1.mlp", "encoder.blocks.1", "decoder.blocks.2"])
def test_weights_may_be_plain_dicts(path: str) -> None:
    def plain(scope: dict[str, object]) -> dict[str, object]:
        return {name: plain(value) if isinstance(value, dict) else value for name, value in scope.items()}

    calls = {path: lambda x, w, features: OURS[path](x, plain(w), features)}
    np.testing.assert_array_equal(called(calls, path), called(OURS, path))
