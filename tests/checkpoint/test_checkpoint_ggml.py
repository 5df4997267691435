"""whisper.cpp's files: the layout, and each quantised block against its formula written out number by number."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from checkpoint_files import DIMS, ggml, ggml_start, ggml_tensor, random_weights

from npwhisper.checkpoint import CheckpointError, read_checkpoint
from npwhisper.checkpoint.ggml import read_ggml
from npwhisper.checkpoint.mapped import map_file


@pytest.mark.parametrize("half", [True, False])
def test_plain_files(tmp_path: Path, half: bool) -> None:
    weights = random_weights("float32")
    (tmp_path / "ggml-x.bin").write_bytes(ggml(weights, half))
    read = read_checkpoint(tmp_path / "ggml-x.bin")
    assert (read.dims, read.alignment_heads) == (DIMS, None)
    assert read.weights.keys() == weights.keys()
    for name, array in read.weights.items():
        single = not half or array.ndim < 2 or name.endswith("positional_embedding")
        assert array.dtype == ("float32" if single else "float16"), name
        assert np.array_equal(array, weights[name].astype(array.dtype)), name


def half(data: bytes, at: int) -> float:
    return float(np.frombuffer(data, "<f2", 1, at)[0])


def by_formula(kind: int, block: bytes) -> list[float]:
    """One block of 32 numbers, from the structures of ggml-common.h, without arrays."""
    scale = half(block, 0)
    if kind == 8:
        return [scale * q for q in struct.unpack_from("<32b", block, 2)]
    least = half(block, 2) if kind in (3, 7) else 0.0
    at = 4 if kind in (3, 7) else 2
    (high,) = struct.unpack_from("<I", block, at) if kind in (6, 7) else (0,)
    at += 4 if kind in (6, 7) else 0
    integers = []
    for j in range(32):
        packed = block[at + j % 16]
        integers.append((packed & 15 if j < 16 else packed >> 4) | (high >> j & 1) << 4)
    centre = {2: 8, 6: 16}.get(kind, 0)
    return [scale * (q - centre) + least for q in integers]


@pytest.mark.parametrize(
    ("name", "kind", "size"), [("q4_0", 2, 18), ("q4_1", 3, 20), ("q5_0", 6, 22), ("q5_1", 7, 24), ("q8_0", 8, 34)]
)
def test_quantised_blocks(tmp_path: Path, name: str, kind: int, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("npwhisper.checkpoint.quantised.BLOCKS_AT_A_TIME", 4)
    random = np.random.default_rng(kind)
    blocks = random.integers(0, 256, (6, size), dtype=np.uint8)
    blocks[:, :2] = random.standard_normal((6, 1)).astype("<f2").view(np.uint8)
    blocks[:, 2:4] = (
        blocks[:, 2:4] if kind not in (3, 7) else random.standard_normal((6, 1)).astype("<f2").view(np.uint8)
    )
    data = ggml_start(kind=2000 + kind) + ggml_tensor("x", kind, (3, 64), blocks.tobytes())
    (tmp_path / "ggml.bin").write_bytes(data)
    weights, dims = read_ggml(map_file(tmp_path / "ggml.bin"))
    expected = np.array([by_formula(kind, block.tobytes()) for block in blocks]).reshape(3, 64)
    assert dims == DIMS
    assert weights["x"].dtype == np.float32
    assert np.allclose(weights["x"], expected, rtol=1e-6, atol=1e-6), name


@pytest.mark.parametrize(("kind", "version"), [(10, 2), (2, 1), (8, 0), (9, 2)])
def test_other_quantisations_are_refused_by_number(tmp_path: Path, kind: int, version: int) -> None:
    data = ggml_start(kind=1000 * version + 7) + ggml_tensor("x", kind, (32,), bytes(64))
    (tmp_path / "ggml.bin").write_bytes(data)
    with pytest.raises(CheckpointError, match=f"ggml type {kind}, version {version}"):
        read_checkpoint(tmp_path / "ggml.bin")
