"""Work in blocks gives what work in one piece gives, for any number of threads, callers and processes."""

from __future__ import annotations

import contextvars
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cases
import numpy as np
import pytest
from threadpoolctl import threadpool_info
from tolerances import assert_layer_equal, assert_stack_equal

from npwhisper.compute import products
from npwhisper.compute import threads as pool
from npwhisper.compute.parallel import blocked, get_num_threads, limit_blas, set_num_threads
from npwhisper.compute.products import inner
from npwhisper.model import Network, mlp
from npwhisper.model.attention import attend, causal_mask
from npwhisper.model.layers import conv1d, gelu, layer_norm, linear
from npwhisper.tracing.seam import Array, trace
from npwhisper.whisper import Whisper

THREADS = [1, 2, 3]


@cache
def random(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).standard_normal(shape, dtype=np.float32)


def affine(n_out: int, n_in: int) -> dict[str, Array]:
    return {"weight": random(n_out, n_in) / 4, "bias": random(n_out)}


CALLS: dict[str, Callable[[], Array]] = {
    "linear": lambda: linear(random(2, 401, 24), affine(32, 24)),
    "layer_norm": lambda: layer_norm(random(1, 777, 24), affine(24, 1) | {"weight": random(24)}),
    "gelu": lambda: gelu(random(3, 50, 24)),
    "mlp": lambda: mlp(random(1, 901, 12), {"0": affine(48, 12), "2": affine(12, 48)}),
    "conv1d": lambda: conv1d(random(2, 8, 1201), affine(6, 1) | {"weight": random(6, 8, 3)}),
    "conv1d with stride": lambda: conv1d(random(1, 8, 1202), affine(6, 1) | {"weight": random(6, 8, 3)}, stride=2),
    "attend": lambda: attend(random(2, 3, 500, 8), random(2, 3, 301, 8), random(2, 3, 301, 8)),
    "attend with mask": lambda: attend(*(random(1, 2, 203, n) for n in (8, 8, 8)), causal_mask(203, 203)),
    "product of one row": lambda: inner(random(1, 64) / 8, random(140_001, 64)),
    "product of few rows": lambda: inner(random(5, 1, 64) / 8, random(301, 64)),
    "product of few rows, large": lambda: inner(random(5, 64) / 8, random(30_001, 64)),
    "product of many rows": lambda: inner(random(20, 64) / 8, random(7001, 64)),
}


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Leave the number of threads as it was."""
    before = pool._threads[:]
    yield
    pool._threads[:] = before


@pytest.mark.parametrize("n", THREADS)
@pytest.mark.parametrize("name", CALLS)
def test_blocks_equal_the_whole(name: str, n: int) -> None:
    set_num_threads(n)
    with trace():  # then the function runs in one piece
        whole = CALLS[name]()
    assert_layer_equal(CALLS[name](), whole)


@pytest.fixture(scope="module", params=["narrow", pytest.param("embedded", marks=pytest.mark.slow)])
def network(request: pytest.FixtureRequest, model: Whisper) -> Network:
    """Of 1500 positions, whose work is shared: one narrow and random, and the embedded one."""
    return model if request.param == "embedded" else cases.network(cases.LARGE_V3_NARROW)


@pytest.mark.parametrize("n", THREADS)
def test_the_same_threads_give_the_same_bits(n: int, network: Network) -> None:
    set_num_threads(n)
    mel, tokens = random(1, network.dims.n_mels, 3000), np.array([[1, 2, 3]])
    first, second = (network(mel, tokens) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.slow
def test_a_network_in_blocks_equals_the_whole(network: Network) -> None:
    mel, tokens = random(2, network.dims.n_mels, 3000), np.array([[1, 2, 3], [4, 5, 6]])
    with trace():
        whole = network(mel, tokens)
    assert_stack_equal(network(mel, tokens), whole)


def record_blocks(rows: int = 64, **options: Any) -> tuple[Callable[[Array], Array], list[tuple[int, int]]]:
    """A function in blocks that returns its argument, and a list of the block sizes and threads that it saw."""
    seen: list[tuple[int, int]] = []

    @blocked(rows, **options)
    def same(x: Array) -> Array:
        seen.append((len(x), threading.get_ident()))
        return x.copy()

    return same, seen


def test_blocks_are_even_and_cover_every_row_once() -> None:
    set_num_threads(2)
    same, seen = record_blocks(rows=100)
    x = random(2, 251, 3)
    np.testing.assert_array_equal(same(x), x)
    assert sorted(n for n, _ in seen) == [83, 83, 84, 84, 84, 84]


def test_a_part_is_not_cut_again_for_the_threads() -> None:
    set_num_threads(2)
    inner, seen = record_blocks(rows=300)
    np.testing.assert_array_equal(blocked(300)(inner)(random(600, 3)), random(600, 3))
    assert [n for n, _ in seen] == [300, 300]


def test_one_thread_is_the_callers() -> None:
    set_num_threads(1)
    same, seen = record_blocks()
    same(random(500, 3))
    assert {thread for _, thread in seen} == {threading.get_ident()}
    assert len(seen) > 1


def test_threads_work_at_the_same_time() -> None:
    set_num_threads(3)
    together = threading.Barrier(3, timeout=120)

    @blocked(rows=64)
    def meet(x: Array) -> Array:
        together.wait()
        return x

    meet(random(192, 2))
    assert not together.broken


def test_blocks_inside_a_block_stay_in_its_thread() -> None:
    set_num_threads(2)
    inner, seen = record_blocks(rows=64)

    @blocked(rows=200)
    def outer(x: Array) -> Array:
        before = len(seen)
        y = inner(x)
        assert {thread for _, thread in seen[before:]} >= {threading.get_ident()}
        return y

    x = random(400, 3)
    np.testing.assert_array_equal(outer(x), x)
    assert len(seen) == 8


def test_what_is_traced_keeps_its_cuts() -> None:
    same, seen = record_blocks()
    same(random(500, 3))
    usual = sorted(rows for rows, _ in seen)
    seen.clear()
    with trace():
        same(random(500, 3))
    assert sorted(rows for rows, _ in seen) == usual


def test_what_is_made_of_layers_runs_whole_in_the_callers_thread_while_it_is_traced() -> None:
    set_num_threads(2)
    same, seen = record_blocks(composite=True)
    with trace():
        same(random(500, 3))
    assert seen == [(500, threading.get_ident())]


@pytest.mark.parametrize("n", THREADS)
@pytest.mark.parametrize("bad", [0, 300, 499])
def test_an_error_in_any_block_reaches_the_caller(bad: int, n: int) -> None:
    set_num_threads(n)
    marks = np.arange(500.0)[:, None]

    @blocked(rows=64)
    def fail(x: Array) -> Array:
        if bad in x:
            raise KeyError(bad)
        return x

    with pytest.raises(KeyError, match=str(bad)):
        fail(marks)
    np.testing.assert_array_equal(record_blocks()[0](marks), marks)  # and the threads still work


def test_the_context_of_the_caller_holds_in_every_block() -> None:
    set_num_threads(2)
    color = contextvars.ContextVar("color", default="none")
    color.set("blue")
    seen = []

    @blocked(rows=64)
    def look(x: Array) -> Array:
        seen.append(color.get())
        with np.errstate(all="raise"):
            return x

    look(random(500, 2))
    assert set(seen) == {"blue"}


def blas_threads() -> list[int]:
    """Of the libraries that NumPy multiplies with; SciPy brings another, which may be loaded later."""
    ours = [x for x in threadpool_info() if x["user_api"] == "blas" and "scipy.libs" not in x["filepath"]]
    return [library["num_threads"] for library in ours]


def test_blas_has_one_thread_only_meanwhile() -> None:
    set_num_threads(2)
    before, inside = blas_threads(), []

    @blocked(rows=64)
    def look(x: Array) -> Array:
        inside.extend(blas_threads())
        return x

    look(random(200, 2))
    assert set(inside) <= {1}
    assert blas_threads() == before
    with limit_blas(1), limit_blas(2):
        assert set(blas_threads()) <= {1}
    assert blas_threads() == before


def test_a_single_row_gives_the_same_bits_with_any_number_of_threads() -> None:
    for n_out in (3, 24, 384, 1001, 51865):
        x, weight = random(1, 1, 384), random(n_out, 384)
        set_num_threads(1)
        want = inner(x, weight)
        for n in (2, 3):
            set_num_threads(n)
            np.testing.assert_array_equal(inner(x, weight), want)


@pytest.mark.parametrize(("rows", "width", "n_out"), [(5, 384, 240), (5, 3072, 65), (16, 64, 75), (16, 200_000, 1)])
def test_few_rows_meet_pieces_that_blas_multiplies_without_rearranging(
    rows: int, width: int, n_out: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, matmul = [], np.matmul
    monkeypatch.setattr(products, "has_small_products", lambda: True)
    monkeypatch.setattr(np, "matmul", lambda x, y, out: (seen.append(y.shape), matmul(x, y, out=out))[1])
    x, weight = random(rows, width), random(3 * n_out + 1, width)
    np.testing.assert_allclose(products.few_rows(x, weight), x @ weight.T, rtol=1e-4, atol=1e-2)
    assert seen[0] == (3 + (n_out == 1), width, n_out)
    assert seen[1][1] <= n_out


@pytest.mark.parametrize("has_small_products", [True, False], ids=["AVX-512", "AVX2"])
@pytest.mark.parametrize("rows", [1, 2, 8, 9, 32, 33, 48])
def test_few_rows_are_computed_as_blas_can(
    rows: int, has_small_products: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In pieces up to 32 rows if BLAS has small products, else as vectors up to 8; plain beyond; the same numbers."""
    calls: list[str] = []
    monkeypatch.setattr(products, "has_small_products", lambda: has_small_products)
    for name in ("few_rows", "as_vectors"):
        whole = getattr(products, name)
        monkeypatch.setattr(products, name, lambda x, w, n=name, f=whole: (calls.append(n), f(x, w))[1])
    x, weight = random(1, rows, 96), random(150, 96)  # two pieces of 64 outputs, and 22 more
    np.testing.assert_allclose(inner(x, weight), x @ weight.T, rtol=1e-4, atol=1e-4)
    name, most = ("few_rows", 32) if has_small_products else ("as_vectors", 8)
    assert calls == ([name] if 2 <= rows <= most else [])


@pytest.mark.parametrize("has_small_products", [True, False], ids=["AVX-512", "AVX2"])
@pytest.mark.parametrize("rows", [2, 9, 40, 70])
def test_rows_of_many_texts_are_one_product(
    rows: int, has_small_products: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not one for each text, as ``x @ weight.T`` would be: then every text reads all weights."""
    seen: list[tuple[int, ...]] = []
    monkeypatch.setattr(products, "has_small_products", lambda: has_small_products)
    whole = products._by_rows
    monkeypatch.setattr(products, "_by_rows", lambda x, w: (seen.append(x.shape), whole(x, w))[1])
    x, weight = random(rows, 1, 96), random(150, 96)
    np.testing.assert_array_equal(inner(x, weight), inner(x[:, 0], weight)[:, None])
    assert seen == [(rows, 96)] * 2


@pytest.mark.parametrize(
    ("architecture", "expected"), [("SkylakeX", True), ("SapphireRapids", True), ("Haswell", False), ("Zen", False)]
)
def test_blas_has_small_products_for_avx512_only(
    architecture: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = SimpleNamespace(architecture=architecture)
    monkeypatch.setattr(products, "blas_libraries", lambda: (SimpleNamespace(), library))
    assert products.has_small_products.__wrapped__() is expected


def test_few_rows_of_another_width_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "has_small_products", lambda: True)
    with pytest.raises(ValueError, match="matmul"):
        products.few_rows(random(5, 4), random(2, 5))


def test_no_rows_give_no_rows() -> None:
    assert inner(random(1, 0, 4), random(3, 4)).shape == (1, 0, 3)


def test_a_large_matrix_is_fetched_piece_by_piece() -> None:
    seen: list[int] = []

    @products.by_outputs
    def look(x: Array, weight: Array) -> Array:
        seen.append(weight.size)
        return x @ weight.T

    set_num_threads(1)
    x, weight = random(2, 256), random(5000, 256)
    np.testing.assert_allclose(look(x, weight), x @ weight.T, rtol=1e-4, atol=1e-3)
    assert sum(seen) == weight.size
    assert max(seen) <= products.FETCHED < weight.size


def test_of_two_limits_the_lower_counts_until_it_is_left() -> None:
    before = blas_threads()
    with limit_blas(64):
        assert blas_threads() == before
        with limit_blas(1):
            assert set(blas_threads()) <= {1}
        assert blas_threads() == before


def test_many_callers_at_once_get_their_own_results() -> None:
    set_num_threads(2)
    before = blas_threads()
    inputs = [random(1, 700 + i, 24) for i in range(8)]
    weights = affine(32, 24)
    alone = [linear(x, weights) for x in inputs]
    with ThreadPoolExecutor(8) as callers:
        together = list(callers.map(lambda x: linear(x, weights), inputs * 3))
    for got, want in zip(together, alone * 3, strict=True):
        np.testing.assert_array_equal(got, want)
    assert blas_threads() == before


def test_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    pool._threads.clear()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert get_num_threads() == 1
    for unusable in ("", "0", "many"):
        monkeypatch.setenv("OMP_NUM_THREADS", unusable)
        assert get_num_threads() >= 1
    set_num_threads(5)
    assert get_num_threads() == 5
    with pytest.raises(ValueError, match="the number of threads must be at least 1, got 0"):
        set_num_threads(0)


FORK = """
import os, sys
import numpy as np
from npwhisper.model.layers import gelu
from npwhisper.compute.parallel import set_num_threads
set_num_threads(2)
x = np.linspace(-3, 3, 9000, dtype=np.float32).reshape(300, 30)
want = gelu(x)
child = os.fork()
if child == 0:
    os._exit(0 if np.array_equal(gelu(x), want) else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="no fork on this system")
def test_a_forked_process_starts_its_own_threads() -> None:
    command = [sys.executable, "-W", "ignore", "-c", FORK]
    assert subprocess.run(command, timeout=300, cwd=Path(__file__).parents[2]).returncode == 0
