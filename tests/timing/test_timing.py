"""Word timing: the numerical parts beside loops and brute force, the rules on small cases, and planted times."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from talkers import ENGLISH, talker

from npwhisper import timing
from npwhisper.timing import (
    APPENDED,
    PREPENDED,
    AlignmentError,
    WordTiming,
    add_word_timestamps,
    align,
    dtw,
    dtw_cost,
    find_alignment,
    fit_end,
    fit_start,
    median_duration,
    median_filter,
    merge_punctuations,
    shorten_after_pause,
    shorten_sentence_ends,
    standardise,
    token_map,
)
from npwhisper.tokenizer import get_tokenizer
from npwhisper.tracing.scope import Scope
from npwhisper.tracing.seam import Array, layer, trace

# Numerical parts


@pytest.mark.parametrize("width", [1, 3, 5, 7, 11])
@pytest.mark.parametrize("shape", [(23,), (2, 12), (2, 3, 6)])
def test_median_filter_is_the_median_of_each_neighbourhood(width: int, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(width).integers(0, 9, shape).astype(np.float32)
    x.flags.writeable = False
    half, length = width // 2, shape[-1]
    positions = np.arange(-half, length + half)
    inside = np.abs((positions + length - 1) % (2 * length - 2) - length + 1)  # reflected at both ends
    around = [x[..., inside[i : i + width]] for i in range(length)]
    expected = np.stack([np.median(values, axis=-1) for values in around], axis=-1) if length > half else x
    y = median_filter(x, width)
    np.testing.assert_array_equal(y, expected)
    assert y.dtype == np.float32


@pytest.mark.parametrize("width", [0, -3, 4])
def test_median_filter_wants_a_middle(width: int) -> None:
    with pytest.raises(ValueError, match=f"odd and positive, got {width}"):
        median_filter(np.zeros(9, np.float32), width)


def test_standardise_leaves_no_frame_louder_than_another() -> None:
    x = np.random.default_rng(0).random((2, 5, 7)).astype(np.float32)
    x[0, :, 3] = 0.25  # a frame that tells nothing about the tokens
    y = standardise(x)
    np.testing.assert_allclose(y.mean(axis=1), 0, atol=1e-6)
    assert (y[0, :, 3] == 0).all()
    np.testing.assert_allclose(np.delete(y.std(axis=1).ravel(), 3), 1, rtol=1e-5)
    assert y.dtype == np.float32


def paths(n: int, m: int) -> Iterator[list[tuple[int, int]]]:
    """Every path from the top left to the bottom right corner, going right, down or diagonally."""
    if (n, m) == (1, 1):
        yield [(0, 0)]
    for di, dj in ((1, 1), (1, 0), (0, 1)):
        if n > di and m > dj:
            for path in paths(n - di, m - dj):
                yield [*path, (n - 1, m - 1)]


small = st.tuples(st.integers(1, 4), st.integers(1, 5))
costs = small.flatmap(lambda shape: arrays(np.float32, shape, elements=st.integers(-(2**20), 2**20), unique=True))


@given(costs)
def test_dtw_finds_the_cheapest_of_all_paths(x: Array) -> None:
    rows, columns = dtw(x)
    found = list(zip(rows.tolist(), columns.tolist(), strict=True))
    assert found in list(paths(*x.shape))
    sums = sorted(sum(float(x[cell]) for cell in path) for path in paths(*x.shape))
    assume(len(set(sums)) == len(sums))  # ties have a test of their own
    assert sum(float(x[cell]) for cell in found) == sums[0]


def naive_dtw(x: Array) -> list[list[int]]:
    """Two loops, every cell from its three neighbours; a tie stays in the row."""
    cost = np.full((x.shape[0] + 1, x.shape[1] + 1), np.inf)
    cost[0, 0] = 0.0
    came: dict[tuple[int, int], tuple[int, int]] = {}
    for i, j in np.ndindex(x.shape):
        steps = [(cost[i, j], (1, 1)), (cost[i, j + 1], (1, 0)), (cost[i + 1, j], (0, 1))]
        best, step = min(steps)
        if sum(c == best for c, _ in steps) > 1:
            best, step = steps[2]
        came[i, j] = step
        cost[i + 1, j + 1] = x[i, j] + best
    cell, path = (x.shape[0] - 1, x.shape[1] - 1), []
    while min(cell) >= 0:
        path.append(cell)
        cell = (cell[0] - came[cell][0], cell[1] - came[cell][1])
    return np.array(path[::-1]).T.tolist()


@settings(max_examples=50)
@given(st.integers(1, 9), st.integers(1, 13), st.integers(0, 2**32 - 1))
def test_dtw_breaks_ties_as_the_loops_do(n: int, m: int, seed: int) -> None:
    x = np.random.default_rng(seed).integers(-1, 2, (n, m)).astype(np.float32)
    assert dtw(x).tolist() == naive_dtw(x)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (3,)])
def test_dtw_of_nothing_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(AlignmentError, match="at least one row and one column"):
        dtw(np.zeros(shape, np.float32))


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_dtw_stays_inside_the_matrix_whatever_is_in_it(value: float) -> None:
    rows, columns = dtw(np.full((3, 5), value, np.float32))
    assert (rows[0], columns[0], rows[-1], columns[-1]) == (0, 0, 2, 4)
    assert min(np.diff(rows).min(), np.diff(columns).min()) == 0


def test_every_step_can_be_watched() -> None:
    with trace() as acts:
        dtw(token_map(np.random.default_rng(0).random((2, 3, 9)).astype(np.float32), 3))
    shapes = {name: value.shape for name, value in acts.items() if name not in ("backtrace", "dtw")}
    heads, matrix = (2, 3, 9), (3, 9)
    assert shapes == {
        "softmax": heads, "standardise": heads, "median_filter": heads, "token_map": matrix, "dtw_cost": matrix
    }  # fmt: skip
    np.testing.assert_array_equal(acts["backtrace"], acts["dtw"])


def test_dtw_cost_leaves_its_argument_alone() -> None:
    x = np.ones((3, 4), np.float32)
    x.flags.writeable = False
    assert dtw_cost(x)[2, 3] == 4.0


# Rules on words


def timings(*words: tuple[str, float, float]) -> list[WordTiming]:
    return [WordTiming(word, [i], start, end, 0.5) for i, (word, start, end) in enumerate(words)]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([' "', "Ask", " not", "!", '"'], [' "Ask', ' not!"']),
        ([" (", " [", "so", "]", ")"], [" ( [so])"]),
        (['"', "Ask"], ['"', "Ask"]),  # without a space before it, it closes something
        ([" Ask", " .", " not"], [" Ask", " .", " not"]),
        ([" ", "."], [" ."]),
        ([], []),
    ],
)
def test_punctuation_joins_its_word_with_its_tokens(words: list[str], expected: list[str]) -> None:
    alignment = timings(*((word, i, i + 1) for i, word in enumerate(words)))
    merge_punctuations(alignment, PREPENDED, APPENDED)
    assert [word.word for word in alignment if word.word] == expected
    assert [token for word in alignment for token in word.tokens] == list(range(len(words)))
    assert all(bool(word.word) == bool(word.tokens) for word in alignment)


@pytest.mark.parametrize(
    ("durations", "expected"),
    [([], 0.0), ([0, 0], 0.0), ([0, 0.25, 0.5], 0.375), ([0.5, 0, 0.25, 3], 0.5), ([2, 3], 0.7)],
)
def test_median_duration_counts_words_that_last_and_is_capped(durations: list[float], expected: float) -> None:
    assert median_duration(timings(*((" a", 1.0, 1.0 + d) for d in durations))) == expected


def test_pauses_between_sentences_belong_to_no_word() -> None:
    words = timings((" So", 0, 3), (".", 3, 5), (" And", 5, 8), (" then", 8, 11), ("?", 11, 11.5), (" No", 11.5, 12))
    shorten_sentence_ends(words, longest=1.0)
    assert [(word.start, word.end) for word in words] == [(0, 3), (3, 4), (7, 8), (8, 11), (11, 11.5), (11.5, 12)]


@pytest.mark.parametrize(
    ("times", "last_speech", "expected"),
    [
        ([(1.0, 4.0)], 1.0, [(3.0, 4.0)]),  # too long after a pause
        ([(1.0, 4.0)], 2.0, [(1.0, 4.0)]),  # no pause: 4 medians
        ([(3.5, 4.25)], 1.0, [(3.5, 4.25)]),  # not too long
        ([(3.5, 4.25), (4.25, 6.0)], 1.0, [(4.0, 5.0), (5.0, 6.0)]),  # the two together are
        ([(3.5, 4.25), (4.25, 5.0)], 1.0, [(3.5, 4.25), (4.25, 5.0)]),  # the two together are not
        ([(0.0, 3.0), (3.0, 3.5)], 0.0, [(2.0, 3.0), (3.0, 3.5)]),
        ([(0.0, 0.5), (0.5, 1.5)], -2.0, [(0.0, 0.5), (0.5, 1.5)]),
        ([(0.0, 0.5), (0.5, 3.0)], -2.0, [(1.0, 2.0), (2.0, 3.0)]),
    ],
)
def test_the_first_words_after_a_pause_do_not_last_through_it(
    times: list[tuple[float, float]], last_speech: float, expected: list[tuple[float, float]]
) -> None:
    words = [{"start": start, "end": end} for start, end in times]
    shorten_after_pause(words, last_speech, median=0.5)
    assert [(word["start"], word["end"]) for word in words] == expected


@pytest.mark.parametrize(
    ("start", "word", "expected"),
    [
        (2.0, (1.8, 2.5), (1.8, (1.8, 2.5))),  # near enough: the segment follows the word
        (2.0, (1.0, 2.6), (2.0, (2.0, 2.6))),  # too early: the word follows the segment
        (2.4, (1.0, 2.6), (2.4, (2.35, 2.6))),  # but keeps a median
        (3.0, (1.0, 2.5), (1.0, (1.0, 2.5))),  # not the segment's word: believe the word
    ],
)
def test_a_segment_starts_with_its_first_word(
    start: float, word: tuple[float, float], expected: tuple[float, tuple[float, float]]
) -> None:
    segment = {"start": start, "words": [{"start": word[0], "end": word[1]}]}
    fit_start(segment, median=0.25)
    assert (segment["start"], tuple(segment["words"][0].values())) == expected


@pytest.mark.parametrize(
    ("end", "word", "expected"),
    [
        (3.0, (2.0, 3.2), (3.2, (2.0, 3.2))),
        (3.0, (2.0, 4.0), (3.0, (2.0, 3.0))),
        (2.1, (2.0, 4.0), (2.1, (2.0, 2.25))),
        (1.0, (2.0, 4.0), (4.0, (2.0, 4.0))),
    ],
)
def test_a_segment_ends_with_its_last_word(
    end: float, word: tuple[float, float], expected: tuple[float, tuple[float, float]]
) -> None:
    segment = {"end": end, "words": [{"start": word[0], "end": word[1]}]}
    fit_end(segment, median=0.25)
    assert (segment["end"], tuple(segment["words"][0].values())) == expected


# The whole, on a network whose attention is planted


@layer
def planted_scores(_: None, w: Scope) -> Array:
    return w["scores"]


class Planted:
    """A network of two blocks with three heads, of which (1, 2) sees each token during `frames_per_token` positions."""

    def __init__(self, tokenizer: Any, frames_per_token: int = 20) -> None:
        self.dims = SimpleNamespace(n_audio_ctx=1500, n_audio_state=6, n_text_ctx=448, n_mels=80)
        self.alignment_heads, self.weights = [(1, 2)], {}
        self.is_multilingual, self.num_languages = False, 99
        self.tokenizer, self.frames_per_token = tokenizer, frames_per_token
        self.n_heard = 0

    def embed_audio(self, mel: Array) -> Array:
        self.n_heard += 1
        assert mel.shape == (80, 3000)
        return np.zeros((1, 1500, 6), np.float32)

    encoder = embed_audio

    def decoder(self, tokens: Array, audio_features: Array, at: range) -> Array:
        assert audio_features.shape[-2:] == (1500, 6)
        rng = np.random.default_rng(0)
        scores = rng.random((2, 1, 1, 3, len(tokens), 1500)).astype(np.float32)
        frames = np.arange(1500) // self.frames_per_token + len(self.tokenizer.sot_sequence)
        scores[1, 0, 0, 2] += 9 * (frames == np.arange(len(tokens))[:, None])
        for i in range(2):
            w = Scope(f"decoder.blocks.{i}.cross_attn.scores")
            w["scores"] = scores[i]
            planted_scores(None, w)
        logits = np.zeros((len(tokens), 51864), np.float32)
        logits[np.arange(len(tokens) - 1), tokens[1:]] = 3.0
        logits[:, self.tokenizer.eot :] = 50.0  # control tokens, which do not count
        return logits[None, list(at)]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return get_tokenizer(False)


MEL = np.zeros((80, 3000), np.float32)
TEXT = ' He said "Ask not! Twice.'


@pytest.mark.parametrize("mel", [MEL, np.zeros((1500, 6), np.float32)], ids=["mel", "encoded"])
def test_words_are_found_where_they_were_planted(tokenizer: Any, mel: Array) -> None:
    model, text_tokens = Planted(tokenizer), tokenizer.encode(TEXT)
    alignment = find_alignment(model, tokenizer, text_tokens, mel, num_frames=2 * 20 * (len(text_tokens) + 1))
    assert "".join(word.word for word in alignment) == TEXT
    assert [token for word in alignment for token in word.tokens] == text_tokens
    first = 0
    for word in alignment:
        # the row of the token before a word's first token is where the word begins: row i ends at 20 (i + 1) frames
        assert word.start == pytest.approx(first * 20 / 50, abs=0.081)
        first += len(word.tokens)
        assert word.end == pytest.approx(first * 20 / 50, abs=0.081)
        assert word.probability == pytest.approx(np.exp(3) / (np.exp(3) + tokenizer.eot - 1), rel=1e-4)
    assert model.n_heard == (1 if mel is MEL else 0)


@pytest.mark.parametrize("num_frames", [0, 1, 2, 3, 5, 40])
def test_no_word_lies_outside_a_short_window(tokenizer: Any, num_frames: int) -> None:
    """Upstream places words 0.02 s before a window without frames."""
    alignment = find_alignment(Planted(tokenizer), tokenizer, tokenizer.encode(TEXT), MEL, num_frames)
    assert "".join(word.word for word in alignment) == TEXT
    times = [time for word in alignment for time in (word.start, word.end)]
    assert times == sorted(times)
    assert times[0] == 0.0
    assert times[-1] <= num_frames / 100


def test_no_text_has_no_words_and_needs_no_network(tokenizer: Any) -> None:
    assert find_alignment(None, tokenizer, [], MEL, 3000) == []  # type: ignore[arg-type]


def add_planted_words(segments: list[dict[str, Any]], tokenizer: Any) -> None:
    add_word_timestamps(
        segments=segments,
        model=Planted(tokenizer),  # type: ignore[arg-type]
        tokenizer=tokenizer,
        mel=MEL,
        num_frames=300,
        last_speech_timestamp=9.5,
    )


def test_segments_get_their_words_and_times(tokenizer: Any) -> None:
    begin, texts = tokenizer.timestamp_begin, (" He said", "", ' "Ask not!')
    segments = [
        {"seek": 1000, "start": 10.0 + i, "end": 11.0 + i, "tokens": [begin, *tokenizer.encode(text), begin + 50]}
        for i, text in enumerate(texts)
    ]
    add_planted_words(segments, tokenizer)
    words = [[word["word"] for word in segment["words"]] for segment in segments]
    assert words == [[" He", " said"], [], [' "Ask', " not!"]]
    for segment in (segments[0], segments[2]):
        assert segment["start"] == segment["words"][0]["start"] >= 10.0
        assert segment["end"] == segment["words"][-1]["end"] <= 13.0
        for first, second in pairwise(segment["words"]):
            assert first["start"] <= first["end"] <= second["start"]
    assert (segments[1]["start"], segments[1]["end"]) == (11.0, 12.0)
    assert type(segments[0]["words"][0]["start"]) is type(segments[0]["words"][0]["probability"]) is float


def test_no_segments_are_no_trouble(tokenizer: Any) -> None:
    segments: list[dict[str, Any]] = []
    add_planted_words(segments, tokenizer)
    assert segments == []


def test_align_places_a_given_text(tokenizer: Any) -> None:
    words = align(np.zeros(3 * 16000, np.float32), TEXT, Planted(tokenizer))
    assert [word.word for word in words] == [" He", " said", ' "Ask', " not!", " Twice."]
    assert words == align(np.zeros(3 * 16000, np.float32), [*tokenizer.encode(TEXT), 50363], Planted(tokenizer))
    times = [time for word in words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert times == [round(time, 2) for time in times]
    assert 0 <= times[0] < times[-1] <= 3.0


def test_align_of_no_text_is_empty(tokenizer: Any) -> None:
    assert align(np.zeros(1600, np.float32), " ", Planted(tokenizer)) == []


def test_align_takes_one_window(tokenizer: Any) -> None:
    with pytest.raises(AlignmentError, match=r"at most 30 s, got 31\.5 s"):
        align(np.zeros(504000, np.float32), "Ask not!", Planted(tokenizer))
    with pytest.raises(AlignmentError, match=r"at most 445 tokens at once, got \d+"):
        align(np.zeros(1600, np.float32), "Ask not! " * 200, Planted(tokenizer))


def test_marks_are_those_of_upstream() -> None:
    assert (len(PREPENDED), len(APPENDED), len(timing.SENTENCE_ENDS)) == (8, 17, 6)


@pytest.mark.parametrize("text", [None, 5, [1.5], [None]])
def test_a_text_that_is_none_is_one_sentence(text: Any) -> None:
    with pytest.raises(TypeError, match="the text to align is a str or a sequence of token ids, got"):
        talker(ENGLISH).align(np.zeros(8000, np.float32), text)
