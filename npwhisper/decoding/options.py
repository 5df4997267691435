"""All options: how one window is decoded (`DecodingOptions`), and how a whole recording is (`TranscribeOptions`).

Names and defaults are openai-whisper's; what is added says so.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, fields, replace
from numbers import Integral, Real
from typing import Any

from npwhisper.tracing.spelling import did_you_mean

PREPENDED = "\"'“¿([{-"
APPENDED = "\"'.。,，!！?？:：”)]}、"  # noqa: RUF001

ROBUST = {"vad": True, "condition_on_previous_text": False, "no_repeat_ngram_size": 10}
"""What `robust=True` stands for: the guards that cost no spoken words."""

MOST_TEMPERATURES = 100
MOST_TEXTS = 1000  # decoded side by side, as beams or samples: each holds keys and values of the whole text

TASKS = ("transcribe", "translate", "lang_id")

THRESHOLDS = (
    "compression_ratio_threshold",
    "logprob_threshold",
    "no_speech_threshold",
    "hallucination_silence_threshold",
)

KINDS = {"int": (Integral, "a whole number"), "float": (Real, "a number"), "str": (str, "a string")}

EVERY_WINDOW = "auto-window"
"""As the `language` of a transcription: detect it in every window, for speakers who switch languages."""


@dataclass(frozen=True)
class DecodingOptions:
    """How to decode a window of 30 seconds. The last three options are additions to openai-whisper's.

    Parameters
    ----------
    task : {"transcribe", "translate", "lang_id"}
        Write down, translate to English, or only detect the language.
    language : str, optional
        A code ("de") or an English name ("German"); None detects it.
    temperature : float
        0 takes the likeliest token; above 0, tokens are drawn from softmax(logits / temperature).
    sample_len : int, optional
        The largest number of tokens; by default half the text context (224).
    best_of : int, optional
        Number of independent samples, of which the best is taken (temperature > 0 only).
    beam_size : int, optional
        Number of beams of a beam search (temperature 0 only).
    patience : float, optional
        The beam search ends with ``round(beam_size * patience)`` finished hypotheses (default 1).
    length_penalty : float, optional
        Exponent between 0 and 1 of Google's length penalty; None divides by the length.
    prompt, prefix : str or sequence of int, optional
        Text before this window; text with which this window starts (it is not repeated in the result).
    suppress_tokens : str or iterable of int, optional
        Token ids (or a comma-separated list) that are never produced; -1 stands for all symbols that are not spoken.
        None or an empty list suppresses nothing, not even control tokens.
    suppress_blank : bool
        Forbid a window to begin with a space or with the end-of-text token.
    without_timestamps : bool
        Produce text only.
    max_initial_timestamp : float, optional
        The first timestamp is at most this many seconds; None or 0 is no limit.
    fp16 : bool
        Accepted for compatibility: everything is computed in float32.
    seed : int, optional
        Makes sampling reproducible; every window of a batch draws as it would alone.
    repetition_penalty : float
        Divide positive (multiply negative) logits of text tokens already produced by this; 1 changes nothing.
    no_repeat_ngram_size : int
        Forbid any n-gram of this many text tokens to be repeated; 0 changes nothing.

    Examples
    --------
    >>> DecodingOptions(language="en", beam_size=5).beam_size
    5
    """

    task: str = "transcribe"
    language: str | None = None
    temperature: float = 0.0
    sample_len: int | None = None
    best_of: int | None = None
    beam_size: int | None = None
    patience: float | None = None
    length_penalty: float | None = None
    prompt: str | Sequence[int] | None = None
    prefix: str | Sequence[int] | None = None
    suppress_tokens: str | Iterable[int] | None = "-1"
    suppress_blank: bool = True
    without_timestamps: bool = False
    max_initial_timestamp: float | None = 1.0
    fp16: bool = True
    seed: int | None = None
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0

    def __post_init__(self) -> None:
        given = self.suppress_tokens
        if isinstance(given, str) or given is None:
            return
        try:  # a generator could be read only once
            object.__setattr__(self, "suppress_tokens", tuple(int(token) for token in given))
        except (TypeError, ValueError) as error:
            raise type(error)(f"suppress_tokens must be token ids, as in '-1,50' or [50], got {given!r}") from error


def check_options(options: DecodingOptions) -> None:
    """Raise ValueError for options that exclude each other or are out of range, TypeError for those of a wrong kind.

    >>> check_options(DecodingOptions(beam_size=5, best_of=5, temperature=0.5))
    Traceback (most recent call last):
    ValueError: beam_size and best_of exclude each other: drop best_of for a beam search; got best_of=5, beam_size=5
    """
    _check_kinds(options)
    for problem, found in {**_contradictions(options), **_out_of_range(options)}.items():
        if found:
            raise ValueError(f"{problem}; got {_named_in(problem, options)}")


def _contradictions(o: DecodingOptions) -> dict[str, bool]:
    """Sentences about options that exclude each other, and whether these do."""
    is_both = o.beam_size is not None and o.best_of is not None
    return {
        "task must be 'transcribe', 'translate' or 'lang_id'": o.task not in TASKS,
        "beam_size and best_of exclude each other: drop best_of for a beam search": is_both,
        "best_of needs sampling: set a temperature above 0, or drop best_of": o.temperature == 0 and bool(o.best_of),
        "patience needs a beam search: give beam_size": o.patience is not None and o.beam_size is None,
    }


def _out_of_range(o: DecodingOptions) -> dict[str, bool]:
    """Sentences about numbers that are too small or too large, and whether these are."""
    return {
        "length_penalty (alpha) must be between 0 and 1": not 0 <= (o.length_penalty or 0) <= 1,
        "temperature must be at least 0 and finite": not 0 <= o.temperature < math.inf,
        "temperature must be at most 1000": 1000 < o.temperature < math.inf,
        "seed must be at least 0": o.seed is not None and o.seed < 0,
        "beam_size must be at least 1": o.beam_size is not None and o.beam_size < 1,
        "best_of must be at least 1": o.best_of is not None and o.best_of < 1,
        f"beam_size must be at most {MOST_TEXTS}": (o.beam_size or 0) > MOST_TEXTS,
        f"best_of must be at most {MOST_TEXTS}": (o.best_of or 0) > MOST_TEXTS,
        "round(beam_size * patience) must be at least 1": not _is_patience(o.patience, o.beam_size),
        "sample_len must be at least 1": o.sample_len is not None and o.sample_len < 1,
        "max_initial_timestamp must be at least 0": not 0 <= (o.max_initial_timestamp or 0) < math.inf,
        "repetition_penalty must be above 0": not 0 < o.repetition_penalty < math.inf,
        "no_repeat_ngram_size must be at least 0": o.no_repeat_ngram_size < 0,
    }


def _named_in(problem: str, options: Any) -> str:
    """The options that a sentence names, with their values: ``beam_size=5, best_of=2``."""
    names = [name for name in vars(options) if re.search(rf"\b{name}\b", problem)]
    return ", ".join(f"{name}={getattr(options, name)!r}" for name in names)


def _check_kinds(options: Any) -> None:
    """Raise TypeError for an option that is not the number or the text that it should be."""
    for field in fields(options):
        kind, *others = str(field.type).split(" | ")
        value = getattr(options, field.name)
        if kind not in KINDS or others not in ([], ["None"]) or (others and value is None):
            continue
        wanted, words = KINDS[kind]
        if not isinstance(value, wanted):
            raise TypeError(f"{field.name} must be {words}{' or None' * len(others)}, got {value!r}")


def _is_patience(patience: float | None, beam_size: int | None) -> bool:
    """Whether a beam search with this patience (0 is the default, 1) can end."""
    scaled = (beam_size or 1) * (patience or 1.0)
    return 0 <= scaled < math.inf and round(scaled) >= 1


@dataclass(frozen=True)
class TranscribeOptions:
    """How to transcribe a recording. `hotwords`, `spread_words`, and those from `vad` on are not openai-whisper's.

    Parameters
    ----------
    temperature : float or sequence of float
        Temperatures to try until a text passes the two thresholds below.
    compression_ratio_threshold : float, optional
        A text that zlib shortens by more than this factor is repetitive, and is decoded again.
    logprob_threshold : float, optional
        A text with a lower mean log-probability is unreliable, and is decoded again.
    no_speech_threshold : float, optional
        A window with a higher no-speech probability and an unreliable text is silence.
    condition_on_previous_text : bool
        Whether each window gets the text before it as its prompt. Names and style carry over, but a prompt that ends in
        mid-sentence can make the window leave speech out.
    initial_prompt : str, optional
        The prompt of the first window, as if it had been said before: names, spelling, style.
    carry_initial_prompt : bool
        Give it to every window.
    hotwords : str, optional
        Words to expect, at the beginning of every window's prompt.
    word_timestamps : bool
        Whether each segment gets ``words`` with start, end and probability.
    spread_words : bool
        Give words without duration some of a pause beside them, or of a neighbour's time (needs `word_timestamps`).
    prepend_punctuations, append_punctuations : str
        Punctuation that is joined to the next and to the previous word.
    clip_timestamps : str or sequence of float
        Seconds ``start,end,start,end,...`` of the parts to transcribe; the last end may be missing.
    hallucination_silence_threshold : float, optional
        Skip silences longer than this many seconds around text that looks hallucinated (needs `word_timestamps`).
    vad : bool
        Transcribe only the parts with speech (see `npwhisper.transcription.voice`); times are still those of the
        recording.
    robust : bool
        Guard against hallucinations. As a keyword it stands for the options in `ROBUST`, unless they are given too:
        `vad`, no conditioning on the text before, no ten tokens twice. With `vad` or `robust`, each segment has
        ``flags``: why it may be a hallucination.
    batch_size : int, optional
        Decode this many windows at once. The recording is cut where nobody speaks, every 30 seconds at the latest, and
        no piece is conditioned on the text before it. None decodes one window after the other, as openai-whisper does.
    channels : str
        "mix" adds the channels of the recording; "separate" transcribes each by itself, for recordings with one speaker
        on each. Segments then come in order of time, each with its ``channel`` (from 0 on) and ``language``.
    channel : str or int, optional
        Transcribe only one channel: "left", "right", "centre" (of surround sound), or its number from 0 on.
    audio_track : int, optional
        The sound track to read from a container with several, a number from 0 on.
    max_duration : float, optional
        Refuse a recording that lasts longer, in seconds: a small file can claim many hours.
    language_detection_segments : int
        The number of windows in which the language is detected if it is not given; the likeliest on average is taken.
    language_detection_threshold : float, optional
        A window with a language at least this probable decides alone.
    journal : path, optional
        Write every finished window there at once, so that an interrupted run can be resumed. One run at a time writes a
        journal; see `npwhisper.transcription.journal`.
    resume : bool
        Continue from the journal, if there is one: its segments come first.
    num_threads : int, optional
        How many threads compute this transcription; by default what `set_num_threads` was given, or one for each
        processor, at most OMP_NUM_THREADS.
    progress : callable, optional
        Called after each window with the seconds done and the total.
    on_decision : callable, optional
        Called after each window with its `Decision`.
    decoding : DecodingOptions
        How each window is decoded; its `language` may also be "auto-window", its `prefix` begins the first window.
    """

    temperature: float | Sequence[float] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    compression_ratio_threshold: float | None = 2.4
    logprob_threshold: float | None = -1.0
    no_speech_threshold: float | None = 0.6
    condition_on_previous_text: bool = True
    initial_prompt: str | None = None
    carry_initial_prompt: bool = False
    hotwords: str | None = None
    word_timestamps: bool = False
    spread_words: bool = False
    prepend_punctuations: str = PREPENDED
    append_punctuations: str = APPENDED
    clip_timestamps: str | Sequence[float] = "0"
    hallucination_silence_threshold: float | None = None
    vad: bool = False
    robust: bool = False
    batch_size: int | None = None
    channels: str = "mix"
    channel: str | int | None = None
    audio_track: int | None = None
    max_duration: float | None = None
    language_detection_segments: int = 1
    language_detection_threshold: float | None = None
    journal: str | os.PathLike[str] | None = None
    resume: bool = False
    num_threads: int | None = None
    progress: Callable[[float, float], None] | None = None
    on_decision: Callable[[Any], None] | None = None
    decoding: DecodingOptions = DecodingOptions()

    @classmethod
    def from_keywords(cls, **options: Any) -> TranscribeOptions:
        """Sort keywords into these options and those of decoding.

        Raises
        ------
        TypeError
            For a keyword that is neither.
        ValueError
            For a value that is out of range, or belongs to `decode` only.
        """
        options = {**ROBUST, **options} if options.get("robust") else options
        ours = {f.name for f in fields(cls)} - {"decoding"}
        theirs = {f.name for f in fields(DecodingOptions)} - ours
        _refuse_others(options, ours | theirs)
        decoding = DecodingOptions(**{name: options[name] for name in theirs & options.keys()})
        result = cls(**{name: options[name] for name in ours & options.keys()}, decoding=decoding)
        _check_kinds(result)
        result.check()
        for temperature in result.temperatures():
            check_options(result.for_temperature(temperature))
        return result

    def check(self) -> None:
        """Raise ValueError for options of the whole recording that are out of range."""
        from npwhisper.audio.mixing import check_channel, check_track

        check_channel(self.channel)
        check_track(self.audio_track)
        for name in THRESHOLDS:
            if math.isnan(getattr(self, name) or 0.0):
                raise ValueError(f"{name} must be a number or None, got NaN: leave it out")
        for problem, found in self._problems().items():
            if found:
                raise ValueError(f"{problem}, got {getattr(self, problem.split()[0])!r}")

    def _problems(self) -> dict[str, bool]:
        """Sentences about options that are out of range or exclude each other, and whether these are or do."""
        threshold, is_separate = self.language_detection_threshold, self.channels == "separate"
        both = "channel selects one channel and channels='separate' all of them: give only one of the two"
        return {
            "batch_size must be at least 1, or None": self.batch_size is not None and self.batch_size < 1,
            "language_detection_segments must be at least 1": self.language_detection_segments < 1,
            "language_detection_threshold must be between 0 and 1": threshold is not None and not 0 <= threshold <= 1,
            "spread_words needs word_timestamps=True": self.spread_words and not self.word_timestamps,
            "max_duration must be positive": self.max_duration is not None and not self.max_duration > 0,
            "channels must be 'mix' or 'separate'": self.channels not in ("mix", "separate"),
            both: is_separate and self.channel is not None,
        }

    @property
    def guarded(self) -> bool:
        """Whether segments state why they may be hallucinated."""
        return self.vad or self.robust

    def identity(self) -> dict[str, Any]:
        """What determines the result: all options but callbacks, threads and the journal itself."""
        others = ("decoding", "progress", "on_decision", "journal", "resume", "num_threads", "max_duration")
        return {**{f.name: getattr(self, f.name) for f in fields(self) if f.name not in others}, **vars(self.decoding)}

    def temperatures(self) -> list[float]:
        """The temperatures to try, in order, as plain numbers.

        >>> TranscribeOptions(temperature=0).temperatures()
        [0.0]
        """
        import numpy as np

        try:
            ladder = [float(temperature) for temperature in np.ravel(self.temperature)]
        except (TypeError, ValueError) as error:
            raise type(error)(
                f"temperature must be a number or a sequence of them, got {self.temperature!r}"
            ) from error
        if not ladder:
            raise ValueError("temperature must be a number or a sequence of at least one, got an empty one: give 0")
        if len(ladder) > MOST_TEMPERATURES:
            raise ValueError(f"temperature must be a number or at most {MOST_TEMPERATURES} of them, got {len(ladder)}")
        return ladder

    def for_temperature(self, temperature: float) -> DecodingOptions:
        """The options of one attempt: beams belong to temperature 0, independent samples to those above."""
        if temperature > 0:
            return replace(self.decoding, temperature=temperature, beam_size=None, patience=None)
        return replace(self.decoding, temperature=temperature, best_of=None)


def _refuse_others(options: Mapping[str, Any], known: Set[str]) -> None:
    """Raise TypeError for options that do not exist, ValueError for those of `decode` alone."""
    if unknown := options.keys() - known:
        raise TypeError(_no_option(min(unknown), sorted(known)))
    if options.get("prompt") is not None:
        raise ValueError("prompt is an option of decode, for one window: give transcribe an initial_prompt")
    if options.get("task") == "lang_id":
        raise ValueError("the task 'lang_id' is for decode, for one window: use detect_language")


def _no_option(name: str, known: Sequence[str]) -> str:
    """The sentence for an option that does not exist."""
    advice = did_you_mean(name, known) or "see TranscribeOptions and DecodingOptions"
    return f"there is no option {name!r}: {advice}"
