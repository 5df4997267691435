"""Search: which continuation of some tokens is the most likely one?

Nothing here knows of neural networks. A search is given ``step(tokens, parents)``, which returns the log-probabilities
of the next token for every row of `tokens`. Between two calls rows may be copied or reordered: row i continues row
``parents[i]`` of the previous call (None on the first call). That is all a KV cache needs to follow.
Forbidden tokens have log-probability -inf; every row must allow at least one token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np

from npwhisper.tracing.seam import Array, layer

Step: TypeAlias = Callable[[Array, "Array | None"], Array]
"""``step(tokens (B, T), parents (B,) or None)`` returns log-probabilities (B, V)."""


CHUNK = 256  # tokens of the vocabulary of which only the maximum is looked at first


class Hypothesis(NamedTuple):
    """A continuation without its end-of-text token, and the sum of the log-probabilities of its tokens and that end."""

    tokens: list[int]
    sum_logprob: float


class Search(Protocol):
    """The search of one window: its tokens so far, one step, its results."""

    tokens: Array  # (rows, T)
    closed: bool

    def advance(self, logprobs: Array) -> Array:
        """Take one step, given log-probabilities (rows, V); -> the row that each new row continues."""

    def hypotheses(self) -> list[Hypothesis]:
        """What was found so far, in the order in which it was found."""


def run_searches(step: Step, searches: Sequence[Search], max_tokens: int) -> list[list[Hypothesis]]:
    """Run the searches of several windows side by side, until all are closed or have `max_tokens` tokens.

    >>> logprobs = np.log(np.array([0.1, 0.9]))  # of the tokens 0 and 1; 1 is the end
    >>> step = lambda tokens, parents: np.tile(logprobs, (len(tokens), 1))
    >>> [[hypothesis]] = run_searches(step, [Greedy(np.array([0]), eot=1)], max_tokens=5)
    >>> hypothesis.tokens
    []
    """
    parents = None
    for _ in range(max_tokens):
        logprobs = step(np.concatenate([search.tokens for search in searches]), parents)
        starts = np.cumsum([0, *(len(search.tokens) for search in searches)])
        parts = np.split(logprobs, starts[1:-1])
        sources = [search.advance(part) for search, part in zip(searches, parts, strict=True)]
        parents = np.concatenate([start + source for start, source in zip(starts[:-1], sources, strict=True)])
        if all(search.closed for search in searches):
            break
    return [search.hypotheses() for search in searches]


def greedy_search(step: Step, tokens: Array, eot: int, max_tokens: int) -> list[list[Hypothesis]]:
    """Take the best token at every step; one hypothesis for each row of `tokens` (N, T).

    >>> table = np.log(np.array([[0.6, 0.3, 0.1], [0.2, 0.2, 0.6], [0.0, 0.0, 1.0]]) + 1e-30)
    >>> greedy_search(lambda tokens, parents: table[tokens[:, -1]], np.array([[1]]), eot=2, max_tokens=5)[0][0].tokens
    []
    """
    return run_searches(step, [Greedy(row, eot) for row in tokens], max_tokens)


def sample(
    step: Step,
    tokens: Array,
    eot: int,
    max_tokens: int,
    temperature: float,
    n_samples: int,
    rngs: Sequence[np.random.Generator],
) -> list[list[Hypothesis]]:
    """Draw every token from softmax(log-probabilities / temperature); `n_samples` hypotheses for each row of `tokens`.

    The log-probabilities that are summed are those before the division. Every row has its own random generator, so
    that what is drawn for it does not depend on its neighbours.

    >>> logprobs = np.log(np.array([0.5, 0.3, 0.2]))  # of the tokens 0, 1 and 2; 2 is the end
    >>> step = lambda tokens, parents: np.tile(logprobs, (len(tokens), 1))
    >>> [found] = sample(step, np.array([[0]]), 2, 4, temperature=1.0, n_samples=3, rngs=[np.random.default_rng(0)])
    >>> len(found), max(len(hypothesis.tokens) for hypothesis in found) <= 4
    (3, True)
    """
    searches = [Sampling(row, eot, temperature, n_samples, rng) for row, rng in zip(tokens, rngs, strict=True)]
    return run_searches(step, searches, max_tokens)


class Greedy:
    """Continue one row of tokens (T,) by the best token until it ends."""

    n_copies = 1

    def __init__(self, tokens: Array, eot: int) -> None:
        self.tokens, self.eot, self.begin = tokens[None], eot, len(tokens)
        self.sums, self.ended, self.closed = np.zeros(1), np.zeros(1, dtype=bool), False

    def pick(self, logprobs: Array) -> Array:
        """The token that continues each row: (rows, V) -> (rows,)."""
        return np.asarray(logprobs.argmax(axis=-1))

    def advance(self, logprobs: Array) -> Array:
        """Take one step; a row that has ended gains nothing more."""
        sources = np.arange(len(self.tokens))
        if len(self.tokens) != self.n_copies:  # the first step: all copies continue the one row
            sources = np.zeros(self.n_copies, dtype=np.int64)
            logprobs, self.sums, self.ended = logprobs[sources], self.sums[sources], self.ended[sources]
        chosen = np.where(self.ended, self.eot, self.pick(logprobs))
        self.sums = self.sums + np.where(self.ended, 0.0, logprobs[np.arange(len(chosen)), chosen])
        self.tokens = np.concatenate([self.tokens[sources], chosen[:, None]], axis=1)
        self.ended = chosen == self.eot
        self.closed = bool(self.ended.all())
        return sources

    def hypotheses(self) -> list[Hypothesis]:
        """One for each copy."""
        rows = zip(self.tokens[:, self.begin :].tolist(), self.sums.tolist(), strict=True)
        return [Hypothesis(_until(row, self.eot), sum_logprob) for row, sum_logprob in rows]


class Sampling(Greedy):
    """Continue `n_copies` of one row by tokens drawn at random until all have ended."""

    def __init__(self, tokens: Array, eot: int, temperature: float, n_copies: int, rng: np.random.Generator) -> None:
        super().__init__(tokens, eot)
        self.temperature, self.n_copies, self.rng = temperature, n_copies, rng

    def pick(self, logprobs: Array) -> Array:
        """Draw from softmax(log-probabilities / temperature)."""
        points = self.rng.random(self.n_copies)
        heights = np.cumsum(_weights(logprobs, self.temperature), axis=-1)
        return np.asarray((heights <= points[:, None] * heights[:, -1:]).sum(axis=-1))


@np.errstate(under="ignore")
def _weights(logprobs: Array, temperature: float) -> Array:
    """exp(log-probabilities / temperature), scaled so that the largest is 1: (B, V) -> (B, V), float64."""
    weights = logprobs - logprobs.max(axis=-1, keepdims=True)
    weights /= max(temperature, 1e-30)  # below that nothing is left but the best token, and float32 divides by 0
    return np.exp(weights, out=weights).astype(np.float64)


def _until(tokens: list[int], eot: int) -> list[int]:
    return tokens[: tokens.index(eot)] if eot in tokens else tokens


def beam_search(
    step: Step, tokens: Array, eot: int, max_tokens: int, beam_size: int, patience: float = 1.0
) -> list[list[Hypothesis]]:
    """Keep the `beam_size` best unfinished continuations of every row of `tokens` (N, T) at each step.

    Ended ones go to a pool, which is full at ``round(beam_size * patience)`` and then closes the search of its row
    (Kasai et al. 2022, "A Call for Clarity in Beam Search"). A pool smaller than the beam is topped up with unfinished
    continuations, the best first; their sums lack an end.

    >>> table = np.log(np.array([[0.4, 0.35, 0.25], [0.1, 0.1, 0.8], [0.0, 0.0, 1.0]]) + 1e-30)
    >>> step = lambda tokens, parents: table[tokens[:, -1]]
    >>> [found] = beam_search(step, np.array([[0]]), eot=2, max_tokens=4, beam_size=2)
    >>> [hypothesis.tokens for hypothesis in found]  # greedy search would take 0 at each step
    [[1], [0, 1]]
    """
    return run_searches(step, [Beam(row, eot, beam_size, patience) for row in tokens], max_tokens)


class Beam:
    """The unfinished continuations (B, T) of one row of tokens with their sums (B,), and the pool of the ended ones."""

    def __init__(self, tokens: Array, eot: int, beam_size: int, patience: float = 1.0) -> None:
        self.tokens, self.eot, self.begin = tokens[None], eot, len(tokens)
        self.beam_size, self.capacity = beam_size, round(beam_size * patience)
        self.sums, self.pool, self.closed = np.zeros(1), list[Hypothesis](), False

    @layer(name="beam_update")
    def advance(self, logprobs: Array) -> Array:
        """Take one step and return the row that each new row continues; a closed beam only keeps pace."""
        if self.closed:
            return self._append(np.arange(len(self.tokens)), np.full(len(self.tokens), self.eot), self.sums)
        rows, ids, totals = _best(self.sums, logprobs, self.beam_size + 1)
        is_open = ids != self.eot
        kept = np.flatnonzero(is_open)[: self.beam_size]
        checked = kept[-1] if len(kept) == self.beam_size else len(ids)  # ends worse than a full beam do not count
        is_end = ~is_open[:checked] & np.isfinite(totals[:checked])
        for i in np.flatnonzero(is_end)[: self.capacity - len(self.pool)]:
            self.pool.append(Hypothesis(self.tokens[rows[i], self.begin :].tolist(), float(totals[i])))
        sources = self._append(rows[kept], ids[kept], totals[kept])
        if len(self.pool) >= self.capacity or not len(kept):
            self.pool, self.closed = self.hypotheses(), True
        return sources

    def _append(self, rows: Array, ids: Array, sums: Array) -> Array:
        self.tokens = np.concatenate([self.tokens[rows], ids[:, None]], axis=1)
        self.sums = sums
        return rows

    def hypotheses(self) -> list[Hypothesis]:
        """The pool, topped up to the beam's size with unfinished continuations unless the search was closed before."""
        room = 0 if self.closed else max(0, self.beam_size - len(self.pool))
        best = np.argsort(-self.sums, kind="stable")[:room]
        return self.pool + [Hypothesis(self.tokens[i, self.begin :].tolist(), float(self.sums[i])) for i in best]


def _best(sums: Array, logprobs: Array, n: int) -> tuple[Array, Array, Array]:
    """The `n` best tokens of every row, from the best total to the worst: rows, ids and totals, each (B * n,).

    sums (B,), logprobs (B, V); fewer than n if V is smaller
    """
    n_vocab = logprobs.shape[1]
    n = min(n, n_vocab)
    ids = _largest(logprobs, n).ravel()
    rows = np.repeat(np.arange(len(logprobs)), n)
    totals = sums[rows] + logprobs[rows, ids]
    order = np.lexsort((ids, rows, -totals))
    return rows[order], ids[order], totals[order]


def _largest(x: Array, n: int) -> Array:
    """Where the `n` largest values of every row are, in any order: (B, V) -> (B, n).

    They lie in the `n` chunks with the largest maxima (or behind the last whole chunk), and maxima are quickly found.
    """
    end = x.shape[1] - x.shape[1] % CHUNK
    if end < 4 * n * CHUNK:
        return np.argpartition(x, x.shape[1] - n, axis=1)[:, x.shape[1] - n :]
    chunks = _largest(x[:, :end].reshape(len(x), -1, CHUNK).max(axis=-1), n)
    inside = (CHUNK * chunks[..., None] + np.arange(CHUNK)).reshape(len(x), -1)
    ids = np.concatenate([inside, np.tile(np.arange(end, x.shape[1]), (len(x), 1))], axis=1)
    return np.take_along_axis(ids, _largest(np.take_along_axis(x, ids, axis=1), n), axis=1)


def rank(hypotheses: Sequence[Hypothesis], length_penalty: float | None = None) -> list[int]:
    """Indices from the best hypothesis to the worst: by log-probability per token, or by Google's length penalty.

    Wu et al. 2016, "Google's Neural Machine Translation System", section 7: ((5 + length) / 6) ** penalty. An empty
    hypothesis counts as one token.

    >>> rank([Hypothesis([7], -1.0), Hypothesis([7, 8, 9], -1.5)]), rank([Hypothesis([7], -1.0)] * 2, 1.0)
    ([1, 0], [0, 1])
    """

    def score(i: int) -> float:
        length = len(hypotheses[i].tokens)
        if length_penalty is not None:
            return float(hypotheses[i].sum_logprob / ((5 + length) / 6) ** length_penalty)
        return hypotheses[i].sum_logprob / max(1, length)

    return sorted(range(len(hypotheses)), key=score, reverse=True)
