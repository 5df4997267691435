"""The bookkeeping between windows: parts of a recording, tokens split into segments, the prompt of the next window.

Nothing here encodes or decodes: these are the rules by which a long recording becomes windows of 30 seconds, in mel
frames of 0.01 s, and their tokens become segments. Source: openai-whisper's ``transcribe.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

from npwhisper.audio import FRAMES_PER_SECOND, HOP_LENGTH, N_FRAMES, SAMPLE_RATE
from npwhisper.decoding.rules import TIME_PRECISION

Segment: TypeAlias = dict[str, Any]

FRAMES_PER_TIMESTAMP = round(TIME_PRECISION * FRAMES_PER_SECOND)  # 2


class Window(NamedTuple):
    """A part of the recording: `size` mel frames from frame `start`; the rest of its 30 seconds is padding.

    >>> window = Window(start=150, size=1000)
    >>> window.end, window.start_time, window.end_time, window.full_end_time
    (1150, 1.5, 11.5, 31.5)
    """

    start: int
    size: int

    @property
    def end(self) -> int:
        """The frame after its last one."""
        return self.start + self.size

    @property
    def duration(self) -> float:
        """Seconds of audio."""
        return self.size * HOP_LENGTH / SAMPLE_RATE

    @property
    def start_time(self) -> float:
        """Where it starts, in seconds."""
        return self.start * HOP_LENGTH / SAMPLE_RATE

    @property
    def end_time(self) -> float:
        """Where its audio ends, in seconds."""
        return self.start_time + self.duration

    @property
    def full_end_time(self) -> float:
        """Where 30 seconds would end."""
        return (self.start + N_FRAMES) * HOP_LENGTH / SAMPLE_RATE


class NextStart(NamedTuple):
    """The mel frame at which the next window starts, and why there, in words."""

    seek: int
    reason: str


class TimedTokens(NamedTuple):
    """A segment of a window before it gets its text: seconds from the window's start, and tokens."""

    start: float
    end: float
    tokens: list[int]


class Split(NamedTuple):
    """The pieces of a window, the timestamp at which its rest was cut off (or None), and whether it ends with a pause.

    `steps` counts timestamps of 0.02 s; `ends_alone` tells that the last token is a timestamp after text.
    """

    parts: list[TimedTokens]
    steps: int | None
    ends_alone: bool


def split_at_timestamps(tokens: Sequence[int], timestamp_begin: int, duration: float, keep_rest: bool = False) -> Split:
    """Split a window's tokens into segments where a closing timestamp meets an opening one.

    What follows the last such place was cut off by the window's end and is left for the next window, unless it ends
    with a timestamp of its own. Without such a place, all tokens are one segment, `duration` seconds long or up to its
    last timestamp. With `keep_rest` the window ends at a pause: what follows the last such place is a segment too.

    >>> split_at_timestamps([100, 1, 150, 150, 2], timestamp_begin=100, duration=30.0)
    Split(parts=[TimedTokens(start=0.0, end=1.0, tokens=[100, 1, 150])], steps=50, ends_alone=False)
    """
    is_stamp = [token >= timestamp_begin for token in tokens]
    ends_alone = is_stamp[-2:] == [False, True]
    cuts = [i + 1 for i in range(len(tokens) - 1) if is_stamp[i] and is_stamp[i + 1]]
    if not cuts:
        return Split([_untimed(list(tokens), timestamp_begin, duration)], None, ends_alone)
    if ends_alone:
        cuts.append(len(tokens))
    if keep_rest and not ends_alone and len(tokens) - cuts[-1] > 1:
        rest = TimedTokens((tokens[cuts[-1]] - timestamp_begin) * TIME_PRECISION, duration, list(tokens[cuts[-1] :]))
        before = split_at_timestamps(tokens[: cuts[-1]], timestamp_begin, duration)
        return Split([*before.parts, rest], None, True)
    parts = [_timed(list(tokens[a:b]), timestamp_begin) for a, b in pairwise([0, *cuts])]
    return Split(parts, None if ends_alone else tokens[cuts[-1] - 1] - timestamp_begin, ends_alone)


def _timed(tokens: list[int], timestamp_begin: int) -> TimedTokens:
    """A segment that lasts from its first token, a timestamp, to its last, another."""
    start, end = ((token - timestamp_begin) * TIME_PRECISION for token in (tokens[0], tokens[-1]))
    return TimedTokens(start, end, tokens)


def _untimed(tokens: list[int], timestamp_begin: int, duration: float) -> TimedTokens:
    """One segment of all tokens, up to their last timestamp; with none, or that of 0.00, `duration` seconds long."""
    steps = next((token - timestamp_begin for token in reversed(tokens) if token >= timestamp_begin), 0)
    return TimedTokens(0.0, steps * TIME_PRECISION if steps else duration, tokens)


def parse_clips(clip_timestamps: str | Sequence[float], n_frames: int) -> list[tuple[int, int]]:
    """Seconds ``start,end,...`` as frames within the recording: [(start, end), ...]; anything else raises ValueError.

    >>> parse_clips("1,2,5", n_frames=3000)
    [(100, 200), (500, 3000)]
    """
    given = clip_timestamps.split(",") if isinstance(clip_timestamps, str) else clip_timestamps
    try:
        points = [min(round(float(t) * FRAMES_PER_SECOND), n_frames) for t in given if t != ""] or [0]
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"clip_timestamps must be seconds 'start,end,...', got {clip_timestamps!r}: {error}"
        ) from error
    if len(points) % 2:
        points.append(n_frames)
    clips = list(zip(points[::2], points[1::2], strict=True))
    if any(not 0 <= start <= end for start, end in clips):
        raise ValueError(
            f"clip_timestamps must be seconds 'start,end,...', got {clip_timestamps!r}: put each end after its start"
        )
    return clips


def within(clips: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """What the clips and the spans have in common.

    >>> within([(0, 100), (200, 300)], [(50, 220), (250, 260)])
    [(50, 100), (200, 220), (250, 260)]
    """
    common = [(max(a, c), min(b, d)) for a, b in clips for c, d in spans]
    return [(start, end) for start, end in common if start < end]


@dataclass
class History:
    """The text so far, which conditions the next window.

    `kept` is given to every window, `initial` until the text is forgotten, and of `tokens` those since `reset`.
    """

    kept: list[int]
    initial: list[int]
    tokens: list[int] = field(default_factory=list)
    reset: int = 0

    def prompt(self, limit: int) -> list[int]:
        """At most `limit` tokens: what is always kept, then as much of the latest text as there is room for.

        >>> History([1, 2], [3], [4, 5, 6]).prompt(4)
        [1, 2, 5, 6]
        """
        past = self.initial + self.tokens[self.reset :]
        kept = self.kept[-limit:]
        room = limit - len(kept)
        return kept + past[-room:] if room else kept

    def forget(self) -> None:
        """Forget what was said so far."""
        self.initial, self.reset = [], len(self.tokens)


def last_word_end(segments: Sequence[Segment]) -> float | None:
    """When the last word ends, or else the last segment, in seconds; None without segments.

    >>> last_word_end([{"end": 2.0, "words": [{"end": 1.8}]}]), last_word_end([])
    (1.8, None)
    """
    words = [word for segment in segments for word in segment["words"]]
    return float(words[-1]["end"]) if words else float(segments[-1]["end"]) if segments else None
