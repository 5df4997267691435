"""Worked examples: one number of a layer's result, recomputed from the numbers of the run.

Each method returns a plain dict for the page: the operands (arrays are kept by `Cells`), the recomputed value, and the
recorded value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from npwhisper.audio import N_FFT, SAMPLE_RATE
from npwhisper.tracing.seam import Array


class Cells:
    """Makes worked examples and collects their arrays under short names."""

    def __init__(self) -> None:
        self.arrays: dict[str, Array] = {}

    def keep(self, x: Array) -> str:
        """Store an array and return its name in the page."""
        name = f"cell{len(self.arrays)}"
        self.arrays[name] = np.ascontiguousarray(x, dtype=np.float32)
        return name

    def dot(
        self, a: Array, b: Array, recorded: float, labels: tuple[str, str], scale: float = 1.0, bias: float = 0.0
    ) -> dict[str, Any]:
        """A dot product, scaled, plus a bias."""
        total = float(np.dot(a.astype(np.float64), b.astype(np.float64)))
        return {
            "kind": "dot", "a": self.keep(a), "b": self.keep(b), "labels": labels, "scale": scale, "bias": bias,
            "sum": total, "result": total * scale + bias, "recorded": float(recorded),
        }  # fmt: skip

    def norm(self, x: Array, gamma: Array, beta: Array, at: int, recorded: float) -> dict[str, Any]:
        """One feature of a position, normalised over all of them."""
        wide = x.astype(np.float64)
        mean, variance = float(wide.mean()), float(wide.var())
        result = (float(wide[at]) - mean) / math.sqrt(variance + 1e-5) * float(gamma[at]) + float(beta[at])
        return {
            "kind": "norm", "x": self.keep(x), "at": at, "value": float(x[at]), "mean": mean, "variance": variance,
            "gamma": float(gamma[at]), "beta": float(beta[at]), "result": result, "recorded": float(recorded),
        }  # fmt: skip

    def softmax(self, x: Array, at: int, recorded: float) -> dict[str, Any]:
        """One entry of the softmax of a row."""
        weights = np.exp(x.astype(np.float64) - float(x.max()))
        return {
            "kind": "softmax", "x": self.keep(x), "at": at, "value": float(x[at]), "largest": float(x.max()),
            "total": float(weights.sum()), "result": float(weights[at] / weights.sum()), "recorded": float(recorded),
        }  # fmt: skip

    def gelu(self, x: float, recorded: float) -> dict[str, Any]:
        """GELU of one number."""
        phi = 0.5 * (1 + math.erf(float(x) / math.sqrt(2)))
        return {"kind": "gelu", "x": float(x), "phi": phi, "result": float(x) * phi, "recorded": float(recorded)}

    def add(self, terms: Sequence[tuple[str, float]], recorded: float) -> dict[str, Any]:
        """One feature of the residual stream as the sum of its terms."""
        listed = [{"label": label, "value": float(value)} for label, value in terms]
        result = sum(term["value"] for term in listed)  # type: ignore[misc]
        return {"kind": "add", "terms": listed, "result": result, "recorded": float(recorded)}

    def lookup(self, x: Array, row: int) -> dict[str, Any]:
        """A row of a table."""
        return {"kind": "lookup", "x": self.keep(x), "row": row}

    def median(self, x: Array, recorded: float) -> dict[str, Any]:
        """The median of a few numbers."""
        return {"kind": "median", "x": self.keep(x), "result": float(np.median(x)), "recorded": float(recorded)}

    def standardised(self, column: Array, at: int, recorded: float) -> dict[str, Any]:
        """One token of a frame, standardised over all tokens of the frame."""
        mean, std = float(column.mean(dtype=np.float64)), float(column.std(dtype=np.float64))
        result = (float(column[at]) - mean) / std if std > 0 else 0.0
        return {
            "kind": "standardised", "x": self.keep(column), "at": at, "value": float(column[at]), "mean": mean,
            "std": std, "result": result, "recorded": float(recorded),
        }  # fmt: skip

    def mean(self, x: Array, recorded: float) -> dict[str, Any]:
        """The mean over heads."""
        return {"kind": "mean", "x": self.keep(x), "result": float(x.mean()), "recorded": float(recorded)}

    def cheapest(self, cost: Array, i: int, j: int, own: float) -> dict[str, Any]:
        """One cell of dynamic time warping: its own cost plus that of the cheapest of three predecessors."""
        around = {"left": cost[i, j - 1], "above": cost[i - 1, j], "corner": cost[i - 1, j - 1]}
        numbers = {name: float(value) for name, value in around.items()}
        result = own + min(numbers.values())
        return {"kind": "dtw", **numbers, "own": float(own), "result": result, "recorded": float(cost[i, j])}

    def cheapest_neighbour(self, cost: Array, i: int, j: int, before: Sequence[int]) -> dict[str, Any]:
        """One backtracking step: diagonally or up only if strictly cheaper than both others, otherwise left."""
        corner, above, left = (float(cost[cell]) for cell in ((i - 1, j - 1), (i - 1, j), (i, j - 1)))
        result = [i, j - 1]
        if corner < min(above, left):
            result = [i - 1, j - 1]
        elif above < min(corner, left):
            result = [i - 1, j]
        numbers = {"corner": corner, "above": above, "left": left}
        return {"kind": "path", **numbers, "result": result, "recorded": list(before)}

    def mask(self, mask: Array, t: int) -> dict[str, Any]:
        """The first position masked for query t: it is later than t, counting the keys already in the cache."""
        n_query, n_key = mask.shape
        s = t + n_key - n_query + 1
        recorded = float(mask[t, s])
        return {
            "kind": "mask", "row": t, "column": s, "queries": n_query, "keys": n_key,
            "seen": int(np.count_nonzero(mask[t] == 0)), "result": None,
            "recorded": recorded if math.isfinite(recorded) else None,
        }  # fmt: skip

    def power(self, framed: Array, at: int, recorded: float) -> dict[str, Any]:
        """The power of one frequency in a windowed frame (400,)."""
        angles = 2 * np.pi * at * np.arange(len(framed)) / len(framed)
        real, imaginary = (float(framed.astype(np.float64) @ wave) for wave in (np.cos(angles), -np.sin(angles)))
        return {
            "kind": "power", "x": self.keep(framed), "at": at, "real": real, "imaginary": imaginary,
            "result": real**2 + imaginary**2, "recorded": float(recorded),
        }  # fmt: skip

    def triangle(self, edges: Array, at: int, recorded: float) -> dict[str, Any]:
        """One weight of a mel filter, which rises from its left edge to its centre and falls to its right edge."""
        left, centre, right = map(float, edges)
        hz = at * SAMPLE_RATE / N_FFT
        rise, fall = (hz - left) / (centre - left), (right - hz) / (right - centre)
        return {
            "kind": "triangle", "at": at, "hz": hz, "left": left, "centre": centre, "right": right,
            "result": max(0.0, min(rise, fall)) * 2 / (right - left), "recorded": float(recorded),
        }  # fmt: skip
