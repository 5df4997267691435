"""8-bit matrices: a quarter of the memory of float32.

Every row of a matrix (one output of a layer, one token of the vocabulary) is kept as integers from -127 to 127 and one
scale, a 127th of the row's largest magnitude: ``row = scale * integers``, to within half a scale. NumPy multiplies
float32, so a product unpacks a block of rows, multiplies it, and scales the results, which are far fewer than weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from npwhisper.tracing.seam import Array

LARGEST = 127
BLOCK = 1 << 20  # weights packed at a time


class Int8Matrix:
    """A matrix (D_out, D_in) of 8-bit integers and a scale for every row; it can be sliced and converted like an array.

    >>> matrix = Int8Matrix.pack(np.array([[1, -2], [0.5, 127]], np.float32))
    >>> matrix.integers.tolist(), matrix[1:].shape
    ([[64, -127], [0, 127]], (1, 2))
    >>> np.asarray(matrix).round(2)
    array([[  1.01,  -2.  ],
           [  0.  , 127.  ]], dtype=float32)
    """

    def __init__(self, integers: Array, scale: Array) -> None:
        self.integers, self.scale = integers, scale

    @classmethod
    def pack(cls, matrix: Array) -> Int8Matrix:
        """The nearest integers: (D_out, D_in) float32 -> (D_out, D_in) int8 and scales (D_out,), read-only."""
        integers, scale = np.empty(matrix.shape, dtype=np.int8), np.empty(len(matrix), dtype=np.float32)
        step = max(1, BLOCK // matrix.shape[1])
        for i in range(0, len(matrix), step):
            rows = matrix[i : i + step]
            scale[i : i + step] = np.maximum(rows.max(axis=1), -rows.min(axis=1)) / LARGEST
            inverse = 1.0 / np.where(scale[i : i + step] > 0, scale[i : i + step], 1)
            np.rint(rows * inverse[:, None], out=integers[i : i + step], casting="unsafe")
        integers.flags.writeable = scale.flags.writeable = False
        return cls(integers, scale)

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
        return self.integers.nbytes + self.scale.nbytes

    @property
    def T(self) -> Int8Transpose:  # noqa: N802
        """The same matrix read the other way: what ``matmul(x, weight.T)`` asks for."""
        return Int8Transpose(self)

    def __len__(self) -> int:
        return len(self.integers)

    def __getitem__(self, rows: Any) -> Int8Matrix:
        """Some of the rows, by a slice or by an array of their numbers."""
        return Int8Matrix(self.integers[rows], self.scale[rows])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """The values that the integers stand for: (D_out, D_in) float32."""
        if copy is False:
            raise ValueError("8-bit weights become float32 only by copying: use np.asarray(matrix)")
        return np.asarray(self.integers * self.scale[..., None], dtype=dtype)

    def __repr__(self) -> str:
        return f"<Int8Matrix {self.shape}: {self.nbytes / 1e6:.1f} MB>"


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
