"""The functions of this package that students can write themselves: points, cases, and how to call each.

The cases were computed by torch, openai-whisper and transformers (``tests/golden/make_check_cases.py``) and ship with
the package, so that grading does not need torch.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import import_module, resources
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from npwhisper.decoding.rules import RuleContext
from npwhisper.decoding.search import Hypothesis
from npwhisper.model import start_cache
from npwhisper.model.cache import BlockCache, KeyValues
from npwhisper.tracing.scope import nest
from npwhisper.tracing.seam import Array, Function

LAYER, STACK = 1e-5, 1e-4  # tolerances: a single layer, a stack of layers


class Exercise(NamedTuple):
    """The assignment, the points, and the module of the package's own solution."""

    assignment: str
    points: int
    home: str
    tolerance: float = LAYER


EXERCISES = {
    "linear": Exercise("a1", 1, "model"),
    "embedding": Exercise("a1", 1, "model"),
    "gelu": Exercise("a1", 2, "model"),
    "layer_norm": Exercise("a1", 2, "model"),
    "softmax": Exercise("a1", 2, "model"),
    "log_softmax": Exercise("a1", 1, "model"),
    "conv1d": Exercise("a1", 3, "model"),
    "sinusoids": Exercise("a1", 2, "model"),
    "split_heads": Exercise("a2", 1, "model"),
    "merge_heads": Exercise("a2", 1, "model"),
    "causal_mask": Exercise("a2", 2, "model"),
    "scores": Exercise("a2", 2, "model"),
    "attend": Exercise("a2", 2, "model"),
    "self_attention": Exercise("a2", 3, "model", STACK),
    "cross_attention": Exercise("a2", 3, "model", STACK),
    "mlp": Exercise("a2", 1, "model", STACK),
    "encoder_block": Exercise("a2", 1, "model", STACK),
    "decoder_block": Exercise("a2", 2, "model", STACK),
    "encoder": Exercise("a2", 2, "model", STACK),
    "append": Exercise("a3", 2, "model.KeyValues"),
    "reorder": Exercise("a3", 2, "model.KeyValues"),
    "start_cache": Exercise("a3", 3, "model", STACK),
    "logits": Exercise("a3", 1, "model", STACK),
    "decoder": Exercise("a3", 3, "model", STACK),
    "greedy_search": Exercise("a4", 2, "decoding", STACK),
    "beam_search": Exercise("a4", 5, "decoding", STACK),
    "rank": Exercise("a4", 1, "decoding"),
    "compression_ratio": Exercise("a4", 1, "decoding"),
    "suppress_tokens": Exercise("a4", 1, "decoding"),
    "suppress_blank": Exercise("a4", 1, "decoding"),
    "penalize_repetition": Exercise("a4", 1, "decoding"),
    "forbid_repeated_ngrams": Exercise("a4", 2, "decoding"),
    "apply_timestamp_rules": Exercise("a4", 4, "decoding"),
    "pad_or_trim": Exercise("a5", 1, "audio"),
    "hann": Exercise("a5", 1, "audio"),
    "stft": Exercise("a5", 3, "audio"),
    "hz_to_mel": Exercise("a5", 1, "audio"),
    "mel_to_hz": Exercise("a5", 1, "audio"),
    "mel_filters": Exercise("a5", 3, "audio"),
    "log_mel_spectrogram": Exercise("a5", 3, "audio", STACK),
    "median_filter": Exercise("a5", 2, "timing"),
    "standardise": Exercise("a5", 1, "timing"),
    "token_map": Exercise("a5", 1, "timing", STACK),
    "dtw_cost": Exercise("a5", 3, "timing"),
    "backtrace": Exercise("a5", 2, "timing"),
    "dtw": Exercise("a5", 1, "timing"),
}


class Case(NamedTuple):
    """One set of arguments for a function, and torch's result for it."""

    layer: str
    label: str
    arguments: dict[str, Any]
    expected: Array


def solution(name: str) -> Function:
    """The package's own function."""
    module, _, inner = EXERCISES[name].home.partition(".")
    home: Any = import_module(f"npwhisper.{module}")
    function: Function = getattr(getattr(home, inner) if inner else home, name)
    return function


@cache
def _reference() -> dict[str, Array]:
    with (resources.files("npwhisper") / "assets" / "reference_cases.npz").open("rb") as file, np.load(file) as arrays:
        return dict(arrays)


@cache
def load_cases(name: str) -> list[Case]:
    """The cases of a function, in the order in which they are run."""
    labels: dict[str, dict[str, Array]] = {}
    for key, value in _reference().items():
        layer, _, rest = key.partition("/")
        if layer == name:
            label, _, argument = rest.partition("/")
            labels.setdefault(label, {})[argument] = value
    return [_case(name, label, arrays) for label, arrays in labels.items()]


def _case(name: str, label: str, arrays: Mapping[str, Array]) -> Case:
    values = {key: value if value.ndim else value.item() for key, value in arrays.items()}
    expected = np.asarray(values.pop("expected"))
    return Case(name, label, dict(nest(values)), np.exp(expected) if name == "causal_mask" else expected)


def try_case(case: Case, function: Function) -> tuple[Any, dict[str, Any]]:
    """Call `function` with copies of the arguments; return the result as an array to compare, and the copies."""
    arguments = copy.deepcopy(case.arguments)
    plan = PLANS.get(f"{case.layer}, {case.label.partition(', seed')[0]}") or PLANS.get(case.layer, _call)
    return plan(function, arguments), arguments


# How each function is called; one without a plan gets its arguments in order, as the library passes them.

Plan: TypeAlias = Callable[[Function, dict[str, Any]], Any]


def _call(function: Function, a: dict[str, Any]) -> Any:
    return function(*a.values())


def _conv1d(function: Function, a: dict[str, Any]) -> Any:
    return function(a["x"], a["w"], stride=a["stride"]) if a["stride"] > 1 else function(a["x"], a["w"])


def _pad_or_trim(function: Function, a: dict[str, Any]) -> Any:
    return function(a["array"], a["length"], axis=a["axis"]) if "axis" in a else function(a["array"], a["length"])


def _in_steps(x: Array, call: Callable[[Array], Any]) -> Any:
    """Three positions at once, then one and one, as in decoding: (B, 5, ...) -> (B, 5, ...)."""
    return _joined([call(part) for part in np.split(x, [3, 4], axis=1)], axis=1)


def _joined(parts: Sequence[Any], axis: int) -> Any:
    wrong = [part for part in parts if not isinstance(part, np.ndarray)]
    return wrong[0] if wrong else np.concatenate(parts, axis=axis)


def _self_attention(function: Function, a: dict[str, Any]) -> Any:
    return function(a["x"], a["w"], a["n_head"])


def _cached_attention(function: Function, a: dict[str, Any]) -> Any:
    cache = KeyValues.empty(len(a["x"]), a["n_head"], 9, a["x"].shape[2] // a["n_head"])
    return _in_steps(a["x"], lambda x: function(x, a["w"], a["n_head"], cache))


def _causal_mask(function: Function, a: dict[str, Any]) -> Any:
    """The exponentials of the mask: 0 where it hides, 1 where it does not; 1 everywhere without a mask."""
    mask = function(a["n_query"], a["n_key"])
    return np.exp(np.zeros((a["n_query"], a["n_key"]), np.float32) if mask is None else mask)


def _cross_attention(function: Function, a: dict[str, Any]) -> Any:
    audio = (a["k"], a["v"])
    if a["x"].shape[1] == 1:
        return function(a["x"], a["w"], a["n_head"], audio)
    return _in_steps(a["x"], lambda x: function(x, a["w"], a["n_head"], audio))


def _decoder_block(function: Function, a: dict[str, Any]) -> Any:
    batch, n_head, _, width = a["k"].shape
    cache = BlockCache(KeyValues.empty(batch, n_head, 9, width), (a["k"], a["v"]))
    return _in_steps(a["x"], lambda x: function(x, a["w"], n_head, cache))


def _decoder(function: Function, a: dict[str, Any]) -> Any:
    cache = start_cache(a["audio_features"], a["w"], a["n_head"], 9)
    return _in_steps(a["tokens"], lambda tokens: function(tokens, a["w"], a["n_head"], cache))


def _start_cache(function: Function, a: dict[str, Any]) -> Any:
    cache = _call(function, a)
    return np.stack([array for block in cache.blocks for array in block.audio])


def _append(function: Function, a: dict[str, Any]) -> Any:
    batch, n_head, length, width = a["k"].shape
    cache, result = KeyValues.empty(batch, n_head, length + 2, width), None
    cache.k[:] = cache.v[:] = 0.0
    for k, v in zip(np.split(a["k"], [3, 4], axis=2), np.split(a["v"], [3, 4], axis=2), strict=True):
        result = function(cache, k, v)
    return None if result is None else np.stack(result)


def _reorder(function: Function, a: dict[str, Any]) -> Any:
    batch, n_head, length, width = a["k"].shape
    cache = KeyValues.empty(batch, n_head, length + 2, width)
    cache.append(a["k"], a["v"])
    function(cache, a["parents"])
    return np.stack([cache.k[:, :, : cache.length], cache.v[:, :, : cache.length]])


RULES = RuleContext(11, 15, 14, [4, 11], [1, 7, 12], max_initial_timestamp=6)
AGAINST_LOOPS = RULES._replace(repetition_penalty=1.5, no_repeat_ngram_size=2)


def _rule(function: Function, a: dict[str, Any]) -> Any:
    return function(a["logits"], a["sampled"], RULES)


def _rule_against_loops(function: Function, a: dict[str, Any]) -> Any:
    return function(a["logits"], a["sampled"], AGAINST_LOOPS)


class _Memory:
    """A `step` function for searches that depends on the last two tokens, so that wrong parents give a wrong result.

    With one table per step, texts with the same pairs in another order have different sums.
    """

    def __init__(self, table: Array) -> None:
        self.table, self.last = table, np.empty(0, dtype=np.int64)

    def __call__(self, tokens: Array, parents: Array | None) -> Array:
        before = tokens[:, -2] if parents is None else self.last[parents]
        self.last = tokens[:, -1].copy()
        table = self.table if self.table.ndim == 3 else self.table[tokens.shape[1] % len(self.table)]
        return table[before, self.last]


def _search(function: Function, a: dict[str, Any]) -> Any:
    """Hypotheses as numbers: the sum, then the tokens, padded with -1; most probable first."""
    found = function(_Memory(a["table"]), a["first"], a["eot"], a["max_tokens"], *[a[k] for k in a if k == "beam_size"])
    rows = [sorted(((float(total), [*map(int, tokens)]) for tokens, total in row), reverse=True) for row in found]
    width = max([a["max_tokens"], *(len(tokens) for row in rows for _, tokens in row)])
    most = max((len(row) for row in rows), default=0)
    rows = [row + [(math.nan, [])] * (most - len(row)) for row in rows]
    return np.array([[[total, *tokens, *[-1] * (width - len(tokens))] for total, tokens in row] for row in rows])


def _rank(function: Function, a: dict[str, Any]) -> Any:
    return np.array(
        function([Hypothesis([1] * n, float(total)) for n, total in zip(a["lengths"], a["sums"], strict=True)])
    )


PLANS: dict[str, Plan] = {
    "conv1d": _conv1d,
    "pad_or_trim": _pad_or_trim,
    "causal_mask": _causal_mask,
    "self_attention": _self_attention,
    "self_attention, decoder, step by step": _cached_attention,
    "cross_attention": _cross_attention,
    "decoder_block": _decoder_block,
    "decoder": _decoder,
    "start_cache": _start_cache,
    "append": _append,
    "reorder": _reorder,
    **dict.fromkeys(("suppress_blank", "suppress_tokens", "apply_timestamp_rules"), _rule),
    **dict.fromkeys(("penalize_repetition", "forbid_repeated_ngrams"), _rule_against_loops),
    "greedy_search": _search,
    "beam_search": _search,
    "rank": _rank,
}
