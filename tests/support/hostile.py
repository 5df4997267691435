"""Broken and malicious files, each with a piece of the sentence that refuses it.

`CASES` maps a name to a function that makes the bytes and a regular expression for the message. Files are made when
they are asked for, since some are large.
"""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
from checkpoint_files import (
    DIMS,
    Build,
    Call,
    Global,
    Persistent,
    Raw,
    contents,
    described,
    ggml,
    ggml_start,
    ggml_tensor,
    legacy_form,
    official,
    official_legacy,
    official_zip,
    pickled,
    random_weights,
    safetensors,
    storage,
    tensor,
    with_header,
    zip_form,
)

Case = tuple[Callable[[], bytes], str]
CASES: dict[str, Case] = {}
FIRED: list[str] = []
WEIGHTS = random_weights()


def fire(*_: Any) -> str:
    """What a malicious pickle would run."""
    FIRED.append("fired")
    return "fired"


def add(name: str, make: Callable[[], bytes] | bytes, message: str) -> None:
    assert name not in CASES
    CASES[name] = (make if callable(make) else (lambda: make)), message


def with_part(value: Any) -> bytes:
    """A whole checkpoint with one more thing in its pickle."""
    return zip_form({**official(WEIGHTS), "more": value}, contents(WEIGHTS))


def with_tensor(value: Any, storages: dict[str, bytes] | None = None) -> bytes:
    """A checkpoint with one strange tensor among good ones."""
    weights = {**described(WEIGHTS), "decoder.ln.bias": value}
    return zip_form({"dims": DIMS, "model_state_dict": weights}, contents(WEIGHTS) | (storages or {}))


def with_dims(**changes: Any) -> bytes:
    return zip_form(official(WEIGHTS, {**DIMS, **changes}), contents(WEIGHTS))


# --- pickles that want to run something ------------------------------------------------------------------------------

FIRE = Call(Global("hostile", "fire"), ())
GLOBALS_WANTED = [
    ("os", "system"),
    ("posix", "system"),
    ("nt", "system"),
    ("subprocess", "Popen"),
    ("builtins", "eval"),
    ("builtins", "exec"),
    ("builtins", "getattr"),
    ("__builtin__", "apply"),
    ("importlib", "import_module"),
    ("runpy", "_run_code"),
    ("pickle", "loads"),
    ("torch", "load"),
    ("torch._utils", "_rebuild_sparse_tensor"),
    ("torch.storage", "_load_from_bytes"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("operator", "attrgetter"),
    ("collections", "OrderedDict.__init__"),
    ("npwhisper.checkpoint", "read_checkpoint"),
]
for module, name in GLOBALS_WANTED:
    call = Call(Global(module, name), ("touch owned",))
    add(f"calls {module}.{name}", lambda call=call: with_part(call), rf"names '{module}\.{name}'")  # type: ignore[misc]

add("a name with a backslash", lambda: with_part(Global("torch", "S\\Kize")), r"names 'torch\.S")
add("a name that is not UTF-8", lambda: with_part(Raw(b"ctorch\n\xff\xfe\n")), "truncated or broken")
add("names a global without calling it", lambda: with_part(Global("hostile", "fire")), r"hostile\.fire")
add(
    "names a global by text",
    lambda: with_part(Raw(b"\x8c\x07hostile\x8c\x04fire\x93)R")),
    r"hostile\.fire",
)
add("names a global by number", lambda: with_part(Raw(b"K\x01K\x02\x93")), "not a string")
add("hides the call in the state of BUILD", lambda: with_part(Build({}, FIRE)), r"hostile\.fire")
add("hides the call in a persistent id", lambda: with_part(Persistent(FIRE)), r"hostile\.fire")
add("hides the call among the hooks", lambda: with_tensor(Call(Global("torch", "Size"), (FIRE,))), r"hostile\.fire")
add("calls by INST", lambda: with_part(Raw(b"(ihostile\nfire\n")), "uses INST")
add("calls by OBJ", lambda: with_part(Raw(b"(" + b"chostile\nfire\n" + b"o")), r"hostile\.fire")
add("calls by OBJ an allowed name", lambda: with_part(Raw(b"(ctorch\nSize\no")), "uses OBJ")
add("calls by NEWOBJ", lambda: with_part(Raw(b"ctorch\nSize\n)\x81")), "uses NEWOBJ")
add("calls by NEWOBJ_EX", lambda: with_part(Raw(b"ctorch\nSize\n)}\x92")), "uses NEWOBJ_EX")
add("uses the extension registry", lambda: with_part(Raw(b"\x82\x01")), "uses EXT1")
add("uses an out-of-band buffer", lambda: with_part(Raw(b"\x97")), "uses NEXT_BUFFER")
add("persistent id as text", lambda: with_part(Raw(b"P0\n")), "uses PERSID")
add("calls a dict", lambda: with_part(Call({}, ())), "calls something that is not a function")
add("calls what a call gave", lambda: with_part(Call(Call(Global("torch", "Size"), ((),)), ())), "not a function")
add("calls a storage class", lambda: with_part(Call(Global("torch", "HalfStorage"), (5,))), "not a function")
add("calls a tensor", lambda: with_part(Call(tensor(storage("0", 4), (4,)), ())), "not a function")
add("calls with a list", lambda: with_part(Call(Global("torch", "Size"), [1])), "not a function")
add(
    "gives a function a new body",
    lambda: with_part(Call(Build(Global("torch._utils", "_rebuild_tensor_v2"), {"call": 1}), (1, 2))),
    "truncated or broken",
)
add("gives OrderedDict a factory", lambda: with_part(Call(Global("collections", "OrderedDict"), (1,))), "broken")

# --- pickles that are broken, or want to be large or slow ------------------------------------------------------------

add("empty pickle", lambda: zip_form(b"", {}), "truncated or broken")
add("pickle without an end", lambda: zip_form(b"\x80\x02}", {}), "truncated or broken")
add("only an end", lambda: zip_form(b".", {}), "truncated or broken")
add("unknown instruction", lambda: with_part(Raw(b"\xff")), "truncated or broken")
add("takes from an empty stack", lambda: zip_form(b"\x80\x02000.", {}), "truncated or broken")
add("tuple without a mark", lambda: zip_form(b"\x80\x02t.", {}), "truncated or broken")
add("remembers nothing", lambda: zip_form(b"\x80\x02q\x00.", {}), "truncated or broken")
add("recalls what was never remembered", lambda: with_part(Raw(b"j\xff\xff\xff\x7f")), "truncated or broken")
add("items of a list", lambda: with_part(Raw(b"]K\x01K\x02s")), "not a dict")
add("an odd number of items", lambda: with_part(Raw(b"}(K\x01K\x02K\x03u")), "not a dict")
add("appends to a dict", lambda: with_part(Raw(b"}K\x01a")), "not a list")
add("a tuple as a key", lambda: with_part({("a", "b"): 1}), "a tuple as key")
add("a key that takes for ever to hash", lambda: with_part(Raw(b"})" + b"q\x01h\x01\x86" * 60 + b"K\x00s")), "as key")
add("a text of 2**60 bytes", lambda: with_part(Raw(b"\x8d" + struct.pack("<Q", 2**60))), "truncated or broken")
add("a number of 2**31 bytes", lambda: with_part(Raw(b"\x8b" + struct.pack("<i", 2**31 - 1))), "truncated or broken")
add("a number of -1 bytes", lambda: with_part(Raw(b"\x8b" + struct.pack("<i", -1))), "truncated or broken")
add("a text that is not UTF-8", lambda: with_part(Raw(b"X\x02\x00\x00\x00\xff\xfe")), "truncated or broken")
add("a name without an end", lambda: zip_form(b"\x80\x02c" + b"a" * 10_000, {}), "names 'a{120}'")
add("a pickle over the limit", lambda: zip_form(b"\x80\x02" + b"N0" * 8_500_000 + b"}.", {}), "over 16000000 bytes")
add("remembers under a huge number, then ends", lambda: zip_form(b"}r\xff\xff\xff\x7f0.", {}), "truncated or broken")
add("dims a hundred tuples deep", lambda: with_dims(n_mels=Raw(b")" + b"q\x01h\x01\x86" * 100)), "n_mels is a tuple")
add("a dict that holds itself", lambda: zip_form(b"\x80\x02}q\x01X\x05\x00\x00\x00modelh\x01s.", {}), "no tensors")
add("a list", lambda: zip_form([1, 2], {}), "a list, not a state dict")
add("a number", lambda: zip_form(7, {}), "a int, not a state dict")
add("no tensors", lambda: zip_form({"model_state_dict": {"x": 1}}, {}), "no tensors")
add("no model", lambda: zip_form({"x": tensor(storage("0", 4), (4,))}, {"0": bytes(8)}), "no Whisper model")

# --- tensors that reach outside --------------------------------------------------------------------------------------

STORAGE = storage("15", 64)
TENSORS: dict[str, tuple[Any, str]] = {
    "size past the end": (tensor(STORAGE, (65,)), "element 64 of a storage of 64"),
    "offset past the end": (tensor(STORAGE, (64,), (1,), 1), "element 64 of a storage of 64"),
    "stride past the end": (tensor(STORAGE, (2, 32), (33, 1)), "element 64 of a storage of 64"),
    "huge offset": (tensor(STORAGE, (1,), (1,), 2**47), "element 140737488355328"),
    "huge stride": (tensor(STORAGE, (2,), (2**47,)), "element 140737488355328"),
    "offset beyond 64 bits": (tensor(STORAGE, (1,), (1,), 2**70), "counts"),
    "stride that wraps around": (tensor(STORAGE, (3,), (2**63,)), "counts"),
    "negative size": (tensor(STORAGE, (-1,), (1,)), "counts"),
    "negative stride": (tensor(STORAGE, (4,), (-1,), 3), "counts"),
    "negative offset": (tensor(STORAGE, (4,), (1,), -4), "counts"),
    "size as a float": (tensor(STORAGE, (4.0,), (1,)), "counts"),
    "size as a truth value": (tensor(STORAGE, (True,), (1,)), "counts"),
    "size as a text": (tensor(STORAGE, "64", (1,)), "counts"),
    "size as a list": (tensor(STORAGE, [64], (1,)), "counts"),
    "fewer strides than sizes": (tensor(STORAGE, (8, 8), (1,)), "2 sizes and 1 strides"),
    "a thousand axes": (tensor(STORAGE, (1,) * 1000, (1,) * 1000), "counts"),
    "an expansion to terabytes": (tensor(STORAGE, (2**40,), (0,)), "only .* bytes"),
    "an empty tensor of huge size": (tensor(STORAGE, (0, 2**47, 2**47), (1, 1, 1)), "no array can have the shape"),
    "storage not a storage": (tensor((1, 2), (4,)), "a storage and counts"),
    "storage a class": (tensor(Global("torch", "HalfStorage"), (4,)), "a storage and counts"),
    "storage count too large": (tensor(storage("15", 65), (64,)), "truncated or broken"),
    "storage count huge": (tensor(storage("15", 2**47), (64,)), "truncated or broken"),
    "storage count negative": (tensor(storage("15", -1), (64,)), "no type, key and count"),
    "storage count beyond 64 bits": (tensor(storage("15", 2**64), (64,)), "no type, key and count"),
    "storage wider than its bytes": (tensor(storage("15", 64, "float64"), (64,)), "truncated or broken"),
    "storage missing": (tensor(storage("999", 64), (64,)), "no storage '999'"),
    "storage key a path": (tensor(storage("../../data.pkl", 2), (2,)), "no storage '../../data.pkl'"),
    "storage key a number": (
        tensor(Persistent(("storage", Global("torch", "HalfStorage"), 15, "cpu", 64)), (64,)),
        "key",
    ),
    "storage type a function": (
        tensor(Persistent(("storage", Global("torch", "Size"), "15", "cpu", 64)), (64,)),
        "no type, key and count",
    ),
    "persistent id of another kind": (tensor(Persistent(("module", 1, 2, 3, 4)), (64,)), "as PyTorch does"),
    "persistent id too short": (tensor(Persistent(("storage",)), (64,)), "as PyTorch does"),
    "persistent id a text": (tensor(Persistent("storage"), (64,)), "as PyTorch does"),
    "view past the end": (tensor(storage("15", 64, "float16", ("v", 60, 5)), (5,)), "truncated or broken"),
    "view of nothing": (tensor(storage("15", 64, "float16", ("v",)), (5,)), "start and count"),
    "view that is negative": (tensor(storage("15", 64, "float16", ("v", -1, 5)), (5,)), "start and count"),
}
for name, (value, message) in TENSORS.items():
    add(f"tensor: {name}", lambda value=value: with_tensor(value), message)  # type: ignore[misc]


def one_storage_many_names() -> bytes:
    big = tensor(storage("big", 2**16), (2**16,))
    weights = {**described(WEIGHTS), **{f"x{i}": big for i in range(1000)}}
    return zip_form({"dims": DIMS, "model_state_dict": weights}, contents(WEIGHTS) | {"big": bytes(2**17)})


add("tensor: one storage under a thousand names", one_storage_many_names, "only .* bytes")

# --- dims, heads, weights --------------------------------------------------------------------------------------------

for name, changes, message in [
    ("negative", {"n_vocab": -5}, "n_vocab is -5"),
    ("zero", {"n_text_layer": 0}, "n_text_layer is 0"),
    ("huge", {"n_text_layer": 10**9}, "n_text_layer is 1000000000"),
    ("beyond all bounds", {"n_mels": 10**5000}, "n_mels is a int"),
    ("a truth value", {"n_audio_head": True}, "n_audio_head is a bool"),
    ("a text", {"n_mels": "80"}, "n_mels is a str"),
    ("one more", {"n_extra": 1}, "wrong: n_extra"),
    ("not the weights'", {"n_vocab": 18}, r"decoder\.token_embedding\.weight \(17, 64\) instead of \(18, 64\)"),
    ("more layers than weights", {"n_text_layer": 3}, r"missing: decoder\.blocks\.2"),
]:
    add(f"dims: {name}", lambda changes=changes: with_dims(**changes), message)  # type: ignore[misc]
add("dims: one missing", lambda: zip_form(official(WEIGHTS, {"n_mels": 5}), contents(WEIGHTS)), "wrong: n_audio_ctx")
add("dims: a list", lambda: zip_form(official(WEIGHTS, [5, 7]), contents(WEIGHTS)), "a list, not a mapping")  # type: ignore[arg-type]
for name, heads in [("outside", [[2, 0]]), ("negative", [[0, -1]]), ("a number", 3), ("triples", [[0, 0, 0]])]:
    value = {**official(WEIGHTS), "alignment_heads": heads}
    add(f"heads: {name}", lambda value=value: zip_form(value, contents(WEIGHTS)), "alignment head")  # type: ignore[misc]
for name, tensor_name, bad, dtype in [
    ("NaN in a matrix", "decoder.blocks.0.attn.key.weight", np.nan, "float16"),
    ("infinity in a matrix", "encoder.conv2.weight", np.inf, "float16"),
    ("NaN in a vector", "encoder.ln_post.bias", np.nan, "float32"),
    ("too large for float32", "encoder.ln_post.bias", 1e300, "float64"),
]:

    def spoiled(tensor_name: str = tensor_name, bad: float = bad, dtype: str = dtype) -> bytes:
        weights = random_weights(dtype)
        weights[tensor_name].flat[1] = bad
        return official_zip(weights)

    add(f"weights: {name}", spoiled, rf"{tensor_name} holds numbers that are not finite")

# --- zip archives ----------------------------------------------------------------------------------------------------

ZIP = official_zip(WEIGHTS)
DIRECTORY = struct.unpack_from("<I", ZIP, ZIP.rfind(b"PK\x05\x06") + 16)[0]


def patched(data: bytes, at: int, form: str, *values: int) -> bytes:
    changed = bytearray(data)
    struct.pack_into(form, changed, at if at >= 0 else len(data) + at, *values)
    return bytes(changed)


def doubled() -> bytes:
    """Two entries of one name, as a careful reader and a careless one would see different files."""
    stream = io.BytesIO(ZIP)
    with zipfile.ZipFile(stream, "a") as archive:
        entry = zipfile.ZipInfo("archive/data.pkx")
        archive.writestr(entry, b"\x80\x02}.")
    return stream.getvalue().replace(b"archive/data.pkx", b"archive/data.pkl")


def bomb() -> bytes:
    weights = {**described(WEIGHTS), "x": tensor(storage("bomb", 2**27), (2**27,))}
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickled({"dims": DIMS, "model_state_dict": weights}))
        with archive.open("archive/data/bomb", "w") as entry:
            for _ in range(2**8):
                entry.write(bytes(2**20))
    return stream.getvalue()


def deflated_liar(size: int) -> bytes:
    """A compressed entry that says it has another size."""
    data = bytearray(official_zip(WEIGHTS, compression=zipfile.ZIP_DEFLATED))
    struct.pack_into("<I", data, data.rfind(b"PK\x01\x02", 0, data.rfind(b"archive/data/5")) + 24, size)
    return bytes(data)


def many_entries() -> bytes:
    record = b"PK\x01\x02" + bytes(24) + struct.pack("<H", 5) + bytes(16)
    directory = b"".join(record + f"{i:05}".encode() for i in range(9_000))
    end = b"PK\x05\x06" + struct.pack("<4H2IH", 0, 0, 9_000, 9_000, len(directory), 4, 0)
    return b"PK\x03\x04" + directory + end


add("zip: two entries of one name", doubled, "two entries 'archive/data.pkl'")
add("zip: two data.pkl", lambda: ZIP.replace(b"archive/version", b"arch/a/data.pkl"), "no data.pkl")
add("zip: a zip bomb", bomb, "refused as a zip bomb")
add("zip: entry larger than it says", lambda: deflated_liar(7), "does not have its 7 bytes")
add("zip: entry smaller than it says", lambda: deflated_liar(500_000), "does not have its 500000 bytes")
add("zip: no checkpoint", lambda: zip_form(b"N.", {}, top="a/b"), "no data.pkl")
add("zip: numpy's", lambda: (lambda s: (np.savez(s, x=np.ones(3)), s.getvalue())[1])(io.BytesIO()), "no Whisper model")
add("zip: an empty archive", b"PK\x03\x04PK\x05\x06" + bytes(18), "no data.pkl")
add("zip: only a start", b"PK\x03\x04" * 9, "no readable directory")
add("zip: encrypted", patched(ZIP, DIRECTORY + 8, "<H", 1), "encrypted")
add("zip: bzip2", lambda: official_zip(WEIGHTS, compression=zipfile.ZIP_BZIP2), "oddly compressed")
add("zip: stored in fewer bytes", patched(ZIP, DIRECTORY + 20, "<I", 5), "broken")
add("zip: entry beyond the end", patched(ZIP, DIRECTORY + 20, "<II", 10**9, 10**9), "over 16000000|truncated or broken")
add("zip: header beyond the end", patched(ZIP, DIRECTORY + 42, "<I", 10**9), "truncated or broken")
add("zip: header elsewhere", patched(ZIP, DIRECTORY + 42, "<I", 3), "does not begin where the directory says")
add("zip: local name beyond the end", patched(ZIP, ZIP.find(b"PK\x03\x04", 9) + 26, "<H", 0xFFFF), "")
add("zip: 64-bit size missing", patched(ZIP, DIRECTORY + 20, "<II", 0xFFFFFFFF, 0xFFFFFFFF), "truncated or broken")
add("zip: 64-bit directory missing", patched(ZIP, -6, "<I", 0xFFFFFFFF), "truncated or broken")
add("zip: directory beyond the end", patched(ZIP, -6, "<I", 0xFFFFFFF0), "truncated or broken")
add("zip: directory elsewhere", patched(ZIP, -6, "<I", 7), "directory is truncated or broken|truncated or broken")
add("zip: directory huge", patched(ZIP, -10, "<I", 0xFFFFFFF0), "no readable directory")
add("zip: more entries than there are", patched(ZIP, -12, "<H", 999), "and claims 999")
add("zip: fewer entries than there are", patched(ZIP, -12, "<H", 4), "and claims 4")
add("zip: no entries", patched(ZIP, -12, "<H", 0), "and claims 0")
add("zip: nine thousand entries", many_entries, "no data.pkl")
add("zip: byte order nonsense", lambda: official_zip(WEIGHTS, byteorder=b"middle"), "neither little nor big")

# --- legacy files ----------------------------------------------------------------------------------------------------

LEGACY = official_legacy(WEIGHTS)
ONE = {"x": tensor(storage("0", 4, "float16", None), (4,))}


def legacy(value: Any = ONE, count: int = 4, **options: Any) -> bytes:
    return legacy_form(value, {"0": (count, bytes(8))}, **options)


add("legacy: another protocol", LEGACY.replace(b"M\xe9\x03", b"M\xe8\x03", 1), "a different protocol")
add("legacy: count too large", lambda: legacy(count=5), "truncated or broken")
add("legacy: count huge", lambda: legacy(count=2**62), "truncated or broken")
add("legacy: count negative", lambda: legacy(count=-1), "truncated or broken")
add("legacy: count too small", lambda: legacy(count=3), "truncated or broken")
add("legacy: keys of other storages", lambda: legacy(keys=["1"]), "does not name those")
add("legacy: a key twice", lambda: legacy(keys=["0", "0"]), "does not name those")
add("legacy: keys are numbers", lambda: legacy(keys=[0]), "does not name those")
add("legacy: no keys", lambda: legacy(keys=Raw(b"N")), "does not name those")
add("legacy: keys that run something", lambda: legacy(keys=[FIRE]), r"hostile\.fire")
add("legacy: system that runs something", lambda: LEGACY[:15] + pickled(1001) + pickled(FIRE), r"hostile\.fire")
add("legacy: a storage among the keys", lambda: legacy(keys=[storage("0", 4)]), "where none can be")
add(
    "legacy: one storage of two types",
    lambda: legacy({**ONE, "y": tensor(storage("0", 2, "float32", None), (2,))}),
    "two types",
)
add("legacy: view past the end", lambda: legacy({"x": tensor(storage("0", 4, "float16", ("v", 2, 3)), (3,))}), "broken")

# --- safetensors -----------------------------------------------------------------------------------------------------

HEADER = {"x": {"dtype": "F16", "shape": [4], "data_offsets": [0, 8]}}


def entry(**changes: Any) -> bytes:
    return with_header({"x": {**HEADER["x"], **changes}}, bytes(8))


TWO = {"x": HEADER["x"], "y": {"dtype": "F16", "shape": [4], "data_offsets": [4, 12]}}
for name, data, message in [
    ("header beyond the end", struct.pack("<Q", 99) + b"{}", "claims 99 bytes"),
    ("header of 2**63", struct.pack("<Q", 2**63) + b"{}", "claims 9223372036854775808 bytes"),
    ("header not JSON", with_header(b"{x", bytes(8)), "not JSON"),
    ("header not UTF-8", with_header(b'{"\xff": 1}', bytes(8)), "not JSON"),
    ("header very deep", with_header(b'{"a":' * 100_000, b""), "not JSON"),
    ("header with a number of 5000 digits", with_header(b'{"a":' + b"9" * 5000 + b"}", b""), "not JSON"),
    ("a name twice", with_header(b'{"x":{},"x":{}}', b""), "something twice"),
    ("entry a list", with_header({"x": [1]}, b""), "not dtype, shape and data_offsets"),
    ("no dtype", with_header({"x": {"shape": [4], "data_offsets": [0, 8]}}, bytes(8)), "not dtype, shape"),
    ("one field more", entry(path="/etc/passwd"), "not dtype, shape and data_offsets"),
    ("unknown dtype", entry(dtype="F8_E4M3"), "a dtype other than"),
    ("dtype a list", entry(dtype=["F16"]), "a dtype other than"),
    ("dtype of another width", entry(dtype="F32"), "contradict each other"),
    ("negative shape", entry(shape=[-4]), "not a list of counts"),
    ("shape a float", entry(shape=[4.0]), "not a list of counts"),
    ("shape a truth value", entry(shape=[True]), "not a list of counts"),
    ("shape a text", entry(shape="4"), "not a list of counts"),
    ("shape of a hundred axes", entry(shape=[1] * 100), "not a list of counts"),
    ("shape that wraps around", entry(shape=[2**32, 2**32, 4]), "contradict each other"),
    (
        "an empty tensor of huge shape",
        with_header({"x": {"dtype": "F16", "shape": [0, 2**47, 2**47], "data_offsets": [0, 0]}}, b""),
        "no array can have the shape",
    ),
    ("shape beyond all bounds", entry(shape=[10**30]), "not a list of counts"),
    ("offsets reversed", entry(data_offsets=[8, 0]), "contradict each other"),
    ("offsets three", entry(data_offsets=[0, 4, 8]), "contradict each other"),
    ("offsets negative", entry(data_offsets=[-8, 0]), "not a list of counts"),
    ("offsets beyond the end", entry(shape=[2**40], data_offsets=[0, 2**41]), "truncated or broken"),
    ("offsets huge", entry(data_offsets=[2**40, 2**40 + 8]), "overlap or leave a gap"),
    ("a gap before", with_header({"x": {**HEADER["x"], "data_offsets": [8, 16]}}, bytes(16)), "leave a gap"),
    ("overlapping", with_header(TWO, bytes(12)), "overlap"),
    ("bytes after", with_header(HEADER, bytes(9)), "truncated or broken"),
    ("metadata of numbers", with_header({"__metadata__": {"a": 1}, **HEADER}, bytes(8)), "not a mapping of strings"),
    ("metadata a list", with_header({"__metadata__": [], **HEADER}, bytes(8)), "not a mapping of strings"),
    ("dims not JSON", safetensors(WEIGHTS, {"dims": "{"}), "dims in the metadata is not JSON"),
    ("dims very deep", safetensors(WEIGHTS, {"dims": "[" * 100_000}), "dims in the metadata is not JSON"),
    ("dims null and no model", with_header({"__metadata__": {"dims": "null"}, **HEADER}, bytes(8)), "no Whisper model"),
    ("dims a text", safetensors(WEIGHTS, {"dims": '"n_mels"'}), "a str, not a mapping"),
    ("heads a text", safetensors(WEIGHTS, {"alignment_heads": '"all"'}), "alignment heads"),
    ("heads outside", safetensors(WEIGHTS, {"alignment_heads": "[[9, 9]]"}), "alignment head"),
    ("no tensors", with_header({}, b""), "no Whisper model"),
]:
    add(f"safetensors: {name}", data, message)

# --- ggml ------------------------------------------------------------------------------------------------------------

GGML = ggml(WEIGHTS)
START = ggml_start()
for name, data, message in [
    ("negative size", patched(GGML, 4, "<i", -1), "n_vocab is -1"),
    ("huge layer count", patched(GGML, 20, "<i", 2**31 - 1), "n_audio_layer"),
    ("negative mel rows", patched(GGML, 48, "<i", -3), "not from 0"),
    ("huge mel table", patched(GGML, 48, "<2i", 50_000, 50_000), "truncated or broken"),
    ("huge vocabulary", patched(GGML, 56 + 4 * 5 * 201, "<i", 2**31 - 1), "not from 0"),
    ("huge token", patched(GGML, 60 + 4 * 5 * 201, "<i", 2**31 - 1), "not from 0"),
    ("negative token", patched(GGML, 60 + 4 * 5 * 201, "<i", -1), "not from 0"),
    ("five axes", START + struct.pack("<3i", 5, 1, 0) + bytes(40), "5 axes"),
    ("minus one axes", START + struct.pack("<3i", -1, 1, 0) + bytes(40), "-1 axes"),
    ("a long name", START + struct.pack("<3i", 1, 2**30, 0) + bytes(40), "a name of 1073741824"),
    ("no name", START + struct.pack("<3i", 1, 0, 0) + bytes(40), "a name of 0"),
    ("a negative name", START + struct.pack("<3i", 1, -1, 0) + bytes(40), "a name of -1"),
    ("a negative axis", START + ggml_tensor("x", 0, (-4,), bytes(16)), "is -4, not from 0"),
    ("an axis too long", START + ggml_tensor("x", 0, (5,), bytes(16)), "truncated or broken"),
    ("axes that wrap around", START + ggml_tensor("x", 0, (2**30, 2**30, 2**30), bytes(16)), "truncated or broken"),
    (
        "an empty tensor of huge shape",
        START + ggml_tensor("x", 0, (0, 2**31 - 1, 2**31 - 1, 2**31 - 1), b""),
        "no array can have",
    ),
    ("an unknown type", START + ggml_tensor("x", 77, (4,), bytes(16)), "ggml type 77"),
    ("rows not made of blocks", ggml_start(kind=2002) + ggml_tensor("x", 2, (31,), bytes(18)), "blocks of 32"),
    ("a quantised scalar", ggml_start(kind=2002) + ggml_tensor("x", 2, (), bytes(18)), "blocks of 32"),
    ("quantised, cut short", ggml_start(kind=2002) + ggml_tensor("x", 2, (64,), bytes(35)), "truncated or broken"),
    ("a tensor twice", START + 2 * ggml_tensor("x", 0, (4,), bytes(16)), "appears twice"),
    ("no tensors", START, "missing: encoder"),
    ("a tensor too few", ggml(dict(list(WEIGHTS.items())[:-1])), r"missing: decoder\.ln\.bias"),
    ("bytes after", GGML + b"\x01", "truncated or broken"),
]:
    add(f"ggml: {name}", data, message)

for name in ("whisper.model Whisper", "transformers.models.whisper.modeling_whisper WhisperForConditionalGeneration"):
    module = zip_form(Call(Global(*name.split()), ()), {})
    add(f"a whole module: {name.split()[1]}", module, f"whole pickled module .{name.replace(' ', '.')}.*save")

# --- files of other kinds --------------------------------------------------------------------------------------------


def tarred() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("sys_info"), io.BytesIO(b""))
    return stream.getvalue()


for name, data, message in [
    ("empty", b"", "is empty"),
    ("one byte", b"P", "no checkpoint"),
    ("text", b"hello, I am a model\n", "no checkpoint"),
    ("zeros", bytes(10_000), "no checkpoint"),
    ("a web page", b"<!DOCTYPE html><html>", "a web page"),
    ("a Git LFS pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"),
    ("gguf", b"GGUF" + bytes(40), "a GGUF file"),
    ("gzip", gzip.compress(ZIP[:100]), "gzip"),
    ("hdf5", b"\x89HDF\r\n\x1a\n" + bytes(40), "HDF5"),
    ("Flax", b"\x81\xa5model\x82\xa7decoder" + bytes(40), "Flax's weights: convert the folder"),
    ("CTranslate2's weights alone", b"\6\0\0\0\x0c\0WhisperSpec\0" + bytes(40), "give the folder that contains it"),
    ("ONNX", b"\x08\x07\x12\x07pytorch" + bytes(40), "ONNX graph: use the checkpoint"),
    ("tar, torch's oldest form", tarred(), "tar archive"),
    ("a bare pickle", pickle.dumps({"x": 1}), "no checkpoint"),
    ("a bare pickle that runs something", pickled(FIRE), "no checkpoint"),
    ("ggml's magic the other way round", b"ggml" + GGML[4:], "no checkpoint"),
]:
    add(f"stranger: {name}", data, message)

# --- files cut short -------------------------------------------------------------------------------------------------

WHOLE = {"zip": ZIP, "legacy": LEGACY, "safetensors": safetensors(WEIGHTS), "ggml": GGML}
BOUNDARIES = {
    "zip": [4, 30, 46, ZIP.find(b"PK\x03\x04", 9), ZIP.rfind(b"PK\x03\x04"), DIRECTORY, DIRECTORY + 46, len(ZIP) - 22],
    "legacy": [15, 15 + len(pickled(1001)), LEGACY.find(b"model_state_dict"), len(LEGACY) - 64 * 2, len(LEGACY) - 136],
    "safetensors": [8, 9, 8 + struct.unpack_from("<Q", WHOLE["safetensors"])[0]],
    "ggml": [4, 8, 48, 56, 56 + 4 * 5 * 201, len(START) + 12, len(START) + 20, len(START) + 48],
}
for form, places in BOUNDARIES.items():
    whole = WHOLE[form]
    for place in sorted({*places, *(len(whole) * i // 7 for i in range(1, 7)), len(whole) - 1}):
        add(f"cut short: {form} after {place} of {len(whole)} bytes", whole[:place], "")


# --- more than the file has: each claim is small, all together are not -----------------------------------------------


def split_zip(data: bytes) -> tuple[bytes, bytes, int]:
    """What precedes the directory, the directory, and the number of its entries."""
    end = data.rfind(b"PK\x05\x06")
    count, size, at = struct.unpack_from("<HII", data, end + 10)
    return data[:at], data[at : at + size], count


def joined_zip(body: bytes, directory: bytes, count: int) -> bytes:
    return body + directory + b"PK\x05\x06" + struct.pack("<4H2IH", 0, 0, count, count, len(directory), len(body), 0)


def directory_record(name: str, size: int, at: int, extra: int = 0) -> bytes:
    fixed = struct.pack("<HHHHHHIIIHHHHHII", 20, 20, 0, 0, 0, 0, 0, size, size, len(name), extra, 0, 0, 0, 0, at)
    return b"PK\x01\x02" + fixed + name.encode() + bytes(extra)


def overlapping_entries(count: int = 300, size: int = 2**20) -> bytes:
    """Entries that all lie over the same bytes."""
    tensors = {f"x{i}": tensor(storage(f"o{i}", size // 2, "bfloat16"), (size // 2,)) for i in range(count)}
    body, directory, entries = split_zip(zip_form(tensors, {"big": bytes(size)}))
    at = body.find(b"archive/data/big") - 30
    more = b"".join(directory_record(f"archive/data/o{i}", size, at) for i in range(count))
    return joined_zip(body, directory + more, entries + count)


def empty_extras(count: int = 500) -> bytes:
    """Extra fields of thousands of empty records, which take quadratic time to walk through."""
    body, directory, entries = split_zip(ZIP)
    more = b"".join(directory_record(f"z{i}", 0, 0, 65532) for i in range(count))
    return joined_zip(body, directory + more, entries + count)


def growing_byteorder(size: int = 2**26) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", pickled(official(WEIGHTS)))
        archive.writestr("pad", bytes(size // 3))
        archive.writestr("archive/byteorder", bytes(size), zipfile.ZIP_DEFLATED)
    return stream.getvalue()


def huge_keys(count: int = 2000, size: int = 8_000_000) -> bytes:
    number = b"\x8b" + struct.pack("<i", size) + b"\x7f" * size
    return zip_form(b"\x80\x02}" + number + b"q\x010(" + b"h\x01N" * count + b"u.", {})


def other_checksum() -> bytes:
    return ZIP.replace(WEIGHTS["decoder.ln.bias"].tobytes(), bytes(128))


def with_sizes(**changes: int) -> bytes:
    return safetensors(WEIGHTS, {"dims": str({**DIMS, **changes}).replace("'", '"')})


HOSTILE_NAME = "\x1b]0;owned\x07\x1b[31mEVIL\nline two"
INFINITE = ggml(WEIGHTS, half=False).replace(
    ggml_tensor(
        "decoder.blocks.0.mlp.0.weight", 0, (256, 64), WEIGHTS["decoder.blocks.0.mlp.0.weight"].astype("<f4").tobytes()
    ),
    ggml_tensor("decoder.blocks.0.mlp.0.weight", 8, (256, 64), b"\x00\x7c" * (256 * 64 // 32 * 17)),
)
for name, make, message in [
    ("zip entries over the same bytes", overlapping_entries, "zip entries claim"),
    ("zip extra fields without end", empty_extras, "no checkpoint has that many"),
    ("a byte order that grows", growing_byteorder, "neither little nor big"),
    ("huge numbers as keys", huge_keys, "huge number as key"),
    ("another checksum", other_checksum, "wrong checksum"),
    ("heads that do not divide the width", lambda: with_sizes(n_audio_head=5), "5 heads do not divide"),
    ("two widths", lambda: with_sizes(n_text_state=128), "both have one width"),
    (
        "a name that moves the cursor",
        lambda: safetensors({**WEIGHTS, HOSTILE_NAME: WEIGHTS["decoder.ln.bias"]}),
        r"\\x1b",
    ),
    ("a header in UTF-16", lambda: with_header("{}".encode("utf-16-le"), b""), "not JSON|no checkpoint"),
    ("infinite scales", lambda: patched(INFINITE, 44, "<i", 2007), "not finite"),
]:
    add(f"attack: {name}", make, message)

for form, whole in WHOLE.items():
    for place in range(1, 31):
        cut_at = len(whole) * place // 31
        name = f"cut short: {form} after {cut_at} of {len(whole)} bytes"
        if name not in CASES:
            add(name, whole[:cut_at], "")
