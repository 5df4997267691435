"""The channels of a recording, each transcribed by itself: telephone calls, interviews with one microphone each.

Every channel is a `Transcription` of its own, with its own language and its own prompt. Their segments come in order of
time: the next window of a channel is decoded when its segments are the next ones needed.
"""

from __future__ import annotations

import heapq
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import combinations
from typing import Any

from npwhisper.audio.files import count_channels, located
from npwhisper.audio.units import AudioError, AudioWarning
from npwhisper.decoding.options import TranscribeOptions
from npwhisper.model import Network
from npwhisper.transcription.journal import Journal, JournalError
from npwhisper.transcription.keeping import Keeper
from npwhisper.transcription.run import Transcription
from npwhisper.transcription.windows import Segment

MOST_CHANNELS = 16


class SeparateChannels(Iterator[Segment]):
    """The segments of all channels, in order of time.

    Each segment has its ``channel``, a number from 0 on, and its ``language``. The attributes are those of
    `Transcription`, for all channels together.

    Attributes
    ----------
    streams : list of Transcription
        One for each channel.
    languages : list of str
        Of each channel.
    """

    def __init__(
        self, model: Network, audio: Any, options: TranscribeOptions, start: Callable[..., Transcription]
    ) -> None:
        self.model, self.options, self.text = model, options, ""
        self._keeper, self._n_given = Keeper(options), 0
        self.streams = list[Transcription]()
        self._audio, self._start = audio, start

    def prepare(self) -> SeparateChannels:
        """As `Transcription.prepare`, for every channel."""
        try:
            self._keeper.lock()
            self.streams = self._streams()
            for stream in self.streams:
                stream.prepare()
            self._warn()
        except BaseException:
            self.close()
            raise
        return self

    def _streams(self) -> list[Transcription]:
        source, options = located(self._audio), self.options
        n_channels = _checked_count(count_channels(source, options.audio_track))
        ours = replace(options, channels="mix", journal=None, progress=options.progress and self._progress)
        return [
            self._start(self.model, source, replace(ours, channel=i), ChannelKeeper(self, i)) for i in range(n_channels)
        ]

    def _warn(self) -> None:
        if len(self.streams) == 1:
            warnings.warn("the recording has one channel: there is nothing to separate", AudioWarning, stacklevel=2)
        for a, b in combinations(self.streams, 2):
            if a.mel.checksum == b.mel.checksum:
                both = f"channels {a.options.channel} and {b.options.channel} of the recording hold the same sound"
                warnings.warn(f"{both}: they are transcribed twice; choose one (channel)", AudioWarning, stacklevel=2)

    def close(self) -> None:
        """Stop: no more segments come, and the journal is free for another run."""
        for stream in self.streams:
            stream.close()
        self._keeper.close()

    def __next__(self) -> Segment:
        try:
            segment = next(self._merged)
        except BaseException:
            self.close()
            raise
        self.text += segment["text"]
        return segment

    @cached_property
    def _merged(self) -> Iterator[Segment]:
        marked = (_with_language(stream) for stream in self.streams)
        return numbered(heapq.merge(*marked, key=lambda segment: segment["start"]))

    def _progress(self, done: float, total: float) -> None:
        assert self.options.progress is not None
        self.options.progress(min(self.seek / 100, total), total)

    @property
    def languages(self) -> list[str]:
        """Of each channel."""
        return [stream.language for stream in self.streams]

    @property
    def language(self) -> str:
        """That of most of the text so far; before there is some, that of the first channel."""
        return max(self.streams, key=lambda stream: len(stream.history.tokens)).language

    @property
    def duration(self) -> float:
        """Seconds of audio."""
        return max(stream.duration for stream in self.streams)

    @property
    def seek(self) -> int:
        """The mel frame up to which all channels are transcribed."""
        return min(stream.seek for stream in self.streams)

    @property
    def decisions(self) -> list[Any]:
        """One for each window so far, one channel after the other."""
        return [decision for stream in self.streams for decision in stream.decisions]

    # The journal: one for all channels; every entry has the state of each

    @cached_property
    def journal(self) -> Journal:
        """What a journal holds of an earlier run."""
        audio = [stream.header["audio"] for stream in self.streams]
        header = {**self.streams[0].header, "audio": audio, "options": self.options.identity()}
        journal = self._keeper.start(header)
        self._n_entries = journal.state["windows"] if journal.state else 0
        self._states = dict(journal.state["channels"]) if journal.state else {}
        return journal

    def journal_of(self, channel: int) -> Journal:
        """The part of the journal that belongs to a channel."""
        try:
            header, segments, _, size = self.journal
            mine = [segment for segment in segments if segment["channel"] == channel]
            return Journal(header, mine, self._states.get(str(channel)), size)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, JournalError):
                raise
            raise JournalError(f"the journal {self._keeper.name} is damaged: start again without it") from error

    def add(self, channel: int, segments: Sequence[Mapping[str, Any]], state: Mapping[str, Any]) -> None:
        """Write a finished window of a channel to the journal."""
        self._states[str(channel)] = dict(state)
        self._n_entries += 1
        whole = {"windows": self._n_entries, "language": self.language, "channels": self._states}
        self._keeper.add(segments, whole)


class ChannelKeeper(Keeper):
    """Keeps what one channel needs in the journal of all."""

    def __init__(self, whole: SeparateChannels, channel: int) -> None:
        super().__init__(whole.options)
        self._whole, self._channel, self.tags = whole, channel, {"channel": channel}

    def lock(self) -> None:
        """The whole has locked it."""

    def start(self, header: Mapping[str, Any]) -> Journal:
        """What the journal holds of this channel."""
        return self._whole.journal_of(self._channel)

    def add(self, segments: Sequence[Mapping[str, Any]], state: Mapping[str, Any]) -> None:
        """Write a finished window to the journal."""
        if self.keeps:
            self._whole.add(self._channel, segments, state)


def in_order(segments: Iterable[Segment]) -> list[Segment]:
    """Segments of a journal, which are in the order of decoding, in the order of time."""
    return list(numbered(sorted(segments, key=lambda segment: segment["start"])))


def numbered(segments: Iterable[Segment]) -> Iterator[Segment]:
    """Segments with their place in the transcript as ``id``."""
    return (segment | {"id": i} for i, segment in enumerate(segments))


def _with_language(stream: Transcription) -> Iterator[Segment]:
    for segment in stream:
        yield {**segment, "language": segment.get("language", stream.language)}


def _checked_count(n_channels: int) -> int:
    if n_channels > MOST_CHANNELS:
        raise AudioError(
            f"the recording has {n_channels} channels; at most {MOST_CHANNELS} are transcribed separately: "
            "choose one (channel)"
        )
    return n_channels
