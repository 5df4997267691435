"""The clauses of the rule of timestamps, as ranges of token ids (`npwhisper.decoding.apply_timestamp_rules`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from npwhisper.decoding import TIME_PRECISION, RuleContext


class Clause(NamedTuple):
    """Tokens from `first` up to, not including, `stop` are forbidden for a reason."""

    first: int
    stop: int
    reason: str


def timestamp_clauses(sampled: Sequence[int], context: RuleContext, n_vocab: int) -> list[Clause]:
    """What `apply_timestamp_rules` forbids after the `sampled` tokens, apart from its last clause.

    >>> context = RuleContext(eot=10, timestamp_begin=13, no_timestamps=12, max_initial_timestamp=2)
    >>> [clause[:2] for clause in timestamp_clauses([], context, 20)]
    [(12, 13), (0, 13), (16, 20)]
    """
    begin, eot = context.timestamp_begin, context.eot
    clauses = [Clause(context.no_timestamps, begin, "timestamps were asked for, so <|notimestamps|> is never produced")]
    if not sampled:
        clauses.append(Clause(0, begin, "a window begins with a timestamp"))
        if context.max_initial_timestamp is not None:
            seconds = context.max_initial_timestamp * TIME_PRECISION
            reason = f"the first timestamp is at most {seconds:.2f} s (max_initial_timestamp)"
            clauses.append(Clause(begin + context.max_initial_timestamp + 1, n_vocab, reason))
        return clauses
    stamps = [token for token in sampled if token >= begin]
    opens = all(token >= begin for token in sampled[-2:])
    closes = sampled[-1] >= begin and not opens
    if opens:
        clauses.append(Clause(begin, n_vocab, "a timestamp has just opened a segment: now text comes"))
    elif closes:
        clauses.append(Clause(0, eot, "a timestamp has just closed a segment: the next one opens, or the text ends"))
    if stamps:
        seconds = (stamps[-1] - begin) * TIME_PRECISION
        reason = f"time never goes back, and a segment lasts some time: the latest timestamp is {seconds:.2f} s"
        clauses.append(Clause(begin, stamps[-1] + (0 if closes else 1), reason))
    return clauses
