"""The old name of `threads`, `blocks` and `products`, and their old names: kept for code that imports from here."""

from __future__ import annotations

from collections.abc import Callable

from npwhisper.compute.blocks import SMALLEST_BLOCK as SMALLEST_BLOCK
from npwhisper.compute.blocks import blocked as blocked
from npwhisper.compute.blocks import by_heads
from npwhisper.compute.products import AVX512 as AVX512
from npwhisper.compute.products import FETCHED as FETCHED
from npwhisper.compute.products import FEW_PRODUCTS as FEW_PRODUCTS
from npwhisper.compute.products import FEW_RESULTS as FEW_RESULTS
from npwhisper.compute.products import FEW_ROWS as FEW_ROWS
from npwhisper.compute.products import WORTH_SHARING as WORTH_SHARING
from npwhisper.compute.products import are_few as are_few
from npwhisper.compute.products import by_outputs, inner
from npwhisper.compute.products import few_rows as few_rows
from npwhisper.compute.threads import get_num_threads as get_num_threads
from npwhisper.compute.threads import limit_blas as limit_blas
from npwhisper.compute.threads import set_num_threads as set_num_threads
from npwhisper.tracing.seam import Array

outputwise, product = by_outputs, inner


def headwise(rows: int) -> Callable[[Callable[..., Array]], Callable[..., Array]]:
    """See `by_heads`, which knows by itself how many queries to take at a time."""
    return by_heads


def rowwise(rows: int) -> Callable[[Callable[..., Array]], Callable[..., Array]]:
    """A product of heads as it is; `matmul` cuts it as `by_heads` does."""
    return lambda function: function
