"""The attention weights of the chosen text at every step, and which heads follow the audio."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from npwhisper.lab.glass.packing import Part
from npwhisper.lab.glass.steps import Step
from npwhisper.tracing.seam import Array

ATTENTION_BYTES = 4_000_000  # of cross-attention per window


def attention(rows: Sequence[tuple[Step, int]]) -> Part:
    """Cross- and self-attention of the chosen rows; with many heads, neighbouring positions are max-pooled."""
    cross = np.stack([step.cross[b] for step, b in rows])
    per_column = -(-cross.size // ATTENTION_BYTES)
    if per_column > 1:
        cross = np.maximum.reduceat(cross, np.arange(0, cross.shape[-1], per_column), axis=-1)
    at = np.stack([step.cross_at[b] for step, b in rows])
    return {"positions_per_column": per_column, "follows": _follows(at)}, {
        "cross/levels": cross,
        "cross/max": np.stack([step.cross_max[b] for step, b in rows]).astype(np.float32),
        "cross/at": at,
        "self/levels": np.concatenate([step.own[b].ravel() for step, b in rows]),
        "self/max": np.stack([step.own_max[b] for step, b in rows]).astype(np.float32),
    }


def _follows(at: Array) -> list[list[float]]:
    """Pearson's r between the step and the position of the largest weight: (N, L, H) -> one r per head."""
    steps = np.arange(len(at), dtype=np.float64)[:, None, None] - (len(at) - 1) / 2
    places = at - at.mean(axis=0, dtype=np.float64)
    size = np.sqrt((steps**2).sum() * (places**2).sum(axis=0))
    r = (steps * places).sum(axis=0) / np.where(size > 0, size, 1.0)
    return [[round(float(x), 4) for x in row] for row in r]
