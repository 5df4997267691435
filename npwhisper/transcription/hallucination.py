"""Text where nobody speaks: segments whose words are improbable, too short or too long, surrounded by silence.

Source: the rules behind ``hallucination_silence_threshold`` in openai-whisper's ``transcribe.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from npwhisper.audio import FRAMES_PER_SECOND
from npwhisper.decoding import compression_ratio
from npwhisper.decoding.options import APPENDED, PREPENDED, TranscribeOptions
from npwhisper.transcription.windows import NextStart, Segment, Window

NEAR = 2.0  # seconds: a segment this close to an end of its window may be one that the window cut


def word_anomaly_score(word: dict[str, Any]) -> float:
    """How odd one word is: 1 if it is improbable, more the farther its duration lies outside 0.133 to 2 seconds.

    >>> word_anomaly_score({"probability": 0.1, "start": 0.0, "end": 3.0})
    2.0
    """
    duration = word["end"] - word["start"]
    score = 1.0 if word["probability"] < 0.15 else 0.0
    return float(score + 15 * max(0.0, 0.133 - duration) + max(0.0, duration - 2.0))


def is_anomalous(segment: Segment | None) -> bool:
    """Whether the first eight words of a segment are odd taken together.

    >>> is_anomalous({"words": [{"word": " you", "probability": 0.05, "start": 0.0, "end": 0.5}]})
    True
    """
    if segment is None or not segment["words"]:
        return False
    words = [word for word in segment["words"] if word["word"] not in PREPENDED + APPENDED][:8]
    score = sum(word_anomaly_score(word) for word in words)
    return score >= 3 or score + 0.01 >= len(words)


def first_with_words(segments: Sequence[Segment]) -> Segment | None:
    """The first segment that has words.

    >>> first_with_words([{"words": []}, {"words": [{"word": " you"}]}])
    {'words': [{'word': ' you'}]}
    """
    return next((segment for segment in segments if segment["words"]), None)


def skip_leading_silence(segments: Sequence[Segment], window: Window, threshold: float) -> NextStart | None:
    """Where to resume if a window begins with silence, followed by text that looks hallucinated.

    >>> word = {"word": " you", "probability": 0.05, "start": 20.0, "end": 20.5}
    >>> segments = [{"start": 20.0, "end": 20.5, "words": [word]}]
    >>> skip_leading_silence(segments, Window(0, 3000), threshold=2.0).seek
    2000
    """
    first = first_with_words(segments)
    gap = first["start"] - window.start_time if first is not None else 0.0
    if gap <= threshold or not is_anomalous(first):
        return None
    start = window.start + round(gap * FRAMES_PER_SECOND)
    return NextStart(start, "a silence before a segment that looks hallucinated")


def first_hallucination(
    segments: Sequence[Segment], window: Window, threshold: float, last_speech: float
) -> int | None:
    """The index of the first odd segment with silence, or more odd ones, on both sides.

    Parameters
    ----------
    segments : sequence of dict
        With ``start``, ``end`` and ``words``.
    window : Window
    threshold : float
        Seconds that count as silence.
    last_speech : float
        When somebody last spoke before the window, in seconds.

    Examples
    --------
    >>> word = {"word": " you", "probability": 0.05, "start": 20.0, "end": 20.5}
    >>> first_hallucination([{"start": 20.0, "end": 20.5, "words": [word]}], Window(0, 3000), 2.0, last_speech=0.0)
    0
    """
    for i, segment in enumerate(segments):
        if not segment["words"]:
            continue
        if is_anomalous(segment):
            start, end, following = segment["start"], segment["end"], first_with_words(segments[i + 1 :])
            next_start = following["words"][0]["start"] if following else window.end_time
            before = start - last_speech > threshold or start < threshold or start - window.start_time < NEAR
            after = next_start - end > threshold or is_anomalous(following) or window.full_end_time - end < NEAR
            if before and after:
                return i
        last_speech = segment["end"]
    return None


def drop_hallucinations(
    segments: list[Segment], window: Window, threshold: float, last_speech: float, n_frames: int
) -> NextStart | None:
    """Remove the first hallucinated segment in silence and all after it, in place; return where to resume.

    `n_frames` is the length of the recording; if less than a silence is left, nothing is decoded again.

    >>> word = {"word": " you", "probability": 0.05, "start": 20.0, "end": 20.5}
    >>> segments = [{"start": 20.0, "end": 20.5, "words": [word]}]
    >>> drop_hallucinations(segments, Window(0, 3000), 2.0, last_speech=0.0, n_frames=6000).seek, segments
    (2000, [])
    """
    i = first_hallucination(segments, window, threshold, last_speech)
    if i is None:
        return None
    seek = round(max(window.start_time + 1, segments[i]["start"]) * FRAMES_PER_SECOND)
    if n_frames / FRAMES_PER_SECOND - segments[i]["end"] < threshold:
        seek = n_frames
    del segments[i:]
    return NextStart(seek, "a segment in silence that looks hallucinated")


def flags(segment: Segment, options: TranscribeOptions) -> list[str]:
    """Why a segment may be hallucinated: "loop" (it repeats itself), "improbable", "silence" (the window sounds empty).

    >>> scores = {"text": " and so" * 20, "compression_ratio": 9.0, "avg_logprob": -0.2, "no_speech_prob": 0.1}
    >>> flags(scores, TranscribeOptions())
    ['loop']
    """
    loop, unlikely, empty = (
        options.compression_ratio_threshold,
        options.logprob_threshold,
        options.no_speech_threshold,
    )
    found = {
        "loop": loop is not None and max(segment["compression_ratio"], compression_ratio(segment["text"])) > loop,
        "improbable": unlikely is not None and segment["avg_logprob"] < unlikely,
        "silence": empty is not None and segment["no_speech_prob"] > empty,
    }
    return [name for name, is_found in found.items() if is_found]
