"""PyTorch's files: every kind of storage and view in both forms, and the ways training code wraps a state dict."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoint_files import (
    DIMS,
    Build,
    Call,
    Global,
    bfloat16,
    contents,
    described,
    legacy_form,
    official,
    official_legacy,
    official_zip,
    pickled,
    random_weights,
    storage,
    tensor,
    zip_form,
)

from npwhisper.checkpoint import CheckpointError, read_checkpoint
from npwhisper.checkpoint.mapped import map_file
from npwhisper.checkpoint.pt import read_legacy, read_zip, state_dict

NUMBERS = np.arange(1, 16)
FORMS = ["zip", "legacy"]


def read(
    folder: Path, form: str, tensors: dict[str, Any], storages: dict[str, np.ndarray], **options: Any
) -> dict[str, np.ndarray]:
    """Write a bare state dict in one of the forms and read it."""
    if form == "zip":
        data = zip_form(tensors, {key: array.tobytes() for key, array in storages.items()}, **options)
    else:
        data = legacy_form(tensors, {key: (array.size, array.tobytes()) for key, array in storages.items()}, **options)
    (folder / "model").write_bytes(data)
    return state_dict((read_zip if form == "zip" else read_legacy)(map_file(folder / "model")))[0]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["float16", "float32", "float64", "int64", "int32", "int16", "int8", "uint8", "bool"])
def test_every_kind_of_storage(tmp_path: Path, form: str, kind: str) -> None:
    numbers = (NUMBERS % 2 if kind == "bool" else NUMBERS).astype(kind)
    result = read(tmp_path, form, {"x": tensor(storage("0", 15, kind), (3, 5))}, {"0": numbers})["x"]
    assert result.dtype == numbers.dtype
    assert np.array_equal(result, numbers.reshape(3, 5))


@pytest.mark.parametrize("form", FORMS)
def test_bfloat16(tmp_path: Path, form: str) -> None:
    halves = bfloat16(NUMBERS / 8)
    result = read(tmp_path, form, {"x": tensor(storage("0", 15, "bfloat16"), (3, 5), (1, 3))}, {"0": halves})["x"]
    assert result.dtype == np.float32
    assert np.array_equal(result, (NUMBERS / 8).reshape(5, 3).T)


VIEWS: dict[str, tuple[tuple[int, ...], tuple[int, ...], int, np.ndarray]] = {
    "whole": ((15,), (1,), 0, NUMBERS),
    "transposed": ((5, 3), (1, 5), 0, NUMBERS.reshape(3, 5).T),
    "column": ((3,), (5,), 2, NUMBERS.reshape(3, 5)[:, 2]),
    "last element": ((1,), (1,), 14, NUMBERS[14:]),
    "0-d": ((), (), 7, NUMBERS[7]),
    "empty": ((0, 5), (5, 1), 0, NUMBERS[:0].reshape(0, 5)),
    "empty past the end": ((3, 0), (1, 1), 99, NUMBERS[:0].reshape(3, 0)),
    "expanded": ((3, 5), (0, 1), 0, np.broadcast_to(NUMBERS[:5], (3, 5))),
    "overlapping": ((3, 3), (2, 1), 1, np.array([[2, 3, 4], [4, 5, 6], [6, 7, 8]])),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("size", "stride", "offset", "expected"), VIEWS.values(), ids=VIEWS)
def test_views(tmp_path: Path, form: str, size: Any, stride: Any, offset: int, expected: np.ndarray) -> None:
    numbers = NUMBERS.astype(np.float16)
    result = read(tmp_path, form, {"x": tensor(storage("0", 15), size, stride, offset)}, {"0": numbers})["x"]
    assert result.shape == expected.shape
    assert np.array_equal(result, expected)


@pytest.mark.parametrize("form", FORMS)
def test_tensors_may_share_a_storage(tmp_path: Path, form: str) -> None:
    shared = storage("0", 15)
    tensors = {"x": tensor(shared, (3, 5)), "y": tensor(shared, (2, 3), (3, 1), 9)}
    result = read(tmp_path, form, tensors, {"0": NUMBERS.astype(np.float16)})
    assert np.array_equal(result["x"], NUMBERS.reshape(3, 5))
    assert np.array_equal(result["y"], NUMBERS[9:].reshape(2, 3))


def test_a_legacy_storage_may_be_a_view_of_another(tmp_path: Path) -> None:
    tensors = {
        "x": tensor(storage("7", 15, "float16", ("view", 4, 6)), (2, 3)),
        "y": tensor(storage("7", 15, "float16", None), (15,)),
    }
    result = read(tmp_path, "legacy", tensors, {"7": NUMBERS.astype(np.float16)})
    assert np.array_equal(result["x"], NUMBERS[4:10].reshape(2, 3))
    assert np.array_equal(result["y"], NUMBERS)


@pytest.mark.parametrize("kind", ["float16", "float32", "int64"])
def test_the_zip_form_tells_its_byte_order(tmp_path: Path, kind: str) -> None:
    numbers = NUMBERS.astype(np.dtype(kind).newbyteorder(">"))
    tensors = {"x": tensor(storage("0", 15, kind), (15,))}
    assert np.array_equal(read(tmp_path, "zip", tensors, {"0": numbers}, byteorder=b"big")["x"], NUMBERS)


def test_big_endian_bfloat16(tmp_path: Path) -> None:
    halves = bfloat16(NUMBERS).astype(">u2")
    tensors = {"x": tensor(storage("0", 15, "bfloat16"), (15,))}
    assert np.array_equal(read(tmp_path, "zip", tensors, {"0": halves}, byteorder=b"big")["x"], NUMBERS)


def test_a_file_without_byte_order_is_little_endian(tmp_path: Path) -> None:
    tensors = {"x": tensor(storage("0", 15), (15,))}
    assert np.array_equal(read(tmp_path, "zip", tensors, {"0": NUMBERS.astype("<f2")}, byteorder=None)["x"], NUMBERS)


def test_the_legacy_form_is_little_endian_whatever_machine_wrote_it(tmp_path: Path) -> None:
    tensors = {"x": tensor(storage("0", 15), (15,))}
    assert np.array_equal(read(tmp_path, "legacy", tensors, {"0": NUMBERS.astype("<f2")}, little=False)["x"], NUMBERS)


def test_state_and_parameters_of_modules_are_seen_through(tmp_path: Path) -> None:
    ordered = Build(
        Call(Global("collections", "OrderedDict"), ()),
        {"_metadata": Call(Global("collections", "OrderedDict"), ())},
    )
    inner = tensor(storage("0", 15), (15,))
    parameter = Call(Global("torch._utils", "_rebuild_parameter"), (inner, True, ordered))
    result = read(tmp_path, "zip", {"x": parameter, "note": ordered}, {"0": NUMBERS.astype("<f2")})
    assert list(result) == ["x"]
    assert np.array_equal(result["x"], NUMBERS)


def test_a_storage_may_be_larger_than_its_tensors_say(tmp_path: Path) -> None:
    tensors = {"x": tensor(storage("0", 4), (4,))}
    assert np.array_equal(read(tmp_path, "zip", tensors, {"0": NUMBERS.astype("<f2")})["x"], NUMBERS[:4])


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("top", ["archive", "my model.v2", "tiny.en"])
def test_archives_as_people_make_them(tmp_path: Path, method: int, top: str) -> None:
    weights = random_weights()
    (tmp_path / "model.pt").write_bytes(official_zip(weights, top=top, compression=method))
    result = read_checkpoint(tmp_path / "model.pt").weights
    assert all(np.array_equal(result[name], weights[name]) for name in weights)


def test_a_64_bit_directory(tmp_path: Path) -> None:
    """What archives beyond 4 GB have: 32-bit fields all ones, the values in extra fields and a second end record."""
    data = bytearray(official_zip(random_weights()))
    end = data.rfind(b"PK\x05\x06")
    count, size, at = struct.unpack_from("<HII", data, end + 10)
    directory, offset = bytes(data[at : at + size]), 0
    wide = b""
    for _ in range(count):
        name_length, extra_length, comment_length = struct.unpack_from("<HHH", directory, offset + 28)
        packed, full, header = (
            *struct.unpack_from("<II", directory, offset + 20),
            *struct.unpack_from("<I", directory, offset + 42),
        )
        record = bytearray(directory[offset : offset + 46 + name_length])
        struct.pack_into("<II", record, 20, 0xFFFFFFFF, 0xFFFFFFFF)
        struct.pack_into("<H", record, 30, 8 + 28)
        struct.pack_into("<I", record, 42, 0xFFFFFFFF)
        wide += record + struct.pack("<HHI", 0x4246, 4, 0) + struct.pack("<HHQQQ", 1, 24, full, packed, header)
        offset += 46 + name_length + extra_length + comment_length
    record_at = at + len(wide)
    data[at:] = wide
    data += struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, len(wide), at)
    data += struct.pack("<4sIQI", b"PK\x06\x07", 0, record_at, 1)
    data += struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    (tmp_path / "model.pt").write_bytes(data)
    with zipfile.ZipFile(tmp_path / "model.pt") as archive:  # the standard library reads it the same way
        assert len(archive.namelist()) == count
    result = read_checkpoint(tmp_path / "model.pt").weights
    assert all(np.array_equal(result[name], array) for name, array in random_weights().items())


# --- what training code makes of a state dict ------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.", "model._orig_mod.", "module.whisper."])
@pytest.mark.parametrize("wrapper", ["model_state_dict", "state_dict", "model", None])
def test_prefixes_and_wrappers(tmp_path: Path, prefix: str, wrapper: str | None) -> None:
    weights = random_weights()
    renamed = {prefix + name: array for name, array in weights.items()}
    tensors: dict[str, Any] = described(renamed)
    value = tensors if wrapper is None else {"epoch": 3, "hyper_parameters": {"lr": 0.1}, wrapper: tensors}
    (tmp_path / "model.ckpt").write_bytes(zip_form(value, contents(renamed)))
    result = read_checkpoint(tmp_path / "model.ckpt")
    assert result.dims == DIMS
    assert result.weights.keys() == weights.keys()
    assert all(np.array_equal(result.weights[name], weights[name]) for name in weights)


def test_other_modules_beside_the_model_are_left_out(tmp_path: Path) -> None:
    weights = random_weights()
    mixed = {f"model.{name}": array for name, array in weights.items()} | {"loss.weight": np.ones(3, np.float16)}
    (tmp_path / "model.ckpt").write_bytes(zip_form({"state_dict": described(mixed)}, contents(mixed)))
    assert read_checkpoint(tmp_path / "model.ckpt").weights.keys() == weights.keys()


def test_compiled_parts_lose_their_prefix(tmp_path: Path) -> None:
    weights = random_weights()
    renamed = {name.replace("encoder.", "encoder._orig_mod.", 1): array for name, array in weights.items()}
    (tmp_path / "model.pt").write_bytes(zip_form(described(renamed), contents(renamed)))
    assert read_checkpoint(tmp_path / "model.pt").weights.keys() == weights.keys()


def test_two_models_in_one_file_are_refused(tmp_path: Path) -> None:
    both = {f"{who}.{name}": a for who in ("teacher", "student") for name, a in random_weights().items()}
    (tmp_path / "model.pt").write_bytes(zip_form(described(both), contents(both)))
    with pytest.raises(CheckpointError, match=r"several models \('student\.', 'teacher\.'\)"):
        read_checkpoint(tmp_path / "model.pt")


@pytest.mark.parametrize("missing", ["decoder.positional_embedding", "encoder.positional_embedding"])
def test_dims_that_cannot_be_inferred(tmp_path: Path, missing: str) -> None:
    weights = random_weights()
    del weights[missing]
    (tmp_path / "model.pt").write_bytes(zip_form(described(weights), contents(weights)))
    with pytest.raises(CheckpointError, match=f"gives no dims, and has no {missing}"):
        read_checkpoint(tmp_path / "model.pt")


def test_heads_cannot_be_inferred_from_a_width_of_no_official_model(tmp_path: Path) -> None:
    weights = random_weights(dims={**DIMS, "n_audio_state": 96, "n_text_state": 96})
    (tmp_path / "model.pt").write_bytes(zip_form(described(weights), contents(weights)))
    with pytest.raises(CheckpointError, match="width 96 is not a multiple of 64"):
        read_checkpoint(tmp_path / "model.pt")


def test_dims_in_the_file_come_before_inferred_ones(tmp_path: Path) -> None:
    weights, dims = random_weights(), {**DIMS, "n_audio_head": 4, "n_text_head": 2}
    (tmp_path / "model.pt").write_bytes(zip_form(official(weights, dims), contents(weights)))
    assert read_checkpoint(tmp_path / "model.pt").dims == dims


def test_newer_pickle_protocols(tmp_path: Path) -> None:
    weights = random_weights()
    for protocol in (2, 3, 4, 5):
        (tmp_path / "model.pt").write_bytes(zip_form(pickled(official(weights), protocol), contents(weights)))
        result = read_checkpoint(tmp_path / "model.pt").weights
        assert all(np.array_equal(result[name], weights[name]) for name in weights)


def test_legacy_and_zip_form_give_the_same(tmp_path: Path) -> None:
    weights = random_weights()
    for name, data in (("zip", official_zip(weights)), ("legacy", official_legacy(weights))):
        (tmp_path / name).write_bytes(data)
    first, second = read_checkpoint(tmp_path / "zip"), read_checkpoint(tmp_path / "legacy")
    assert first.dims == second.dims == DIMS
    assert all(np.array_equal(first.weights[name], second.weights[name]) for name in weights)
