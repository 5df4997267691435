"""How the text was found: the tree of a beam search, and the row of every step that leads to the chosen text.

The search itself leaves only its result; here its choices are made again from the recorded log-probabilities
(`npwhisper.decoding.search` tells how), and what was kept, dropped and ended is written down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from npwhisper.decoding import Hypothesis, rank
from npwhisper.lab.glass.steps import Candidates, Step

KEPT, ENDED, DROPPED = 0, 1, 2


@dataclass
class Node:
    """A token of the tree: what it continues (-1: the beginning), and what became of it."""

    step: int
    parent: int
    token: int
    logprob: float
    total: float
    fate: int


@dataclass
class Found:
    """The chosen text: its tokens, and the row of every step in which they stood; a beam search has a tree."""

    tokens: list[int]
    rows: list[int]
    nodes: list[Node] = field(default_factory=list)
    best: int = -1  # the last node of the chosen text
    hypotheses: list[tuple[list[int], float]] = field(default_factory=list)


def follow_rows(steps: Sequence[Step], eot: int, is_cut: bool, length_penalty: float | None) -> Found:
    """The best of independent rows, greedy or sampled, each of which continues itself.

    `is_cut` tells that there was no room for a further token, so that the last one need not be the end.
    """
    found = [_row(steps, b, eot, is_cut) for b in range(len(steps[-1].fed))]
    order = rank([Hypothesis(_until(tokens, eot), total) for tokens, total in found], length_penalty)
    best = order[0]
    rows = [min(best, len(step.fed) - 1) for step in steps]
    texts = [(_until(found[b][0], eot), found[b][1]) for b in order]
    tokens = found[best][0]
    n = len(_until(tokens, eot)) + 1  # a row that has ended is carried along
    return Found(tokens[:n], rows[:n], hypotheses=texts)


def _row(steps: Sequence[Step], b: int, eot: int, is_cut: bool) -> tuple[list[int], float]:
    """The tokens of one row with the sum of their log-probabilities; no step tells the last one."""
    tokens = [int(step.last[b]) for step in steps[1:]]
    last = steps[-1].candidates[b]
    tokens.append(int(last.ids[last.logprobs[-1].argmax()]) if is_cut else eot)
    total = 0.0
    for step, token in zip(steps, tokens, strict=True):
        total += logprob_of(step.candidates[min(b, len(step.fed) - 1)], token)
        if token == eot:
            break
    return tokens, total


def logprob_of(candidates: Candidates, token: int) -> float:
    """The log-probability of a token after all rules, if it is among the recorded ones."""
    at = np.flatnonzero(candidates.ids == token)
    return float(candidates.logprobs[-1, at[0]]) if len(at) else float("-inf")


def scored(found: Found, length_penalty: float | None) -> list[dict[str, float]]:
    """What the hypotheses are ranked by, the best first: the sum of the log-probabilities, divided as `rank` does."""
    lengths = [len(tokens) for tokens, _ in found.hypotheses]
    divisors = [max(1, n) if length_penalty is None else ((5 + n) / 6) ** length_penalty for n in lengths]
    return [
        {"sum": total, "length": n, "divisor": divisor, "result": total / divisor}
        for (_, total), n, divisor in zip(found.hypotheses, lengths, divisors, strict=True)
    ]


def running_sums(logprobs: Sequence[float]) -> list[dict[str, Any]]:
    """The score of the chosen text at every step: its parent's sum and the log-probability of the new token."""
    sums = [sum(logprobs[:i]) for i in range(len(logprobs))]
    return [
        {"kind": "sum", "before": before, "logprob": logprob, "result": before + logprob}
        for before, logprob in zip(sums, logprobs, strict=True)
    ]


def mean_logprob(found: Found, recorded: float | None) -> dict[str, Any]:
    """The mean log-probability of the chosen text, its end counted, beside what the decision log holds."""
    tokens, total = found.hypotheses[0]
    cell = {"kind": "mean_logprob", "sum": total, "length": len(tokens), "result": total / (len(tokens) + 1)}
    return cell if recorded is None else cell | {"recorded": recorded}


def _until(tokens: list[int], eot: int) -> list[int]:
    return tokens[: tokens.index(eot)] if eot in tokens else tokens


def follow_beams(
    steps: Sequence[Step], eot: int, beam_size: int, patience: float, length_penalty: float | None
) -> Found:
    """Make the choices of a beam search again, and keep its tree."""
    nodes: list[Node] = []
    live, ended, capacity = [-1], list[int](), round(beam_size * patience)
    behind: dict[int, int] = {}  # the row of its step in which each node was a candidate
    for t, step in enumerate(steps):
        kept = list[int]()
        for total, row, token, logprob in _ranked(step, [_total(nodes, n) for n in live], beam_size):
            fate = KEPT if token != eot else ENDED
            if len(kept) == beam_size or (fate == ENDED and len(ended) == capacity):
                fate = DROPPED
            behind[len(nodes)] = row
            if fate != DROPPED or np.isfinite(total):
                (kept if fate == KEPT else ended if fate == ENDED else []).append(len(nodes))
                nodes.append(Node(t, live[row], token, logprob, total, fate))
        live = kept
        if len(ended) >= capacity or not live:
            break
    return _best_of_tree(nodes, live, ended, behind, beam_size, capacity, length_penalty)


def _ranked(step: Step, sums: Sequence[float], beam_size: int) -> list[tuple[float, int, int, float]]:
    """The best continuations of all rows: (total, row, token, logprob), from the best to the worst."""
    found = []
    for row, candidates in enumerate(step.candidates):
        logprobs = candidates.logprobs[-1]
        for i in np.argsort(-logprobs, kind="stable")[: beam_size + 1]:
            found.append((sums[row] + float(logprobs[i]), row, int(candidates.ids[i]), float(logprobs[i])))
    return sorted(found, key=lambda c: (-c[0], c[1], c[2]))[: 3 * beam_size]


def _total(nodes: Sequence[Node], n: int) -> float:
    return nodes[n].total if n >= 0 else 0.0


def _best_of_tree(
    nodes: list[Node],
    live: list[int],
    ended: list[int],
    behind: dict[int, int],
    beam_size: int,
    capacity: int,
    length_penalty: float | None,
) -> Found:
    """Rank the ended hypotheses, topped up with unfinished ones if there are too few."""
    ends = list(ended)
    if len(ended) < capacity or not ended:
        ends += sorted(live, key=lambda n: -nodes[n].total)[: max(0, beam_size - len(ended))]
    paths = [_path(nodes, n) for n in ends]
    texts = [[nodes[n].token for n in path if nodes[n].fate != ENDED] for path in paths]
    order = rank([Hypothesis(text, nodes[n].total) for text, n in zip(texts, ends, strict=True)], length_penalty)
    path = paths[order[0]]
    hypotheses = [(texts[i], nodes[ends[i]].total) for i in order]
    tokens = [nodes[n].token for n in path]
    return Found(tokens, [behind[n] for n in path], nodes, ends[order[0]], hypotheses)


def _path(nodes: Sequence[Node], n: int) -> list[int]:
    path = []
    while n >= 0:
        path.append(n)
        n = nodes[n].parent
    return path[::-1]
