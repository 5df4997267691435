"""Wrong variants of every task, made systematically from the right function: `check` must catch each of them.

``python -m pytest tests/lab/test_mutations.py -v -m slow`` prints the table, a line for each task and variant.
"""

from __future__ import annotations

import copy
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from npwhisper.lab.checking import check
from npwhisper.lab.exercises import EXERCISES, Case, load_cases, solution, try_case
from npwhisper.lab.fresh import fresh_cases
from npwhisper.tracing.seam import Array

Function = Callable[..., Any]
LAST_AXIS = ("linear", "layer_norm", "softmax", "log_softmax", "median_filter")
IN_PLACE = ("append", "reorder", "start_cache")
LISTS = ("greedy_search", "beam_search", "rank")


def after(task: str, change: Callable[[Array], Any]) -> Function:
    """The right result, changed."""
    right = solution(task)

    def mutant(*args: Any, **kwargs: Any) -> Any:
        y = right(*args, **kwargs)
        return None if y is None else change(np.array(y))

    return mutant


def rolled(y: Array) -> Array:
    return np.roll(y, 1, axis=-1)


CHANGES: dict[str, Callable[[Array], Any]] = {
    "wrong constant": lambda y: y * y.dtype.type(1.01) + y.dtype.type(1),
    "constant result": lambda y: np.zeros_like(y),
    "off by one": rolled,
    "backwards": lambda y: y[..., ::-1],
    "transposed": lambda y: y.T if y.ndim > 1 else y[::-1],
    "an axis missing": lambda y: y.sum(axis=0),
    "an axis too many": lambda y: y[None],
    "sign": lambda y: -1 - y,
    "a value missing": lambda y: y[..., :-1],
    "a list": lambda y: y.tolist(),
    "no return": lambda y: None,
}


def unshipped(task: str) -> Function:
    """Right only where the shapes are those of a shipped case."""
    right = solution(task)
    shipped = {shapes([*case.arguments.values()]) for case in load_cases(task)}

    def mutant(*args: Any, **kwargs: Any) -> Any:
        y = right(*args, **kwargs)
        return y if shapes([*args]) in shipped or y is None else np.zeros_like(y)

    return mutant


def shapes(values: list[Any]) -> str:
    return str([v if np.ndim(v) == 0 else np.shape(v) for v in values if not isinstance(v, dict)])


def along(task: str, axis: int) -> Function:
    """The function along another axis than the last."""
    right = solution(task)

    def mutant(x: Array, *rest: Any) -> Array:
        return np.moveaxis(right(np.ascontiguousarray(np.moveaxis(x, axis, -1)), *rest), -1, axis)

    return mutant


def only(task: str, n_axes: int) -> Function:
    """The function for arrays of one number of axes alone."""
    right = solution(task)

    def mutant(x: Array, *rest: Any) -> Array:
        assert x.ndim == n_axes
        return right(x, *rest)

    return mutant


def mutating(task: str) -> Function:
    right = solution(task)

    def mutant(*args: Any, **kwargs: Any) -> Any:
        y = copy.deepcopy(right(*args, **kwargs))
        next(a for a in args if isinstance(a, np.ndarray))[...] += 1
        return y

    return mutant


def ignoring(task: str, place: int) -> Function:
    """The function with an argument put to zero."""
    right = solution(task)
    return lambda *args, **kwargs: right(*[zeroed(a) if i == place else a for i, a in enumerate(args)], **kwargs)


def zeroed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: zeroed(item) for key, item in value.items()}
    return np.zeros_like(value) if isinstance(value, np.ndarray) else value


def by_characters(text: str) -> float:
    return len(text) / len(zlib.compress(text.encode()))


def scaled(factor: float, offset: float = 0.0) -> Function:
    return lambda text: factor * solution("compression_ratio")(text) + offset


RATIO = {
    "by characters": by_characters,
    "inverted": lambda text: 1 / solution("compression_ratio")(text),
    "ASCII alone": lambda text: solution("compression_ratio")(text.encode("ascii", "ignore").decode()),
    "stripped": lambda text: solution("compression_ratio")(text.strip() + "."),
    "constant": lambda text: 2.4,
    "wrong constant": scaled(1.01),
    "off by one": scaled(1.0, 1.0),
    "bytes of UTF-16": lambda text: solution("compression_ratio")(text.encode("utf-16").decode("latin-1")),
    "no return": lambda text: None,
}  # fmt: skip


def hypotheses(task: str) -> dict[str, Function]:
    """Searches that return something else; their hypotheses are pairs of tokens and a sum."""
    right = solution(task)

    def each(change: Callable[[list[int], float], tuple[list[int], float]]) -> Function:
        return lambda *args: [[change(list(t), float(s)) for t, s in row] for row in right(*args)]

    return {
        "sum halved": each(lambda t, s: (t, s / 2)),
        "sum ignored": each(lambda t, s: (t, 0.0)),
        "end-of-text kept": each(lambda t, s: ([*t, 0][:6], s)),
        "first token lost": each(lambda t, s: (t[1:], s)),
        "last token lost": each(lambda t, s: (t[:-1], s)),
        "backwards": each(lambda t, s: (t[::-1], s)),
        "first row for all": lambda *args: [right(*args)[0]] * len(right(*args)),
        "a row missing": lambda *args: right(*args)[:-1],
        "one step fewer": lambda step, first, eot, n, *rest: right(step, first, eot, n - 1, *rest),
        "eot ignored": lambda step, first, eot, n, *rest: right(step, first, 5, n, *rest),
    }


def ranked(change: Callable[[list[Any]], list[int]]) -> Function:
    return lambda found: change(list(found))


RANK = {
    "by sum": ranked(lambda f: sorted(range(len(f)), key=lambda i: -f[i][1])),
    "by length": ranked(lambda f: sorted(range(len(f)), key=lambda i: -len(f[i][0]))),
    "the worst first": ranked(lambda f: solution("rank")(f)[::-1]),
    "in order": ranked(lambda f: [*range(len(f))]),
    "the best alone": ranked(lambda f: solution("rank")(f)[:1]),
    "counted from one": ranked(lambda f: [1 + i for i in solution("rank")(f)]),
    "by the root of the length": ranked(lambda f: sorted(range(len(f)), key=lambda i: -f[i][1] / len(f[i][0]) ** 0.2)),
    "by product": ranked(lambda f: sorted(range(len(f)), key=lambda i: -f[i][1] * len(f[i][0]))),
    "no return": ranked(lambda f: None),  # type: ignore[arg-type,return-value]
}  # fmt: skip


def cached(task: str) -> dict[str, Function]:
    """Caches that are filled wrongly."""
    right = solution(task)
    if task == "reorder":
        return {
            "nothing": lambda cache, parents: None,
            "keys alone": lambda cache, parents: _keep(cache, "v", right, parents),
            "values alone": lambda cache, parents: _keep(cache, "k", right, parents),
            "off by one": lambda cache, parents: right(cache, (parents + 1) % len(cache.k)),
            "backwards": lambda cache, parents: right(cache, parents[::-1]),
            "sorted": lambda cache, parents: right(cache, np.sort(parents)),
            "first row for all": lambda cache, parents: right(cache, np.zeros_like(parents)),
            "a row missing": lambda cache, parents: right(cache, parents[:-1]),
            "inverted": lambda cache, parents: right(cache, np.argsort(parents)),
        }
    if task == "append":
        pairs = {name: change for name, change in CHANGES.items() if name not in ("no return", "a list")}
        return {name: lambda c, k, v, f=f: tuple(f(a) for a in right(c, k, v)) for name, f in pairs.items()}
    return {
        "exchanged": _audio_changed(right, lambda k, v: (v, k)),
        "keys twice": _audio_changed(right, lambda k, v: (k, k)),
        "values twice": _audio_changed(right, lambda k, v: (v, v)),
        "constant": _audio_changed(right, lambda k, v: (0 * k, 0 * v)),
        "wrong constant": _audio_changed(right, lambda k, v: (1.01 * k, v)),
        "heads transposed": _audio_changed(right, lambda k, v: (k.swapaxes(1, 2), v.swapaxes(1, 2))),
        "off by one": _audio_changed(right, lambda k, v: (np.roll(k, 1, 2), v)),
        "weights ignored": ignoring(task, 1),
        "audio ignored": ignoring(task, 0),
    }


def _keep(cache: Any, kept: str, right: Function, parents: Array) -> None:
    before = getattr(cache, kept).copy()
    right(cache, parents)
    rows = np.arange(len(parents)) % len(before)
    setattr(cache, kept, before[rows])


def _audio_changed(right: Function, change: Callable[[Array, Array], tuple[Array, Array]]) -> Function:
    def mutant(*args: Any) -> Any:
        cache = right(*args)
        return (
            cache._replace(blocks=tuple(b._replace(audio=change(*b.audio)) for b in cache.blocks))
            if hasattr(cache, "_replace")
            else type(cache)(tuple(type(b)(b.text, change(*b.audio)) for b in cache.blocks))
        )

    return mutant


def mutants(task: str) -> Iterator[tuple[str, Function]]:
    if task in IN_PLACE:
        yield from cached(task).items()
    elif task == "rank":
        yield from RANK.items()
    elif task in LISTS:
        yield from hypotheses(task).items()
    elif task == "compression_ratio":
        yield from RATIO.items()
    else:
        yield from ((name, after(task, change)) for name, change in CHANGES.items())
        yield from of_arrays(task)


def of_arrays(task: str) -> Iterator[tuple[str, Function]]:
    case = load_cases(task)[0]
    if case.expected.dtype == np.float32:
        yield "float64", after(task, lambda y: y.astype(np.float64))
    if task != "hann":
        yield "right for the shipped shapes", unshipped(task)
    if any(isinstance(value, np.ndarray) for value in case.arguments.values()):
        yield "changes its argument", mutating(task)
        yield "ignores its input", ignoring(task, 0)
    if "w" in case.arguments:
        yield "ignores the weights", ignoring(task, 1)
    if task in LAST_AXIS:
        yield from ((f"axis={axis}", along(task, axis)) for axis in (0, 1, 2, -2))
        yield from ((f"{n} axes only", only(task, n)) for n in (1, 2, 3, 4))


ALL = [(task, name, mutant) for task in EXERCISES for name, mutant in mutants(task)]


@pytest.mark.slow
@pytest.mark.parametrize(("task", "mutant"), [(t, m) for t, _, m in ALL], ids=[f"{t}-{n}" for t, n, _ in ALL])
def test_every_wrong_variant_is_caught(task: str, mutant: Function) -> None:
    assert not check(mutant, task).passed


def test_every_task_has_eight_variants() -> None:
    assert {task for task in EXERCISES if sum(t == task for t, _, _ in ALL) < 8} == set()


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("task", EXERCISES)
def test_the_right_function_answers_every_seed(task: str, seed: int) -> None:
    cases: list[Case] = fresh_cases(task, seed)
    assert cases
    for case in cases:
        np.testing.assert_array_equal(np.asarray(try_case(case, solution(task))[0]), case.expected)
