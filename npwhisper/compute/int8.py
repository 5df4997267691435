"""8-bit matrices: a quarter of the memory of float32.

A matrix is kept as integers from -127 to 127, a scale for every row (one output of a layer, one token of the
vocabulary) and one for every column: ``matrix[i, j] = scale[i] * integers[i, j] * column_scale[j]``, to within half a
step. With rows alone, a wide column would make all steps coarse: one column of tiny.en's vocabulary is 30 times as wide
as the others. The square root shares the precision between such a column and the rest.

NumPy multiplies float32, so a product scales x by the columns, unpacks a block of rows, multiplies it, and scales the
results: there are far fewer of both than of weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from npwhisper.tracing.seam import Array

LARGEST = 127
BLOCK = 1 << 20  # weights packed at a time


class Int8Matrix:
    """A matrix (D_out, D_in) of 8-bit integers, with a scale for every row and column; it can be sliced like an array.

    >>> matrix = Int8Matrix.pack(np.array([[1, -200], [0.5, 100]], np.float32))
    >>> matrix.integers.tolist(), matrix[1:].shape
    ([[9, -127], [9, 127]], (1, 2))
    >>> np.asarray(matrix).round(2)
    array([[   1. , -200. ],
           [   0.5,  100. ]], dtype=float32)
    """

    def __init__(self, integers: Array, scale: Array, column_scale: Array) -> None:
        self.integers, self.scale, self.column_scale = integers, scale, column_scale

    @classmethod
    def pack(cls, matrix: Array) -> Int8Matrix:
        """The nearest integers: (D_out, D_in) float32 -> (D_out, D_in) int8, scales (D_out,) and (D_in,), read-only."""
        integers, scale = np.empty(matrix.shape, dtype=np.int8), np.empty(len(matrix), dtype=np.float32)
        column_scale = _column_scale(matrix)
        for part in _parts(matrix):
            rows = matrix[part] / column_scale
            scale[part] = np.maximum(rows.max(axis=1), -rows.min(axis=1)) / LARGEST
            rows /= np.where(scale[part] > 0, scale[part], 1)[:, None]
            np.rint(rows, out=integers[part], casting="unsafe")
        for array in (integers, scale, column_scale):
            array.flags.writeable = False
        return cls(integers, scale, column_scale)

    @property
    def shape(self) -> tuple[int, ...]:
        """(D_out, D_in)"""
        return self.integers.shape

    @property
    def ndim(self) -> int:
        return self.integers.ndim

    @property
    def size(self) -> int:
        return self.integers.size

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.integers.dtype

    @property
    def nbytes(self) -> int:
        """The memory of the integers and the scales."""
        return self.integers.nbytes + self.scale.nbytes + self.column_scale.nbytes

    @property
    def T(self) -> Int8Transpose:  # noqa: N802
        """The same matrix read the other way: what ``matmul(x, weight.T)`` asks for."""
        return Int8Transpose(self)

    def __len__(self) -> int:
        return len(self.integers)

    def __getitem__(self, rows: Any) -> Int8Matrix:
        """Some of the rows, by a slice or by an array of their numbers."""
        return Int8Matrix(self.integers[rows], self.scale[rows], self.column_scale)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """The values that the integers stand for: (D_out, D_in) float32."""
        if copy is False:
            raise ValueError("8-bit weights become float32 only by copying: use np.asarray(matrix)")
        return np.asarray(self.integers * self.scale[..., None] * self.column_scale, dtype=dtype)

    def __repr__(self) -> str:
        return f"<Int8Matrix {self.shape}: {self.nbytes / 1e6:.1f} MB>"


def _parts(matrix: Array) -> list[slice]:
    step = max(1, BLOCK // matrix.shape[1])
    return [slice(i, i + step) for i in range(0, len(matrix), step)]


def _column_scale(matrix: Array) -> Array:
    """The square root of every column's root mean square, 1 where all is zero: (D_out, D_in) -> (D_in,)."""
    total = sum(np.square(matrix[part], dtype=np.float64).sum(axis=0) for part in _parts(matrix))
    scale = ((total / len(matrix)) ** 0.25).astype(np.float32)
    return np.where(scale > 0, scale, np.float32(1))


class Int8Transpose:
    """The transpose of an `Int8Matrix`, which is kept as it is: (D_in, D_out).

    >>> matrix = Int8Matrix.pack(np.ones((2, 3), np.float32))
    >>> matrix.T.shape, matrix.T.T is matrix
    ((3, 2), True)
    """

    ndim = 2

    def __init__(self, matrix: Int8Matrix) -> None:
        self.T = matrix

    @property
    def shape(self) -> tuple[int, ...]:
        """(D_in, D_out)"""
        return self.T.shape[::-1]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """The float32 values: (D_in, D_out)."""
        return self.T.__array__(dtype, copy).T
