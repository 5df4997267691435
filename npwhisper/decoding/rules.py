"""Rules of decoding: which tokens may come next, and which not?

Each rule is a plain function from logits to logits; a forbidden token gets -inf. They are applied in the order of
`LOGIT_RULES`, and look only at what was sampled in this window.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from npwhisper.tracing.seam import Array, layer

TIME_PRECISION = 0.02  # seconds from one timestamp token to the next


class RuleContext(NamedTuple):
    """What the logit rules know: the ids of special tokens and the options that concern them."""

    eot: int
    timestamp_begin: int
    no_timestamps: int
    blank: Sequence[int] = ()  # what may not come first
    suppressed: Sequence[int] = ()  # what may never come
    without_timestamps: bool = False
    max_initial_timestamp: int | None = None  # as a number of timestamp tokens
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    n_given: int = 0  # tokens of a prefix, which count as sampled but were not


LogitRule: TypeAlias = Callable[[Array, Array, RuleContext], Array]
"""``rule(logits (B, V), sampled (B, T), context)`` returns new logits (B, V); `sampled` are the tokens so far."""


@layer
def penalize_repetition(logits: Array, sampled: Array, context: RuleContext) -> Array:
    """Make text tokens that were already produced less likely (Keskar et al. 2019, "CTRL", section 4.1).

    (B, V), (B, T) -> (B, V)

    >>> context = RuleContext(eot=2, timestamp_begin=4, no_timestamps=3, repetition_penalty=2.0)
    >>> penalize_repetition(np.array([[1.0, 1.0, 1.0]]), np.array([[0]]), context)
    array([[0.5, 1. , 1. ]])
    """
    if context.repetition_penalty == 1.0:
        return logits
    logits = logits.copy()
    for row, tokens in zip(logits, sampled, strict=True):
        ids = np.unique(tokens[tokens < context.eot])
        row[ids] *= np.where(row[ids] > 0, 1 / context.repetition_penalty, context.repetition_penalty)
    return logits


@layer
def forbid_repeated_ngrams(logits: Array, sampled: Array, context: RuleContext) -> Array:
    """Forbid the token that would repeat an n-gram of text tokens.

    (B, V), (B, T) -> (B, V)

    >>> context = RuleContext(eot=2, timestamp_begin=4, no_timestamps=3, no_repeat_ngram_size=2)
    >>> forbid_repeated_ngrams(np.zeros((1, 3)), np.array([[0, 1, 0]]), context)
    array([[  0., -inf,   0.]])
    """
    n = context.no_repeat_ngram_size
    if n == 0:
        return logits
    logits = logits.copy()
    for row, tokens in zip(logits, sampled, strict=True):
        text = tokens[tokens < context.eot]
        if len(text) >= n:
            grams = np.lib.stride_tricks.sliding_window_view(text, n)
            row[grams[(grams[:, :-1] == text[len(text) - n + 1 :]).all(axis=1), -1]] = -np.inf
    return logits


@layer
def suppress_blank(logits: Array, sampled: Array, context: RuleContext) -> Array:
    """Do not let a window begin with a space or with its end.

    (B, V), (B, T) -> (B, V)

    >>> context = RuleContext(eot=2, timestamp_begin=4, no_timestamps=3, blank=[1, 2])
    >>> suppress_blank(np.zeros((1, 3)), np.empty((1, 0), np.int64), context)
    array([[  0., -inf, -inf]])
    """
    if context.blank and sampled.shape[1] == context.n_given:
        logits = logits.copy()
        logits[:, context.blank] = -np.inf
    return logits


@layer
def suppress_tokens(logits: Array, sampled: Array, context: RuleContext) -> Array:
    """Never produce the suppressed tokens.

    (B, V), (B, T) -> (B, V)

    >>> context = RuleContext(eot=2, timestamp_begin=4, no_timestamps=3, suppressed=[1])
    >>> suppress_tokens(np.zeros((1, 3)), np.array([[0]]), context)
    array([[  0., -inf,   0.]])
    """
    if context.suppressed:
        logits = logits.copy()
        logits[:, context.suppressed] = -np.inf
    return logits


@layer
def apply_timestamp_rules(logits: Array, sampled: Array, context: RuleContext) -> Array:
    """Timestamps come in pairs around text, begin the window, never go back, and win when they are likelier together.

    (B, V), (B, T) -> (B, V)

    Source: ``ApplyTimestampRules`` in openai-whisper's ``decoding.py``.

    >>> context = RuleContext(eot=2, timestamp_begin=4, no_timestamps=3)
    >>> apply_timestamp_rules(np.zeros((1, 7)), np.array([[4, 0, 5]]), context)  # text ended: the end, or a timestamp
    array([[-inf, -inf, -inf, -inf, -inf,   0.,   0.]])
    """
    if context.without_timestamps:
        return logits
    logits = logits.copy()
    logits[:, context.no_timestamps] = -np.inf
    for row, tokens in zip(logits, sampled, strict=True):
        if len(tokens) == 0:
            _begin_with_timestamp(row, context)
        else:
            _pair_timestamps(row, tokens, context)
        _prefer_timestamps(row, context.timestamp_begin)
    return logits


def _begin_with_timestamp(row: Array, context: RuleContext) -> None:
    """Mask in place all but the early timestamps: (V,)."""
    row[: context.timestamp_begin] = -np.inf
    if context.max_initial_timestamp is not None:
        row[context.timestamp_begin + context.max_initial_timestamp + 1 :] = -np.inf


def _pair_timestamps(row: Array, tokens: Array, context: RuleContext) -> None:
    """Mask in place what may not follow `tokens`: (V,), (T,)."""
    begin = context.timestamp_begin
    is_stamp = tokens >= begin
    opens = bool(is_stamp[-2:].all())  # the last token opened a segment: text must follow
    closes = bool(is_stamp[-1]) and not opens  # it closed one: the next must open, at the same time or later, or end
    if opens:
        row[begin:] = -np.inf
    elif closes:
        row[: context.eot] = -np.inf
    if is_stamp.any():
        latest = int(tokens[is_stamp][-1])
        row[begin : latest + (0 if closes else 1)] = -np.inf


def _prefer_timestamps(row: Array, begin: int) -> None:
    """Mask the text in place when all timestamps together are likelier than the best text token: (V,)."""
    best = row[begin:].max()
    if best == -np.inf:
        return
    total = best + np.log(np.exp(row[begin:] - best).sum())
    if total > row[:begin].max():
        row[:begin] = -np.inf


LOGIT_RULES: list[LogitRule] = [
    penalize_repetition,
    forbid_repeated_ngrams,
    suppress_blank,
    suppress_tokens,
    apply_timestamp_rules,
]
