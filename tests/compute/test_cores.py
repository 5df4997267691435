"""The rules of who computes, and what BLAS's own threads give."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import cases
import numpy as np
import pytest
from tolerances import assert_stack_equal

from npwhisper.compute import blocks, cores, products, threads
from npwhisper.compute.threads import MOST_OF_OURS, blas_libraries, get_num_threads, limit_blas, set_num_threads
from npwhisper.tracing.seam import Array

BLOCK, SMALL, VOCABULARY = 1536 * 384, 384 * 384, 51865 * 384


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    before = get_num_threads()
    yield
    set_num_threads(before)


@pytest.mark.parametrize(
    ("n", "rows", "weights", "expected"),
    [
        (1, 1, BLOCK, False), (3, 1, BLOCK, False), (4, 1, BLOCK, True), (16, 1, BLOCK, True),
        (4, 5, BLOCK, True), (4, 1, VOCABULARY, True), (4, 5, VOCABULARY, False), (8, 5, VOCABULARY, True),
        (16, 1, SMALL, False), (16, 7, SMALL, False), (16, 8, SMALL, True), (3, 40, SMALL, False),
        (16, 63, BLOCK, True), (16, 64, BLOCK, False), (16, 1500, BLOCK, False),
    ],
)  # fmt: skip
def test_which_products_are_left_to_blas(n: int, rows: int, weights: int, expected: bool) -> None:
    set_num_threads(n)
    assert cores.is_for_blas(rows, weights) is expected


def test_a_piece_of_shared_work_is_not_shared_again_by_blas() -> None:
    set_num_threads(4)
    found: list[bool] = []
    threads.run(lambda _: found.append(cores.is_for_blas(1, BLOCK)), [0, 1])
    assert found == [False, False]


@pytest.mark.parametrize("rows", [1, 2, 5, 16, 40])
def test_products_of_blas_are_the_products(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight = cases.random_array("x", rows, 384), cases.random_array("weight", 1537, 384)
    asked: list[int] = []
    by_blas = products.by_blas
    monkeypatch.setattr(products, "by_blas", lambda x, w: (asked.append(len(x)), by_blas(x, w))[1])
    set_num_threads(4)
    y = products.inner(x, weight)
    assert asked == [rows]
    assert_stack_equal(y, (x.astype(np.float64) @ weight.T.astype(np.float64)).astype(np.float32))
    assert np.array_equal(y, products.inner(x, weight))


def test_blas_is_lent_no_more_than_eight_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    lent: list[int] = []
    lend = threads.lend_to_blas
    monkeypatch.setattr(products, "lend_to_blas", lambda n: (lent.append(n), lend(n))[1])
    x, weight = cases.random_array("x", 1, 384), cases.random_array("weight", 1537, 384)
    for n in (4, 8, 16):
        set_num_threads(n)
        products.inner(x, weight)
    assert lent == [4, 8, 8]


def n_blas() -> list[int]:
    """How many threads each loaded BLAS may use now."""
    return [library.get_num_threads() for library in blas_libraries()]


def test_blas_is_lent_threads_and_gives_them_back() -> None:
    own = n_blas()
    with limit_blas(1):
        with threads.lend_to_blas(2):
            assert n_blas() == [min(2, n) for n in own]
        assert n_blas() == [1 for _ in own]
    assert n_blas() == own


def test_nothing_is_lent_while_another_thread_computes() -> None:
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with limit_blas(1):
            entered.set()
            leave.wait(120)

    thread = threading.Thread(target=other)
    thread.start()
    assert entered.wait(120)
    with limit_blas(1), threads.lend_to_blas(2):
        assert set(n_blas()) == {1}
    leave.set()
    thread.join()


def test_no_more_threads_of_ours_than_pay() -> None:
    set_num_threads(64)
    assert threads.pool_threads() == MOST_OF_OURS
    assert len(blocks.parts_of(1500, 750)) == MOST_OF_OURS


def test_elementwise_work_is_cut_into_pieces_that_are_worth_a_thread() -> None:
    sizes: list[int] = []

    @blocks.in_blocks(rows=96, elementwise=True)
    def doubled(x: Array) -> Array:
        sizes.append(len(x))
        return x * 2

    x = cases.random_array("x", 1500, 384)
    for n, expected in ((2, 96), (8, 341)):
        set_num_threads(n)
        sizes.clear()
        assert np.array_equal(doubled(x), x * 2)
        assert max(sizes) <= expected
        assert sum(sizes) == 1500
    assert min(sizes) * 384 >= cores.GRAIN / 2
