"""What many tests share: the embedded model, a small random network, hypothesis without a clock, thrifty workers."""

from __future__ import annotations

import os

import cases
import pytest
from hypothesis import settings

import npwhisper
from npwhisper.compute.threads import processors
from npwhisper.model import Network

collect_ignore_glob = ["golden/*", "benchmarks/*"]  # scripts, some of which need torch

settings.register_profile("npwhisper", deadline=None, derandomize=True)
settings.load_profile("npwhisper")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """What `-n auto` means: a worker for each processor; at most eight, since each of them collects every test."""
    return min(8, processors())


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """Give the BLAS of each worker one thread, since the workers share the processors already."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def model() -> npwhisper.Whisper:
    """The embedded model, whatever its dimensions are and whatever it hears."""
    return npwhisper.load_model()


@pytest.fixture(scope="session")
def tiny_random() -> Network:
    """A network of `cases.SMALL` dimensions and random weights."""
    return cases.network()
