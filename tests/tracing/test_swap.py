"""`swap`: any layer replaced, everywhere or at one place, and all as before when the block is left."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from talkers import ENGLISH, talker

from npwhisper import audio, timing
from npwhisper.audio import log_mel_spectrogram, pad_or_trim
from npwhisper.decoding import rules, search
from npwhisper.decoding import window as decoding
from npwhisper.model import Network, layers, mlp
from npwhisper.model.attention import scores
from npwhisper.model.layers import gelu, layer_norm, linear, softmax
from npwhisper.tracing.profiling import profile
from npwhisper.tracing.scope import nest
from npwhisper.tracing.seam import LAYERS, Array, Weights, layer, trace
from npwhisper.tracing.swapping import SwapError, find_layer, swap
from npwhisper.whisper import Whisper

X = np.random.default_rng(1).standard_normal((2, 5, 24)).astype(np.float32)
NETWORK = [
    "linear", "conv1d", "layer_norm", "embedding", "gelu", "softmax", "split_heads", "merge_heads", "causal_mask",
    "scores", "attend", "self_attention", "cross_attention", "mlp", "append", "encoder_block", "decoder_block",
    "encoder", "decoder", "logits",
]  # fmt: skip
SOUND = ["stft", "mel_filters"]
RULES = ["penalize_repetition", "forbid_repeated_ngrams", "suppress_blank", "suppress_tokens", "apply_timestamp_rules"]
ALIGNMENT = ["standardise", "median_filter", "dtw_cost", "backtrace", "dtw", "token_map"]


def zeros(x: Array, w: Weights) -> Array:
    return np.zeros_like(x)


def rounded(value: Any) -> Any:
    """Without the last digits, in which work in blocks differs from work in one piece."""
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    if isinstance(value, list):
        return [rounded(part) for part in value]
    return round(value, 3) if isinstance(value, float) else value


def forward(network: Network) -> Array:
    """All of a small network: (3, 4, V)."""
    dims = network.dims
    mel = np.random.default_rng(2).standard_normal((3, dims.n_mels, 2 * dims.n_audio_ctx)).astype(np.float32)
    return network(mel, np.array([[1, 5, 3, 2]] * 3))


def unchanged_by_swapping(names: list[str], model: Whisper, **options: Any) -> None:
    find_layer("token_map")
    expected = model.transcribe(audio.example(), word_timestamps=True, **options)
    with swap({name: LAYERS[name] for name in names}) as counts:
        result = model.transcribe(audio.example(), word_timestamps=True, **options)
    assert rounded(result) == rounded(expected)
    assert len(counts) >= len(names)


def test_the_lists_here_name_every_layer() -> None:
    find_layer("no such layer")  # which imports all modules that have some
    package = {name for name, function in LAYERS.items() if function.__module__.startswith("npwhisper.")}
    assert set(NETWORK + SOUND + RULES + ALIGNMENT) <= package


def test_a_function_is_replaced_everywhere(tiny_random: Network) -> None:
    dims = tiny_random.dims
    with swap(layer_norm=zeros) as counts:
        forward(tiny_random)
    assert sum(counts.values()) == 2 * dims.n_audio_layer + 3 * dims.n_text_layer + 2
    assert set(counts.values()) == {1}


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("decoder.blocks.0.attn_ln", {"decoder.blocks.0.attn_ln"}),
        ("encoder.blocks.*.attn_ln", {"encoder.blocks.0.attn_ln", "encoder.blocks.1.attn_ln"}),
        ("*.ln", {"decoder.ln"}),
    ],
)
def test_a_dotted_name_or_glob_replaces_at_its_places_only(
    place: str, expected: set[str], tiny_random: Network
) -> None:
    with trace("*ln*") as acts, swap({place: zeros}) as counts:
        forward(tiny_random)
    assert set(counts) == expected
    assert {name for name in acts if not acts[name].any()} == expected


def test_a_value_is_edited(tiny_random: Network) -> None:
    with trace() as acts, swap(edit={"decoder.blocks.2.mlp": lambda y: 0 * y, "gelu": lambda y: y + 1}):
        forward(tiny_random)
    assert not acts["decoder.blocks.2.mlp"].any()
    assert acts["decoder.blocks.1.mlp"].any()
    np.testing.assert_array_equal(
        acts["decoder.blocks.1.mlp.gelu"], gelu(acts["decoder.blocks.1.mlp.0"]) + np.float32(1)
    )


def test_activations_of_one_run_are_put_into_another(tiny_random: Network) -> None:
    dims, name = tiny_random.dims, "encoder.blocks.0"
    one, other = (np.full((1, dims.n_mels, 2 * dims.n_audio_ctx), x, np.float32) for x in (0.5, -1.0))
    with trace(name) as acts:
        expected = tiny_random.embed_audio(one)
    with swap(edit={name: lambda y: acts[name]}):
        np.testing.assert_array_equal(tiny_random.embed_audio(other), expected)


def test_an_edit_may_work_in_place_and_keeps_the_type() -> None:
    def halve(y: Array) -> Any:
        y /= 2
        return y.astype(np.float64)

    with swap(edit={"softmax": halve}):
        y = softmax(X)
    np.testing.assert_array_equal(y, softmax(X) / 2)
    assert y.dtype == np.float32


# Replacements that call what they replace


@pytest.mark.parametrize("name", NETWORK)
def test_replacing_a_layer_by_itself_changes_no_bit(name: str, tiny_random: Network) -> None:
    original: Callable[..., Any] = LAYERS[name]
    expected = forward(tiny_random)
    for replacement in (original, lambda *args, **kwargs: original(*args, **kwargs), original.__wrapped__):  # type: ignore[attr-defined]
        with swap({name: replacement}) as counts:
            np.testing.assert_array_equal(forward(tiny_random), expected)
        assert counts


@pytest.mark.parametrize("names", [NETWORK, SOUND + RULES + ALIGNMENT])
def test_replacing_functions_by_themselves_changes_no_transcription(names: list[str]) -> None:
    unchanged_by_swapping(names, talker(ENGLISH), temperature=0, sample_len=12)


@pytest.mark.slow
@pytest.mark.parametrize("names", [NETWORK, SOUND + RULES + ALIGNMENT])
def test_replacing_functions_of_the_embedded_model_changes_no_transcription(names: list[str], model: Whisper) -> None:
    unchanged_by_swapping(names, model)


def test_tracing_changes_no_bit_and_records_a_replaced_layer_once(tiny_random: Network) -> None:
    expected = forward(tiny_random)
    with trace() as acts:
        np.testing.assert_array_equal(forward(tiny_random), expected)
    with trace() as replaced, swap({name: LAYERS[name] for name in NETWORK}):
        forward(tiny_random)
    assert [name for name, _ in replaced.records] == [name for name, _ in acts.records]


def test_watching_changes_no_bit_of_a_model_of_official_size() -> None:
    unchanged_by_watching(talker(ENGLISH))


@pytest.mark.slow
def test_watching_the_embedded_model_changes_no_bit(model: Whisper) -> None:
    unchanged_by_watching(model)


def unchanged_by_watching(model: Whisper) -> None:
    mel = pad_or_trim(log_mel_spectrogram(audio.example()), audio.N_FRAMES)
    features, tokens = model.embed_audio(mel), np.array([[50257, 50362]])
    logits = model.logits(tokens, features)
    with trace("*ln*") as acts, profile("*attn*"), swap(gelu=gelu):
        np.testing.assert_array_equal(model.embed_audio(mel), features)
        np.testing.assert_array_equal(model.logits(tokens, features), logits)
    assert len(acts) == 2 * model.dims.n_audio_layer + 3 * model.dims.n_text_layer + 2


def test_layers_inside_a_replacement_are_traced_and_replaced() -> None:
    def my_mlp(x: Array, w: Weights) -> Array:
        return linear(gelu(linear(x, w["0"])), w["2"])

    network = nest({"m.0.weight": np.ones((3, 24), np.float32), "m.2.weight": np.ones((24, 3), np.float32)})
    with trace() as acts, swap(mlp=my_mlp, gelu=lambda x: x * 2):
        mlp(X, network["m"])
    assert list(acts) == ["m.0", "m.gelu", "m.2", "m"]
    np.testing.assert_array_equal(acts["m.gelu"], 2 * acts["m.0"])


def test_what_a_replacement_gives_is_traced_from_outside_and_inside() -> None:
    with trace() as outside, swap(gelu=lambda x: 3 * x), trace() as inside:
        gelu(X)
    np.testing.assert_array_equal(outside["gelu"], 3 * X)
    np.testing.assert_array_equal(inside["gelu"], 3 * X)


def test_the_innermost_swap_wins_and_the_outer_one_comes_back() -> None:
    with swap(gelu=lambda x: 2 * x):
        with swap(gelu=lambda x: 3 * x):
            np.testing.assert_array_equal(gelu(X), 3 * X)
        np.testing.assert_array_equal(gelu(X), 2 * X)


# Sound, rules, search and alignment


def test_the_spectrum_and_the_filters_are_replaced() -> None:
    samples = np.random.default_rng(3).standard_normal(4000).astype(np.float32)
    with swap(stft=lambda samples: 10 * audio.stft(samples)):
        louder = log_mel_spectrogram(samples)
    with swap(mel_filters=lambda n_mels: 10 * audio.mel_filters(n_mels)):
        np.testing.assert_allclose(log_mel_spectrogram(samples), louder, rtol=1e-6)
    np.testing.assert_allclose(log_mel_spectrogram(samples), louder - 0.25, rtol=1e-5)


@pytest.mark.parametrize("name", RULES)
def test_each_rule_is_replaced(name: str) -> None:
    def force(logits: Array, sampled: Array, context: rules.RuleContext) -> Array:
        logits = np.full_like(logits, -np.inf)
        logits[:, context.eot] = 0.0
        return logits

    mel = pad_or_trim(log_mel_spectrogram(audio.example()), audio.N_FRAMES)
    others = {other: lambda logits, sampled, context: logits for other in RULES if other != name}
    with swap({name: force}, **others):
        result = decoding.decode(talker(ENGLISH), mel)
    assert not isinstance(result, list)
    assert result.tokens == []


def test_the_median_and_the_path_are_replaced() -> None:
    scores_of_heads = np.random.default_rng(4).standard_normal((2, 4, 9)).astype(np.float32)
    with swap(median_filter=lambda x, width: np.zeros_like(x)):
        assert not timing.token_map(scores_of_heads).any()
    with swap(dtw_cost=lambda x: np.zeros(x.shape)):
        assert timing.dtw(scores_of_heads[0])[0].tolist()[:2] == [0, 1]


@pytest.mark.skipif(find_layer("beam_update") is None, reason="the beam's update is no layer")
def test_the_beams_update_is_replaced() -> None:
    def step(tokens: Array, parents: Array | None) -> Array:
        return np.log(np.full((len(tokens), 4), 0.25))

    calls = []

    def update(beam: Any, *args: Any) -> Array:
        calls.append(args)
        return LAYERS["beam_update"](beam, *args)

    tokens = np.array([[1], [2]])
    expected = search.beam_search(step, tokens, 0, 3, 2)
    with swap(beam_update=update):
        assert search.beam_search(step, tokens, 0, 3, 2) == expected
    assert len(calls) >= 4


# Leaving the block


def test_all_is_as_before_after_the_block_and_after_an_exception() -> None:
    expected = gelu(X)
    with swap(gelu=lambda x: x):
        pass
    np.testing.assert_array_equal(gelu(X), expected)
    with pytest.raises(ZeroDivisionError), swap(gelu=lambda x: 1 // 0):
        gelu(X)
    np.testing.assert_array_equal(gelu(X), expected)


def in_thread(function: Callable[[], Any]) -> None:
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


def test_other_threads_are_not_disturbed() -> None:
    results: list[Array] = []
    expected = gelu(X)
    with swap(gelu=lambda x: x):
        in_thread(lambda: results.append(gelu(X)))
    np.testing.assert_array_equal(results[0], expected)


def test_a_thread_with_a_copy_of_the_context_takes_part_until_the_block_is_left() -> None:
    results: list[Array] = []
    expected = gelu(X)
    with swap(gelu=lambda x: x), trace() as acts:
        context = contextvars.copy_context()
        in_thread(lambda: context.run(lambda: results.append(gelu(X))))
    in_thread(lambda: context.run(lambda: results.append(gelu(X))))
    np.testing.assert_array_equal(results[0], X)
    np.testing.assert_array_equal(results[1], expected)
    assert len(acts.all("gelu")) == 1


# What cannot be done


@pytest.mark.parametrize(
    ("wishes", "sentence"),
    [
        ({"layernorm": zeros}, "there is no layer called 'layernorm': did you mean layer_norm"),
        ({"gelu": 3}, "gelu can only be replaced by a function, got int"),
        ({"layer_norm": lambda x: x}, r"<lambda>\(x\) cannot stand for layer_norm\(x, w, eps\): too many positional"),
        ({"scores": lambda q: q}, r"Write it as def scores\(q, k\)"),
    ],
)
def test_wrong_wishes_are_refused_at_once(wishes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SwapError, match=sentence), swap(wishes):
        raise AssertionError("the block must not begin")


def test_an_argument_that_the_layer_needs_now_and_then_is_explained_when_it_comes(tiny_random: Network) -> None:
    def my_conv(x: Array, w: Weights) -> Array:
        return layers.conv1d(x, w)

    sentence = r"at encoder.conv2, my_conv\(x, w\) cannot .* 'stride'. Write it as def conv1d\(x, w, stride=1\)"
    with pytest.raises(SwapError, match=sentence), swap(conv1d=my_conv):
        forward(tiny_random)


def test_a_type_error_inside_a_replacement_stays_what_it_is() -> None:
    with pytest.raises(TypeError, match="can only concatenate"), swap(gelu=lambda x: "1" + 1):
        gelu(X)


@pytest.mark.parametrize(("value", "kind"), [(None, r"None \(is a return missing\?\)"), ([1.0], "a list")])
def test_a_result_that_is_no_array_is_explained(value: Any, kind: str) -> None:
    sentence = f"<lambda> returned {kind} at gelu, but gelu returns an array"
    with pytest.raises(SwapError, match=sentence), swap(gelu=lambda x: value):
        gelu(X)


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (
            lambda y: None,
            r"edit of gelu returned None \(is a return missing\?\), but its value has shape \(2, 5, 24\)",
        ),
        (lambda y: y[0], r"the edit of gelu returned shape \(5, 24\)"),
    ],
)
def test_an_edit_that_gives_no_like_value_is_explained(edit: Callable[[Array], Any], sentence: str) -> None:
    with pytest.raises(SwapError, match=sentence), swap(edit={"gelu": edit}):
        gelu(X)


def test_a_place_that_was_never_met_is_reported_when_the_block_ends(tiny_random: Network) -> None:
    sentence = "nothing computed in this block is called 'decoder.block.0.attn': did you mean decoder.blocks.0.attn"
    with pytest.raises(SwapError, match=sentence), swap({"decoder.block.0.attn": scores}):
        forward(tiny_random)
    with pytest.raises(SwapError, match="no layer was called at all"), swap(edit={"decoder.blocks.0.mlp": np.abs}):
        pass


def test_ones_own_layers_can_be_replaced_too() -> None:
    @layer
    def twice(x: Array) -> Array:
        return 2 * x

    with swap(twice=lambda x: 5 * x):
        np.testing.assert_array_equal(twice(X), 5 * X)


def test_weights_without_names_are_no_obstacle() -> None:
    w = {"weight": np.ones(24, np.float32), "bias": np.zeros(24, np.float32)}
    with swap(layer_norm=zeros):
        assert not layer_norm(X, w).any()


# Results of a wrong shape


def shortened(x: Array, w: Weights) -> Array:
    return linear(x, w)[..., :-1]


@pytest.mark.parametrize(
    ("place", "function", "sentence"),
    [
        ("decoder.blocks.1.attn.query", shortened, "shortened returned an array of shape .3, 4, 23. at PLACE; expected .3, 4, 24."),  # noqa: E501
        ("encoder.conv1", lambda x, w, stride=1: x, "<lambda> returned an array of shape .3, 7, 22. at PLACE; expected .3, 24, 22."),  # noqa: E501
        ("encoder.blocks.0.attn.softmax", lambda x: x.sum(axis=-1), "returned an array of shape .3, 3, 11. at PLACE; expected .3, 3, 11, 11."),  # noqa: E501
        ("encoder.gelu", lambda x: x[..., :3], "returned an array of shape .3, 24, 3. at PLACE; expected .3, 24, 22."),
        ("decoder.blocks.0", lambda x, w, *_, **__: x[:, :, 1:], "shape .3, 4, 23. at PLACE; expected .3, 4, 24."),
        ("encoder.blocks.0.mlp.0", lambda x, w: x @ w["weight"], "<lambda> failed at PLACE, given .3, 11, 24., .*weight .96, 24..* .expected shape .3, 11, 96..: matmul"),  # noqa: E501
    ],
)  # fmt: skip
def test_a_wrong_shape_names_the_layer_what_it_returned_and_what_was_wanted(
    place: str, function: Callable[..., Any], sentence: str, tiny_random: Network
) -> None:
    with pytest.raises(SwapError, match=sentence.replace("PLACE", place)) as raised, swap({place: function}):
        forward(tiny_random)
    assert "\n" not in str(raised.value)
    assert isinstance(raised.value.__cause__, ValueError)


def test_an_error_that_no_shape_caused_stays(tiny_random: Network) -> None:
    class OwnError(ValueError):
        pass

    with pytest.raises(OwnError, match="mine"), swap({"decoder.ln": zeros, "softmax": softmax}):  # noqa: PT012
        forward(tiny_random)
        raise OwnError("mine")
    with pytest.raises(ValueError, match=r"^mine$"), swap(layer_norm=zeros):  # noqa: PT012
        forward(tiny_random)
        raise ValueError("mine")
