"""One sentence for every forbidden token: which clause of which rule applied.

The rules themselves are in `npwhisper.decoding.rules`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from npwhisper.decoding import RuleContext
from npwhisper.lab.glass.clauses import timestamp_clauses
from npwhisper.lab.glass.steps import Candidates

SENTENCES = {
    "penalize_repetition": "the token occurred before, so its logit is reduced (repetition_penalty)",
    "forbid_repeated_ngrams": "it would repeat an n-gram of the text (no_repeat_ngram_size)",
    "suppress_blank": "a window begins neither with a space nor with the end-of-text token (suppress_blank)",
    "suppress_tokens": "symbols that are not spoken, and special tokens, are never sampled (suppress_tokens)",
}


def timestamps_win(before: np.ndarray, after: np.ndarray, is_stamp: np.ndarray) -> str:
    """The sentence for the last clause: the timestamps together are more probable than the best text token.

    `before` and `after` are the candidates' log-probabilities before and after the rule. At an allowed timestamp, their
    difference is the log-probability of all allowed timestamps together.
    """
    stays = is_stamp & np.isfinite(after)
    text = before[~is_stamp]
    if not stays.any() or not len(text):
        return "the timestamps together are more probable than any text token, so a timestamp must follow"
    together = float(np.exp(before[stays] - after[stays]).mean())
    return (
        f"the timestamps together (p = {together:.4f}) are more probable than the best text token "
        f"(p = {float(np.exp(text.max())):.4f}), so a timestamp must follow"
    )


def rule_reasons(
    forbidden: Sequence[int], why: Sequence[str], sampled: Sequence[int], context: RuleContext, n_vocab: int
) -> list[list[str]]:
    """The sentences that say what each rule did at a step; none for a rule that forbade nothing.

    `forbidden` counts the tokens that each of the five rules forbade; `why` holds the `reasons` of the candidates.
    """
    sentences = [[SENTENCES[rule]] if n else list[str]() for rule, n in zip(SENTENCES, forbidden, strict=False)]
    found = [c for c in timestamp_clauses(sampled, context, n_vocab) if c.stop > c.first]
    clauses = [f"{c.reason} ({_counted(c.stop - c.first)})" for c in found]
    wins = sorted({reason for reason in why if reason.startswith("the timestamps together")})
    return [*sentences, [*clauses, *wins] if forbidden[-1] else []]


def _counted(n: int) -> str:
    return f"{n:,} token{'s' * (n != 1)}"


def reasons(
    rules: Sequence[str], candidates: Candidates, sampled: Sequence[int], context: RuleContext, n_vocab: int
) -> list[str]:
    """Why each candidate is forbidden after the rules; an empty string if it is allowed."""
    found = [""] * len(candidates.ids)
    clauses = timestamp_clauses(sampled, context, n_vocab)
    is_stamp = candidates.ids >= context.timestamp_begin
    for stage, rule in enumerate(rules, 1):
        before, after = candidates.logprobs[stage - 1], candidates.logprobs[stage]
        for i in np.flatnonzero(np.isneginf(after) & ~np.isneginf(before)):
            token = int(candidates.ids[i])
            if rule != "apply_timestamp_rules":
                found[i] = SENTENCES.get(rule, "")
            else:
                reason = next((c.reason for c in clauses if c.first <= token < c.stop), "")
                found[i] = reason or timestamps_win(before, after, is_stamp)
    return found
