"""`compare`: the first layer that differs is found, wherever it is, without torch."""

from __future__ import annotations

from pathlib import Path

import cases
import numpy as np
import pytest

from npwhisper.lab.comparing import (
    Comparison,
    compare,
    first_difference,
    load_activations,
    our_name,
    save_activations,
)
from npwhisper.model import Network
from npwhisper.model.layers import gelu
from npwhisper.tracing.seam import Activations, Array, trace
from npwhisper.tracing.swapping import swap

MEL, TOKENS = cases.random_mel(), cases.random_input("decoder", cases.STACKS["decoder"])


def steps(network: Network) -> Activations:
    """Everything from the mel spectrogram to three decode steps."""
    with trace() as acts:
        features = network.embed_audio(MEL)
        cache = network.start_cache(features)
        for part in np.split(TOKENS, [3, 4], axis=1):
            network.decoder(part, features, cache)
    return acts


@pytest.fixture(scope="module")
def right() -> Activations:
    return steps(cases.network())


NAMES = list(steps(cases.network()))


def test_equal_recordings_are_equal(right: Activations, tiny_random: Network) -> None:
    result = compare(right, steps(tiny_random))
    assert result
    assert result.first is None
    assert len(result.differences) == len(right.records)
    assert str(result).endswith(f"all {len(right.records)} values are equal within the tolerance")


def wrong(y: Array) -> Array:
    y, middle = np.array(y), y.size // 2
    y.flat[middle] += 0.01 * np.abs(y[np.isfinite(y)]).max(initial=0.1)
    return y


@pytest.mark.parametrize("name", [name for name in NAMES if name != "split_heads"])
def test_the_wrong_layer_is_named(name: str, right: Activations, tiny_random: Network) -> None:
    with swap(edit={name: wrong}):
        difference = first_difference(right, steps(tiny_random))
    assert difference is not None
    assert difference.name == name
    assert difference.unchecked == ()


def test_a_layer_that_is_wrong_only_in_a_later_step_is_found_there(right: Activations, tiny_random: Network) -> None:
    calls = []

    def late(y: Array) -> Array:
        calls.append(y.shape)
        return wrong(y) if len(calls) == 2 else y

    with swap(edit={"decoder.blocks.1.mlp.0": late}):
        difference = first_difference(right, steps(tiny_random))
    assert difference is not None
    assert (difference.name, difference.call) == ("decoder.blocks.1.mlp.0", 1)


def test_layers_that_the_reference_lacks_are_named_as_suspects(right: Activations, tiny_random: Network) -> None:
    known = {name: right.all(name) for name in right if "attn." not in name or name.endswith((".query", ".out"))}
    with swap(edit={"encoder.blocks.1.attn.softmax": wrong}):
        difference = first_difference(known, steps(tiny_random))
    assert difference is not None
    assert difference.name == "encoder.blocks.1.attn.out"
    assert "encoder.blocks.1.attn.softmax" in difference.unchecked
    assert "encoder.blocks.1.attn.query" not in difference.unchecked
    assert "(or in encoder.blocks.1.attn." in str(difference)


def test_errors_are_parts_of_the_largest_value() -> None:
    reference = {"x": np.array([100.0, 1.0], np.float32)}
    acts = {"x": np.array([100.0, 1.5], np.float32)}
    difference = compare(reference, acts, tolerance=0.004).first
    assert difference is not None
    assert (difference.largest, difference.error) == (0.5, pytest.approx(0.005))
    assert compare(reference, acts, tolerance=0.006)


@pytest.mark.parametrize(
    ("reference", "value", "is_equal"),
    [
        ([np.nan, 1.0], [np.nan, 1.0], True),
        ([0.5, 1.0], [np.nan, 1.0], False),
        ([-np.inf, 1.0], [-np.inf, 1.0], True),
        ([-np.inf, 1.0], [3.0, 1.0], False),
        ([0.0, 0.0], [0.0, 0.0], True),
    ],
)
def test_nan_and_infinity(reference: list[float], value: list[float], is_equal: bool) -> None:
    assert bool(compare({"x": np.array(reference)}, {"x": np.array(value)})) == is_equal


def test_scores_that_the_reference_masks_are_not_compared() -> None:
    reference, value = np.array([-np.inf, 1.0]), np.array([3.0, 1.0])
    assert compare({"attn.scores": reference}, {"attn.scores": value})
    assert not compare({"attn.scores": reference}, {"attn.scores": value + 1})


def test_other_shapes_and_missing_names_are_told() -> None:
    result = compare({"a": np.zeros((2, 3)), "b": np.zeros(1)}, {"a": np.zeros((3, 2)), "c": np.zeros(1)})
    assert "its shape is (3, 2) instead of (2, 3)" in str(result)
    assert result.only_in_reference == ["b"]
    nothing = compare({"b": np.zeros(1)}, {"c": np.zeros(1)})
    assert not nothing
    assert "nothing was compared" in str(nothing)


def test_a_file_stands_for_a_recording(right: Activations, tiny_random: Network, tmp_path: Path) -> None:
    save_activations(right, tmp_path / "right.npz")
    again = load_activations(tmp_path / "right.npz")
    assert [name for name, _ in again.records] == [name for name, _ in right.records]
    assert len(again.steps) == len(right.steps) == 3
    with swap(gelu=lambda x: gelu(x) + np.float32(1)):
        difference = first_difference(tmp_path / "right.npz", steps(tiny_random))
    assert difference is not None
    assert (difference.name, difference.call) == ("encoder.gelu", 0)


def test_a_file_may_have_plain_names(tmp_path: Path) -> None:
    np.savez(tmp_path / "plain.npz", **{"decoder.ln": np.ones(3)})
    assert compare(tmp_path / "plain.npz", {"decoder.ln": np.ones(3)})
    assert not compare(str(tmp_path / "plain.npz"), {"decoder.ln": np.zeros(3)})


def test_the_table_has_a_line_for_each_layer_and_marks_the_first_difference(
    right: Activations, tiny_random: Network
) -> None:
    with swap(edit={"decoder.blocks.0.mlp.0": wrong}):
        result: Comparison = compare(right, steps(tiny_random))
    lines = str(result).splitlines()
    assert len(lines) == 1 + len(right) + 1
    assert [line.split()[0] for line in lines if line.endswith("first difference")] == ["decoder.blocks.0.mlp.0"]
    assert lines[-1].startswith("the first difference is in decoder.blocks.0.mlp.0, call 0: the largest error is")
    assert result._repr_html_().count("<tr>") == 1 + len(right)


@pytest.mark.parametrize(
    ("torch_name", "name"),
    [
        ("encoder.conv1", "encoder.conv1"),
        ("decoder", "decoder"),
        ("decoder.blocks.2.mlp.1", "decoder.blocks.2.mlp.gelu"),
        ("model.decoder", ""),
        ("model.encoder", "encoder"),
        ("model.encoder.layers.0.fc1", "encoder.blocks.0.mlp.0"),
        ("model.encoder.layers.0.final_layer_norm", "encoder.blocks.0.mlp_ln"),
        ("model.decoder.layers.3.encoder_attn_layer_norm", "decoder.blocks.3.cross_attn_ln"),
        ("model.decoder.layers.3.self_attn.out_proj", "decoder.blocks.3.attn.out"),
        ("model.encoder.layer_norm", "encoder.ln_post"),
        ("model.decoder.layer_norm", "decoder.ln"),
        ("model.decoder.embed_tokens", "decoder.token_embedding"),
        ("proj_out", "decoder.logits"),
    ],
)
def test_modules_of_torch_have_our_names(torch_name: str, name: str) -> None:
    assert our_name(torch_name) == name


def test_a_recording_shows_itself(right: Activations) -> None:
    assert repr(right).startswith(f"<Activations: {len(right)} names, {len(right.records)} arrays,")
    assert repr(right).endswith("3 steps>")
    html = right._repr_html_()
    assert html.count("<tr>") == 1 + len(right)
    assert "<td>decoder.blocks.1.mlp.gelu</td><td>3</td><td>(2, 1, 96)</td><td>float32</td>" in html


def test_steps_hold_what_was_computed_in_each(right: Activations) -> None:
    assert [step["decoder"].shape for step in right.steps] == [(2, 3, 41), (2, 1, 41), (2, 1, 41)]
    for i, step in enumerate(right.steps):
        assert step["decoder.blocks.0.mlp"] is right.all("decoder.blocks.0.mlp")[i]
        assert "decoder.blocks.0.cross_attn.key" not in step
    assert "encoder" not in right.steps[0]
    assert right.names("decoder.blocks.0.*ln") == [
        f"decoder.blocks.0.{name}" for name in ("attn_ln", "cross_attn_ln", "mlp_ln")
    ]


@pytest.mark.parametrize(("off", "is_wrong"), [(2e-4, False), (-2.3e-3, False), (2.5e-3, True), (-2.5e-3, True)])
def test_float64_tells_rounding_from_a_mistake(off: float, is_wrong: bool) -> None:
    """The reference is 3e-4 from the exact value, so eight times as much is rounding too."""
    exact = np.array([1.0, -0.5], np.float64)
    reference, mine = ({"mlp": (exact + shift).astype(np.float32)} for shift in (-3e-4, off))
    assert (compare(reference, mine).first is not None) == (abs(off + 3e-4) > 1e-4)
    assert (compare(reference, mine, judge={"mlp": exact.astype(np.float32)}).first is not None) == is_wrong


def test_the_judge_forgives_no_shape_and_nothing_that_it_does_not_know() -> None:
    reference, mine = {"mlp": np.ones(3, np.float32)}, {"mlp": np.full(3, 1.1, np.float32)}
    assert compare(reference, mine, judge={"gelu": np.full(3, 1.1, np.float32)}).first is not None
    assert compare(reference, {"mlp": np.ones(4, np.float32)}, judge={"mlp": np.ones(4, np.float32)}).first is not None
