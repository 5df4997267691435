"""Common mistakes, each as a function that makes it.

`check` compares a wrong result with the results of these functions: if one agrees, its sentence says what went wrong.
Blocks and stacks are also run with every mistake of the layers inside them, substituted by `swap`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

from npwhisper.lab.exercises import solution
from npwhisper.lab.mistakes import attention, layers, network, sound
from npwhisper.tracing.seam import Function
from npwhisper.tracing.swapping import swap

MISTAKES = layers.MISTAKES | attention.MISTAKES | network.MISTAKES | sound.MISTAKES

ATTENTION = ("scores", "softmax", "attend", "linear")
HEADS = ("split_heads", "merge_heads")
BLOCK = (*ATTENTION, *HEADS, "layer_norm", "gelu")
INSIDE = {
    "attend": ("scores", "softmax"),
    "self_attention": (*ATTENTION, *HEADS),
    "cross_attention": (*ATTENTION, *HEADS),
    "mlp": ("gelu", "linear"),
    "encoder_block": (*BLOCK, "self_attention", "mlp"),
    "decoder_block": (*BLOCK, "self_attention", "cross_attention", "mlp"),
    "encoder": (*BLOCK, "conv1d", "encoder_block"),
    "decoder": (*BLOCK, "self_attention", "cross_attention", "decoder_block"),
    "log_mel_spectrogram": ("stft", "mel_filters"),
    "token_map": ("softmax", "standardise", "median_filter"),
    "dtw": ("dtw_cost", "backtrace"),
}


class Mistake(NamedTuple):
    """A mistake: a sentence for the student, and a function that makes it."""

    sentence: str
    function: Function


def mistakes_in(name: str) -> Iterator[Mistake]:
    """The mistakes of a function, then those of the layers inside it."""
    yield from (Mistake(sentence, function) for sentence, function in MISTAKES.get(name, {}).items())
    for inner in INSIDE.get(name, ()):
        for sentence, function in MISTAKES[inner].items():
            yield Mistake(f"in {inner}: {sentence}", functools.partial(_with, inner, function, solution(name)))


def _with(inner: str, wrong: Function, outer: Function, /, *args: Any) -> Any:
    with swap({inner: wrong}):
        return outer(*args)
