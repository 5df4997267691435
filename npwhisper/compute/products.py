"""Matrix products. `matmul` is ``x @ y``; the rule over rows, size, threads and library that chooses how is here.

y is a stack of matrices, one a head     plain, in blocks of heads and rows
y is the transpose of a layer's weights:
  1 row                                  dot products, in the order of memory (33 GB/s on a core; BLAS's product 14)
  2 to 32 rows, BLAS with AVX-512        pieces that OpenBLAS multiplies without rearranging them, in one call
  2 to 8 rows, BLAS without AVX-512      matrix times vector, row after row for pieces that stay in the cache
  more rows                              plain
of 4 million multiplications and more, below 64 rows: shared among threads, by outputs
with 4 threads and more, below 64 rows: BLAS's own threads (`cores`)
8-bit weights                            unpacked half a million at a time, multiplied as above; x and y are scaled

These rules are for NumPy's BLAS. `use` puts another product in its place, which then gets the matrices whole.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from npwhisper.compute.blocks import FEW_QUERIES, SMALLEST_BLOCK, in_blocks, pieces_of
from npwhisper.compute.cores import is_for_blas
from npwhisper.compute.int8 import Int8Matrix, Int8Transpose
from npwhisper.compute.threads import (
    MOST_OF_BLAS,
    blas_libraries,
    get_num_threads,
    lend_to_blas,
    pool_threads,
    run,
    run_alone,
)
from npwhisper.tracing.seam import Array

Matrix: TypeAlias = Any  # an array or an Int8Matrix
Product: TypeAlias = Callable[[Array, Array], Array]

FEW_ROWS = 32  # with AVX-512: up to here a product goes faster in pieces that BLAS multiplies without rearranging
FEW_RESULTS, FEW_PRODUCTS = 1200, 1_000_000  # the most results (rows x outputs) and multiplications of such a piece
AVX512 = ("SkylakeX", "Cooperlake", "SapphireRapids")  # as OpenBLAS calls what it computes for
FEW_VECTORS = 8  # without AVX-512: up to here matrix times vector is faster than a product, for every size of matrix
PIECE_OUTPUTS, PIECE_WEIGHTS = 64, 1 << 16  # of such a piece, which every row reads from the cache
FETCHED = 1 << 19  # weights copied or unpacked at a time: fewer cost more in Python than they save in the cache
WORTH_SHARING = 1 << 22  # multiplications: below, starting another thread takes longer than it saves

_others: list[Product] = []  # what `use` was given last, if anything


def use(product: Product | None) -> None:
    """Compute every matrix product of the network with `product` from now on, in all threads; None: with NumPy.

    Parameters
    ----------
    product : callable or None
        ``product(x, y)`` returns ``x @ y`` as `numpy.matmul` does: of two arrays, or of stacks of them.

    Examples
    --------
    >>> use(lambda x, y: 2 * (x @ y))
    >>> affine(np.ones((1, 3), np.float32), np.ones((1, 3), np.float32), None)
    array([[6.]], dtype=float32)
    >>> use(None)
    """
    _others[:] = [] if product is None else [product]


def _product(x: Array, y: Array) -> Array:
    return np.asarray((_others[-1] if _others else np.matmul)(x, y))


def matmul(x: Array, y: Array | Int8Transpose) -> Array:
    """The matrix product: every row of x with the transposed weights of a layer, or head by head.

    (..., D_in), (D_in, D_out) -> (..., D_out), or (B, H, T, K), (B, H, K, N) -> (B, H, T, N)

    >>> matmul(np.ones((2, 3), np.float32), np.ones((4, 3), np.float32).T).shape
    (2, 4)
    """
    if y.ndim == 2:
        return inner(x, y.T)
    if x.shape[-2] <= FEW_QUERIES or x.ndim != 4:
        return _product(x, np.asarray(y))
    return _head_by_head(x, np.asarray(y))


def affine(x: Array, weight: Matrix, bias: Array | None) -> Array:
    """``x @ weight.T + bias``, or the product alone: (..., D_in), (D_out, D_in), (D_out,) or None -> (..., D_out).

    >>> affine(np.ones((2, 3), np.float32), np.ones((1, 3), np.float32), np.ones(1, np.float32))
    array([[4.],
           [4.]], dtype=float32)
    """
    y = inner(x, weight)
    if bias is not None:
        y += bias  # in place: a second array would cost the encoder 1 % of its time
    return y


def _head_by_head(x: Array, y: Array) -> Array:
    """With the cuts of `by_heads`, so that attention gives the same bits while it is watched."""
    result = np.empty((*x.shape[:-1], y.shape[-1]), dtype=x.dtype)

    def work(piece: tuple[int, slice, slice]) -> None:
        b, h, part = piece
        result[b, h, part] = _product(x[b, h, part], y[b, h])

    run(work, pieces_of(x))
    return result


def laid_out_for_attention(k: Array, v: Array) -> tuple[Array, Array]:
    """The same keys and values, each head's in the order of memory in which `matmul` reads them: k by feature.

    (B, H, S, K) twice -> (B, H, S, K) twice
    """
    return np.ascontiguousarray(k.swapaxes(2, 3)).swapaxes(2, 3), np.ascontiguousarray(v)


def convolve(windows: Array, weight: Array, bias: Array) -> Array:
    """Multiply a kernel with each place that it slides over, and add a bias.

    (B, D_in, F, W), (D_out, D_in, W), (D_out,) -> (B, D_out, F)
    """
    return _convolve(windows, weight, bias)


@in_blocks(rows=375, axis=2)
def _convolve(windows: Array, weight: Array, bias: Array) -> Array:
    batch, d_in, length, width = windows.shape
    columns = windows.transpose(0, 1, 3, 2).reshape(batch, d_in * width, length)
    y = _product(weight.reshape(-1, d_in * width), columns)
    y += bias[:, None]
    return y


def by_outputs(function: Callable[[Array, Matrix], Array]) -> Callable[[Array, Matrix], Array]:
    """Compute ``f(x, weight)``, a product with the rows of `weight`, for some of these rows at a time if that pays."""

    @functools.wraps(function)
    def call(x: Array, weight: Matrix) -> Array:
        rows, is_float = math.prod(x.shape[:-1]), not isinstance(weight, Int8Matrix)
        if _others and is_float:
            return _product(x, weight.T)
        if is_float and is_for_blas(rows, weight.size):
            return by_blas(x, weight)
        is_large = rows * weight.size >= WORTH_SHARING
        size = _outputs_at_a_time(rows, weight, is_large)
        if size >= len(weight):
            return function(x, weight)
        return _piece_by_piece(function, x, weight, size, run if is_large else run_alone)

    return call


def _piece_by_piece(
    function: Callable[[Array, Matrix], Array], x: Array, weight: Matrix, size: int, run: Callable[..., None]
) -> Array:
    """``f(x, weight)`` for `size` rows of `weight` at a time: (..., D_in), (D_out, D_in) -> (..., D_out)."""
    y = np.empty((*x.shape[:-1], len(weight)), dtype=x.dtype)

    def work(part: slice) -> None:
        y[..., part] = function(x, weight[part])

    run(work, [slice(i, i + size) for i in range(0, len(weight), size)])
    return y


def by_blas(x: Array, weight: Array) -> Array:
    """``x @ weight.T`` by BLAS's own threads: (..., D_in), (D_out, D_in) -> (..., D_out)."""
    rows = x.reshape(-1, x.shape[-1])
    with lend_to_blas(min(get_num_threads(), MOST_OF_BLAS)):
        y = weight @ rows[0] if len(rows) == 1 else rows @ weight.T
    return y.reshape(*x.shape[:-1], -1)


def _outputs_at_a_time(rows: int, weight: Matrix, is_large: bool) -> int:
    n, width = weight.shape
    if rows >= SMALLEST_BLOCK:
        return int(n)
    threads = pool_threads()
    size = n // (2 * threads) + 1 if is_large and threads > 1 else n
    is_fetched = are_few(rows) or weight.dtype == np.int8
    return int(min(size, max(1, FETCHED // width)) if is_fetched else size)


@by_outputs
def inner(x: Array, weight: Matrix) -> Array:
    """As `numpy.inner`, every row of x with every row of a matrix: (..., D_in), (D_out, D_in) -> (..., D_out)."""
    if isinstance(weight, Int8Matrix):
        return _inner(x * weight.column_scale, weight.integers.astype(np.float32)) * weight.scale
    is_fetched = are_few(math.prod(x.shape[:-1])) and has_small_products()
    return _inner(x, weight.copy() if is_fetched else weight)  # copying first reads the weights sequentially


def _inner(x: Array, weight: Array) -> Array:
    rows = x.reshape(-1, x.shape[-1])  # of more axes NumPy would make many products, each reading all weights
    return _by_rows(rows, weight).reshape(*x.shape[:-1], len(weight))


def _by_rows(x: Array, weight: Array) -> Array:
    """``x @ weight.T``: (R, D_in), (D_out, D_in) -> (R, D_out)."""
    rows = len(x)
    if _others:  # of 8-bit weights, a piece that is unpacked
        return _product(x, weight.T)
    if rows == 1:  # one dot product after the other reads the matrix in the order of memory
        return np.vecdot(weight, x)[None]
    if are_few(rows):
        return few_rows(x, weight) if has_small_products() else as_vectors(x, weight)
    return np.asarray(x @ weight.T)


def are_few(rows: int) -> bool:
    """Whether this many rows are multiplied piece by piece; a single one is a matter of dot products."""
    return 1 < rows <= (FEW_ROWS if has_small_products() else FEW_VECTORS)


def as_vectors(x: Array, weight: Array) -> Array:
    """``x @ weight.T`` as a stack of matrix-vector products: each piece of the weights is read once for all rows."""
    (rows, width), n = x.shape, len(weight)
    size = max(1, min(PIECE_OUTPUTS, PIECE_WEIGHTS // width))
    count = n // size
    y, whole = np.empty((rows, n), dtype=x.dtype), slice(0, count * size)
    pieces = np.matmul(weight[whole].reshape(count, 1, size, width), x[None, :, :, None])
    y[:, whole].reshape(rows, count, size)[...] = pieces[..., 0].swapaxes(0, 1)
    y[:, count * size :] = x @ weight[count * size :].T
    return y


def few_rows(x: Array, weight: Array) -> Array:
    """``x @ weight.T`` in pieces that BLAS multiplies without rearranging them, all in one call of NumPy."""
    (rows, width), n = x.shape, len(weight)
    size = max(1, min(FEW_RESULTS, FEW_PRODUCTS // width) // rows)
    count = n // size
    y, whole = np.empty((rows, n), dtype=x.dtype), slice(0, count * size)
    pieces = weight[whole].reshape(count, size, width).swapaxes(1, 2)
    np.matmul(x, pieces, out=y[:, whole].reshape(rows, count, size).swapaxes(0, 1))
    np.matmul(x, weight[count * size :].T, out=y[:, count * size :])
    return y


@functools.cache
def has_small_products() -> bool:
    """Whether BLAS has code of its own for small matrices: OpenBLAS has, for processors with AVX-512."""
    return any(getattr(library, "architecture", "") in AVX512 for library in blas_libraries())
