"""Where NaN or infinity come from: from the weights, or from the first layer that computed them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from npwhisper.tracing.seam import Array, Function, handling

MASKS = ("causal_mask",)  # hold -inf by design


def not_finite_message(weights: Mapping[str, Any], function: Callable[[], Any]) -> str:
    """The sentence for a network whose `function` computes NaN or infinity.

    >>> not_finite_message({"ln.weight": np.array([1, np.inf])}, list)
    "the weights 'ln.weight' hold NaN or infinity: load another copy of the checkpoint"
    """
    for name, array in weights.items():
        if isinstance(array, np.ndarray) and not is_finite(array):
            return f"the weights {name!r} hold NaN or infinity: load another copy of the checkpoint"
    layer = first_not_finite(function)
    where = f"{layer!r} is the first layer whose result holds" if layer else "the network's output holds"
    return f"{where} NaN or infinity, and the weights do not: check the function that replaces it, if any"


def first_not_finite(function: Callable[[], Any]) -> str | None:
    """Run `function` and name the first layer whose result holds NaN or infinity; None if there is none.

    >>> from npwhisper.model.layers import softmax
    >>> with np.errstate(invalid="ignore"):
    ...     first_not_finite(lambda: softmax(np.array([np.nan], np.float32)))
    'softmax'
    """
    found: list[str] = []

    def watch(name: str, layer: Function) -> Function:
        @functools.wraps(layer)
        def watched(*args: Any, **kwargs: Any) -> Any:
            value = layer(*args, **kwargs)
            if not found and not name.endswith(MASKS) and _is_broken(value):
                found.append(name)
            return value

        return watched

    with handling(watch):
        function()
    return found[0] if found else None


def _is_broken(value: Any) -> bool:
    arrays = value if isinstance(value, tuple) else (value,)
    return any(isinstance(x, np.ndarray) and x.dtype.kind == "f" and not np.isfinite(x).all() for x in arrays)


def is_finite(x: Array) -> bool:
    """Whether an array holds neither NaN nor infinity, found without an array of booleans where it does not."""
    with np.errstate(invalid="ignore"):  # infinity less infinity
        return bool(np.isfinite(x.sum(dtype=np.float64))) or bool(np.isfinite(x).all())
