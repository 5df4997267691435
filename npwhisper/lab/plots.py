"""Plots of what the network sees and does: spectrograms, attention, word times, tokens and their probabilities.

Every function draws into the given axes, or into new ones, and returns them. Requires matplotlib:
``pip install npwhisper[plot]``.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from npwhisper.audio import FRAMES_PER_SECOND, TOKENS_PER_SECOND, mel_edges
from npwhisper.tracing.seam import Array

COLOURS = "viridis"  # perceptually uniform; readable in greyscale and with colour blindness
MARKS_HZ = (200, 500, 1000, 2000, 4000, 8000)
DECIBELS = 40.0  # per unit of a log-mel spectrogram, whose values are log10(power) / 4 + 1
ROW_SECONDS = 12.0
ROW_TOKENS = 30
LABEL_INCHES = 0.16  # the space that a label needs


class PlotError(ValueError):
    """The input cannot be drawn."""


def _pyplot() -> Any:
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("plots need matplotlib, which is not installed: pip install npwhisper[plot]") from error
    return plt


def _axes(ax: Any, width: float, height: float) -> Any:
    """The given axes, or new ones of this size in inches."""
    return ax if ax is not None else _rows(1, width, height)[0]


def _rows(n: int, width: float, height: float) -> Any:
    """`n` axes, one below the other, each of this size in inches."""
    return _pyplot().subplots(n, 1, figsize=(width, n * height), layout="constrained", squeeze=False)[1][:, 0]


def _one_or_all(rows: Any) -> Any:
    return rows[0] if len(rows) == 1 else rows


def _matrix(values: Any, what: str) -> Array:
    values = np.asarray(values)
    if values.ndim != 2 or not values.size:
        raise PlotError(f"{what} is a matrix, got shape {values.shape}: choose one, as in x[0]")
    return values


def plot_mel(mel: Array, ax: Any = None, *, colorbar: bool = True) -> Any:
    """Draw a log-mel spectrogram: time to the right, frequency upwards, power as brightness.

    Parameters
    ----------
    mel : array, shape (n_mels, frames)
        From `log_mel_spectrogram`; 100 frames per second.
    ax : matplotlib Axes, optional
    colorbar : bool
        Add a scale in dB, relative to the loudest cell.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    PlotError
        If it is not a single spectrogram.

    Examples
    --------
    >>> plot_mel(np.zeros((80, 300), np.float32)).get_xlabel()  # doctest: +SKIP
    'time (s)'
    """
    mel = _matrix(mel, "a log-mel spectrogram")
    ax = _axes(ax, 8.0, 2.6)
    _draw_mel(ax, mel, 0, mel.shape[1])
    if colorbar:
        _draw_decibels(ax, mel)
    return ax


def _draw_mel(ax: Any, mel: Array, first: int, last: int) -> None:
    """Draw frames `first` to `last` at their times, with the colour scale of the whole."""
    n_mels = len(mel)
    extent = (first / FRAMES_PER_SECOND, last / FRAMES_PER_SECOND, -0.5, n_mels - 0.5)
    look = {"origin": "lower", "aspect": "auto", "cmap": COLOURS, "interpolation": "nearest"}
    ax.imshow(mel[:, first:last], extent=extent, vmin=mel.min(), vmax=mel.max(), **look)
    ax.set_yticks(np.interp(MARKS_HZ, mel_edges(n_mels)[1:-1], np.arange(n_mels)), [str(hz) for hz in MARKS_HZ])
    ax.set_xlabel("time (s)")
    ax.set_ylabel("frequency (Hz)")


def _draw_decibels(axes: Any, mel: Array) -> None:
    """A colour bar in dB beside the axes; 0 dB is the loudest cell."""
    axes = np.atleast_1d(axes)
    below = np.arange(0.0, DECIBELS * float(mel.max() - mel.min()) + 1e-3, 20.0)
    bar = axes[0].figure.colorbar(axes[0].images[0], ax=list(axes), label="level (dB)")
    bar.set_ticks(mel.max() - below / DECIBELS, labels=[f"{-level:.0f}" if level else "0" for level in below])


def plot_attention(
    weights: Array, queries: Sequence[str] | None = None, keys: Sequence[str] | None = None, ax: Any = None
) -> Any:
    """Draw attention: how much each query (row) attends to each key (column); brighter is more.

    If queries and keys are the same positions (self-attention), the plot is square. If labels would overlap, only every
    second, third, … is shown.

    Parameters
    ----------
    weights : array, shape (T, S) or (H, T, S)
        The weights or scores of one head, such as ``acts["decoder.blocks.1.cross_attn.softmax"][0, 3]``, or of all
        heads of a layer, such as ``acts["decoder.blocks.1.attn.softmax"][0]``.
    queries, keys : sequence of str, optional
        The texts of the tokens. Default: audio positions of 0.02 s each.
    ax : matplotlib Axes, optional
        Only for one head.

    Returns
    -------
    matplotlib Axes, or an array of them
        One per head, if there are several.

    Raises
    ------
    PlotError
        If `weights` is neither one head nor the heads of a layer, or the number of labels is wrong.

    Examples
    --------
    >>> plot_attention(np.eye(3), queries=["a", "b", "c"], keys=["a", "b", "c"]).get_xlabel()  # doctest: +SKIP
    'key'
    """
    weights = np.asarray(weights)
    if weights.ndim == 3 and weights.size and ax is None:
        return _plot_heads(weights, queries, keys)
    weights = _matrix(weights, "the attention of one head")
    is_self = weights.shape[0] == weights.shape[1] and (queries is None) == (keys is None)
    ax = _axes(ax, *((5.0, 5.0) if is_self else (8.0, 4.0)))
    _draw_attention(ax, weights, queries, keys, (float(weights.min()), float(weights.max())))
    return ax


def _plot_heads(weights: Array, queries: Sequence[str] | None, keys: Sequence[str] | None) -> Any:
    """A grid with one plot per head, on a common colour scale: (H, T, S) -> axes, shape (H,)."""
    columns = min(len(weights), 4)
    shape = (-(-len(weights) // columns), columns)
    figure, grid = _pyplot().subplots(
        *shape, figsize=(2.6 * columns, 2.6 * shape[0]), sharex=True, sharey=True, layout="constrained", squeeze=False
    )
    for ax in grid.flat[len(weights) :]:
        ax.remove()
    for head, ax in enumerate(grid.flat[: len(weights)]):
        _draw_attention(ax, weights[head], queries, keys, (float(weights.min()), float(weights.max())))
        ax.set_title(f"head {head}", fontsize="small")
    _name_the_grid(figure, grid)
    return grid.ravel()[: len(weights)]


def _name_the_grid(figure: Any, grid: Any) -> None:
    """One label for all horizontal axes, one for all vertical axes."""
    figure.supxlabel(grid[0, 0].get_xlabel(), fontsize="medium")
    figure.supylabel(grid[0, 0].get_ylabel(), fontsize="medium")
    for ax in grid.flat:
        ax.set(xlabel="", ylabel="")


def _draw_attention(
    ax: Any, weights: Array, queries: Sequence[str] | None, keys: Sequence[str] | None, limits: tuple[float, float]
) -> None:
    n_queries, n_keys = weights.shape
    right = n_keys - 0.5 if keys is not None else n_keys / TOKENS_PER_SECOND
    bottom = n_queries - 0.5 if queries is not None else n_queries / TOKENS_PER_SECOND
    extent = (0.0 if keys is None else -0.5, right, bottom, 0.0 if queries is None else -0.5)
    is_self = n_queries == n_keys and (queries is None) == (keys is None)
    look = {"origin": "upper", "aspect": "equal" if is_self else "auto", "cmap": COLOURS, "interpolation": "nearest"}
    ax.imshow(weights, extent=extent, vmin=limits[0], vmax=limits[1], **look)
    width, height = _inches(ax)
    _label(ax.set_yticks, ax.set_ylabel, queries, n_queries, "query", height)
    _label(ax.set_xticks, ax.set_xlabel, keys, n_keys, "key", width)
    if keys is not None:
        ax.tick_params(axis="x", rotation=90)


def _inches(ax: Any) -> tuple[float, float]:
    """Width and height of the axes, minus a fifth for the labels that the layout has not placed yet."""
    share, size = ax.get_position(original=True), ax.figure.get_size_inches()
    return 0.8 * share.width * size[0], 0.8 * share.height * size[1]


def _label(set_ticks: Any, set_name: Any, labels: Sequence[str] | None, n: int, what: str, inches: float) -> None:
    """Label an axis, and as many of its `n` positions as there is room for."""
    if labels is None:
        set_name(f"{what}: time (s)")
        return
    if len(labels) != n:
        raise PlotError(f"there are {n} {what} positions, got {len(labels)} labels: give one for each")
    every = -(-n // max(1, int(inches / LABEL_INCHES)))
    set_ticks(range(0, n, every), [_plain(label) for label in labels[::every]])
    set_name(what)


def _plain(text: str) -> str:
    r"""Escape a text for matplotlib, with visible spaces.

    >>> _plain(" $5")
    '␣\\$5'
    """
    return text.replace(" ", "\N{OPEN BOX}").replace("$", r"\$").replace("\n", "\\n")


def plot_alignment(words: Sequence[Any], mel: Array, ax: Any = None) -> Any:
    """Draw words over the spectrogram they were found in, in rows of at most 12 seconds.

    Parameters
    ----------
    words : sequence of WordTiming or dict
        From `align`, or the ``words`` of a segment; times in seconds from the start of the spectrogram.
    mel : array, shape (n_mels, frames)
    ax : matplotlib Axes, optional
        Draw everything into these axes, in one row.

    Returns
    -------
    matplotlib Axes, or an array of them
        One per row, if there are several.

    Raises
    ------
    PlotError
        If `mel` is not a single spectrogram.

    Examples
    --------
    >>> words = [{"word": " Ask", "start": 0.2, "end": 0.5}]
    >>> plot_alignment(words, np.zeros((80, 300), np.float32)).get_xlabel()  # doctest: +SKIP
    'time (s)'
    """
    mel = _matrix(mel, "a log-mel spectrogram")
    timed: list[Mapping[str, Any]] = [item if isinstance(item, Mapping) else vars(item) for item in words]
    edges = [0, mel.shape[1]] if ax is not None else _row_edges([word["start"] for word in timed], mel.shape[1])
    rows = [ax] if ax is not None else _rows(len(edges) - 1, 10.0, 3.2 if len(edges) == 2 else 2.4)
    for row, (first, last) in zip(rows, itertools.pairwise(edges), strict=True):
        _draw_mel(row, mel, first, last)
        _draw_words(row, timed, first / FRAMES_PER_SECOND, last / FRAMES_PER_SECOND, len(mel) - 0.5)
        row.set_xlim(first / FRAMES_PER_SECOND, first / FRAMES_PER_SECOND + _longest(edges) / FRAMES_PER_SECOND)
    _draw_decibels(rows, mel)
    return _one_or_all(rows)


def _row_edges(starts: Sequence[float], n_frames: int) -> list[int]:
    """Cut frames into rows of at most `ROW_SECONDS`, where a word begins if one begins in the row's second half.

    >>> _row_edges([0.0, 5.0, 11.0, 13.0], 1500)
    [0, 1100, 1500]
    >>> _row_edges([], 1500)
    [0, 1200, 1500]
    """
    longest, edges = int(ROW_SECONDS * FRAMES_PER_SECOND), [0]
    while n_frames - edges[-1] > longest:
        limit = edges[-1] + longest
        begins = [round(start * FRAMES_PER_SECOND) for start in starts]
        edges.append(max((begin for begin in begins if limit - longest // 2 < begin <= limit), default=limit))
    return [*edges, n_frames]


def _longest(edges: Sequence[int]) -> int:
    return max(last - first for first, last in itertools.pairwise(edges))


def _draw_words(ax: Any, words: Sequence[Mapping[str, Any]], begin: float, end: float, top: float) -> None:
    """Draw the words whose middle is between `begin` and `end`, with their boundaries."""
    for i, word in enumerate(words):
        middle = (word["start"] + word["end"]) / 2
        if not begin <= middle < end:
            continue
        ax.axvline(word["start"], color="white", linewidth=0.8)
        ax.axvline(word["end"], color="white", linewidth=0.8, linestyle=":")
        height = top * (0.93 if i % 2 else 0.82)  # at two heights, so that short words do not overlap
        style = {"ha": "center", "va": "center", "color": "black", "fontsize": 9}
        box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1.0}
        ax.text(middle, height, word["word"].strip().replace("$", r"\$"), bbox=box, clip_on=True, **style)


def plot_tokens(tokens: Sequence[str], probabilities: Sequence[float], ax: Any = None) -> Any:
    """Draw tokens as bars as high as their probabilities, in rows of at most 30.

    Parameters
    ----------
    tokens : sequence of str
        Texts of the tokens, such as ``[model.tokenizer.decode([token]) for token in result.tokens]``.
    probabilities : sequence of float
        Between 0 and 1.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes, or an array of them
        As `plot_alignment`.

    Raises
    ------
    PlotError
        If the number of probabilities is not that of the tokens.

    Examples
    --------
    >>> plot_tokens([" Ask", " not"], [0.9, 0.8]).get_ylabel()  # doctest: +SKIP
    'probability'
    """
    if len(tokens) != len(probabilities):
        raise PlotError(f"there are {len(tokens)} tokens, got {len(probabilities)} probabilities: give one for each")
    n_rows = 1 if ax is not None else max(1, -(-len(tokens) // ROW_TOKENS))
    each = -(-len(tokens) // n_rows)
    rows = [ax] if ax is not None else _rows(n_rows, max(4.0, 0.35 * each), 2.6)
    for i, row in enumerate(rows):
        part = slice(i * each, (i + 1) * each)
        _draw_tokens(row, tokens[part], np.asarray(probabilities[part], dtype=np.float64))
        row.set_xlim(-0.6, max(each, 1) - 0.4)
    rows[-1].set_xlabel("token")
    return _one_or_all(rows)


def _draw_tokens(ax: Any, tokens: Sequence[str], heights: Array) -> None:
    colours = _pyplot().get_cmap(COLOURS)(heights)
    ax.bar(range(len(tokens)), heights, color=colours, edgecolor="#7b7b7b", linewidth=0.6)
    ax.set_xticks(range(len(tokens)), [_plain(token) for token in tokens], rotation=90)
    ax.set_ylim(0.0, 1.0)
    ax.set_ylabel("probability")
