"""The clauses of `npwhisper.decoding.apply_timestamp_rules`, as ranges of token ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from npwhisper.decoding import TIME_PRECISION, RuleContext


class Clause(NamedTuple):
    """Tokens from `first` up to but not including `stop` are forbidden, for a reason."""

    first: int
    stop: int
    reason: str


def timestamp_clauses(sampled: Sequence[int], context: RuleContext, n_vocab: int) -> list[Clause]:
    """What `apply_timestamp_rules` forbids after the `sampled` tokens, except by its last clause.

    >>> context = RuleContext(eot=10, timestamp_begin=13, no_timestamps=12, max_initial_timestamp=2)
    >>> [clause[:2] for clause in timestamp_clauses([], context, 20)]
    [(12, 13), (0, 13), (16, 20)]
    """
    never = "timestamps are enabled, so <|notimestamps|> is never sampled"
    later = _after(sampled, context, n_vocab) if sampled else _at_start(context, n_vocab)
    return [Clause(context.no_timestamps, context.timestamp_begin, never), *later]


def _at_start(context: RuleContext, n_vocab: int) -> Iterator[Clause]:
    """Clauses for the first token of a window."""
    begin, latest = context.timestamp_begin, context.max_initial_timestamp
    yield Clause(0, begin, "a window begins with a timestamp")
    if latest is not None:
        seconds = latest * TIME_PRECISION
        reason = f"the first timestamp is at most {seconds:.2f} s (max_initial_timestamp)"
        yield Clause(begin + latest + 1, n_vocab, reason)


def _after(sampled: Sequence[int], context: RuleContext, n_vocab: int) -> Iterator[Clause]:
    """Clauses for later tokens: timestamps come in pairs and never decrease."""
    begin = context.timestamp_begin
    stamps = [token for token in sampled if token >= begin]
    opens = all(token >= begin for token in sampled[-2:])
    closes = sampled[-1] >= begin and not opens
    if opens:
        yield Clause(begin, n_vocab, "a timestamp has just opened a segment, so text must follow")
    elif closes:
        yield Clause(0, context.eot, "a timestamp has just closed a segment, so the next one opens or the text ends")
    if stamps:
        seconds = (stamps[-1] - begin) * TIME_PRECISION
        reason = f"timestamps never decrease and segments are not empty: the last timestamp is {seconds:.2f} s"
        yield Clause(begin, stamps[-1] + (0 if closes else 1), reason)
