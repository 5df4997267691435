"""Matrix products by a compiled kernel, in the place of NumPy's. `kernel/product.c` is its source.

The kernel works in Python's own memory: it is told where arrays are, and copies none of them. Here as everywhere NumPy
is the reference: `fault` says whether a product differs from NumPy's by more than float32's rounding.
"""

import time

import numpy as np

FEWEST = 1 << 12  # multiplications: below, the call costs more than the product
PANEL = 8  # columns that the kernel copies side by side
SHAPES = {  # tiny's products, as the network cuts them: rows, depth, columns, how the second matrix lies
    "encoder, attention projection": (750, 384, 384, "rows"),
    "encoder, MLP in": (750, 384, 1536, "rows"),
    "encoder, MLP out": (750, 1536, 384, "rows"),
    "encoder, scores of a head": (375, 64, 1500, "rows"),
    "encoder, values of a head": (375, 1500, 64, "columns"),
    "encoder, second convolution": (384, 1152, 375, "columns"),
    "one token, MLP in": (1, 384, 1536, "rows"),
}
MAIN = "encoder, attention projection"
ODD = ((1, 1, 1, "rows"), (1, 67, 13, "columns"), (5, 31, 9, "rows"), (7, 18, 6, "columns"), (9, 5, 17, "rows"),
       (13, 70, 23, "columns"))  # fmt: skip
TRIED = (
    *ODD,
    (188, 384, 384, "rows"),
    (1, 384, 1536, "rows"),
    (94, 64, 1500, "rows"),
    (94, 1500, 64, "columns"),
)


class Kernel:
    """A product of arrays, or of stacks of them, by a function of addresses, sizes and strides.

    Parameters
    ----------
    multiply : callable
        ``multiply(x, y, z, panel, rows, depth, columns, x_row, y_row, y_column, z_row)``: the function of product.c.
    """

    def __init__(self, multiply):
        self.multiply = multiply

    def __call__(self, x, y):
        """``x @ y``, as `numpy.matmul`: by NumPy itself if the kernel is not made for it, or not worth calling."""
        if (
            x.dtype != np.float32
            or y.dtype != np.float32
            or min(x.ndim, y.ndim) < 2
            or x.size * y.shape[-1] < FEWEST
        ):
            return np.matmul(x, y)
        if y.ndim == 2:
            z = np.empty((*x.shape[:-1], y.shape[-1]), np.float32)
            self.compute(x.reshape(-1, x.shape[-1]), y, z.reshape(-1, z.shape[-1]))
            return z
        return self.stack(x, y)

    def stack(self, x, y):
        """One product after another: (..., R, D), (..., D, C) -> (..., R, C)."""
        lead = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
        x, y = (np.broadcast_to(a, (*lead, *a.shape[-2:])) for a in (x, y))
        z = np.empty((*lead, x.shape[-2], y.shape[-1]), np.float32)
        for i in np.ndindex(lead):
            self.compute(x[i], y[i], z[i])
        return z

    def compute(self, x, y, z):
        """Write ``x @ y`` into z: (R, D), (D, C), (R, C)."""
        if x.strides[1] != x.itemsize:
            x = np.ascontiguousarray(x)
        (rows, depth), columns = x.shape, y.shape[1]
        panel = np.empty(
            PANEL * depth, np.float32
        )  # of this call: where there are threads, each needs its own
        strides = (step // 4 for step in (x.strides[0], *y.strides, z.strides[0]))
        self.multiply(*map(address, (x, y, z, panel)), rows, depth, columns, *strides)


def address(x):
    """Where an array begins in memory, in bytes."""
    return x.__array_interface__["data"][0]


def operands(rows, depth, columns, lies):
    """Two random matrices to multiply; the second lies as weights do (columns without gaps) or as values do."""
    random = np.random.default_rng(rows * depth + columns)
    x = random.standard_normal((rows, depth), dtype=np.float32)
    y = random.standard_normal(
        (columns, depth) if lies == "rows" else (depth, columns), dtype=np.float32
    )
    return x, y.T if lies == "rows" else y


def fault(product):
    """What is wrong with a product, in one sentence; nothing if it agrees with NumPy's for all of `TRIED`.

    A sum of D products, in whatever order, is off by at most D times float32's rounding times the sum of their sizes
    (Higham, Accuracy and Stability of Numerical Algorithms, 3.1); two such sums differ by at most twice that.
    """
    for shape in TRIED:
        x, y = operands(*shape)
        off, most = np.abs(product(x, y) - x @ y), 2 * shape[1] * 2.0**-24 * (np.abs(x) @ np.abs(y))
        if not (off <= most).all():
            rows, depth, columns = shape[:3]
            return f"{(~(off <= most)).sum()} results of {rows} x {depth} times {depth} x {columns} are wrong"
    return ""


def speed(product, shape, seconds=0.1):
    """How fast a product is, in GFLOP/s: twice as many products are timed until they take some seconds.

    A browser's clock is coarse, so that a single product may seem to take no time at all.
    """
    x, y = operands(*shape)
    count, took = 1, 0.0
    while took < seconds:
        start = time.perf_counter()
        for _ in range(count):
            product(x, y)
        took, n, count = time.perf_counter() - start, count, 2 * count
    return 2 * n * shape[0] * shape[1] * shape[2] / took / 1e9
