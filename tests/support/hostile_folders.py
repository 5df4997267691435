"""Broken and malicious folders of CTranslate2, MLX and Hugging Face, each with a piece of the sentence that refuses it.

`CASES` maps a name to a function that makes the files (name -> bytes) and a regular expression for the message.
"""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from checkpoint_files import (
    DIMS,
    HF_CONFIG,
    ct2,
    ct2_string,
    ct2_variables,
    hf_weights,
    mlx_weights,
    npz,
    random_weights,
    safetensors,
)

Files = dict[str, bytes]
CASES: dict[str, tuple[Callable[[], Files], str]] = {}
WEIGHTS = random_weights()
VARIABLES = ct2_variables(WEIGHTS)
GOOD = safetensors(hf_weights())


NO_FILES: dict[str, Callable[[Path], Path]] = {}  # name -> what writes a folder, of which a part is no regular file


def write(folder: Path, files: Files) -> None:
    """Lay files into a new folder."""
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)


def made(content: Callable[[], bytes] | bytes) -> bytes:
    return content() if callable(content) else content


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


def with_variable(name: str, array: np.ndarray) -> bytes:
    return ct2({**VARIABLES, name: array})


def without(name: str) -> bytes:
    return ct2({other: array for other, array in VARIABLES.items() if other != name})


QUERY = "encoder/layer_0/self_attention/linear_0"
INTEGERS = np.ones((64, 64), np.int8)
HEADER = struct.pack("<I", 6) + ct2_string("WhisperSpec") + struct.pack("<I", 3)
CTRANSLATE2: dict[str, tuple[Callable[[], bytes] | bytes, str]] = {
    "empty": (b"", "empty"),
    "three bytes": (b"abc", "truncated"),
    "version 2": (ct2(VARIABLES, 2), "binary version 2"),
    "version 7": (ct2(VARIABLES, 7), "binary version 7"),
    "version of a PyTorch file": (b"PK\x03\x04" + bytes(100), "binary version"),
    "another model": (ct2(VARIABLES, spec="TransformerSpec"), "TransformerSpec"),
    "no name": (struct.pack("<IH", 6, 0) + bytes(50), "has 0 bytes"),
    "endless name": (struct.pack("<IH", 6, 65535) + bytes(70000), "65535 bytes"),
    "four billion tensors": (HEADER + struct.pack("<I", 2**32 - 1), "number of tensors is 4294967295"),
    "tensors that are not there": (HEADER + struct.pack("<I", 5), "truncated"),
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
        "bytes for|truncated",
    ),
    "cut in the middle": (lambda: ct2(VARIABLES)[:100_000], "truncated"),
    "cut before the aliases": (lambda: ct2(VARIABLES)[:-60], "truncated"),
    "bytes at the end": (lambda: ct2(VARIABLES) + b"more", "4 bytes follow"),
    "an alias of nothing": (lambda: without("decoder/embeddings/weight"), "which is not there"),
    "twice the same": (
        lambda: ct2(VARIABLES).replace(ct2_string("encoder/conv2/bias"), ct2_string("encoder/conv1/bias")),
        "appears twice",
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
        "not a positive number",
    ),
    "scales of other rows": (
        lambda: ct2(
            {
                **VARIABLES,
                "encoder/layer_0/self_attention/linear_1/weight": INTEGERS,
                "encoder/layer_0/self_attention/linear_1/weight_scale": np.ones(63, np.float32),
            }
        ),
        "matching scales",
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


MLX: dict[str, tuple[Callable[[], bytes] | bytes, str]] = {
    "nothing in it": (archive(), "no data.pkl|no Whisper|no checkpoint"),
    "objects": (archive(x=array_file(header(descr="'|O'"), bytes(8))), "not numbers: refused"),
    "texts": (archive(x=array_file(header(descr="'<U4'"), bytes(16))), "not numbers: refused"),
    "records": (archive(x=array_file(header(descr="[('a', '<f4')]"), bytes(4))), "not numbers: refused"),
    "a call in the header": (archive(x=array_file("__import__('os').system('x')")), "no readable header"),
    "a deep header": (archive(x=array_file("(" * 100)), "no readable header"),
    "no header": (archive(x=b"abc"), "no readable header"),
    "another version": (archive(x=array_file(header(), bytes(4), b"\x09\x00")), "no readable header"),
    "a shape of 2^60": (archive(x=array_file(header("(2**60,)"))), "no readable header"),
    "a large shape": (archive(x=array_file(header("(1152921504606846976,)"))), "impossible shape|truncated"),
    "a negative shape": (archive(x=array_file(header("(-1,)"))), "impossible shape|no readable header"),
    "a true shape": (archive(x=array_file(header("(True,)"), bytes(4))), "impossible shape|no readable header"),
    "many axes": (archive(x=array_file(header("(1,1,1,1,1,1,1,1,1,1)"), bytes(4))), "impossible shape"),
    "cut short": (archive(x=array_file(header("(5,)"), bytes(4))), "truncated"),
    "bytes left over": (archive(x=array_file(header(), bytes(400))), "it is broken"),
    "a pickle beside it": (
        lambda: npz(mlx_weights()).replace(b"encoder.ln_post.bias.npy", b"encoder.ln_post.bias.pkl"),
        "is not a .npy file",
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
MLX_SAFETENSORS: dict[str, tuple[Callable[[], bytes] | bytes, str]] = {
    "a pickle": (b"\x80\x02cos\nsystem\n.", "no checkpoint"),
    "a header of 2^60 bytes": (struct.pack("<Q", 2**60) + b"{}" * 100, "claims"),
    "numbers that are not there": (lambda: safetensors(mlx_weights())[:-1000], "truncated|broken"),
    "a missing tensor": (
        lambda: safetensors({n: a for n, a in mlx_weights().items() if n != "encoder.conv2.bias"}),
        "missing: encoder.conv2.bias",
    ),
    "quantised without words": (
        lambda: safetensors(mlx_weights() | {"decoder.blocks.0.attn.out.scales": np.ones((64, 2), np.float16)}),
        "quantised in",
    ),
}
MLX_CONFIGS: dict[str, tuple[Any, str]] = {
    "a width of a million": ({**DIMS, "n_audio_state": 2**20, "n_text_state": 2**20}, "do not fit|misshapen"),
    "a million positions": ({**DIMS, "n_audio_ctx": 2**20}, "1048576 positions of 64 numbers do not fit"),
    "a thousand layers": ({**DIMS, "n_text_layer": 1024}, "missing"),
    "a size that is a text": ({**DIMS, "n_vocab": "17"}, "n_vocab is a str"),
    "five heads": ({**DIMS, "n_text_head": 5}, "5 heads do not divide"),
    "two widths": ({**DIMS, "n_text_state": 128}, "both have one width"),
}
HUGGINGFACE: dict[str, tuple[dict[str, Any], str]] = {
    "no weights": ({}, "neither model.safetensors nor pytorch_model.bin"),
    "adapter": ({"adapter_config.json": {}}, "LoRA adapter of another model"),
    "no config": ({"config.json": b""}, "config.json is not JSON"),
    "config is a list": ({"config.json": []}, "config.json is not a JSON object"),
    "deep config": ({"config.json": b"[" * 100_000}, "config.json is not JSON"),
    "endless config": ({"config.json": b" " * 10_000_001}, "cannot be a settings file"),
    "other model": ({"config.json": {"model_type": "bert"}}, "not that of a Whisper model"),
    "size missing": ({"config.json": {"model_type": "whisper"}, "model.safetensors": GOOD}, "n_mels is a NoneType"),
    "size negative": ({"config.json": {**HF_CONFIG, "vocab_size": -1}, "model.safetensors": GOOD}, "n_vocab is -1"),
    "size huge": ({"config.json": {**HF_CONFIG, "decoder_layers": 10**9}, "model.safetensors": GOOD}, "n_text_layer"),
    "other activation": ({"config.json": {**HF_CONFIG, "activation_function": "relu"}}, "another activation"),
    "path in index": (
        {"model.safetensors.index.json": {"weight_map": {"x": "../other.safetensors"}}},
        "not a plain name",
    ),
    "absolute path": ({"model.safetensors.index.json": {"weight_map": {"x": "/etc/passwd"}}}, "not a plain name"),
    "hidden file": ({"model.safetensors.index.json": {"weight_map": {"x": ".."}}}, "not a plain name"),
    "index of numbers": ({"model.safetensors.index.json": {"weight_map": {"x": 3}}}, "no weight_map"),
    "index of nothing": ({"model.safetensors.index.json": {}}, "no weight_map"),
    "part missing": ({"model.safetensors.index.json": {"weight_map": {"x": "a.safetensors"}}}, "no file"),
    "same tensor twice": (
        {
            "model.safetensors.index.json": {"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}},
            "a.safetensors": GOOD,
            "b.safetensors": GOOD,
        },
        "is in two of the files",
    ),
    "pickle in safetensors' clothes": ({"model.safetensors": b"\x80\x02cos\nsystem\n."}, "no checkpoint"),
}


def as_bytes(content: Any) -> bytes:
    return content if isinstance(content, bytes) else json.dumps(content).encode()


def ctranslate2_files(content: Callable[[], bytes] | bytes) -> Files:
    return {"model.bin": made(content), "config.json": b'{"alignment_heads": [[0, 0], [1, 0]]}'}


def mlx_files(content: Callable[[], bytes] | bytes, file: str = "weights.npz", config: Any = DIMS) -> Files:
    return {file: made(content), "config.json": as_bytes(config)}


def huggingface_files(files: dict[str, Any]) -> Files:
    return {name: as_bytes(content) for name, content in {"config.json": HF_CONFIG, **files}.items()}


def half_quantised(quantization: Any) -> Files:
    tensors = mlx_weights() | {"decoder.blocks.0.attn.out.scales": np.ones((64, 2), np.float16)}
    return mlx_files(npz(tensors), config={**DIMS, "quantization": quantization})


def fill() -> None:
    """Put every table above into `CASES`."""
    for name, (content, message) in CTRANSLATE2.items():
        CASES[f"CTranslate2: {name}"] = (lambda content=content: ctranslate2_files(content)), message
    for name, (content, message) in MLX.items():
        CASES[f"MLX: {name}"] = (lambda content=content: mlx_files(content)), message
    for name, (content, message) in MLX_SAFETENSORS.items():
        CASES[f"MLX, safetensors: {name}"] = (lambda c=content: mlx_files(c, "model.safetensors")), message
    for name, (config, message) in MLX_CONFIGS.items():
        CASES[f"MLX, config: {name}"] = (lambda c=config: mlx_files(lambda: npz(mlx_weights()), config=c)), message
    for quantization, message in [
        ({"bits": 3}, "3"),
        ({"bits": "4"}, "quantised in a way"),
        ([], "quantised in a way"),
        ({"bits": 4}, "lacks a part"),
        ({"bits": 8}, "lacks a part"),
    ]:
        CASES[f"MLX, quantization: {quantization}"] = (lambda q=quantization: half_quantised(q)), message
    for name, (files, message) in HUGGINGFACE.items():
        CASES[f"Hugging Face: {name}"] = (lambda files=files: huggingface_files(files)), message
    for form, whole in (("CTranslate2", ct2(VARIABLES)), ("MLX", npz(mlx_weights()))):
        make = ctranslate2_files if form == "CTranslate2" else mlx_files
        for place in range(1, 31):
            cut_at = len(whole) * place // 31
            CASES[f"{form}: cut after {cut_at} bytes"] = (lambda m=make, d=whole[:cut_at]: m(d)), ""


fill()


# --- pipes, which nobody writes to, and links to a device that never ends --------------------------------------------


def without_end(folder: Path, files: Files, name: str, is_pipe: bool) -> Path:
    """Lay files into a new folder, except one of them, which a pipe or a link stands for."""
    write(folder, {other: content for other, content in files.items() if other != name})
    os.mkfifo(folder / name) if is_pipe else (folder / name).symlink_to("/dev/zero")
    return folder


WHOLE: dict[str, Callable[[], Files]] = {
    "Hugging Face": lambda: huggingface_files({"model.safetensors": GOOD}),
    "Hugging Face, PyTorch": lambda: huggingface_files({"pytorch_model.bin": GOOD}),
    "CTranslate2": lambda: ctranslate2_files(lambda: ct2(VARIABLES)),
    "MLX": lambda: mlx_files(lambda: npz(mlx_weights())),
}
PARTS = {
    "Hugging Face": ("config.json", "generation_config.json", "model.safetensors", "model.safetensors.index.json"),
    "Hugging Face, PyTorch": ("pytorch_model.bin", "pytorch_model.bin.index.json"),
    "CTranslate2": ("config.json", "model.bin"),
    "MLX": ("config.json", "weights.npz"),
}
for form, names in PARTS.items():
    for name in names:
        for is_pipe in (False, True) if hasattr(os, "mkfifo") else ():
            NO_FILES[f"{form}: {name} is {'a pipe' if is_pipe else '/dev/zero'}"] = (
                lambda folder, f=form, n=name, p=is_pipe: without_end(folder, WHOLE[f](), n, p)  # type: ignore[misc]
            )
