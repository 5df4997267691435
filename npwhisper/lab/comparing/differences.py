"""`compare`: every value beside its reference, and the first that differs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from npwhisper.lab.comparing.files import Source, activations
from npwhisper.tracing.seam import Activations, Array
from npwhisper.tracing.tables import html_table, text_table

TOLERANCE = 1e-4  # relative to the largest value
HEADER = ["layer", "calls", "shape", "largest error", "of the largest", ""]


class Difference(NamedTuple):
    """One value compared with its reference.

    `call` counts the calls of this name; `error` is relative to the largest value; `unchecked` lists the layers since
    the last equal one that the reference lacks.
    """

    name: str
    call: int
    shape: tuple[int, ...]
    expected_shape: tuple[int, ...]
    largest: float
    error: float
    is_wrong: bool
    unchecked: tuple[str, ...] = ()

    def __str__(self) -> str:
        what = f"the largest error is {self.largest:.2g}, {self.error:.1g} of the largest value"
        if self.shape != self.expected_shape:
            what = f"its shape is {self.shape} instead of {self.expected_shape}"
        suspects = f" (or in {', '.join(self.unchecked)}, which the reference lacks)" if self.unchecked else ""
        return f"the first difference is in {self.name}{suspects}, call {self.call}: {what}"


class Comparison(NamedTuple):
    """The result of `compare`, in the order of execution; true if nothing differs."""

    differences: list[Difference]
    only_in_reference: list[str]

    @property
    def first(self) -> Difference | None:
        """The first value that differs by more than the tolerance."""
        return next((difference for difference in self.differences if difference.is_wrong), None)

    def __bool__(self) -> bool:
        return bool(self.differences) and self.first is None

    def __str__(self) -> str:
        return f"{text_table(HEADER, self._rows())}\n{self._verdict()}"

    def _verdict(self) -> str:
        if not self.differences:
            return "nothing was compared: no name appears in both"
        return str(self.first or f"all {len(self.differences)} values are equal within the tolerance")

    def _rows(self) -> list[list[str]]:
        """One row per name: the worst of its calls."""
        by_name: dict[str, list[Difference]] = {}
        for difference in self.differences:
            by_name.setdefault(difference.name, []).append(difference)
        return [_row(name, calls, self.first) for name, calls in by_name.items()]

    def _repr_html_(self) -> str:
        return html_table(HEADER, self._rows(), self._verdict())


def _row(name: str, calls: list[Difference], first: Difference | None) -> list[str]:
    worst = max(calls, key=lambda difference: (difference.is_wrong, difference.error))
    mark = "equal" if not worst.is_wrong else "first difference" if first and first.name == name else "differs"
    return [name, str(len(calls)), str(worst.shape), f"{worst.largest:.1e}", f"{worst.error:.1e}", mark]


def compare(
    reference: Source, acts: Source, tolerance: float = TOLERANCE, *, judge: Source | None = None
) -> Comparison:
    """Compare two sets of recorded values, in the order in which the second was computed.

    Parameters
    ----------
    reference, acts : Activations, mapping of names to arrays (or lists of them), or path of an ``.npz`` file
        The expected values, and the values to check.
    tolerance : float
        The error allowed, relative to the largest value of the reference.
    judge : as `reference`, optional
        The reference's network in float64 (`in_float64`). A value that differs from the reference by more than the
        tolerance counts as rounding, and as equal, if it is within the tolerance of the judge's value, or if its error
        is less than eight times that of the reference.

    Returns
    -------
    Comparison
        True if nothing differs. Prints as a table; its ``first`` is the first difference.

    Notes
    -----
    Scores that the reference has masked (-inf) are not compared. `decode` computes logits only where it needs them,
    so that in its first step the shapes of ``decoder.ln`` and ``decoder`` differ from torch's.

    Rounding grows in some recordings: with `base`, right code exceeded 1e-4 in 14 of 200 beside torch's float32, by up
    to 6.2e-4, and was at most 4.9 times as far from float64 as torch is where it was farther than 1e-4. So the judge
    calls none of them wrong (``tests/benchmarks/rounding.py``). Without one, ``tolerance=1e-3`` lets rounding pass,
    and with it the smallest mistakes: another `eps`, or the tanh approximation of GELU.

    Examples
    --------
    >>> ones = np.ones(3, np.float32)
    >>> print(compare({"a": ones, "b": ones}, {"a": ones, "b": 2 * ones}))
    layer  calls  shape  largest error  of the largest
    a          1   (3,)        0.0e+00         0.0e+00             equal
    b          1   (3,)        1.0e+00         1.0e+00  first difference
    the first difference is in b, call 0: the largest error is 1, 1 of the largest value
    """
    expected, found = activations(reference), activations(acts)
    exact = activations({} if judge is None else judge)
    differences: list[Difference] = []
    unchecked: list[str] = []
    for name, call, value in _calls(found):
        wanted, true = _value(expected, name, call), _value(exact, name, call)
        if wanted is None:
            unchecked.append(name)
            continue
        difference = _difference(name, call, value, wanted, tolerance)
        if difference.is_wrong and true is not None:
            difference = difference._replace(is_wrong=not _is_rounding(name, value, wanted, true, tolerance))
        differences.append(difference._replace(unchecked=tuple(dict.fromkeys(unchecked))))
        unchecked = unchecked if difference.is_wrong else []
    return Comparison(differences, [name for name in expected if name not in found])


def _calls(acts: Activations) -> Iterator[tuple[str, int, Array]]:
    """Yield every record with the number of its call; the first value of a name is call 0."""
    counts: dict[str, int] = {}
    for name, value in acts.records:
        counts[name] = counts.get(name, -1) + 1
        yield name, counts[name], value


def _value(acts: Activations, name: str, call: int) -> Array | None:
    return acts.all(name)[call] if name in acts and call < len(acts.all(name)) else None


def first_difference(reference: Source, acts: Source, tolerance: float = TOLERANCE) -> Difference | None:
    """Find the first value that differs from its reference.

    Parameters
    ----------
    reference, acts, tolerance
        As for `compare`.

    Returns
    -------
    Difference or None
        None if nothing differs.

    Examples
    --------
    >>> print(first_difference({"mlp": np.zeros(2)}, {"mlp": np.zeros(3)}))
    the first difference is in mlp, call 0: its shape is (3,) instead of (2,)
    """
    return compare(reference, acts, tolerance).first


def _is_rounding(name: str, value: Array, expected: Array, exact: Array, tolerance: float) -> bool:
    """Whether a value is within the tolerance of the exact one, or within eight times the reference's error."""
    mine, theirs = (_difference(name, 0, x, exact, tolerance).error for x in (value, expected))
    return value.shape == expected.shape == exact.shape and np.isfinite(mine) and mine <= max(tolerance, 8.0 * theirs)


def _difference(name: str, call: int, value: Array, expected: Array, tolerance: float) -> Difference:
    if value.shape != expected.shape:
        return Difference(name, call, value.shape, expected.shape, np.inf, np.inf, True)
    seen = expected != -np.inf if name.endswith("scores") else np.ones(expected.shape, dtype=bool)
    with np.errstate(invalid="ignore"):
        apart = np.where((value == expected) | (np.isnan(value) & np.isnan(expected)), 0.0, np.abs(value - expected))
    largest = float(np.nan_to_num(apart[seen], nan=np.inf).max(initial=0.0))
    scale = float(np.abs(expected[np.isfinite(expected)]).max(initial=0.0))
    error = largest / scale if scale else largest
    return Difference(name, call, value.shape, expected.shape, largest, error, not error <= tolerance)
