"""The cache changes nothing: however a prompt is cut, however its rows are shared out, the logits are the same."""

from __future__ import annotations

import itertools

import cases
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tolerances import assert_stack_equal

import npwhisper
from npwhisper.model import Network
from npwhisper.model.cache import KeyValues
from npwhisper.tracing.seam import Array

NETWORK = cases.network()
N_TEXT_CTX = cases.SMALL.n_text_ctx


def compositions(total: int) -> list[tuple[int, ...]]:
    """All ways of writing a number as a sum, in every order: 2 ** (total - 1) of them."""
    cuts = [[i for i in range(1, total) if bits >> i & 1] for bits in range(0, 2**total, 2)]
    return [tuple(b - a for a, b in itertools.pairwise([0, *cut, total])) for cut in cuts]


def in_pieces(network: Network, tokens: Array, features: Array, pieces: tuple[int, ...]) -> Array:
    cache, at = network.start_cache(features), np.cumsum([0, *pieces])
    logits = [network.decoder(tokens[:, a:b], features, cache) for a, b in itertools.pairwise(at)]
    assert cache.length == tokens.shape[1]
    return np.concatenate(logits, axis=1)


def test_there_are_32_ways_of_cutting_6_tokens() -> None:
    assert len(set(compositions(6))) == 32
    assert all(sum(pieces) == 6 and min(pieces) > 0 for pieces in compositions(6))


@pytest.mark.parametrize("pieces", compositions(6), ids=str)
def test_a_prompt_cut_in_any_way_gives_the_same_logits(pieces: tuple[int, ...]) -> None:
    tokens, features = cases.random_tokens("prompt", cases.B, 6), cases.random_features()
    assert_stack_equal(in_pieces(NETWORK, tokens, features, pieces), NETWORK.logits(tokens, features))


@pytest.mark.slow
@given(
    pieces=st.lists(st.integers(1, 7), min_size=1).map(tuple).filter(lambda pieces: sum(pieces) <= N_TEXT_CTX),
    windows=st.integers(1, 3),
    beams=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_any_number_of_rows_in_any_pieces(pieces: tuple[int, ...], windows: int, beams: int, seed: int) -> None:
    tokens = cases.random_tokens("prompt", windows * beams, sum(pieces), seed=seed)
    features = cases.random_features(batch=windows, seed=seed)
    got = in_pieces(NETWORK, tokens, features, pieces)
    assert_stack_equal(got, NETWORK.logits(tokens, np.repeat(features, beams, axis=0)))


@pytest.mark.parametrize("pieces", [(1,) * 7, (4, 1, 1, 1), (3, 4), (1, 5, 1)], ids=str)
def test_the_embedded_model_too(model: npwhisper.Whisper, pieces: tuple[int, ...]) -> None:
    tokens = cases.random_tokens("prompt", 1, 7, n_vocab=model.dims.n_vocab)
    features = cases.random_features(model.dims, batch=1)
    assert_stack_equal(in_pieces(model, tokens, features, pieces), model.logits(tokens, features))


@pytest.mark.parametrize(
    "steps",
    [
        [[0, 1, 2, 3]],
        [[3, 2, 1, 0]],
        [[1, 1, 1, 1], [0, 1, 2, 3]],
        [[0, 0, 1, 1, 2, 2, 3, 3]],
        [[2, 0]],
        [[3]],
        [[0, 1, 2, 3, 3], [4, 4], [1, 0, 1], [2, 1, 0]],
    ],
    ids=str,
)
def test_reordered_rows_go_on_from_their_parents(steps: list[list[int]]) -> None:
    """Rows that survive, die, multiply or change places, beside rows that were decoded from their first token."""
    features, cache = cases.random_features(batch=1), NETWORK.start_cache(cases.random_features(batch=1))
    tokens = cases.random_tokens("rows", 4, 3)
    NETWORK.decoder(tokens, features, cache)
    for i, parents in enumerate(steps):
        cache.reorder(np.array(parents))
        assert (cache.rows, cache.length) == (len(parents), tokens.shape[1])
        following = cases.random_tokens(f"following {i}", len(parents), 2)
        tokens = np.concatenate([tokens[parents], following], axis=1)
        got = NETWORK.decoder(following, features, cache)
        assert_stack_equal(got, NETWORK.logits(tokens, features)[:, -2:])


def test_beams_of_several_windows_stay_with_their_windows() -> None:
    features = cases.random_features(batch=2)
    cache, tokens = NETWORK.start_cache(features), cases.random_tokens("rows", 2, 3)
    NETWORK.decoder(tokens, features, cache)
    parents = np.array([0, 0, 0, 1, 1, 1])
    cache.reorder(parents)
    following = cases.random_tokens("following", 6, 1)
    got = NETWORK.decoder(following, features, cache)
    whole = np.concatenate([tokens[parents], following], axis=1)
    assert_stack_equal(got, NETWORK.logits(whole, features[parents])[:, -1:])


def test_the_audio_is_kept_once_for_all_beams() -> None:
    cache = NETWORK.start_cache(cases.random_features(batch=2))
    NETWORK.decoder(cases.random_tokens("rows", 6, 2), cases.random_features(batch=2), cache)
    cache.reorder(np.repeat(np.arange(6), 5))
    for block in cache.blocks:
        assert [array.shape[0] for array in block.audio] == [2, 2]
        assert block.text.k.shape == block.text.v.shape == (30, cases.H, N_TEXT_CTX, cases.K)


def test_two_caches_do_not_know_each_other() -> None:
    features, tokens = cases.random_features(batch=1), cases.random_tokens("rows", 1, 4)
    first, second = NETWORK.start_cache(features), NETWORK.start_cache(features)
    NETWORK.decoder(tokens, features, first)
    NETWORK.decoder(tokens[:, ::-1], features, second)
    got = NETWORK.decoder(tokens[:, :1], features, first)
    whole = np.concatenate([tokens, tokens[:, :1]], axis=1)
    assert_stack_equal(got, NETWORK.logits(whole, features)[:, -1:])


def filled(batch: int, length: int, capacity: int = 7) -> tuple[KeyValues, Array, Array]:
    k, v = (cases.random_array(name, batch, cases.H, length, cases.K) for name in "kv")
    cache = KeyValues.empty(batch, cases.H, capacity, cases.K)
    cache.append(k, v)
    return cache, k, v


def test_append_returns_all_so_far() -> None:
    cache, k, v = filled(2, 3)
    more = cases.random_array("more", 2, cases.H, 2, cases.K)
    all_k, all_v = cache.append(more, -more)
    np.testing.assert_array_equal(all_k, np.concatenate([k, more], axis=2))
    np.testing.assert_array_equal(all_v, np.concatenate([v, -more], axis=2))
    assert cache.length == 5
    assert (all_k.dtype, all_v.dtype) == (np.float32, np.float32)
    assert all_k.base is not None, "a view of what is preallocated, not a copy"


@pytest.mark.parametrize("parents", [[0, 1, 2], [2, 1, 0], [1, 1, 1], [0, 2], [1], [0, 0, 1, 1, 2]], ids=str)
def test_key_values_follow_their_parents(parents: list[int]) -> None:
    cache, k, v = filled(3, 4)
    cache.reorder(np.array(parents))
    assert cache.length == 4
    np.testing.assert_array_equal(cache.k[:, :, :4], k[parents])
    np.testing.assert_array_equal(cache.v[:, :, :4], v[parents])


def test_a_full_cache_refuses_and_stays_as_it_is() -> None:
    cache, k, _ = filled(2, 5)
    with pytest.raises(ValueError, match="room for 7 positions, got 10"):
        cache.append(k, k)
    assert cache.length == 5
    assert cache.append(k[:, :, :2], k[:, :, :2])[0].shape == (2, cases.H, 7, cases.K)


def test_rows_must_be_shared_out_evenly() -> None:
    features = cases.random_features(batch=2)
    with pytest.raises(ValueError, match="got 3 rows of tokens for 2 windows"):
        NETWORK.logits(cases.random_tokens("rows", 3, 4), features)
    cache = NETWORK.start_cache(features)
    NETWORK.decoder(cases.random_tokens("rows", 4, 1), features, cache)
    with pytest.raises(ValueError, match="the cache holds 4 rows of tokens, got 2: reorder it first"):
        NETWORK.decoder(cases.random_tokens("rows", 2, 1), features, cache)
    assert cache.length == 1
