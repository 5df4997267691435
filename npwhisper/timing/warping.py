"""From attention to a path: which audio position belongs to which token?

Every frame is made comparable (`standardise`), outliers go (`median_filter`), the heads are averaged (`token_map`), and
dynamic time warping finds the cheapest monotone path through tokens and frames (`dtw`).

Source: openai-whisper's ``timing.py``; ties are broken in the same way. Frames that are the same for all tokens count
as 0, not as NaN.
"""

from __future__ import annotations

import numpy as np

from npwhisper.model.layers import softmax
from npwhisper.tracing.seam import Array, layer


class AlignmentError(ValueError):
    """A text that cannot be aligned with its audio."""


@layer
def standardise(weights: Array) -> Array:
    """Give every frame mean 0 and variance 1 over the tokens, so that no frame counts more than another.

    (H, T, S) -> (H, T, S)

    >>> standardise(np.array([[[1, 5], [3, 5]]], np.float32))
    array([[[-1.,  0.],
            [ 1.,  0.]]], dtype=float32)
    """
    y: Array = weights - weights.mean(axis=-2, keepdims=True)
    std = np.sqrt(np.square(y).mean(axis=-2, keepdims=True))
    np.divide(y, std, out=y, where=std > 0)
    return y


@layer
def median_filter(x: Array, filter_width: int) -> Array:
    """Replace every value by the median of the `filter_width` values around it on the last axis.

    (..., S) -> (..., S)

    Beyond both ends the values are reflected; rows too short for that (S <= filter_width // 2) stay as they are.
    A median needs no full sort: each round moves the largest of what is left to the end, down to the middle.
    This is for small widths; there it is ten times faster than sorting each neighbourhood. An even width raises
    ValueError.

    >>> median_filter(np.array([1, 1, 9, 1, 1, 5, 5], np.float32), 3)
    array([1., 1., 1., 1., 1., 5., 5.], dtype=float32)
    """
    if filter_width < 1 or filter_width % 2 == 0:
        raise ValueError(f"filter_width must be odd and positive, got {filter_width}: use 7, for example")
    length, middle = x.shape[-1], filter_width // 2
    if length <= middle:
        return np.array(x)
    padded = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(middle, middle)], mode="reflect")
    around = [padded[..., i : i + length] for i in range(filter_width)]
    for last in range(filter_width - 1, middle - 1, -1):
        for i in range(last):
            around[i], around[last] = np.minimum(around[i], around[last]), np.maximum(around[i], around[last])
    return around[middle]


@layer
def token_map(scores: Array, medfilt_width: int = 7) -> Array:
    """Where each token's attention stands out, over all heads: high where a token is likely being said.

    (H, T, S) -> (T, S)

    >>> token_map(np.eye(3, 5, dtype=np.float32)[None], medfilt_width=1).argmax(axis=1)
    array([0, 1, 2])
    """
    y: Array = median_filter(standardise(softmax(scores)), medfilt_width).mean(axis=0)
    return y


@layer
def dtw_cost(x: Array) -> Array:
    """The cost of the cheapest path from the top left corner to every cell, going right, down or diagonally.

    (N, M) -> (N, M)

    A cell needs its three neighbours above and to the left, so all cells with the same i + j can be computed at once:
    one row of `diagonals`. Sums are float64, and where the ways from above and from the corner are equal the one from
    the left is taken even if it costs more, as upstream does: the filter makes runs of equal values, so ties matter.

    >>> dtw_cost(np.array([[1, 9, 9], [9, 1, 2]]))
    array([[ 1., 10., 19.],
           [10.,  2.,  4.]])
    """
    n, m = x.shape
    diagonals = np.full((n + m + 1, n + 1), np.inf, dtype=np.float64)
    step = diagonals.itemsize
    cost = np.lib.stride_tricks.as_strided(diagonals, (n + 1, m + 1), ((n + 2) * step, (n + 1) * step))
    cost[0, 0] = 0.0
    cost[1:, 1:] = x
    above, here = diagonals[:, :-1], diagonals[:, 1:]  # cell (i - 1, j) stands beside (i, j - 1), one diagonal earlier
    best = np.empty(n, dtype=np.float64)
    for corner, up, left, cells in zip(above[:-2], above[1:-1], here[1:-1], here[2:], strict=True):
        np.minimum(corner, up, out=best)
        np.minimum(best, left, out=best)
        np.copyto(best, left, where=corner == up)
        cells += best
    return cost[1:, 1:]


@layer
def backtrace(cost: Array) -> Array:
    """Follow the costs of `dtw_cost` back from the last cell: the cheapest path, as its rows and its columns.

    (N, M) -> (2, L)

    A step goes up or diagonally only if that is strictly cheaper than both others; on a tie it stays in its row.

    >>> backtrace(np.array([[1, 10, 19], [10, 2, 4]]))
    array([[0, 1, 1],
           [0, 1, 2]])
    """
    i, j = cost.shape[0] - 1, cost.shape[1] - 1
    path = [(i, j)]
    while i > 0 or j > 0:
        down, right = _step_back(cost, i, j)
        i, j = i - down, j - right
        path.append((i, j))
    return np.transpose(path[::-1])


def _step_back(cost: Array, i: int, j: int) -> tuple[int, int]:
    """Rows and columns to go back from cell (i, j)."""
    if i == 0 or j == 0:
        return (0, 1) if i == 0 else (1, 0)
    corner, up, left = cost[i - 1, j - 1], cost[i - 1, j], cost[i, j - 1]
    if corner < up and corner < left:
        return 1, 1
    return (1, 0) if up < corner and up < left else (0, 1)


@layer
def dtw(x: Array) -> Array:
    """Dynamic time warping: the monotone path from corner to corner of `x` whose values have the smallest sum.

    Parameters
    ----------
    x : array, shape (N, M)
        The cost of having row i (a token) at column j (a frame).

    Returns
    -------
    array of int, shape (2, L)
        The rows and the columns along the path, both never decreasing.

    Raises
    ------
    AlignmentError
        If `x` has no rows or no columns.

    Examples
    --------
    >>> rows, columns = dtw(np.array([[0, 0, 1, 1], [1, 1, 0, 1], [1, 1, 1, 0]]))
    >>> rows.tolist(), columns.tolist()
    ([0, 0, 1, 2], [0, 1, 2, 3])

    Notes
    -----
    The same path as ``dtw_cpu`` of openai-whisper, also where ties make that one not quite the cheapest (`dtw_cost`).
    Giorgino 2009, "Computing and Visualizing Dynamic Time Warping Alignments in R", describes the method.
    """
    if x.ndim != 2 or x.size == 0:
        raise AlignmentError(f"dtw needs a matrix with at least one row and one column, got shape {x.shape}")
    return backtrace(dtw_cost(x))
