"""The old name of `threads`, `blocks` and `products`: kept for code that imports from here."""

from npwhisper.compute.blocks import SMALLEST_BLOCK as SMALLEST_BLOCK
from npwhisper.compute.blocks import blocked as blocked
from npwhisper.compute.products import AVX512 as AVX512
from npwhisper.compute.products import FETCHED as FETCHED
from npwhisper.compute.products import FEW_PRODUCTS as FEW_PRODUCTS
from npwhisper.compute.products import FEW_RESULTS as FEW_RESULTS
from npwhisper.compute.products import FEW_ROWS as FEW_ROWS
from npwhisper.compute.products import WORTH_SHARING as WORTH_SHARING
from npwhisper.compute.products import are_few as are_few
from npwhisper.compute.products import few_rows as few_rows
from npwhisper.compute.products import outputwise as outputwise
from npwhisper.compute.products import product as product
from npwhisper.compute.threads import get_num_threads as get_num_threads
from npwhisper.compute.threads import limit_blas as limit_blas
from npwhisper.compute.threads import set_num_threads as set_num_threads
