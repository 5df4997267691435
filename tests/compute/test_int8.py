"""Matrices of 8 bits: the nearest integers, products that equal those of the float32 they stand for, the same text."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import cases
import naive
import numpy as np
import pytest
from tolerances import assert_layer_equal

import npwhisper
from npwhisper.__main__ import main
from npwhisper.compute import threads as pool
from npwhisper.compute.int8 import BLOCK, Int8Matrix
from npwhisper.compute.products import inner
from npwhisper.model.layers import embedding, linear
from npwhisper.tracing.seam import Array
from npwhisper.transcription.journal import fingerprint
from npwhisper.whisper import Whisper


@cache
def random(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).standard_normal(shape, dtype=np.float32)


@pytest.fixture(scope="module")
def small() -> Whisper:
    return npwhisper.load_model(weights="int8")


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = pool._threads[:]
    yield
    pool._threads[:] = before


@pytest.mark.parametrize("shape", [(7, 5), (1, 1), (BLOCK // 300 + 3, 300)])
def test_every_row_becomes_the_nearest_integers(shape: tuple[int, int]) -> None:
    matrix = Int8Matrix.pack(random(*shape))
    for row in (0, len(matrix) // 2, len(matrix) - 1):
        integers, scale = naive.packed(random(*shape)[row])
        assert matrix.integers[row].tolist() == integers
        assert matrix.scale[row] == pytest.approx(scale, rel=1e-6)
    off = np.abs(np.asarray(matrix) - random(*shape))
    assert (off <= 0.5001 * matrix.scale[:, None]).all()
    assert off.max() > 0.3 * matrix.scale.max() or shape == (1, 1)


def test_a_row_of_zeros_stays_zero() -> None:
    np.testing.assert_array_equal(np.asarray(Int8Matrix.pack(np.zeros((2, 3), np.float32))), 0)


def test_it_looks_like_the_array_that_it_stands_for() -> None:
    matrix = Int8Matrix.pack(random(6, 4))
    assert (matrix.shape, matrix.ndim, matrix.size, len(matrix), matrix.dtype) == ((6, 4), 2, 24, 6, np.int8)
    assert matrix.nbytes == 24 + 6 * 4
    np.testing.assert_array_equal(np.asarray(matrix[[4, 1]]), np.asarray(matrix)[[4, 1]])
    np.testing.assert_array_equal(matrix.T, np.asarray(matrix).T)
    assert np.asarray(matrix).dtype == np.float32
    assert repr(matrix) == "<Int8Matrix (6, 4): 0.0 MB>"
    with pytest.raises(ValueError, match="only by copying"):
        np.asarray(matrix, copy=False)
    with pytest.raises(ValueError, match="read-only"):
        matrix.integers[0, 0] = 1


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("rows", [1, 5, 20, 70, 901])
@pytest.mark.parametrize("shape", [(3, 8), (97, 64), (30_001, 96)])
def test_a_product_is_that_of_the_values(rows: int, shape: tuple[int, int], n: int) -> None:
    if rows > 70 and shape[0] > 97:
        pytest.skip("more than a network ever multiplies")
    pool.set_num_threads(n)
    x, matrix = random(rows, shape[1]) / 32, Int8Matrix.pack(random(*shape))
    assert_layer_equal(inner(x, matrix), inner(x, np.asarray(matrix)))


def test_layers_take_it_where_they_take_arrays() -> None:
    matrix, bias, x = Int8Matrix.pack(random(9, 6)), random(9), random(2, 3, 6)
    want = linear(x, {"weight": np.asarray(matrix), "bias": bias})
    assert_layer_equal(linear(x, {"weight": matrix, "bias": bias}), want)
    tokens = np.array([[8, 0, 3]])
    np.testing.assert_array_equal(embedding(tokens, {"weight": matrix}), np.asarray(matrix)[tokens])


@pytest.mark.slow
def test_a_model_takes_a_quarter_of_the_memory(model: Whisper, small: Whisper) -> None:
    packed = {name for name, array in small.weights.items() if isinstance(array, Int8Matrix)}
    want = {name for name, array in model.weights.items() if array.ndim == 2 and "positional" not in name}
    assert packed == want
    for name in model.weights:
        assert small.weights[name].shape == model.weights[name].shape
    before, after = (sum(m.weights[name].nbytes for name in packed) for m in (model, small))
    assert 0.25 < after / before < 0.26
    assert sum(a.nbytes for a in small.weights.values()) < 0.3 * sum(a.nbytes for a in model.weights.values())
    assert fingerprint(small.weights) != fingerprint(model.weights)


def test_it_writes_the_same_text(small: Whisper) -> None:
    expected = cases.reference("transcription.json")["results"]["jfk"]["text"]  # by float32 weights
    assert small.transcribe(cases.recordings()["jfk"], temperature=0.0)["text"] == expected


@pytest.mark.slow
def test_it_writes_nearly_the_same_text(model: Whisper, small: Whisper) -> None:
    texts = [
        [m.transcribe(path, temperature=0.0)["text"].split() for m in (model, small)]
        for path in cases.recordings().values()
    ]
    assert sum(a == b for a, b in texts) >= len(texts) - 2
    ratios = [difflib.SequenceMatcher(None, a, b, autojunk=False).ratio() for a, b in texts]
    assert min(ratios) > 0.8


@pytest.mark.slow
def test_the_network_stays_close(model: Whisper, small: Whisper) -> None:
    mel, tokens = random(1, model.dims.n_mels, 3000), np.array([[1, 2, 3]])
    want, got = model(mel, tokens), small(mel, tokens)
    assert 0 < np.abs(got - want).max() < 0.05 * np.abs(want).max()


def test_a_students_layer_meets_float32(small: Whisper) -> None:
    def mine(x: Array, w: Any) -> Array:
        y = x @ w["weight"].T
        return y + w["bias"] if "bias" in w else y

    tokens, features = np.array([[1, 2]]), random(1, small.dims.n_audio_ctx, small.dims.n_audio_state)
    want = small.logits(tokens, features)
    with npwhisper.swap(linear=mine):
        np.testing.assert_allclose(small.logits(tokens, features), want, atol=1e-4 * np.abs(want).max())


def test_profile_counts_a_byte_for_a_weight() -> None:
    x, matrix = random(1, 64), Int8Matrix.pack(random(32, 64))
    with npwhisper.profile() as p:
        linear(x, {"weight": matrix})
    assert p["linear"].bytes == 4 * (64 + 32) + matrix.nbytes


def test_other_kinds_are_refused() -> None:
    with pytest.raises(ValueError, match="weights must be float32 or int8, got 'int4'"):
        npwhisper.load_model(weights="int4")


def test_the_command_line_has_it(tmp_path: Path, talker_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quick = ["--model", str(talker_file), "--temperature_increment_on_fallback", "None"]
    arguments = [str(npwhisper.example()), *quick, "-o", str(tmp_path), "--output_format", "txt", "--weights"]
    assert main([*arguments, "int8"]) == 0
    assert (tmp_path / "example.txt").read_text(encoding="utf-8").strip()
    with pytest.raises(SystemExit) as refused:
        main([*arguments, "int4"])
    assert refused.value.code == 2
    assert "invalid choice: 'int4'" in capsys.readouterr().err
