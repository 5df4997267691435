"""Transcribing a recording of any length, one window of 30 seconds after the other.

`Transcription` is an iterator of segments: it decodes the next window only when its segments are asked for. `passage`
holds the rules for a window; `Transcription.decisions` says which of them applied. With a journal, each window is on
the disk before its segments are passed on, and `Transcription.state` is all that is needed to resume.

Source: openai-whisper's ``transcribe.py``; Radford et al. 2022, section 4.5.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np

from npwhisper import __version__
from npwhisper.audio import HOP_LENGTH, N_FRAMES, SAMPLE_RATE, LogMelStream
from npwhisper.compute.threads import using_threads
from npwhisper.decoding import DecodingResult, DecodingTask, encode, language_of_windows, require_languages
from npwhisper.decoding.options import EVERY_WINDOW, TranscribeOptions
from npwhisper.decoding.translating import warn_of_translation
from npwhisper.model import Network
from npwhisper.timing import spread
from npwhisper.tokenizer import Tokenizer, get_tokenizer
from npwhisper.tracing.seam import Array
from npwhisper.transcription.journal import NO_JOURNAL, Journal, JournalError, fingerprint
from npwhisper.transcription.keeping import Keeper
from npwhisper.transcription.passage import Attempt, Decision, Passage, Request
from npwhisper.transcription.voice import speech_spans
from npwhisper.transcription.windows import History, Segment, Window, parse_clips, within

__all__ = ["Attempt", "Decision", "Transcription"]


class Transcription(Iterator[Segment]):
    """The segments of a recording, decoded as they are asked for.

    Parameters
    ----------
    model : Whisper
    audio : str, path, file object, bytes or array
        What `load_audio` takes. It is not read before it is needed; `prepare` reads it.
    options : TranscribeOptions

    Raises
    ------
    AudioError, OSError
        If the audio cannot be read.
    JournalError
        If the journal cannot be written, is of another run, or another run is writing it.

    Attributes
    ----------
    language : str
        Of the recording: as given, or detected in the first window that is decoded. With "auto-window", the one that
        was detected for most of what was decoded so far.
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

    def __init__(self, model: Network, audio: Any, options: TranscribeOptions, keeper: Keeper | None = None) -> None:
        self.model, self.audio, self.options = model, audio, options
        self._keeper = keeper or Keeper(options)
        self.decisions: list[Decision] = []
        self._n_segments = 0

    def prepare(self) -> Transcription:
        """Read the recording, open the journal and find the language, so that what fails does so before any segment."""
        with self._at_work():
            self._prepare()
        return self

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        """Compute with the threads that were asked for; the last segment, or an error, closes the transcription."""
        try:
            with using_threads(self.options.num_threads), np.errstate(under="ignore"):
                yield
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop: no more segments come, and the journal is free for another run."""
        self._segments = iter(())
        self._keeper.close()

    def _prepare(self) -> None:
        warn_of_translation(self.model, self.options.decoding.task)
        _ = self.journal, self.clips
        try:
            _ = self.tokenizer, self.history, self.seek, self._segments
        except (LookupError, TypeError, AttributeError, ValueError, OverflowError) as error:
            if self.journal.state is None or isinstance(error, JournalError):
                raise
            raise JournalError(f"the journal {self._keeper.name} is damaged: start again without it") from error

    def __next__(self) -> Segment:
        with self._at_work():
            return next(self._segments)

    @cached_property
    def mel(self) -> LogMelStream:
        """The spectrogram of the recording, window by window."""
        o, n_mels = self.options, self.model.dims.n_mels
        chosen: dict[str, Any] = {"channel": o.channel, "audio_track": o.audio_track, "max_duration": o.max_duration}
        return LogMelStream(self.audio, n_mels, **chosen)

    @property
    def n_frames(self) -> int:
        """Mel frames of the recording."""
        return self.mel.n_frames

    @property
    def duration(self) -> float:
        """Seconds of audio."""
        return self.n_frames * HOP_LENGTH / SAMPLE_RATE

    @cached_property
    def clips(self) -> list[tuple[int, int]]:
        """The parts to transcribe, in mel frames."""
        clips = parse_clips(self.options.clip_timestamps, self.n_frames)
        return within(clips, speech_spans(self.mel)) if self.options.vad else clips

    @cached_property
    def journal(self) -> Journal:
        """What a journal holds of an earlier run; it must have had the same audio, model and options."""
        self._keeper.lock()
        return self._keeper.start(self.header) if self._keeper.keeps else NO_JOURNAL

    @property
    def header(self) -> dict[str, Any]:
        """What must be the same to resume."""
        return {
            "npwhisper": __version__,
            "audio": {"frames": self.n_frames, "checksum": self.mel.checksum},
            "model": {**vars(self.model.dims), "checksum": fingerprint(self.model.weights)},
            "options": self.options.identity(),
        }

    # The language

    @property
    def detects_every_window(self) -> bool:
        """Whether each window has a language of its own."""
        return self.options.decoding.language == EVERY_WINDOW and self.model.is_multilingual

    @property
    def language(self) -> str:
        """Of the recording; with "auto-window", that of most of what was decoded so far."""
        if not (self.detects_every_window and self._seconds):
            return self.first_language
        return max(self._seconds, key=self._seconds.__getitem__)

    @property
    def languages(self) -> list[str]:
        """Of each part that has one of its own: here of the whole."""
        return [self.language]

    @cached_property
    def _seconds(self) -> dict[str, float]:
        """How many seconds were decoded in each language."""
        return dict(self.journal.state.get("seconds", {})) if self.journal.state is not None else {}

    @cached_property
    def first_language(self) -> str:
        """As given, or detected in the first window that is decoded, or in several."""
        given = self.options.decoding.language
        if given not in (None, EVERY_WINDOW):
            return str(given)
        if self.journal.state is not None:
            return str(self.journal.state["language"])
        return self._detected[0] if self.model.is_multilingual else "en"

    def detect(self) -> tuple[str, dict[str, float]]:
        """The language of the first windows that would be decoded, and the probability of every language."""
        require_languages(self.model)
        with self._at_work():
            return self._detected

    @cached_property
    def _detected(self) -> tuple[str, dict[str, float]]:
        threshold = self.options.language_detection_threshold
        return language_of_windows(self.model, self._opening_windows(), threshold)

    def _opening_windows(self) -> Iterator[Array]:
        """The first windows, as far as the language is to be detected in them: mel or features."""
        windows = list(self._windows_of_clips())[: self.options.language_detection_segments]
        for window in windows:
            is_all = self.clips == [(0, self.n_frames)]
            if is_all and window.size < N_FRAMES and not window.start:
                yield self.mel.opening()  # as upstream: silence follows a short recording here, elsewhere zeros
            else:
                yield self.encode(window, keep=window == windows[0])[0]
        if not windows:
            yield self.mel.opening()

    def _windows_of_clips(self) -> Iterator[Window]:
        for start, end in self.clips:
            yield from (Window(i, min(N_FRAMES, end - i)) for i in range(start, end, N_FRAMES))

    def encode(self, window: Window, keep: bool = False) -> Array:
        """What the encoder makes of a window: (1, S, D); zeros, which are not silence, beyond its end."""
        kept, self._kept = getattr(self, "_kept", None), None
        features = kept[1] if kept and kept[0] == window else self._encode(window)
        if keep:
            self._kept = window, features
        return features

    def _encode(self, window: Window) -> Array:
        return encode(self.model, self.mel.window(window.start, window.size))

    def is_silent(self, window: Window) -> bool:
        """Whether the rest of a part need not be decoded, because nobody speaks in it; here it always is decoded."""
        return False

    def tokenizer_for(self, language: str) -> Tokenizer:
        """The tokenizer for a window in `language`."""
        model, task = self.model, self.options.decoding.task
        return get_tokenizer(model.is_multilingual, num_languages=model.num_languages, language=language, task=task)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer for the recording's language."""
        return self.tokenizer_for(self.first_language)

    # The windows

    def new_history(self) -> History:
        """The prompt of the first window."""
        given = (self.options.hotwords, self.options.initial_prompt)
        hotwords, initial = (
            self.tokenizer.encode(" " + text.strip()) if text and text.strip() else [] for text in given
        )
        return History(hotwords + initial, []) if self.options.carry_initial_prompt else History(hotwords, initial)

    @cached_property
    def _passage(self) -> Passage:
        passage = Passage(self, self.clips, self.new_history(), np.random.default_rng(self.options.decoding.seed))
        if self.journal.state is not None:
            passage.restore(self.journal.state, self.journal.segments)
        return passage

    @property
    def history(self) -> History:
        """The text so far, which conditions the next window."""
        return self._passage.history

    @property
    def seek(self) -> int:
        """The mel frame at which the next window starts."""
        return self._passage.seek

    @property
    def text(self) -> str:
        """The whole text so far."""
        return self.tokenizer.decode(self.history.tokens)

    def state(self) -> dict[str, Any]:
        """What must be known to continue after the last window, besides its segments and those before: plain values."""
        return {"language": self.language, "seconds": self._seconds, **self._passage.state()}

    @cached_property
    def _segments(self) -> Iterator[Segment]:
        old = self.journal.segments
        self._n_segments = len(old)
        return chain(old, chain.from_iterable(map(self._recorded, self._all_windows())))

    def _all_windows(self) -> Iterator[list[Segment]]:
        """The segments of one window after the other."""
        while window := self._passage.next_window():
            segments = self._answer(self._passage.transcribe(window))
            self.report(self._passage.decisions)
            yield segments

    def _answer(self, requests: Generator[Request, DecodingResult, list[Segment]]) -> list[Segment]:
        """Decode all that a window asks for; -> its segments."""
        try:
            request = next(requests)
            while True:
                (result,) = DecodingTask(self.model, request.options).run(request.features)
                request = requests.send(result)
        except StopIteration as finished:
            segments: list[Segment] = finished.value
            return segments

    def _recorded(self, segments: list[Segment]) -> list[Segment]:
        """Number the segments of a window, and write them to the journal before they are passed on."""
        if self.options.spread_words:
            segments = [{**segment, "words": spread(segment["words"])} for segment in segments]
        segments = [{"id": i, **self._keeper.tags, **segment} for i, segment in enumerate(segments, self._n_segments)]
        self._n_segments += len(segments)
        self._keeper.add(segments, self.state())
        return segments

    def report(self, decisions: list[Decision]) -> None:
        """Take over decisions, and call `on_decision`."""
        while decisions:
            decision = decisions.pop(0)
            self.decisions.append(decision)
            seconds = decision.end - decision.start
            self._seconds[decision.language] = self._seconds.get(decision.language, 0.0) + seconds
            if self.options.on_decision is not None:
                self.options.on_decision(decision)
            if self.options.progress is not None:
                self.options.progress(min(decision.next_start, self.duration), self.duration)
