"""Pictures of what the network sees and does: spectrograms, attention, words in time, tokens and their probabilities.

Every function draws into the given axes, or into new ones, and returns them. matplotlib is needed:
``pip install npwhisper[plot]``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from npwhisper.audio import FRAMES_PER_SECOND, TOKENS_PER_SECOND, mel_edges
from npwhisper.tracing.seam import Array

COLOURS = "viridis"  # even in brightness: readable in grey, and without seeing red or green
MARKS_HZ = (200, 500, 1000, 2000, 4000, 8000)


class PlotError(ValueError):
    """Something that cannot be drawn."""


def _axes(ax: Any, width: float, height: float) -> Any:
    """The given axes, or new ones of this size in inches."""
    if ax is not None:
        return ax
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("pictures need matplotlib, which is not installed: pip install npwhisper[plot]") from error
    return plt.subplots(figsize=(width, height), layout="constrained")[1]


def _matrix(values: Any, what: str) -> Array:
    values = np.asarray(values)
    if values.ndim != 2 or not values.size:
        raise PlotError(f"{what} is a matrix, got shape {values.shape}: choose one, as in x[0]")
    return values


def plot_mel(mel: Array, ax: Any = None) -> Any:
    """Draw a log-mel spectrogram: time to the right, pitch upwards, loudness as brightness.

    Parameters
    ----------
    mel : array, shape (n_mels, frames)
        As `log_mel_spectrogram` makes it; 100 frames a second.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    PlotError
        If it is no single spectrogram.

    Examples
    --------
    >>> plot_mel(np.zeros((80, 300), np.float32)).get_xlabel()  # doctest: +SKIP
    'time [s]'
    """
    mel = _matrix(mel, "a log-mel spectrogram")
    ax = _axes(ax, 8.0, 2.6)
    n_mels, n_frames = mel.shape
    extent = (0.0, n_frames / FRAMES_PER_SECOND, -0.5, n_mels - 0.5)
    ax.imshow(mel, origin="lower", aspect="auto", extent=extent, cmap=COLOURS, interpolation="nearest")
    ax.set_yticks(np.interp(MARKS_HZ, mel_edges(n_mels)[1:-1], np.arange(n_mels)), [str(hz) for hz in MARKS_HZ])
    ax.set_xlabel("time [s]")
    ax.set_ylabel("frequency [Hz]")
    return ax


def plot_attention(
    weights: Array, queries: Sequence[str] | None = None, keys: Sequence[str] | None = None, ax: Any = None
) -> Any:
    """Draw attention: which key (column) each query (row) looks at; bright is much.

    Parameters
    ----------
    weights : array, shape (T, S)
        One head's softmax or scores, as ``acts["decoder.blocks.1.cross_attn.softmax"][0, 3]``.
    queries, keys : sequence of str, optional
        The texts of the tokens. Without them positions are those of the audio, 0.02 s each.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    PlotError
        If it is not a single head, or if there is not a label for each row or column.
    """
    weights = _matrix(weights, "the attention of one head")
    ax = _axes(ax, 8.0, 4.0)
    n_queries, n_keys = weights.shape
    right = n_keys - 0.5 if keys is not None else n_keys / TOKENS_PER_SECOND
    bottom = n_queries - 0.5 if queries is not None else n_queries / TOKENS_PER_SECOND
    extent = (0.0 if keys is None else -0.5, right, bottom, 0.0 if queries is None else -0.5)
    ax.imshow(weights, origin="upper", aspect="auto", extent=extent, cmap=COLOURS, interpolation="nearest")
    _label(ax.set_yticks, ax.set_ylabel, queries, n_queries, "query")
    _label(ax.set_xticks, ax.set_xlabel, keys, n_keys, "key")
    if keys is not None:
        ax.tick_params(axis="x", rotation=90)
    return ax


def _label(set_ticks: Any, set_label: Any, labels: Sequence[str] | None, n: int, what: str) -> None:
    if labels is None:
        set_label(f"{what} [s]")
        return
    if len(labels) != n:
        raise PlotError(f"there are {n} {what} positions, got {len(labels)} labels: give one for each")
    set_ticks(range(n), [_plain(label) for label in labels])
    set_label(what)


def _plain(text: str) -> str:
    r"""A text that matplotlib shows as it is, spaces visible.

    >>> _plain(" $5")
    '␣\\$5'
    """
    return text.replace(" ", "\N{OPEN BOX}").replace("$", r"\$").replace("\n", "\\n")


def plot_alignment(words: Sequence[Any], mel: Array, ax: Any = None) -> Any:
    """Draw words over the spectrogram in which they were found.

    Parameters
    ----------
    words : sequence of WordTiming or dict
        What `align` returns, or the ``words`` of a segment; times in seconds from the spectrogram's beginning.
    mel : array, shape (n_mels, frames)
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    PlotError
        If `mel` is no single spectrogram.
    """
    ax = plot_mel(mel, _axes(ax, 10.0, 3.2))
    top = mel.shape[0] - 0.5
    for i, item in enumerate(words):
        word = item if isinstance(item, Mapping) else vars(item)
        ax.axvline(word["start"], color="white", linewidth=0.8)
        ax.axvline(word["end"], color="white", linewidth=0.8, linestyle=":")
        height = top * (0.93 if i % 2 else 0.82)  # in two rows, since short words would overlap
        middle = (word["start"] + word["end"]) / 2
        style = {"ha": "center", "va": "center", "color": "black", "fontsize": 9}
        box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1.0}
        ax.text(middle, height, word["word"].strip().replace("$", r"\$"), bbox=box, clip_on=True, **style)
    return ax


def plot_tokens(tokens: Sequence[str], probabilities: Sequence[float], ax: Any = None) -> Any:
    """Draw tokens in their order, each as high as it was probable.

    Parameters
    ----------
    tokens : sequence of str
        Their texts, as ``[model.tokenizer.decode([token]) for token in result.tokens]``.
    probabilities : sequence of float
        Between 0 and 1.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    PlotError
        If there is not a probability for each token.
    """
    if len(tokens) != len(probabilities):
        raise PlotError(f"there are {len(tokens)} tokens, got {len(probabilities)} probabilities: give one for each")
    ax = _axes(ax, max(4.0, 0.35 * len(tokens)), 2.6)
    import matplotlib

    heights = np.asarray(probabilities, dtype=np.float64)
    ax.bar(range(len(tokens)), heights, color=matplotlib.colormaps[COLOURS](heights), edgecolor="black", linewidth=0.4)
    ax.set_xticks(range(len(tokens)), [_plain(token) for token in tokens], rotation=90)
    ax.set_ylim(0.0, 1.0)
    ax.set_ylabel("probability")
    ax.set_xlabel("token")
    return ax
