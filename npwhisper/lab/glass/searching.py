"""How the text was found: the row of the chosen text at every step, and the tree of a beam search.

A search returns only its result, so its choices are repeated here from the recorded log-probabilities, by the rules of
`npwhisper.decoding.search`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from npwhisper.decoding import Hypothesis, rank
from npwhisper.lab.glass.scores import logprob_of
from npwhisper.lab.glass.steps import Step

KEPT, ENDED, DROPPED = 0, 1, 2


@dataclass
class Node:
    """A token of the tree: the node it continues (-1 is the root), and whether it was kept, ended or dropped."""

    step: int
    parent: int
    token: int
    logprob: float
    total: float
    fate: int
    row: int  # the beam it continues


@dataclass
class Found:
    """The chosen text: its tokens and its row at every step; for a beam search also the tree."""

    tokens: list[int]
    rows: list[int]
    nodes: list[Node] = field(default_factory=list)
    best: int = -1  # the last node of the chosen text
    hypotheses: list[tuple[list[int], float]] = field(default_factory=list)


def follow_rows(steps: Sequence[Step], eot: int, is_cut: bool, length_penalty: float | None) -> Found:
    """The best of independent rows, greedy or sampled.

    With `is_cut` there was no room for another token, so the last one need not be the end-of-text token.
    """
    found = [_row(steps, b, eot, is_cut) for b in range(len(steps[-1].fed))]
    order = rank([Hypothesis(_until(tokens, eot), total) for tokens, total in found], length_penalty)
    best = order[0]
    rows = [min(best, len(step.fed) - 1) for step in steps]
    texts = [(_until(found[b][0], eot), found[b][1]) for b in order]
    tokens = found[best][0]
    n = len(_until(tokens, eot)) + 1  # a finished row stays in the batch
    return Found(tokens[:n], rows[:n], hypotheses=texts)


def _row(steps: Sequence[Step], b: int, eot: int, is_cut: bool) -> tuple[list[int], float]:
    """The tokens of one row and the sum of their log-probabilities; the last token was never fed back."""
    tokens = [int(step.last[b]) for step in steps[1:]]
    last = steps[-1].candidates[b]
    tokens.append(int(last.ids[last.logprobs[-1].argmax()]) if is_cut else eot)
    total = 0.0
    for step, token in zip(steps, tokens, strict=True):
        total += logprob_of(step.candidates[min(b, len(step.fed) - 1)], token)
        if token == eot:
            break
    return tokens, total


def _until(tokens: list[int], eot: int) -> list[int]:
    return tokens[: tokens.index(eot)] if eot in tokens else tokens


def follow_beams(
    steps: Sequence[Step], eot: int, beam_size: int, patience: float, length_penalty: float | None
) -> Found:
    """Repeat a beam search on the recorded log-probabilities, and keep its tree."""
    tree = Tree(eot, beam_size, round(beam_size * patience))
    for t, step in enumerate(steps):
        tree.grow(t, step)
        if len(tree.ended) >= tree.capacity or not tree.live:
            break
    return tree.best(length_penalty)


@dataclass
class Tree:
    """A beam search: every continuation considered, the last nodes of the live beams, and the finished hypotheses.

    The search stops at `capacity` finished hypotheses. Node -1 is the root.
    """

    eot: int
    beam_size: int
    capacity: int
    nodes: list[Node] = field(default_factory=list)
    live: list[int] = field(default_factory=lambda: [-1])
    ended: list[int] = field(default_factory=list)

    def grow(self, t: int, step: Step) -> None:
        """Extend every beam by one token."""
        kept: list[int] = []
        sums = [self.nodes[n].total if n >= 0 else 0.0 for n in self.live]
        for total, row, token, logprob in _ranked(step, sums, self.beam_size):
            fate = self._fate(token, len(kept))
            if fate == DROPPED and not np.isfinite(total):
                continue
            if fate != DROPPED:
                (kept if fate == KEPT else self.ended).append(len(self.nodes))
            self.nodes.append(Node(t, self.live[row], token, logprob, total, fate, row))
        self.live = kept

    def _fate(self, token: int, n_kept: int) -> int:
        """Whether the next best continuation is kept, ended or dropped, after `n_kept` were kept at this step."""
        is_end = token == self.eot
        if n_kept == self.beam_size or (is_end and len(self.ended) == self.capacity):
            return DROPPED
        return ENDED if is_end else KEPT

    def best(self, length_penalty: float | None) -> Found:
        """Rank the finished hypotheses, and unfinished ones if there are too few."""
        ends = [*self.ended, *self._unfinished()]
        paths = [self._path(n) for n in ends]
        texts = [_until([node.token for node in path], self.eot) for path in paths]
        sums = [self.nodes[n].total for n in ends]
        order = rank([Hypothesis(text, total) for text, total in zip(texts, sums, strict=True)], length_penalty)
        path = paths[order[0]]
        hypotheses = [(texts[i], sums[i]) for i in order]
        return Found([n.token for n in path], [n.row for n in path], self.nodes, ends[order[0]], hypotheses)

    def _unfinished(self) -> list[int]:
        if len(self.ended) >= self.capacity and self.ended:
            return []
        return sorted(self.live, key=lambda n: -self.nodes[n].total)[: max(0, self.beam_size - len(self.ended))]

    def _path(self, n: int) -> list[Node]:
        """The nodes from the root to node `n`."""
        path = []
        while n >= 0:
            path.append(self.nodes[n])
            n = self.nodes[n].parent
        return path[::-1]


def _ranked(step: Step, sums: Sequence[float], beam_size: int) -> list[tuple[float, int, int, float]]:
    """The best continuations of all rows, best first: (total, row, token, logprob)."""
    found = []
    for row, candidates in enumerate(step.candidates):
        logprobs = candidates.logprobs[-1]
        for i in np.argsort(-logprobs, kind="stable")[: beam_size + 1]:
            found.append((sums[row] + float(logprobs[i]), row, int(candidates.ids[i]), float(logprobs[i])))
    return sorted(found, key=lambda c: (-c[0], c[1], c[2]))[: 3 * beam_size]
