"""One window: prompts, rules, languages, scores. The rules are numbered as they are told in their tests' names."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from talkers import ENGLISH, HUNDRED, MULTILINGUAL, Script, talker

import npwhisper
from npwhisper import DecodingOptions, DecodingTask, decode, detect_language
from npwhisper.decoding import compression_ratio
from npwhisper.decoding.rules import (
    LOGIT_RULES,
    RuleContext,
    apply_timestamp_rules,
    forbid_repeated_ngrams,
    penalize_repetition,
    suppress_blank,
    suppress_tokens,
)
from npwhisper.tokenizer import get_tokenizer
from npwhisper.tracing.seam import Array

EN = get_tokenizer(False)
MANY = get_tokenizer(True, language="de", task="translate")
EOT, BEGIN = EN.eot, EN.timestamp_begin
MEL = np.zeros((80, 3000), np.float32)


def noise(dims: Any, batch: int, seed: int = 0) -> Array:
    """Windows that differ in loudness too."""
    loudness = np.linspace(0.2, 2, batch, dtype=np.float32)[:, None, None]
    return np.random.default_rng(seed).random((batch, dims.n_mels, 3000), dtype=np.float32) * loudness


def speaker(*tokens: int) -> Script:
    """An English-only script that says these tokens and then the end, each with logit 30."""

    def says(so_far: list[int]) -> dict[int, float]:
        n_said = len(so_far) - so_far.index(EN.sot) - 1
        return {[*tokens, EOT][min(n_said, len(tokens))]: 30.0}

    return Script(says)


# What the network is told


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"language": "de", "task": "translate"}, [*MANY.sot_sequence]),
        ({"language": "German", "task": "translate"}, [*MANY.sot_sequence]),
        (
            {"language": "de", "task": "translate", "without_timestamps": True},
            [*MANY.sot_sequence, MANY.no_timestamps],
        ),
        ({"language": "en"}, [MANY.sot, MANY.to_language_token("en"), MANY.transcribe]),
    ],
)
def test_the_start_sequence_of_multilingual_models(options: dict[str, Any], expected: list[int]) -> None:
    model = Script(lambda _: {MANY.eot: 30.0}, n_vocab=51865)
    decode(model, MEL, **options)
    assert model.heard == [expected]


@pytest.mark.filterwarnings("ignore:an English-only model transcribes")
@pytest.mark.parametrize("options", [{"language": "de"}, {"task": "translate"}, {}])
def test_english_models_have_no_tokens_for_language_and_task(options: dict[str, Any]) -> None:
    model = speaker(BEGIN)
    decode(model, MEL, **options)
    decode(model, MEL, without_timestamps=True, **options)
    assert model.heard == [[EN.sot], [EN.sot, EN.no_timestamps]]


@pytest.mark.parametrize(
    ("n_vocab", "layers", "words"),
    [
        (51864, (1, 1), "an English-only model transcribes, whatever the task: translate with a multilingual model"),
        (51866, (32, 4), "turbo was not trained to translate, and answers in the language that is spoken"),
        (51865, (1, 1), None),
        (51866, (32, 32), None),
    ],
)
def test_a_model_that_cannot_translate_says_so(n_vocab: int, layers: tuple[int, int], words: str | None) -> None:
    model = Script(lambda _: {MANY.eot: 30.0}, n_vocab)
    model.dims = replace(model.dims, n_audio_layer=layers[0], n_text_layer=layers[1])
    options = DecodingOptions(language="en", task="translate")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.decode(MEL, options, task="transcribe")
        assert not caught
        decode(model, MEL, options)
        decode(model, MEL, language="en", task="translate")
        model.decode(MEL, options)
    assert [str(warning.message).startswith(words or "nothing") for warning in caught] == [True] * 3 * bool(words)


@pytest.mark.parametrize("length", [1, 222, 223, 224, 500])
@pytest.mark.parametrize("kind", [list, tuple, np.array])
def test_a_prompt_is_its_last_223_tokens(length: int, kind: Any) -> None:
    model, prompt = speaker(BEGIN), list(range(1000, 1000 + length))
    decode(model, MEL, prompt=kind(prompt))
    assert model.heard == [[EN.sot_prev, *prompt[-223:], EN.sot]]
    assert prompt == list(range(1000, 1000 + length))


def test_a_prompt_of_text_is_stripped_and_gets_a_space_and_timestamps_stay_in_a_prompt_of_tokens() -> None:
    model = speaker(BEGIN)
    decode(model, MEL, prompt=" Hello there \n")
    decode(model, MEL, prompt=[BEGIN, 5, BEGIN + 7])
    decode(model, MEL, prompt="")
    decode(model, MEL, prompt=[])
    expected = [[EN.sot_prev, *EN.encode(" Hello there"), EN.sot], [EN.sot_prev, BEGIN, 5, BEGIN + 7, EN.sot]]
    assert model.heard == [*expected, [EN.sot], [EN.sot]]


def test_a_prefix_begins_the_text_and_is_not_repeated_in_the_result() -> None:
    prefix = EN.encode(" Ask not")
    model = Script(lambda tokens: {(EOT if tokens[-1] == 700 else 700): 30.0})
    result = decode(model, MEL, prefix="Ask not ", without_timestamps=True)
    assert model.heard == [[EN.sot, EN.no_timestamps, *prefix]]
    assert result.tokens == [700]


def test_with_timestamps_a_prefix_gets_one_and_text_follows() -> None:
    """Upstream demands a timestamp after the prefix, and gets poor text or none."""
    model = Script(lambda tokens: {(EOT if tokens[-1] == 700 else 700): 30.0})
    result = decode(model, MEL, prefix="Ask not")
    assert model.heard == [[EN.sot, BEGIN, *EN.encode(" Ask not")]]
    assert result.tokens == [BEGIN, 700]
    assert result.avg_logprob == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize(("sample_len", "kept"), [(None, 224), (200, 24), (223, 1), (224, 224), (230, 224)])
def test_a_prefix_is_its_last_tokens_if_they_and_the_sample_fit_into_half_the_context(
    sample_len: int | None, kept: int
) -> None:
    model, prefix = speaker(BEGIN), list(range(1000, 1400))
    decode(model, MEL, prefix=prefix, sample_len=sample_len, without_timestamps=True)
    assert model.heard == [[EN.sot, EN.no_timestamps, *prefix[-kept:]]]
    assert prefix == list(range(1000, 1400))


def test_a_prefix_may_not_start_with_a_space_or_end_after_it() -> None:
    """The blank rule is for the first token that is searched for, whatever stands before it."""
    model = Script(lambda tokens: {EOT: 30.0, 220: 20.0, 700: 10.0})
    assert decode(model, MEL, prefix="Ask", without_timestamps=True).tokens == [700]
    assert decode(model, MEL, prefix="Ask", without_timestamps=True, suppress_blank=False).tokens == []


# How much it may say


@pytest.mark.parametrize("search", [{}, {"beam_size": 2}, {"temperature": 0.1, "seed": 0}])
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 224),
        ({"sample_len": 7}, 7),
        ({"sample_len": 448}, 448 - 2 + 1),
        ({"sample_len": 448, "prompt": [5] * 300}, 448 - 226 + 1),
    ],
)
def test_the_number_of_tokens_is_limited_by_sample_len_and_context(
    search: dict[str, Any], options: dict[str, Any], expected: int
) -> None:
    model = Script(lambda _: {700: 30.0})
    assert len(decode(model, MEL, without_timestamps=True, **options, **search).tokens) == expected


def test_a_prefix_and_prompt_that_fill_the_context_are_an_error() -> None:
    options = {"prefix": [5] * 224, "prompt": [6] * 223}
    fits = {"prefix": [5] * 224, "prompt": [6] * 221}
    assert decode(speaker(), MEL, **fits, suppress_blank=False).tokens == [BEGIN]
    model = Script(lambda _: {MANY.eot: 30.0}, n_vocab=51865)
    with pytest.raises(ValueError, match=r"448 tokens, got 452 .* shorten the prefix"):
        decode(model, MEL, **options, language="en")


# Scores


def test_the_mean_log_probability_counts_the_end() -> None:
    """Two tokens of probability 3/4 and 1/2, an end of probability 2/3: divided by 3."""
    answers = {0: {700: math.log(3), 701: 0.0}, 1: {702: 0.0, 703: 0.0}, 2: {EOT: math.log(2), 704: 0.0}}
    model = Script(lambda tokens: answers.get(len(tokens) - 2, {}))
    result = decode(model, MEL, without_timestamps=True)
    assert result.tokens == [700, 702]
    assert result.avg_logprob == pytest.approx(math.log(3 / 4 * 1 / 2 * 2 / 3) / 3, abs=1e-4)


def test_no_speech_is_read_at_the_start_of_transcript_over_the_whole_vocabulary() -> None:
    """Half of the probability there, even though the token is suppressed; nothing at all at the last position."""
    for prompt in (None, [5, 6, 7]):
        model = Script(
            lambda tokens: {MANY.no_speech: 40.0, MANY.sot_prev: 40.0} if tokens[-1] == MANY.sot else {MANY.eot: 30.0},
            n_vocab=51865,
        )
        result = decode(model, MEL, language="en", prompt=prompt)
        assert result.no_speech_prob == pytest.approx(0.5, abs=1e-6)
    assert decode(Script(lambda _: {EN.no_speech: 40.0}), MEL).no_speech_prob == pytest.approx(1.0)


def test_an_empty_text_has_scores() -> None:
    """Upstream divides by its length, 0."""
    for search in (
        {},
        {"beam_size": 3},
        {"temperature": 0.5, "best_of": 2, "seed": 1},
        {"beam_size": 2, "length_penalty": 0.0},
    ):
        model = Script(lambda _: {EOT: 30.0})
        result = decode(model, MEL, without_timestamps=True, suppress_blank=False, **search)
        assert (result.text, result.tokens, result.compression_ratio) == ("", [], 0.0)
        assert result.avg_logprob == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize(("text", "ratio"), [("", 0.0), ("a", 1 / 9), ("é", 2 / 10), ("la " * 99, 297 / 14)])
def test_compression_ratio_counts_bytes(text: str, ratio: float) -> None:
    assert compression_ratio(text) == pytest.approx(ratio, rel=0.1)


def test_alternatives_are_ranked_and_the_first_is_the_result() -> None:
    options = {"sample_len": 9, "language": "fr", "without_timestamps": True}
    result = decode(talker(), noise(MULTILINGUAL, 1)[0], beam_size=4, **options)
    assert len(result.alternatives) == 4
    assert result.alternatives[0] == (result.text, result.avg_logprob)
    assert len({text for text, _ in result.alternatives}) > 1
    greedy = decode(talker(), noise(MULTILINGUAL, 1)[0], **options)
    assert greedy.alternatives == [(greedy.text, greedy.avg_logprob)]


def test_length_penalty_decides_between_a_short_and_a_long_text() -> None:
    """The end at once, after one word of probability 0.4, or four more words first: 0.6 * 0.5 in all."""

    def says(tokens: list[int]) -> dict[int, float]:
        said = tokens[2:]
        if not said:
            return {700: math.log(0.4), 701: math.log(0.6)}
        if said[0] == 700 or len(said) == 5:
            return {EOT: 0.0}
        return {702: math.log(0.5), 703: math.log(0.5)} if len(said) == 1 else {702: 0.0}

    found = [
        decode(Script(says), MEL, without_timestamps=True, beam_size=3, length_penalty=penalty).tokens
        for penalty in (None, 0.0, 1.0)
    ]
    assert found == [[701, 702, 702, 702, 702], [700], [701, 702, 702, 702, 702]]


# Rules


SPECIAL = {"transcribe", "translate", "sot", "sot_prev", "sot_lm", "no_speech"}


@pytest.mark.parametrize("n_vocab", [51864, 51865])
@pytest.mark.parametrize(
    ("given_tokens", "ids"),
    [
        ("-1", "noise"),
        ("-1,7000", "noise and 7000"),
        ("50, 60", {50, 60}),
        ([50, 60], {50, 60}),
        ((60, 50, 50), {50, 60}),
        (np.array([50, 60]), {50, 60}),
        ([-1], "noise"),
        (None, None),
        ("", None),
        ([], None),
    ],
)
def test_suppressed_tokens(n_vocab: int, given_tokens: Any, ids: Any) -> None:
    multilingual = n_vocab == 51865
    tokenizer = get_tokenizer(multilingual)
    task = DecodingTask(Script(lambda _: {}, n_vocab), DecodingOptions(suppress_tokens=given_tokens))
    special = {getattr(tokenizer, name) for name in SPECIAL}
    noise_ids = set(tokenizer.non_speech_tokens)
    named = {"noise": noise_ids, "noise and 7000": noise_ids | {7000}}
    expected = set() if ids is None else special | (named[ids] if isinstance(ids, str) else ids)
    assert task.context.suppressed == sorted(expected)


def test_a_list_of_suppressed_tokens_is_not_changed_and_a_generator_is_read_once() -> None:
    mine = [50, 60]
    options = DecodingOptions(suppress_tokens=mine)
    DecodingTask(speaker(), options)
    assert mine == [50, 60]
    options = DecodingOptions(suppress_tokens=(token for token in mine))
    tasks = [DecodingTask(speaker(), options) for _ in range(2)]
    assert tasks[0].context == tasks[1].context
    assert {50, 60} <= set(tasks[0].context.suppressed)


@pytest.mark.parametrize("tokens", ["a", "1,,2", [-2], [51864], "-1,99999"])
def test_suppressed_tokens_must_be_ids(tokens: Any) -> None:
    with pytest.raises(ValueError, match="suppress_tokens must be token ids"):
        DecodingTask(speaker(), DecodingOptions(suppress_tokens=tokens))


CONTEXT = RuleContext(eot=20, timestamp_begin=23, no_timestamps=22)
V = 31


def logits_of(seed: int, rows: int = 1) -> Array:
    return np.random.default_rng(seed).standard_normal((rows, V)).astype(np.float32) * 3


def masked(logits: Array) -> set[int]:
    return set(np.flatnonzero(np.isneginf(logits[0])).tolist())


def test_suppress_tokens_masks_its_ids_always() -> None:
    context = CONTEXT._replace(suppressed=[3, 21])
    for sampled in (np.zeros((1, 0), int), np.array([[5, 6]])):
        assert masked(suppress_tokens(logits_of(0), sampled, context)) == {3, 21}


def test_suppress_blank_masks_space_and_end_at_the_first_token_only() -> None:
    context = CONTEXT._replace(blank=[2, 20])
    assert masked(suppress_blank(logits_of(0), np.zeros((1, 0), int), context)) == {2, 20}
    assert masked(suppress_blank(logits_of(0), np.array([[5]]), context)) == set()
    task = DecodingTask(speaker(), DecodingOptions())
    assert task.context.blank == [220, EOT]
    assert DecodingTask(speaker(), DecodingOptions(suppress_blank=False)).context.blank == []


@pytest.mark.parametrize(
    ("seconds", "expected"), [(1.0, 50), (None, None), (0, None), (0.0, None), (0.005, 0), (2, 100), (29.99, 1500)]
)
def test_the_first_timestamp_is_limited(seconds: float | None, expected: int | None) -> None:
    """0 and None are no limit; a limit that rounds to 0 is one."""
    task = DecodingTask(speaker(), DecodingOptions(max_initial_timestamp=seconds))
    assert task.context.max_initial_timestamp == expected


def said(*tokens: int) -> Array:
    return np.array([tokens], dtype=np.int64)


TEXT, END, STAMPS = set(range(20)), {20}, set(range(23, V))


@pytest.mark.parametrize(
    ("sampled", "limit", "allowed"),
    [
        ((), None, STAMPS),
        ((), 0, {23}),
        ((), 2, {23, 24, 25}),
        ((25,), None, TEXT | END | {21}),  # it opened: text must follow
        ((25, 3), None, TEXT | END | {21} | set(range(26, V))),  # the closing one is later
        ((25, 3, 27), None, END | {21} | set(range(27, V))),  # it closed: the next opens, now or later, or all ends
        ((25, 3, 27, 27), None, TEXT | END | {21}),
        ((25, 3, 27, 27, 4), None, TEXT | END | {21} | set(range(28, V))),
        ((25, 3, 30), None, END | {21, 30}),
        ((3, 4), None, TEXT | END | {21} | STAMPS),  # a prefix without timestamps
    ],
)
def test_what_may_follow(sampled: tuple[int, ...], limit: int | None, allowed: set[int]) -> None:
    """With text so likely that the last rule, which prefers timestamps, has nothing to say unless text is masked."""
    logits = np.zeros((1, V), np.float32)
    logits[0, :23] = 10.0
    found = apply_timestamp_rules(logits, said(*sampled), CONTEXT._replace(max_initial_timestamp=limit))
    assert set(range(V)) - masked(found) == allowed


def test_timestamps_win_if_together_they_are_likelier_than_the_best_text() -> None:
    logits = np.zeros((1, V), np.float32)
    logits[0, 3] = math.log(5.9)  # against six timestamps of weight 1 that are later than 24
    sampled = said(24, 3)
    assert masked(apply_timestamp_rules(logits, sampled, CONTEXT)) == set(range(23)) | {23, 24}
    logits[0, 3] = math.log(6.1)
    assert masked(apply_timestamp_rules(logits, sampled, CONTEXT)) == {22, 23, 24}


def slow_timestamp_rules(logits: list[float], sampled: list[int], context: RuleContext) -> list[float]:
    """The rules one token at a time, in words: may `token` follow `sampled`?"""
    eot, begin = context.eot, context.timestamp_begin

    def may_follow(token: int) -> bool:
        is_stamp, stamps = token >= begin, [t for t in sampled if t >= begin]
        if token == context.no_timestamps:
            return False
        if not sampled:
            limit = context.max_initial_timestamp
            return is_stamp and (limit is None or token - begin <= limit)
        last, before = sampled[-1] >= begin, len(sampled) == 1 or sampled[-2] >= begin
        if last and before:
            return not is_stamp
        if last:
            return token >= eot and (not is_stamp or token >= stamps[-1])
        return not is_stamp or not stamps or token > stamps[-1]

    allowed = [x if may_follow(i) else -math.inf for i, x in enumerate(logits)]
    total = math.log(sum(map(math.exp, allowed[begin:])) or 1e-300)
    prefer = any(x > -math.inf for x in allowed[begin:]) and total > max(allowed[:begin])
    return [-math.inf if prefer and i < begin else x for i, x in enumerate(allowed)]


@given(
    st.integers(0, 10_000),
    st.lists(st.lists(st.sampled_from([3, 7, *range(23, V)]), min_size=4, max_size=4), min_size=1, max_size=3),
    st.integers(0, 4),
    st.sampled_from([None, 0, 3]),
)
def test_timestamp_rules_follow_the_slow_definition(
    seed: int, sequences: list[list[int]], length: int, limit: int | None
) -> None:
    """Also for sequences that the rules would never have let come about."""
    sampled, logits = np.array(sequences)[:, :length], logits_of(seed, len(sequences))
    context = CONTEXT._replace(max_initial_timestamp=limit)
    before = logits.copy()
    found = apply_timestamp_rules(logits, sampled, context)
    expected = [slow_timestamp_rules(*pair, context) for pair in zip(logits.tolist(), sampled.tolist(), strict=True)]
    np.testing.assert_array_equal(found, np.array(expected, np.float32))
    np.testing.assert_array_equal(logits, before)


def test_without_timestamps_there_are_no_such_rules() -> None:
    logits = logits_of(1)
    context = CONTEXT._replace(without_timestamps=True)
    np.testing.assert_array_equal(apply_timestamp_rules(logits, said(), context), logits)


@given(st.integers(0, 10_000), st.lists(st.integers(0, V - 1), max_size=9), st.floats(0.5, 3))
def test_repeated_text_is_penalised(seed: int, sampled: list[int], penalty: float) -> None:
    logits = logits_of(seed)
    context = CONTEXT._replace(repetition_penalty=penalty)
    found = penalize_repetition(logits, np.array([sampled], dtype=np.int64), context)
    expected = [
        (x / penalty if x > 0 else x * penalty) if i in sampled and i < CONTEXT.eot else x
        for i, x in enumerate(logits[0].tolist())
    ]
    np.testing.assert_allclose(found[0], expected, rtol=1e-5)
    assert found.dtype == np.float32


@given(st.lists(st.sampled_from([1, 2, 3, 25]), max_size=12), st.integers(1, 4))
def test_no_ngram_of_text_comes_twice(sampled: list[int], n: int) -> None:
    context = CONTEXT._replace(no_repeat_ngram_size=n)
    found = forbid_repeated_ngrams(logits_of(0), np.array([sampled], dtype=np.int64), context)
    text = [token for token in sampled if token < CONTEXT.eot]
    seen = {tuple(text[i : i + n]) for i in range(len(text) - n + 1)}
    tail = text[len(text) - n + 1 :] if n > 1 else []
    expected = {token for token in range(V) if len(tail) == n - 1 and (*tail, token) in seen}
    assert masked(found) == expected


def test_the_new_options_change_what_is_said() -> None:
    model = Script(lambda tokens: {700: 30.0, 701: 29.0, 702: 28.0, EOT: 27.0})
    common = {"without_timestamps": True, "sample_len": 6}
    assert decode(model, MEL, **common).tokens == [700] * 6
    assert decode(model, MEL, **common, repetition_penalty=1.2).tokens == [700, 701, 702]
    assert decode(model, MEL, **common, no_repeat_ngram_size=2).tokens == [700, 700, 701, 700, 702, 700]


def test_rules_are_layers_that_can_be_watched() -> None:
    with npwhisper.trace(*(rule.__name__ for rule in LOGIT_RULES)) as acts:
        result = decode(talker(ENGLISH), noise(ENGLISH, 1)[0], sample_len=4)
    assert [len(acts.all(rule.__name__)) for rule in LOGIT_RULES] == [4] * 5
    assert acts.all("apply_timestamp_rules")[1].argmax() == result.tokens[1]
    assert {value.dtype for value in acts.values()} == {np.dtype(np.float32)}


# Batches


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"beam_size": 3},
        {"beam_size": 3, "patience": 2.0, "length_penalty": 0.4, "prompt": [1, 2, 3]},
        {"temperature": 0.7, "seed": 3},
        {"temperature": 0.7, "best_of": 3, "seed": 3},
        {"without_timestamps": True, "prefix": "So"},
        {"language": "de", "beam_size": 2, "no_repeat_ngram_size": 2, "repetition_penalty": 1.3},
    ],
)
@pytest.mark.parametrize(
    "dims", [pytest.param(ENGLISH, marks=pytest.mark.slow), MULTILINGUAL, pytest.param(HUNDRED, marks=pytest.mark.slow)]
)
def test_a_batch_is_its_windows_alone(dims: Any, options: dict[str, Any]) -> None:
    """Upstream raises for a batch with beams or with best_of."""
    model = talker(dims)
    features = model.embed_audio(noise(dims, 3))
    batch = decode(model, features, sample_len=12, **options)
    alone = [decode(model, window, sample_len=12, **options) for window in features]
    assert [result.tokens for result in batch] == [result.tokens for result in alone]
    assert [result.language for result in batch] == [result.language for result in alone]
    for found, expected in zip(batch, alone, strict=True):
        assert found.avg_logprob == pytest.approx(expected.avg_logprob, abs=1e-4)
        assert found.no_speech_prob == pytest.approx(expected.no_speech_prob, rel=1e-3)
        assert [text for text, _ in found.alternatives] == [text for text, _ in expected.alternatives]
    assert len({tuple(result.tokens) for result in batch}) > 1


def test_a_row_that_has_ended_waits_for_the_others() -> None:
    model = Script(lambda tokens: {(EOT if tokens[-1] == 701 else 700 + len(tokens) % 2): 30.0})
    first, second = decode(model, np.stack([MEL, MEL]), without_timestamps=True)
    assert first.tokens == second.tokens == [700, 701]
    assert first.avg_logprob == second.avg_logprob == pytest.approx(0.0, abs=1e-3)


def test_mels_and_features_of_two_and_three_axes_are_taken() -> None:
    model, mels = talker(), noise(MULTILINGUAL, 2)
    features = model.embed_audio(mels)
    expected = [result.tokens for result in decode(model, mels, sample_len=5)]
    assert [result.tokens for result in decode(model, features, sample_len=5)] == expected
    assert [decode(model, x[1], sample_len=5).tokens for x in (mels, features)] == [expected[1]] * 2
    task = DecodingTask(model, DecodingOptions(sample_len=5))
    assert [[result.tokens for result in task.run(x)] for x in (mels, features)] == [expected] * 2
    assert [[result.tokens for result in task.run(x[0])] for x in (mels, features)] == [expected[:1]] * 2
    np.testing.assert_array_equal(task.run(mels)[1].audio_features, features[1])


def test_seeds_repeat_and_without_one_nothing_does() -> None:
    model, mel = talker(), noise(MULTILINGUAL, 1)[0]
    common = {"temperature": 1.5, "sample_len": 15, "language": "en"}
    runs = [decode(model, mel, **common, seed=seed).tokens for seed in (1, 1, 2, None, None)]
    assert runs[0] == runs[1]
    assert len(set(map(tuple, runs))) == 4


# Languages


@pytest.mark.parametrize(("dims", "n_languages"), [(MULTILINGUAL, 99), (HUNDRED, 100)])
def test_languages_are_probable_in_the_order_of_their_tokens(dims: Any, n_languages: int) -> None:
    model, mels = talker(dims, seed=2), noise(dims, 2)
    tokens, probs = detect_language(model, mels)
    tokenizer = get_tokenizer(True, num_languages=n_languages)
    assert [list(p) for p in probs] == [list(tokenizer.all_language_codes)] * 2
    assert [sum(p.values()) for p in probs] == pytest.approx([1.0, 1.0])
    assert [tokenizer.to_language_token(max(p, key=p.get)) for p in probs] == tokens.tolist()
    logits = model.logits(np.array([[tokenizer.sot]] * 2), model.embed_audio(mels))[:, 0]
    weights = np.exp(logits[:, list(tokenizer.all_language_tokens)])
    expected = weights / weights.sum(axis=1, keepdims=True)
    np.testing.assert_allclose([list(p.values()) for p in probs], expected, rtol=1e-4)
    token, single = model.detect_language(mels[1])
    assert (int(token), list(single)) == (tokens[1], list(probs[1]))
    assert list(single.values()) == pytest.approx(list(probs[1].values()), rel=1e-3)
    assert model.detect_language(model.embed_audio(mels), tokenizer)[0].tolist() == tokens.tolist()


def test_decode_detects_the_language_of_every_window_and_tells_its_probabilities() -> None:
    spoken = ["fr"]

    def says(tokens: list[int]) -> dict[int, float]:
        return {MANY.to_language_token(spoken[-1]): 30.0} if tokens == [MANY.sot] else {MANY.eot: 30.0}

    model = Script(says, n_vocab=51865)
    results = [decode(model, MEL)]
    spoken.append("ja")
    results.append(decode(model, MEL))
    assert [result.language for result in results] == ["fr", "ja"]
    assert [result.language_probs[result.language] for result in results] == pytest.approx([1.0, 1.0])
    starts = [[MANY.sot, MANY.to_language_token(code), MANY.transcribe] for code in spoken]
    assert model.heard == [[MANY.sot], starts[0], [MANY.sot], starts[1]]


def test_a_language_that_is_given_is_echoed_and_not_detected() -> None:
    result = decode(talker(), noise(MULTILINGUAL, 1)[0], language="German", sample_len=3)
    assert (result.language, result.language_probs) == ("German", None)
    assert decode(talker(ENGLISH), noise(ENGLISH, 1)[0], sample_len=3).language == "en"


def test_lang_id_detects_and_says_nothing() -> None:
    model, mels = talker(seed=1), noise(MULTILINGUAL, 2)
    _, probs = detect_language(model, mels)
    results = decode(model, mels, task="lang_id")
    assert [result.language for result in results] == [max(p, key=p.get) for p in probs]
    assert [list(result.language_probs) for result in results] == [list(p) for p in probs]
    assert [(result.text, result.tokens) for result in results] == [("", [])] * 2
    assert all(math.isnan(result.avg_logprob) and math.isnan(result.no_speech_prob) for result in results)
    told = decode(model, mels[0], task="lang_id", language="yi")  # asked, it listens all the same
    assert told.language == results[0].language != "yi"


def test_english_models_cannot_detect_languages() -> None:
    for call in (lambda m: detect_language(m, MEL), lambda m: decode(m, MEL, task="lang_id")):
        with pytest.raises(ValueError, match="English-only model"):
            call(talker(ENGLISH))


def test_unknown_languages_are_named() -> None:
    with pytest.raises(ValueError, match=r"unknown language 'germna'.*german"):
        decode(talker(), noise(MULTILINGUAL, 1), language="germna")
    with pytest.raises(ValueError, match=r"'yue' .* not among the 99"):
        decode(talker(), noise(MULTILINGUAL, 1), language="yue")


# Options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam_size": 5, "best_of": 5}, "drop best_of"),
        ({"best_of": 5}, "temperature above 0"),
        ({"patience": 2.0}, "give beam_size"),
        ({"patience": 2.0, "temperature": 0.4}, "give beam_size"),
        ({"length_penalty": -0.1}, "between 0 and 1"),
        ({"length_penalty": 1.1}, "between 0 and 1"),
        ({"task": "transcript"}, "'translate' or 'lang_id'"),
        ({"temperature": -0.1}, "temperature must be at least 0"),
        ({"temperature": math.nan}, "temperature must be at least 0"),
        ({"temperature": math.inf}, "finite"),
        ({"beam_size": 0}, "beam_size must be at least 1"),
        ({"best_of": 0, "temperature": 1.0}, "best_of must be at least 1"),
        ({"beam_size": 2, "patience": 0.1}, r"round\(beam_size"),
        ({"beam_size": 2, "patience": -1.0}, r"round\(beam_size"),
        ({"beam_size": 2, "patience": math.nan}, r"round\(beam_size"),
        ({"sample_len": 0}, "sample_len must be at least 1"),
        ({"max_initial_timestamp": -1.0}, "max_initial_timestamp must be at least 0"),
        ({"repetition_penalty": 0.0}, "above 0"),
        ({"no_repeat_ngram_size": -1}, "at least 0"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode(speaker(), MEL, **options)
    with pytest.raises(ValueError, match=message):
        DecodingTask(speaker(), DecodingOptions(**options))


def test_single_options_replace_those_of_the_object() -> None:
    model = speaker(BEGIN, 5, 6)
    options = DecodingOptions(sample_len=2)
    assert decode(model, MEL, options).tokens == [BEGIN, 5]
    assert decode(model, MEL, options, sample_len=3).tokens == [BEGIN, 5, 6]
    assert options.sample_len == 2
    with pytest.raises(TypeError, match="beamsize"):
        decode(model, MEL, beamsize=5)


@pytest.mark.parametrize("number", [np.float32, np.float64, np.float16])
def test_numbers_may_be_numpys(number: Any) -> None:
    result = decode(talker(ENGLISH), noise(ENGLISH, 1)[0], temperature=number(0.5), sample_len=3, seed=1)
    assert type(result.temperature) is float
    assert type(result.avg_logprob) is float
    assert {type(token) for token in result.tokens} == {int}
    options = {"beam_size": np.int64(2), "patience": number(1.5), "length_penalty": number(0.5), "fp16": False}
    assert len(decode(talker(ENGLISH), noise(ENGLISH, 1)[0], sample_len=3, **options).alternatives) >= 2


def test_a_patience_of_zero_is_the_default() -> None:
    model, mel = talker(seed=1), noise(MULTILINGUAL, 1)[0]
    found = [decode(model, mel, beam_size=3, patience=p, sample_len=15).alternatives for p in (None, 0.0, 1.0)]
    assert found[0] == found[1] == found[2]


# What cannot be decoded


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_a_spectrogram_must_be_finite(number: float) -> None:
    mel = noise(MULTILINGUAL, 1)[0]
    mel[3, 5] = number
    with pytest.raises(ValueError, match="NaN or infinity"):
        decode(talker(), mel)


@pytest.mark.parametrize("search", [{}, {"beam_size": 2}, {"temperature": 1.0}])
def test_a_network_that_answers_nan_is_named(search: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"the network's output holds NaN or infinity.*: check"):
        decode(Script(lambda _: {BEGIN: math.nan}), MEL, **search)


@pytest.mark.parametrize("search", [{}, {"beam_size": 2}, {"temperature": 1.0, "seed": 1}])
@pytest.mark.filterwarnings("error")
def test_where_nothing_is_allowed_the_text_ends(search: dict[str, Any]) -> None:
    everything = range(51864)
    result = decode(speaker(), MEL, suppress_tokens=everything, **search)
    assert (result.tokens, result.text, result.avg_logprob) == ([], "", 0.0)


def test_infinite_logits_are_impossible_tokens() -> None:
    model = Script(lambda tokens: dict.fromkeys(range(1000), -math.inf) | {(EOT if tokens[-1] == 1500 else 1500): 30.0})
    assert decode(model, MEL, without_timestamps=True, beam_size=3).tokens == [1500]


def test_decoding_leaves_the_weights_alone() -> None:
    model = talker(ENGLISH)
    before = {name: hash(array.tobytes()) for name, array in model.weights.items()}
    decode(model, noise(model.dims, 1)[0], beam_size=2, sample_len=8)
    assert {name: hash(array.tobytes()) for name, array in model.weights.items()} == before


def test_defaults_are_those_of_openai_whisper() -> None:
    """A change would break what people wrote for it."""
    names = ["task", "language", "temperature", "sample_len", "best_of", "beam_size", "patience", "length_penalty"]
    names += ["prompt", "prefix", "suppress_tokens", "suppress_blank", "without_timestamps", "max_initial_timestamp"]
    defaults = ["transcribe", None, 0.0, *[None] * 7, "-1", True, False, 1.0]
    assert [getattr(DecodingOptions(), name) for name in names] == defaults
    assert DecodingOptions().fp16


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a batch needs at least one window, got shape \(0, 80, 3000\)"):
        decode(speaker(BEGIN), np.zeros((0, 80, 3000), np.float32))
