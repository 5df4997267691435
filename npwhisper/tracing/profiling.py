"""Where the time goes: calls, seconds, arithmetic and memory traffic of each layer, against what the machine can do.

A layer can be no faster than its multiplications allow (the speed of a large matrix product, sgemm) and no faster than
its arrays can be read and written (the speed of a large copy). The larger of the two times is its floor; the floor
divided by the time it took says how much there would be to gain (Williams et al. 2009, "Roofline").
"""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from npwhisper.tracing.seam import Array, Function, handling, is_chosen
from npwhisper.tracing.tables import html_table, text_table

HEADER = ["layer", "calls", "seconds", "own", "GFLOP", "GFLOP/s", "MB", "of ceiling", "limit"]

# Multiplications and additions of the products in a layer itself, given its result and its arguments. What is done
# element by element counts as memory traffic only.
FLOPS: dict[str, Callable[..., float]] = {
    "linear": lambda y, x, w: 2 * y.size * x.shape[-1],
    "conv1d": lambda y, x, w, stride=1: 2 * y.size * w["weight"][0].size,
    "scores": lambda y, q, k: 2 * y.size * q.shape[-1],
    "attend": lambda y, q, k, v, mask=None: 2 * y.size * k.shape[-2],
    "logits": lambda y, x, weight: 2 * y.size * x.shape[-1],
    "stft": lambda y, samples: 2.5 * y.shape[1] * 400 * np.log2(400),  # a real transform of 400 samples a frame
}


@dataclass
class Cost:
    """What calls have cost, that of the layers inside them included; `own_seconds` are without those."""

    calls: int = 0
    seconds: float = 0.0
    own_seconds: float = 0.0
    flops: float = 0.0
    bytes: float = 0.0

    def add(self, other: Cost) -> None:
        """Add the figures of `other` to these."""
        self.calls += other.calls
        self.seconds += other.seconds
        self.own_seconds += other.own_seconds
        self.flops += other.flops
        self.bytes += other.bytes


class Ceilings(NamedTuple):
    """What this machine can do at most, measured: products in FLOP/s, reading and writing in bytes/s."""

    flops: float
    bytes: float

    def floor(self, cost: Cost) -> tuple[float, str]:
        """The least number of seconds for this work, and what it is that limits it."""
        return max((cost.flops / self.flops, "sgemm"), (cost.bytes / self.bytes, "memory"))


@functools.cache
def measure_ceilings() -> Ceilings:
    """Time a matrix product and a copy, both too large for the caches; about half a second, once.

    >>> measure_ceilings().flops > measure_ceilings().bytes > 0  # doctest: +SKIP
    True
    """
    a = np.ones((1536, 1536), dtype=np.float32)
    product = np.empty_like(a)
    source = np.ones(1 << 24, dtype=np.float32)
    target = np.ones_like(source)
    gemm = min(_seconds(lambda: np.matmul(a, a, out=product)) for _ in range(4))
    copy = min(_seconds(lambda: np.copyto(target, source)) for _ in range(4))
    return Ceilings(2 * 1536**3 / gemm, 2 * source.nbytes / copy)


def _seconds(function: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


class Profile(Mapping[str, Cost]):
    """What `profile` measured: ``p["decoder.blocks.0.mlp"].seconds``; printed or shown in a notebook, a table."""

    def __init__(self) -> None:
        self._costs: dict[str, Cost] = {}

    def __getitem__(self, name: str) -> Cost:
        return self._costs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._costs)

    def __len__(self) -> int:
        return len(self._costs)

    def add(self, name: str, cost: Cost) -> None:
        """Count one more call of `name`."""
        self._costs.setdefault(name, Cost()).add(cost)

    def folded(self) -> dict[str, Cost]:
        """The costs with all blocks of a stack counted together, as ``decoder.blocks.*.mlp``."""
        folded: dict[str, Cost] = {}
        for name, cost in self.items():
            folded.setdefault(re.sub(r"\bblocks\.\d+", "blocks.*", name), Cost()).add(cost)
        return folded

    def table(self, fold: bool = True) -> str:
        """All costs as text, the largest own time first; with `fold`, the blocks of a stack in one line."""
        return f"{text_table(HEADER, self._rows(fold))}\n{self._note()}"

    def _rows(self, fold: bool = True) -> list[list[str]]:
        costs = self.folded() if fold else self._costs
        ceilings = measure_ceilings()
        ranked = sorted(costs.items(), key=lambda item: -item[1].own_seconds)
        return [_row(name, cost, ceilings) for name, cost in ranked]

    def _note(self) -> str:
        flops, traffic = measure_ceilings()
        return (
            f"Ceilings measured here: sgemm {flops / 1e9:.1f} GFLOP/s, memory {traffic / 1e9:.1f} GB/s. More than "
            "100 % means that arrays stayed in the caches. While this is measured, layers run one by one."
        )

    def __str__(self) -> str:
        return self.table()

    def _repr_html_(self) -> str:
        return html_table(HEADER, self._rows(), self._note())


def _row(name: str, cost: Cost, ceilings: Ceilings) -> list[str]:
    floor, limit = ceilings.floor(cost)
    return [
        name,
        str(cost.calls),
        f"{cost.seconds:.4f}",
        f"{cost.own_seconds:.4f}",
        f"{cost.flops / 1e9:.3f}",
        f"{cost.flops / cost.seconds / 1e9:.1f}" if cost.flops else "",
        f"{cost.bytes / 1e6:.1f}",
        f"{100 * floor / cost.seconds:.0f} %",
        limit,
    ]


_around: ContextVar[Cost | None] = ContextVar("npwhisper_cost", default=None)


@contextmanager
def profile(*patterns: str) -> Iterator[Profile]:
    """Measure every layer called inside the `with` block.

    Parameters
    ----------
    *patterns : str
        Globs over the dotted names, as for `trace`; without any, all layers are measured.

    Yields
    ------
    Profile
        A mapping from names to `Cost` (calls, seconds, flops, bytes); ``print(p)`` compares it with what the machine
        can do.

    Notes
    -----
    Measuring a call costs about 5 microseconds, which belong to the layer around it.

    Examples
    --------
    >>> import numpy as np
    >>> from npwhisper.model.layers import linear
    >>> with profile() as p:
    ...     _ = linear(np.ones((1, 3), np.float32), {"weight": np.ones((4, 3), np.float32)})
    >>> p["linear"].calls, p["linear"].flops, p["linear"].bytes
    (1, 24.0, 76.0)
    """
    result = Profile()

    def measure(name: str, function: Function) -> Function:
        if not is_chosen(name, patterns):
            return function

        @functools.wraps(function)
        def measured(*args: Any, **kwargs: Any) -> Any:
            return _measure(result, name, function, args, kwargs)

        return measured

    with handling(measure):
        yield result


def _measure(result: Profile, name: str, function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Make one call, and add its cost to its name and to the call around it."""
    inside = Cost()
    token = _around.set(inside)
    begin = time.perf_counter()
    try:
        value = function(*args, **kwargs)
    finally:
        seconds = time.perf_counter() - begin
        _around.reset(token)
    cost = Cost(1, seconds, seconds - inside.seconds, inside.flops, inside.bytes)
    flops = FLOPS.get(function.__name__)
    cost.flops += flops(value, *args, **kwargs) if flops else 0
    if flops or not inside.calls:
        cost.bytes += _traffic(function.__name__, value, [*args, *kwargs.values()])
    result.add(name, cost)
    if (parent := _around.get()) is not None:
        parent.add(cost)
    return value


def _traffic(layer: str, value: Any, arguments: list[Any]) -> int:
    """Bytes read and written, each array once; of an embedding, only the rows that are looked up."""
    if any(value is argument for argument in arguments):
        return 0
    return 2 * _size(value) if layer == "embedding" else sum(map(_size, [value, *arguments]))


def _size(value: Any) -> int:
    """Bytes of an array, or of the arrays directly in a layer's weights."""
    if isinstance(value, Mapping):
        return sum(_size(array) for array in value.values() if not isinstance(array, Mapping))
    if isinstance(value, np.ndarray):
        return _distinct(value)
    return int(getattr(value, "nbytes", 0))  # a matrix of 8-bit weights


def _distinct(array: Array) -> int:
    """Bytes of memory behind an array: what is broadcast is there once."""
    return int(np.prod([n for n, stride in zip(array.shape, array.strides, strict=True) if stride])) * array.itemsize
