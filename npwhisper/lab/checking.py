"""Is my function right, and if not, what is wrong? Checked against torch's results for the same arguments.

`check(my_layer_norm)` runs every case of `layer_norm` and reports which ones fail, by how much and where. Then it looks
for a known mistake (`mistakes`) that gives the same wrong result.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from npwhisper.lab.attempting import MISSING, UNWRITTEN, Attempt, attempt
from npwhisper.lab.exercises import EXERCISES, Case, load_cases, try_case
from npwhisper.lab.fresh import fresh_cases
from npwhisper.lab.mistakes import mistakes_in
from npwhisper.lab.wording import difference, shapes
from npwhisper.tracing.seam import Array, Function
from npwhisper.tracing.spelling import did_you_mean
from npwhisper.tracing.tables import html_table


class CheckError(ValueError):
    """`check` has no cases for a function."""


class Outcome(NamedTuple):
    """The outcome of one case: its name, what is wrong (empty if it is right), and the likely mistake if known."""

    label: str
    problem: str = ""
    mistake: str = ""


@dataclass(frozen=True, repr=False)
class CheckResult:
    """The result of `check`: true if every case is right.

    Attributes
    ----------
    layer : str
    outcomes : list of Outcome
        One per case: ``label``, ``problem`` and ``mistake``; the last two are empty if the case is right.
    """

    layer: str
    outcomes: list[Outcome]

    @property
    def passed(self) -> bool:
        """Whether all cases are right."""
        return not any(outcome.problem for outcome in self.outcomes)

    @property
    def mistakes(self) -> list[str]:
        """The likely mistakes, without repetition."""
        return list(dict.fromkeys(outcome.mistake for outcome in self.outcomes if outcome.mistake))

    @property
    def is_unwritten(self) -> bool:
        """Whether the function is still the unwritten stub."""
        return all(outcome.problem == UNWRITTEN for outcome in self.outcomes)

    def assert_passed(self) -> None:
        """Raise AssertionError with the report unless all cases are right."""
        if not self.passed:
            raise AssertionError(str(self))

    def __bool__(self) -> bool:
        return self.passed

    def __str__(self) -> str:
        lines = [f"{self.layer}: {self._verdict()}"]
        if self.is_unwritten:
            return f"{lines[0]}, {UNWRITTEN}"
        for outcome in self.outcomes:
            lines.append(f"  {'wrong' if outcome.problem else 'right'}  {outcome.label}")
            lines += [f"         {line}" for line in outcome.problem.splitlines()]
        return "\n".join([*lines, *(f"  Perhaps {mistake}" for mistake in self.mistakes)])

    def __repr__(self) -> str:
        return str(self)

    def _verdict(self) -> str:
        right = sum(not outcome.problem for outcome in self.outcomes)
        return f"{right} of {len(self.outcomes)} cases right"

    def _repr_html_(self) -> str:
        if self.is_unwritten:
            return f"<p>{self}</p>"
        rows = [["✓" if not o.problem else "✗", o.label, o.problem, o.mistake] for o in self.outcomes]
        return html_table(["", "case", "problem", "likely mistake"], rows, f"{self.layer}: {self._verdict()}")


def check(function: Function, name: str | None = None, seed: int = 0) -> CheckResult:
    """Compare your own function with torch, case by case.

    Parameters
    ----------
    function : callable
        Takes the arguments of the package's function of that name.
    name : str, optional
        Which function it is. Default: taken from its own name, which may be longer (``my_layer_norm``).
    seed : int, optional
        Seed of the random cases that are added to those in the package.

    Returns
    -------
    CheckResult
        True if every case is right. Print it, show it in a notebook, or call its ``assert_passed()``.

    Raises
    ------
    CheckError
        If `function` is not callable, or there are no cases for its name.

    Examples
    --------
    >>> import numpy as np
    >>> def my_softmax(x):
    ...     y = np.exp(x - x.max(axis=-1, keepdims=True))
    ...     return y / y.sum(axis=-1, keepdims=True)
    >>> bool(check(my_softmax))
    True
    """
    if not callable(function):
        kind = type(function).__name__
        raise CheckError(f"check expects a function, got {kind}: write check(linear), without calling linear")
    layer = name or _layer_name(getattr(function, "__name__", ""))
    if layer not in EXERCISES:
        raise CheckError(f"there are no cases for {layer!r}{_advice(layer)}")
    cases = all_cases(layer, seed)
    return judge(cases, [attempt(case, function) for case in cases])


def all_cases(name: str, seed: int) -> list[Case]:
    """The shipped cases of a function and fresh ones."""
    return [*load_cases(name), *fresh_cases(name, seed)]


def judge(cases: Sequence[Case], attempts: Sequence[Attempt]) -> CheckResult:
    """Compare the attempts with the expected values, and name the likely mistakes."""
    with np.errstate(all="ignore"):
        outcomes = [_outcome(case, tried) for case, tried in zip(cases, attempts, strict=True)]
        return CheckResult(cases[0].layer, _explain(outcomes, cases, [tried.result for tried in attempts]))


def _layer_name(name: str) -> str:
    """The longest layer name in a function's name: my_layer_norm -> layer_norm."""
    words = name.strip("_").split("_")
    parts = ["_".join(words[i:j]) for i in range(len(words)) for j in range(i + 1, len(words) + 1)]
    return max((part for part in parts if part in EXERCISES), key=len, default=name)


def _advice(name: str) -> str:
    meant = did_you_mean(name, EXERCISES, cutoff=0.5) or f"there are some for {', '.join(EXERCISES)}."
    return f": {meant} Use check(function, 'layer_norm') if yours has another name"


def _outcome(case: Case, tried: Attempt) -> Outcome:
    if tried.error:
        return Outcome(case.label, tried.error, tried.mistake)
    return Outcome(case.label, *next(_problems(case, tried), ("", "")))


def _problems(case: Case, tried: Attempt) -> Iterator[tuple[str, str]]:
    """The problems, most serious first, each with the likely mistake if it is obvious."""
    if tried.result is None:
        missing = ("it returns None", "a return is missing")
        yield missing if tried.kind == MISSING else (f"it returns a {tried.kind}, not an array", "")
        return
    changed = [name for name, value in case.arguments.items() if not _same(value, tried.arguments.get(name))]
    if changed:
        hint = "an operation in place (x += ..., out=x) on an argument: work on a new array"
        yield f"it changes its argument {' and '.join(changed)}", hint
    if tried.result.shape != case.expected.shape:
        yield shapes(case, tried.result), ""
    else:
        yield from _wrong_values(case, tried.result, tried.again)


def _wrong_values(case: Case, result: Array, again: Array | None) -> Iterator[tuple[str, str]]:
    """The problems of a result of the right shape: wrong values, a wrong type, or another result at the second call."""
    wrong = _wrong(case, result)
    if wrong.any():
        yield difference(case, result, wrong), ""
    elif case.expected.dtype == np.float32 and result.dtype != np.float32:
        hint = "NumPy scalars and new arrays are float64 by default: use Python floats, and dtype=np.float32"
        yield f"the numbers are right, but their type is {result.dtype} and should be float32", hint
    elif again is None or not np.array_equal(result, again, equal_nan=True):
        yield "a second, identical call gives another result", "state is kept from one call to the next"


def _wrong(case: Case, result: Array) -> Array:
    """Where the result differs from the expected values by more than the tolerance."""
    expected, tolerance = case.expected, EXERCISES[case.layer].tolerance
    finite = np.isfinite(expected)
    near = np.abs(result - expected) <= tolerance * np.abs(expected) + tolerance / 10 * _scale(expected)
    return ~np.where(finite, near, (result == expected) | (np.isnan(result) & np.isnan(expected)))


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Mapping):
        return isinstance(b, Mapping) and set(a) == set(b) and all(_same(value, b[key]) for key, value in a.items())
    return np.array_equal(a, b, equal_nan=isinstance(a, np.ndarray) and a.dtype.kind == "f")


def _explain(outcomes: list[Outcome], cases: Sequence[Case], results: Sequence[Any]) -> list[Outcome]:
    """Name the likely mistake of every wrong case: among those that fit, the one that fits most cases."""
    open_cases = {i for i, outcome in enumerate(outcomes) if outcome.problem and not outcome.mistake}
    open_cases = {i for i in open_cases if results[i] is not None}
    fits: dict[str, set[int]] = {}
    for sentence, function in mistakes_in(cases[0].layer) if open_cases else ():
        fits[sentence] = {i for i in open_cases if _fits(cases[i], results[i], function)}
    ranked = sorted(fits, key=lambda sentence: -len(fits[sentence]))
    for i in open_cases:
        likely = next((sentence for sentence in ranked if i in fits[sentence]), _general(cases[i], results[i]))
        outcomes[i] = outcomes[i]._replace(mistake=likely)
    return outcomes


def _fits(case: Case, result: Array, function: Function) -> bool:
    """Whether a function with a known mistake gives this wrong result."""
    try:
        got = np.asarray(try_case(case, function)[0])
    except Exception:  # a mistake that fails on this case explains nothing
        return False
    return _explains(case, got, result)


def _explains(case: Case, got: Array, result: Array) -> bool:
    if got.shape != result.shape or (got.shape == case.expected.shape and not _wrong(case, got).any()):
        return False
    return np.allclose(got, result, rtol=1e-3, atol=1e-5 * _scale(case.expected), equal_nan=True)


def _scale(values: Array) -> float:
    """The largest finite value."""
    return float(np.abs(values[np.isfinite(values)]).max(initial=0.0))


def _general(case: Case, result: Array) -> str:
    """Mistakes that any function can have: a constant factor or offset, swapped axes."""
    expected = case.expected
    if result.shape != expected.shape:
        exchanged = sorted(result.shape) == sorted(expected.shape)
        return "two axes are swapped: transpose" if exchanged else ""
    zero = expected == 0
    if (result[zero] == 0).all() and _constant(ratio := result[~zero] / expected[~zero]):
        return f"every value is {ratio.flat[0]:.4g} times what it should be"
    offset = result - expected
    return f"every value is {offset.flat[0]:.4g} more than it should be" if _constant(offset) else ""


def _constant(values: Array) -> bool:
    return values.size > 1 and bool(np.isfinite(values).all()) and float(np.ptp(values)) < 1e-4 * abs(values.flat[0])
