"""Fresh cases from a seed: other numbers and sizes than in the shipped cases, answered by the package's functions.

They catch functions that are right only for the shipped shapes, or that copy the shipped answers. The shipped cases,
computed by torch, test the package's own functions too.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from npwhisper.lab.exercises import Case, solution, try_case
from npwhisper.tracing.seam import Array

Arguments = dict[str, Any]


class Sizes:
    """Random arrays, and sizes that differ pairwise, so that swapped axes cannot pass."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.b, self.h, self.k, self.t, self.s, self.m, self.v = (
            int(base + self.rng.integers(0, 2)) for base in (2, 4, 6, 8, 10, 13, 21)
        )
        self.d = self.h * self.k

    def normal(self, *shape: int, scale: float = 1.0) -> Array:
        """Normally distributed numbers, float32."""
        return np.asarray(scale * self.rng.standard_normal(shape), dtype=np.float32)

    def dense(self, d_in: int, d_out: int, *kernel: int, bias: bool = True) -> Arguments:
        """Weights of a linear or convolutional layer, scaled so that its output is about as large as its input."""
        weight = self.normal(d_out, d_in, *kernel, scale=1.2 * (d_in * max(1, *kernel, 1)) ** -0.5)
        return {"weight": weight, "bias": self.normal(d_out, scale=0.2)} if bias else {"weight": weight}

    def norm(self, d: int) -> Arguments:
        """Weights of a layer norm."""
        return {"weight": np.float32(1) + self.normal(d, scale=0.3), "bias": self.normal(d, scale=0.3)}

    def attention(self) -> Arguments:
        """Weights of an attention layer; the key projection has no bias."""
        return {name: self.dense(self.d, self.d, bias=name != "key") for name in ("query", "key", "value", "out")}

    def block(self, cross: bool) -> Arguments:
        """Weights of a block."""
        names = ("attn", "cross_attn") if cross else ("attn",)
        w: Arguments = {name: self.attention() for name in names}
        w |= {f"{name}_ln": self.norm(self.d) for name in (*names, "mlp")}
        return w | {"mlp": {"0": self.dense(self.d, 4 * self.d), "2": self.dense(4 * self.d, self.d)}}

    def blocks(self, cross: bool) -> Arguments:
        """Weights of two blocks."""
        return {"0": self.block(cross), "1": self.block(cross)}


def _shapes(*last: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Shapes of one to four axes that end with these."""
    for n in range(max(0, 1 - len(last)), 5 - len(last)):
        yield f"{n + len(last)} axes", (*(3, 2, 4)[:n], *last)


def _layers(z: Sizes) -> Iterator[tuple[str, str, Arguments]]:
    for label, shape in _shapes(z.d):
        x = z.normal(*shape, scale=2.0)
        yield "linear", label, {"x": x, "w": z.dense(z.d, z.m, bias=len(shape) != 3)}
        yield "layer_norm", label, {"x": x, "w": z.norm(z.d)}
        yield "gelu", label, {"x": x}
        rows = np.arange(x[..., :1].size).reshape(x[..., :1].shape)
        yield "softmax", label, {"x": x + np.where(rows % 2, np.float32(60), np.float32(-60))}
        yield "log_softmax", label, {"x": np.float32(40) * x}
    for stride in (1, 2):
        yield "conv1d", f"stride {stride}", {"x": z.normal(z.b, z.m, 18), "w": z.dense(z.m, z.d, 3), "stride": stride}
    yield "embedding", "tokens", {"tokens": z.rng.integers(0, z.v, (z.b, z.t)), "w": {"weight": z.normal(z.v, z.d)}}
    yield "sinusoids", "table", {"length": z.s, "channels": 2 * z.t}


def _attention(z: Sizes) -> Iterator[tuple[str, str, Arguments]]:
    x, shape = z.normal(z.b, z.t, z.d), (z.b, z.h, z.t, z.k)
    yield "split_heads", "heads", {"x": x, "n_head": z.h}
    yield "merge_heads", "heads", {"x": z.normal(*shape)}
    for n_query in (z.t, z.s, 1):
        yield "causal_mask", f"{n_query} of {z.s}", {"n_query": n_query, "n_key": z.s}
    q, k, v = z.normal(*shape), z.normal(z.b, z.h, z.s, z.k), z.normal(z.b, z.h, z.s, z.k)
    mask = np.triu(np.full((z.t, z.s), -np.inf, np.float32), 1 + z.s - z.t)
    yield "scores", "cross", {"q": q, "k": k}
    yield "attend", "all", {"q": q, "k": k, "v": v}
    yield "attend", "masked", {"q": q, "k": k, "v": v, "mask": mask}
    for label in ("encoder", "decoder, step by step"):
        yield "self_attention", label, {"x": z.normal(z.b, 5, z.d), "w": z.attention(), "n_head": z.h}
    audio: Arguments = {"n_head": z.h, "k": k, "v": v}
    yield "cross_attention", "step by step", {"x": z.normal(z.b, 5, z.d), "w": z.attention(), **audio}
    yield "cross_attention", "three beams a window", {"x": z.normal(3 * z.b, 1, z.d), "w": z.attention(), **audio}
    yield "mlp", "positions", {"x": x, "w": z.block(False)["mlp"]}
    yield "encoder_block", "positions", {"x": x, "w": z.block(False), "n_head": z.h}
    yield "decoder_block", "step by step", {"x": z.normal(z.b, 5, z.d), "w": z.block(True), **audio}


def _stacks(z: Sizes) -> Iterator[tuple[str, str, Arguments]]:
    w: Arguments = {"conv1": z.dense(z.m, z.d, 3), "conv2": z.dense(z.d, z.d, 3), "ln_post": z.norm(z.d)}
    w |= {"positional_embedding": z.normal(z.s, z.d), "blocks": z.blocks(False)}
    yield "encoder", "mel", {"mel": z.normal(z.b, z.m, 2 * z.s), "w": w, "n_head": z.h}
    w = {"token_embedding": {"weight": z.normal(z.v, z.d, scale=0.3)}, "ln": z.norm(z.d)}
    w |= {"positional_embedding": z.normal(12, z.d), "blocks": z.blocks(True)}
    features: Arguments = {"w": w, "n_head": z.h, "audio_features": z.normal(z.b, z.s, z.d)}
    yield "decoder", "step by step", {"tokens": z.rng.integers(0, z.v, (z.b, 5)), **features}
    yield "start_cache", "audio", {"audio_features": features["audio_features"], "w": w, "n_head": z.h, "capacity": 12}
    yield "logits", "positions", {"x": z.normal(z.b, z.t, z.d), "weight": w["token_embedding"]["weight"]}
    k, v = z.normal(z.b, z.h, 5, z.k), z.normal(z.b, z.h, 5, z.k)
    yield "append", "3, 1 and 1 positions", {"k": k, "v": v}
    k, v = z.normal(4, z.h, z.t, z.k), z.normal(4, z.h, z.t, z.k)
    for label, parents in {"as many rows": [2, 0, 3, 0], "more rows": [1, 3, 0, 0, 2]}.items():
        yield "reorder", label, {"k": k, "v": v, "parents": np.array(parents)}


HISTORIES: dict[str, list[list[int]]] = {
    "at the start": [[], []],
    "after the first timestamp": [[16], [18]],
    "after text": [[16, 3, 5], [18, 9, 2]],
    "after a closing timestamp": [[16, 3, 19], [15, 5, 20]],
    "after an opening timestamp": [[16, 3, 19, 19], [15, 5, 20, 21]],
}
TEXTS = ("naïve café, ", "日本語の", "мир да ", "plain ")


def _search(z: Sizes) -> Iterator[tuple[str, str, Arguments]]:
    for label, history in HISTORIES.items():
        for name in ("suppress_blank", "suppress_tokens", "apply_timestamp_rules"):
            logits = z.normal(2, 31, scale=2.0)
            logits[1, 3] += 9
            yield name, label, {"logits": logits, "sampled": np.array(history, dtype=np.int64).reshape(2, -1)}
    sampled = np.array([[3, 5, 3, 5, 3, 9], [2, 7, 7, 2, 7, 7]])
    for name in ("penalize_repetition", "forbid_repeated_ngrams"):
        yield name, "text", {"logits": z.normal(2, 31, scale=2.0), "sampled": sampled}
    table = z.normal(7, 9, 9, 9, scale=1.5)
    table = table - np.log(np.exp(table).sum(axis=-1, keepdims=True))
    given: Arguments = {"table": table, "first": np.array([[2, 3], [4, 1], [5, 6]]), "eot": 0, "max_tokens": 7}
    yield "greedy_search", "three rows", given
    yield "beam_search", "three rows, two beams", {**given, "beam_size": 2}
    lengths = 1 + z.rng.permutation(12)[:5]
    yield "rank", "by length", {"lengths": lengths, "sums": -lengths * (0.2 + z.rng.random(5))}
    for text in TEXTS:
        yield "compression_ratio", f"{text.strip()} …", {"text": text * int(z.rng.integers(4, 15))}


def _audio(z: Sizes) -> Iterator[tuple[str, str, Arguments]]:
    samples = z.normal(3200 + 160 * z.m, scale=0.2)
    samples[1200:2000] = 0
    yield "hann", "400 samples", {}
    yield "stft", "frames", {"samples": samples[: 400 + 160 * z.t]}
    hz = np.concatenate([[0.0, 1000.0], z.rng.uniform(20, 8000, 9)])
    yield "hz_to_mel", "across 1000 Hz", {"hz": hz}
    yield "mel_to_hz", "across 1000 Hz", {"mel": hz / 178}
    yield "mel_filters", "other bins", {"n_mels": 40 + z.m}
    yield "log_mel_spectrogram", "other bins", {"audio": samples, "n_mels": 40 + z.m}
    for label, length in {"longer": z.s, "shorter": z.h}.items():
        yield "pad_or_trim", label, {"array": z.normal(3, z.t), "length": length}
    yield "pad_or_trim", "another axis", {"array": z.normal(3, z.t), "length": 5, "axis": 0}


def _alignment(z: Sizes) -> Iterator[tuple[str, str, Arguments]]:
    for label, shape in _shapes(2 * z.t):
        yield "median_filter", label, {"x": z.normal(*shape), "filter_width": 5}
    weights = np.exp(z.normal(z.h, z.t, z.v))
    weights[:, :, 3] = 0.25
    yield "standardise", "weights", {"weights": weights}
    yield "token_map", "heads", {"scores": z.normal(z.h, z.t, z.v), "medfilt_width": 5}
    costs = z.rng.standard_normal((z.t, z.v))
    yield "dtw_cost", "costs", {"x": costs}
    yield "backtrace", "costs", {"cost": _outside(solution("dtw_cost"), costs)}
    yield "dtw", "costs", {"x": costs}


def fresh_cases(name: str, seed: int) -> list[Case]:
    """The fresh cases of a function.

    >>> [case.label for case in fresh_cases("softmax", 0)]
    ['1 axes, seed 0', '2 axes, seed 0', '3 axes, seed 0', '4 axes, seed 0']
    """
    makers = (_layers, _attention, _stacks, _search, _audio, _alignment)
    found = [case for make in makers for case in make(Sizes(seed)) if case[0] == name]
    return [_answered(Case(layer, f"{label}, seed {seed}", given, np.empty(0))) for layer, label, given in found]


def _answered(case: Case) -> Case:
    expected = np.asarray(_outside(lambda: try_case(case, solution(case.layer))[0]))
    return case._replace(expected=expected)


def _outside(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function outside all `trace` and `swap` blocks."""
    return contextvars.Context().run(function, *args)
