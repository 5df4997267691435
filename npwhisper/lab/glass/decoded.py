"""The chosen text of a window, step by step: the search, the candidates and the effect of each rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from npwhisper.decoding import DecodingTask
from npwhisper.decoding.options import TranscribeOptions
from npwhisper.lab.glass import encoder, lens
from npwhisper.lab.glass.attention import attention
from npwhisper.lab.glass.packing import Part
from npwhisper.lab.glass.recording import RULES, Window
from npwhisper.lab.glass.scores import logprob_of, mean_logprob, running_sums, scored
from npwhisper.lab.glass.searching import Found, follow_beams, follow_rows
from npwhisper.lab.glass.steps import Step
from npwhisper.lab.glass.why import reasons, rule_reasons
from npwhisper.lab.glass.worked import normalised, worked
from npwhisper.model import Network
from npwhisper.tokenizer import get_tokenizer
from npwhisper.tracing.seam import Array


class Decoded:
    """The text that was chosen in a window.

    Parameters
    ----------
    model : Network
    options : TranscribeOptions
    window : Window
        Its last attempt is the accepted one.
    decision : Decision or None
        None for a trace, which has no decision log.
    """

    def __init__(self, model: Network, options: TranscribeOptions, window: Window, decision: Any) -> None:
        self.model, self.window, self.attempt = model, window, window.attempts[-1]
        self.used = decision.attempts[-1] if decision else None
        self.task = _task(model, options, decision)
        self.found = _follow(self.attempt.steps, self.task)
        self.steps = self.attempt.steps[: len(self.found.tokens)]
        self.rows = list(zip(self.steps, self.found.rows, strict=True))
        self.candidates = [step.candidates[b] for step, b in self.rows]
        self.n_vocab = model.dims.n_vocab

    def part(self) -> Part:
        """Everything the page shows of the text, except the boxes."""
        meta, arrays = attention(self.rows)
        steps = [self._step(i) for i in range(len(self.steps))]
        for step, cell in zip(steps, running_sums([step["logprob"] for step in steps]), strict=True):
            step["sum"] = cell
        meta |= {"search": self._search(), "steps": steps}
        meta |= {"no_speech": self.attempt.no_speech, "n_attempts": self.window.n_attempts}
        arrays |= self._stream() | self._candidates()
        return meta | {"labels": self._labels(meta, arrays)}, arrays

    def _search(self) -> dict[str, Any]:
        """The search, its tree, and the scores that rank its hypotheses."""
        options, found = self.task.options, self.found
        kind = "beam search" if options.beam_size else "greedy" if options.temperature == 0 else "sampling"
        nodes = [[n.step, n.parent, n.token, n.logprob, n.total, n.fate] for n in found.nodes if np.isfinite(n.total)]
        return {
            "kind": kind, "beam_size": options.beam_size, "patience": options.patience, "best_of": options.best_of,
            "temperature": float(options.temperature), "nodes": nodes, "best": found.best,
            "hypotheses": [[text, max(total, -1e9)] for text, total in found.hypotheses],
            "scores": scored(found.hypotheses, options.length_penalty),
            "mean": mean_logprob(found.hypotheses[0], self.used.avg_logprob if self.used else None),
        }  # fmt: skip

    def _step(self, i: int) -> dict[str, Any]:
        """The numbers and sentences of one step."""
        (step, row), token, candidates = self.rows[i], self.found.tokens[i], self.candidates[i]
        return {
            "fed": step.fed[row].tolist(), "length": step.length, "rows": len(step.fed), "row": row, "chosen": token,
            "logprob": max(logprob_of(candidates, token), -1e9), "normalised": normalised(candidates.masked),
        } | self._rules(i)  # fmt: skip

    def _rules(self, i: int) -> dict[str, Any]:
        """What each rule forbade at a step and why, with a worked example of each."""
        candidates, context = self.candidates[i], self.task.context
        sampled = [*self.task.prefix, *self.found.tokens[:i]]
        why = reasons(RULES, candidates, sampled, context, self.n_vocab)
        forbidden = (-np.diff(candidates.allowed[: len(RULES) + 1])).tolist()
        sentences = rule_reasons(forbidden, why, sampled, context, self.n_vocab)
        cells = worked(candidates.masked, sampled, context, self.n_vocab)
        return {"forbidden": forbidden, "why": why, "reasons": sentences, "worked": cells}

    @cached_property
    def _parts(self) -> Array:
        """The terms of the residual stream at each step: (N, 1 + 3 L, D)."""
        return np.stack([step.parts[b] for step, b in self.rows])

    @cached_property
    def _embeddings(self) -> Array:
        return np.asarray(self.model.weights["decoder.token_embedding.weight"])

    def _stream(self) -> dict[str, Array]:
        """Norms of the residual stream and of its terms, and the logit lens."""
        parts, chosen = self._parts, np.array(self.found.tokens)
        shown = lens.logit_lens(self.model, parts, self._embeddings, chosen, self.candidates)
        return shown | {"residual": encoder.norms(np.cumsum(parts, axis=1)), "parts": encoder.norms(parts)}

    def _candidates(self) -> dict[str, Array]:
        """The candidates of all steps, concatenated; ``candidate/at`` holds where each step begins."""
        chosen, parts, tokens = self.candidates, self._parts, self.found.tokens
        shares = [
            lens.contributions(self.model, part, self._embeddings, token, c.ids)
            for part, token, c in zip(parts, tokens, chosen, strict=True)
        ]
        return {
            "candidate/ids": np.concatenate([c.ids for c in chosen]).astype(np.int32),
            "candidate/logprobs": np.concatenate([c.logprobs.T for c in chosen]).astype(np.float32),
            "candidate/at": np.cumsum([0, *(len(c.ids) for c in chosen)]).astype(np.int32),
            "candidate/shares": np.concatenate(shares),
        }

    def _labels(self, meta: dict[str, Any], arrays: dict[str, Array]) -> dict[str, str]:
        """The text of every token that the page names."""
        ids = {*arrays["candidate/ids"].tolist(), *np.unique(arrays["lens/ids"]).tolist()}
        for step in meta["steps"]:
            ids |= {*step["fed"], step["chosen"]}
            ids |= {cell["token"] for cell in (*step["worked"], step["normalised"])}
            race = step["worked"][-1].get("race", {})
            ids |= {race[key] for key in ("stamp", "rival") if race.get(key) is not None}
        ids |= {node[2] for node in meta["search"]["nodes"]}
        ids |= {token for text, _ in meta["search"]["hypotheses"] for token in text}
        return labels(self.model, sorted(ids))


def labels(model: Network, ids: Sequence[int]) -> dict[str, str]:
    """The texts of tokens by id."""
    tokenizer = get_tokenizer(model.is_multilingual, num_languages=model.num_languages)
    return {str(i): tokenizer.decode_with_timestamps([i]) for i in ids}


def _task(model: Network, options: TranscribeOptions, decision: Any) -> DecodingTask:
    """The rules and the search that decoded the window."""
    language, temperature = (decision.language, decision.attempts[-1].temperature) if decision else ("en", 0.0)
    return DecodingTask(model, replace(options.for_temperature(temperature), language=language))


def _follow(steps: Sequence[Step], task: DecodingTask) -> Found:
    """Reconstruct the chosen text from the recorded steps."""
    options, eot = task.options, task.tokenizer.eot
    if options.beam_size is not None:
        return follow_beams(steps, eot, options.beam_size, options.patience or 1.0, options.length_penalty)
    room = min(task.sample_len, task.model.dims.n_text_ctx - steps[0].fed.shape[1] + 1)
    is_cut = len(steps) >= room or options.temperature == 0  # greedy: the most probable token, end or not
    return follow_rows(steps, eot, is_cut, options.length_penalty)
