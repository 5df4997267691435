"""When each word was spoken: in one window (`find_alignment`), in its segments, in a known text (`align`).

Some cross-attention heads follow the recording as the text advances. `find_alignment` runs the decoder once more over
the finished text and looks for the path that these heads attend to (`warping`). The rules after it tidy words up:
punctuation joins its word (`punctuation`), and words beside pauses become no longer than others.

Source: openai-whisper's ``timing.py``. A window with too few frames gives words at its start, not before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, pairwise
from numbers import Integral
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
from npwhisper.decoding import encode, likeliest_language
from npwhisper.decoding.options import APPENDED, PREPENDED
from npwhisper.model import Network
from npwhisper.model.layers import softmax
from npwhisper.timing.punctuation import WordTiming, tidy_words
from npwhisper.timing.warping import AlignmentError, dtw, token_map
from npwhisper.tokenizer import Tokenizer, get_tokenizer
from npwhisper.tracing.finite import is_finite, not_finite_message
from npwhisper.tracing.seam import Array, trace

NEAR = 0.5  # seconds by which a word may stick out of its segment

Segment: TypeAlias = dict[str, Any]


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
        The text, without timestamps and other control tokens.
    mel : array, shape (n_mels, 3000), or (1500, n_audio_state) if it is encoded already
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

    Examples
    --------
    >>> import npwhisper
    >>> model, tokenizer = npwhisper.load_model(), get_tokenizer(False)
    >>> mel = log_mel_spectrogram(pad_or_trim(load_audio(npwhisper.example())))
    >>> words = find_alignment(model, tokenizer, tokenizer.encode(" And so"), mel, num_frames=1100)
    >>> [word.word for word in words], words[0].start < 1.0
    ([' And', ' so'], True)
    """
    if len(text_tokens) == 0:
        return []
    words, word_tokens = tokenizer.split_to_word_tokens([*text_tokens, tokenizer.eot])
    scores, probabilities = _aligned_scores(model, tokenizer, text_tokens, mel)
    scores = scores[..., : max(num_frames // 2, 1)] * qk_scale
    matrix = token_map(scores, medfilt_width)[len(tokenizer.sot_sequence) : -1]
    rows, frames = dtw(-matrix)
    times = frames[np.diff(rows, prepend=-1) > 0] / TOKENS_PER_SECOND  # where each row begins
    bounds = pairwise(np.cumsum([0, *map(len, word_tokens[:-1])]))
    return [
        WordTiming(word, tokens, float(times[i]), float(times[j]), float(probabilities[i:j].mean()))
        for word, tokens, (i, j) in zip(words[:-1], word_tokens[:-1], bounds, strict=True)
    ]


def _aligned_scores(
    model: Network, tokenizer: Tokenizer, text_tokens: Sequence[int], mel: Array
) -> tuple[Array, Array]:
    """Run the decoder over the whole text at once, watching the heads that follow the audio.

    -> scores (H, T, S) of these heads over all tokens, probabilities (N,) of the N text tokens
    """
    prefix = tokenizer.sot_sequence
    tokens = np.array([*prefix, tokenizer.no_timestamps, *text_tokens, tokenizer.eot])
    predicting = range(len(prefix), len(prefix) + len(text_tokens))  # the position before each text token
    names = {i: f"decoder.blocks.{i}.cross_attn.scores" for i, _ in model.alignment_heads}
    audio_features = encode(model, mel)
    with trace(*names.values()) as acts:
        logits = model.decoder(tokens, audio_features, at=predicting)[0]
    if not is_finite(logits):
        raise ValueError(not_finite_message(model.weights, lambda: model.decoder(tokens, audio_features)))
    scores = np.stack([acts[names[i]][..., head, :, :].reshape(len(tokens), -1) for i, head in model.alignment_heads])
    return scores, softmax(logits[:, : tokenizer.eot])[np.arange(len(text_tokens)), text_tokens]


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

    Examples
    --------
    >>> import npwhisper
    >>> model, tokenizer = npwhisper.load_model(), get_tokenizer(False)
    >>> mel = log_mel_spectrogram(pad_or_trim(load_audio(npwhisper.example())))
    >>> segments = [{"seek": 0, "start": 0.0, "end": 11.0, "tokens": tokenizer.encode(" And so my fellow Americans")}]
    >>> window = {"model": model, "tokenizer": tokenizer, "mel": mel, "num_frames": 1100}
    >>> add_word_timestamps(segments=segments, **window, last_speech_timestamp=0.0)
    >>> [word["word"] for word in segments[0]["words"]]
    [' And', ' so', ' my', ' fellow', ' Americans']
    """
    texts = [[token for token in segment["tokens"] if token < tokenizer.eot] for segment in segments]
    alignment = find_alignment(model, tokenizer, list(chain.from_iterable(texts)), mel, num_frames, **kwargs)
    median = tidy_words(alignment, prepend_punctuations, append_punctuations)
    timings = iter(alignment)
    for segment, tokens in zip(segments, texts, strict=True):
        segment["words"] = _take_words(timings, len(tokens), segments[0]["seek"] * HOP_LENGTH / SAMPLE_RATE)
        if segment["words"]:
            shorten_after_pause(segment["words"], last_speech_timestamp, median)
            fit_start(segment, median)
            fit_end(segment, median)
            last_speech_timestamp = segment["end"]


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
    """Take a pause before a segment away from its first words, if they are implausibly long.

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
    """Start the segment with its first word, or this word with the segment if it starts more than 0.5 s too early.

    >>> segment = {"start": 1.0, "words": [{"start": 1.2, "end": 1.5}]}
    >>> fit_start(segment, median=0.3)
    >>> segment["start"]
    1.2
    """
    word, start = segment["words"][0], segment["start"]
    if start < word["end"] and start - NEAR > word["start"]:
        word["start"] = max(0.0, min(word["end"] - median, start))
    else:
        segment["start"] = word["start"]


def fit_end(segment: Segment, median: float) -> None:
    """End the segment with its last word, or this word with the segment if it ends more than 0.5 s too late.

    >>> segment = {"end": 2.0, "words": [{"start": 1.2, "end": 1.5}]}
    >>> fit_end(segment, median=0.3)
    >>> segment["end"]
    1.5
    """
    word, end = segment["words"][-1], segment["end"]
    if end > word["start"] and end + NEAR < word["end"]:
        word["end"] = max(word["start"] + median, end)
    else:
        segment["end"] = word["end"]


@np.errstate(under="ignore")
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
            f"align takes at most {N_SAMPLES // SAMPLE_RATE} s, got {len(samples) / SAMPLE_RATE:.1f} s: "
            "cut audio and text at the segments that transcribe finds"
        )
    num_frames = len(samples) // HOP_LENGTH
    mel = log_mel_spectrogram(samples, model.dims.n_mels, padding=N_SAMPLES)[:, :num_frames]
    features = encode(model, pad_or_trim(mel, N_FRAMES))[0]
    tokenizer = _tokenizer_for(model, features, language)
    text_tokens = _encode(tokenizer, text, model.dims.n_text_ctx)
    alignment = find_alignment(model, tokenizer, text_tokens, features, num_frames, **kwargs)
    tidy_words(alignment, prepend_punctuations, append_punctuations)
    return [replace(word, start=round(word.start, 2), end=round(word.end, 2)) for word in alignment if word.word]


def _tokenizer_for(model: Network, features: Array, language: str | None) -> Tokenizer:
    if language is None and model.is_multilingual:
        language = likeliest_language(model, features)
    return get_tokenizer(model.is_multilingual, num_languages=model.num_languages, language=language, task="transcribe")


def _encode(tokenizer: Tokenizer, text: str | Sequence[int], n_text_ctx: int) -> list[int]:
    """The tokens of a text, if they and what stands around them fit into the decoder."""
    if not isinstance(text, str) and not (np.iterable(text) and all(isinstance(token, Integral) for token in text)):
        raise TypeError(f"the text to align is a str or a sequence of token ids, got {text!r}")
    if isinstance(text, str):
        text = tokenizer.encode(" " + text.strip()) if text.strip() else []
    tokens = [token for token in text if token < tokenizer.eot]
    room = n_text_ctx - len(tokenizer.sot_sequence_including_notimestamps) - 1
    if len(tokens) > room:
        raise AlignmentError(f"align reads at most {room} tokens at once, got {len(tokens)}: cut audio and text in two")
    return tokens
