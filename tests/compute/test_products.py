"""The product in the place of NumPy's: all the network's products go through it, and nothing of them is left behind."""

from __future__ import annotations

from collections.abc import Iterator

import cases
import numpy as np
import pytest
from tolerances import assert_stack_equal

from npwhisper.compute import products, threads
from npwhisper.compute.int8 import Int8Matrix
from npwhisper.tracing.seam import Array


def nothing(x: Array, y: Array) -> Array:
    """A product that is always zero: whatever is not zero then was computed elsewhere."""
    return np.zeros_like(np.matmul(x, y))


@pytest.fixture(autouse=True)
def numpy_afterwards() -> Iterator[None]:
    before = threads._threads[:]
    yield
    products.use(None)
    threads._threads[:] = before


@pytest.mark.parametrize("n_threads", [1, 4, 8])
@pytest.mark.parametrize("rows", [1, 2, 5, 16, 40, 300])
def test_every_product_with_weights_goes_through_it(rows: int, n_threads: int) -> None:
    x, weight = cases.random_array("x", 1, rows, 384), cases.random_array("weight", 1537, 384)
    bias = cases.random_array("bias", 1537)
    threads.set_num_threads(n_threads)
    products.use(nothing)
    for matrix in (weight, Int8Matrix.pack(weight)):
        np.testing.assert_array_equal(products.affine(x, matrix, bias), np.tile(bias, (1, rows, 1)))
        assert not products.matmul(x, matrix.T).any()


@pytest.mark.parametrize("rows", [1, 40])
def test_products_of_heads_and_of_windows_go_through_it(rows: int) -> None:
    products.use(nothing)
    assert not products.matmul(cases.random_array("q", 2, 3, rows, 7), cases.random_array("k", 2, 3, 7, 11)).any()
    windows, bias = cases.random_array("windows", 2, 5, 400, 3), cases.random_array("bias", 4)
    y = products.convolve(windows, cases.random_array("weight", 4, 5, 3), bias)
    np.testing.assert_array_equal(y, np.broadcast_to(bias[:, None], (2, 4, 400)))


@pytest.mark.parametrize("rows", [1, 5, 40])
def test_it_gets_few_matrices_and_none_returns_to_numpy(rows: int) -> None:
    x, weight = cases.random_array("x", rows, 384), cases.random_array("weight", 1537, 384)
    shapes: list[tuple[int, ...]] = []
    threads.set_num_threads(1)
    products.use(lambda a, b: (shapes.append(b.shape), np.matmul(a, b))[1])
    y = products.inner(x, weight)
    assert shapes == [(384, 1537)]
    products.use(None)
    assert_stack_equal(products.inner(x, weight), y)
    assert len(shapes) == 1
