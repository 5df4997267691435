"""One copy of the weights for all processes.

A float32 safetensors file is mapped, not read, so every process that opens it shares the same pages of memory. Other
forms have to be converted first; that is done once, into a cache folder.
"""

from __future__ import annotations

import functools
import hashlib
import os
from pathlib import Path

from npwhisper.checkpoint import Checkpoint, write_checkpoint
from npwhisper.compute.int8 import Int8Matrix
from npwhisper.transcription.journal import fingerprint
from npwhisper.whisper import Whisper, load_model

CACHE = "~/.cache/npwhisper"


def shared_weights(model: Whisper | str | os.PathLike[str] | None, cache: str | os.PathLike[str] | None = None) -> Path:
    """Write the weights of a model as a float32 file that processes can share, unless it is already there.

    Parameters
    ----------
    model : Whisper, name or path
        What `load_model` takes, or what it returned.
    cache : path, optional
        The folder for the file, on the disk of every machine that is to use it; ``~/.cache/npwhisper`` by default.

    Returns
    -------
    Path
        Its name contains a checksum of the weights.

    Raises
    ------
    ValueError
        If the model keeps 8-bit weights, which cannot be mapped.
    CheckpointError, OSError
        If the checkpoint cannot be read, or the cache cannot be written.
    """
    handle = model if isinstance(model, Whisper) else load_model(model)
    arrays = {name: array for name, array in handle.weights.items() if not isinstance(array, Int8Matrix)}
    if len(arrays) < len(handle.weights):
        raise ValueError("processes share float32 weights, got a model with int8 weights: load it as float32")
    folder = Path(os.path.expanduser(cache or CACHE))
    heads = hashlib.sha256(repr(handle.alignment_heads).encode()).hexdigest()[:8]
    path = folder / f"{fingerprint(arrays):08x}-{heads}.safetensors"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        dims = vars(handle.dims)
        write_checkpoint(path, Checkpoint(dims, arrays, handle.alignment_heads), "float32")
    return path


@functools.lru_cache(maxsize=1)
def open_shared(path: str) -> Whisper:
    """Open shared weights, once in each process."""
    return load_model(path)
