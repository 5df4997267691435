"""Where two runs diverge: the first different value, the first different token, and the changed words."""

from __future__ import annotations

import difflib
from typing import Any

import numpy as np

from npwhisper.lab.glass.packing import unpack
from npwhisper.lab.glass.run import Run

TOLERANCE = 1e-3  # relative; smaller differences may come from another order of summation


def difference(a: Run, b: Run) -> dict[str, Any]:
    """The differences between two runs, as the page shows them."""
    return {"activation": first_activation(a, b), "token": first_token(a, b), "words": changed_words(a, b)}


def first_activation(a: Run, b: Run) -> dict[str, Any] | None:
    """The name of the first value that differs in the first window; None for models of different shapes.

    Samples of the values are compared, in the order of the computation.
    """
    if a.model["dims"] != b.model["dims"]:
        return None
    equal = 0
    for name, x in a.samples.items():
        y = b.samples.get(name)
        if y is None or x.shape != y.shape:
            break
        by = float(np.abs(x - y).max() / max(float(np.abs(x).max()), 1e-12))
        if not by <= TOLERANCE:
            return {"name": name, "by": by if np.isfinite(by) else 1e9, "equal": equal}
        equal += 1
    return {"name": None, "equal": equal}


def first_token(a: Run, b: Run) -> dict[str, Any] | None:
    """The first window and step at which the tokens differ in their texts."""
    for i, blocks in enumerate(zip(a.windows, b.windows, strict=False)):
        texts = [_texts(block) for block in blocks]
        for step, pair in enumerate(zip(*texts, strict=False)):
            if pair[0] != pair[1]:
                return {"window": i, "step": step, "texts": list(pair)}
        if len(texts[0]) != len(texts[1]):
            step = min(map(len, texts))
            return {"window": i, "step": step, "texts": [t[step] if step < len(t) else "" for t in texts]}
    return None


def _texts(block: str) -> list[str]:
    meta = unpack(block)[0]
    return [meta["labels"][str(step["chosen"])] for step in meta.get("steps", [])]


def changed_words(a: Run, b: Run) -> list[dict[str, Any]]:
    """The words of both runs in aligned pieces, equal or not: {"0": words, "1": words, "same": bool}."""
    both = [[word for window in run.overview for word in window["words"]] for run in (a, b)]
    texts = [[word["word"].strip() for word in words] for words in both]
    pieces = difflib.SequenceMatcher(None, texts[0], texts[1], autojunk=False).get_opcodes()
    return [
        {"0": _short(both[0][i:j]), "1": _short(both[1][k:n]), "same": kind == "equal"} for kind, i, j, k, n in pieces
    ]


def _short(words: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"word": word["word"], "start": word["start"]} for word in words]
