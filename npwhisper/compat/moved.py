"""Where the modules of npwhisper 0.1 are now.

Each old module is a file of one statement, ``stand_in(__name__)``: importing it gives the new module in its place.
"""

from __future__ import annotations

import sys
from importlib import import_module

NEW_PLACES = {
    "cache": "model",
    "checking": "lab.checking",
    "comparing": "lab.comparing",
    "download": "checkpoint.download",
    "exercises": "lab.exercises",
    "grading": "lab.grading",
    "hallucination": "transcription.hallucination",
    "int8": "compute.int8",
    "journal": "transcription.journal",
    "layers": "model",
    "mistakes": "lab.mistakes",
    "options": "decoding",
    "parallel": "compute.parallel",
    "plots": "lab.plots",
    "profiling": "tracing.profiling",
    "rules": "decoding",
    "scope": "tracing.scope",
    "search": "decoding",
    "streaming": "audio",
    "swapping": "tracing.swapping",
    "tables": "tracing.tables",
    "transcript": "output.transcript",
    "voice": "transcription.voice",
    "weights": "checkpoint.weights",
    "windows": "transcription.windows",
    "writers": "output.writers",
}


def stand_in(old: str) -> None:
    """Let the import of an old module give the new one."""
    sys.modules[old] = import_module(f"npwhisper.{NEW_PLACES[old.rpartition('.')[2]]}")
