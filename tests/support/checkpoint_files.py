"""Files written by hand: small, whole checkpoints of every form, byte by byte from the published layouts.

Nothing here uses the code under test, so a fault cannot hide by being made twice.
"""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

DIMS = {
    "n_mels": 5,
    "n_audio_ctx": 11,
    "n_audio_state": 64,
    "n_audio_head": 1,
    "n_audio_layer": 3,
    "n_vocab": 17,
    "n_text_ctx": 7,
    "n_text_state": 64,
    "n_text_head": 1,
    "n_text_layer": 2,
}

Tensors = dict[str, np.ndarray]


def shapes(dims: dict[str, int] = DIMS) -> dict[str, tuple[int, ...]]:
    """Every tensor of a Whisper model, written out from the state dict of openai-whisper."""
    width = dims["n_audio_state"]
    result: dict[str, tuple[int, ...]] = {
        "encoder.positional_embedding": (dims["n_audio_ctx"], width),
        "encoder.conv1.weight": (width, dims["n_mels"], 3),
        "encoder.conv1.bias": (width,),
        "encoder.conv2.weight": (width, width, 3),
        "encoder.conv2.bias": (width,),
        "decoder.token_embedding.weight": (dims["n_vocab"], width),
        "decoder.positional_embedding": (dims["n_text_ctx"], width),
    }
    for half, layers in (("encoder", dims["n_audio_layer"]), ("decoder", dims["n_text_layer"])):
        for i in range(layers):
            for attention in ("attn", "cross_attn")[: 1 + (half == "decoder")]:
                for part in ("query", "key", "value", "out"):
                    result[f"{half}.blocks.{i}.{attention}.{part}.weight"] = (width, width)
                    if part != "key":
                        result[f"{half}.blocks.{i}.{attention}.{part}.bias"] = (width,)
                result |= {f"{half}.blocks.{i}.{attention}_ln.{kind}": (width,) for kind in ("weight", "bias")}
            result[f"{half}.blocks.{i}.mlp.0.weight"] = (4 * width, width)
            result[f"{half}.blocks.{i}.mlp.0.bias"] = (4 * width,)
            result[f"{half}.blocks.{i}.mlp.2.weight"] = (width, 4 * width)
            result[f"{half}.blocks.{i}.mlp.2.bias"] = (width,)
            result |= {f"{half}.blocks.{i}.mlp_ln.{kind}": (width,) for kind in ("weight", "bias")}
    result |= {f"encoder.ln_post.{kind}": (width,) for kind in ("weight", "bias")}
    return result | {f"decoder.ln.{kind}": (width,) for kind in ("weight", "bias")}


def random_weights(dtype: str = "float16", seed: int = 0, dims: dict[str, int] = DIMS) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {name: random.standard_normal(shape).astype(dtype) for name, shape in shapes(dims).items()}


# --- pickles ---------------------------------------------------------------------------------------------------------


@dataclass
class Global:
    """A name that the reader is to look up."""

    module: str
    name: str


@dataclass
class Call:
    """A function that the reader is to call."""

    function: Any
    arguments: Any


@dataclass
class Build:
    """A value that the reader is to give a state."""

    value: Any
    state: Any


@dataclass
class Persistent:
    """A value that lies elsewhere in the file."""

    id: Any


@dataclass
class Raw:
    """Instructions as they are."""

    instructions: bytes


class Pickler(pickle._Pickler):  # type: ignore[misc]
    """Python's pickler, which can also write the names of things that are not installed."""

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if isinstance(obj, Raw):
            self.write(obj.instructions)
        elif isinstance(obj, Global):
            self.write(f"c{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, (Call, Build)):
            first, second = vars(obj).values()
            self.save(first)
            self.save(second)
            self.write(b"R" if isinstance(obj, Call) else b"b")
        elif isinstance(obj, Persistent):
            self.save(obj.id)
            self.write(b"Q")
        else:
            super().save(obj)


def pickled(value: Any, protocol: int = 2) -> bytes:
    stream = io.BytesIO()
    Pickler(stream, protocol).dump(value)
    return stream.getvalue()


KINDS = {
    "float16": "Half",
    "float32": "Float",
    "float64": "Double",
    "bfloat16": "BFloat16",
    "int64": "Long",
    "int32": "Int",
    "int16": "Short",
    "int8": "Char",
    "uint8": "Byte",
    "bool": "Bool",
}


def storage(key: str, count: Any, kind: str = "float16", *view: Any) -> Persistent:
    return Persistent(("storage", Global("torch", f"{KINDS[kind]}Storage"), key, "cpu", count, *view))


def tensor(where: Any, size: Any, stride: Any = None, offset: Any = 0) -> Call:
    """A call of torch._utils._rebuild_tensor_v2."""
    if stride is None:
        stride = tuple(int(np.prod(size[i + 1 :])) for i in range(len(size)))
    hooks = Call(Global("collections", "OrderedDict"), ())
    return Call(Global("torch._utils", "_rebuild_tensor_v2"), (where, offset, size, stride, False, hooks))


def described(weights: dict[str, np.ndarray], *view: Any) -> dict[str, Call]:
    """Tensors that lie one in each storage, in order."""
    return {
        name: tensor(storage(str(key), array.size, array.dtype.name, *view), array.shape)
        for key, (name, array) in enumerate(weights.items())
    }


def contents(weights: dict[str, np.ndarray]) -> dict[str, bytes]:
    return {str(key): array.tobytes() for key, array in enumerate(weights.values())}


# --- containers ------------------------------------------------------------------------------------------------------


def zip_form(
    value: Any, storages: dict[str, bytes], top: str = "archive", byteorder: bytes | None = b"little", **options: Any
) -> bytes:
    """torch.save's zip form."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", **options) as archive:
        archive.writestr(f"{top}/data.pkl", value if isinstance(value, bytes) else pickled(value))
        if byteorder is not None:
            archive.writestr(f"{top}/byteorder", byteorder)
        for key, numbers in storages.items():
            archive.writestr(f"{top}/data/{key}", numbers)
        archive.writestr(f"{top}/version", "3\n")
    return stream.getvalue()


def legacy_form(value: Any, storages: dict[str, tuple[int, bytes]], keys: Any = None, little: bool = True) -> bytes:
    """torch.save's legacy form; a storage is its count and its numbers."""
    system = {"protocol_version": 1001, "little_endian": little, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    parts = [0x1950A86A20F9469CFC6C, 1001, system, value, sorted(storages) if keys is None else keys]
    numbers = b"".join(struct.pack("<q", count) + data for _, (count, data) in sorted(storages.items()))
    return b"".join(part if isinstance(part, bytes) else pickled(part) for part in parts) + numbers


def official(weights: dict[str, np.ndarray], dims: dict[str, int] | None = DIMS) -> dict[str, Any]:
    return {"dims": dims, "model_state_dict": described(weights)}


def official_zip(weights: dict[str, np.ndarray], dims: dict[str, int] = DIMS, **options: Any) -> bytes:
    return zip_form(official(weights, dims), contents(weights), **options)


def official_legacy(weights: dict[str, np.ndarray], dims: dict[str, int] = DIMS) -> bytes:
    storages = {str(key): (array.size, array.tobytes()) for key, array in enumerate(weights.values())}
    return legacy_form({"dims": dims, "model_state_dict": described(weights, None)}, storages)


SAFETENSORS = {"float16": "F16", "float32": "F32", "float64": "F64", "int8": "I8", "bfloat16": "BF16"}


def safetensors(weights: dict[str, np.ndarray], metadata: dict[str, str] | None = None, **kinds: str) -> bytes:
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": metadata}
    at = 0
    for name, array in weights.items():
        kind = kinds.get("dtype", SAFETENSORS.get(array.dtype.name, ""))
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [at, at + array.nbytes]}
        at += array.nbytes
    return with_header(header, b"".join(array.tobytes() for array in weights.values()))


def with_header(header: Any, body: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def bfloat16(array: np.ndarray) -> np.ndarray:
    """The upper halves of float32 numbers."""
    return (array.astype(np.float32).view(np.uint32) >> 16).astype("<u2")


# --- ggml ------------------------------------------------------------------------------------------------------------

GGML_HEADER = ["n_vocab", "n_audio_ctx", "n_audio_state", "n_audio_head", "n_audio_layer"]
GGML_HEADER += ["n_text_ctx", "n_text_state", "n_text_head", "n_text_layer", "n_mels"]


def ggml_start(dims: dict[str, int] = DIMS, kind: int = 1) -> bytes:
    sizes = struct.pack("<11i", *(dims[name] for name in GGML_HEADER), kind)
    mels = struct.pack("<2i", 5, 201) + np.zeros((5, 201), "<f4").tobytes()
    tokens = [b"!", b"", b"the"]
    vocabulary = b"".join(struct.pack("<i", len(token)) + token for token in tokens)
    return b"lmgg" + sizes + mels + struct.pack("<i", len(tokens)) + vocabulary


def ggml_tensor(name: str, kind: int, shape: tuple[int, ...], numbers: bytes) -> bytes:
    head = struct.pack("<3i", len(shape), len(name), kind) + struct.pack(f"<{len(shape)}i", *shape[::-1])
    return head + name.encode() + numbers


def ggml(weights: dict[str, np.ndarray], half: bool = True, dims: dict[str, int] = DIMS) -> bytes:
    """A file as whisper.cpp's converter writes it: vectors and tables float32, the rest float16 if `half`."""
    parts = [ggml_start(dims, kind=int(half))]
    for name, array in weights.items():
        single = not half or array.ndim < 2 or name.endswith("positional_embedding")
        shape = (array.size, 1) if name in ("encoder.conv1.bias", "encoder.conv2.bias") else array.shape
        parts.append(ggml_tensor(name, int(not single), shape, array.astype("<f4" if single else "<f2").tobytes()))
    return b"".join(parts)


# --- Hugging Face ----------------------------------------------------------------------------------------------------

HF_PARTS = {
    "cross_attn.query": "encoder_attn.q_proj",
    "cross_attn.key": "encoder_attn.k_proj",
    "cross_attn.value": "encoder_attn.v_proj",
    "cross_attn.out": "encoder_attn.out_proj",
    "cross_attn_ln": "encoder_attn_layer_norm",
    "attn.query": "self_attn.q_proj",
    "attn.key": "self_attn.k_proj",
    "attn.value": "self_attn.v_proj",
    "attn.out": "self_attn.out_proj",
    "attn_ln": "self_attn_layer_norm",
    "mlp.0": "fc1",
    "mlp.2": "fc2",
    "mlp_ln": "final_layer_norm",
}


def hf_name(name: str) -> str:
    """openai-whisper's name as transformers spells it."""
    pieces = name.split(".")
    if pieces[1] == "blocks":
        part = ".".join(pieces[3:-1])
        return f"model.{pieces[0]}.layers.{pieces[2]}.{HF_PARTS[part]}.{pieces[-1]}"
    whole = {
        "positional_embedding": "embed_positions.weight",
        "token_embedding.weight": "embed_tokens.weight",
        "ln_post.weight": "layer_norm.weight",
        "ln_post.bias": "layer_norm.bias",
        "ln.weight": "layer_norm.weight",
        "ln.bias": "layer_norm.bias",
    }
    rest = ".".join(pieces[1:])
    return f"model.{pieces[0]}.{whole.get(rest, rest)}"


HF_CONFIG = {
    "model_type": "whisper",
    "num_mel_bins": DIMS["n_mels"],
    "max_source_positions": DIMS["n_audio_ctx"],
    "d_model": DIMS["n_audio_state"],
    "encoder_attention_heads": DIMS["n_audio_head"],
    "encoder_layers": DIMS["n_audio_layer"],
    "vocab_size": DIMS["n_vocab"],
    "max_target_positions": DIMS["n_text_ctx"],
    "decoder_attention_heads": DIMS["n_text_head"],
    "decoder_layers": DIMS["n_text_layer"],
    "activation_function": "gelu",
}


def hf_weights(dtype: str = "float32") -> dict[str, np.ndarray]:
    return {hf_name(name): array for name, array in random_weights(dtype).items()}


def hf_folder(folder: Path, files: dict[str, Any], config: Any = HF_CONFIG) -> Path:
    """A folder with a config.json and the given files: bytes, or a value for JSON."""
    folder.mkdir()
    for name, content in {"config.json": config, **files}.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return folder


# --- CTranslate2 ------------------------------------------------------------------------------------------------------

CT2_TYPES = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4, "bfloat16": 5}
CT2_STACKS = {
    "attn.query": ("self_attention/linear_0", ("attn.query", "attn.key", "attn.value")),
    "cross_attn.key": ("attention/linear_1", ("cross_attn.key", "cross_attn.value")),
}
CT2_PARTS = {
    "attn_ln": "self_attention/layer_norm",
    "attn.out": "self_attention/linear_1",
    "cross_attn_ln": "attention/layer_norm",
    "cross_attn.query": "attention/linear_0",
    "cross_attn.out": "attention/linear_2",
    "mlp_ln": "ffn/layer_norm",
    "mlp.0": "ffn/linear_0",
    "mlp.2": "ffn/linear_1",
}
CT2_WHOLE = {
    "encoder.conv1": "encoder/conv1",
    "encoder.conv2": "encoder/conv2",
    "encoder.ln_post": "encoder/layer_norm",
    "decoder.ln": "decoder/layer_norm",
    "decoder.token_embedding": "decoder/embeddings",
}


def ct2_variables(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """OpenAI's weights under CTranslate2's names, projections stacked, keys with a bias of zeros."""
    found: dict[str, np.ndarray] = {}
    for name, array in weights.items():
        if name.endswith("positional_embedding"):
            found[f"{name.split('.')[0]}/position_encodings/encodings"] = array
            continue
        module, _, kind = name.rpartition(".")
        if "blocks" not in name:
            found[f"{CT2_WHOLE[module]}/{ct2_kind(module, kind)}"] = array
            continue
        half, _, i, part = module.split(".", 3)
        if part in CT2_STACKS:
            theirs, parts = CT2_STACKS[part]
            for ending in ("weight", "bias"):
                stack = [ct2_part(weights, f"{half}.blocks.{i}.{one}", ending) for one in parts]
                found[f"{half}/layer_{i}/{theirs}/{ending}"] = np.concatenate(stack)
        elif part in CT2_PARTS:
            found[f"{half}/layer_{i}/{CT2_PARTS[part]}/{ct2_kind(part, kind)}"] = array
    return found


def ct2_part(weights: dict[str, np.ndarray], module: str, ending: str) -> np.ndarray:
    array = weights.get(f"{module}.{ending}")
    return np.zeros(len(weights[f"{module}.weight"]), weights[f"{module}.weight"].dtype) if array is None else array


def ct2_kind(module: str, kind: str) -> str:
    return {"weight": "gamma", "bias": "beta"}[kind] if module.endswith(("_ln", "ln_post", ".ln")) else kind


def ct2_string(text: str) -> bytes:
    return struct.pack("<H", len(text.encode()) + 1) + text.encode() + b"\0"


def ct2_variable(name: str, array: np.ndarray, kind: str = "", version: int = 6) -> bytes:
    kind = kind or array.dtype.name
    head = ct2_string(name) + struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
    if version == 3:
        return head + struct.pack("<BI", array.itemsize, array.size) + array.tobytes()
    return head + struct.pack("<BI", CT2_TYPES[kind], array.nbytes) + array.tobytes()


TIED = {"decoder/projection/weight": "decoder/embeddings/weight"}


def ct2(
    variables: Tensors, version: int = 6, kind: str = "", spec: str = "WhisperSpec", aliases: dict[str, str] = TIED
) -> bytes:
    """A whole `model.bin`; arrays of `kind` bfloat16 come as uint16."""
    body = [
        ct2_variable(name, array, kind if array.dtype == np.uint16 else "", version)
        for name, array in variables.items()
    ]
    pairs = b"".join(ct2_string(alias) + ct2_string(target) for alias, target in aliases.items())
    head = struct.pack("<I", version) + ct2_string(spec) + struct.pack("<II", 3, len(body))
    return head + b"".join(body) + struct.pack("<I", len(aliases)) + pairs


def ct2_integers(variables: Tensors, dtype: str, rows: bool) -> Tensors:
    """Matrices as integers with a scale for each row, or one for all."""
    found = dict(variables)
    for name, array in variables.items():
        if name.endswith("/weight") and array.ndim == 2:
            wide = array.astype(np.float32)
            scale = 127 / np.abs(wide).max(axis=1) if rows else np.array(1000.0, np.float32)
            found[name] = np.rint(wide * (scale[:, None] if rows else scale)).astype(dtype)
            found[f"{name}_scale"] = scale.astype(np.float32)
    return found


def ct2_folder(folder: Path, data: bytes, heads: list[list[int]] | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.bin").write_bytes(data)
    (folder / "config.json").write_text(json.dumps({"alignment_heads": heads or [[0, 0], [1, 0]]}))
    return folder


# --- MLX -------------------------------------------------------------------------------------------------------------


def mlx_weights(dtype: str = "float16", weights: Tensors | None = None) -> Tensors:
    """As mlx-examples' convert.py writes them: other convolutions, other names in the mlp, no encoder positions."""
    found = {}
    for name, array in (random_weights() if weights is None else weights).items():
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
