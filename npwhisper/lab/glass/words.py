"""Word times: the stages from attention to a path, and the tokens of each word."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from npwhisper.audio import TOKENS_PER_SECOND
from npwhisper.lab.glass.encoder import mean_of_runs
from npwhisper.lab.glass.packing import levels
from npwhisper.lab.glass.recording import Window
from npwhisper.tokenizer import Tokenizer
from npwhisper.tracing.seam import Array

STAGE_BYTES = 1_500_000  # of one stage, all heads
STAGES = ("softmax", "standardise", "median_filter")


def stages(window: Window) -> tuple[dict[str, Any], dict[str, Array]]:
    """The stages as images (level 0 is the smallest value, 255 the largest), and the path: metadata, arrays."""
    timing = window.timing
    if "dtw" not in timing:
        return {}, {}
    columns = min(timing["softmax"].shape[-1], max(1, STAGE_BYTES // max(1, timing["softmax"][..., 0].size)))
    meta: dict[str, Any] = {"frames": int(timing["softmax"].shape[-1]), "ranges": {}}
    arrays: dict[str, Array] = {}
    for name in (*STAGES, "token_map"):
        arrays[f"timing/{name}"], meta["ranges"][name] = _picture(timing[name], columns)
    meta["tokens"] = timing["tokens"].tolist()
    meta["start"] = len(timing["token_map"]) - 1 - len(timing["dtw_cost"])
    return meta, arrays | {"timing/path": timing["dtw"].astype(np.int32)}


def _picture(x: Array, columns: int) -> tuple[Array, list[float]]:
    small = x if x.shape[-1] <= columns else mean_of_runs(x, columns)
    low, high = float(small.min()), float(small.max())
    return levels(small - np.float32(low), max(high - low, 1e-12)), [low, high]


def raw_words(window: Window, tokenizer: Tokenizer) -> list[dict[str, Any]]:
    """The words with the times of the path, before punctuation is merged: word, tokens, start and end."""
    timing = window.timing
    if "dtw" not in timing:
        return []
    start = len(timing["token_map"]) - 1 - len(timing["dtw_cost"])
    text = [int(t) for t in timing["tokens"][start + 1 :]]  # after the start sequence and <|notimestamps|>
    words, word_tokens = tokenizer.split_to_word_tokens(text)
    rows, frames = timing["dtw"]
    times = frames[np.diff(rows, prepend=-1) > 0] / TOKENS_PER_SECOND
    bounds = pairwise(np.cumsum([0, *map(len, word_tokens[:-1])]).tolist())
    return [
        {"word": word, "tokens": list(map(int, tokens)), "start": float(times[i]), "end": float(times[j])}
        for word, tokens, (i, j) in zip(words[:-1], word_tokens[:-1], bounds, strict=True)
    ]


def join_words(raw: Sequence[dict[str, Any]], final: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The final words, each with the tokens and raw times of the words merged into it.

    >>> raw = [{"word": " a", "tokens": [1], "start": 0, "end": 1}, {"word": "!", "tokens": [2], "start": 1, "end": 2}]
    >>> join_words(raw, [{"word": " a!", "start": 0.0, "end": 1.0, "probability": 0.5}])[0]["tokens"]
    [1, 2]
    """
    parts, joined = iter(raw), []
    for word in final:
        taken, text = list[dict[str, Any]](), ""
        while text != word["word"] and (part := next(parts, None)) is not None:
            taken.append(part)
            text += part["word"]
        joined.append(_joined(word, taken))
    return joined


def _joined(word: dict[str, Any], parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "word": word["word"],
        "start": float(word["start"]),
        "end": float(word["end"]),
        "probability": float(word.get("probability", 0.0)),
        "tokens": [token for part in parts for token in part["tokens"]],
        "raw": [[part["word"], part["start"], part["end"]] for part in parts],
    }
