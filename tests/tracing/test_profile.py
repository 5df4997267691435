"""`profile`: calls, seconds, arithmetic and traffic by name, beside what the machine can do."""

from __future__ import annotations

import time

import numpy as np
import pytest

from npwhisper import audio
from npwhisper.model import Network, mlp
from npwhisper.model.attention import attend, scores
from npwhisper.model.layers import conv1d, embedding, gelu, linear, softmax
from npwhisper.tracing import profiling
from npwhisper.tracing.profiling import Ceilings, Cost, Profile, measure_ceilings, profile
from npwhisper.tracing.scope import nest
from npwhisper.tracing.seam import Array, layer, trace
from npwhisper.tracing.swapping import swap

RNG = np.random.default_rng(8)


def normal(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.fixture(autouse=True)
def known_ceilings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiling, "measure_ceilings", lambda: Ceilings(2e9, 1e9))


@layer
def slow(x: Array) -> Array:
    time.sleep(0.02)
    return x + 1


@layer
def outer(x: Array) -> Array:
    time.sleep(0.01)
    return slow(slow(x))


def test_seconds_are_those_of_the_layer_and_its_own_without_those_inside() -> None:
    with profile() as p:
        outer(normal(3))
    assert list(p) == ["slow", "outer"]
    assert p["slow"].calls == 2
    assert p["outer"].seconds >= 0.05
    assert p["slow"].seconds >= 0.04
    assert p["outer"].own_seconds == pytest.approx(p["outer"].seconds - p["slow"].seconds)
    assert p["slow"].own_seconds == p["slow"].seconds


@pytest.mark.parametrize(
    ("name", "call", "flops"),
    [
        ("linear", lambda: linear(normal(2, 5, 7), {"weight": normal(11, 7), "bias": normal(11)}), 2 * 2 * 5 * 7 * 11),
        ("conv1d", lambda: conv1d(normal(2, 5, 8), {"weight": normal(7, 5, 3), "bias": normal(7)}, 2), 4 * 4 * 7 * 15),
        ("scores", lambda: scores(normal(2, 3, 5, 4), normal(2, 3, 7, 4)), 2 * 2 * 3 * 5 * 7 * 4),
        ("attend", lambda: attend(normal(2, 3, 5, 4), normal(2, 3, 7, 4), normal(2, 3, 7, 4)), 4 * 2 * 3 * 5 * 7 * 4),
        ("gelu", lambda: gelu(normal(5)), 0),
    ],
)
def test_products_are_counted(name: str, call: object, flops: int) -> None:
    assert callable(call)
    with profile() as p:
        call()
    assert p[name].flops == flops


def test_bytes_are_what_must_be_read_and_written() -> None:
    w = {"weight": normal(11, 7), "bias": normal(11)}
    with profile() as p:
        linear(normal(2, 7), w)
        embedding(np.array([[3, 4, 5]]), w)
        attend(*(np.broadcast_to(normal(1, 1, 5, 4), (2, 3, 5, 4)) for _ in range(3)))
    assert p["linear"].bytes == 4 * (2 * 7 + 11 * 7 + 11 + 2 * 11)
    assert p["embedding"].bytes == 4 * (2 * 3 * 7)
    assert p["scores"].bytes == 4 * (2 * 5 * 4 + 2 * 3 * 5 * 5)


def test_a_layer_that_returns_its_argument_moves_nothing() -> None:
    @layer
    def same(x: Array) -> Array:
        return x

    with profile() as p:
        same(normal(9))
    assert p["same"].bytes == 0


def test_a_composite_costs_what_its_layers_cost(tiny_random: Network) -> None:
    dims = tiny_random.dims
    with profile() as p:
        tiny_random.embed_audio(np.zeros((dims.n_mels, 2 * dims.n_audio_ctx), np.float32))
    names = ["encoder.conv1", "encoder.conv2", *(name for name in p if name.count(".") == 2)]
    assert p["encoder"].flops == sum(p[name].flops for name in names) > 0
    inside = [p[name] for name in p if name.startswith("encoder.blocks.1.mlp.")]
    assert p["encoder.blocks.1.mlp"].flops == sum(cost.flops for cost in inside)
    assert p["encoder.blocks.1.mlp"].bytes == sum(cost.bytes for cost in inside)


def test_globs_choose_and_blocks_fold() -> None:
    w = nest({f"blocks.{i}.mlp.{j}.weight": normal(6, 6) for i in range(3) for j in (0, 2)})
    with profile("*.mlp*") as p:
        for i in "012":
            mlp(normal(5, 6), w["blocks"][i]["mlp"])
        softmax(normal(3))
    assert "softmax" not in p
    assert len(p) == 3 * 4
    assert {name: cost.calls for name, cost in p.folded().items()} == dict.fromkeys(
        ["blocks.*.mlp.0", "blocks.*.mlp.gelu", "blocks.*.mlp.2", "blocks.*.mlp"], 3
    )


def test_the_table_tells_how_far_a_layer_is_from_the_ceilings() -> None:
    p = Profile()
    p.add("product", Cost(1, 0.5, 0.25, flops=5e8, bytes=1e6))
    p.add("stream", Cost(2, 1.0, 1.0, flops=1e6, bytes=1e8))
    header, first, second, note = str(p).splitlines()
    assert header.split()[:3] == ["layer", "calls", "seconds"]
    assert first.split() == ["stream", "2", "1.0000", "1.0000", "0.001", "0.0", "100.0", "10", "%", "memory"]
    assert second.split() == ["product", "1", "0.5000", "0.2500", "0.500", "1.0", "1.0", "50", "%", "sgemm"]
    assert "sgemm 2.0 GFLOP/s, memory 1.0 GB/s" in note
    html = p._repr_html_()
    assert html.count("<tr>") == 3
    assert "<td>50 %</td><td>sgemm</td>" in html


@pytest.mark.slow
def test_the_ceilings_are_measured() -> None:
    flops, traffic = measure_ceilings()
    assert 1e8 < flops < 1e14
    assert 1e8 < traffic < 1e13


def test_profiling_changes_no_bit_and_works_with_trace_and_swap(tiny_random: Network) -> None:
    dims = tiny_random.dims
    mel = normal(2, dims.n_mels, 2 * dims.n_audio_ctx)
    expected = tiny_random.embed_audio(mel)
    with trace("encoder") as acts, swap(gelu=gelu), profile() as p:
        tiny_random.embed_audio(mel)
    np.testing.assert_array_equal(acts["encoder"], expected)
    assert p["encoder.gelu"].calls == 2


def test_an_exception_leaves_nothing_behind() -> None:
    with pytest.raises(ValueError, match="matmul"), profile():
        linear(normal(3, 4), {"weight": normal(2, 5)})
    with profile() as p:
        gelu(normal(3))
    assert list(p) == ["gelu"]


def test_sound_is_profiled_too() -> None:
    with profile() as p:
        audio.log_mel_spectrogram(normal(4000))
    assert {"mel", "stft", "mel_filters"} <= set(p)
    assert p["mel"].flops == p["stft"].flops > 0
