"""What many tests share: the embedded model, a small random network, and hypothesis without a clock."""

from __future__ import annotations

import cases
import pytest
from hypothesis import settings

import npwhisper
from npwhisper.model import Network

collect_ignore_glob = ["golden/*", "benchmarks/*"]  # scripts, some of which need torch

settings.register_profile("npwhisper", deadline=None, derandomize=True)
settings.load_profile("npwhisper")


@pytest.fixture(scope="session")
def model() -> npwhisper.Whisper:
    """The embedded model, whatever its dimensions are and whatever it hears."""
    return npwhisper.load_model()


@pytest.fixture(scope="session")
def tiny_random() -> Network:
    """A network of `cases.SMALL` dimensions and random weights."""
    return cases.network()
