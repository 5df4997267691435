"""Matrices of 8 bits: the nearest steps, products that equal those of the float32 they stand for, the same text."""

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
def test_every_weight_becomes_the_nearest_step(shape: tuple[int, int]) -> None:
    matrix = Int8Matrix.pack(random(*shape))
    off = np.abs(np.asarray(matrix) - random(*shape))
    step = matrix.scale[:, None] * matrix.column_scale
    assert (off <= 0.5001 * step).all()
    assert (off / step).max() > 0.3 or shape == (1, 1)
    assert (np.abs(matrix.integers).max(axis=1) == 127).all()


def test_integers_and_scales_are_those_of_the_definition() -> None:
    matrix, (integers, scale, column_scale) = Int8Matrix.pack(random(7, 5)), naive.packed(random(7, 5))
    assert matrix.integers.tolist() == integers
    np.testing.assert_allclose(matrix.scale, scale, rtol=1e-6)
    np.testing.assert_allclose(matrix.column_scale, column_scale, rtol=1e-6)


def test_a_wide_column_leaves_the_others_their_precision() -> None:
    weight = random(60, 50).copy()
    weight[:, 7] *= 40
    off = np.delete(np.asarray(Int8Matrix.pack(weight)) - weight, 7, axis=1)
    one_scale_for_a_row = np.abs(weight).max(axis=1).mean() / 127 / np.sqrt(12)
    assert np.sqrt((off**2).mean()) < 0.3 * one_scale_for_a_row


def test_rows_and_columns_of_zeros_stay_zero() -> None:
    np.testing.assert_array_equal(np.asarray(Int8Matrix.pack(np.zeros((2, 3), np.float32))), 0)
    weight = random(4, 6).copy()
    weight[1], weight[:, 2] = 0, 0
    found = np.asarray(Int8Matrix.pack(weight))
    assert not found[1].any()
    assert not found[:, 2].any()
    np.testing.assert_allclose(found, weight, atol=0.05)


def test_it_looks_like_the_array_that_it_stands_for() -> None:
    matrix = Int8Matrix.pack(random(6, 4))
    assert (matrix.shape, matrix.ndim, matrix.size, len(matrix), matrix.dtype) == ((6, 4), 2, 24, 6, np.int8)
    assert matrix.nbytes == 24 + (6 + 4) * 4
    np.testing.assert_array_equal(np.asarray(matrix[[4, 1]]), np.asarray(matrix)[[4, 1]])
    np.testing.assert_array_equal(matrix.T, np.asarray(matrix).T)
    assert np.asarray(matrix).dtype == np.float32
    assert repr(matrix) == "<Int8Matrix (6, 4): 0.0 MB>"
    with pytest.raises(ValueError, match="only by copying"):
        np.asarray(matrix, copy=False)
    for array in (matrix.integers, matrix.scale, matrix.column_scale):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


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
def test_it_keeps_the_words_of_a_longer_talk(model: Whisper, small: Whisper) -> None:
    talk = np.concatenate([npwhisper.load_audio(cases.recordings()[name]) for name in ("sonnet", "jfk", "austen_0870")])
    options: dict[str, Any] = {
        "temperature": 0.0,
        "condition_on_previous_text": False,
    }  # a prompt can lose speech itself
    texts = [m.transcribe(talk, **options)["text"].split() for m in (model, small)]
    assert len(texts[1]) > 0.97 * len(texts[0]) > 0.97 * 140  # of 151


@pytest.mark.slow
def test_the_logits_of_speech_stay_close(model: Whisper, small: Whisper) -> None:
    features = model.embed_audio(npwhisper.pad_or_trim(npwhisper.log_mel_spectrogram(cases.recordings()["jfk"]), 3000))
    decoded = model.decode(features[0], temperature=0.0)
    assert isinstance(decoded, npwhisper.DecodingResult)
    tokens = np.array([[model.tokenizer.sot, *decoded.tokens]])
    off = small.logits(tokens, features) - model.logits(tokens, features)
    off -= off.mean(axis=-1, keepdims=True)  # the softmax does not see what all logits share
    assert 0 < np.sqrt((off**2).mean()) < 0.08  # with a scale for every row alone: 0.15


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
