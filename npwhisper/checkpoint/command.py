"""The command ``npwhisper convert IN OUT``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from npwhisper.checkpoint.weights import convert


def run(arguments: Sequence[str]) -> int:
    """Convert a checkpoint to another format."""
    p = argparse.ArgumentParser(prog="npwhisper convert", description="Convert a checkpoint to another format.")
    p.add_argument("source", help="an official name, a .pt, ggml or .safetensors file, or a folder with a model")
    p.add_argument(
        "target", help="OUT.safetensors, a single file with everything, or OUT.pt, which openai-whisper loads"
    )
    given = p.parse_args(arguments)
    convert(given.source, given.target)
    return 0
