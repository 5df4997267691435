"""Who computes: the calling thread, our pool, or BLAS's own threads. The rules, by rows, size and threads, are here.

Measured on 16 Intel cores (Sapphire Rapids, OpenBLAS), tiny and small:

- One row times 1536 x 384 weights takes 0.26 ms on one thread, 0.07 on 4 threads of BLAS and 0.03 on 16. Our threads
  take 0.4: each of them waits for Python's lock. So BLAS's threads multiply few rows where there are four or more.
  (With two, BLAS gains less, and loses much on a busy machine, where its threads wait for each other.)
- A matrix of 384 x 384, too small for BLAS's threads to share for one row, is worth them from eight rows on: a step of
  forty rows (eight windows with five beams) takes 25 ms with eight threads, 41 if our pool shares it.
- A vocabulary times five rows is better shared by our pool up to 7 threads, and by BLAS from 8 threads on.
- The encoder's products stay with our pool. BLAS's threads would take half the time, but they spin while they wait for
  the next product, and the elementwise work between the products then takes longer than was gained.
- More than eight threads of ours are slower than eight, and elementwise work is worth a thread only if it lasts half a
  millisecond. Without Python's lock (CPython 3.13t) sixteen are faster: tiny's encoder 102 ms, with eight 121.
- More than eight threads of BLAS are slower for few rows: a step of tiny takes 4.0 ms with eight, 6.9 with sixteen.
"""

from __future__ import annotations

from npwhisper.compute.threads import get_num_threads, is_inside

MANY = 4  # threads: from here on BLAS's own share a product of few rows
MANY_FOR_A_VOCABULARY = 8  # threads: from here on also that of few rows, but more than one, with a vocabulary
MOST_ROWS = 64  # rows: below, they are few
WORTH_BLAS = 1 << 18  # weights: below, BLAS multiplies one row with one thread whatever it may use
WORTH_BLAS_FOR_ROWS = 1 << 20  # multiplications: from here on it shares a smaller matrix among its threads, too
VOCABULARY = 1 << 22  # weights: no matrix of a block has as many in tiny, base or small
GRAIN = 1 << 17  # numbers: what a thread computes in about half a millisecond, at a few nanoseconds each


def fewest_rows(width: int) -> int:
    """The fewest rows of `width` numbers, worked on element by element, that are worth one of many threads."""
    return GRAIN // max(1, width) if get_num_threads() >= MANY else 1


def is_for_blas(rows: int, n_weights: int) -> bool:
    """Whether BLAS's own threads multiply this many rows with a matrix of this many weights."""
    threads = get_num_threads()
    if threads < MANY or rows >= MOST_ROWS or is_inside():
        return False
    if n_weights < WORTH_BLAS and rows * n_weights < WORTH_BLAS_FOR_ROWS:
        return False
    return rows == 1 or n_weights < VOCABULARY or threads >= MANY_FOR_A_VOCABULARY
