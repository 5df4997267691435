"""Classes of openai-whisper's ``decoding.py``: the logit filters and the ranker work on arrays, the rest is elsewhere.

The logit filters change `logits` in place, as theirs do. `tokens` (B, T) includes the prompt; a filter looks at what
follows `sample_begin`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from npwhisper.decoding.rules import RuleContext, apply_timestamp_rules, suppress_blank, suppress_tokens
from npwhisper.decoding.search import Hypothesis, rank
from npwhisper.tokenizer import Tokenizer
from npwhisper.tracing.seam import Array
from npwhisper.whisper.compat.elsewhere import elsewhere


def _context(tokenizer: Tokenizer, **settings: Any) -> RuleContext:
    return RuleContext(tokenizer.eot, tokenizer.timestamp_begin, tokenizer.no_timestamps, **settings)


class SuppressBlank:
    """Forbid a window to begin with a space or its end; see `npwhisper.decoding.suppress_blank`."""

    def __init__(self, tokenizer: Tokenizer, sample_begin: int) -> None:
        self.context = _context(tokenizer, blank=[*tokenizer.encode(" "), tokenizer.eot])
        self.sample_begin = sample_begin

    def apply(self, logits: Array, tokens: Array) -> None:
        """Mask `logits` (B, V) in place."""
        logits[:] = suppress_blank(logits, tokens[:, self.sample_begin :], self.context)


class SuppressTokens:
    """Forbid tokens; see `npwhisper.decoding.suppress_tokens`."""

    def __init__(self, suppress_tokens: Sequence[int]) -> None:
        self.context = RuleContext(0, 0, 0, suppressed=list(suppress_tokens))

    def apply(self, logits: Array, tokens: Array) -> None:
        """Mask `logits` (B, V) in place."""
        logits[:] = suppress_tokens(logits, tokens, self.context)


class ApplyTimestampRules:
    """Timestamps in pairs that never go back; see `npwhisper.decoding.apply_timestamp_rules`."""

    def __init__(self, tokenizer: Tokenizer, sample_begin: int, max_initial_timestamp_index: int | None) -> None:
        self.context = _context(tokenizer, max_initial_timestamp=max_initial_timestamp_index)
        self.sample_begin = sample_begin

    def apply(self, logits: Array, tokens: Array) -> None:
        """Mask `logits` (B, V) in place."""
        logits[:] = apply_timestamp_rules(logits, tokens[:, self.sample_begin :], self.context)


class MaximumLikelihoodRanker:
    """Choose the likeliest sample of each window; see `npwhisper.decoding.rank`."""

    def __init__(self, length_penalty: float | None) -> None:
        self.length_penalty = length_penalty

    def rank(self, tokens: Sequence[Sequence[Sequence[int]]], sum_logprobs: Sequence[Sequence[float]]) -> list[int]:
        """The index of the best sample of each window."""
        windows = (map(Hypothesis, map(list, rows), sums) for rows, sums in zip(tokens, sum_logprobs, strict=True))
        return [rank(list(window), self.length_penalty)[0] for window in windows]


_SEARCH = "use DecodingOptions(temperature=..., beam_size=...), or npwhisper.decoding."
_RULE = "a rule is a function from logits to logits, see npwhisper.decoding.LOGIT_RULES"

GreedyDecoder = elsewhere("GreedyDecoder", f"{_SEARCH}greedy_search")
BeamSearchDecoder = elsewhere("BeamSearchDecoder", f"{_SEARCH}beam_search")
TokenDecoder = elsewhere("TokenDecoder", f"{_SEARCH}run_searches")
SequenceRanker = elsewhere("SequenceRanker", "use npwhisper.decoding.rank(hypotheses)")
LogitFilter = elsewhere("LogitFilter", _RULE)
Inference = elsewhere("Inference", "use model.decoder(tokens, audio_features, cache)")
PyTorchInference = elsewhere("PyTorchInference", "use model.decoder(tokens, audio_features, cache)")
