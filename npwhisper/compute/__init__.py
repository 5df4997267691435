"""Efficiency: everything that makes the formulas of `npwhisper.model` fast."""

THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""How many threads BLAS makes, in the environment; it reads them when NumPy is first imported."""
