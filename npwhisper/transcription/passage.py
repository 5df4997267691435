"""One part of a recording, window by window: each starts where the text of the last one ended.

A `Passage` does not run the decoder. `transcribe` is a generator: it yields what is to be decoded, is sent the result,
and tries the next temperature if the text fails a check. So the same rules serve one window at a time and many at once.

Source: openai-whisper's ``transcribe.py``; Radford et al. 2022, section 4.5.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from npwhisper.audio import FRAMES_PER_SECOND, N_FRAMES
from npwhisper.decoding import DecodingResult
from npwhisper.decoding.options import DecodingOptions
from npwhisper.timing import add_word_timestamps
from npwhisper.tracing.seam import Array
from npwhisper.transcription.hallucination import drop_hallucinations, flags, skip_leading_silence
from npwhisper.transcription.windows import (
    FRAMES_PER_TIMESTAMP,
    History,
    NextStart,
    Segment,
    Split,
    TimedTokens,
    Window,
    last_word_end,
    split_at_timestamps,
)

if TYPE_CHECKING:
    from npwhisper.transcription.run import Transcription

RESET_TEMPERATURE = 0.5  # above it, a text is too unreliable to condition the next window


class Attempt(NamedTuple):
    """One decoding of a window: at which temperature, with which scores, and which checks it failed."""

    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    text: str
    failed: tuple[str, ...]


@dataclass(frozen=True)
class Decision:
    """What happened to one window, and why.

    Attributes
    ----------
    start, end : float
        The window in seconds.
    language : str
        In which it was decoded.
    attempts : list of Attempt
        The last one counts. One that failed a check is tried again at the next temperature, unless it is as unlikely
        as silence is.
    skipped : bool
        Whether the window was taken for silence.
    next_start : float
        Where the next window starts, in seconds.
    reason : str
        Why there, in words.
    """

    start: float
    end: float
    language: str
    attempts: list[Attempt]
    skipped: bool
    next_start: float
    reason: str


class Request(NamedTuple):
    """What is to be decoded next: encoded windows (1, S, D), and how."""

    features: Array
    options: DecodingOptions


class Passage:
    """Parts of a recording, one window after the other, and what each window must know of those before it.

    Parameters
    ----------
    owner : Transcription
        With the model, the options, the spectrogram and the tokenizer.
    clips : sequence of (start, end)
        The parts, in mel frames.
    history : History
        The prompt of the first window.
    seeds : numpy.random.Generator
        Where the seeds of sampling come from.
    is_first : bool
        Whether the recording starts here, so that the option `prefix` applies.

    Attributes
    ----------
    seek : int
        The mel frame at which the next window starts.
    """

    def __init__(
        self,
        owner: Transcription,
        clips: Sequence[tuple[int, int]],
        history: History,
        seeds: np.random.Generator,
        is_first: bool = True,
    ) -> None:
        self.owner, self.options, self.clips, self.history = owner, owner.options, clips, history
        self.seeds, self.is_first = seeds, is_first
        self.seek = clips[0][0] if clips else owner.n_frames
        self.clip = self.n_windows = 0
        self.last_speech = 0.0 if is_first else self.seek / FRAMES_PER_SECOND
        self.decisions: list[Decision] = []

    def state(self) -> dict[str, Any]:
        """What must be known to continue after the last window, besides its segments and those before: plain values."""
        return {
            "seek": self.seek,
            "clip": self.clip,
            "windows": self.n_windows,
            "initial": self.history.initial,
            "reset": self.history.reset,
            "last_speech": self.last_speech,
            "seeds": self.seeds.bit_generator.state,
        }

    def restore(self, state: Mapping[str, Any], segments: Sequence[Segment]) -> None:
        """Continue where another transcription of the same recording was."""
        self.seek, self.clip, self.n_windows = state["seek"], state["clip"], state["windows"]
        self.history.initial, self.history.reset = state["initial"], state["reset"]
        self.history.tokens = [token for segment in segments for token in segment["tokens"]]
        self.last_speech = state["last_speech"]
        self.seeds.bit_generator.state = state["seeds"]

    def next_window(self) -> Window | None:
        """What to decode next, if anything is left."""
        while self.clip < len(self.clips):
            end = self.clips[self.clip][1]
            window = Window(self.seek, min(N_FRAMES, end - self.seek))
            if self.seek < end and not (self.n_windows and self.owner.is_silent(window)):
                return window
            self.clip += 1
            if self.clip < len(self.clips):
                self.seek = self.clips[self.clip][0]
        return None

    def transcribe_all(self) -> Generator[Request, DecodingResult, list[Segment]]:
        """The segments of all windows."""
        segments = list[Segment]()
        while window := self.next_window():
            segments += yield from self.transcribe(window)
        return segments

    def transcribe(self, window: Window) -> Generator[Request, DecodingResult, list[Segment]]:
        """The segments of one window; moves `seek` on and keeps the decision."""
        result, attempts = yield from self._decode_with_fallback(window)
        skipped = self._is_silence(result)
        segments, following = list[Segment](), NextStart(window.end, "the window was taken for silence")
        if not skipped:
            segments, following = self._segments(window, result)
        if following.seek <= window.start:
            following = NextStart(window.end, f"not back to {following.reason}")
        self.seek, next_start = following.seek, following.seek / FRAMES_PER_SECOND
        self.n_windows += 1
        self.decisions.append(
            Decision(
                window.start_time, window.end_time, result.language, attempts, skipped, next_start, following.reason
            )
        )
        return segments

    def _decode_with_fallback(
        self, window: Window
    ) -> Generator[Request, DecodingResult, tuple[DecodingResult, list[Attempt]]]:
        """Try one temperature after the other until the text passes the checks; if none does, the last result stays."""
        features, attempts = self.owner.encode(window), list[Attempt]()
        for temperature in self.options.temperatures():
            result = yield Request(features, self._window_options(temperature))
            failed = self._failed_checks(result)
            scores = (result.avg_logprob, result.compression_ratio, result.no_speech_prob)
            attempts.append(Attempt(temperature, *scores, result.text, failed))
            if not failed or ("avg_logprob" in failed and self._sounds_empty(result)):
                break
        return result, attempts

    def _window_options(self, temperature: float) -> DecodingOptions:
        """The options of one attempt at the next window."""
        options = self.options.for_temperature(temperature)
        is_seeded = options.seed is not None or self.options.journal is not None  # a journal holds the random state
        return replace(
            options,
            language=None if self.owner.detects_every_window else self.owner.first_language,
            prompt=self.history.prompt(self.owner.model.dims.n_text_ctx // 2 - 1),
            prefix=options.prefix if self.is_first and not self.n_windows else None,
            seed=int(self.seeds.integers(2**63)) if is_seeded else None,
        )

    def _failed_checks(self, result: DecodingResult) -> tuple[str, ...]:
        """The names of the checks that a result fails."""
        o, failed = self.options, []
        if o.compression_ratio_threshold is not None and result.compression_ratio > o.compression_ratio_threshold:
            failed.append("compression_ratio")
        if o.logprob_threshold is not None and result.avg_logprob < o.logprob_threshold:
            failed.append("avg_logprob")
        return tuple(failed)

    def _sounds_empty(self, result: DecodingResult) -> bool:
        threshold = self.options.no_speech_threshold
        return threshold is not None and result.no_speech_prob > threshold

    def _is_silence(self, result: DecodingResult) -> bool:
        threshold = self.options.logprob_threshold
        is_sound = threshold is not None and result.avg_logprob > threshold
        return self._sounds_empty(result) and not is_sound

    def _segments(self, window: Window, result: DecodingResult) -> tuple[list[Segment], NextStart]:
        """A window's segments, and where the next window starts."""
        split = split_at_timestamps(
            result.tokens, self.owner.tokenizer.timestamp_begin, window.duration, keep_rest=self._ends_at_pause(window)
        )
        segments = [self._segment(timed, window, result) for timed in split.parts]
        following = _after_text(window, split)
        if self.options.word_timestamps:
            self._add_words(segments, window, result)
            if jump := self._after_silence(segments, window):
                return [], jump  # the window leaves no trace
            following = self._after_words(segments, window, split, following)
            following = self._before_hallucination(segments, window) or following
            self.last_speech = last_word_end(segments) or self.last_speech
        segments = [self._finished(segment, window) for segment in segments]
        self._remember(segments, result)
        return segments, following

    def _ends_at_pause(self, window: Window) -> bool:
        """Whether the window ends where a part was cut at a pause, so that its end cuts no word off."""
        return self.options.batch_size is not None and window.end == self.clips[self.clip][1]

    def _segment(self, timed: TimedTokens, window: Window, result: DecodingResult) -> Segment:
        language = {"language": result.language} if self.owner.detects_every_window else {}
        return {
            "seek": window.start,
            "start": window.start_time + timed.start,
            "end": window.start_time + timed.end,
            "text": self.owner.tokenizer.decode([token for token in timed.tokens if token < self.owner.tokenizer.eot]),
            "tokens": timed.tokens,
            "temperature": result.temperature,
            "avg_logprob": result.avg_logprob,
            "compression_ratio": result.compression_ratio,
            "no_speech_prob": result.no_speech_prob,
            **language,
        }

    def _add_words(self, segments: list[Segment], window: Window, result: DecodingResult) -> None:
        add_word_timestamps(
            segments=segments,
            model=self.owner.model,
            tokenizer=self.owner.tokenizer_for(result.language),
            mel=result.audio_features,
            num_frames=window.size,
            prepend_punctuations=self.options.prepend_punctuations,
            append_punctuations=self.options.append_punctuations,
            last_speech_timestamp=self.last_speech,
        )

    def _after_silence(self, segments: list[Segment], window: Window) -> NextStart | None:
        """Where speech begins, if a silence and text that looks hallucinated come first, and silences are skipped."""
        silence = self.options.hallucination_silence_threshold
        return None if silence is None else skip_leading_silence(segments, window, silence)

    def _before_hallucination(self, segments: list[Segment], window: Window) -> NextStart | None:
        """Drop what looks hallucinated, if silences are skipped; -> where to decode again."""
        if (silence := self.options.hallucination_silence_threshold) is None:
            return None
        return drop_hallucinations(segments, window, silence, self.last_speech, self.owner.n_frames)

    def _after_words(self, segments: list[Segment], window: Window, split: Split, following: NextStart) -> NextStart:
        """Continue after the last word, unless the text ends with a pause, or only a short silence follows the word."""
        last_word, silence = last_word_end(segments), self.options.hallucination_silence_threshold
        if split.ends_alone or last_word is None or last_word <= window.start_time:
            return following
        if silence is not None and window.full_end_time - last_word <= silence:
            return NextStart(window.end, "nothing but a short silence follows the last word")
        return NextStart(round(last_word * FRAMES_PER_SECOND), "the end of the last word")

    def _finished(self, segment: Segment, window: Window) -> Segment:
        """Empty a segment that says nothing or lasts no time, and let nothing end after the recording (or speech)."""
        if segment["start"] == segment["end"] or not segment["text"].strip():
            segment |= {"text": "", "tokens": [], "words": []}
        limit = window.end_time if self.options.vad or self.options.batch_size else self.owner.duration
        for part in (segment, *segment.get("words", ())):
            part |= {key: min(part[key], limit) for key in ("start", "end")}
        return segment | {"flags": flags(segment, self.options)} if self.options.guarded else segment

    def _remember(self, segments: list[Segment], result: DecodingResult) -> None:
        for segment in segments:
            self.history.tokens += segment["tokens"]
        if not self.options.condition_on_previous_text or result.temperature > RESET_TEMPERATURE:
            self.history.forget()


def _after_text(window: Window, split: Split) -> NextStart:
    """Where the next window starts by the timestamps of this one."""
    if split.steps is None:
        return NextStart(window.end, "the whole window was used")
    return NextStart(window.start + FRAMES_PER_TIMESTAMP * split.steps, "the last closing timestamp")
