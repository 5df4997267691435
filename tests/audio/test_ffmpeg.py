"""ffmpeg reads the recording and nothing else, tells of damage, and ends with us. Measured with ffmpeg 5.1.9."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from npwhisper.audio import AudioError, AudioWarning, example, ffmpeg, load_audio

needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed")
needs_scripts = pytest.mark.skipif(os.name == "nt", reason="the stand-in for ffmpeg is a script")
SOUND = load_audio(example())


def made(path: Path, *options: str) -> Path:
    """The example in another form, made by ffmpeg."""
    command = ["ffmpeg", "-v", "error", "-y", "-i", example(), *options, str(path)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip(f"this ffmpeg does not write {path.name}")
    return path


FORMS = {
    "m4a": "",
    "mp4": "-movflags +faststart",
    "mov": "",
    "m4b": "-c:a alac -f mp4",
    "3gp": "-ar 8000 -c:a aac",
    "webm": "-c:a libopus",
    "mkv": "-c:a libvorbis",
    "mka": "-c:a flac",
    "aac": "",
    "latm": "",
    "wma": "",
    "asf": "",
    "ac3": "",
    "eac3": "",
    "dts": "-strict -2 -ar 48000 -ac 2",
    "mlp": "-strict -2 -ar 48000",
    "mp2": "",
    "mp3": "",
    "avi": "",
    "flv": "-ar 44100",
    "swf": "-ar 44100",
    "ts": "",
    "mpg": "",
    "vob": "",
    "wv": "",
    "tta": "",
    "spx": "-c:a libspeex",
    "oga": "-c:a flac",
    "opus": "",
    "rm": "-ac 1 -ar 8000 -c:a real_144",
    "caf": "",
    "nut": "",
    "gsm": "-ar 8000",
    "voc": "",
    "sbc": "",
    "w64": "",
    "sox": "",
}


@needs_ffmpeg
@pytest.mark.parametrize(
    "suffix", ["m4a", "webm", "wma", *(pytest.param(suffix, marks=pytest.mark.slow) for suffix in FORMS)]
)
def test_good_files_are_read_whole_and_without_a_warning(tmp_path: Path, suffix: str) -> None:
    path = made(tmp_path / f"talk.{suffix}", *FORMS[suffix].split())
    whole = np.concatenate(list(ffmpeg.ffmpeg_blocks(str(path), 16000, "")))
    for sound in (whole, load_audio(path)):
        assert abs(len(sound) - len(SOUND)) <= 2.5 * 1024, "encoders add a frame or two"
        assert np.sqrt(np.mean(sound[-48_000:] ** 2)) > 0.02, "speech up to the end"


@needs_ffmpeg
@pytest.mark.parametrize("suffix", ["mp4", "webm", "mkv", "flv", "tta", "aac", "wma", "avi", "oga", "rm"])
@pytest.mark.parametrize(
    "share", [0.3, *(pytest.param(share, marks=pytest.mark.slow) for share in (0.2, 0.55, 0.8, 0.95))]
)
def test_of_truncated_files_there_is_a_warning(tmp_path: Path, suffix: str, share: float) -> None:
    path = made(tmp_path / f"talk.{suffix}", *FORMS[suffix].split())
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.warns(AudioWarning, match="is truncated or damaged"):
        sound = load_audio(path)
    most = 1.02 if (suffix, share) == ("avi", 0.95) else 0.99  # there the cut took only the index, which comes last
    assert 0.8 * share * len(SOUND) - 16_000 < len(sound) < most * len(SOUND)


@needs_ffmpeg
@pytest.mark.parametrize(("suffix", "shares"), [("wma", (0.75, 0.85, 0.95)), ("spx", (0.5, 0.9)), ("oga", (0.9,))])
def test_of_the_end_that_is_missing_there_is_a_warning(tmp_path: Path, suffix: str, shares: tuple[float, ...]) -> None:
    path = made(tmp_path / f"talk.{suffix}", *FORMS[suffix].split())
    data = path.read_bytes()
    for share in shares:
        path.write_bytes(data[: int(share * len(data))])
        with pytest.warns(AudioWarning, match="is truncated or damaged"):
            sound = load_audio(path)
        assert (share - 0.15) * len(SOUND) < len(sound) < (share + 0.02) * len(SOUND)


PIPES = {
    **{form: FORMS[form] for form in ("avi", "asf", "rm", "flv", "ac3", "eac3", "mp2", "dts", "caf", "w64", "voc")},
    **dict.fromkeys(("mpegts", "mpeg", "vob", "au", "aiff"), ""),
    "avi pcm": "-c:a pcm_s16le",
}


def piped(form: str, *picture: str) -> bytes:
    """The example in another form, as ffmpeg writes it to a pipe."""
    command = ["ffmpeg", "-v", "error", "-i", example(), *picture, *PIPES[form].split(), "-f", form.split()[0], "-"]
    return subprocess.run(command, capture_output=True).stdout


@pytest.mark.slow
@needs_ffmpeg
@pytest.mark.parametrize("form", PIPES)
def test_what_was_written_to_a_pipe_gives_no_warning(form: str) -> None:
    assert abs(len(load_audio(piped(form))) - len(SOUND)) < 2500


@needs_ffmpeg
@pytest.mark.parametrize("form", [form for form in PIPES if form not in ("asf", "rm")])
@pytest.mark.parametrize("share", [0.5, *(pytest.param(share, marks=pytest.mark.slow) for share in (0.1, 0.3, 0.8))])
def test_a_cut_of_what_was_written_to_a_pipe_is_known(form: str, share: float) -> None:
    data = piped(form)
    size = int(share * len(data)) | 7  # an odd number: within a sample, where no more can be known
    with pytest.warns(AudioWarning, match="is truncated or damaged"):
        sound = load_audio(data[:size])
    assert (share - 0.08) * len(SOUND) < len(sound) < (share + 0.02) * len(SOUND)


@pytest.mark.slow
@needs_ffmpeg
@pytest.mark.parametrize("form", ["avi", "flv", "mpegts", "mpeg", "vob"])
def test_a_film_from_a_pipe(form: str) -> None:
    data = piped(form, "-f", "lavfi", "-i", "testsrc=s=64x48:r=25:d=11")
    assert abs(len(load_audio(data)) - len(SOUND)) < 2500
    with pytest.warns(AudioWarning, match="is truncated or damaged"):
        load_audio(data[: len(data) * 2 // 3 | 7])


@needs_ffmpeg
def test_a_film_longer_than_its_sound_gives_no_warning(tmp_path: Path) -> None:
    picture = ["-f", "lavfi", "-i", "color=s=16x16:r=5:d=15", "-c:v", "mpeg4"]
    assert abs(len(load_audio(made(tmp_path / "film.mp4", *picture))) - len(SOUND)) < 1600


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:20\n#EXTINF:11,\n{0}\n#EXT-X-ENDLIST\n",
    "live": "#EXTM3U\n#EXT-X-TARGETDURATION:20\n#EXTINF:11,\n{0}\n",
    "concat": "ffconcat version 1.0\nfile '{0}'\n",
    "dash": '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT11S"><Period><AdaptationSet mimeType="audio/mp4"><Representation id="0" '
    'bandwidth="1"><BaseURL>{0}</BaseURL></Representation></AdaptationSet></Period></MPD>\n',
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
    "pictures": "/tmp/%03d.png\n",
}


@needs_ffmpeg
@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("as_bytes", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_playlist_reads_no_other_file(tmp_path: Path, kind: str, as_bytes: bool) -> None:
    secret = made(tmp_path / "secret.mp3")
    path = tmp_path / "talk.mp3"
    path.write_text(PLAYLISTS[kind].format(secret))
    with pytest.raises(AudioError, match="cannot be read"):
        load_audio(path.read_bytes() if as_bytes else path)


@needs_ffmpeg
def test_the_refusal_of_a_playlist_says_so(tmp_path: Path) -> None:
    (tmp_path / "talk.mp3").write_text(PLAYLISTS["hls"])
    with pytest.raises(AudioError, match=r"talk\.mp3' .*ffmpeg takes it for 'hls', .*playlists name other files"):
        load_audio(tmp_path / "talk.mp3")


# The child process


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> Path:
    """Put a script in place of ffmpeg that writes its process number to a file, before it waits for Python to start."""
    pid, code = folder / "pid", shlex.join([sys.executable, "-S", "-c", f"import sys, time\n{body}"])
    (folder / "ffmpeg").write_text(f"#!/bin/sh\necho $$ > '{pid}.new'; mv '{pid}.new' '{pid}'\nexec {code}\n")
    (folder / "ffmpeg").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    (folder / "talk.m4a").write_bytes(b"\0\0\0 ftypM4A ")
    return folder / "talk.m4a"


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        os.kill(pid, 0)
        stat = Path(f"/proc/{pid}/stat")
        return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"
    return False


SILENT = "time.sleep(60)"
ENDLESS = "while True: sys.stdout.buffer.write(bytes(1 << 16))"


@needs_scripts
def test_a_stalled_ffmpeg_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = stand_in(tmp_path, monkeypatch, SILENT)
    monkeypatch.setattr(ffmpeg, "STALL", 1.0)
    with pytest.raises(AudioError, match=r"talk\.m4a' .*written nothing for 1 seconds, so it was stopped"):
        load_audio(path)
    assert not alive(int((tmp_path / "pid").read_text()))


@needs_scripts
@pytest.mark.parametrize("how", ["close", "throw"])
def test_ffmpeg_ends_when_nobody_reads_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    path = stand_in(tmp_path, monkeypatch, ENDLESS)
    blocks = ffmpeg.ffmpeg_blocks(str(path), 16000, "")
    next(blocks)
    pid = int((tmp_path / "pid").read_text())
    assert alive(pid)
    with contextlib.suppress(KeyboardInterrupt):
        blocks.close() if how == "close" else blocks.throw(KeyboardInterrupt)  # type: ignore[attr-defined]
    assert not alive(pid)


@pytest.mark.skipif(not ffmpeg._parent_death(), reason="setpriv is not there")
def test_ffmpeg_ends_when_we_are_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = stand_in(tmp_path, monkeypatch, SILENT)
    ours = subprocess.Popen([sys.executable, "-c", f"import npwhisper.audio as a; a.load_audio({str(path)!r})"])
    pid = tmp_path / "pid"
    wait_for(pid.exists)
    ours.send_signal(signal.SIGKILL)
    ours.wait()
    wait_for(lambda: not alive(int(pid.read_text())))


def wait_for(condition: object) -> None:
    for _ in range(2400):
        if condition():  # type: ignore[operator]
            return
        time.sleep(0.05)
    raise AssertionError("waited for two minutes")
