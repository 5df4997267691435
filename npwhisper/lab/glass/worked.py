"""A worked example of each rule: one token, its logit before, the condition, and its logit after.

The rules are in `npwhisper.decoding.rules`. Their conditions are stated here a second time, so that a reader can check
one case by hand and a swapped rule shows as a difference between the computed and the recorded logit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from npwhisper.decoding import RuleContext
from npwhisper.lab.glass.clauses import timestamp_clauses
from npwhisper.lab.glass.masks import Logit, Masked, Race


def worked(found: Masked, sampled: Sequence[int], context: RuleContext, n_vocab: int) -> list[dict[str, Any]]:
    """For each rule: a token, the condition with its numbers, and the resulting logit."""
    cells = []
    for (name, condition), logit in zip(CONDITIONS.items(), found.rules, strict=True):
        holds, words = condition(logit, sampled, context)
        result = _penalized(logit.before, context) if name == "penalize_repetition" else -np.inf
        cell = {"token": logit.token, "before": logit.before, "holds": holds, "condition": words}
        cells.append(cell | {"kind": "rule", "result": result if holds else logit.before, "recorded": logit.after})
    cells[-1] |= _timestamps(found, sampled, context, n_vocab)
    return cells


def normalised(found: Masked) -> dict[str, Any]:
    """The log-probability of the most probable token, from its logit."""
    token, logit, recorded = found.best
    return {
        "kind": "log_softmax", "token": token, "before": logit, "log_total": found.log_total,
        "result": logit - found.log_total, "recorded": recorded,
    }  # fmt: skip


def _penalized(logit: float, context: RuleContext) -> float:
    penalty = context.repetition_penalty
    return logit / penalty if logit > 0 else logit * penalty


def _occurred_before(logit: Logit, sampled: Sequence[int], context: RuleContext) -> tuple[bool, str]:
    times = sampled.count(logit.token) if logit.token < context.eot else 0
    return (
        context.repetition_penalty != 1 and times > 0,
        f"repetition_penalty is {context.repetition_penalty:g} (1 is off), and the token was sampled "
        f"{times} time{'s' * (times != 1)} before",
    )


def _repeats(logit: Logit, sampled: Sequence[int], context: RuleContext) -> tuple[bool, str]:
    n, text = context.no_repeat_ngram_size, [token for token in sampled if token < context.eot]
    wanted = [*text[len(text) - n + 1 :], logit.token] if 0 < n <= len(text) else []
    places = [i + 1 for i in range(len(text) - n + 1) if wanted and text[i : i + n] == wanted]
    when = f"occurred before, from text token {places[0]}" if places else "did not occur before"
    return bool(places), f"no_repeat_ngram_size is {n} (0 is off); the {n or 'n'} tokens that end with this one {when}"


def _begins_blank(logit: Logit, sampled: Sequence[int], context: RuleContext) -> tuple[bool, str]:
    new = len(sampled) - context.n_given
    is_blank = logit.token in context.blank
    kind = "is" if is_blank else "is not"
    words = f"{new} token{'s' * (new != 1)} sampled before (0 at the start of a window), and the token {kind} one of "
    return new == 0 and is_blank, f"{words}the {len(context.blank)} that may not start it"


def _is_suppressed(logit: Logit, sampled: Sequence[int], context: RuleContext) -> tuple[bool, str]:
    is_in = logit.token in context.suppressed
    return is_in, f"token {logit.token} {'is' if is_in else 'is not'} one of the {len(context.suppressed)} suppressed"


def _timestamps_off(logit: Logit, sampled: Sequence[int], context: RuleContext) -> tuple[bool, str]:
    return False, "without_timestamps is set, so the rule is off"


Condition = Callable[[Logit, Sequence[int], RuleContext], tuple[bool, str]]
CONDITIONS: dict[str, Condition] = {
    "penalize_repetition": _occurred_before,
    "forbid_repeated_ngrams": _repeats,
    "suppress_blank": _begins_blank,
    "suppress_tokens": _is_suppressed,
    "apply_timestamp_rules": _timestamps_off,
}


def _timestamps(found: Masked, sampled: Sequence[int], context: RuleContext, n_vocab: int) -> dict[str, Any]:
    """The timestamp rule: the clause that forbids the token, or the race."""
    if context.without_timestamps:
        return {}
    logit, clauses = found.rules[-1], timestamp_clauses(sampled, context, n_vocab)
    mine = next((c for c in clauses if c.first <= logit.token < c.stop), None)
    race = _run_race(found.race, [range(c.first, c.stop) for c in clauses])
    loses = race["wins"] and logit.token < context.timestamp_begin
    words = "the timestamps together are more probable than the best other token, and this is not a timestamp"
    if mine:
        words = f"token {logit.token} is from {mine.first} to {mine.stop - 1}: {mine.reason}"
    elif not loses:
        words = "no clause applies to this token"
    holds = bool(mine) or loses
    return {"holds": holds, "condition": words, "result": -np.inf if holds else logit.before, "race": race}


def _run_race(race: Race, forbidden: Sequence[range]) -> dict[str, Any]:
    """Compare the allowed timestamps with the best token that the other clauses allow."""
    left = [one for one in (race.text, race.control) if not any(one.token in tokens for tokens in forbidden)]
    rival = max(left, key=lambda one: one.before, default=None)
    against = rival.before if rival else -np.inf
    return {
        "together": race.together, "allowed": race.allowed, "stamp": race.stamp.token, "stamp_logit": race.stamp.after,
        "rival": rival.token if rival else None, "rival_logit": against, "wins": race.together > against,
    }  # fmt: skip
