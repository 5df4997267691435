"""Whole networks beside torch (frozen) and the loops of `naive.py`; shapes, batches and what a model refuses."""

from __future__ import annotations

from collections.abc import Callable

import cases
import numpy as np
import pytest
from network_calls import NAIVE, OURS, called
from tolerances import assert_layer_equal, assert_stack_equal

import npwhisper
from npwhisper.model import Network
from npwhisper.tracing.scope import Scope
from npwhisper.tracing.seam import Array

SMALL = cases.SMALL
TORCH = cases.reference("layers.npz")
LARGE = {"tiny": cases.TINY, "large-v3": cases.LARGE_V3_NARROW}


@pytest.mark.parametrize("path", cases.STACKS)
def test_a_stack_equals_torch_and_its_definition(path: str) -> None:
    assert_stack_equal(called(OURS, path), TORCH[path])
    assert_stack_equal(called(OURS, path, seed=1), called(NAIVE, path, seed=1))


@pytest.mark.parametrize("name", [pytest.param("tiny", marks=pytest.mark.slow), "large-v3"])
def test_networks_of_official_dimensions_equal_torch(name: str) -> None:
    """tiny as it is; the 128 mels and 51866 tokens of large-v3 at a reduced depth and width."""
    dims, torch = LARGE[name], cases.reference("networks.npz")
    network = cases.network(dims)
    features = network.embed_audio(cases.random_mel(dims, batch=1))
    logits = network.logits(cases.random_tokens("decoder", 1, cases.T, n_vocab=dims.n_vocab), features)
    assert features.shape == (1, 1500, dims.n_audio_state)
    assert logits.shape == (1, cases.T, dims.n_vocab)
    assert_stack_equal(cases.sparse(features), torch[f"{name}.audio_features"])
    assert_stack_equal(cases.sparse(logits), torch[f"{name}.logits"])


def test_the_ways_of_calling_a_network_agree(tiny_random: Network) -> None:
    mel, tokens = cases.random_mel(), cases.random_tokens("tokens", cases.B, cases.T)
    features = tiny_random.embed_audio(mel)
    logits = tiny_random(mel, tokens)
    assert features.shape == (cases.B, cases.S, cases.D)
    assert logits.shape == (cases.B, cases.T, cases.V)
    np.testing.assert_array_equal(tiny_random.encoder(mel), features)
    np.testing.assert_array_equal(tiny_random.logits(tokens, features), logits)
    np.testing.assert_array_equal(tiny_random.decoder(tokens, features), logits)
    np.testing.assert_array_equal(tiny_random.decoder(tokens.tolist(), features), logits)


def test_one_window_needs_no_batch_axis(tiny_random: Network) -> None:
    mel, tokens = cases.random_mel(batch=1), cases.random_tokens("tokens", 1, cases.T)
    features = tiny_random.embed_audio(mel)
    np.testing.assert_array_equal(tiny_random.embed_audio(mel[0]), features)
    np.testing.assert_array_equal(tiny_random.logits(tokens[0], features[0]), tiny_random.logits(tokens, features))


def test_a_batch_of_windows_is_so_many_single_windows(tiny_random: Network) -> None:
    mel, tokens = cases.random_mel(batch=3), cases.random_tokens("tokens", 3, cases.T)
    together = tiny_random(mel, tokens)
    for i in range(3):
        assert_stack_equal(together[i : i + 1], tiny_random(mel[i], tokens[i]))


@pytest.mark.slow
def test_a_batch_of_windows_of_the_embedded_model(model: npwhisper.Whisper) -> None:
    mel = cases.random_mel(model.dims, batch=2)
    tokens = cases.random_tokens("tokens", 2, cases.T, n_vocab=model.dims.n_vocab)
    together = model(mel, tokens)
    for i in range(2):
        assert_stack_equal(together[i : i + 1], model(mel[i], tokens[i]))


@pytest.mark.parametrize("at", [(-1,), (0, -1), (2,), (1, 4, 3)])
def test_logits_at_some_positions_only(tiny_random: Network, at: tuple[int, ...]) -> None:
    tokens, features = cases.random_tokens("tokens", cases.B, cases.T), cases.random_features()
    got = tiny_random.decoder(tokens, features, at=at)
    assert_layer_equal(got, tiny_random.decoder(tokens, features)[:, at])


def test_rows_that_share_a_window_are_as_good_as_copies(tiny_random: Network) -> None:
    tokens, features = cases.random_tokens("tokens", 6, cases.T), cases.random_features(batch=2)
    shared = tiny_random.logits(tokens, features)
    assert_stack_equal(shared, tiny_random.logits(tokens, np.repeat(features, 3, axis=0)))


def test_later_tokens_change_nothing_before_them(tiny_random: Network) -> None:
    tokens, features = cases.random_tokens("tokens", cases.B, 9), cases.random_features()
    other = tokens.copy()
    other[:, 5:] = (other[:, 5:] + 1) % cases.V
    before, after = tiny_random.logits(tokens, features), tiny_random.logits(other, features)
    assert_layer_equal(after[:, :5], before[:, :5])
    assert not np.isclose(after[:, 5:], before[:, 5:]).all(axis=-1).any()


def test_the_text_context_can_be_filled(tiny_random: Network) -> None:
    tokens = cases.random_tokens("tokens", 1, SMALL.n_text_ctx)
    assert tiny_random.logits(tokens, cases.random_features(batch=1)).shape == (1, SMALL.n_text_ctx, cases.V)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ">f4"])
def test_any_floating_mel_is_heard_in_float32(tiny_random: Network, dtype: str) -> None:
    mel = cases.random_mel().astype(dtype)
    assert_layer_equal(tiny_random.embed_audio(mel), tiny_random.embed_audio(mel.astype(np.float32)))


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.int64])
def test_tokens_may_be_any_integers(tiny_random: Network, dtype: type) -> None:
    tokens, features = cases.random_tokens("tokens", cases.B, cases.T), cases.random_features()
    got = tiny_random.logits(tokens.astype(dtype), features)
    np.testing.assert_array_equal(got, tiny_random.logits(tokens, features))


@pytest.mark.parametrize("name", cases.OFFICIAL)
def test_languages_follow_from_the_vocabulary(name: str) -> None:
    network = Network(cases.OFFICIAL[name], {})
    languages = {51864: (False, 99), 51865: (True, 99), 51866: (True, 100)}
    assert (network.is_multilingual, network.num_languages) == languages[network.dims.n_vocab]


def test_alignment_heads_are_those_of_the_upper_half_unless_told() -> None:
    assert Network(SMALL, {}).alignment_heads == [(layer, head) for layer in (1, 2) for head in range(4)]
    assert Network(SMALL, {}, [[0, 3], [2, 1]]).alignment_heads == [(0, 3), (2, 1)]


def test_the_scope_holds_the_weights_themselves(tiny_random: Network) -> None:
    scope = tiny_random.scope["decoder"]["blocks"]["2"]["cross_attn"]["query"]
    assert isinstance(scope, Scope)
    assert scope.name == "decoder.blocks.2.cross_attn.query"
    assert scope["weight"] is tiny_random.weights[f"{scope.name}.weight"]


# Refusals: one sentence, with what was got, what was wanted, what to do


def mel_of(*shape: int) -> Array:
    return np.zeros(shape, dtype=np.float32)


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        ((3000,), r"has 2 or 3 axes, got shape \(3000,\): pass \(n_mels, frames\)"),
        ((1, 1, 128, 3000), r"has 2 or 3 axes, got shape \(1, 1, 128, 3000\)"),
        ((80, 3000), r"takes 128 mel bins, got 80 .*log_mel_spectrogram\(audio, n_mels=128\)"),
        ((2, 80, 3000), r"takes 128 mel bins, got 80 .*log_mel_spectrogram\(audio, n_mels=128\)"),
        ((128, 2999), r"windows of 3000 frames, got 2999 .*use pad_or_trim\(mel, 3000\)"),
        ((1, 128, 6000), r"windows of 3000 frames, got 6000 .*use pad_or_trim\(mel, 3000\)"),
    ],
)
def test_a_wrong_spectrogram_is_explained(shape: tuple[int, ...], sentence: str) -> None:
    network = Network(cases.LARGE_V3, {})
    for call in (network.embed_audio, network.encoder, lambda mel: network(mel, np.array([0]))):
        with pytest.raises(ValueError, match=sentence):
            call(mel_of(*shape))


def test_pad_or_trim_is_the_way_out(tiny_random: Network) -> None:
    long = mel_of(SMALL.n_mels, 3 * cases.F)
    assert tiny_random.embed_audio(npwhisper.pad_or_trim(long, cases.F)).shape == (1, cases.S, cases.D)


@pytest.mark.parametrize(
    ("tokens", "sentence"),
    [
        ([[3, 41]], "are 0 to 40, got 3 to 41: use the tokenizer of the same model"),
        ([[-1, 5]], "are 0 to 40, got -1 to 5"),
        ([[0.0, 1.0]], "rows of integers, got float64 of shape .1, 2.: pass token ids"),
        ([[True]], "rows of integers, got bool"),
        ([[]], "rows of integers"),
        ([[[1, 2]]], r"rows of integers, got int64 of shape \(1, 1, 2\)"),
        ([[1] * 14], "has 13 text positions, got 14: pass fewer tokens"),
        ([[1], [2], [3]], "got 3 rows of tokens for 2 windows: give every window the same number"),
    ],
)
def test_wrong_tokens_are_explained(tiny_random: Network, tokens: list[object], sentence: str) -> None:
    calls: list[Callable[[list[object], Array], Array]] = [tiny_random.logits, tiny_random.decoder]
    for call in calls:
        with pytest.raises(ValueError, match=sentence):
            call(tokens, cases.random_features())


def test_a_cache_cannot_outgrow_the_text_context(tiny_random: Network) -> None:
    features = cases.random_features(batch=1)
    cache = tiny_random.start_cache(features)
    tiny_random.decoder([[1] * 12], features, cache)
    with pytest.raises(ValueError, match="has 13 text positions, got 14: pass fewer tokens"):
        tiny_random.decoder([[1, 2]], features, cache)
    assert tiny_random.decoder([[1]], features, cache).shape == (1, 1, cases.V)
