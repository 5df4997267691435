"""Checkpoints: every file form of a Whisper model, read into one flat state dict, safely and without torch.

Reading order: contents, heads, mapped, numbers, names, safetensors_file, zip_entries, torch_globals, unpickle, pt,
quantised, ggml, huggingface, reading, pt_writing, writing.
"""

from __future__ import annotations

from npwhisper.checkpoint.contents import Checkpoint, CheckpointError
from npwhisper.checkpoint.heads import alignment_heads_from_base85, alignment_heads_to_base85
from npwhisper.checkpoint.numbers import to_float32
from npwhisper.checkpoint.reading import read_checkpoint
from npwhisper.checkpoint.writing import write_checkpoint

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "alignment_heads_from_base85",
    "alignment_heads_to_base85",
    "read_checkpoint",
    "to_float32",
    "write_checkpoint",
]
