"""CTranslate2's folder: every type of numbers, every version. The broken ones are in `hostile_folders`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from checkpoint_files import DIMS, ct2, ct2_folder, ct2_integers, ct2_variables, random_weights

from npwhisper.checkpoint import read_checkpoint
from npwhisper.checkpoint.weights import check_weights
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
    weights = opened(tmp_path, ct2(ct2_integers(VARIABLES, dtype, rows)))
    for name, array in WEIGHTS.items():
        tolerance = np.abs(array.astype(np.float32)).max() / 127 if rows else 0.0005
        np.testing.assert_allclose(weights[name].astype(np.float32), array, atol=tolerance)


def test_an_alias_of_integers_has_their_scales(tmp_path: Path) -> None:
    variables = ct2_integers(VARIABLES, "int8", rows=True)
    first, second = (f"decoder/layer_{i}/ffn/linear_0/weight" for i in range(2))
    del variables[second], variables[f"{second}_scale"]
    weights = opened(tmp_path, ct2(variables, aliases={second: first}))
    np.testing.assert_array_equal(weights["decoder.blocks.1.mlp.0.weight"], weights["decoder.blocks.0.mlp.0.weight"])


def test_the_number_of_heads_is_taken_from_the_file(tmp_path: Path) -> None:
    folder = ct2_folder(tmp_path, ct2({**VARIABLES, "encoder/num_heads": np.array(4, np.int16)}))
    assert read_checkpoint(folder).dims["n_audio_head"] == 4
