"""What is kept of the encoder: images of its features, norms of its residual stream, and its attention.

The attention of one window of tiny.en has 54 million weights. It is kept twice: averaged over squares of positions
(`pooled`), and at full resolution where it is large (`peaks`).
"""

from __future__ import annotations

import numpy as np

from npwhisper.lab.glass.packing import levels
from npwhisper.tracing.seam import Array

MAP_BYTES = 600_000  # of the pooled maps of all heads together
SIDE = 150  # of a pooled map; smaller with many heads
THRESHOLDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
PEAKS = 6  # weights per row, on average, kept at full resolution
FEATURE_ROWS, FEATURE_COLUMNS = 64, 300


def side_of_maps(n_heads: int, length: int) -> int:
    """The side of a pooled map, so that the maps of all heads fit in `MAP_BYTES`."""
    return max(1, min(SIDE, length, int((MAP_BYTES / max(n_heads, 1)) ** 0.5)))


def pooled(weights: Array, side: int) -> Array:
    """Average the attention over squares of queries and keys: (H, S, S) -> (H, side', side').

    >>> pooled(np.eye(4, dtype=np.float32)[None], 2)[0]
    array([[0.5, 0. ],
           [0. , 0.5]], dtype=float32)
    """
    return mean_of_runs(mean_of_runs(weights, side).swapaxes(1, 2), side).swapaxes(1, 2)


def mean_of_runs(x: Array, n: int) -> Array:
    """Average runs of equal length along the last axis; the last may be shorter: (..., S) -> (..., about n)."""
    length = x.shape[-1]
    run = -(-length // n)
    full = length // run * run
    means = np.ascontiguousarray(x[..., :full]).reshape(*x.shape[:-1], -1, run) @ np.full(run, 1 / run, np.float32)
    if full == length:
        return means
    return np.concatenate([means, x[..., full:].mean(axis=-1, keepdims=True)], axis=-1)


def peaks(weights: Array) -> dict[str, Array | float]:
    """The weights (H, S, S) of at least `threshold`: their number per row, their keys and their values.

    The threshold is the smallest of `THRESHOLDS` that leaves at most 6 weights per row, on average.
    """
    room, length = PEAKS * weights.shape[0] * weights.shape[1], weights.shape[-1]
    places = np.flatnonzero(weights >= THRESHOLDS[0])
    values = weights.ravel()[places]
    threshold = next((t for t in THRESHOLDS if np.count_nonzero(values >= t) <= room), THRESHOLDS[-1])
    large = values >= threshold
    rows, keys = np.divmod(places[large], length)
    largest = float(values.max()) if len(values) else float(weights.max())
    counts = np.bincount(rows, minlength=weights.size // length).reshape(weights.shape[:-1])
    return {
        "threshold": threshold, "largest": largest, "counts": counts.astype(np.uint16),
        "keys": keys.astype(np.uint16), "values": levels(values[large], largest),
    }  # fmt: skip


def picture(features: Array) -> tuple[Array, float]:
    """Features (S, D) minus their means over time, pooled to (64, 300) levels: 128 is 0, 255 is `largest`."""
    small = mean_of_runs(np.ascontiguousarray((features - features.mean(axis=0)).T), FEATURE_COLUMNS)
    small = mean_of_runs(np.ascontiguousarray(small.T), FEATURE_ROWS).T
    largest = float(np.percentile(np.abs(small), 99)) or 1.0
    return np.clip(np.rint(128 + 127 * small / largest), 0, 255).astype(np.uint8), largest


def norms(x: Array) -> Array:
    """The norm of the residual stream at every position: (..., D) -> (...)."""
    return np.sqrt(np.vecdot(x, x)).astype(np.float32)
