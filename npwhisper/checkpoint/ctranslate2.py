"""CTranslate2's folder, which faster-whisper keeps in its cache.

    model.bin     the tensors (below)
    config.json   among other things `alignment_heads`

`model.bin` is little-endian: the version of the format, the name and revision of the model's specification, then a
count and as many tensors: name, number of axes, axes, type, number of bytes, numbers; then pairs of names, the second
of which stands for the first. Version 3 gives the size of an item and the number of items instead of a type and a
number of bytes. Projections of the same input are stacked: query, key and value, or key and value. Integers of 8 and 16
bits have scales beside them, which an alias of their tensor shares.

Source: CTranslate2's ``src/models/model.cc`` (the layout) and ``python/ctranslate2/specs`` (the names).
"""

from __future__ import annotations

import math
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np

from npwhisper.checkpoint.contents import CheckpointError, Heads, checked_heads
from npwhisper.checkpoint.mapped import Cursor, by_blocks, map_file, shaped
from npwhisper.checkpoint.names import HEAD_SIZE, inferred_dims
from npwhisper.checkpoint.numbers import bfloat16, require_finite, widened
from npwhisper.checkpoint.settings import read_json
from npwhisper.tracing.seam import Array

VERSIONS = range(3, 7)
TYPES: dict[int, Any] = {0: "<f4", 1: "i1", 2: "<i2", 3: "<i4", 4: "<f2", 5: bfloat16}
TYPES_BY_SIZE: dict[int, int] = {1: 1, 2: 2, 4: 0}  # of version 3
SPECIFICATION = "WhisperSpec"
MOST_TENSORS = 100_000
MOST_AXES = 4
LONGEST_NAME = 512

PARTS = {
    "self_attention/layer_norm": "attn_ln",
    "self_attention/linear_0": ("attn.query", "attn.key", "attn.value"),
    "self_attention/linear_1": "attn.out",
    "attention/layer_norm": "cross_attn_ln",
    "attention/linear_0": "cross_attn.query",
    "attention/linear_1": ("cross_attn.key", "cross_attn.value"),
    "attention/linear_2": "cross_attn.out",
    "ffn/layer_norm": "mlp_ln",
    "ffn/linear_0": "mlp.0",
    "ffn/linear_1": "mlp.2",
}
WHOLE = {
    "encoder/conv1": "encoder.conv1",
    "encoder/conv2": "encoder.conv2",
    "encoder/layer_norm": "encoder.ln_post",
    "decoder/layer_norm": "decoder.ln",
    "decoder/embeddings": "decoder.token_embedding",
}
POSITIONS = re.compile(r"(encoder|decoder)/position_encodings/encodings")
LAYER = re.compile(r"(encoder|decoder)/layer_(\d{1,4})/(\w+/\w+)/(weight|bias|gamma|beta)")
ENDINGS = {"gamma": "weight", "beta": "bias", "weight": "weight", "bias": "bias"}
TIED = "decoder/projection/"


class _Reader(Cursor):
    """Integers, counts and names, which are checked."""

    def number(self, form: str) -> int:
        (value,) = struct.unpack(f"<{form}", self.take("u1", struct.calcsize(form)).tobytes())
        return int(value)

    def count(self, limit: int, what: str) -> int:
        value = self.number("I")
        if value > limit:
            raise CheckpointError(f"the number of {what} is {value}, more than {limit}: the file is broken")
        return value

    def text(self) -> str:
        length = self.number("H")
        if not 0 < length <= LONGEST_NAME:
            raise CheckpointError(f"a name before byte {self.at} has {length} bytes: the file is broken")
        return self.take("u1", length).tobytes().rstrip(b"\0").decode("utf-8", errors="replace")


def looks_like_ctranslate2(folder: Path) -> bool:
    """Whether a folder contains CTranslate2's one file of weights."""
    return (folder / "model.bin").is_file()


def read_ctranslate2(folder: Path) -> tuple[dict[str, Array], dict[str, int], Heads | None]:
    """Weights under openai-whisper's names, dimensions and alignment heads of a folder."""
    variables = read_variables(map_file(folder / "model.bin"))
    weights: dict[str, Array] = {}
    for name, array in _scaled(variables).items():
        for ours, part in _openai(name, array):
            if ours in weights:
                raise CheckpointError(f"two tensors of the file are {ours}: the file is broken")
            weights[ours] = part
    _drop_key_biases(weights)
    dims = inferred_dims(weights, _head_width(variables, weights))
    path = folder / "config.json"
    heads = read_json(path).get("alignment_heads") if path.exists() else None
    return weights, dims, checked_heads(heads, dims) if heads else None


def read_variables(data: Array) -> dict[str, Array]:
    """The tensors of a `model.bin` under CTranslate2's names, as views into the file (bfloat16 widened)."""
    reader = _Reader(data)
    version = _checked_version(reader)
    variables: dict[str, Array] = {}
    for _ in range(reader.count(MOST_TENSORS, "tensors")):
        name, array = _variable(reader, version)
        if name in variables:
            raise CheckpointError(f"tensor {name[:80]!r} appears twice: the file is broken")
        variables[name] = array
    _read_aliases(reader, variables)
    if reader.at != data.size:
        raise CheckpointError(f"{data.size - reader.at} bytes follow the last tensor: the file is broken")
    return variables


def _checked_version(reader: _Reader) -> int:
    """Read the header; the version of the binary form, if this is a Whisper model in one that is read."""
    version = reader.number("I")
    if version not in VERSIONS:
        raise CheckpointError(
            f"model.bin has the binary version {version}, but {VERSIONS[0]} to {VERSIONS[-1]} can be read: "
            "is this CTranslate2's file?"
        )
    if (specification := reader.text()) != SPECIFICATION:
        raise CheckpointError(f"model.bin holds a {specification[:40]!r}, not a {SPECIFICATION}: use a Whisper model")
    reader.number("I")  # the revision
    return version


def _read_aliases(reader: _Reader, variables: dict[str, Array]) -> None:
    """Add the further names of tensors, and of their scales."""
    for _ in range(reader.count(MOST_TENSORS, "aliases")):
        alias, target = reader.text(), reader.text()
        if target not in variables:
            raise CheckpointError(f"{alias[:80]!r} stands for {target[:80]!r}, which is not there: the file is broken")
        variables.setdefault(alias, variables[target])
        if f"{target}_scale" in variables:
            variables.setdefault(f"{alias}_scale", variables[f"{target}_scale"])


def _variable(reader: _Reader, version: int) -> tuple[str, Array]:
    name = reader.text()
    rank = reader.number("B")
    if rank > MOST_AXES:
        raise CheckpointError(f"{name[:80]!r} has {rank} axes, more than {MOST_AXES}: the file is broken")
    shape = tuple(reader.number("I") for _ in range(rank))
    kind = reader.number("B")
    kind = TYPES_BY_SIZE.get(kind, -1) if version == 3 else kind
    if kind not in TYPES:
        raise CheckpointError(f"{name[:80]!r} has an unknown type of numbers, {kind}: convert the model again")
    size, width = math.prod(shape), np.dtype(TYPES[kind]).itemsize
    told = reader.number("I") * (width if version == 3 else 1)
    if told != size * width:
        raise CheckpointError(f"{name[:80]!r} has {told} bytes for {size} numbers of {width}: the file is broken")
    return name, widened(shaped(reader.take(TYPES[kind], size), shape))


def _scaled(variables: dict[str, Array]) -> dict[str, Array]:
    """The tensors without options, scales and the tied projection; integers become the numbers they stand for."""
    found: dict[str, Array] = {}
    for name, array in variables.items():
        if array.ndim == 0 or name.endswith("_scale") or name.startswith(TIED):
            continue
        if array.dtype.kind == "i" and name.endswith("/weight"):
            array = _dequantised(name, array, variables.get(f"{name}_scale"))
        found[name] = array
    _require_tied(variables)
    return found


def _dequantised(name: str, array: Array, scale: Array | None) -> Array:
    """``integers / scale``, with one scale for each row or one for all: (rows, ...) -> float32 of the same shape."""
    if scale is None or scale.size not in (1, len(array)) or scale.dtype.kind != "f":
        raise CheckpointError(f"{name[:80]!r} has integers without matching scales: convert the model again")
    divisor = np.asarray(scale, np.float32).reshape(-1, *(1 for _ in array.shape[1:]))
    if not np.all(np.isfinite(divisor) & (divisor > 0)):
        raise CheckpointError(f"{name[:80]!r} has a scale that is not a positive number: the file is broken")
    result = np.empty(array.shape, np.float32)
    by_blocks(array, result, lambda source, target: np.copyto(target, source))
    with np.errstate(over="ignore"):
        result /= divisor
    require_finite(result, repr(name[:80]))
    return result


def _require_tied(variables: dict[str, Array]) -> None:
    projection, embedding = variables.get(f"{TIED}weight"), variables.get("decoder/embeddings/weight")
    if projection is None or embedding is None or projection is embedding:
        return
    if not np.array_equal(projection, embedding):
        raise CheckpointError(
            "the output projection is not the token embedding, to which Whisper ties it: "
            "this model cannot be computed here"
        )


def _openai(name: str, array: Array) -> list[tuple[str, Array]]:
    """The tensor under openai-whisper's name; stacked projections are taken apart."""
    if positions := POSITIONS.fullmatch(name):
        return [(f"{positions[1]}.positional_embedding", array)]
    module, _, ending = name.rpartition("/")
    if module in WHOLE and ending in ENDINGS:
        return [(f"{WHOLE[module]}.{ENDINGS[ending]}", array)]
    layer = LAYER.fullmatch(name)
    if layer is None or layer[3] not in PARTS:
        raise CheckpointError(f"there is no {name[:80]!r} in a Whisper model: use a Whisper checkpoint")
    parts = PARTS[layer[3]]
    modules = (parts,) if isinstance(parts, str) else parts
    if len(array) % len(modules):
        raise CheckpointError(f"{name[:80]!r} has {len(array)} rows for {len(modules)} projections: the file is broken")
    rows = np.split(array, len(modules))
    prefix = f"{layer[1]}.blocks.{layer[2]}"
    return [(f"{prefix}.{part}.{ENDINGS[layer[4]]}", piece) for part, piece in zip(modules, rows, strict=True)]


def _drop_key_biases(weights: dict[str, Array]) -> None:
    """Whisper's keys have no bias; the stacked form keeps zeros in its place."""
    for name in [name for name in weights if name.endswith("attn.key.bias")]:
        if np.any(weights.pop(name)):
            raise CheckpointError(f"{name} is not zero, and Whisper's keys have no bias: this is another network")


def _head_width(variables: dict[str, Array], weights: dict[str, Array]) -> int:
    """The width of one attention head, from the number of heads if the file tells it."""
    heads, positions = variables.get("encoder/num_heads"), weights.get("encoder.positional_embedding")
    if heads is None or heads.dtype.kind != "i" or positions is None or positions.ndim != 2:
        return HEAD_SIZE
    count, width = int(heads.reshape(-1)[0]) if heads.size else 0, positions.shape[1]
    if count < 1 or width % count:
        raise CheckpointError(f"{count} heads do not divide the width {width}: the file is broken")
    return width // count
