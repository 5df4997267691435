"""Many windows at once: a recording is cut where nobody speaks, and the cuts are transcribed side by side.

Each cut is a `Passage` of its own, not conditioned on the text before it, so its result is what it would be alone. A
finished cut makes room for the next one, and segments come in the order of the recording. At most `batch_size` cuts are
under way, which bounds the memory.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from npwhisper.decoding import DecodingResult, DecodingTask, WindowDecoder, run_once
from npwhisper.decoding.options import TranscribeOptions
from npwhisper.model import Network
from npwhisper.tracing.seam import Array
from npwhisper.transcription.keeping import Keeper
from npwhisper.transcription.passage import Passage, Request
from npwhisper.transcription.run import Transcription
from npwhisper.transcription.separate import SeparateChannels
from npwhisper.transcription.voice import cut_at_pauses, is_speech, speech_share
from npwhisper.transcription.windows import History, Segment, Window

Job: TypeAlias = Generator[Request, DecodingResult, list[Segment]]


def start_transcription(model: Network, audio: Any, options: TranscribeOptions) -> Transcription | SeparateChannels:
    """The transcription of a recording, ready for its first segment: batched, of separate channels, or neither."""
    if options.channels == "separate":
        return SeparateChannels(model, audio, options, _made).prepare()
    return _made(model, audio, options).prepare()


def _made(model: Network, audio: Any, options: TranscribeOptions, keeper: Keeper | None = None) -> Transcription:
    kind = Transcription if options.batch_size is None else BatchedTranscription
    return kind(model, audio, options, keeper)


class BatchedTranscription(Transcription):
    """The segments of a recording, `batch_size` cuts of which are transcribed at a time. See `Transcription`."""

    name: str | None = None  # what errors call the recording, if it is one of several
    end: int | None = None  # the cut before which a part ends

    def prepare(self) -> Transcription:
        """As `Transcription.prepare`; also finds the cuts."""
        super().prepare()
        _ = self.cuts
        return self

    @cached_property
    def cuts(self) -> list[tuple[int, int]]:
        """The parts that are transcribed side by side, at most 30 seconds each, in mel frames."""
        return cut_at_pauses(self.clips, self.share)

    def part(self, first: int, end: int) -> BatchedTranscription:
        """The cuts from `first` to before `end` as a transcription of their own, which may be in another process.

        Their segments are those of the whole, numbered from 0 on.
        """
        part = BatchedTranscription(self.model, self.audio, self.options)
        part.mel, part.clips, part.cuts, part.share = self.mel, self.clips, self.cuts, self.share
        part.first_language, part._n_done, part.end = self.first_language, first, end
        return part

    @cached_property
    def share(self) -> Array:
        """How much around each mel frame sounds like speech."""
        return speech_share(self.mel)

    def is_silent(self, window: Window) -> bool:
        """Whether nobody speaks in the rest of a cut."""
        return not is_speech(self.share[window.start : window.end])

    @cached_property
    def _n_done(self) -> int:
        """How many cuts are finished and passed on."""
        return 0 if self.journal.state is None else int(self.journal.state["clip"])

    @cached_property
    def _history(self) -> History:
        tokens = [token for segment in self.journal.segments for token in segment["tokens"]]
        return History([], [], tokens, len(tokens))

    @property
    def history(self) -> History:
        """The text so far; no cut is conditioned on it."""
        return self._history

    @property
    def seek(self) -> int:
        """The mel frame up to which all was transcribed."""
        return self.cuts[self._n_done - 1][1] if self._n_done else 0

    def state(self) -> dict[str, Any]:
        """What must be known to continue after the last cut."""
        return {
            "language": self.language,
            "seconds": self._seconds,
            "seek": self.seek,
            "clip": self._n_done,
            "windows": self._n_done,
            "initial": [],
            "reset": len(self._history.tokens),
            "last_speech": 0.0,
            "seeds": {},
        }

    def passages(self) -> Iterator[Passage]:
        """One for each cut that is still to be done, made when it is asked for."""
        for i in range(len(self.cuts))[self._n_done : self.end]:
            seed = self.options.decoding.seed
            seeds = np.random.default_rng(None if seed is None else [seed, i])
            yield Passage(self, self.cuts[i : i + 1], self.new_history(), seeds, is_first=i == 0)

    def give(self, passage: Passage, segments: list[Segment]) -> list[Segment]:
        """Count a finished cut and report its decisions."""
        self._n_done += 1
        self._history.tokens += [token for segment in segments for token in segment["tokens"]]
        self.report(passage.decisions)
        return segments

    def take(self, passage: Passage, segments: list[Segment]) -> list[Segment]:
        """The segments of a finished cut, numbered."""
        return self._recorded(self.give(passage, segments))

    def _all_windows(self) -> Iterator[list[Segment]]:
        assert self.options.batch_size is not None
        for passage, segments in run_side_by_side(self.passages(), self.options.batch_size):
            yield self.give(passage, segments)


class _Slot:
    """A passage under way: the window that it waits for."""

    def __init__(self, number: int, passage: Passage) -> None:
        self.number, self.passage = number, passage
        self.job: Job = passage.transcribe_all()
        self.window: WindowDecoder | None = None
        self.segments = list[Segment]()
        self._go_on(None)

    def _go_on(self, result: DecodingResult | None) -> None:
        """Send the passage what it waited for, and prepare what it asks for next."""
        model, before = self.passage.owner.model, self.window
        try:
            request = self.job.send(result)  # type: ignore[arg-type]
        except StopIteration as finished:
            self.window, self.segments = None, finished.value
            return
        except Exception as error:
            raise named(error, getattr(self.passage.owner, "name", None)) from error.__cause__
        is_retry = before is not None and np.shares_memory(before.features, request.features)
        cache = before.cache if is_retry and before is not None else None
        self.window = WindowDecoder(DecodingTask(model, request.options), request.features[0], cache)

    def settle(self) -> None:
        """Take what was decoded."""
        while self.window is not None and self.window.done:
            self._go_on(self.window.result())


def named(error: Exception, name: str | None) -> Exception:
    """The error, which now says which recording it is about, unless it does already.

    >>> named(ValueError("the audio holds NaN"), "'a.wav'"), named(ValueError("no such file 'a.wav'"), "'a.wav'")
    (ValueError("'a.wav': the audio holds NaN"), ValueError("no such file 'a.wav'"))
    """
    if name and name not in str(error) and len(error.args) == 1 and isinstance(error.args[0], str):
        error.args = (f"{name}: {error.args[0]}",)
    return error


def run_side_by_side(passages: Iterable[Passage], size: int) -> Iterator[tuple[Passage, list[Segment]]]:
    """Transcribe passages, at most `size` at a time; yields each with its segments, in order, as soon as it is done."""
    waiting, active, finished, following = enumerate(passages), list[_Slot](), dict[int, _Slot](), 0
    while True:
        while len(active) < size and (item := next(waiting, None)) is not None:
            slot = _Slot(*item)
            (active.append(slot) if slot.window is not None else finished.update({slot.number: slot}))
        while (slot_done := finished.pop(following, None)) is not None:
            following += 1
            yield slot_done.passage, slot_done.segments
        if not active:
            return
        run_once(active[0].passage.owner.model, [slot.window for slot in active if slot.window is not None])
        for slot in active:
            slot.settle()
        finished.update({slot.number: slot for slot in active if slot.window is None})
        active = [slot for slot in active if slot.window is not None]
