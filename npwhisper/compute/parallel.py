"""The old name of `threads`, `blocks` and `products`: kept for code that imports from here."""

from npwhisper.compute.blocks import blocked as blocked
from npwhisper.compute.products import few_rows as few_rows
from npwhisper.compute.products import outputwise as outputwise
from npwhisper.compute.products import product as product
from npwhisper.compute.threads import get_num_threads as get_num_threads
from npwhisper.compute.threads import limit_blas as limit_blas
from npwhisper.compute.threads import set_num_threads as set_num_threads
