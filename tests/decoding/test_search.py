"""Search on small Markov tables: the next token depends on the last one only, so brute force knows the truth."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npwhisper.decoding.search import Hypothesis, Step, _largest, beam_search, greedy_search, rank, sample
from npwhisper.tracing.seam import Array

EOT = 0  # in every table


class Model:
    """A Markov table (V, V) of log-probabilities as a `step` that follows rows as a KV cache does, and complains.

    `memory` holds the tokens of every row as a cache would know them: told by `parents` alone.
    """

    def __init__(self, table: Array) -> None:
        self.table = table
        self.memory: list[tuple[int, ...]] | None = None
        self.n_calls = 0

    def __call__(self, tokens: Array, parents: Array | None) -> Array:
        rows = [tuple(row) for row in tokens.tolist()]
        if parents is None:
            assert self.memory is None, "parents may be missing on the first call only"
        else:
            assert self.memory is not None
            assert parents.shape == (len(rows),)
            assert [self.memory[p] for p in parents] == [row[:-1] for row in rows]
        self.memory, self.n_calls = rows, self.n_calls + 1
        return self.table[tokens[:, -1]]

    def score(self, start: int, tokens: tuple[int, ...]) -> float:
        """The sum of log-probabilities of `tokens` after `start`."""
        return float(sum(self.table[a, b] for a, b in itertools.pairwise((start, *tokens))))


def random_table(seed: int, n_vocab: int, sharpness: float = 2.0) -> Array:
    scores = np.random.default_rng(seed).standard_normal((n_vocab, n_vocab)) * sharpness
    return np.asarray(scores - np.log(np.exp(scores).sum(axis=1, keepdims=True)), dtype=np.float32)


seeds, vocabularies, lengths = st.integers(0, 10_000), st.integers(2, 6), st.integers(1, 5)


def continuations(n_vocab: int, max_tokens: int) -> Iterator[tuple[int, ...]]:
    """Everything that can be said: texts with their end, and texts of full length without."""
    text = range(1, n_vocab)
    for n in range(max_tokens):
        for tokens in itertools.product(text, repeat=n):
            yield (*tokens, EOT)
    yield from itertools.product(text, repeat=max_tokens)


# Greedy search


@given(seeds, vocabularies, lengths)
def test_greedy_takes_the_best_token_every_time(seed: int, n_vocab: int, max_tokens: int) -> None:
    model = Model(random_table(seed, n_vocab))
    (((tokens, total),),) = greedy_search(model, np.array([[1]]), EOT, max_tokens)
    last, expected, expected_sum = 1, [], 0.0
    for _ in range(max_tokens):
        best = int(model.table[last].argmax())
        expected_sum += float(model.table[last, best])
        if best == EOT:
            break
        expected.append(best)
        last = best
    assert tokens == expected
    assert total == pytest.approx(expected_sum, abs=1e-5)


def test_the_end_is_scored_and_nothing_after_it() -> None:
    table = np.log(np.array([[0.1, 0.8, 0.1], [0.3, 0.2, 0.5], [0.7, 0.2, 0.1]]))
    model = Model(table)
    first, second = greedy_search(model, np.array([[1], [2]]), EOT, max_tokens=9)
    assert first == [Hypothesis([2], pytest.approx(np.log(0.5 * 0.7)))]
    assert second == [Hypothesis([], pytest.approx(np.log(0.7)))]
    assert model.n_calls == 2  # both have ended, so nothing more is asked


def test_no_step_is_wasted_on_the_last_token() -> None:
    table = np.log(np.array([[0.1, 0.9], [0.1, 0.9]]))
    for search in (greedy_search, lambda *args: beam_search(*args, 1)):
        model = Model(table)
        assert search(model, np.array([[1]]), EOT, 4)[0][0].tokens == [1, 1, 1, 1]
        assert model.n_calls == 4


# Sampling


def rngs(n: int, seed: int = 0) -> list[np.random.Generator]:
    return [np.random.default_rng(seed) for _ in range(n)]


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_samples_follow_the_distribution_at_their_temperature(temperature: float) -> None:
    probs = np.array([0.1, 0.5, 0.15, 0.25, 0.0], np.float32)
    with np.errstate(divide="ignore"):
        table = np.tile(np.log(probs), (5, 1))
    (samples,) = sample(Model(table), np.array([[1]]), EOT, 1, temperature, 20_000, rngs(1))
    drawn = [hypothesis.tokens[0] if hypothesis.tokens else EOT for hypothesis in samples]
    expected = probs ** (1 / temperature) / (probs ** (1 / temperature)).sum()
    found = np.bincount(drawn, minlength=5) / len(drawn)
    assert found[4] == 0
    np.testing.assert_allclose(found, expected, atol=5 * 0.5 / np.sqrt(len(drawn)))


def test_the_score_of_a_sample_is_that_of_temperature_1() -> None:
    model = Model(random_table(3, 6))
    (samples,) = sample(model, np.array([[2]]), EOT, 7, 3.0, 50, rngs(1))
    assert len({tuple(hypothesis.tokens) for hypothesis in samples}) > 20
    for tokens, total in samples:
        end = () if len(tokens) == 7 else (EOT,)
        assert total == pytest.approx(model.score(2, (*tokens, *end)), abs=1e-4)


def test_a_seed_repeats_and_another_does_not() -> None:
    def run(seed: int) -> list[Hypothesis]:
        return sample(Model(random_table(1, 6)), np.array([[2]]), EOT, 9, 1.0, 5, rngs(1, seed))[0]

    assert run(7) == run(7)
    assert run(7) != run(8)


@pytest.mark.parametrize("temperature", [1e-3, 1e-20, 5e-324])
def test_a_temperature_near_zero_is_greedy(temperature: float) -> None:
    table = random_table(5, 6)
    (samples,) = sample(Model(table), np.array([[2]]), EOT, 9, temperature, 3, rngs(1))
    assert samples == greedy_search(Model(table), np.array([[2]]), EOT, 9)[0] * 3


def test_sampling_a_batch_is_sampling_each_alone() -> None:
    table, starts = random_table(9, 5), np.array([[1], [3], [4]])
    batch = sample(Model(table), starts, EOT, 8, 1.3, 4, rngs(3, seed=5))
    alone = [sample(Model(table), start[None], EOT, 8, 1.3, 4, rngs(1, seed=5))[0] for start in starts]
    assert batch == alone
    assert len({len(hypothesis.tokens) for hypotheses in batch for hypothesis in hypotheses}) > 1


# Beam search


def slow_beam_search(model: Model, start: int, max_tokens: int, beam_size: int, patience: float) -> list[Hypothesis]:
    """The rules of openai-whisper, one sequence at a time, with dictionaries from sequences to sums."""
    capacity = round(beam_size * patience)
    beams: dict[tuple[int, ...], float] = {(): 0.0}
    pool: dict[tuple[int, ...], float] = {}
    for _ in range(max_tokens):
        candidates = {}
        for tokens, total in beams.items():
            logprobs = model.table[(start, *tokens)[-1]]
            for token in sorted(range(len(logprobs)), key=lambda t, row=logprobs: -row[t])[: beam_size + 1]:
                candidates[(*tokens, token)] = total + float(logprobs[token])
        beams, ended = {}, []
        for tokens in sorted(candidates, key=lambda key: -candidates[key]):
            if len(beams) == beam_size:
                break
            if tokens[-1] == EOT:
                ended.append(tokens)
            else:
                beams[tokens] = candidates[tokens]
        for tokens in ended:
            if len(pool) < capacity:
                pool[tokens] = candidates[tokens]
        if len(pool) >= capacity or not beams:
            break
    for tokens in sorted(beams, key=lambda key: -beams[key]):
        if len(pool) < beam_size:
            pool[(*tokens, EOT)] = beams[tokens]
    return [Hypothesis(list(tokens[:-1]), total) for tokens, total in pool.items()]


def assert_hypotheses_equal(found: list[Hypothesis], expected: list[Hypothesis]) -> None:
    assert [hypothesis.tokens for hypothesis in found] == [hypothesis.tokens for hypothesis in expected]
    sums = [[hypothesis.sum_logprob for hypothesis in hypotheses] for hypotheses in (found, expected)]
    np.testing.assert_allclose(*sums, atol=1e-4)


@given(
    seeds,
    st.integers(1, 9),
    st.integers(1, 6),
    st.integers(1, 5),
    st.sampled_from([0.5, 1.0, 1.5, 2.0, 3.0]),
)
def test_beams_follow_the_slow_rules(seed: int, n_vocab: int, max_tokens: int, beam_size: int, patience: float) -> None:
    if round(beam_size * patience) < 1:
        patience = 1.0
    model = Model(random_table(seed, n_vocab))
    (found,) = beam_search(model, np.array([[n_vocab - 1]]), EOT, max_tokens, beam_size, patience)
    assert_hypotheses_equal(found, slow_beam_search(model, n_vocab - 1, max_tokens, beam_size, patience))


@given(seeds, st.integers(2, 5), st.integers(1, 4), st.sampled_from([None, 0.0, 0.6, 1.0]))
def test_a_beam_as_wide_as_everything_finds_the_truth(
    seed: int, n_vocab: int, max_tokens: int, length_penalty: float | None
) -> None:
    """Against brute force over all that can be said, ranked as `rank` does."""
    model = Model(random_table(seed, n_vocab))
    everything = list(continuations(n_vocab, max_tokens))
    (found,) = beam_search(model, np.array([[1]]), EOT, max_tokens, len(everything))
    truth = [Hypothesis([t for t in tokens if t != EOT], model.score(1, tokens)) for tokens in everything]
    assert {tuple(h.tokens) for h in found} == {tuple(h.tokens) for h in truth}
    best, expected = found[rank(found, length_penalty)[0]], truth[rank(truth, length_penalty)[0]]
    assert_hypotheses_equal([best], [expected])


@given(seeds, vocabularies, lengths)
def test_one_beam_is_greedy(seed: int, n_vocab: int, max_tokens: int) -> None:
    table = random_table(seed, n_vocab)
    (beam,) = beam_search(Model(table), np.array([[1]]), EOT, max_tokens, 1)
    (greedy,) = greedy_search(Model(table), np.array([[1]]), EOT, max_tokens)
    assert_hypotheses_equal(beam, greedy)


@given(st.lists(seeds, min_size=2, max_size=4), st.integers(6, 9), st.integers(1, 6), st.integers(1, 4))
def test_beams_of_a_batch_are_beams_of_each_alone(
    seeds: list[int], n_vocab: int, max_tokens: int, beam_size: int
) -> None:
    """The rows of a batch start in different tables, joined into one that never leaves its part."""
    size = n_vocab - 1  # text tokens of one table; EOT is shared
    table = np.full((1 + size * len(seeds), 1 + size * len(seeds)), -np.inf)
    table[EOT, EOT] = 0.0
    for i, seed in enumerate(seeds):
        part = random_table(seed, n_vocab)
        block = slice(1 + i * size, 1 + (i + 1) * size)
        table[block, block], table[block, EOT] = part[1:, 1:], part[1:, EOT]
    starts = np.array([[1 + i * size] for i in range(len(seeds))])
    batch = beam_search(Model(table), starts, EOT, max_tokens, beam_size)
    alone = [beam_search(Model(table), start[None], EOT, max_tokens, beam_size)[0] for start in starts]
    assert batch == alone


def table_of(rows: dict[int, dict[int, float]], n_vocab: int) -> Model:
    """Log-probabilities from probabilities; what is not named is forbidden, and other rows only end."""
    table = np.full((n_vocab, n_vocab), -np.inf)
    table[:, EOT] = 0.0
    for row, probs in rows.items():
        table[row, EOT] = -np.inf
        for token, prob in probs.items():
            table[row, token] = np.log(prob)
    return Model(table)


def test_identical_beams_of_the_first_step_count_once() -> None:
    model = table_of({1: {2: 0.5, 3: 0.3, 4: 0.2}}, 5)
    (found,) = beam_search(model, np.array([[1]]), EOT, 2, beam_size=3)
    assert [hypothesis.tokens for hypothesis in found] == [[2], [3], [4]]


def test_ends_below_a_full_beam_are_not_kept() -> None:
    model = table_of({1: {2: 0.5, 3: 0.3, EOT: 0.2}, 2: {2: 1.0}, 3: {3: 1.0}}, 4)
    (found,) = beam_search(model, np.array([[1]]), EOT, 3, beam_size=2)
    assert [] not in [hypothesis.tokens for hypothesis in found]
    (wider,) = beam_search(Model(model.table), np.array([[1]]), EOT, 3, beam_size=3)
    assert [] in [hypothesis.tokens for hypothesis in wider]


def test_what_is_forbidden_never_enters_the_pool() -> None:
    model = table_of({1: {2: 1.0}, 2: {3: 1.0}, 3: {2: 0.9, 3: 0.1}}, 6)
    (found,) = beam_search(model, np.array([[1]]), EOT, 4, beam_size=5)
    finite = [hypothesis.tokens for hypothesis in found if np.isfinite(hypothesis.sum_logprob)]
    assert finite == [[2, 3, 2, 3], [2, 3, 3, 2], [2, 3, 3, 3]]


def test_patience_waits_for_more_ended_texts() -> None:
    rows = {1: {EOT: 0.4, 2: 0.6}, 2: {EOT: 0.4, 2: 0.6}}
    sizes = {}
    for patience in (0.5, 1.0, 2.0):
        model = table_of(rows, 3)
        (found,) = beam_search(model, np.array([[1]]), EOT, 20, beam_size=2, patience=patience)
        sizes[patience] = (len(found), model.n_calls)
    assert sizes == {0.5: (2, 1), 1.0: (2, 2), 2.0: (4, 4)}


def test_a_pool_at_least_as_large_as_the_beam_is_not_topped_up() -> None:
    model = table_of({1: {EOT: 0.4, 2: 0.6}, 2: {EOT: 0.4, 2: 0.6}}, 3)
    (found,) = beam_search(model, np.array([[1]]), EOT, 3, beam_size=2, patience=9.0)
    assert [hypothesis.tokens for hypothesis in found] == [[], [2], [2, 2]]


def test_an_unfinished_text_lacks_the_log_probability_of_an_end() -> None:
    model = table_of({1: {2: 1.0}, 2: {2: 0.5, 3: 0.5}, 3: {3: 1.0}}, 4)
    (found,) = beam_search(model, np.array([[1]]), EOT, 2, beam_size=2)
    assert found == [Hypothesis([2, 2], np.log(0.5)), Hypothesis([2, 3], np.log(0.5))]


@pytest.mark.parametrize("n_vocab", [1, 2, 3, 4, 6])
def test_vocabularies_smaller_than_the_beam_work(n_vocab: int) -> None:
    model = Model(random_table(n_vocab, n_vocab))
    (found,) = beam_search(model, np.array([[n_vocab - 1]]), EOT, 4, beam_size=5)
    assert_hypotheses_equal(found, slow_beam_search(model, n_vocab - 1, 4, 5, 1.0))
    assert found


# Ranking


def test_ranking_is_per_token_without_the_end() -> None:
    hypotheses = [Hypothesis([1, 1], -3.0), Hypothesis([1, 1, 1, 1], -4.0), Hypothesis([1], -1.2)]
    assert rank(hypotheses) == [1, 2, 0]


@pytest.mark.parametrize(("penalty", "expected"), [(0.0, [0, 1]), (0.5, [0, 1]), (1.0, [1, 0])])
def test_ranking_by_length_penalty(penalty: float, expected: list[int]) -> None:
    """((5 + 1) / 6) ** a = 1 and ((5 + 13) / 6) ** a = 3 ** a."""
    assert rank([Hypothesis([1], -1.0), Hypothesis([1] * 13, -2.0)], penalty) == expected


def test_the_first_of_equals_wins_and_an_empty_text_counts_as_one_token() -> None:
    assert rank([Hypothesis([1], -1.0), Hypothesis([2], -1.0), Hypothesis([], -0.5)]) == [2, 0, 1]
    assert rank([Hypothesis([], -0.5), Hypothesis([1, 2], -0.5)]) == [1, 0]


def test_steps_are_what_a_key_value_cache_can_follow() -> None:
    """The models above complain otherwise; this one shows that they would."""
    step: Step = Model(random_table(0, 4))
    step(np.array([[1], [2]]), None)
    with pytest.raises(AssertionError):
        step(np.array([[1, 3], [2, 3]]), np.array([1, 0]))


@pytest.mark.parametrize("n", [1, 6, 11])
@pytest.mark.parametrize("n_vocab", [12, 256, 10_000, 51_864, 512 * 101])
def test_the_largest_are_found_wherever_they_lie(n_vocab: int, n: int) -> None:
    rng = np.random.default_rng(n_vocab + n)
    x = rng.permuted(np.tile(np.arange(n_vocab, dtype=np.float32), (4, 1)), axis=1)
    x[2] = np.where(np.arange(n_vocab) < n_vocab - n, -np.inf, np.arange(n_vocab))  # all in the last places
    x[3] = np.sort(x[3])[::-1]
    found = _largest(x, n)
    assert found.shape == (4, n)
    np.testing.assert_array_equal(np.sort(found, axis=1), np.sort(np.argsort(x, axis=1)[:, n_vocab - n :], axis=1))
