"""Describing what is wrong with a result: numbers, a mask of 0 and -inf, hypotheses."""

from __future__ import annotations

import numpy as np

from npwhisper.lab.exercises import Case
from npwhisper.tracing.seam import Array

SEARCHES = ("greedy_search", "beam_search")


def shapes(case: Case, result: Array) -> str:
    """The sentence for a wrong shape."""
    expected = case.expected
    if case.layer in SEARCHES and result.ndim == expected.ndim:
        if result.shape[:2] != expected.shape[:2]:
            counts = [f"{shape[0]} rows of {shape[1]} hypotheses" for shape in (result.shape, expected.shape)]
            return f"it returns {counts[0]}, but should return {counts[1]}"
        return f"a hypothesis has {result.shape[2] - 1} tokens, but at most {expected.shape[2] - 1} are asked for"
    return f"its shape is {result.shape}, but should be {expected.shape}"


def difference(case: Case, result: Array, wrong: Array) -> str:
    """The sentence for wrong values: how many there are, and the worst of them."""
    if case.layer in SEARCHES:
        return _hypotheses(case, result, wrong)
    if case.layer == "causal_mask":
        return _mask(case, result, wrong)
    return _numbers(case, result, wrong)


def _numbers(case: Case, result: Array, wrong: Array) -> str:
    """The largest error and its place; NaN counts as the largest."""
    error = np.where(wrong, np.nan_to_num(np.abs(result - case.expected), nan=np.inf), 0.0)
    place = np.unravel_index(int(error.argmax()), error.shape)
    here = f"at [{_index(place)}] it is {result[place]:.7g} instead of {case.expected[place]:.7g}"
    unreal = int((~np.isfinite(result) & np.isfinite(case.expected)).sum())
    numbers = f"{unreal} NaN or Inf; " if unreal else f"largest error {error.max():.2g}: "
    return f"{int(wrong.sum())} of {wrong.size} values are wrong; {numbers}{here}"


def _mask(case: Case, result: Array, wrong: Array) -> str:
    """The first wrong value of a mask; masks are compared by their exponentials, so take the logarithm back."""
    place = np.unravel_index(int(wrong.argmax()), wrong.shape)
    got, wanted = np.log(result[place]), np.log(case.expected[place])
    here = f"at [{_index(place)}] it is {got:.7g} instead of {wanted:.7g}"
    return f"{int(wrong.sum())} of {wrong.size} values are wrong: {here}"


def _hypotheses(case: Case, result: Array, wrong: Array) -> str:
    """The first hypothesis that differs from the expected one of its rank."""
    places = wrong.any(axis=-1)
    row, rank = np.unravel_index(int(places.argmax()), places.shape)
    got, wanted = _hypothesis(result[row, rank]), _hypothesis(case.expected[row, rank])
    which = f"row {row}" if places.shape[1] == 1 else f"row {row}, hypothesis {rank} (0 is the most probable)"
    return f"{int(places.sum())} of {places.size} hypotheses are wrong: in {which} it is {got}\ninstead of {wanted}"


def _hypothesis(values: Array) -> str:
    total, *tokens = values
    if np.isnan(total):
        return "missing, or its sum is NaN"
    return f"tokens {[int(token) for token in tokens if token >= 0]}, sum {total:.6g}"


def _index(place: tuple[np.intp, ...]) -> str:
    return ", ".join(map(str, place))
