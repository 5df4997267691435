"""What many tests share: the embedded model, a small random network, hypothesis without a clock, thrifty workers."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import cases
import pytest
from hypothesis import settings
from talkers import ENGLISH, talker

import npwhisper
from npwhisper.checkpoint import Checkpoint, write_checkpoint
from npwhisper.compute.threads import processors
from npwhisper.model import Network

collect_ignore_glob = ["golden/*", "benchmarks/*"]  # scripts, some of which need torch

# Examples in docstrings that encode a window each; by default, those of `transcribe`, `decode` and `align` alone do
EXAMPLES = {
    "npwhisper.checkpoint.writing.write_checkpoint",
    "npwhisper.decoding.window.DecodingTask",
    "npwhisper.decoding.window.encode",
    "npwhisper.lab.glass.glass",
    "npwhisper.timing.words.add_word_timestamps",
    "npwhisper.timing.words.find_alignment",
    "npwhisper.transcription.run.Transcription",
    "npwhisper.whisper.corpus.run.transcribe_corpus",
    "npwhisper.whisper.handle.iter_segments",
    "npwhisper.timing.words.align",
}

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


@pytest.hookimpl(tryfirst=True)  # before those marked are left out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the examples of `EXAMPLES` as slow."""
    for item in items:
        if isinstance(item, pytest.DoctestItem) and item.name in EXAMPLES:
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish() -> None:
    """Spare the garbage collector the thousands of tests and their modules, which live until the end."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def model() -> npwhisper.Whisper:
    """The embedded model, whatever its dimensions are and whatever it hears."""
    return npwhisper.load_model()


@pytest.fixture(scope="session")
def talker_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a small network of random weights: for what does not depend on what is said."""
    model, path = talker(ENGLISH), tmp_path_factory.mktemp("model") / "talker.safetensors"
    write_checkpoint(path, Checkpoint(vars(model.dims), dict(model.weights), model.alignment_heads), "float32")
    return path


@pytest.fixture(scope="session")
def tiny_random() -> Network:
    """A network of `cases.SMALL` dimensions and random weights."""
    return cases.network()
