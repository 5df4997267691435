"""Where the modules of npwhisper 0.1 are now.

Each old module is a file of one statement, ``stand_in(__name__)``: importing it gives the new module in its place.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pkgutil import iter_modules

NEW_PLACES = {
    "cache": "model",
    "checking": "lab.checking",
    "comparing": "lab.comparing",
    "corpus": "whisper.corpus",
    "download": "checkpoint.download",
    "exercises": "lab.exercises",
    "grading": "lab.grading",
    "hallucination": "transcription.hallucination",
    "int8": "compute.int8",
    "journal": "transcription.journal",
    "layers": "model",
    "mistakes": "lab.mistakes",
    "options": "decoding",
    "output": "transcription.output",
    "parallel": "compute.parallel",
    "plots": "lab.plots",
    "profiling": "tracing.profiling",
    "rules": "decoding",
    "scope": "tracing.scope",
    "search": "decoding",
    "streaming": "audio",
    "swapping": "tracing.swapping",
    "tables": "tracing.tables",
    "torch_names": "whisper.torch_names",
    "transcript": "transcription.output.transcript",
    "voice": "transcription.voice",
    "weights": "checkpoint.weights",
    "windows": "transcription.windows",
    "writers": "transcription.output.writers",
}


def stand_in(old: str) -> None:
    """Let the import of an old module, or of a module in an old package, give the new one."""
    new = sys.modules[old] = import_module(f"npwhisper.{NEW_PLACES[old.rpartition('.')[2]]}")
    for part in iter_modules(getattr(new, "__path__", ())):
        sys.modules[f"{old}.{part.name}"] = import_module(f"{new.__name__}.{part.name}")
