"""A plugin for pytest with which ``import whisper`` gives npwhisper: ``pytest -p as_whisper``, openai-whisper's tests.

The models are those of the folder that `NPWHISPER_WEIGHTS` names, since OpenAI's own files cannot be fetched here.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import npwhisper

PARTS = ["audio", "decoding", "model", "normalizers", "normalizers.english"]
PARTS += ["timing", "tokenizer", "transcribe", "utils"]


def pytest_configure(config: pytest.Config) -> None:
    """Put npwhisper in whisper's place, and know the mark of what needs a GPU, as upstream's own configuration does."""
    config.addinivalue_line("markers", "requires_cuda: needs a GPU")
    sys.modules["whisper"] = npwhisper
    sys.modules |= {f"whisper.{part}": import_module(f"npwhisper.{part}") for part in PARTS}
    folder, load_model = Path(os.environ["NPWHISPER_WEIGHTS"]), npwhisper.load_model

    def from_folder(name: str, *args: Any, **options: Any) -> npwhisper.Whisper:
        """`load_model`, of the file in the folder."""
        return load_model(folder / f"{name}.safetensors", *args, **options)

    npwhisper.available_models = lambda: sorted(path.stem for path in folder.glob("*.safetensors"))  # type: ignore[assignment]
    npwhisper.load_model = from_folder  # type: ignore[assignment]
