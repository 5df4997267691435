"""MLX's folder: both kinds of file, quantised matrices, and files that are refused."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoint_files import DIMS, random_weights, safetensors

from npwhisper.checkpoint import CheckpointError, read_checkpoint
from npwhisper.checkpoint.weights import load_weights

Tensors = dict[str, np.ndarray]
WEIGHTS = random_weights()


def mlx_weights(dtype: str = "float16") -> Tensors:
    """As mlx-examples' convert.py writes them: other convolutions, other names in the mlp, no encoder positions."""
    found = {}
    for name, array in WEIGHTS.items():
        if name != "encoder.positional_embedding":
            theirs = name.replace("mlp.0", "mlp1").replace("mlp.2", "mlp2")
            found[theirs] = np.ascontiguousarray(array.transpose(0, 2, 1) if array.ndim == 3 else array).astype(dtype)
    return found


def npz(tensors: Tensors, save: Any = np.savez) -> bytes:
    stream = io.BytesIO()
    save(stream, **tensors)
    return stream.getvalue()


def mlx_folder(folder: Path, data: bytes, file: str = "weights.npz", config: Any = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / file).write_bytes(data)
    text = json.dumps({**DIMS, "model_type": "whisper"} if config is None else config)
    (folder / "config.json").write_text(text)
    return folder


@pytest.mark.parametrize(
    ("file", "make"),
    [
        ("weights.npz", npz),
        ("weights.npz", lambda tensors: npz(tensors, np.savez_compressed)),
        ("weights.safetensors", safetensors),
        ("model.safetensors", safetensors),
    ],
)
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_every_bit_is_kept(tmp_path: Path, file: str, make: Callable[[Tensors], bytes], dtype: str) -> None:
    tensors = mlx_weights(dtype) | {"alignment_heads": np.array([[1, 0], [0, 0]])}
    folder = mlx_folder(tmp_path / "m", make(tensors if file == "weights.npz" else mlx_weights(dtype)), file)
    checkpoint = read_checkpoint(folder)
    assert checkpoint.dims == DIMS
    assert checkpoint.alignment_heads == ([(1, 0), (0, 0)] if file == "weights.npz" else None)
    for name in WEIGHTS.keys() - {"encoder.positional_embedding"}:
        np.testing.assert_array_equal(checkpoint.weights[name], WEIGHTS[name].astype(dtype))
    assert load_weights(folder).weights["encoder.positional_embedding"].shape == (11, 64)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_quantised_matrices_are_unpacked(tmp_path: Path, bits: int) -> None:
    tensors = mlx_weights("float32")
    name, group = "decoder.blocks.1.attn.query", 32
    rng = np.random.default_rng(bits)
    numbers = rng.integers(0, 2**bits, (64, 64), dtype=np.uint32)
    scales, biases = rng.random((2, 64, 64 // group), dtype=np.float32)
    per_word = 32 // bits
    shifts = np.arange(0, 32, bits, dtype=np.uint32)
    tensors[f"{name}.weight"] = (numbers.reshape(64, -1, per_word) << shifts).sum(axis=2, dtype=np.uint32)
    tensors |= {f"{name}.scales": scales, f"{name}.biases": biases}
    config = {**DIMS, "quantization": {"group_size": group, "bits": bits}}
    weights = read_checkpoint(mlx_folder(tmp_path / "m", npz(tensors), config=config)).weights
    expected = numbers * np.repeat(scales, group, axis=1) + np.repeat(biases, group, axis=1)
    np.testing.assert_allclose(weights[f"{name}.weight"], expected, rtol=1e-6)
    np.testing.assert_array_equal(weights[f"{name}.bias"], WEIGHTS[f"{name}.bias"])


def archive(**files: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as target:
        for name, content in files.items():
            target.writestr(f"{name}.npy", content)
    return stream.getvalue()


def array_file(header: str, content: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text + content


def header(shape: str = "(1,)", descr: str = "'<f4'") -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}"


HOSTILE: dict[str, tuple[Callable[[], bytes] | bytes, str]] = {
    "nothing in it": (archive(), "no data.pkl|no Whisper|no checkpoint"),
    "objects": (archive(x=array_file(header(descr="'|O'"), bytes(8))), "not numbers: refused"),
    "texts": (archive(x=array_file(header(descr="'<U4'"), bytes(16))), "not numbers: refused"),
    "records": (archive(x=array_file(header(descr="[('a', '<f4')]"), bytes(4))), "not numbers: refused"),
    "a call in the header": (archive(x=array_file("__import__('os').system('x')")), "no readable header"),
    "a deep header": (archive(x=array_file("(" * 100)), "no readable header"),
    "no header": (archive(x=b"abc"), "no readable header"),
    "another version": (archive(x=array_file(header(), bytes(4), b"\x09\x00")), "no readable header"),
    "a shape of 2^60": (archive(x=array_file(header("(2**60,)"))), "no readable header"),
    "a large shape": (archive(x=array_file(header("(1152921504606846976,)"))), "impossible shape|cut short"),
    "a negative shape": (archive(x=array_file(header("(-1,)"))), "impossible shape|no readable header"),
    "a true shape": (archive(x=array_file(header("(True,)"), bytes(4))), "impossible shape|no readable header"),
    "many axes": (archive(x=array_file(header("(1,1,1,1,1,1,1,1,1,1)"), bytes(4))), "impossible shape"),
    "cut short": (archive(x=array_file(header("(5,)"), bytes(4))), "cut short"),
    "bytes left over": (archive(x=array_file(header(), bytes(400))), "it is broken"),
    "a pickle beside it": (
        lambda: npz(mlx_weights()).replace(b"encoder.ln_post.bias.npy", b"encoder.ln_post.bias.pkl"),
        "is no .npy file",
    ),
    "another model": (lambda: npz({"x": np.ones(3)}), "missing|do not fit"),
    "a missing tensor": (
        lambda: npz({n: a for n, a in mlx_weights().items() if n != "decoder.ln.bias"}),
        "missing: decoder.ln.bias",
    ),
    "convolutions as PyTorch has them": (
        lambda: npz(mlx_weights() | {"encoder.conv1.weight": WEIGHTS["encoder.conv1.weight"]}),
        "misshapen",
    ),
    "half quantised": (lambda: npz(mlx_weights() | {"decoder.blocks.0.attn.out.scales": np.ones(3)}), "quantised in"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_broken_files_are_refused_with_a_sentence(name: str, tmp_path: Path) -> None:
    make, message = HOSTILE[name]
    folder = mlx_folder(tmp_path / "model", make() if callable(make) else make)
    with pytest.raises(CheckpointError, match=message):
        load_weights(folder)


@pytest.mark.parametrize(
    ("quantization", "message"),
    [
        ({"bits": 3}, "3"),
        ({"bits": "4"}, "quantised in a way"),
        ([], "quantised in a way"),
        ({"bits": 4}, "lacks a part"),
        ({"bits": 8}, "lacks a part"),
    ],
)
def test_other_quantisations_are_refused(tmp_path: Path, quantization: Any, message: str) -> None:
    tensors = mlx_weights() | {"decoder.blocks.0.attn.out.scales": np.ones((64, 2), np.float16)}
    folder = mlx_folder(tmp_path / "m", npz(tensors), config={**DIMS, "quantization": quantization})
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(folder)


def test_claimed_positions_are_not_computed(tmp_path: Path) -> None:
    folder = mlx_folder(tmp_path / "m", npz(mlx_weights()), config={**DIMS, "n_audio_ctx": 2**20})
    with pytest.raises(CheckpointError, match="1048576 positions of 64 numbers do not fit"):
        read_checkpoint(folder)


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    folder = mlx_folder(tmp_path / "m", b"", "other.npz")
    with pytest.raises(CheckpointError, match=r"none of weights\.npz"):
        read_checkpoint(folder)
