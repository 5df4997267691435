"""A box for every part of the network: its function, its shapes, and one number computed from those of the run.

`layers` makes the box of each kind of layer; the other modules go through the network in the order of the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from npwhisper.lab.glass.boxes.decoder import DecoderBoxes
from npwhisper.lab.glass.boxes.encoder import encoder_boxes
from npwhisper.lab.glass.boxes.layers import Boxes
from npwhisper.lab.glass.boxes.sound import sound_boxes
from npwhisper.lab.glass.boxes.timing import split_box, time_box, timing_boxes
from npwhisper.lab.glass.recording import Window
from npwhisper.model import Network
from npwhisper.tracing.seam import Array

__all__ = ["network_boxes", "split_box", "time_box"]


def network_boxes(
    model: Network, window: Window, rows: Sequence[int], samples: Array | None, start: float
) -> tuple[dict[str, dict[str, Any]], dict[str, Array]]:
    """The boxes of a window by name, and the arrays of their worked examples.

    `rows` holds the row (beam or sample) of the chosen text at each step; the window starts at `start` s in `samples`.
    """
    boxes = Boxes(model, window)
    sound_boxes(boxes, samples, start)
    encoder_boxes(boxes)
    DecoderBoxes(boxes, window.attempts[-1], rows).all()
    timing_boxes(boxes)
    return boxes.boxes, boxes.cells.arrays
