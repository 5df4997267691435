"""What the notebooks share: files, style, player and the check of an exercise."""

from __future__ import annotations

import base64
import io
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from npwhisper.audio import load_audio
from npwhisper.lab import notebooks


def test_recordings_and_data_come_with_the_package() -> None:
    assert len(load_audio(notebooks.path("sonnet.flac"))) > 50 * 16000
    with pytest.raises(FileNotFoundError, match=r"there is no 'sonet.flac' for the notebooks, only \[.*'sonnet.flac'"):
        notebooks.path("sonet.flac")


def test_a_sound_is_part_of_the_player_itself() -> None:
    """JupyterLab removes `<source>` from a notebook that is not trusted, and keeps the `src` of `<audio>`."""
    sound = 0.1 * np.sin(np.arange(8000.0))
    html = notebooks.play(sound)._repr_html_()
    found = re.fullmatch(r'<audio controls src="data:audio/flac;base64,(.+)"></audio>', html)
    assert found
    again = load_audio(io.BytesIO(base64.b64decode(found[1])))
    assert len(again) == 8000
    assert np.abs(again).max() == pytest.approx(0.99, abs=0.01)
    assert notebooks.play(notebooks.path("sonnet.flac")).data == Path(notebooks.path("sonnet.flac")).read_bytes()
    assert notebooks.play(np.zeros(0)).kind == "flac"


def test_a_sound_is_played_without_soundfile_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    player = notebooks.play(0.1 * np.sin(np.arange(8000.0)), 8000)
    assert player.kind == "wav"
    rate, samples = wavfile.read(io.BytesIO(player.data))
    assert (rate, samples.dtype, samples.shape) == (8000, np.int16, (8000,))
    expected = 0.99 * 32767 * np.sin(np.arange(8000.0))
    np.testing.assert_allclose(samples, expected, atol=2)


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def test_pictures_read_on_light_and_dark_pages() -> None:
    """No background; text has the contrast that WCAG asks of large text, lines that of graphics: 3 to 1."""
    style = Path(notebooks.path("notebook.mplstyle")).read_text(encoding="utf-8")
    settings = dict(line.split(": ", 1) for line in style.splitlines() if ": " in line and line[0] != "#")
    assert {settings[f"{part}.facecolor"] for part in ("figure", "axes", "savefig")} == {"none"}
    grey = {settings[key] for key in ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")}
    for page in ("ffffff", "111111"):  # JupyterLab's two
        assert all(contrast(colour, page) > 4 for colour in grey)
        assert all(contrast(colour, page) > 3 for colour in re.findall(r'"(\w{6})"', settings["axes.prop_cycle"]))


def test_an_exercise_is_unanswered_right_or_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    notebooks.exercise(..., lambda x: x == 4)
    notebooks.exercise([True, ...], lambda x: x == 4)
    assert capsys.readouterr().out == f"{notebooks.NOT_YET}\n" * 2
    notebooks.exercise(4, lambda x: x == 4)
    assert capsys.readouterr().out == "Right.\n"
    with pytest.raises(AssertionError, match=r"^not right yet\. Add one\.$"):
        notebooks.exercise(3, lambda x: x == 4, "Add one.")


def test_the_inline_backend_keeps_pictures_transparent(monkeypatch: pytest.MonkeyPatch) -> None:
    """JupyterLab lays a figure without a background on white, even on a dark page; so only its PNG has none."""
    inline = pytest.importorskip("matplotlib_inline.backend_inline", reason="pip install npwhisper[notebooks]")
    plt = pytest.importorskip("matplotlib.pyplot", reason="pip install npwhisper[plot]")
    asked: list[tuple[str, str]] = []
    monkeypatch.setattr(inline, "set_matplotlib_formats", lambda kind, facecolor: asked.append((kind, facecolor)))
    monkeypatch.setattr(plt, "get_backend", lambda: "module://matplotlib_inline.backend_inline")
    with plt.rc_context():
        notebooks.use_style()
        assert plt.rcParams["figure.facecolor"] == "white"
    assert asked == [("png", "none")]
