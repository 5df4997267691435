"""Decoding and transcribing beside openai-whisper, live: the same weights, the same sound, the same options.

Tokens, texts and `seek` must be equal, times equal after ours are cut at the end of the recording, scores within 1e-3,
word times within 0.02 s, word probabilities within 1e-3. Random numbers are shared (`shared_randomness`), so that
sampling can be compared too. The networks: OpenAI's tiny.en and base (with `NPWHISPER_WEIGHTS`, see `upstream.py`) on
real speech, and two of official dimensions and random weights.

Where we differ on purpose, `COMBINATIONS` does not go; each has a test of its own, here (that upstream does what we
say) and in the default tests (that we do not):

    clips beyond the end             upstream loops for ever; ours end with the recording
    segments beyond the end          upstream's timestamps may lie in the padding; ours are cut
    a window that would not move on  upstream repeats it for ever; ours goes to its end
    batches with beams or best_of    upstream raises; ours give what each window gives alone
    an empty candidate               upstream divides by 0; ours counts it as one token
    prefix with timestamps           upstream asks for a timestamp after it; ours puts <|0.00|> before it
    prefix of a transcription        upstream begins every window with it; ours the first
    carry_initial_prompt, 223 tokens upstream loses it or tells the history's wrong end; ours keeps its last 223
    initial_prompt=""                upstream tells a space; ours nothing
    prompt= given to transcribe      upstream overwrites it silently; ours refuses it
    suppress_tokens                  upstream extends the caller's list, refuses tuples; ours neither
    temperature np.float32           upstream raises; ours takes it
    temperature=()                   upstream raises AttributeError later; ours ValueError at once
    languages                        upstream's probabilities come in the order of a hash; ours in that of the tokens
    a language the model lacks       upstream: "tuple.index(x): x not in tuple"; ours names it
    language_probs                   upstream detects, and drops them, unless task="lang_id"; ours gives them
    no language, English-only model  upstream's decode raises; ours is English
    lang_id given to transcribe      upstream returns empty segments with NaN; ours refuses it
"""

from __future__ import annotations

import contextlib
import copy
import itertools
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from functools import cache
from inspect import signature
from typing import Any, NamedTuple

import cases
import numpy as np
import pytest
import upstream
from tolerances import PROBABILITY
from upstream import assert_results_equal, label, models

import npwhisper
from npwhisper.decoding import compression_ratio
from npwhisper.decoding.rules import LOGIT_RULES
from npwhisper.tracing.seam import Array

whisper = pytest.importorskip("whisper")
torch = pytest.importorskip("torch")

TheirTask = whisper.decoding.DecodingTask
pytestmark = upstream.WARNINGS


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@cache
def sound(name: str) -> Array:
    """Something to transcribe, 16 kHz: real speech in most."""
    speech = cases.speech_signals()
    short, long = min((x for x in speech.values()), key=len), speech["joined"]
    pause = np.zeros(7 * 16000, np.float32)
    noise = np.random.default_rng(0).standard_normal(9 * 16000).astype(np.float32) * 0.1
    made = {
        "short": short,
        "jfk": speech["jfk"],
        "sonnet": speech["sonnet"],
        "long": long,
        "30 s": long[:480_000],
        "30.01 s": long[:480_160],
        "pauses": np.concatenate([pause, short, pause, short, pause, pause]),
        "silence": np.zeros(20 * 16000, np.float32),
        "noise": noise,
        "speech, then noise": np.concatenate([short, noise, noise, short, noise, noise]),
        "337 s": long_form(337),
    }
    return made[name]


def long_form(seconds: int) -> Array:
    """All recordings, some of them cut, in a new order and with new pauses each time, until they are long enough."""
    rng, parts = np.random.default_rng(0), list[Array]()
    while sum(map(len, parts)) < seconds * 16000:
        for index in rng.permutation(len(cases.recordings())):
            speech = npwhisper.load_audio(list(cases.recordings().values())[index])
            pause = rng.standard_normal(int(rng.uniform(0.2, 4.0) * 16000)) * 1e-3
            parts += [speech[int(rng.uniform(0, 0.3) * len(speech)) :], pause.astype(np.float32)]
    return np.concatenate(parts)[: seconds * 16000]


class Case(NamedTuple):
    model: str
    sound: str
    options: dict[str, Any]


WORDS: dict[str, Any] = {"word_timestamps": True}
LADDER = (0.0, 0.3, 0.9)
COMBINATIONS = [
    *(Case("tiny.en", name, {}) for name in ("short", "jfk", "long", "30 s", "30.01 s", "pauses", "silence", "noise")),
    *(Case("tiny.en", name, {"beam_size": 5}) for name in ("short", "jfk", "30.01 s", "silence")),
    *(Case("tiny.en", name, WORDS) for name in ("short", "jfk", "long", "30 s", "pauses", "noise")),
    *(
        Case("tiny.en", name, {**WORDS, "hallucination_silence_threshold": seconds, "sample_len": 24})
        for name, seconds in [("pauses", 1.0), ("jfk", 0.1), ("noise", 0.5), ("speech, then noise", 2.0)]
    ),
    Case("tiny.en", "jfk", {"beam_size": 3, "patience": 2.0, "length_penalty": 0.5}),
    Case("tiny.en", "jfk", {"beam_size": 2, "patience": 0.5, "length_penalty": 1.0}),
    Case("tiny.en", "30.01 s", {"beam_size": 2, **WORDS, "sample_len": 60}),
    Case("tiny.en", "jfk", {"without_timestamps": True}),
    Case("tiny.en", "30.01 s", {"without_timestamps": True, **WORDS, "sample_len": 60}),
    Case("tiny.en", "short", {"without_timestamps": True, "prefix": "The"}),
    Case("tiny.en", "short", {"without_timestamps": True, "prefix": [383], "sample_len": 200}),
    Case("tiny.en", "long", {"initial_prompt": "Hello there, Müller."}),
    Case("tiny.en", "long", {"initial_prompt": "Hello there.", "carry_initial_prompt": True}),
    Case("tiny.en", "long", {"initial_prompt": "very " * 300}),
    Case("tiny.en", "long", {"initial_prompt": "very " * 200, "carry_initial_prompt": True}),
    Case("tiny.en", "long", {"condition_on_previous_text": False, "initial_prompt": "Hello there."}),
    Case("tiny.en", "pauses", {"condition_on_previous_text": False, "suppress_blank": False}),
    Case("tiny.en", "jfk", {"clip_timestamps": "1,3.5"}),
    Case("tiny.en", "long", {"clip_timestamps": [2, 9, 20], **WORDS}),
    Case("tiny.en", "long", {"clip_timestamps": "20,25,5,8"}),
    Case("tiny.en", "pauses", {"max_initial_timestamp": None}),
    Case("tiny.en", "pauses", {"max_initial_timestamp": 0.0}),
    Case("tiny.en", "jfk", {"max_initial_timestamp": 0.3}),
    Case("tiny.en", "jfk", {"suppress_tokens": ""}),
    Case("tiny.en", "jfk", {"suppress_tokens": [11, 13], "suppress_blank": False}),
    Case("tiny.en", "jfk", {"suppress_tokens": "-1,11,13"}),
    Case("tiny.en", "long", {"sample_len": 9}),
    Case("tiny.en", "jfk", {"task": "translate", "language": "German"}),
    Case("tiny.en", "noise", {"no_speech_threshold": 1e-9}),
    Case("tiny.en", "silence", {"no_speech_threshold": 1e-9, "logprob_threshold": None}),
    Case("tiny.en", "long", {"no_speech_threshold": None, "logprob_threshold": -0.2, "temperature": LADDER}),
    Case("tiny.en", "jfk", {"compression_ratio_threshold": 0.5, "temperature": LADDER, "best_of": 3, "beam_size": 2}),
    Case("tiny.en", "long", {"logprob_threshold": 0.0, "temperature": 0.7, **WORDS, "initial_prompt": "Hello."}),
    Case("tiny.en", "jfk", {**WORDS, "prepend_punctuations": "", "append_punctuations": "."}),
    Case("tiny.en", "sonnet", {"condition_on_previous_text": False, "beam_size": 3}),
    Case("tiny.en", "337 s", {}),
    Case("tiny.en", "337 s", {**WORDS, "hallucination_silence_threshold": 2.0, "beam_size": 2}),
    *(Case("base", name, {}) for name in ("jfk", "sonnet", "30.01 s", "silence", "noise", "337 s")),
    *(Case("base", name, {"beam_size": 5}) for name in ("jfk", "sonnet")),
    *(Case("base", name, WORDS) for name in ("jfk", "sonnet")),
    Case("base", "speech, then noise", {**WORDS, "hallucination_silence_threshold": 2.0}),
    Case("base", "jfk", {"beam_size": 3, "patience": 2.0, "length_penalty": 0.5}),
    Case("base", "jfk", {"without_timestamps": True, "prefix": "And"}),
    Case("base", "jfk", {"task": "translate", "language": "German"}),
    Case("base", "sonnet", {"initial_prompt": "Shakespeare's first sonnet.", "carry_initial_prompt": True}),
    Case("base", "sonnet", {"initial_prompt": "William Shakespeare", "suppress_tokens": [11, 13]}),
    Case("base", "sonnet", {"clip_timestamps": "3,17,30,44", **WORDS}),
    Case("base", "long", {"condition_on_previous_text": False, "max_initial_timestamp": 0.3, "sample_len": 40}),
    Case("base", "pauses", {"no_speech_threshold": 0.1, "logprob_threshold": -0.2, "temperature": LADDER}),
    Case("base", "jfk", {"compression_ratio_threshold": 0.5, "temperature": LADDER, "best_of": 3, "beam_size": 2}),
    # Networks of random weights: the timestamps leap, so that a window of 11 s is mostly the last
    *(Case(name, sound, {}) for name in ("99", "100") for sound in ("short", "jfk", "30.01 s", "silence")),
    *(Case(name, "jfk", WORDS | {"language": "fr"}) for name in ("99", "100")),
    *(
        Case(name, "short", {"language": code, **WORDS})
        for name, code in [("99", "ja"), ("100", "yue"), ("100", "Thai")]
    ),
    *(Case(name, "short", {"beam_size": 3, "language": "en"}) for name in ("99", "100")),
    *(Case(name, "short", {"task": "translate", "language": "CASTILIAN"}) for name in ("99", "100")),
    Case("99", "noise", {**WORDS, "hallucination_silence_threshold": 0.5, "language": "de"}),
    Case("100", "pauses", {**WORDS, "hallucination_silence_threshold": 1.0, "language": "de"}),
    Case("99", "long", {"condition_on_previous_text": True, "initial_prompt": "Bonjour", "language": "fr"}),
    Case("100", "long", {"initial_prompt": "Bonjour", "carry_initial_prompt": True, "language": "fr"}),
    Case("99", "short", {"temperature": LADDER, "logprob_threshold": 0.0, "best_of": 2, "language": "de"}),
    Case("100", "jfk", {"temperature": (0.2, 0.6), "logprob_threshold": 0.0, "language": "de"}),
    Case("99", "short", {"beam_size": 2, "patience": 3.0, "length_penalty": 0.8, "without_timestamps": True}),
    Case("100", "short", {"suppress_tokens": None, "suppress_blank": False, "max_initial_timestamp": None}),
    Case("99", "silence", {"no_speech_threshold": 1e-14, "logprob_threshold": 0.0}),
    Case("100", "jfk", {"clip_timestamps": "0.5,2,3,4.44", "language": "en", **WORDS}),
]
REST_OF_BASE = [  # half an hour on two cores: by hand, with -m slow
    base
    for case in COMBINATIONS
    if case.model == "tiny.en" and (base := case._replace(model="base")) not in COMBINATIONS
]


@pytest.fixture
def shared_randomness(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let upstream draw from the numbers that ours draws from: in a transcription of a seed, or in a decode."""
    state: dict[str, Any] = {}

    class Categorical:
        def __init__(self, logits: Any) -> None:
            self.heights = np.cumsum(torch.softmax(logits.double(), dim=-1).numpy(), axis=-1)

        def sample(self) -> Any:
            points = state["rng"].random(len(self.heights))[:, None] * self.heights[:, -1:]
            upstream.DRAWS.extend(map(upstream.draw, self.heights, points[:, 0]))
            return torch.from_numpy((self.heights <= points).sum(axis=-1))

    begin = TheirTask.__init__

    def their_task(self: Any, *args: Any) -> None:
        seeds = state["seeds"]
        state["rng"] = np.random.default_rng(int(seeds.integers(2**63)) if state["many"] else state["seed"])
        begin(self, *args)

    def share(seed: int, many: bool = True) -> None:
        upstream.DRAWS.clear()
        state.update(seed=seed, many=many, seeds=np.random.default_rng(seed))

    monkeypatch.setattr(whisper.decoding, "Categorical", Categorical)
    monkeypatch.setattr(TheirTask, "__init__", their_task)
    share(0)
    return share


@pytest.mark.parametrize(
    ("model", "name", "options"),
    [*COMBINATIONS, *(pytest.param(*case, marks=pytest.mark.slow) for case in REST_OF_BASE)],
    ids=label,
)
def test_transcriptions_are_equal(
    model: str, name: str, options: dict[str, Any], shared_randomness: Callable[[int], None]
) -> None:
    """All options with tiny.en; with base each kind of search, and the options that change what is decoded.

    Those of base are fewer because a window costs three times as much and the options act outside the network: prompts,
    clips, rules and thresholds are the same code for every size. What a larger, multilingual network can change (beams,
    language detection, translation, fallback, word times, the long form) is there, and in `test_languages`; `-m slow`
    runs the rest of tiny.en's combinations with base.
    """
    ours, theirs = models(model)
    settings = {"temperature": 0.0, **({"sample_len": 14} if model in ("99", "100") else {}), **options}
    found = ours.transcribe(sound(name), seed=3, **settings)
    shared_randomness(3)
    expected = theirs.transcribe(sound(name), fp16=False, **copy.deepcopy(settings))
    with upstream.near_ties(f"{model} {name} {label(options)}", found, expected):
        assert_results_equal(found, expected, len(sound(name)) // 160 / 100)


def test_a_near_tie_excuses_only_the_two_tokens_that_it_lies_between() -> None:
    heights = np.cumsum([0.25, 0.0, 0.5, 0.25])
    assert upstream.draw(heights, 0.25 + 1e-7)[:2] == (pytest.approx(1e-7), (2, 0))
    assert upstream.draw(heights, 0.75 - 1e-7)[:2] == (pytest.approx(1e-7), (2, 3))
    assert upstream.draw(heights, 0.75 - 1e-7).logprobs == pytest.approx((np.log(0.5), np.log(0.25)))
    assert upstream.draw(heights, 1e-7).tokens == (0, 2)
    upstream.DRAWS[:] = [upstream.draw(heights, 0.25 + 1e-7), upstream.draw(heights, 0.5)]
    known = len(upstream.NEAR_TIES)
    for pair, is_excused in (((0, 2), True), ((2, 0), True), ((2, 3), False), ((0, 3), False), ((2, 2), False)):
        found, expected = ({"segments": [{"tokens": [7, token]}]} for token in pair)
        refused = contextlib.nullcontext() if is_excused else pytest.raises(AssertionError)
        with refused, upstream.near_ties("a test", found, expected):
            raise AssertionError
    assert len(upstream.NEAR_TIES) == known + 2
    assert "token 1 is 0 here and 2 in openai-whisper" in upstream.NEAR_TIES[known]
    assert "(log-probability -0.693147) and 0 (-1.386294)" in upstream.NEAR_TIES[known]
    del upstream.NEAR_TIES[known:]


def test_there_are_at_least_sixty_combinations() -> None:
    assert len(COMBINATIONS) >= 60
    assert len({str(case) for case in COMBINATIONS}) == len(COMBINATIONS)
    theirs = {field.name for field in fields(whisper.DecodingOptions)} | {*signature(whisper.transcribe).parameters}
    theirs -= {"model", "audio", "verbose", "decode_options", "fp16", "prompt"}
    assert theirs <= {name for case in COMBINATIONS for name in case.options}


# One window, and batches of them


@cache
def mels(n_mels: int) -> Array:
    """Three windows."""
    sounds = [sound(name) for name in ("short", "jfk", "noise")]
    return np.stack([npwhisper.log_mel_spectrogram(npwhisper.pad_or_trim(x), n_mels) for x in sounds])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"without_timestamps": True, "prompt": "Hello there", "length_penalty": 0.3},
        {"prompt": list(range(300, 700)), "suppress_tokens": [50]},
        {"task": "translate", "max_initial_timestamp": None},
    ],
    ids=label,
)
@pytest.mark.parametrize("model", ["tiny.en", "99", "100"])
def test_a_batch_is_decoded_equally(model: str, options: dict[str, Any]) -> None:
    ours, theirs = models(model)
    options = {"sample_len": 12, **({"language": "en"} if model == "tiny.en" else {}), **options}
    found = ours.decode(mels(ours.dims.n_mels), **options)
    expected = theirs.decode(torch.from_numpy(mels(ours.dims.n_mels)), fp16=False, **copy.deepcopy(options))
    for result, wanted in zip(found, expected, strict=True):
        assert_decoded_equal(result, wanted)


@pytest.mark.parametrize(
    "options",
    [
        {"beam_size": 4},
        {"beam_size": 3, "patience": 1.7, "length_penalty": 0.6, "prompt": "Hello"},
        {"temperature": 0.8},
        {"temperature": 1.1, "best_of": 3, "length_penalty": 0.2},
        {"temperature": 0.4, "beam_size": 2},
    ],
    ids=label,
)
@pytest.mark.parametrize("model", ["tiny.en", "99", "100"])
def test_a_batch_gives_what_upstream_gives_for_each_window(
    model: str, options: dict[str, Any], shared_randomness: Callable[..., None]
) -> None:
    """Upstream cannot decode batches with beams or with best_of, so it decodes one by one."""
    ours, theirs = models(model)
    options = {"sample_len": 12, **({"language": "en"} if model == "tiny.en" else {}), **options}
    for result, mel in zip(ours.decode(mels(ours.dims.n_mels), seed=5, **options), mels(ours.dims.n_mels), strict=True):
        shared_randomness(5, many=False)
        expected = theirs.decode(torch.from_numpy(mel), fp16=False, **options)
        with upstream.near_ties(f"{model} {label(options)}", result, expected):
            assert_decoded_equal(result, expected)


def assert_decoded_equal(found: Any, expected: Any) -> None:
    names = ("language", "tokens", "text", "temperature", "compression_ratio")
    assert [getattr(found, name) for name in names] == [getattr(expected, name) for name in names]
    assert found.avg_logprob == pytest.approx(expected.avg_logprob, abs=PROBABILITY)
    assert found.no_speech_prob == pytest.approx(expected.no_speech_prob, abs=PROBABILITY)


@pytest.mark.parametrize("model", ["99", "100"])
def test_languages_are_equally_probable(model: str) -> None:
    ours, theirs = models(model)
    tokens, probs = ours.detect_language(mels(ours.dims.n_mels))
    their_tokens, their_probs = theirs.detect_language(torch.from_numpy(mels(ours.dims.n_mels)))
    assert tokens.tolist() == their_tokens.tolist()
    for found, expected in zip(probs, their_probs, strict=True):
        assert found == pytest.approx(expected, abs=1e-4)
    asked = theirs.decode(torch.from_numpy(mels(ours.dims.n_mels)), task="lang_id", fp16=False)
    assert [result.language for result in ours.decode(mels(ours.dims.n_mels), task="lang_id")] == [
        x.language for x in asked
    ]


def test_rules_on_logits_are_equal() -> None:
    """Upstream's filters and our rules on random logits and random tokens, also on such as they would not produce."""
    ours, theirs = models("99")
    rng = np.random.default_rng(0)
    for limit, prompt in itertools.product((None, 0.5), ([], [5, 6])):
        options = {"language": "en", "max_initial_timestamp": limit, "prompt": prompt}
        mine = npwhisper.DecodingTask(ours, npwhisper.DecodingOptions(**options))
        yours = TheirTask(theirs, whisper.DecodingOptions(fp16=False, **options))
        assert [*mine.prompt, *mine.sot_sequence] == list(yours.initial_tokens)
        for n_sampled in (0, 0, 1, 1, 2, 3, 4, 5, 6):
            texts, stamps = rng.integers(0, 50257, (4, n_sampled)), rng.integers(50364, 51865, (4, n_sampled))
            sampled = np.where(rng.random((4, n_sampled)) < 0.5, texts, stamps)
            tokens = np.concatenate([np.tile(yours.initial_tokens, (4, 1)), sampled], axis=1)
            logits = rng.standard_normal((4, 51865)).astype(np.float32) * rng.choice([1, 4])
            logits[:, 50364:] += rng.choice([-4, 0, 2])
            expected = torch.from_numpy(logits.copy())
            for logit_filter in yours.logit_filters:
                logit_filter.apply(expected, torch.from_numpy(tokens))
            for rule in LOGIT_RULES:
                logits = rule(logits, sampled, mine.context)
            np.testing.assert_array_equal(logits, expected.numpy())


@pytest.mark.parametrize("text", ["", "a", "la " * 99, "Ärger 国 🦉" * 7])
def test_compression_ratios_are_equal(text: str) -> None:
    assert compression_ratio(text) == whisper.utils.compression_ratio(text)


# What upstream does, and we do not


def stop_after(n: int, monkeypatch: pytest.MonkeyPatch, theirs: Any) -> None:
    """Let upstream's decode give up after n windows."""
    decode, count = theirs.decode, itertools.count(1)

    def limited(mel: Any, options: Any) -> Any:
        if next(count) > n:
            raise TimeoutError(f"more than {n} windows")
        return decode(mel, options)

    monkeypatch.setattr(theirs, "decode", limited, raising=False)


def test_upstream_never_ends_after_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = models("tiny.en")
    stop_after(4, monkeypatch, theirs)
    with pytest.raises(TimeoutError):
        theirs.transcribe(sound("short"), temperature=0, fp16=False, clip_timestamps="0,99")
    assert ours.transcribe(sound("short"), temperature=0, clip_timestamps="0,99") == ours.transcribe(
        sound("short"), temperature=0
    )


def test_upstream_raises_for_batches_with_beams() -> None:
    ours, theirs = models("99")
    mel = torch.from_numpy(mels(ours.dims.n_mels))
    for options in ({"beam_size": 2}, {"best_of": 2, "temperature": 0.5}):
        with pytest.raises(RuntimeError):
            theirs.decode(mel, fp16=False, language="en", sample_len=3, **options)


def test_upstream_divides_by_the_length_of_an_empty_text() -> None:
    _, theirs = models("99")
    everything_but_the_end = [token for token in range(51865) if token != 50257]
    options = {"without_timestamps": True, "suppress_blank": False, "language": "en", "fp16": False}
    with pytest.raises(ZeroDivisionError):
        theirs.decode(torch.zeros(80, 3000), suppress_tokens=everything_but_the_end, **options)


def test_upstream_changes_the_callers_list_and_refuses_others() -> None:
    _, theirs = models("99")
    mine = [50]
    TheirTask(theirs, whisper.DecodingOptions(suppress_tokens=mine))
    assert len(mine) > 1
    with pytest.raises(AssertionError):
        TheirTask(theirs, whisper.DecodingOptions(suppress_tokens=(50, 51)))


def test_upstream_asks_for_a_timestamp_after_a_prefix() -> None:
    ours, theirs = models("tiny.en")
    mel = mels(ours.dims.n_mels)[0]
    expected = theirs.decode(torch.from_numpy(mel), prefix="The", language="en", fp16=False)
    begin = ours.tokenizer.timestamp_begin
    assert expected.tokens[:1] >= [begin]
    found = ours.decode(mel, prefix="The")
    assert found.tokens[0] == begin
    assert len(found.tokens) == 1 or found.tokens[1] < begin


def test_upstream_loses_a_carried_prompt_of_223_tokens_and_more(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = models("99")
    prompts, decode = [], theirs.decode

    def listening(mel: Any, options: Any) -> Any:
        prompts.append(options.prompt)
        return decode(mel, options)

    monkeypatch.setattr(theirs, "decode", listening, raising=False)
    text = "very " * 223
    tokens = ours.tokenizer.encode(" " + text.strip())
    assert len(tokens) == 223
    options = {"initial_prompt": text, "carry_initial_prompt": True, "temperature": 0.0, "sample_len": 9}
    theirs.transcribe(sound("long"), fp16=False, language="fr", **options)
    assert prompts[0] == tokens
    assert prompts[-1][-223:] != tokens
    stream = ours.iter_segments(sound("long"), language="fr", **options)
    assert len(list(stream)) > 1
    assert stream.history.prompt(223) == tokens


def test_upstreams_small_defects_are_still_there() -> None:
    ours, theirs = models("99")
    audio, options = sound("short"), {"fp16": False, "language": "en", "sample_len": 2}
    with pytest.raises(TypeError):
        theirs.transcribe(audio, temperature=np.float32(0), **options)
    with pytest.raises(AttributeError):
        theirs.transcribe(audio, temperature=(), **options)
    with pytest.raises(ValueError, match=r"tuple\.index"):
        theirs.transcribe(audio, **{**options, "language": "yue"})
    mel = torch.from_numpy(mels(ours.dims.n_mels)[0])
    assert theirs.decode(mel, fp16=False, sample_len=2).language_probs is None
    assert ours.decode(mels(ours.dims.n_mels)[0], sample_len=2).language_probs is not None
    with pytest.raises(ValueError, match="language tokens"):
        models("tiny.en")[1].decode(torch.from_numpy(mels(80)[0]), fp16=False)
    told = theirs.transcribe(audio, prompt=[5], temperature=0, **options)
    assert told["text"] == theirs.transcribe(audio, temperature=0, **options)["text"]


def test_a_result_of_upstream_says_the_same_with_every_object_of_options() -> None:
    """`DecodingOptions` may be given as an object, and changed by keywords, in both."""
    ours, theirs = models("tiny.en")
    mel = mels(ours.dims.n_mels)[1]
    mine = ours.decode(mel, npwhisper.DecodingOptions(sample_len=9), sample_len=5)
    yours = theirs.decode(torch.from_numpy(mel), whisper.DecodingOptions(language="en", fp16=False, sample_len=5))
    assert_decoded_equal(replace(mine, language="en"), yours)
