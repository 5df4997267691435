"""Pictures and notebook displays: axes with units, what was given is what is drawn."""

from __future__ import annotations

import itertools
import json
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("agg")

from matplotlib import pyplot as plt  # noqa: E402

from npwhisper.audio import hz_to_mel, mel_filters  # noqa: E402
from npwhisper.lab.plots import PlotError, plot_alignment, plot_attention, plot_mel, plot_tokens  # noqa: E402
from npwhisper.timing import WordTiming  # noqa: E402
from npwhisper.transcription.output.transcript import Transcript  # noqa: E402

MEL = np.linspace(-1, 1, 80 * 250, dtype=np.float32).reshape(80, 250)
WORDS = [WordTiming(" And", [1], 0.3, 0.5, 0.9), WordTiming(" $o", [2], 0.5, 1.1, 0.8)]


@pytest.fixture(autouse=True)
def drawn() -> Iterator[None]:
    """Every picture must also render; then it is closed."""
    yield
    for number in plt.get_fignums():
        plt.figure(number).canvas.draw()
    plt.close("all")


def test_a_spectrogram_has_seconds_and_hertz() -> None:
    ax = plot_mel(MEL)
    np.testing.assert_array_equal(ax.images[0].get_array(), MEL)
    assert ax.get_xlim() == (0.0, 2.5)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("time (s)", "frequency (Hz)")
    ticks = dict(zip([label.get_text() for label in ax.get_yticklabels()], ax.get_yticks(), strict=True))
    for hz, position in ticks.items():
        peak = mel_filters(80)[:, int(hz) // 40].argmax() if hz != "8000" else 79
        assert abs(position - peak) < 1
    assert float(hz_to_mel(np.array(8000.0))) == pytest.approx(45.245640471924965)


def test_a_spectrogram_has_a_scale_in_decibels() -> None:
    mel = np.full((80, 50), -0.5, np.float32)
    mel[3, 7] = 1.25  # log10(power) is 4 * mel - 4: the loudest cell has 7 powers of ten, 70 dB, more than the others
    bar = plot_mel(mel).figure.axes[1]
    assert bar.get_ylabel() == "level (dB)"
    labels = {label.get_text(): float(at) for label, at in zip(bar.get_yticklabels(), bar.get_yticks(), strict=True)}
    assert labels == pytest.approx({"0": 1.25, "-20": 0.75, "-40": 0.25, "-60": -0.25})
    assert len(plot_mel(mel, colorbar=False).figure.axes) == 1


def test_attention_has_tokens_or_seconds() -> None:
    weights = np.eye(2, 100)
    with plt.rc_context({"image.origin": "lower"}):  # the first query stands at the top, whatever the style says
        ax = plot_attention(weights, queries=[" And", " so"])
    assert ax.images[0].origin == "upper"
    assert [label.get_text() for label in ax.get_yticklabels()] == ["␣And", "␣so"]
    assert ax.get_xlim() == (0.0, 2.0)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("key: time (s)", "query")
    assert ax.get_ylim() == (1.5, -0.5)  # the first query on top
    ax = plot_attention(weights[:, :3], keys=["a", "b", "c"])
    assert ax.get_ylim() == (0.04, 0.0)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["a", "b", "c"]


def test_self_attention_is_square_and_cross_attention_is_not() -> None:
    assert plot_attention(np.eye(3)).get_aspect() == 1.0
    assert plot_attention(np.eye(3), ["a"] * 3, ["b"] * 3).get_aspect() == 1.0
    assert plot_attention(np.eye(3), queries=["a"] * 3).get_aspect() == "auto"  # three tokens, three moments
    assert plot_attention(np.eye(3, 4)).get_aspect() == "auto"


def test_labels_never_overlap() -> None:
    names = [f"token{i}" for i in range(150)]
    ax = plot_attention(np.eye(150), names, names)
    ax.figure.canvas.draw()
    for labels, side in ((ax.get_yticklabels(), 1), (ax.get_xticklabels(), 0)):
        boxes = sorted((label.get_window_extent().bounds for label in labels), key=lambda box: box[side])
        assert len(boxes) > 10
        assert all(a[side] + a[side + 2] <= b[side] for a, b in itertools.pairwise(boxes))
    assert [label.get_text() for label in ax.get_yticklabels()] == [names[int(at)] for at in ax.get_yticks()]


def test_all_heads_of_a_layer_stand_in_a_grid() -> None:
    weights = np.random.default_rng(0).random((6, 3, 5))
    axes = plot_attention(weights, queries=["a", "b", "c"])
    assert [ax.get_title() for ax in axes] == [f"head {i}" for i in range(6)]
    for ax, head in zip(axes, weights, strict=True):
        np.testing.assert_array_equal(ax.images[0].get_array(), head)
        assert ax.images[0].get_clim() == (weights.min(), weights.max())
    figure = axes[0].figure
    assert len(figure.axes) == 6  # no empty ones
    assert (figure.get_supxlabel(), figure.get_supylabel()) == ("key: time (s)", "query")


def test_a_long_recording_stands_in_rows() -> None:
    mel = np.linspace(-1, 1, 80 * 2500, dtype=np.float32).reshape(80, 2500)
    words = [WordTiming(f" w{i}", [i], i * 0.9, i * 0.9 + 0.9, 1.0) for i in range(27)]
    rows = plot_alignment(words, mel)
    assert [text.get_text() for row in rows for text in row.texts] == [f"w{i}" for i in range(27)]
    spans = np.array([row.images[0].get_extent()[:2] for row in rows])
    assert spans == pytest.approx(np.array([(0.0, 11.7), (11.7, 23.4), (23.4, 25.0)]))  # cut where a word begins
    assert {round(float(np.diff(row.get_xlim())[0]), 6) for row in rows} == {11.7}  # a second is as long in every row
    np.testing.assert_array_equal(np.hstack([row.images[0].get_array() for row in rows]), mel)
    assert {row.images[0].get_clim() for row in rows} == {(-1.0, 1.0)}
    assert rows[-1].get_xlabel() == "time (s)"


@pytest.mark.slow
def test_many_tokens_stand_in_rows() -> None:
    rows = plot_tokens([str(i) for i in range(70)], np.linspace(0, 1, 70))
    assert len(rows) == 3
    assert [label.get_text() for row in rows for label in row.get_xticklabels()] == [str(i) for i in range(70)]
    assert [bar.get_height() for row in rows for bar in row.patches] == pytest.approx(np.linspace(0, 1, 70))
    assert len({row.get_xlim() for row in rows}) == 1


@pytest.mark.parametrize("words", [WORDS, [vars(word) for word in WORDS]], ids=["WordTiming", "dict"])
def test_words_stand_over_the_spectrogram(words: list[Any]) -> None:
    ax = plot_alignment(words, MEL)
    assert [text.get_text() for text in ax.texts] == ["And", r"\$o"]
    assert [text.get_position()[0] for text in ax.texts] == pytest.approx([0.4, 0.8])
    assert [line.get_xdata()[0] for line in ax.lines] == [0.3, 0.5, 0.5, 1.1]


def test_tokens_are_as_high_as_they_are_probable() -> None:
    ax = plot_tokens([" And", " so", "\n"], [0.9, 0.5, 0.25])
    assert [bar.get_height() for bar in ax.patches] == [0.9, 0.5, 0.25]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["␣And", "␣so", "\\n"]
    assert ax.get_ylim() == (0.0, 1.0)


@pytest.mark.parametrize(
    "plot",
    [
        lambda ax: plot_mel(MEL, ax),
        lambda ax: plot_attention(np.eye(3), ax=ax),
        lambda ax: plot_alignment(WORDS, MEL, ax),
        lambda ax: plot_tokens(["a"], [0.5], ax),
    ],
)
def test_given_axes_are_drawn_into_and_returned(plot: Callable[[Any], Any]) -> None:
    ax = plt.subplots()[1]
    assert plot(ax) is ax
    assert len(plt.get_fignums()) == 1


@pytest.mark.parametrize(
    ("plot", "sentence"),
    [
        (lambda: plot_mel(MEL[None]), r"a log-mel spectrogram is a matrix, got shape \(1, 80, 250\)"),
        (lambda: plot_attention(np.zeros((1, 4, 2, 3))), r"one head is a matrix, got shape \(1, 4, 2, 3\): choose"),
        (lambda: plot_attention(np.zeros((4, 2, 3)), ax=plt.subplots()[1]), r"got shape \(4, 2, 3\): choose one"),
        (lambda: plot_attention(np.eye(3), ["a"]), "there are 3 query positions, got 1 labels"),
        (lambda: plot_attention(np.eye(3), keys=["a"]), "there are 3 key positions, got 1 labels"),
        (lambda: plot_tokens(["a"], []), "there are 1 tokens, got 0 probabilities"),
    ],
)
def test_what_cannot_be_drawn_gets_a_sentence(plot: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(PlotError, match=sentence):
        plot()


# Transcriptions


PLAIN: dict[str, Any] = {
    "text": " 1 < 2",
    "segments": [{"id": 0, "start": 0.0, "end": 1.5, "text": " 1 < 2"}],
    "language": "en",
}


def test_a_transcript_is_a_dict_to_every_program() -> None:
    transcript = Transcript(PLAIN)
    assert transcript == PLAIN
    assert dict.__eq__(PLAIN, transcript) is True
    assert json.dumps(transcript) == json.dumps(PLAIN)
    assert repr(transcript) == repr(PLAIN)
    assert pickle.loads(pickle.dumps(transcript)) == PLAIN


def test_a_notebook_shows_a_transcript_as_a_table() -> None:
    html = Transcript(PLAIN)._repr_html_()
    assert "<td>0.00 s</td><td>1.50 s</td>" in html
    assert "1 &lt; 2" in html


def test_words_tell_their_times_and_doubts() -> None:
    words = [
        {"word": " 1", "start": 0.25, "end": 0.5, "probability": 0.9},
        {"word": " <", "start": 0.5, "end": 1.0, "probability": 0.25},
    ]
    html = Transcript(PLAIN | {"segments": [PLAIN["segments"][0] | {"words": words}]})._repr_html_()
    assert "<span title='0.25 to 0.50 s, probability 0.90'> 1</span>" in html
    assert (
        "<span title='0.50 to 1.00 s, probability 0.25' style='text-decoration:underline dotted'> &lt;</span>" in html
    )
