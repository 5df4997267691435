# %% [markdown]
# # 09 · What is inside a `.pt` file, and why opening one can be dangerous
#
# **What you will build** · First a file that runs code when it is opened; then a reader for PyTorch's checkpoint files
# in about two dozen lines, without PyTorch.
#
# **What you need** · Python, and what bytes are. You need none of the other notebooks.
#
# **Which file this explains** · `npwhisper/checkpoint/`: `pt.py`, `unpickle.py`,
# `torch_globals.py`, `safetensors_file.py`

# %% jupyter={"source_hidden": true} tags=["install"]
# On Colab, install the package; elsewhere this cell does nothing.
import importlib.util
import subprocess
import sys

if "google.colab" in sys.modules and importlib.util.find_spec("npwhisper") is None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "npwhisper[notebooks]"]
    subprocess.run(command, check=True)

# %%
import io
import json
import pickle
import pickletools
import struct
import tempfile
import zipfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import npwhisper
from npwhisper.checkpoint import CheckpointError, read_checkpoint
from npwhisper.checkpoint.weights import convert, embedded_path
from npwhisper.lab import notebooks

notebooks.use_style()
model = npwhisper.load_model()
folder = tempfile.TemporaryDirectory()
pt_file = Path(folder.name) / "model.pt"
convert(embedded_path(), pt_file)  # the model in the package, in the format of torch.save
print(f"{pt_file.stat().st_size / 1e6:.1f} MB")

# %% [markdown]
# ## It is a zip archive
#
# Since 2020, `torch.save` has written an ordinary zip archive without compression.

# %%
with zipfile.ZipFile(pt_file) as archive:
    entries = archive.infolist()
for entry in [*entries[:5], *entries[-2:]]:
    print(f"{entry.filename:22} {entry.file_size:10} bytes")
print(f"... {len(entries)} entries in total")

# %% tags=["claim"]
assert all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)

# %% [markdown]
# Each `data/…` entry holds the numbers of one array and nothing else. Names and shapes are in `data.pkl`. Which parts
# of the network need the most bytes?

# %%
with zipfile.ZipFile(pt_file) as archive:
    shares = {"data.pkl (the names)": archive.getinfo("archive/data.pkl").file_size / 1e6}
    for key, name in enumerate(model.weights):
        group = ".".join(name.split(".")[:2])
        shares[group] = (
            shares.get(group, 0) + archive.getinfo(f"archive/data/{key}").file_size / 1e6
        )

# %% jupyter={"source_hidden": true}
fig, ax = plt.subplots(figsize=(8, 3.2))
names = sorted(shares, key=shares.get)
ax.barh(names, [shares[name] for name in names])
ax.set(xlabel="size in the file (MB)", ylabel="part")
plt.show()

# %% [markdown]
# ## The pickle is a program
#
# `data.pkl` is a *pickle*, Python's own format for objects. A pickle is a program for a small stack machine, and
# loading it means running it. Here is the program that rebuilds a harmless dict:

# %%
pickletools.dis(pickletools.optimize(pickle.dumps({"n_mels": 80, "layers": (4, 2)}, protocol=2)))

# %% [markdown]
# In words: *push an empty dict; push the text n_mels; push 80; ...; make a tuple of the top
# two; put the keys and values into the dict; stop.*
#
# Two other instructions are dangerous. `GLOBAL` looks up **any** function in **any** module by its name. `REDUCE`
# calls it.
#
# ## A harmless attack
#
# A class can define how its objects are rebuilt: its method `__reduce__` returns a function and the arguments to call
# it with. `pickle` does not check what the function does. Ours only prints; it could just as well delete files or
# send your passwords to somebody.


# %%
class Innocent:
    def __reduce__(self):
        return print, ("*** this line was printed by a file that was merely opened ***",)


poisoned = pickle.dumps({"model_state_dict": Innocent()}, protocol=2)
pickle.loads(poisoned)

# %%
pickletools.dis(pickletools.optimize(poisoned))

# %% tags=["claim"]
import contextlib

with contextlib.redirect_stdout(io.StringIO()) as printed:
    pickle.loads(poisoned)
assert printed.getvalue() == "*** this line was printed by a file that was merely opened ***\n"
program = [(opcode.name, argument) for opcode, argument, _ in pickletools.genops(poisoned)]
assert ("GLOBAL", "__builtin__ print") in program
assert "REDUCE" in dict(program)

# %% [markdown]
# That is enough: `GLOBAL` with the name of `print` (in this old protocol its module is called
# `__builtin__`), a tuple with the argument, and `REDUCE`. If you open a stranger's model file with plain
# `pickle.load`, you run a stranger's program. (`torch.load` with `weights_only=True`, the default since
# PyTorch 2.6, prevents this.)
#
# npwhisper does not use Python's pickle machine. It has its own, which knows only a few harmless instructions and a
# fixed table of names, each of which stands for a function of npwhisper. A file with any other name is refused:

# %%
evil_file = Path(folder.name) / "evil.pt"
with zipfile.ZipFile(evil_file, "w") as archive:
    archive.writestr("archive/data.pkl", poisoned)
    archive.writestr("archive/version", b"3\n")
try:
    read_checkpoint(evil_file)
except CheckpointError as error:
    print(str(error).partition(": save")[0])

# %% tags=["claim"]
with contextlib.redirect_stdout(io.StringIO()) as printed:
    try:
        read_checkpoint(evil_file)
        raise AssertionError("the file was opened")
    except CheckpointError:
        pass
assert printed.getvalue() == ""

# %% [markdown]
# ## Reading it ourselves
#
# Which names does the pickle of a real checkpoint contain? Here are those of its `GLOBAL` instructions,
# each once.

# %%
with zipfile.ZipFile(pt_file) as archive:
    program = archive.read("archive/data.pkl")
for name in sorted(
    {argument for opcode, argument, _ in pickletools.genops(program) if opcode.name == "GLOBAL"}
):
    print(name)

# %% [markdown]
# There are only three. Each tensor is a call of `_rebuild_tensor_v2` with these arguments:
#
# - a *storage*, the numbers of one zip entry: their type, the name of the entry, and how many there are. The pickle
#   contains this as a "persistent id" (instruction `BINPERSID`), and the reader must supply the numbers;
# - an *offset*: the index of the tensor's first number in the storage;
# - a *size*, which is the shape;
# - a *stride*: for each axis, how many numbers further the next element is.
#
# So a reader needs two functions of its own, and Python's `Unpickler` lets us define them: `find_class` returns what
# a name stands for, and `persistent_load` returns a storage. A name that is not in our dictionary is an error.


# %%
def rebuild(numbers, offset, size, stride, *_):
    """A tensor as a view of its storage. NumPy's strides count bytes, torch's count elements."""
    return np.lib.stride_tricks.as_strided(
        numbers[offset:], size, [step * numbers.itemsize for step in stride]
    )


ALLOWED = {
    ("torch._utils", "_rebuild_tensor_v2"): rebuild,
    ("torch", "HalfStorage"): np.float16,
    ("torch", "FloatStorage"): np.float32,
    ("collections", "OrderedDict"): dict,
}


class Reader(pickle.Unpickler):
    def __init__(self, archive):
        super().__init__(io.BytesIO(archive.read("archive/data.pkl")))
        self.archive = archive

    def find_class(self, module, name):
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed")
        return ALLOWED[module, name]

    def persistent_load(self, persistent_id):
        _, dtype, key, _, count = persistent_id
        return np.frombuffer(self.archive.read(f"archive/data/{key}"), dtype, count)


with zipfile.ZipFile(pt_file) as archive:
    content = Reader(archive).load()
print(list(content))
print(content["dims"])

# %% tags=["claim"]
names_used = {a for opcode, a, _ in pickletools.genops(program) if opcode.name == "GLOBAL"}
assert len(names_used) == 3

# %% [markdown]
# (The library is stricter than these two dozen lines. It checks that no stride leads outside the storage, because a
# malicious file could otherwise read other memory of the process. It also checks that sizes are plausible, and
# it does not use Python's pickle machine at all.)
#
# ## safetensors: a format without a program
#
# The newer format safetensors contains nothing to run. The first eight bytes give the length of a header. The header
# is JSON, with the name, type, shape and position of each array. After it come the numbers.

# %%
data = embedded_path().read_bytes()
(length,) = struct.unpack("<Q", data[:8])
header = json.loads(data[8 : 8 + length])
metadata = header.pop("__metadata__", {})
name = "encoder.conv1.weight"
print(f"header of {length} bytes; {name}: {header[name]}")

begin, end = header[name]["data_offsets"]
dtype = {"F16": np.float16, "F32": np.float32}[header[name]["dtype"]]
kernel = np.frombuffer(data[8 + length + begin : 8 + length + end], dtype).reshape(
    header[name]["shape"]
)
assert np.array_equal(kernel, model.weights[name])

# %% [markdown]
# ## Half of the bits
#
# Both files hold the weights as float16: 16 bits instead of 32, about three decimal digits. How much precision is
# lost? Compare the size of the weights with the distance between two neighbouring float16 numbers:

# %%
values = np.abs(np.concatenate([array.ravel()[::50] for array in model.weights.values()]))
values = values[values > 1e-6]
spacing = np.spacing(values.astype(np.float16)).astype(np.float32)

# %% jupyter={"source_hidden": true}
fig, ax = plt.subplots(figsize=(8, 2.8))
ax.hist(np.log10(values), bins=80, alpha=0.7, label="weights")
ax.hist(np.log10(spacing), bins=40, alpha=0.7, label="distance to the next float16 number")
ax.set(xlabel="absolute value (power of ten)", ylabel="count (every 50th weight)")
ax.legend()
plt.show()

# %% [markdown]
# For a typical weight the distance is a little less than a thousandth of its value, so rounding it to float16 changes
# it by less than 0.05 %.

# %% tags=["claim"]
assert 5e-4 < np.median(spacing / values) < 1e-3
# Rounding changes a number by at most half of this.

# %% [markdown]
# ## The equality
#
# Every array that our reader found in the `.pt` file equals, bit by bit, the array that `load_model` returns.

# %%
assert content["dims"] == vars(model.dims)
state_dict = content["model_state_dict"]
assert list(state_dict) == list(model.weights)
for name, array in state_dict.items():
    assert np.array_equal(array.astype(np.float32), model.weights[name]), name
print(f"{len(state_dict)} arrays, all equal")

# %% [markdown]
# ## Exercises
#
# **1. What else could be called?** Write a class whose pickle calls `os.getcwd` when it is loaded, and pickle an
# object of it. Show that `pickle.loads` returns your working directory, and that `Reader` refuses the pickle.

# %% tags=["exercise"]
spy = ...  # bytes: a pickle that calls os.getcwd when it is loaded

# %% jupyter={"source_hidden": true} tags=["check"]
import os

notebooks.exercise(spy, lambda program: pickle.loads(program) == os.getcwd())

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# import os
#
# class Curious:
#     def __reduce__(self):
#         return os.getcwd, ()
#
# spy = pickle.dumps(Curious(), protocol=2)
# assert pickle.loads(spy) == os.getcwd()
# buffer = io.BytesIO()
# with zipfile.ZipFile(buffer, "w") as archive:
#     archive.writestr("archive/data.pkl", spy)
# with zipfile.ZipFile(buffer) as archive:
#     try:
#         Reader(archive).load()
#         raise AssertionError("the file was opened")
#     except pickle.UnpicklingError as error:
#         print(error)
# ```
#
# </details>

# %% [markdown]
# **2. Strides.** A storage holds the numbers 0 to 11. Which tensor do offset 1, size (2, 3) and stride (6, 2) give?
# And with offset 0, the storage is a tensor of shape (3, 4) with stride (4, 1). Which stride gives its transpose, of
# shape (4, 3), without moving a number?

# %% tags=["exercise"]
answer = ...  # [the tensor as a list of lists, the stride of the transpose as a tuple]

# %% jupyter={"source_hidden": true} tags=["check"]
notebooks.exercise(answer, lambda a: a[0] == [[1, 3, 5], [7, 9, 11]] and tuple(a[1]) == (1, 4))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# numbers = np.arange(12, dtype=np.float32)
# assert rebuild(numbers, 1, (2, 3), (6, 2)).tolist() == [[1, 3, 5], [7, 9, 11]]
# assert np.array_equal(rebuild(numbers, 0, (4, 3), (1, 4)), numbers.reshape(3, 4).T)
# answer = [rebuild(numbers, 1, (2, 3), (6, 2)).tolist(), (1, 4)]
# ```
#
# </details>

# %% [markdown]
# **3. A malicious file.** What could go wrong in `rebuild` if a file gives the size (1000000,) for a storage of
# 10 numbers? (Do not try it.) Write the missing check: `is_inside` returns whether all elements of the tensor are in
# the storage. `numbers` is the storage, the other arguments are those of `rebuild`; sizes are at least 1, and strides
# are not negative.


# %% tags=["exercise"]
def is_inside(numbers, offset, size, stride):
    return ...


# %% jupyter={"source_hidden": true} tags=["check"]
cases = [(0, (10,), (1,)), (0, (1000000,), (1,)), (4, (2, 3), (3, 1)), (4, (3, 3), (3, 1))]
notebooks.exercise(
    [is_inside(np.zeros(10), *case) for case in cases],
    lambda found: found == [True, False, True, False],
    "What is the index of the last element that is used?",
)

# %% [markdown]
# <details><summary>Solution</summary>
#
# `as_strided` checks nothing. The tensor would contain whatever is in memory after the storage, or reading it would
# crash the program. The last element that is used must be inside the storage:
#
# ```python
# def is_inside(numbers, offset, size, stride):
#     return offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) < len(numbers)
#
# assert is_inside(np.zeros(10), 0, (10,), (1,))
# assert not is_inside(np.zeros(10), 0, (1000000,), (1,))
# ```
#
# </details>
