"""The seam: names and values beside torch's hooks, what is recorded when, and that watching changes nothing."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack

import cases
import numpy as np
import pytest
from tolerances import assert_stack_equal

from npwhisper.model import Network, layers
from npwhisper.tracing import seam as tracing
from npwhisper.tracing.scope import Scope, nest
from npwhisper.tracing.seam import Activations, Array, handling, is_handled, layer, trace

TORCH = {name: value for name, value in cases.reference("hooks.npz").items() if name != "versions"}
# Intermediates that torch has no module for
EXTRAS = {"gelu", "softmax", "scores", "attend", "causal_mask", "split_heads", "merge_heads", "logits"}
MEL, TOKENS = cases.random_mel(), cases.random_input("decoder", cases.STACKS["decoder"])


def our_name(torch_name: str) -> str:
    """Torch numbers the GELU inside the mlp; for us it is a function with a name."""
    return torch_name.removesuffix(".1") + ".gelu" if torch_name.endswith("mlp.1") else torch_name


@pytest.fixture(scope="module")
def acts() -> Activations:
    with trace() as acts:
        cases.network()(MEL, TOKENS)
    return acts


def test_names_are_torchs_and_a_few_more(acts: Activations) -> None:
    ours = set(acts) - {our_name(name) for name in TORCH}
    assert {name.rsplit(".", 1)[-1] for name in ours} == EXTRAS
    assert {our_name(name) for name in TORCH} <= set(acts)


@pytest.mark.parametrize("name", TORCH)
def test_values_are_what_torch_hooks_see(acts: Activations, name: str) -> None:
    assert_stack_equal(acts[our_name(name)], TORCH[name])


def test_every_kind_of_extra_has_its_place(acts: Activations) -> None:
    assert {
        "encoder.gelu",
        "encoder.blocks.1.mlp.gelu",
        "encoder.blocks.0.attn.scores",
        "decoder.blocks.2.attn.softmax",
        "decoder.blocks.2.cross_attn.attend",
        "decoder.logits",
    } <= set(acts)
    assert [array.shape for array in acts.all("encoder.gelu")] == [(2, 24, 22), (2, 24, 11)]
    assert acts["decoder.blocks.1.attn.softmax"].shape == (cases.B, cases.H, cases.T, cases.T)
    np.testing.assert_allclose(acts["decoder.blocks.1.cross_attn.softmax"].sum(axis=-1), 1, rtol=1e-5)


# What is recorded


def test_globs_choose(tiny_random: Network) -> None:
    with trace("decoder.blocks.*.cross_attn.q*", "encoder.ln_post") as acts:
        tiny_random(MEL, TOKENS)
    assert list(acts) == ["encoder.ln_post", *(f"decoder.blocks.{i}.cross_attn.query" for i in range(3))]
    assert len(acts) == 4


def test_a_glob_is_sensitive_to_case_and_means_the_whole_name(tiny_random: Network) -> None:
    with pytest.warns(UserWarning, match="nothing computed") as warned, trace("ENCODER*", "ln_post", "coder") as acts:
        tiny_random.embed_audio(MEL)
    assert len(acts) == 0
    assert [str(warning.message).split(":")[0] for warning in warned] == [
        f"nothing computed in this block is called {pattern!r}" for pattern in ("ENCODER*", "ln_post", "coder")
    ]


def test_a_misspelt_pattern_gets_advice_at_the_line_that_wrote_it(tiny_random: Network) -> None:
    advice = r"is called 'decoder\.blokcs\.1': did you mean decoder\.blocks\.1 or"
    with pytest.warns(UserWarning, match=advice) as warned, trace("decoder.blokcs.1", "encoder") as acts:
        tiny_random(MEL, TOKENS)
    assert list(acts) == ["encoder"]
    assert warned[0].filename == __file__
    with pytest.warns(UserWarning, match="'encoder': no layer was called at all"), trace("encoder"):
        pass


def test_an_error_in_the_block_is_not_hidden_by_advice(tiny_random: Network) -> None:
    with pytest.raises(KeyError, match="mine"), trace("encoder"):
        raise KeyError("mine")


def test_every_decode_step_is_kept_in_order(tiny_random: Network) -> None:
    features = cases.random_features(batch=1)
    cache = tiny_random.start_cache(features)
    with trace("decoder") as acts:
        steps = [tiny_random.decoder([[token]], features, cache) for token in (3, 1, 4)]
    assert len(acts.all("decoder")) == 3
    for seen, step in zip(acts.all("decoder"), steps, strict=True):
        np.testing.assert_array_equal(seen, step)
    assert acts["decoder"] is acts.all("decoder")[-1]


def test_an_unknown_name_is_answered_with_the_known(tiny_random: Network) -> None:
    with trace("decoder.ln", "decoder.logits") as acts:
        tiny_random.logits(TOKENS, cases.random_features())
    with pytest.raises(KeyError, match=r"'decoder\.lm'.*decoder\.ln, decoder\.logits"):
        acts["decoder.lm"]
    with pytest.raises(KeyError, match="nothing was recorded"):
        acts.all("")
    assert "decoder.lm" not in acts
    assert acts.get("decoder.lm") is None


def test_layers_on_their_own_have_their_own_names() -> None:
    x, w = np.ones((1, 2), np.float32), {"weight": np.ones((2, 2), np.float32)}
    with trace() as acts:
        layers.softmax(x)
        layers.linear(x, w)  # a plain dict has no name
        layers.linear(x, nest(w))
        layers.linear(x, nest(w, "my.query"))
        layers.linear(x, w=nest(w, "my.key"))
    assert {name: len(acts.all(name)) for name in acts} == {"softmax": 1, "linear": 2, "my.query": 1, "my.key": 1}


def test_calls_inside_calls_are_named_after_the_module_around_them() -> None:
    @layer
    def inner(x: Array) -> Array:
        return x + 1

    @layer(name="renamed")
    def outer(x: Array, w: Scope) -> Array:
        return inner(x) * 2

    with trace() as acts:
        outer(np.zeros(3), Scope("block.7"))
        outer(np.zeros(3), Scope())
        inner(np.zeros(3))
    assert list(acts) == ["block.7.inner", "block.7", "inner", "renamed"]
    assert len(acts.all("inner")) == 2


def test_only_arrays_are_recorded() -> None:
    @layer
    def count(x: Array) -> int:
        return x.size

    with trace() as acts:
        assert count(np.zeros(3)) == 3
    assert len(acts) == 0


def test_what_is_recorded_is_frozen(tiny_random: Network) -> None:
    with trace() as acts:
        logits = tiny_random(MEL, TOKENS)
    for name in acts:
        with pytest.raises(ValueError, match="read-only"):
            acts[name][...] = 0
    with pytest.raises(ValueError, match="read-only"):
        logits[...] = 0
    tiny_random(MEL, TOKENS)[...] = 0  # outside the block results are the caller's own again


def test_a_function_that_writes_into_a_recorded_array_raises() -> None:
    @layer
    def double_in_place(x: Array) -> Array:
        x *= 2
        return x

    with trace(), pytest.raises(ValueError, match="read-only"):
        double_in_place(layers.gelu(np.ones(3, np.float32)))


# When it is recorded


def test_nested_traces_record_for_themselves(tiny_random: Network) -> None:
    with trace("encoder*") as outer:
        with trace("*.ln_post", "decoder") as inner:
            tiny_random(MEL, TOKENS)
        tiny_random.embed_audio(MEL)
    assert list(inner) == ["encoder.ln_post", "decoder"]
    assert len(inner.all("encoder.ln_post")) == 1
    assert len(outer.all("encoder.ln_post")) == 2
    assert "decoder" not in outer
    assert not is_handled()


def test_nothing_is_recorded_outside_the_block(tiny_random: Network) -> None:
    with trace() as acts:
        assert is_handled()
    tiny_random.embed_audio(MEL)
    assert len(acts) == 0
    assert not is_handled()


def test_an_exception_restores_what_was(tiny_random: Network) -> None:
    with pytest.raises(ValueError, match="frames"), trace() as acts:
        tiny_random.embed_audio(MEL[..., 1:])
    assert not is_handled()

    @layer
    def fail(x: Array, w: Scope) -> Array:
        raise RuntimeError("on purpose")

    with trace() as acts:
        with pytest.raises(RuntimeError, match="on purpose"):
            fail(MEL, Scope("failing.module"))
        layers.gelu(MEL)  # not a part of what failed
    assert list(acts) == ["gelu"]
    assert not is_handled()


def test_a_generator_left_in_a_trace_restores_what_was() -> None:
    def traced() -> Iterator[Activations]:
        with trace() as acts:
            yield acts

    generator = traced()
    next(generator)
    generator.close()
    assert not is_handled()


def test_another_thread_is_not_seen(tiny_random: Network) -> None:
    seen_there: list[bool] = []

    def elsewhere() -> None:
        seen_there.append(is_handled())
        tiny_random.embed_audio(MEL)

    with trace() as acts:
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
    assert seen_there == [False]
    assert len(acts) == 0


def test_threads_record_for_themselves(tiny_random: Network) -> None:
    both_inside, names = threading.Barrier(2, timeout=120), {}

    def record(pattern: str) -> None:
        with trace(pattern) as acts:
            both_inside.wait()
            tiny_random.embed_audio(MEL)
            both_inside.wait()
        names[pattern] = [(name, len(acts.all(name))) for name in acts]

    threads = [threading.Thread(target=record, args=(pattern,)) for pattern in ("encoder.conv1", "encoder.ln_post")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names == {pattern: [(pattern, 1)] for pattern in ("encoder.conv1", "encoder.ln_post")}


# What it costs and changes


def test_watching_changes_no_bit(tiny_random: Network) -> None:
    idle = tiny_random(MEL, TOKENS)
    for patterns in [(), ("nothing",), ("*softmax",)]:
        with warnings.catch_warnings(), trace(*patterns):
            warnings.simplefilter("ignore")  # of the pattern that matches nothing
            watched = tiny_random(MEL, TOKENS)
        np.testing.assert_array_equal(watched, idle)
    np.testing.assert_array_equal(tiny_random(MEL, TOKENS), idle)


def test_a_call_without_handlers_goes_straight_through(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("handled")

    monkeypatch.setattr(tracing, "_handled", refuse)
    np.testing.assert_array_equal(layers.softmax(np.zeros((1, 2), np.float32)), [[0.5, 0.5]])
    with trace(), pytest.raises(AssertionError, match="handled"):
        layers.softmax(np.zeros((1, 2), np.float32))


def test_handlers_are_called_by_name_the_innermost_last() -> None:
    order: list[str] = []

    def handler(label: str) -> tracing.Handler:
        def handle(name: str, function: tracing.Function) -> tracing.Function:
            order.append(f"{label} {name}")
            return function

        return handle

    with ExitStack() as stack:
        for label in ("outer", "inner"):
            stack.enter_context(handling(handler(label)))
        layers.gelu(np.zeros(2, np.float32))
    assert order == ["outer gelu", "inner gelu"]


def test_a_layer_keeps_its_name_and_its_docstring() -> None:
    assert layers.linear.__name__ == "linear"
    assert layers.linear.__module__ == "npwhisper.model.layers"
    assert "bias" in (layers.linear.__doc__ or "")
