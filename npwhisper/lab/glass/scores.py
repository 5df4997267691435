"""The scores of a search: running sums of log-probabilities, their mean, and the scores that rank hypotheses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from npwhisper.lab.glass.steps import Candidates

Text = tuple[list[int], float]  # tokens, and the sum of their log-probabilities


def logprob_of(candidates: Candidates, token: int) -> float:
    """The log-probability of a token after all rules; -inf if it was not recorded."""
    at = np.flatnonzero(candidates.ids == token)
    return float(candidates.logprobs[-1, at[0]]) if len(at) else float("-inf")


def scored(hypotheses: Sequence[Text], length_penalty: float | None) -> list[dict[str, float]]:
    """The scores that rank the hypotheses: sums of log-probabilities, divided as in `rank`; best first."""
    lengths = [len(tokens) for tokens, _ in hypotheses]
    divisors = [max(1, n) if length_penalty is None else ((5 + n) / 6) ** length_penalty for n in lengths]
    return [
        {"sum": total, "length": n, "divisor": divisor, "result": total / divisor}
        for (_, total), n, divisor in zip(hypotheses, lengths, divisors, strict=True)
    ]


def running_sums(logprobs: Sequence[float]) -> list[dict[str, Any]]:
    """The score of the chosen text at every step: the sum so far plus the log-probability of the new token."""
    sums = [sum(logprobs[:i]) for i in range(len(logprobs))]
    return [
        {"kind": "sum", "before": before, "logprob": logprob, "result": before + logprob}
        for before, logprob in zip(sums, logprobs, strict=True)
    ]


def mean_logprob(best: Text, recorded: float | None) -> dict[str, Any]:
    """The mean log-probability of the chosen text and its end, next to the one in the decision log."""
    tokens, total = best
    cell = {"kind": "mean_logprob", "sum": total, "length": len(tokens), "result": total / (len(tokens) + 1)}
    return cell if recorded is None else cell | {"recorded": recorded}
