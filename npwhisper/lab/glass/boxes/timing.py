"""The boxes of the word times: one cell of each stage, the time of a word, and the end of a segment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from npwhisper.audio import FRAMES_PER_SECOND, TOKENS_PER_SECOND
from npwhisper.decoding import TIME_PRECISION
from npwhisper.lab.glass.boxes.layers import Boxes, box
from npwhisper.lab.glass.recording import Window
from npwhisper.tokenizer import Tokenizer
from npwhisper.tracing.seam import Array


def timing_boxes(boxes: Boxes) -> None:
    """One cell of each stage of the word times."""
    stages = boxes.window.timing
    if "dtw" not in stages:
        return
    row, frame = _place(len(stages["tokens"]), stages["token_map"])
    _stages(boxes, row, frame)
    _path(boxes, stages["dtw_cost"], stages["dtw"])
    _warping(boxes, stages["dtw_cost"], stages["token_map"], row, frame)


def _place(n_tokens: int, matrix: Array) -> tuple[int, int]:
    """The middle token's row, and the frame with its largest weight, 3 frames from the ends for the median."""
    row, n = min(n_tokens // 2, len(matrix) - 2), matrix.shape[1]
    frame = int(matrix[row].argmax())
    return row, min(max(frame, 3), n - 4) if n > 8 else frame


def _stages(boxes: Boxes, row: int, frame: int) -> None:
    """Standardised over tokens, median-filtered over time, averaged over heads."""
    stages = boxes.window.timing
    standard, smooth, matrix = (stages[name] for name in ("standardise", "median_filter", "token_map"))
    where, shape = f"head 0, row {row}, frame {frame}", list(standard.shape)
    cell = boxes.cells.standardised(stages["softmax"][0, :, frame], row, standard[0, row, frame])
    boxes.add("standardise", "standardise", shape, cell, where)
    if shape[2] > 8:
        cell = boxes.cells.median(standard[0, row, frame - 3 : frame + 4], smooth[0, row, frame])
        boxes.add("median_filter", "median_filter", shape, cell, where)
    cell = boxes.cells.mean(smooth[:, row, frame], matrix[row, frame])
    boxes.add("token_map", "token_map", list(matrix.shape), cell, f"row {row}, frame {frame}")


def _warping(boxes: Boxes, cost: Array, matrix: Array, row: int, frame: int) -> None:
    """The cost of one cell; the rows of `cost` exclude the start sequence and the end, those of `matrix` do not."""
    i = row - (len(matrix) - 1 - len(cost))
    if 0 < i < len(cost) and 0 < frame < cost.shape[1]:
        cell = boxes.cells.cheapest(cost, i, frame, float(-matrix[row, frame]))
        boxes.add("dtw", "dtw_cost", list(cost.shape), cell, f"row {i}, frame {frame}")


def _path(boxes: Boxes, cost: Array, path: Array) -> None:
    """One backtracking step in the middle of the path."""
    inner = [k for k in range(1, path.shape[1]) if path[0, k] > 0 and path[1, k] > 0]
    if inner:
        k = inner[len(inner) // 2]
        (i, j), before = path[:, k].tolist(), path[:, k - 1].tolist()
        cell = boxes.cells.cheapest_neighbour(cost, i, j, before)
        boxes.add("backtrace", "backtrace", list(path.shape), cell, f"row {i}, frame {j}")


def time_box(joined: Sequence[dict[str, Any]], offset: float, window: Window) -> dict[str, Any]:
    """The box of the word times: the frame at which the path enters the rows of a word, in seconds.

    The word is the middle one of those whose start was not adjusted at a pause.
    """
    kept = [word for word in joined if word["raw"] and abs(word["raw"][0][1] + offset - word["start"]) < 0.006]
    if not kept:
        return {}
    word = kept[len(kept) // 2]
    frame = round(word["raw"][0][1] * TOKENS_PER_SECOND)
    cell = {
        "kind": "time", "word": word["word"], "frame": frame, "offset": offset,
        "result": offset + frame / TOKENS_PER_SECOND, "recorded": word["start"],
    }  # fmt: skip
    where = f"the word {word['word'].strip()!r}"
    return {"find_alignment": box("find_alignment", window.timing["dtw"].shape, cell, where)}


def split_box(segments: Sequence[dict[str, Any]], tokenizer: Tokenizer) -> dict[str, Any]:
    """The box of the segments: the timestamp that ends the first one, in seconds; word times may move the end."""
    stamps = [t for t in segments[0]["tokens"] if t >= tokenizer.timestamp_begin] if segments else []
    if not stamps:
        return {}
    start, last = segments[0]["seek"] / FRAMES_PER_SECOND, stamps[-1] - tokenizer.timestamp_begin
    cell = {
        "kind": "split", "token": stamps[-1], "begin": tokenizer.timestamp_begin, "offset": start,
        "result": start + last * TIME_PRECISION, "end": float(segments[0]["end"]),
    }  # fmt: skip
    if "words" not in segments[0]:
        cell["recorded"] = cell["end"]
    return {"split_at_timestamps": box("split_at_timestamps", [len(segments)], cell, "the end of the first segment")}
