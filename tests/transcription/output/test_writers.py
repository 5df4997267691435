"""Writers: the frozen texts were written by openai-whisper 20250625's own writers from the same result."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npwhisper.transcription.output import writers
from npwhisper.transcription.output.writers import (
    FORMATS,
    WriterError,
    cues,
    format_timestamp,
    get_writer,
    to_json,
    to_srt,
    to_txt,
    to_vtt,
)


def segment(*timed: tuple[str, float, float], **changes: object) -> dict[str, object]:
    words = [{"word": word, "start": start, "end": end, "probability": 0.5} for word, start, end in timed]
    text = "".join(word for word, _, _ in timed)
    return {"id": 0, "seek": 0, "start": timed[0][1], "end": timed[-1][2], "text": text, "words": words, **changes}


def wordless(text: str, start: float = 0.0, end: float = 2.0) -> dict[str, object]:
    return {"id": 0, "seek": 0, "start": start, "end": end, "text": text}


CLEARED = {**wordless("", start=7.0, end=7.0), "tokens": [], "words": []}
AND_SO = (
    (" And", 0.32, 0.5),
    (" so,", 0.5, 0.9),
    (" my", 1.0, 1.2),
    (" fellow", 1.2, 1.64),
    (" Americans,", 1.64, 2.9),
)
WHAT = (
    (" what", 8.2, 8.5),
    (" your", 8.5, 8.74),
    (" country", 8.74, 9.3),
    (" can", 9.3, 9.6),
    (" do.", 3600, 3601.2345),
)
SPEECH = {
    "text": "",
    "language": "en",
    "segments": [
        segment(*AND_SO),
        segment((" ask", 3.28, 3.7), (" not", 3.7, 4.3)),
        segment(*WHAT),
    ],
}

FROZEN = [
    (
        "srt",
        {"max_line_width": 18, "max_line_count": 2},
        "1\n00:00:00,320 --> 00:00:04,300\nAnd so, my fellow\nAmericans, ask not\n\n"
        "2\n00:00:08,200 --> 00:00:09,600\nwhat your country\ncan\n\n"
        "3\n01:00:00,000 --> 01:00:01,234\ndo.\n\n",
    ),
    (
        "srt",
        {"max_line_width": 12},
        "1\n00:00:00,320 --> 00:00:02,900\nAnd so, my\nfellow\nAmericans,\n\n"
        "2\n00:00:03,280 --> 00:00:04,300\nask not\n\n"
        "3\n00:00:08,200 --> 01:00:01,234\nwhat your\ncountry can\ndo.\n\n",
    ),
    (
        "vtt",
        {"max_words_per_line": 3},
        "WEBVTT\n\n00:00.320 --> 00:01.200\nAnd so, my\n\n00:01.200 --> 00:02.900\nfellow Americans,\n\n"
        "00:03.280 --> 00:04.300\nask not\n\n00:08.200 --> 00:09.300\nwhat your country\n\n"
        "00:09.300 --> 01:00:01.234\ncan do.\n\n",
    ),
    (
        "vtt",
        {"max_words_per_line": 3, "highlight_words": True},
        "WEBVTT\n\n00:00.320 --> 00:00.500\n<u>And</u> so, my\n\n00:00.500 --> 00:00.900\nAnd <u>so,</u> my\n\n"
        "00:00.900 --> 00:01.000\nAnd so, my\n\n00:01.000 --> 00:01.200\nAnd so, <u>my</u>\n\n"
        "00:01.200 --> 00:01.640\n<u>fellow</u> Americans,\n\n00:01.640 --> 00:02.900\nfellow <u>Americans,</u>\n\n"
        "00:03.280 --> 00:03.700\n<u>ask</u> not\n\n00:03.700 --> 00:04.300\nask <u>not</u>\n\n"
        "00:08.200 --> 00:08.500\n<u>what</u> your country\n\n00:08.500 --> 00:08.740\nwhat <u>your</u> country\n\n"
        "00:08.740 --> 00:09.300\nwhat your <u>country</u>\n\n00:09.300 --> 00:09.600\n<u>can</u> do.\n\n"
        "00:09.600 --> 01:00:00.000\ncan do.\n\n01:00:00.000 --> 01:00:01.234\ncan <u>do.</u>\n\n",
    ),
    ("txt", {}, "And so, my fellow Americans,\nask not\nwhat your country can do.\n"),
    (
        "tsv",
        {},
        "start\tend\ttext\n320\t2900\tAnd so, my fellow Americans,\n3280\t4300\task not\n"
        "8200\t3601234\twhat your country can do.\n",
    ),
]


@pytest.mark.parametrize(("name", "options", "expected"), FROZEN)
def test_formats_equal_upstream(name: str, options: dict[str, object], expected: str) -> None:
    assert FORMATS[name](SPEECH, **options) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "00:00.000"), (0.0005, "00:00.000"), (0.0015, "00:00.002"), (59.9996, "01:00.000"), (360000, "100:00:00.000")],
)
def test_format_timestamp_rounds_to_even_and_counts_hours(seconds: float, expected: str) -> None:
    assert format_timestamp(seconds) == expected


@pytest.mark.parametrize("seconds", [-0.02, float("nan"), float("inf")])
def test_format_timestamp_refuses_what_is_no_time(seconds: float) -> None:
    with pytest.raises(WriterError, match="0 or more, got"):
        format_timestamp(seconds)


def parsed(srt: str) -> list[tuple[float, float, str]]:
    """SubRip read back by its own rules, with times in seconds."""
    found = []
    for number, block in enumerate(srt.strip("\n").split("\n\n"), start=1):
        first, times, text = block.split("\n", 2)
        assert first == str(number)
        start, end = (seconds(time) for time in times.split(" --> "))
        found.append((start, end, text))
    return found


def seconds(time: str) -> float:
    hours, minutes, rest = re.fullmatch(r"(\d\d):(\d\d):(\d\d,\d{3})", time).groups()
    return int(hours) * 3600 + int(minutes) * 60 + float(rest.replace(",", "."))


@given(
    st.lists(
        st.tuples(
            st.sampled_from([" ask", " not", " what", " Müller", " 5"]),
            st.floats(0, 3, width=32),
            st.floats(0, 3, width=32),
        ),
        min_size=1,
        max_size=20,
    ),
    st.sampled_from([None, 4, 9]),
    st.sampled_from([None, 1, 2]),
    st.sampled_from([None, 1, 3]),
)
def test_srt_read_back_has_every_word_in_order(
    steps: list[tuple[str, float, float]], width: int | None, count: int | None, n_words: int | None
) -> None:
    timed, now = [], 0.0
    for word, pause, duration in steps:
        timed.append((word, now + pause, now + pause + duration))
        now += pause + duration
    result = {"segments": [segment(*timed[:7])] + ([segment(*timed[7:])] if timed[7:] else [])}
    found = parsed(to_srt(result, max_line_width=width, max_line_count=count, max_words_per_line=n_words))
    assert " ".join(" ".join(text.split()) for _, _, text in found) == "".join(word for word, _, _ in timed).strip()
    assert found[0][0] == pytest.approx(timed[0][1], abs=6e-4)
    assert found[-1][1] == pytest.approx(max(timed[-1][2], found[-1][0] + 0.001), abs=6e-4)
    for _, _, text in found:
        assert count is None or width is None or len(text.split("\n")) <= count
        assert all(len(line) <= (width or 1000) or " " not in line for line in text.split("\n"))


def test_cleared_segments_give_no_cue_and_no_line() -> None:
    """Upstream asks the first segment alone for words, and writes cleared segments as empty cues."""
    result = {"segments": [CLEARED, wordless(" Hello.", 8.0, 9.0), wordless("  ", 9.0, 9.0)]}
    assert to_srt(result) == "1\n00:00:08,000 --> 00:00:09,000\nHello.\n\n"
    assert to_txt(result) == "Hello.\n"
    assert FORMATS["tsv"](result) == "start\tend\ttext\n8000\t9000\tHello.\n"
    assert len(json.loads(to_json(result))["segments"]) == 3


def test_options_of_lines_need_words() -> None:
    result = {"segments": [wordless(" Hello there."), CLEARED, wordless(" And you?", 8.0, 9.0)]}
    assert to_srt(result, max_line_width=5, max_line_count=2, highlight_words=True) == to_srt(result)


@pytest.mark.parametrize("write", [to_srt, to_vtt])
def test_options_of_lines_without_any_words_give_a_warning(write: Callable[..., str]) -> None:
    result = {"segments": [wordless(" Hello there."), wordless(" And you?", 8.0, 9.0)]}
    with pytest.warns(UserWarning, match=r"^max_line_count has no effect without word times: transcribe with word_t"):
        assert write(result, max_line_count=2) == write(result)
    with pytest.warns(UserWarning, match=r"^max_line_width and max_line_count have no effect without word times"):
        assert write(result, max_line_width=5, max_line_count=2) == write(result)
    assert write({"segments": []}, max_line_count=2) == write({"segments": []})
    assert write(result, max_line_count=None, highlight_words=False) == write(result)


@pytest.mark.parametrize(("start", "n_cues"), [(3.5, 1), (3.75, 2)])
def test_a_pause_of_more_than_3_seconds_ends_a_subtitle(start: float, n_cues: int) -> None:
    result = {"segments": [segment((" Ask", 0.5, 1.0)), segment((" not", start, 4.0))]}
    assert len(list(cues(result, max_line_width=42, max_line_count=2))) == n_cues
    assert len(list(cues(result, max_line_width=42))) == 2  # without both options segments are kept


def test_segments_with_and_without_words_mix() -> None:
    result = {"segments": [wordless(" First."), segment((" Then", 2.0, 2.5), (" this.", 2.5, 3.0)), CLEARED]}
    assert list(cues(result)) == [(0.0, 2.0, "First."), (2.0, 3.0, "Then this.")]


def test_an_arrow_in_the_text_is_no_line_of_times() -> None:
    plain, with_words = wordless(" a --> b"), segment((" a", 0.0, 1.0), (" -->", 1.0, 1.5), (" b", 1.5, 2.0))
    for spoken in (plain, with_words):
        assert [cue.text for cue in cues({"segments": [spoken]})] == ["a -> b"]


def test_highlighting_never_goes_back_in_time() -> None:
    overlapping = {"segments": [segment((" a", 0.0, 1.5), (" b", 1.0, 2.0))]}
    assert list(cues(overlapping, highlight_words=True)) == [(0.0, 1.5, "<u>a</u> b"), (1.0, 2.0, "a <u>b</u>")]


def test_tsv_keeps_its_columns() -> None:
    assert FORMATS["tsv"]({"segments": [wordless(" a\tb")]}) == "start\tend\ttext\n0\t2000\ta b\n"


def test_nothing_said() -> None:
    empty = {"text": "", "segments": [], "language": "en"}
    assert {name: write(empty) for name, write in FORMATS.items()} == {
        "txt": "",
        "vtt": "WEBVTT\n\n",
        "srt": "",
        "tsv": "start\tend\ttext\n",
        "json": '{"text": "", "segments": [], "language": "en"}',
    }


def test_json_takes_numpy_and_stays_valid() -> None:
    result = {"text": "♪ ü", "a": np.float32(0.5), "b": np.int64(3), "c": np.arange(2), "d": (np.bool_(True), np.nan)}
    text = to_json(result)
    assert "♪ ü" in text
    assert json.loads(text) == {"text": "♪ ü", "a": 0.5, "b": 3, "c": [0, 1], "d": [True, None]}


def test_files_are_named_after_the_audio_in_a_folder_that_is_made(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    get_writer("all", folder)(SPEECH, "talks/first.part.wav")
    assert {path.name for path in folder.iterdir()} == {f"first.part.{name}" for name in FORMATS}
    for name, write in FORMATS.items():
        assert (folder / f"first.part.{name}").read_bytes() == write(SPEECH).encode()


@pytest.mark.parametrize("name", FORMATS)
def test_upstreams_class_names_write(tmp_path: Path, name: str) -> None:
    writer = getattr(writers, f"Write{name.upper()}")(tmp_path)
    writer(SPEECH, Path("first.wav"), {"max_line_width": 12, "highlight_words": False})
    assert (tmp_path / f"first.{name}").read_text() == FORMATS[name](SPEECH, max_line_width=12)


def test_options_come_in_a_mapping_or_as_keywords(tmp_path: Path) -> None:
    writer, path = get_writer("srt", tmp_path), tmp_path / "a.srt"
    for options, kwargs in [({"max_line_width": 12}, {}), (None, {"max_line_width": 12}),
                            ({"max_line_width": 12}, {"max_line_width": None})]:  # fmt: skip
        path.unlink(missing_ok=True)
        writer(SPEECH, "a.wav", options, **kwargs)
        assert path.read_text() == to_srt(SPEECH, max_line_width=12) != to_srt(SPEECH)


def test_an_unknown_format_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(WriterError, match="'doc': use one of txt, vtt, srt, tsv, json or all"):
        get_writer("doc", tmp_path)


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(TypeError, match="max_line_widht"):
        to_vtt(SPEECH, max_line_widht=12)


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    writer = get_writer("txt", tmp_path)
    writer({"segments": [wordless(" before")]}, "a.wav")
    with pytest.raises(UnicodeEncodeError):
        writer({"segments": [wordless(" half \ud800")]}, "a.wav")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.txt", "before\n")]


@pytest.mark.parametrize("arrow", ["-->", "--->", "------>"])
def test_no_arrow_of_the_text_ends_the_line_of_times(arrow: str) -> None:
    text = to_vtt({"segments": [wordless(f" a {arrow} b\n\nc")]})
    assert text == "WEBVTT\n\n00:00.000 --> 00:02.000\na -> b\nc\n\n"


def test_words_that_last_no_time_are_underlined_with_a_neighbour() -> None:
    words = segment((" a", 0, 1), (" b", 1, 1), (" c", 1, 2), (" d", 2, 2))
    shown = list(cues({"segments": [words]}, highlight_words=True))
    assert shown == [(0, 1, "<u>a</u> b c d"), (1, 2, "a <u>b</u> <u>c</u> <u>d</u>")]


def test_every_cue_lasts_at_least_a_millisecond() -> None:
    assert "00:03.740 --> 00:03.741\nx" in to_vtt({"segments": [wordless("x", 3.74, 3.74)]})


def test_a_name_as_long_as_the_file_system_takes_is_written(tmp_path: Path) -> None:
    stem = "講" * 81
    assert get_writer("srt", tmp_path)(SPEECH, f"{stem}.wav") == [tmp_path / f"{stem}.srt"]
    assert [path.name for path in tmp_path.iterdir()] == [f"{stem}.srt"]


def test_writers_write_to_open_files_as_upstreams_do() -> None:
    file = io.StringIO()
    writers.WriteSRT("nowhere").write_result(SPEECH, file=file, options={"max_line_width": 12})
    assert file.getvalue() == to_srt(SPEECH, max_line_width=12)
