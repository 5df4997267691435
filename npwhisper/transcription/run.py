"""Transcribing a recording of any length: windows of 30 seconds, each starting where the text of the last one ended.

`Transcription` is an iterator of segments: it decodes the next window only when its segments are asked for. For each
window it tries temperatures until the text looks sound, may skip the window as silence, cuts the tokens into segments
at their timestamps, and moves on. Why it did what it did stands in `Transcription.decisions`. With a journal, each
window is on the disk before its segments are given, and `Transcription.state` is all that is needed to go on.

Source: openai-whisper's ``transcribe.py``; Radford et al. 2022, section 4.5.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from npwhisper import __version__
from npwhisper.audio import FRAMES_PER_SECOND, HOP_LENGTH, N_FRAMES, SAMPLE_RATE, LogMelStream
from npwhisper.compute.parallel import set_num_threads
from npwhisper.decoding import DecodingResult, DecodingTask, likeliest_language
from npwhisper.decoding.options import EVERY_WINDOW, DecodingOptions, TranscribeOptions
from npwhisper.model import Network
from npwhisper.timing import add_word_timestamps
from npwhisper.tokenizer import Tokenizer, get_tokenizer
from npwhisper.tracing.seam import Array
from npwhisper.transcription.hallucination import drop_hallucinations, flags, skip_leading_silence
from npwhisper.transcription.journal import NO_JOURNAL, Journal, JournalError, fingerprint, record, start_journal
from npwhisper.transcription.voice import speech_spans
from npwhisper.transcription.windows import (
    FRAMES_PER_TIMESTAMP,
    Cut,
    History,
    Move,
    Piece,
    Segment,
    Window,
    cut_at_timestamps,
    last_word_end,
    parse_clips,
    within,
)

HOT = 0.5  # above this temperature a text is too wild to be told to the next window


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


class Transcription(Iterator[Segment]):
    """The segments of a recording, decoded as they are asked for.

    Parameters
    ----------
    model : Whisper
    audio : str, path, file object, bytes or array
        What `load_audio` takes. It is read window by window, and once before for its length and loudness.
    options : TranscribeOptions

    Raises
    ------
    AudioError, OSError
        If the audio cannot be read.
    JournalError
        If the journal cannot be written, or is of another run.

    Attributes
    ----------
    language : str
        Of the recording, as given or detected in its first 30 seconds.
    duration : float
        Seconds of audio.
    seek : int
        The mel frame (a hundredth of a second) at which the next window starts.
    decisions : list of Decision
        One for each window so far.

    Examples
    --------
    >>> import npwhisper
    >>> stream = Transcription(npwhisper.load_model(), npwhisper.example(), TranscribeOptions(temperature=0))
    >>> segments = list(stream)
    >>> [decision.skipped for decision in stream.decisions], stream.seek / 100 == stream.duration
    ([False], True)
    """

    def __init__(self, model: Network, audio: Any, options: TranscribeOptions) -> None:
        self.model, self.options = model, options
        if options.num_threads is not None:
            set_num_threads(options.num_threads)
        self.mel = LogMelStream(audio, model.dims.n_mels)
        self.n_frames = self.mel.n_frames
        self.duration = self.n_frames * HOP_LENGTH / SAMPLE_RATE
        self.clips = parse_clips(options.clip_timestamps, self.n_frames)
        self.decisions: list[Decision] = []
        self._seeds = np.random.default_rng(options.decoding.seed)
        self._n_windows = self._n_segments = self._clip = 0
        self._last_speech = 0.0
        old = self._open_journal()
        if options.vad:
            self.clips = within(self.clips, speech_spans(self.mel))
        self.seek = self.clips[0][0] if self.clips else self.n_frames
        self.language = self._language() if old.state is None else str(old.state.get("language"))
        self.tokenizer = self._tokenizer(self.language)
        self.history = self._history()
        if old.state is not None:
            try:
                self._restore(old.state, old.segments)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise JournalError(
                    f"the journal {str(options.journal)!r} is damaged: start again without it"
                ) from error
        self._segments = chain(old.segments, chain.from_iterable(self._all_windows()))

    def __next__(self) -> Segment:
        return next(self._segments)

    def state(self) -> dict[str, Any]:
        """What must be known to go on after the last window, besides its segments and those before: plain values."""
        return {
            "language": self.language,
            "seek": self.seek,
            "clip": self._clip,
            "windows": self._n_windows,
            "initial": self.history.initial,
            "reset": self.history.reset,
            "last_speech": self._last_speech,
            "seeds": self._seeds.bit_generator.state,
        }

    def _restore(self, state: Mapping[str, Any], segments: list[Segment]) -> None:
        """Go on from where another transcription of the same recording was."""
        self.seek, self._clip, self._n_windows = state["seek"], state["clip"], state["windows"]
        self.history.initial, self.history.reset = state["initial"], state["reset"]
        self.history.tokens = [token for segment in segments for token in segment["tokens"]]
        self._last_speech, self._n_segments = state["last_speech"], len(segments)
        self._seeds.bit_generator.state = state["seeds"]

    def _open_journal(self) -> Journal:
        """What a journal holds of an earlier run; it must have had the same audio, model and options."""
        path = self.options.journal
        if path is None:
            return NO_JOURNAL
        header = {
            "npwhisper": __version__,
            "audio": {"frames": self.n_frames, "checksum": self.mel.checksum},
            "model": {**vars(self.model.dims), "checksum": fingerprint(self.model.weights)},
            "options": self.options.identity(),
        }
        return start_journal(path, header, self.options.resume)

    @property
    def text(self) -> str:
        """All that was said so far."""
        return self.tokenizer.decode(self.history.tokens)

    @property
    def _detects_every_window(self) -> bool:
        return self.options.decoding.language == EVERY_WINDOW and self.model.is_multilingual

    def _language(self) -> str:
        given = self.options.decoding.language
        if given not in (None, EVERY_WINDOW):
            return str(given)
        if not self.model.is_multilingual:
            return "en"
        return likeliest_language(self.model, self.mel.opening())

    def _tokenizer(self, language: str) -> Tokenizer:
        model, task = self.model, self.options.decoding.task
        return get_tokenizer(model.is_multilingual, num_languages=model.num_languages, language=language, task=task)

    def _history(self) -> History:
        """What the first window is told."""
        given = (self.options.hotwords, self.options.initial_prompt)
        hotwords, initial = (
            self.tokenizer.encode(" " + text.strip()) if text and text.strip() else [] for text in given
        )
        return History(hotwords + initial, []) if self.options.carry_initial_prompt else History(hotwords, initial)

    def _all_windows(self) -> Iterator[list[Segment]]:
        """The segments of one window after the other, written down before they are given."""
        while window := self._next_window():
            segments = [{"id": i, **segment} for i, segment in enumerate(self._decode_window(window), self._n_segments)]
            self._n_segments += len(segments)
            self._n_windows += 1
            if self.options.journal is not None:
                record(self.options.journal, segments, self.state())
            yield segments

    def _next_window(self) -> Window | None:
        """What to decode next, if anything is left."""
        while self._clip < len(self.clips):
            end = self.clips[self._clip][1]
            if self.seek < end:
                return Window(self.seek, min(N_FRAMES, end - self.seek))
            self._clip += 1
            if self._clip < len(self.clips):
                self.seek = self.clips[self._clip][0]
        return None

    def _decode_window(self, window: Window) -> list[Segment]:
        """The segments of one window; moves `seek` on and reports the decision."""
        result, attempts = self._decode_with_fallback(window)
        skipped = self._is_silence(result)
        segments, move = list[Segment](), Move(window.end, "the window was taken for silence")
        if not skipped:
            segments, move = self._use(window, result)
        if move.seek <= window.start:
            move = Move(window.end, f"not back to {move.reason}")
        self.seek = move.seek
        self._report(window, result.language, attempts, skipped, move)
        return segments

    def _decode_with_fallback(self, window: Window) -> tuple[DecodingResult, list[Attempt]]:
        """Try one temperature after the other until the text looks sound; if none does, the last result stays."""
        features, attempts = self.model.embed_audio(self._mel(window)), []
        for temperature in self.options.temperatures():
            (result,) = DecodingTask(self.model, self._window_options(temperature)).run(features)
            failed = self._failed_checks(result)
            scores = (result.avg_logprob, result.compression_ratio, result.no_speech_prob)
            attempts.append(Attempt(temperature, *scores, result.text, failed))
            if not failed or ("avg_logprob" in failed and self._sounds_empty(result)):
                break
        return result, attempts

    def _mel(self, window: Window) -> Array:
        """What the encoder gets: zeros, which are not silence, beyond the window's end."""
        return self.mel.window(window.start, window.size)

    def _window_options(self, temperature: float) -> DecodingOptions:
        """The options of one attempt at the next window."""
        options = self.options.for_temperature(temperature)
        is_seeded = options.seed is not None or self.options.journal is not None  # a journal holds the state of chance
        return replace(
            options,
            language=None if self._detects_every_window else self.language,
            prompt=self.history.prompt(self.model.dims.n_text_ctx // 2 - 1),
            prefix=None if self._n_windows else options.prefix,
            seed=int(self._seeds.integers(2**63)) if is_seeded else None,
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

    def _use(self, window: Window, result: DecodingResult) -> tuple[list[Segment], Move]:
        """A window's segments, and where the next window starts."""
        cut = cut_at_timestamps(result.tokens, self.tokenizer.timestamp_begin, window.duration)
        segments = [self._segment(piece, window, result) for piece in cut.pieces]
        move = Move(window.end, "the whole window was used")
        if cut.steps is not None:
            move = Move(window.start + FRAMES_PER_TIMESTAMP * cut.steps, "the last closing timestamp")
        if self.options.word_timestamps:
            self._add_words(segments, window, result)
            move = self._after_words(segments, window, cut, move)
            silence = self.options.hallucination_silence_threshold
            if silence is not None:
                jump = skip_leading_silence(segments, window, silence)
                if jump is not None:
                    return [], jump  # the window leaves no trace
                move = drop_hallucinations(segments, window, silence, self._last_speech, self.n_frames) or move
            self._last_speech = last_word_end(segments) or self._last_speech
        segments = [self._finished(segment, window) for segment in segments]
        self._remember(segments, result)
        return segments, move

    def _segment(self, piece: Piece, window: Window, result: DecodingResult) -> Segment:
        language = {"language": result.language} if self._detects_every_window else {}
        return {
            "seek": window.start,
            "start": window.start_time + piece.start,
            "end": window.start_time + piece.end,
            "text": self.tokenizer.decode([token for token in piece.tokens if token < self.tokenizer.eot]),
            "tokens": piece.tokens,
            "temperature": result.temperature,
            "avg_logprob": result.avg_logprob,
            "compression_ratio": result.compression_ratio,
            "no_speech_prob": result.no_speech_prob,
            **language,
        }

    def _add_words(self, segments: list[Segment], window: Window, result: DecodingResult) -> None:
        add_word_timestamps(
            segments=segments,
            model=self.model,
            tokenizer=self._tokenizer(result.language),
            mel=result.audio_features,
            num_frames=window.size,
            prepend_punctuations=self.options.prepend_punctuations,
            append_punctuations=self.options.append_punctuations,
            last_speech_timestamp=self._last_speech,
        )

    def _after_words(self, segments: list[Segment], window: Window, cut: Cut, move: Move) -> Move:
        """Go on after the last word, unless the text ends with a pause, or only a short silence follows the word."""
        last_word, silence = last_word_end(segments), self.options.hallucination_silence_threshold
        if cut.ends_alone or last_word is None or last_word <= window.start_time:
            return move
        if silence is not None and window.full_end_time - last_word <= silence:
            return Move(window.end, "nothing but a short silence follows the last word")
        return Move(round(last_word * FRAMES_PER_SECOND), "the end of the last word")

    def _finished(self, segment: Segment, window: Window) -> Segment:
        """Empty a segment that says nothing or lasts no time, and let nothing end after the recording (or speech)."""
        if segment["start"] == segment["end"] or not segment["text"].strip():
            segment |= {"text": "", "tokens": [], "words": []}
        limit = window.end_time if self.options.vad else self.duration
        for part in (segment, *segment.get("words", ())):
            part |= {key: min(part[key], limit) for key in ("start", "end")}
        return segment | {"flags": flags(segment, self.options)} if self.options.guarded else segment

    def _remember(self, segments: list[Segment], result: DecodingResult) -> None:
        for segment in segments:
            self.history.tokens += segment["tokens"]
        if not self.options.condition_on_previous_text or result.temperature > HOT:
            self.history.forget()

    def _report(self, window: Window, language: str, attempts: list[Attempt], skipped: bool, move: Move) -> None:
        next_start = move.seek / FRAMES_PER_SECOND
        decision = Decision(window.start_time, window.end_time, language, attempts, skipped, next_start, move.reason)
        self.decisions.append(decision)
        if self.options.on_decision is not None:
            self.options.on_decision(decision)
        if self.options.progress is not None:
            self.options.progress(min(next_start, self.duration), self.duration)
