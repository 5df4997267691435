"""The boxes of the KV cache and of the causal mask."""

from __future__ import annotations

from collections.abc import Mapping

from npwhisper.lab.glass.boxes.layers import Boxes
from npwhisper.lab.glass.steps import Step
from npwhisper.tracing.seam import Array


def cache_box(boxes: Boxes, step: Step, values: Mapping[str, Array]) -> None:
    """The number of positions in the first block's cache."""
    scores, new = values["decoder.blocks.0.attn.scores"], step.fed.shape[1]
    cell = boxes.cells.add([("already in the cache", step.length - new), ("appended now", new)], scores.shape[-1])
    heads, width = scores.shape[1], boxes.model.dims.n_text_state // scores.shape[1]
    where = f"step {len(boxes.window.attempts[-1].values)}, the number of positions"
    boxes.add("KeyValues", "KeyValues", [len(step.fed), heads, scores.shape[-1], width], cell, where)


def audio_cache_box(boxes: Boxes) -> None:
    """The keys and values of the audio, with the worked example of the first block's keys."""
    dims, first = boxes.model.dims, boxes.boxes["decoder.blocks.0.cross_attn.key"]
    heads = dims.n_text_head
    shape = [dims.n_text_layer, 2, 1, heads, dims.n_audio_ctx, dims.n_text_state // heads]
    boxes.add("start_cache", "start_cache", shape, first["cell"], f"block 0, the key of {first['where']}")


def mask_box(boxes: Boxes, step: Step) -> None:
    """What is masked for the middle query of a call; a call with one token needs no mask."""
    mask = boxes.window.mask
    if mask is None:
        cell = {"kind": "mask", "queries": 1, "keys": step.length}
        boxes.add("causal_mask", "causal_mask", [1, step.length], cell, "a step with one token")
        return
    t = (len(mask) - 1) // 2
    where = f"row {t}, column {t + mask.shape[1] - len(mask) + 1}, of a call with {len(mask)} tokens"
    boxes.add("causal_mask", "causal_mask", mask.shape, boxes.cells.mask(mask, t), where)
