"""MLX's folder: both kinds of file, and quantised matrices. The broken ones are in `hostile_folders`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from checkpoint_files import DIMS, Tensors, mlx_folder, mlx_weights, npz, random_weights, safetensors

from npwhisper.checkpoint import CheckpointError, read_checkpoint

WEIGHTS = random_weights()


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
    assert checkpoint.weights["encoder.positional_embedding"].shape == (11, 64)


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


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    folder = mlx_folder(tmp_path / "m", b"", "other.npz")
    with pytest.raises(CheckpointError, match=r"none of weights\.npz"):
        read_checkpoint(folder)
