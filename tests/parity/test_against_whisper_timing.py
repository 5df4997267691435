"""Writers and word timing beside openai-whisper's own, on the same random inputs and the same weights."""

from __future__ import annotations

import copy
import io
import json
import time
from typing import Any

import numpy as np
import pytest

pytest.importorskip("whisper")
pytest.importorskip("torch")

import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from whisper import timing as theirs
from whisper import utils as their_writers
from whisper.model import ModelDimensions as TheirDimensions
from whisper.model import Whisper as TheirWhisper
from whisper.tokenizer import get_tokenizer as get_their_tokenizer

import npwhisper
from npwhisper import timing as ours
from npwhisper.model import Network
from npwhisper.timing import words as timing_words
from npwhisper.tokenizer import get_tokenizer
from npwhisper.tracing.seam import Array
from npwhisper.transcription.output import writers

pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # theirs forgets to close it

WORDS = [" And", " so,", " Müller's", "語", " extraordinarily", ".", ' "', "!", "'", " (", ")", " ", " 5\t6"]

# Writers


@st.composite
def results(draw: st.DrawFn) -> dict[str, Any]:
    """Segments with words, all said at increasing times; pauses beyond 3 seconds are common."""
    now, segments = 0.0, []
    for i in range(draw(st.integers(1, 4))):
        words = []
        for _ in range(draw(st.integers(1, 8))):
            pause, duration = (round(draw(st.sampled_from([0.0, 0.12, 0.6, 3.5, 900.0])), 2) for _ in range(2))
            start, now = now + pause, now + pause + duration
            words.append({"word": draw(st.sampled_from(WORDS)), "start": start, "end": now, "probability": 0.25})
        text = "".join(word["word"] for word in words)
        if not text.strip():
            words[0]["word"] = text = " well"
        segments.append({"id": i, "seek": 0, "start": words[0]["start"], "end": now, "text": text, "words": words})
    return {"text": "", "segments": segments, "language": "en"}


def upstream(name: str, result: dict[str, Any], options: dict[str, Any]) -> str:
    file = io.StringIO()
    their_writers.get_writer(name, ".").write_result(result, file, options)
    return file.getvalue()


@pytest.mark.filterwarnings("ignore:.*without word times")  # theirs says nothing
@settings(max_examples=400, deadline=None)
@given(
    results(),
    st.fixed_dictionaries(
        {
            "highlight_words": st.booleans(),
            "max_line_width": st.sampled_from([None, 5, 18, 42]),
            "max_line_count": st.sampled_from([None, 1, 2]),
            "max_words_per_line": st.sampled_from([None, 1, 3]),
        }
    ),
    st.booleans(),
)
def test_formats_are_equal(result: dict[str, Any], options: dict[str, Any], with_words: bool) -> None:
    if not with_words:
        for segment in result["segments"]:
            del segment["words"]
    for name, write in writers.FORMATS.items():
        expected, found = upstream(name, result, options), write(result, **options)
        if name == "json":
            assert json.loads(found) == json.loads(expected)
        elif name in ("txt", "tsv") or (not blank_cue(expected) and not cue_of_no_length(expected)):
            assert found == expected


def blank_cue(subtitles: str) -> bool:
    """Whether upstream wrote a cue without text, which we leave out."""
    return any(len(block.strip().split("\n")[-1].split(" --> ")) == 2 for block in subtitles.split("\n\n")[:-1])


def cue_of_no_length(subtitles: str) -> bool:
    """Whether upstream wrote a cue that ends where it starts; ours lasts a millisecond, so that players show it."""
    times = [line.split(" --> ") for line in subtitles.split("\n") if " --> " in line]
    return any(len(pair) == 2 and pair[0] == pair[1] for pair in times)


@pytest.mark.parametrize("hours", [False, True])
@given(st.floats(0, 1e6))
@example(0.0005)
@example(3599.9995)
def test_format_timestamp_is_equal(hours: bool, seconds: float) -> None:
    assert writers.format_timestamp(seconds, hours, ",") == their_writers.format_timestamp(seconds, hours, ",")


def test_upstream_still_has_the_defects_that_we_name() -> None:
    plain = {"start": 0.0, "end": 1.0, "text": " Hello."}
    cleared = {"start": 0.0, "end": 0.0, "text": "", "words": []}
    with pytest.raises(KeyError, match="words"):
        upstream("srt", {"segments": [cleared, plain]}, {})
    assert upstream("vtt", {"segments": [{**cleared, "start": 1.0}]}, {}) == "WEBVTT\n\n"
    assert upstream("srt", {"segments": [plain, cleared]}, {}).count("-->") == 2
    with pytest.raises(AssertionError):
        their_writers.format_timestamp(-0.02)
    with pytest.raises(KeyError):
        their_writers.get_writer("doc", ".")
    assert theirs.dtw(torch.zeros(3, 0))[1].tolist() == [-1, -1, -1]


# Numerical parts

matrices = st.tuples(st.integers(1, 12), st.integers(1, 30))


@pytest.mark.filterwarnings("ignore:.*parallel=True.*")
@settings(max_examples=150, deadline=None)
@given(
    matrices.flatmap(lambda shape: arrays(np.float32, shape, elements=st.floats(-8, 8, width=32)))
    | matrices.flatmap(lambda shape: arrays(np.float32, shape, elements=st.integers(-1, 1)))
)
def test_dtw_is_equal_with_ties_and_without(x: Array) -> None:
    np.testing.assert_array_equal(ours.dtw(x), theirs.dtw(torch.from_numpy(x)))


@pytest.mark.parametrize("shape", [(448, 1500), (60, 1500), (100, 3), (1, 1), (1, 40), (40, 1)])
def test_dtw_is_equal_at_full_size(shape: tuple[int, int]) -> None:
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    x = ours.median_filter(x, 7)  # makes runs of equal values, and so ties
    np.testing.assert_array_equal(ours.dtw(x), theirs.dtw(torch.from_numpy(x)))


@pytest.mark.parametrize("width", [1, 3, 7, 9])
@pytest.mark.parametrize("shape", [(2, 3, 40), (5, 31), (17,), (2, 3, 3), (2, 5, 4)])
def test_median_filter_is_equal(shape: tuple[int, ...], width: int) -> None:
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    expected = theirs.median_filter(torch.from_numpy(x), width).numpy()
    np.testing.assert_array_equal(ours.median_filter(x, width), expected)


def seconds(function: Any, *args: Any) -> float:
    times = []
    for _ in range(7):
        start = time.perf_counter()
        function(*args)
        times.append(time.perf_counter() - start)
    return min(times)


def test_dtw_takes_at_most_one_and_a_half_times_as_long() -> None:
    x = np.random.default_rng(0).standard_normal((448, 1500)).astype(np.float32)
    wide = x.astype(np.float64)
    theirs.dtw_cpu(wide)  # compiles
    assert seconds(ours.dtw, x) <= 1.5 * seconds(theirs.dtw_cpu, wide)


# Rules on words

hundredths = st.integers(0, 400).map(lambda n: n / 100)


@st.composite
def windows(draw: st.DrawFn) -> tuple[list[Any], list[dict[str, Any]], float]:
    """An alignment, segments that hold its tokens, and when somebody spoke before."""
    alignment, now = [], 0.0
    for i in range(draw(st.integers(1, 14))):
        duration = draw(st.sampled_from([0.0, 0.1, 0.24, 0.3, 0.9, 2.5, 6.0]))
        tokens = [i] * draw(st.integers(1, 3))
        alignment.append((draw(st.sampled_from(WORDS)), tokens, round(now, 2), round(now + duration, 2), 0.5))
        now += duration
    tokens = [token for word in alignment for token in word[1]]
    cuts = sorted(draw(st.lists(st.integers(0, len(tokens)), max_size=3)))
    offset, segments, start = draw(st.sampled_from([0, 1234])), [], 0.0
    for first, last in zip([0, *cuts], [*cuts, len(tokens)], strict=True):
        end = start + draw(hundredths)
        times = {"start": offset / 100 + start, "end": offset / 100 + end}
        segments.append({"seek": offset, **times, "tokens": [60000, *tokens[first:last], 60050]})
        start = end
    return alignment, segments, offset / 100 - draw(hundredths)


class EndOfText:
    eot = 50257


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(windows())
def test_word_rules_give_equal_times(
    monkeypatch: pytest.MonkeyPatch, window: tuple[list[Any], list[dict[str, Any]], float]
) -> None:
    alignment, segments, last_speech = window
    found = []
    for module, number in ((ours, float), (theirs, np.float64)):
        timings = [module.WordTiming(w, list(t), number(a), number(b), p) for w, t, a, b, p in alignment]
        monkeypatch.setattr(
            timing_words if module is ours else module,
            "find_alignment",
            lambda *args, timings=timings, **kwargs: timings,
        )
        mine = copy.deepcopy(segments)
        module.add_word_timestamps(
            segments=mine, model=None, tokenizer=EndOfText, mel=None, num_frames=0, last_speech_timestamp=last_speech
        )
        found.append(mine)
    assert found[0] == found[1]


@given(st.lists(st.sampled_from([*WORDS, '"', "'\"", "?!", "...", ""]), max_size=12))
def test_punctuation_is_merged_equally(words: list[str]) -> None:
    found = []
    for module in (ours, theirs):
        alignment = [module.WordTiming(word, [i], i, i + 1, 0.5) for i, word in enumerate(words)]
        module.merge_punctuations(alignment, ours.PREPENDED, ours.APPENDED)
        found.append([vars(word) for word in alignment])
    assert found[0] == found[1]


# The whole, on networks with the same weights


def embedded() -> tuple[Network, Any]:
    model = npwhisper.load_model()
    return model, their_twin(model)


def their_twin(model: Network) -> Any:
    """openai-whisper's network with the weights and alignment heads of ours."""
    twin = TheirWhisper(TheirDimensions(**vars(model.dims)))
    twin.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in model.weights.items()})
    heads = torch.zeros(model.dims.n_text_layer, model.dims.n_text_head, dtype=torch.bool)
    for i, head in model.alignment_heads:
        heads[i, head] = True
    twin.register_buffer("alignment_heads", heads.to_sparse(), persistent=False)
    return twin.eval()


def random_multilingual() -> tuple[Network, Any]:
    """A small network with 100 languages whose weights are large enough for attention to be peaked."""
    torch.manual_seed(0)
    dims = {"n_mels": 128, "n_audio_ctx": 1500, "n_audio_state": 48, "n_audio_head": 3, "n_audio_layer": 1}
    dims |= {"n_vocab": 51866, "n_text_ctx": 448, "n_text_state": 48, "n_text_head": 3, "n_text_layer": 4}
    twin = TheirWhisper(TheirDimensions(**dims))
    state = {name: 6 * value if "query" in name else value for name, value in twin.state_dict().items()}
    torch.nn.init.normal_(state["decoder.positional_embedding"])
    weights = {name: value.numpy() for name, value in state.items()}
    model = Network(npwhisper.ModelDimensions(**dims), weights, [(1, 2), (2, 0), (3, 1), (3, 2)])
    return model, their_twin(model)


TEXTS = {
    "en": ' And so, my fellow Americans: "Ask not", what your country can do for you (ask!) 42 times...',
    "de": " Und so, meine Mitbürger: fragt nicht, was euer Land für euch tun kann!",
    "ja": "国があなたのために何をしてくれるかを問うてはならない。🦉",
}


class Heard(torch.nn.Module):
    """Stands in for an encoder that has heard its audio already."""

    def __init__(self, features: Array) -> None:
        super().__init__()
        self.features = torch.from_numpy(features)

    def forward(self, _: Any) -> Any:
        return self.features


@pytest.fixture(scope="module", params=[embedded, random_multilingual])
def heard(request: pytest.FixtureRequest) -> tuple[Network, Any, Array]:
    """Our network, openai-whisper's with the same weights, and what both have heard: 30 s of noise."""
    model, twin = request.param()
    features = model.embed_audio(np.random.default_rng(0).random((model.dims.n_mels, 3000)).astype(np.float32))
    twin.encoder = Heard(features)
    return model, twin, features[0]


@pytest.mark.parametrize("language", TEXTS)
@pytest.mark.parametrize("options", [{}, {"medfilt_width": 3, "qk_scale": 2.0}])
@pytest.mark.parametrize("num_frames", [3000, 1100, 37, 6])
def test_alignments_are_equal(
    heard: tuple[Network, Any, Array], language: str, options: dict[str, Any], num_frames: int
) -> None:
    model, twin, features = heard
    chosen = {"num_languages": model.num_languages, "language": language, "task": "transcribe"}
    tokenizer = get_tokenizer(model.is_multilingual, **chosen)
    their_tokenizer = get_their_tokenizer(model.is_multilingual, **chosen)
    tokens = tokenizer.encode(TEXTS[language])
    found = ours.find_alignment(model, tokenizer, tokens, features, num_frames, **options)
    expected = theirs.find_alignment(twin, their_tokenizer, tokens, torch.zeros(1), num_frames, **options)
    assert_equal_alignments(found, expected)


def test_an_alignment_from_the_spectrogram_on_is_equal() -> None:
    model, twin = embedded()
    mel = np.random.default_rng(1).random((model.dims.n_mels, 3000)).astype(np.float32)
    tokenizer, their_tokenizer = get_tokenizer(False), get_their_tokenizer(False)
    tokens = tokenizer.encode(TEXTS["en"])
    found = ours.find_alignment(model, tokenizer, tokens, mel, 1234)
    assert_equal_alignments(found, theirs.find_alignment(twin, their_tokenizer, tokens, torch.from_numpy(mel), 1234))


def assert_equal_alignments(found: list[Any], expected: list[Any]) -> None:
    assert [(word.word, word.tokens) for word in found] == [(word.word, word.tokens) for word in expected]
    times = [[time for word in alignment for time in (word.start, word.end)] for alignment in (found, expected)]
    np.testing.assert_allclose(*times, atol=0.0201)
    probabilities = [[word.probability for word in alignment] for alignment in (found, expected)]
    np.testing.assert_allclose(*probabilities, atol=1e-3)
