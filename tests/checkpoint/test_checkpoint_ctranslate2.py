"""CTranslate2's folder: every type of numbers, every version, and files that are refused."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from checkpoint_files import DIMS, ct2, ct2_folder, ct2_string, ct2_variables, random_weights

from npwhisper.checkpoint import CheckpointError, read_checkpoint
from npwhisper.checkpoint.weights import check_weights, load_weights
from npwhisper.model import ModelDimensions

WEIGHTS = random_weights()
VARIABLES = ct2_variables(WEIGHTS)
Variables = dict[str, np.ndarray]


def opened(folder: Path, data: bytes) -> Variables:
    checkpoint = read_checkpoint(ct2_folder(folder, data))
    assert checkpoint.dims == DIMS
    assert checkpoint.alignment_heads == [(0, 0), (1, 0)]
    check_weights(checkpoint.weights, ModelDimensions(**checkpoint.dims))
    return checkpoint.weights


@pytest.mark.parametrize("version", [4, 5, 6])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_every_bit_is_kept(tmp_path: Path, dtype: str, version: int) -> None:
    variables = {name: array.astype(dtype) for name, array in VARIABLES.items()}
    weights = opened(tmp_path, ct2(variables, version))
    for name, array in WEIGHTS.items():
        assert weights[name].dtype == dtype
        np.testing.assert_array_equal(weights[name], array.astype(dtype))


def test_version_3_tells_the_size_of_an_item(tmp_path: Path) -> None:
    variables = {name: array.astype(np.float32) for name, array in VARIABLES.items()}
    np.testing.assert_array_equal(opened(tmp_path, ct2(variables, 3))["decoder.ln.bias"], WEIGHTS["decoder.ln.bias"])


def test_bfloat16_is_widened(tmp_path: Path) -> None:
    upper = {name: (array.astype(np.float32).view(np.uint32) >> 16) for name, array in VARIABLES.items()}
    weights = opened(tmp_path, ct2({n: a.astype(np.uint16) for n, a in upper.items()}, kind="bfloat16"))
    expected = (upper["encoder/conv1/weight"] << 16).view(np.float32)
    np.testing.assert_array_equal(weights["encoder.conv1.weight"], expected)


@pytest.mark.parametrize(("dtype", "rows"), [("int8", True), ("int16", False)])
def test_integers_are_divided_by_their_scales(tmp_path: Path, dtype: str, rows: bool) -> None:
    variables: Variables = {}
    for name, array in VARIABLES.items():
        variables[name] = array
        if name.endswith("/weight") and array.ndim == 2:
            wide = array.astype(np.float32)
            scale = 127 / np.abs(wide).max(axis=1) if rows else np.array(1000.0, np.float32)
            variables[name] = np.rint(wide * (scale[:, None] if rows else scale)).astype(dtype)
            variables[f"{name}_scale"] = scale.astype(np.float32)
    weights = opened(tmp_path, ct2(variables))
    for name, array in WEIGHTS.items():
        tolerance = np.abs(array.astype(np.float32)).max() / 127 if rows else 0.0005
        np.testing.assert_allclose(weights[name].astype(np.float32), array, atol=tolerance)


def test_the_number_of_heads_is_taken_from_the_file(tmp_path: Path) -> None:
    folder = ct2_folder(tmp_path, ct2({**VARIABLES, "encoder/num_heads": np.array(4, np.int16)}))
    assert read_checkpoint(folder).dims["n_audio_head"] == 4


def with_variable(name: str, array: np.ndarray) -> bytes:
    return ct2({**VARIABLES, name: array})


def without(name: str) -> bytes:
    return ct2({other: array for other, array in VARIABLES.items() if other != name})


QUERY = "encoder/layer_0/self_attention/linear_0"
INTEGERS = np.ones((64, 64), np.int8)
HEADER = struct.pack("<I", 6) + ct2_string("WhisperSpec") + struct.pack("<I", 3)
HOSTILE: dict[str, tuple[Callable[[], bytes] | bytes, str]] = {
    "empty": (b"", "empty"),
    "three bytes": (b"abc", "cut short"),
    "version 2": (ct2(VARIABLES, 2), "binary version 2"),
    "version 7": (ct2(VARIABLES, 7), "binary version 7"),
    "version of a PyTorch file": (b"PK\x03\x04" + bytes(100), "binary version"),
    "another model": (ct2(VARIABLES, spec="TransformerSpec"), "TransformerSpec"),
    "no name": (struct.pack("<IH", 6, 0) + bytes(50), "has 0 bytes"),
    "endless name": (struct.pack("<IH", 6, 65535) + bytes(70000), "65535 bytes"),
    "four billion tensors": (HEADER + struct.pack("<I", 2**32 - 1), "number of tensors is 4294967295"),
    "tensors that are not there": (HEADER + struct.pack("<I", 5), "cut short"),
    "200 axes": (HEADER + struct.pack("<I", 1) + ct2_string("a") + b"\xc8" + bytes(900), "200 axes"),
    "axes of 2^32": (
        HEADER + struct.pack("<I", 1) + ct2_string("a") + struct.pack("<B4IBI", 4, *[2**32 - 1] * 4, 0, 4) + bytes(64),
        "4 bytes for",
    ),
    "unknown type": (
        HEADER + struct.pack("<I", 1) + ct2_string("a") + struct.pack("<BIBI", 1, 1, 77, 4) + bytes(8),
        "unknown type of numbers, 77",
    ),
    "more bytes than numbers": (
        HEADER + struct.pack("<I", 1) + ct2_string("a") + struct.pack("<BIBI", 1, 1, 0, 400) + bytes(400),
        "400 bytes for 1 numbers",
    ),
    "more numbers than bytes": (
        HEADER + struct.pack("<I", 1) + ct2_string("a") + struct.pack("<BIBI", 1, 2**30, 0, 2**32 - 4),
        "bytes for|cut short",
    ),
    "cut in the middle": (lambda: ct2(VARIABLES)[:100_000], "cut short"),
    "cut before the aliases": (lambda: ct2(VARIABLES)[:-60], "cut short"),
    "bytes at the end": (lambda: ct2(VARIABLES) + b"more", "4 bytes follow"),
    "an alias of nothing": (lambda: without("decoder/embeddings/weight"), "which is not there"),
    "twice the same": (
        lambda: ct2(VARIABLES).replace(ct2_string("encoder/conv2/bias"), ct2_string("encoder/conv1/bias")),
        "there twice",
    ),
    "a key's bias": (
        lambda: with_variable(f"{QUERY}/bias", np.ones(192, np.float16)),
        "keys have no bias",
    ),
    "integers without a scale": (lambda: with_variable("encoder/layer_0/ffn/linear_1/weight", INTEGERS), "scales"),
    "a scale of zero": (
        lambda: ct2(
            {
                **VARIABLES,
                "encoder/layer_0/self_attention/linear_1/weight": INTEGERS,
                "encoder/layer_0/self_attention/linear_1/weight_scale": np.zeros(64, np.float32),
            }
        ),
        "no positive number",
    ),
    "scales of other rows": (
        lambda: ct2(
            {
                **VARIABLES,
                "encoder/layer_0/self_attention/linear_1/weight": INTEGERS,
                "encoder/layer_0/self_attention/linear_1/weight_scale": np.ones(63, np.float32),
            }
        ),
        "fitting scales",
    ),
    "rows that do not divide": (lambda: with_variable(f"{QUERY}/bias", np.zeros(191, np.float16)), "191 rows"),
    "an unknown tensor": (
        lambda: with_variable("encoder/layer_0/rotary/beta", INTEGERS),
        "there is no",
    ),
    "an unknown tensor elsewhere": (lambda: with_variable("os/system", INTEGERS), "there is no 'os/system'"),
    "an untied projection": (
        lambda: with_variable("decoder/projection/weight", np.ones((17, 64), np.float16)),
        "output projection is not the token embedding",
    ),
    "heads that do not divide": (lambda: with_variable("encoder/num_heads", np.array(7, np.int16)), "7 heads"),
    "no heads": (lambda: with_variable("encoder/num_heads", np.array(0, np.int16)), "0 heads"),
    "a missing layer norm": (lambda: without("encoder/layer_1/ffn/layer_norm/beta"), "missing"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_broken_files_are_refused_with_a_sentence(name: str, tmp_path: Path) -> None:
    make, message = HOSTILE[name]
    folder = ct2_folder(tmp_path / "model", make() if callable(make) else make)
    with pytest.raises(CheckpointError, match=message):
        load_weights(folder)
