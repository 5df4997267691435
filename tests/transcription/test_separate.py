"""Channels transcribed apart: each gives what it gives alone, in the order of time, from every way of asking for it."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import cases
import numpy as np
import pytest
import soundfile
from talkers import ENGLISH, MULTILINGUAL, talker

import npwhisper
from npwhisper.__main__ import main
from npwhisper.audio import AudioError, AudioWarning, load_audio
from npwhisper.audio.files import count_channels
from npwhisper.transcription.journal import JournalError, read_journal
from npwhisper.transcription.output.writers import to_srt, to_tsv, to_txt

FAST: dict[str, Any] = {"temperature": 0.0, "sample_len": 12}
RATE = 16000


def call() -> np.ndarray:
    """Two people, one on each channel: one for 40 seconds, the other from the fifth second on."""
    first, second = (load_audio(cases.recordings()[name]) for name in ("jfk", "austen_0880"))
    sound = np.zeros((42 * RATE, 2), np.float32)
    for start in (0, 14, 28):
        sound[start * RATE : start * RATE + len(first), 0] = first
    sound[5 * RATE : 5 * RATE + len(second), 1] = second
    return sound


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("calls") / "call.wav"
    soundfile.write(path, call(), RATE)
    return path


def apart(audio: Any, **options: Any) -> dict[str, Any]:
    return talker(MULTILINGUAL).transcribe(audio, channels="separate", **FAST | options)


@pytest.fixture(scope="module")
def separated(talk: Path) -> dict[str, Any]:
    return apart(talk)


OPTIONS: list[dict[str, Any]] = [{"batch_size": 2}, {"language": "auto-window"}, {"vad": True}]


@pytest.mark.parametrize(
    "options",
    [{}, {"word_timestamps": True}, *(pytest.param(options, marks=pytest.mark.slow) for options in OPTIONS)],
    ids=str,
)
def test_every_channel_gives_what_it_gives_alone(talk: Path, options: dict[str, Any]) -> None:
    whole = apart(talk, **options)
    assert [segment["id"] for segment in whole["segments"]] == list(range(len(whole["segments"])))
    starts = [segment["start"] for segment in whole["segments"]]
    assert starts == sorted(starts)
    assert whole["text"] == "".join(segment["text"] for segment in whole["segments"])
    for channel in (0, 1):
        alone = talker(MULTILINGUAL).transcribe(talk, channel=channel, **FAST | options)
        mine = [segment for segment in whole["segments"] if segment["channel"] == channel]
        assert len(mine) == len(alone["segments"]) > 0
        for found, expected in zip(mine, alone["segments"], strict=True):
            assert found == {"language": alone["language"], **expected, "id": found["id"], "channel": channel}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["path", "bytes", "file", "array"])
def test_every_handle_can_be_separated(talk: Path, separated: dict[str, Any], kind: str) -> None:
    handles = {"path": str(talk), "bytes": talk.read_bytes(), "file": io.BytesIO(talk.read_bytes())}
    assert apart(soundfile.read(talk, dtype="float32")[0] if kind == "array" else handles[kind]) == separated


def test_segments_come_as_they_are_decoded(talk: Path) -> None:
    done: list[tuple[float, float]] = []
    stream = talker(MULTILINGUAL).iter_segments(
        talk, channels="separate", progress=lambda *seconds: done.append(seconds), **FAST
    )
    first = next(stream)
    assert first["start"] < 1
    assert stream.seek < 100 * stream.duration == 4200
    assert len(stream.decisions) == 2, "one window of each channel"
    rest = list(stream)
    assert len(rest) > 1
    assert stream.languages == [stream.language] * 2 or stream.language in stream.languages
    assert done[-1] == (42.0, 42.0)
    assert done == sorted(done)


@pytest.mark.slow
def test_a_stopped_run_continues_to_the_same_result(talk: Path, separated: dict[str, Any], tmp_path: Path) -> None:
    expected, path = separated, tmp_path / "a.journal"
    for n in (1, 3, len(expected["segments"]) - 1):
        stream = talker(MULTILINGUAL).iter_segments(
            talk, channels="separate", journal=path, resume=path.exists(), **FAST
        )
        assert [next(stream) for _ in range(n)] == expected["segments"][:n]
        stream.close()
        assert read_journal(path).state is not None
    assert apart(talk, journal=path, resume=True) == expected
    with pytest.raises(JournalError, match=r"is of a run with another .*audio.*channels: use the same, or delete it"):
        talker(MULTILINGUAL).transcribe(talk, journal=path, resume=True, **FAST)


@pytest.mark.parametrize(
    ("old", "new"), [('"channels": {"0"', '"channels": {"x"'), ('"channel": 0', '"chan": 0'), ('"seek"', '"sock"')]
)
def test_a_damaged_journal_is_one_sentence(talk: Path, tmp_path: Path, old: str, new: str) -> None:
    path = tmp_path / "a.journal"
    apart(talk, journal=path)
    path.write_text(path.read_text().replace(old, new))
    try:
        assert apart(talk, journal=path, resume=True)["segments"], "a channel without a state starts again"
    except JournalError as error:
        assert "is damaged: start again without it" in str(error)  # noqa: PT017


def test_what_cannot_be_separated_is_told(talk: Path) -> None:
    with pytest.raises(
        ValueError, match=r"channel selects one channel and channels='separate' all of them: give only one of the two"
    ):
        apart(talk, channel="left")
    with pytest.raises(ValueError, match="channels must be 'mix' or 'separate', got 'apart'"):
        talker(MULTILINGUAL).transcribe(talk, channels="apart")
    with pytest.raises(AudioError, match="has 17 channels; at most 16 are transcribed separately"):
        apart(np.zeros((99, 17), np.float32))
    with pytest.warns(AudioWarning, match="has one channel: there is nothing to separate"):
        apart(call()[:, 0])
    with pytest.warns(AudioWarning, match="channels 0 and 1 of the recording hold the same sound"):
        apart(call()[:, [0, 0]])


MARKED = {
    "segments": [
        {"start": 0.0, "end": 2.0, "text": " Who is it?", "channel": 0},
        {"start": 1.0, "end": 3.0, "text": " Me.", "channel": 1, "words": [{"word": " Me.", "start": 1.0, "end": 3.0}]},
    ]
}


def test_outputs_tell_the_channel() -> None:
    assert to_txt(MARKED) == "[channel 0] Who is it?\n[channel 1] Me.\n"
    assert to_tsv(MARKED) == "start\tend\ttext\tchannel\n0\t2000\tWho is it?\t0\n1000\t3000\tMe.\t1\n"
    srt = to_srt(MARKED, max_line_width=40, max_line_count=2)
    assert srt.splitlines()[2::4] == ["[channel 0] Who is it?", "[channel 1] Me."], "no subtitle holds two channels"


# The command line


@pytest.mark.slow
def test_real_speech_is_separated_by_the_command_line(
    talk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = ["--beam_size", "None", "--temperature_increment_on_fallback", "None"]
    assert main([str(talk), "-o", str(tmp_path), "--channels", "separate", *quick]) == 0
    printed = capsys.readouterr().out
    result = json.loads((tmp_path / "call.json").read_text(encoding="utf-8"))
    assert {segment["channel"] for segment in result["segments"]} == {0, 1}
    assert printed.count("] [channel 0] ") == sum(segment["channel"] == 0 for segment in result["segments"])
    lines = (tmp_path / "call.txt").read_text(encoding="utf-8").splitlines()
    assert "[channel 1] He was" in "\n".join(lines)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"call.{e}" for e in ("json", "srt", "tsv", "txt", "vtt")
    ]
    assert main([str(talk), "-f", "none", "--channel", "right", *quick]) == 0
    right = capsys.readouterr().out
    assert "He was" in right
    assert "fellow Americans" not in right


def test_the_command_line_separates(
    talk: Path, talker_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ["--model", str(talker_file), "--beam_size", "None", "--temperature_increment_on_fallback", "None"]
    assert main([str(talk), "-o", str(tmp_path), "--channels", "separate", *model]) == 0
    printed = capsys.readouterr().out
    segments = json.loads((tmp_path / "call.json").read_text(encoding="utf-8"))["segments"]
    for channel in (0, 1):
        alone = talker(ENGLISH).transcribe(talk, temperature=0.0, channel=channel)["segments"]
        mine = [segment["text"] for segment in segments if segment["channel"] == channel]
        assert mine == [segment["text"] for segment in alone] != []
        assert printed.count(f"] [channel {channel}]") == len(mine)
        assert f"[channel {channel}] {mine[0].strip()}" in (tmp_path / "call.txt").read_text(encoding="utf-8")
    assert {path.name for path in tmp_path.iterdir()} == {f"call.{e}" for e in ("json", "srt", "tsv", "txt", "vtt")}
    assert main([str(talk), "-f", "none", "--channels", "separate", "--channel", "0", *model]) == 1
    assert main([str(talk), "-f", "none", "--channel", "2", *model]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert "give only one of the two, got 0" in errors[0]
    assert errors[1].endswith("the recording has no channel 2: it has 2 channels, numbers 0 to 1")


@pytest.mark.slow
def test_ctrl_c_writes_both_channels_in_the_order_of_time(
    talk: Path, talker_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(self: Any, audio: Any, *, verbose: Any = None, **options: Any) -> None:
        stream = self.iter_segments(audio, **options)
        for _ in range(3):
            next(stream)
        raise KeyboardInterrupt

    monkeypatch.setattr(npwhisper.Whisper, "transcribe", stop)
    model = ["--model", str(talker_file), "--beam_size", "None", "--temperature_increment_on_fallback", "None"]
    assert main([str(talk), "-o", str(tmp_path), "--channels", "separate", *model]) == 130
    segments = json.loads((tmp_path / "call.json").read_text(encoding="utf-8"))["segments"]
    assert {segment["channel"] for segment in segments} == {0, 1}
    assert [segment["id"] for segment in segments] == list(range(len(segments)))
    assert [segment["start"] for segment in segments] == sorted(segment["start"] for segment in segments)
    monkeypatch.undo()
    assert main([str(talk), "-o", str(tmp_path), "--channels", "separate", *model, "--resume"]) == 0
    assert not (tmp_path / "call.journal").exists()


def test_a_corpus_can_be_separated(talk: Path, separated: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("joblib", reason="pip install npwhisper[corpus]")
    options: dict[str, Any] = {"n_jobs": 1, "weights_cache": tmp_path, "channels": "separate", **FAST}
    [entry] = npwhisper.transcribe_corpus(talk, tmp_path, talker(MULTILINGUAL), **options)
    assert entry["status"] == "done"
    found = json.loads((tmp_path / "call.json").read_text(encoding="utf-8"))["segments"]
    assert found == separated["segments"]


def test_a_page_shows_one_channel(talk: Path) -> None:
    from npwhisper.lab.glass import record

    with pytest.raises(ValueError, match="a page shows one channel"):
        record(talk, channels="separate")


# Sound tracks


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sound tracks: one channel of 3 seconds, two channels of 5 seconds."""
    if not shutil.which("ffmpeg"):
        pytest.skip("ffmpeg is not installed")
    folder = tmp_path_factory.mktemp("films")
    soundfile.write(folder / "a.wav", 0.1 * np.ones(3 * RATE), RATE)
    soundfile.write(folder / "b.wav", np.tile([0.2, 0.4], (5 * RATE, 1)), RATE)
    files = ["-i", folder / "a.wav", "-i", folder / "b.wav", "-map", "0:a", "-map", "1:a"]
    tongues = ["-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=ger"]
    best = ["-disposition:a:0", "0", "-disposition:a:1", "default"]
    subprocess.run(["ffmpeg", "-v", "error", *files, *tongues, *best, "-c:a", "flac", folder / "film.mkv"], check=True)
    return folder / "film.mkv"


@pytest.mark.parametrize(
    ("choice", "seconds", "level"),
    [({"audio_track": 0}, 3, 0.1), ({"audio_track": 1}, 5, 0.3), ({"audio_track": 1, "channel": "right"}, 5, 0.4)],
)
def test_a_sound_track_is_chosen(film: Path, choice: dict[str, Any], seconds: int, level: float) -> None:
    sound = load_audio(film, **choice)
    np.testing.assert_allclose(sound, np.full(seconds * RATE, level), atol=1e-3)
    assert count_channels(film, choice["audio_track"]) == 1 + choice["audio_track"]


def test_several_sound_tracks_give_a_warning_that_counts_them(film: Path) -> None:
    expected = r"film\.mkv' has 2 sound tracks: 0 \(eng\), 1 \(ger\); track 1 is read; choose another with audio_track"
    with pytest.warns(AudioWarning, match=expected):
        assert len(load_audio(film)) == 5 * RATE, "the one that the file calls its default"


@pytest.mark.slow
def test_a_sound_track_that_is_not_there_is_refused(film: Path, talk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(AudioError, match=r"film\.mkv' has no sound track 2: it has 2 sound tracks, 0 to 1"):
        load_audio(film, audio_track=2)
    with pytest.raises(AudioError, match=r"call\.wav' has no sound track 1: it has one sound track, number 0"):
        load_audio(talk, audio_track=1)
    for track in (-1, True, 1.0, "eng"):
        with pytest.raises(AudioError, match="audio_track must be a whole number from 0, or None for the best"):
            load_audio(talk, audio_track=track)  # type: ignore[arg-type]
    assert main([str(film), "-f", "none", "--audio_track", "5"]) == 1
    assert capsys.readouterr().err.endswith("has no sound track 5: it has 2 sound tracks, 0 to 1\n")


@pytest.mark.slow
def test_a_sound_track_can_be_separated(film: Path) -> None:
    with pytest.warns(AudioWarning, match="hold the same sound|one channel"):
        apart(film, audio_track=0)
    stream = talker(MULTILINGUAL).iter_segments(film, channels="separate", audio_track=1, **FAST)
    assert len(stream.languages) == 2
