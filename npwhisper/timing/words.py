"""When each word was said: cross-attention looked at as a map from words to moments, and a path found through it.

Some cross-attention heads follow the recording as the text advances. `find_alignment` runs the decoder once more over
the finished text, takes these heads' scores, makes every frame comparable (`standardise`), removes outliers
(`median_filter`), averages the heads, and finds the cheapest monotone path through tokens and frames (`dtw`). The rest
are rules of thumb that tidy words up: punctuation joins its word, and words beside pauses become no longer than others.

Times, ties and rules are those of openai-whisper's ``timing.py``, with these differences: a window with too few frames
gives words at its start instead of before it, and frames that tell nothing count as 0 instead of NaN.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from typing import Any, TypeAlias

import numpy as np

from npwhisper.audio import (
    HOP_LENGTH,
    N_FRAMES,
    N_SAMPLES,
    SAMPLE_RATE,
    TOKENS_PER_SECOND,
    AudioInput,
    load_audio,
    log_mel_spectrogram,
    pad_or_trim,
)
from npwhisper.decoding import likeliest_language
from npwhisper.decoding.options import APPENDED, PREPENDED
from npwhisper.model import Network
from npwhisper.model.layers import softmax
from npwhisper.tokenizer import Tokenizer, get_tokenizer
from npwhisper.tracing.seam import Array, layer, trace

SENTENCE_ENDS = ".。!！?？"  # noqa: RUF001
LONGEST_MEDIAN = 0.7  # seconds: the median duration of a word is taken to be at most this
NEAR = 0.5  # seconds by which a word may stick out of its segment

Segment: TypeAlias = dict[str, Any]


class AlignmentError(ValueError):
    """A text that cannot be aligned with its audio."""


@dataclass
class WordTiming:
    """A word, its tokens, when it was said (seconds in the window) and the mean probability of its tokens."""

    word: str
    tokens: list[int]
    start: float
    end: float
    probability: float

    @property
    def duration(self) -> float:
        """Seconds from start to end."""
        return self.end - self.start


@layer
def standardise(weights: Array) -> Array:
    """Give every frame mean 0 and variance 1 over the tokens, so that no frame counts more than another.

    (H, T, S) -> (H, T, S)

    >>> standardise(np.array([[[1, 5], [3, 5]]], np.float32))
    array([[[-1.,  0.],
            [ 1.,  0.]]], dtype=float32)
    """
    y: Array = weights - weights.mean(axis=-2, keepdims=True)
    std = np.sqrt(np.square(y).mean(axis=-2, keepdims=True))
    np.divide(y, std, out=y, where=std > 0)
    return y


@layer
def median_filter(x: Array, filter_width: int) -> Array:
    """Replace every value by the median of the `filter_width` values around it on the last axis.

    (..., S) -> (..., S)

    Beyond both ends the values are reflected; rows too short for that (S <= filter_width // 2) stay as they are.
    A median needs no full sort: each round moves the largest of what is left to the end, down to the middle.
    This is for small widths; there it is ten times faster than sorting each neighbourhood.

    >>> median_filter(np.array([1, 1, 9, 1, 1, 5, 5], np.float32), 3)
    array([1., 1., 1., 1., 1., 5., 5.], dtype=float32)
    """
    if filter_width < 1 or filter_width % 2 == 0:
        raise ValueError(f"a median needs a middle: filter_width must be odd and positive, got {filter_width}")
    length, middle = x.shape[-1], filter_width // 2
    if length <= middle:
        return np.array(x)
    padded = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(middle, middle)], mode="reflect")
    around = [padded[..., i : i + length] for i in range(filter_width)]
    for last in range(filter_width - 1, middle - 1, -1):
        for i in range(last):
            around[i], around[last] = np.minimum(around[i], around[last]), np.maximum(around[i], around[last])
    return around[middle]


@layer
def dtw_cost(x: Array) -> Array:
    """The cost of the cheapest path from the top left corner to every cell, going right, down or diagonally.

    (N, M) -> (N, M)

    A cell needs its three neighbours above and to the left, so all cells with the same i + j can be computed at once:
    one row of `diagonals`. Sums are float64, and where the ways from above and from the corner are equal the one from
    the left is taken even if it is dearer, as upstream has it: the filter makes runs of equal values, so ties matter.

    >>> dtw_cost(np.array([[1, 9, 9], [9, 1, 2]]))
    array([[ 1., 10., 19.],
           [10.,  2.,  4.]])
    """
    n, m = x.shape
    diagonals = np.full((n + m + 1, n + 1), np.inf, dtype=np.float64)
    step = diagonals.itemsize
    cost = np.lib.stride_tricks.as_strided(diagonals, (n + 1, m + 1), ((n + 2) * step, (n + 1) * step))
    cost[0, 0] = 0.0
    cost[1:, 1:] = x
    above, here = diagonals[:, :-1], diagonals[:, 1:]  # cell (i - 1, j) stands beside (i, j - 1), one diagonal earlier
    best = np.empty(n, dtype=np.float64)
    for corner, up, left, cells in zip(above[:-2], above[1:-1], here[1:-1], here[2:], strict=True):
        np.minimum(corner, up, out=best)
        np.minimum(best, left, out=best)
        np.copyto(best, left, where=corner == up)
        cells += best
    return cost[1:, 1:]


@layer
def backtrace(cost: Array) -> Array:
    """Follow the costs of `dtw_cost` back from the last cell: the cheapest path, as its rows and its columns.

    (N, M) -> (2, L)

    A step goes up or diagonally only if that is strictly cheaper than both others; on a tie it stays in its row.

    >>> backtrace(np.array([[1, 10, 19], [10, 2, 4]]))
    array([[0, 1, 1],
           [0, 1, 2]])
    """
    i, j = cost.shape[0] - 1, cost.shape[1] - 1
    path = [(i, j)]
    while i > 0 or j > 0:
        down, right = _step_back(cost, i, j)
        i, j = i - down, j - right
        path.append((i, j))
    return np.transpose(path[::-1])


def _step_back(cost: Array, i: int, j: int) -> tuple[int, int]:
    """Rows and columns to go back from cell (i, j)."""
    if i == 0 or j == 0:
        return (0, 1) if i == 0 else (1, 0)
    corner, up, left = cost[i - 1, j - 1], cost[i - 1, j], cost[i, j - 1]
    if corner < up and corner < left:
        return 1, 1
    return (1, 0) if up < corner and up < left else (0, 1)


@layer
def dtw(x: Array) -> Array:
    """Dynamic time warping: the monotone path from corner to corner of `x` whose values have the smallest sum.

    Parameters
    ----------
    x : array, shape (N, M)
        The cost of having row i (a token) at column j (a frame).

    Returns
    -------
    array of int, shape (2, L)
        The rows and the columns along the path, both never decreasing.

    Raises
    ------
    AlignmentError
        If `x` has no rows or no columns.

    Examples
    --------
    >>> rows, columns = dtw(np.array([[0, 0, 1, 1], [1, 1, 0, 1], [1, 1, 1, 0]]))
    >>> rows.tolist(), columns.tolist()
    ([0, 0, 1, 2], [0, 1, 2, 3])

    Notes
    -----
    The same path as ``dtw_cpu`` of openai-whisper, also where ties make that one not quite the cheapest (`dtw_cost`).
    Giorgino 2009, "Computing and Visualizing Dynamic Time Warping Alignments in R", describes the method.
    """
    if x.ndim != 2 or x.size == 0:
        raise AlignmentError(f"dtw needs a matrix with at least one row and one column, got shape {x.shape}")
    return backtrace(dtw_cost(x))


def find_alignment(
    model: Network,
    tokenizer: Tokenizer,
    text_tokens: Sequence[int],
    mel: Array,
    num_frames: int,
    *,
    medfilt_width: int = 7,
    qk_scale: float = 1.0,
) -> list[WordTiming]:
    """Find when each word of a text is said in one window of audio.

    Parameters
    ----------
    model : Network
    tokenizer : Tokenizer
        With the language and task of the text.
    text_tokens : sequence of int
        The text, without time stamps and other control tokens.
    mel : array, shape (n_mels, 3000), or (1500, n_audio_state) if the encoder has heard it already
    num_frames : int
        How many of the 3000 frames of 0.01 s are audio and not padding.
    medfilt_width : int
        Width of the median filter over time, odd, in steps of 0.02 s.
    qk_scale : float
        Factor on the scores before their softmax: above 1, attention becomes sharper.

    Returns
    -------
    list of WordTiming
        One for each word, punctuation still apart; times in seconds from the window's start.

    Notes
    -----
    The scores are cut to the audio before their softmax. Source: ``find_alignment`` in openai-whisper.
    """
    if len(text_tokens) == 0:
        return []
    words, word_tokens = tokenizer.split_to_word_tokens([*text_tokens, tokenizer.eot])
    scores, probabilities = _listen_again(model, tokenizer, text_tokens, mel)
    scores = scores[..., : max(num_frames // 2, 1)] * qk_scale
    matrix = token_map(scores, medfilt_width)[len(tokenizer.sot_sequence) : -1]
    rows, frames = dtw(-matrix)
    times = frames[np.diff(rows, prepend=-1) > 0] / TOKENS_PER_SECOND  # where each row begins
    bounds = pairwise(np.cumsum([0, *map(len, word_tokens[:-1])]))
    return [
        WordTiming(word, tokens, float(times[i]), float(times[j]), float(probabilities[i:j].mean()))
        for word, tokens, (i, j) in zip(words[:-1], word_tokens[:-1], bounds, strict=True)
    ]


def _listen_again(model: Network, tokenizer: Tokenizer, text_tokens: Sequence[int], mel: Array) -> tuple[Array, Array]:
    """Run the decoder over the whole text at once, watching the heads that follow the audio.

    -> scores (H, T, S) of these heads over all tokens, probabilities (N,) of the N text tokens
    """
    dims = model.dims
    is_heard = mel.shape[-2:] == (dims.n_audio_ctx, dims.n_audio_state)
    prefix = tokenizer.sot_sequence
    tokens = np.array([*prefix, tokenizer.no_timestamps, *text_tokens, tokenizer.eot])
    predicting = range(len(prefix), len(prefix) + len(text_tokens))  # the position before each text token
    names = {i: f"decoder.blocks.{i}.cross_attn.scores" for i, _ in model.alignment_heads}
    audio_features = mel if is_heard else model.encoder(mel)
    with trace(*names.values()) as acts:
        logits = model.decoder(tokens, audio_features, at=predicting)[0]
    scores = np.stack([acts[names[i]][..., head, :, :].reshape(len(tokens), -1) for i, head in model.alignment_heads])
    return scores, softmax(logits[:, : tokenizer.eot])[np.arange(len(text_tokens)), text_tokens]


@layer
def token_map(scores: Array, medfilt_width: int = 7) -> Array:
    """Where each token's attention stands out, over all heads: high where a token is likely being said.

    (H, T, S) -> (T, S)

    >>> token_map(np.eye(3, 5, dtype=np.float32)[None], medfilt_width=1).argmax(axis=1)
    array([0, 1, 2])
    """
    y: Array = median_filter(standardise(softmax(scores)), medfilt_width).mean(axis=0)
    return y


def merge_punctuations(alignment: list[WordTiming], prepended: str, appended: str) -> None:
    """Join punctuation to its word, in place; what was joined stays in the list as an empty word without tokens.

    Parameters
    ----------
    alignment : list of WordTiming
    prepended : str
        Marks that join the word after them, if a space stands before them.
    appended : str
        Marks that join the word before them, if no space stands between.

    Examples
    --------
    >>> words = [WordTiming(word, [i], i, i + 1, 1.0) for i, word in enumerate((' "', "Ask", "!"))]
    >>> merge_punctuations(words, PREPENDED, APPENDED)
    >>> [word.word for word in words], words[1].tokens
    (['', ' "Ask!', ''], [0, 1, 2])

    Notes
    -----
    The word keeps its own times. A "mark" is any part of the given string. Source: the same name in openai-whisper.
    """
    following = len(alignment) - 1
    for i in range(len(alignment) - 2, -1, -1):
        mark = alignment[i]
        if mark.word.startswith(" ") and mark.word.strip() in prepended:
            _join(mark, alignment[following], before=True)
        else:
            following = i
    previous = 0
    for i in range(1, len(alignment)):
        mark = alignment[i]
        if not alignment[previous].word.endswith(" ") and mark.word in appended:
            _join(mark, alignment[previous], before=False)
        else:
            previous = i


def _join(mark: WordTiming, word: WordTiming, before: bool) -> None:
    first, second = (mark, word) if before else (word, mark)
    word.word, word.tokens = first.word + second.word, first.tokens + second.tokens
    mark.word, mark.tokens = "", []


def median_duration(alignment: Sequence[WordTiming]) -> float:
    """The median duration of the words that last at all, in seconds, and at most 0.7; 0 without any.

    >>> median_duration([WordTiming(" a", [1], 1.0, 1.5, 1.0), WordTiming(" b", [2], 1.5, 1.5, 1.0)])
    0.5
    """
    durations = [word.duration for word in alignment if word.duration]
    return min(LONGEST_MEDIAN, float(np.median(durations))) if durations else 0.0


def shorten_sentence_ends(alignment: Sequence[WordTiming], longest: float) -> None:
    """Take the pause between two sentences away from the mark, or from the word after it, that was given it.

    >>> words = [WordTiming(".", [1], 1.0, 1.5, 1.0), WordTiming(" So", [2], 1.5, 4.0, 1.0)]
    >>> shorten_sentence_ends(words, longest=0.8)
    >>> words[1].start
    3.2
    """
    for previous, word in pairwise(alignment):
        if word.duration > longest:
            if word.word in SENTENCE_ENDS:
                word.end = word.start + longest
            elif previous.word in SENTENCE_ENDS:
                word.start = word.end - longest


def add_word_timestamps(
    *,
    segments: list[Segment],
    model: Network,
    tokenizer: Tokenizer,
    mel: Array,
    num_frames: int,
    prepend_punctuations: str = PREPENDED,
    append_punctuations: str = APPENDED,
    last_speech_timestamp: float,
    **kwargs: Any,
) -> None:
    """Give each segment of one window its ``words``, and move its start and end to them.

    Parameters
    ----------
    segments : list of dict
        All segments of the window, in place; ``seek`` is the window's first frame in the recording.
    model, tokenizer, mel, num_frames, **kwargs
        As for `find_alignment`.
    prepend_punctuations, append_punctuations : str
        As for `merge_punctuations`.
    last_speech_timestamp : float
        Where the last word before this window ended, in seconds.

    Notes
    -----
    A word is a dict of ``word start end probability`` with times in seconds of the recording; a segment without text
    gets an empty list. Source: the same name in openai-whisper.
    """
    texts = [[token for token in segment["tokens"] if token < tokenizer.eot] for segment in segments]
    alignment = find_alignment(model, tokenizer, list(chain.from_iterable(texts)), mel, num_frames, **kwargs)
    median = _tidy(alignment, prepend_punctuations, append_punctuations)
    timings = iter(alignment)
    for segment, tokens in zip(segments, texts, strict=True):
        segment["words"] = _take_words(timings, len(tokens), segments[0]["seek"] * HOP_LENGTH / SAMPLE_RATE)
        if segment["words"]:
            shorten_after_pause(segment["words"], last_speech_timestamp, median)
            fit_start(segment, median)
            fit_end(segment, median)
            last_speech_timestamp = segment["end"]


def _tidy(alignment: list[WordTiming], prepended: str, appended: str) -> float:
    """Shorten words at the ends of sentences and join punctuation, in place; return the median duration of a word."""
    median = median_duration(alignment)
    shorten_sentence_ends(alignment, longest=2 * median)
    merge_punctuations(alignment, prepended, appended)
    return median


def _take_words(timings: Iterator[WordTiming], n_tokens: int, offset: float) -> list[Segment]:
    """Take words until they hold `n_tokens` tokens; `offset` is where the window starts, in seconds."""
    words: list[Segment] = []
    while n_tokens > 0 and (timing := next(timings, None)) is not None:
        n_tokens -= len(timing.tokens)
        if timing.word:
            start, end = (round(offset + time, 2) for time in (timing.start, timing.end))
            words.append({"word": timing.word, "start": start, "end": end, "probability": timing.probability})
    return words


def shorten_after_pause(words: list[Segment], last_speech: float, median: float) -> None:
    """Take a pause before a segment away from its first words, if they are too long to be true.

    >>> words = [{"word": " So", "start": 1.0, "end": 4.0}]
    >>> shorten_after_pause(words, last_speech=1.0, median=0.5)
    >>> words[0]["start"]
    3.0
    """
    longest, first, second = 2 * median, words[0], words[1] if len(words) > 1 else None
    is_long = first["end"] - first["start"] > longest
    pair_is_long = second is not None and second["end"] - first["start"] > 2 * longest
    if first["end"] - last_speech <= 4 * median or not (is_long or pair_is_long):
        return
    if second is not None and second["end"] - second["start"] > longest:
        first["end"] = second["start"] = second["end"] - longest
    first["start"] = max(0.0, first["end"] - longest)


def fit_start(segment: Segment, median: float) -> None:
    """Start the segment with its first word, or this word with the segment if it starts more than 0.5 s too early."""
    word, start = segment["words"][0], segment["start"]
    if start < word["end"] and start - NEAR > word["start"]:
        word["start"] = max(0.0, min(word["end"] - median, start))
    else:
        segment["start"] = word["start"]


def fit_end(segment: Segment, median: float) -> None:
    """End the segment with its last word, or this word with the segment if it ends more than 0.5 s too late."""
    word, end = segment["words"][-1], segment["end"]
    if end > word["start"] and end + NEAR < word["end"]:
        word["end"] = max(word["start"] + median, end)
    else:
        segment["end"] = word["end"]


def align(
    audio: AudioInput,
    text: str | Sequence[int],
    model: Network,
    *,
    language: str | None = None,
    prepend_punctuations: str = PREPENDED,
    append_punctuations: str = APPENDED,
    **kwargs: Any,
) -> list[WordTiming]:
    """Find when each word of a known text is said in a recording of at most 30 seconds.

    Parameters
    ----------
    audio : path, file object, bytes or array
        What `load_audio` takes.
    text : str or sequence of int
        What is said, from the beginning to the end of the audio; or its tokens.
    model : Network
    language : str, optional
        Of the text; detected if the model knows several.
    prepend_punctuations, append_punctuations : str
        As for `merge_punctuations`.
    **kwargs
        As for `find_alignment`.

    Returns
    -------
    list of WordTiming
        Times in seconds. A word that is not in the audio still gets a place; its probability tends to be low.

    Raises
    ------
    AlignmentError
        If the audio is longer than 30 s, or the text longer than the model can read at once.

    Examples
    --------
    >>> import npwhisper
    >>> model = npwhisper.load_model()
    >>> [word.word for word in align(np.zeros(8000, np.float32), "Ask not!", model)]
    [' Ask', ' not!']
    """
    samples = load_audio(audio)
    if len(samples) > N_SAMPLES:
        raise AlignmentError(
            f"align hears at most {N_SAMPLES // SAMPLE_RATE} s, got {len(samples) / SAMPLE_RATE:.1f} s: "
            "cut audio and text at the segments that transcribe finds"
        )
    num_frames = len(samples) // HOP_LENGTH
    mel = log_mel_spectrogram(samples, model.dims.n_mels, padding=N_SAMPLES)[:, :num_frames]
    features = model.embed_audio(pad_or_trim(mel, N_FRAMES))[0]
    tokenizer = _tokenizer_for(model, features, language)
    text_tokens = _encode(tokenizer, text, model.dims.n_text_ctx)
    alignment = find_alignment(model, tokenizer, text_tokens, features, num_frames, **kwargs)
    _tidy(alignment, prepend_punctuations, append_punctuations)
    return [replace(word, start=round(word.start, 2), end=round(word.end, 2)) for word in alignment if word.word]


def _tokenizer_for(model: Network, features: Array, language: str | None) -> Tokenizer:
    if language is None and model.is_multilingual:
        language = likeliest_language(model, features)
    return get_tokenizer(model.is_multilingual, num_languages=model.num_languages, language=language, task="transcribe")


def _encode(tokenizer: Tokenizer, text: str | Sequence[int], n_text_ctx: int) -> list[int]:
    """The tokens of a text, if they and what stands around them fit into the decoder."""
    if isinstance(text, str):
        text = tokenizer.encode(" " + text.strip()) if text.strip() else []
    tokens = [token for token in text if token < tokenizer.eot]
    room = n_text_ctx - len(tokenizer.sot_sequence_including_notimestamps) - 1
    if len(tokens) > room:
        raise AlignmentError(f"align reads at most {room} tokens at once, got {len(tokens)}: cut audio and text in two")
    return tokens
