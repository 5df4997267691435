"""What is kept of the rules at a step: one token for each rule with its logits, and the race of the timestamps."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from npwhisper.tracing.seam import Array


class Marks(NamedTuple):
    """Boundaries between kinds of tokens: text is below `eot`, timestamps start at `timestamp_begin`."""

    eot: int
    timestamp_begin: int
    no_timestamps: int


class Logit(NamedTuple):
    """A token, and its logit before and after a rule."""

    token: int
    before: float
    after: float


class Race(NamedTuple):
    """What decides whether a timestamp must follow: the timestamps together against the best other token.

    `together` is the log-sum-exp of the `allowed` timestamps, of which `stamp` is the most probable; `text` and
    `control` are the most probable tokens below the end-of-text token, and from it up to the timestamps.
    """

    together: float
    allowed: int
    stamp: Logit
    text: Logit
    control: Logit


class Masked(NamedTuple):
    """One step of one row: a token for each rule, the race of the timestamps, and the final normalisation."""

    rules: list[Logit]
    race: Race
    best: Logit  # the most probable token after the rules, with its logit and its log-probability
    log_total: float  # log-sum-exp of the logits after the rules


def masked(stages: Sequence[Array], marks: Marks) -> Masked:
    """Reduce the logits (V,) before the rules and after each, and the final log-probabilities."""
    pairs = pairwise(stages[:-1])
    logits, best = stages[-2], int(stages[-1].argmax())
    return Masked(
        [_largest_change(before, after) for before, after in pairs],
        _race(stages[-3], logits, marks),
        Logit(best, float(logits[best]), float(stages[-1][best])),
        _log_sum_exp(logits),
    )


def _largest_change(before: Array, after: Array) -> Logit:
    """The most probable token whose logit changed; if none did, the most probable token."""
    changed = np.where(before != after, before, -np.inf) if before is not after else before
    token = int(changed.argmax())
    if np.isneginf(changed[token]):
        token = int(before.argmax())
    return Logit(token, float(before[token]), float(after[token]))


def _race(before: Array, after: Array, marks: Marks) -> Race:
    """The numbers of the last timestamp clause, from the logits before and after the rule."""
    stamps, control = after[marks.timestamp_begin :], before[marks.eot : marks.timestamp_begin].copy()
    control[marks.no_timestamps - marks.eot] = -np.inf
    found = (
        marks.timestamp_begin + int(stamps.argmax()),
        int(before[: marks.eot].argmax()),
        marks.eot + int(control.argmax()),
    )
    logits = [Logit(token, float(before[token]), float(after[token])) for token in found]
    return Race(_log_sum_exp(stamps), int(np.isfinite(stamps).sum()), *logits)


def _log_sum_exp(x: Array) -> float:
    """Log-sum-exp in float64; -inf if nothing is allowed."""
    top = float(x.max())
    return top if np.isneginf(top) else top + float(np.log(np.exp(x - top).sum(dtype=np.float64)))
