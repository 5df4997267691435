"""Transcripts as files: plain text, subtitles (vtt, srt), tables (tsv) and json.

For each format one pure function turns a result into text (`to_srt(result)`); `get_writer` puts that text into a file
named after the recording. Times of words, where a result has them, decide where subtitles break (`cues`).
The texts are those of openai-whisper's ``utils.py`` with these differences:

* segments without text give no empty line or cue, and segments with and without words may be mixed;
* ``-->``, with any number of hyphens, becomes ``->`` in every subtitle, since players would take it for a line of
  times; empty lines, which would end the subtitle, are removed;
* every cue lasts at least a millisecond, since players skip others; words without duration are underlined together
  with the next word;
* segments of separate channels are marked, ``[channel 0]``, and share no subtitle; tables get a fourth column;
* json is readable UTF-8 instead of ASCII escapes, takes NumPy's numbers and arrays, and writes NaN as null;
* the folder is made if need be, files appear whole or not at all, lines end in ``\\n`` everywhere, and an unknown
  format or option is an error instead of being ignored.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO, TypeAlias

import numpy as np

from npwhisper.checkpoint.replacing import replacing
from npwhisper.decoding import flags

Result: TypeAlias = Mapping[str, Any]
"""What `transcribe` returns: ``segments``, each with ``start``, ``end``, ``text`` and perhaps ``words``."""

Options: TypeAlias = "Mapping[str, Any] | None"
"""Those of `cues`."""

LONGEST_LINE = 1000  # characters of a subtitle's line when no width is asked for
LONG_PAUSE = 3.0  # seconds of silence that end a subtitle when segments may be joined


class WriterError(ValueError):
    """A transcript that cannot be written as asked."""


class Cue(NamedTuple):
    """Text to show from `start` to `end`, in seconds."""

    start: float
    end: float
    text: str


def format_timestamp(seconds: float, always_include_hours: bool = False, decimal_marker: str = ".") -> str:
    """Write a time as subtitles do, to the millisecond.

    Parameters
    ----------
    seconds : float
        At least 0.
    always_include_hours : bool
        Whether times under an hour begin with ``00:``, as SubRip wants it.
    decimal_marker : str
        What stands before the milliseconds: ``"."`` in WebVTT, ``","`` in SubRip.

    Raises
    ------
    WriterError
        If `seconds` is negative, infinite or not a number.

    Examples
    --------
    >>> format_timestamp(3723.4567)
    '01:02:03.457'
    >>> format_timestamp(1.5, always_include_hours=True, decimal_marker=",")
    '00:00:01,500'
    """
    if not 0 <= seconds < math.inf:
        raise WriterError(
            f"a time must be a number of seconds, 0 or more, got {seconds}: check the segment's start and end"
        )
    minutes, milliseconds = divmod(_milliseconds(seconds), 60_000)
    hours, minutes = divmod(minutes, 60)
    shown_hours = f"{hours:02d}:" if hours or always_include_hours else ""
    return f"{shown_hours}{minutes:02d}:{milliseconds // 1000:02d}{decimal_marker}{milliseconds % 1000:03d}"


def channel_mark(segment: Result) -> str:
    """The prefix for the text of a segment of one channel, if channels were transcribed separately.

    >>> channel_mark({"channel": 1}), channel_mark({})
    ('[channel 1] ', '')
    """
    return f"[channel {segment['channel']}] " if "channel" in segment else ""


def _milliseconds(seconds: float) -> int:
    return round(float(seconds) * 1000.0)


def cues(
    result: Result,
    *,
    highlight_words: bool = False,
    max_line_width: int | None = None,
    max_line_count: int | None = None,
    max_words_per_line: int | None = None,
) -> Iterator[Cue]:
    """Cut a result into the cues of a subtitle file.

    Without word times every segment is one cue and the options have no effect; a warning says so.

    Parameters
    ----------
    result : mapping
        What `transcribe` returned.
    highlight_words : bool
        Give every word a cue of its own that shows the whole subtitle with this word underlined.
    max_line_width : int, optional
        Characters after which a line is broken, between words.
    max_line_count : int, optional
        Lines of one subtitle. Given together with `max_line_width`, segments no longer end a subtitle: only a full
        one or a pause of more than 3 seconds does.
    max_words_per_line : int, optional
        Words after which a new subtitle begins. Without effect when the two options above are both given.

    Yields
    ------
    Cue

    Examples
    --------
    >>> words = [{"word": w, "start": i, "end": i + 1} for i, w in enumerate((" Ask", " not", " what"))]
    >>> result = {"segments": [{"start": 0, "end": 3, "text": " Ask not what", "words": words}]}
    >>> [cue.text for cue in cues(result, max_words_per_line=2)]
    ['Ask not', 'what']
    >>> [cue.text for cue in cues(result, max_line_width=8)]
    ['Ask not\\nwhat']
    """
    asked = (highlight_words, max_line_width, max_line_count, max_words_per_line)
    _warn_without_words(result["segments"], dict(zip(flags.SUBTITLES, asked, strict=True)))
    for _, run in itertools.groupby(result["segments"], key=channel_mark):
        segments = list(run)
        if any(segment.get("words") for segment in segments):
            show = _highlighted if highlight_words else _joined
            subtitles = _subtitles(segments, max_line_width, max_line_count, max_words_per_line)
            found = (cue for subtitle in subtitles for cue in show(subtitle))
        else:
            found = (Cue(segment["start"], segment["end"], segment["text"].strip()) for segment in segments)
        for cue in found:
            if cue.text.strip():
                yield Cue(cue.start, _later(cue.start, cue.end), channel_mark(segments[0]) + _safe(cue.text))


def _warn_without_words(segments: Sequence[Result], options: Mapping[str, Any]) -> None:
    """Warn of options that have no effect, because no segment has times of words."""
    asked = [name for name in options if options[name]]
    if asked and segments and not any("words" in segment for segment in segments):
        effect = "has no effect" if len(asked) == 1 else "have no effect"
        advice = "transcribe with word_timestamps=True"
        warnings.warn(f"{' and '.join(asked)} {effect} without word times: {advice}", stacklevel=2)


def _later(start: float, end: float) -> float:
    """`end`, or a millisecond after `start` if that is later as subtitles write times."""
    return end if _milliseconds(start) < _milliseconds(end) else start + 0.001


def _safe(text: str) -> str:
    """The text of a cue without what would end the cue: arrows and empty lines.

    >>> _safe("a ---> b\\n\\nc")
    'a -> b\\nc'
    """
    return re.sub(r"\s*\n\s*", "\n", re.sub(r"--+>", "->", text))


def _subtitles(
    segments: Sequence[Result], width: int | None, count: int | None, words_per_line: int | None
) -> Iterator[list[Cue]]:
    """Gather words into subtitles; a word that begins a further line of its subtitle begins with a line feed."""
    layout = _Layout(width, count)
    for word, begins_group in _grouped_words(segments, words_per_line):
        if full := layout.add(word, begins_group):
            yield full
    if layout.subtitle:
        yield layout.subtitle


class _Layout:
    """The subtitle that words are added to, its lines, and the rules by which another one begins."""

    def __init__(self, width: int | None, count: int | None) -> None:
        self.width, self.count = width or LONGEST_LINE, count
        self.may_join = width is not None and count is not None
        self.subtitle = list[Cue]()
        self.line_length, self.n_lines, self.last_start = 0, 1, math.inf

    def add(self, word: Cue, begins_group: bool) -> list[Cue]:
        """Add a word; -> the subtitle that ended before it, empty if it continues."""
        breaks = begins_group and bool(self.subtitle) and not self.may_join
        pause = self.may_join and word.start - self.last_start > LONG_PAUSE
        fits = 0 < self.line_length <= self.width - len(word.text)
        full = list[Cue]()
        if fits and not breaks and not pause:
            self.line_length += len(word.text)
        else:
            ends = breaks or (self.count is not None and (pause or self.n_lines >= self.count))
            full, word = self._begin_line(word, ends)
        self.subtitle.append(word)
        self.last_start = word.start
        return full

    def _begin_line(self, word: Cue, ends: bool) -> tuple[list[Cue], Cue]:
        """Begin a line, in another subtitle if this one `ends`; -> the one that ended, and the word as it is shown."""
        full, text, feed = list[Cue](), word.text.strip(), ""
        if self.subtitle and ends:
            full, self.subtitle, self.n_lines = self.subtitle, [], 1
        elif self.line_length > 0:
            self.n_lines, feed = self.n_lines + 1, "\n"
        self.line_length = len(text)
        return full, word._replace(text=feed + text)


def _grouped_words(segments: Sequence[Result], words_per_line: int | None) -> Iterator[tuple[Cue, bool]]:
    """Every word, and whether it begins a group: a segment, or a further `words_per_line` words of it."""
    for segment in segments:
        for i, word in enumerate(_words(segment)):
            yield word, i % words_per_line == 0 if words_per_line else i == 0


def _words(segment: Result) -> list[Cue]:
    """The words of a segment; one without word times counts as a single long word, so that no text is lost."""
    if segment.get("words"):
        return [Cue(word["start"], word["end"], word["word"]) for word in segment["words"]]
    return [Cue(segment["start"], segment["end"], segment["text"])] if segment["text"].strip() else []


def _joined(subtitle: list[Cue]) -> Iterator[Cue]:
    yield Cue(subtitle[0].start, subtitle[-1].end, "".join(word.text for word in subtitle))


def _highlighted(subtitle: list[Cue]) -> Iterator[Cue]:
    """One cue for each word, underlined in its place, and one without underlining for each pause between words."""
    texts = [word.text for word in subtitle]
    last_end = subtitle[0].start
    for first, end in _spans(subtitle):
        start, stop = subtitle[first].start, subtitle[end - 1].end
        if _milliseconds(last_end) < _milliseconds(start):
            yield Cue(last_end, start, "".join(texts))
        yield Cue(start, stop, "".join([*texts[:first], *map(_underlined, texts[first:end]), *texts[end:]]))
        last_end = stop


def _spans(words: Sequence[Cue]) -> list[tuple[int, int]]:
    """Each word alone as (index, index + 1); one that lasts no time together with the next, the last with the previous.

    >>> _spans([Cue(0, 1, "a"), Cue(1, 1, "b"), Cue(1, 2, "c"), Cue(2, 2, "d")])
    [(0, 1), (1, 4)]
    """
    spans, first = list[tuple[int, int]](), 0
    for i, word in enumerate(words):
        if _milliseconds(words[first].start) < _milliseconds(word.end):
            spans.append((first, i + 1))
            first = i + 1
    if first == len(words):
        return spans
    return [*spans[:-1], (spans[-1][0] if spans else 0, len(words))]


def _underlined(text: str) -> str:
    visible = text.lstrip()
    return f"{text[: len(text) - len(visible)]}<u>{visible}</u>"


def to_txt(result: Result, **_options: object) -> str:
    """The text of a result, one segment a line; the options of subtitles are ignored.

    >>> to_txt({"segments": [{"start": 0.0, "end": 2.0, "text": " Hello."}]})
    'Hello.\\n'
    """
    return "".join(f"{channel_mark(segment)}{segment['text'].strip()}\n" for segment in _spoken(result))


def to_vtt(result: Result, **options: Any) -> str:
    """WebVTT subtitles, with the options of `cues`.

    >>> print(to_vtt({"segments": [{"start": 0.0, "end": 2.0, "text": " Hello."}]}), end="")
    WEBVTT
    <BLANKLINE>
    00:00.000 --> 00:02.000
    Hello.
    <BLANKLINE>
    """
    return "WEBVTT\n\n" + "".join(
        f"{format_timestamp(start)} --> {format_timestamp(end)}\n{text}\n\n"
        for start, end, text in cues(result, **options)
    )


def to_srt(result: Result, **options: Any) -> str:
    """SubRip subtitles, with the options of `cues`.

    >>> print(to_srt({"segments": [{"start": 0.0, "end": 2.0, "text": " Hello."}]}), end="")
    1
    00:00:00,000 --> 00:00:02,000
    Hello.
    <BLANKLINE>
    """
    stamp = functools.partial(format_timestamp, always_include_hours=True, decimal_marker=",")
    return "".join(
        f"{number}\n{stamp(cue.start)} --> {stamp(cue.end)}\n{cue.text}\n\n"
        for number, cue in enumerate(cues(result, **options), start=1)
    )


def to_tsv(result: Result, **_options: object) -> str:
    """A table of segments: start and end in whole milliseconds, then the text; the options of subtitles are ignored.

    >>> to_tsv({"segments": [{"start": 0.0, "end": 2.0, "text": " Hello."}]})
    'start\\tend\\ttext\\n0\\t2000\\tHello.\\n'
    """
    marked = any("channel" in segment for segment in result["segments"])
    rows = ["start\tend\ttext" + "\tchannel" * marked]
    for segment in _spoken(result):
        text = segment["text"].strip().replace("\t", " ")
        row = f"{_milliseconds(segment['start'])}\t{_milliseconds(segment['end'])}\t{text}"
        rows.append(row + f"\t{segment.get('channel', '')}" * marked)
    return "\n".join(rows) + "\n"


def to_json(result: Result, **_options: object) -> str:
    """The whole result as json in readable UTF-8; the options of subtitles are ignored.

    >>> to_json({"text": " Grüße", "segments": [], "language": "de"})
    '{"text": " Grüße", "segments": [], "language": "de"}'
    """
    return json.dumps(_plain(result), ensure_ascii=False, allow_nan=False)


def _spoken(result: Result) -> list[Result]:
    return [segment for segment in result["segments"] if segment["text"].strip()]


def _plain(value: Any) -> Any:
    """`value` in the types json knows: NumPy's become Python's, and numbers that are not finite become None."""
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


FORMATS: dict[str, Callable[..., str]] = dict(
    zip(flags.FORMATS, (to_txt, to_vtt, to_srt, to_tsv, to_json), strict=True)
)
"""The function that writes each format, by the ending of its files."""


def get_writer(output_format: str, output_dir: str | os.PathLike[str]) -> Callable[..., list[Path]]:
    """Make a function that writes results into a folder.

    Parameters
    ----------
    output_format : str
        ``"txt"``, ``"vtt"``, ``"srt"``, ``"tsv"``, ``"json"``, or ``"all"`` of them.
    output_dir : path
        Made on the first writing if it does not exist.

    Returns
    -------
    callable ``writer(result, audio_path, options=None, **kwargs)``
        Writes ``output_dir/NAME.FORMAT``, where NAME is the audio's file name without its ending, and returns the paths
        of the files. The options are those of `cues`, in a mapping (as openai-whisper has it) or as keywords.

    Raises
    ------
    WriterError
        If `output_format` is none of these.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> result = {"segments": [{"start": 0.0, "end": 2.0, "text": " Hello."}]}
    >>> [path.name for path in get_writer("txt", folder)(result, "talks/first.wav")]
    ['first.txt']
    >>> (Path(folder) / "first.txt").read_text()
    'Hello.\\n'
    """
    if output_format == "all":
        return functools.partial(_write_all, [writer(output_dir) for writer in WRITERS.values()])
    if output_format not in WRITERS:
        raise WriterError(f"unknown output format {output_format!r}: use one of {', '.join(WRITERS)} or all")
    return WRITERS[output_format](output_dir)


class ResultWriter:
    """Writes results as files of one format into a folder; its subclasses say which.

    >>> import sys
    >>> WriteTXT(".").write_result({"segments": [{"start": 0.0, "end": 2.0, "text": " Hello."}]}, file=sys.stdout)
    Hello.
    """

    extension = "txt"

    def __init__(self, output_dir: str | os.PathLike[str]) -> None:
        self.output_dir = output_dir

    def __call__(
        self, result: Result, audio_path: str | os.PathLike[str], options: Options = None, **kwargs: Any
    ) -> list[Path]:
        """Write ``output_dir/NAME.EXTENSION``; see `get_writer`."""
        path = Path(self.output_dir) / f"{Path(audio_path).stem}.{self.extension}"
        return [write_text(path, self.text(result, options, **kwargs))]

    def write_result(self, result: Result, file: TextIO, options: Options = None, **kwargs: Any) -> None:
        """Write to an open text file."""
        file.write(self.text(result, options, **kwargs))

    def text(self, result: Result, options: Options = None, **kwargs: Any) -> str:
        """The contents of the file. Keywords win over `options`, unless they are None or False."""
        return FORMATS[self.extension](result, **_merged(options, kwargs))


class WriteTXT(ResultWriter):
    """Writes plain text, see `to_txt`."""


class WriteTSV(ResultWriter):
    """Writes tables, see `to_tsv`."""

    extension = "tsv"


class WriteJSON(ResultWriter):
    """Writes json, see `to_json`."""

    extension = "json"


class SubtitlesWriter(ResultWriter):
    """Writes subtitles; its subclasses say in which format."""

    always_include_hours, decimal_marker = False, "."

    def iterate_result(self, result: Result, options: Options = None, **kwargs: Any) -> Iterator[tuple[str, str, str]]:
        """Start, end and text of each cue, as they are written."""
        for start, end, text in cues(result, **_merged(options, kwargs)):
            yield self.format_timestamp(start), self.format_timestamp(end), text

    def format_timestamp(self, seconds: float) -> str:
        """Write a time as this format does; see the function of this name."""
        return format_timestamp(seconds, self.always_include_hours, self.decimal_marker)


class WriteVTT(SubtitlesWriter):
    """Writes WebVTT subtitles, see `to_vtt`."""

    extension = "vtt"


class WriteSRT(SubtitlesWriter):
    """Writes SubRip subtitles, see `to_srt`."""

    extension = "srt"
    always_include_hours, decimal_marker = True, ","


WRITERS = {writer.extension: writer for writer in (WriteTXT, WriteVTT, WriteSRT, WriteTSV, WriteJSON)}


def _merged(options: Options, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: kwargs.get(name) or (options or {}).get(name) for name in (*(options or {}), *kwargs)}


def _write_all(
    writers: Sequence[ResultWriter],
    result: Result,
    audio_path: str | os.PathLike[str],
    options: Options = None,
    **kwargs: Any,
) -> list[Path]:
    return [path for writer in writers for path in writer(result, audio_path, options, **kwargs)]


def write_text(path: Path, text: str) -> Path:
    """Write a text file, whole or not at all, in a folder that is made if need be; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(text.encode())
    return path
