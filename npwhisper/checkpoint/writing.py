"""Writing a checkpoint: all of it or nothing."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from npwhisper.checkpoint.contents import Checkpoint, CheckpointError
from npwhisper.checkpoint.pt_writing import write_pt
from npwhisper.checkpoint.replacing import replacing
from npwhisper.checkpoint.safetensors_file import write_safetensors

WRITERS = {".safetensors": write_safetensors, ".pt": write_pt}
DTYPES = ("float16", "float32", None)


def write_checkpoint(path: str | PathLike[str], checkpoint: Checkpoint, dtype: str | None = "float16") -> None:
    """Write a checkpoint as `.safetensors` (our one-file form) or `.pt` (which openai-whisper loads).

    Parameters
    ----------
    path
        Ends in `.safetensors` or `.pt`. An existing file is replaced only when the new one is complete.
    checkpoint
        What to write.
    dtype
        "float16", "float32", or None: half and single floats as they are, anything else as float32.

    Raises
    ------
    CheckpointError
        If the ending is another one, the place cannot be written, or a number is not finite in the dtype.

    Examples
    --------
    >>> import tempfile
    >>> from npwhisper.checkpoint import read_checkpoint
    >>> from npwhisper.checkpoint.weights import embedded_path
    >>> path = Path(tempfile.mkdtemp()) / "tiny.en.pt"
    >>> write_checkpoint(path, read_checkpoint(embedded_path()), dtype=None)
    >>> read_checkpoint(path).dims["n_vocab"]
    51864
    """
    path = Path(path)
    if path.suffix not in WRITERS or dtype not in DTYPES:
        raise CheckpointError(
            f"cannot write {path.name} as {dtype}: use the ending .safetensors or .pt, and one of {DTYPES}"
        )
    try:
        with replacing(path) as file:
            WRITERS[path.suffix](file, checkpoint, dtype)
    except OSError as error:
        raise CheckpointError(f"cannot write {path}: {error.strerror or error}") from error
