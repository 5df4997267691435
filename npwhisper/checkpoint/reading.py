"""One entry point for every kind of Whisper file: its first bytes decide what a file is, not its name."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

from npwhisper.checkpoint.contents import Checkpoint, CheckpointError, Heads, checked_dims, checked_heads
from npwhisper.checkpoint.ctranslate2 import looks_like_ctranslate2, read_ctranslate2
from npwhisper.checkpoint.folders import require_openable
from npwhisper.checkpoint.ggml import looks_like_ggml, read_ggml
from npwhisper.checkpoint.huggingface import read_huggingface
from npwhisper.checkpoint.json_text import loads
from npwhisper.checkpoint.mapped import map_file
from npwhisper.checkpoint.mlx import looks_like_mlx, read_mlx
from npwhisper.checkpoint.names import inferred_dims, openai_names
from npwhisper.checkpoint.npy import looks_like_npz, read_npz
from npwhisper.checkpoint.pt import looks_like_legacy, looks_like_zip, read_legacy, read_zip, state_dict
from npwhisper.checkpoint.safetensors_file import looks_like_safetensors, read_safetensors
from npwhisper.checkpoint.settings import read_json
from npwhisper.checkpoint.vocabulary import no_timestamps_id, only_whisper_tokens
from npwhisper.tracing.seam import Array

OTHER_FORMATS = {
    (0, b"GGUF"): "a GGUF file: use whisper.cpp's ggml-*.bin",
    (0, b"version https://git-lfs"): "the pointer of a Git LFS file: fetch the file itself (git lfs pull)",
    (0, b"<!DOCTYPE"): "a web page: download the file itself",
    (0, b"<html"): "a web page: download the file itself",
    (0, b"\x1f\x8b"): "a gzip archive: unpack it first",
    (0, b"\x89HDF"): "an HDF5 file (TensorFlow's weights): use the PyTorch or safetensors weights",
    (0, b"\x06\0\0\0\x0c\0WhisperSpec"): "CTranslate2's model.bin: give the folder that contains it",
    (0, b"\x08\x07\x12\x07pytorch"): "an ONNX graph: use the checkpoint that it was exported from",
    (0, b"\x08\x08\x12\x07pytorch"): "an ONNX graph: use the checkpoint that it was exported from",
    (1, b"\xa5model"): "Flax's weights: convert the folder with transformers' from_pretrained(FOLDER, from_flax=True)",
    (257, b"ustar"): "a tar archive (or torch.save's oldest form): unpack it, or save it again with a newer PyTorch",
}


def read_checkpoint(path: str | PathLike[str]) -> Checkpoint:
    """Read a Whisper checkpoint of any format, which is detected from the contents, not the name.

    Parameters
    ----------
    path
        A `.safetensors` file; a PyTorch file (`.pt`, `.bin`, `.ckpt`, zip or legacy form); a whisper.cpp
        `ggml-*.bin`; or a folder: as transformers' `save_pretrained` writes it, CTranslate2's (which faster-whisper
        uses), or MLX's.

    Returns
    -------
    Checkpoint
        Dims (inferred when the file states none), flat weights (memory-mapped where the file allows), alignment
        heads, metadata.

    Raises
    ------
    CheckpointError
        If the file is missing, broken, of another kind, or names a pickle global outside the closed table.

    Examples
    --------
    >>> from npwhisper.checkpoint.weights import embedded_path
    >>> checkpoint = read_checkpoint(embedded_path())
    >>> checkpoint.dims["n_audio_state"], checkpoint.weights["decoder.ln.weight"].dtype
    (384, dtype('float16'))
    """
    try:
        return _from_folder(Path(path)) if Path(path).is_dir() else _from_file(map_file(path))
    except CheckpointError as error:
        raise CheckpointError(f"{Path(path).name}: {error}") from error


def _from_folder(folder: Path) -> Checkpoint:
    """A folder of CTranslate2, MLX or Hugging Face; only the last can have tokens that are not Whisper's."""
    if looks_like_ctranslate2(folder):
        weights, dims, heads = read_ctranslate2(folder)
        return _checkpoint(weights, dims, heads)
    require_openable(folder)
    if looks_like_mlx(read_json(folder / "config.json")):
        weights, dims, heads = read_mlx(folder, lambda data: _tensors(data)[0])
        return _checkpoint(weights, dims, heads)
    weights, dims, heads = read_huggingface(folder, lambda data: _tensors(data)[0])
    return _checkpoint(weights, dims, heads, no_timestamps=no_timestamps_id(folder))


def _checkpoint(
    weights: dict[str, Array],
    dims: dict[str, int],
    heads: Heads | None = None,
    metadata: dict[str, str] | None = None,
    no_timestamps: int | None = None,
) -> Checkpoint:
    weights, dims = only_whisper_tokens(weights, dims, no_timestamps)
    return Checkpoint(dims, weights, heads, metadata or {})


def _from_file(data: Array) -> Checkpoint:
    if looks_like_ggml(data):
        weights, dims = read_ggml(data)
        return _checkpoint(weights, dims)
    tensors, rest = _tensors(data)
    weights = openai_names(tensors)
    dims = inferred_dims(weights) if rest.get("dims") is None else checked_dims(rest["dims"])
    heads = rest.get("alignment_heads")
    checked = None if heads is None else checked_heads(heads, dims)
    return _checkpoint(weights, dims, checked, _texts(rest.get("metadata")))


def _tensors(data: Array) -> tuple[dict[str, Array], dict[str, Any]]:
    """The tensors of one file as they are named there, and what else it says (dims, alignment_heads, metadata)."""
    if looks_like_npz(data):
        return read_npz(data), {}
    if looks_like_zip(data):
        return state_dict(read_zip(data))
    if looks_like_legacy(data):
        return state_dict(read_legacy(data))
    if looks_like_safetensors(data):
        weights, metadata = read_safetensors(data)
        return weights, _our_metadata(metadata)
    known = [advice for (at, magic), advice in OTHER_FORMATS.items() if data[at : at + len(magic)].tobytes() == magic]
    raise CheckpointError(f"this is {known[0] if known else 'no checkpoint: use .safetensors, .pt, ggml or a folder'}")


def _our_metadata(metadata: dict[str, str]) -> dict[str, Any]:
    """Dims and alignment heads out of their JSON; the remaining texts under "metadata"."""
    ours: dict[str, Any] = {
        name: _json(metadata[name], name) for name in ("dims", "alignment_heads") if name in metadata
    }
    return {**ours, "metadata": {name: text for name, text in metadata.items() if name not in (*ours, "format")}}


def _json(text: str, name: str) -> Any:
    try:
        return loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{name} in the metadata is not JSON: the file is broken") from error


def _texts(metadata: Any) -> dict[str, str]:
    """Only texts by name; what training code keeps besides is not ours."""
    items = metadata.items() if type(metadata) is dict else ()
    return {name: text for name, text in items if type(name) is str and type(text) is str}
