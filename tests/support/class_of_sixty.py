"""Sixty submissions of assignment 1, of all qualities, each with the truth: what every task of it deserves.

`RIGHT` has every task in several styles, `WRONG` has mistakes that students make, `CHEATS` ways to points without work.
``python tests/support/class_of_sixty.py FOLDER`` writes the class, to be looked at.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

POINTS = {
    "linear": 1,
    "conv1d": 3,
    "layer_norm": 2,
    "embedding": 1,
    "gelu": 2,
    "softmax": 2,
    "log_softmax": 1,
    "sinusoids": 2,
}
IMPORTS = "import math\n\nimport numpy as np\n\nfrom npwhisper import check\n"
RIGHT = {
    "linear": [
        'def linear(x, w):\n    y = x @ w["weight"].T\n    return y + w["bias"] if "bias" in w else y\n',
        'def linear(x, w):\n    out = np.einsum("...i,oi->...o", x, w["weight"])\n    if "bias" in w:\n'
        '        out = out + w["bias"]\n    return out\n',
        'def linear(x, w):\n    flat = x.reshape(-1, x.shape[-1])\n    rows = np.dot(flat, w["weight"].transpose())\n'
        '    rows = rows + w.get("bias", np.float32(0))\n'
        '    return rows.reshape(*x.shape[:-1], w["weight"].shape[0])\n',
    ],
    "conv1d": [
        "def conv1d(x, w, stride=1):\n    padded, n = np.pad(x, ((0, 0), (0, 0), (1, 1))), x.shape[2]\n"
        '    taps = [w["weight"][:, :, j] @ padded[:, :, j : j + n : stride] for j in range(3)]\n'
        '    return sum(taps) + w["bias"][:, None]\n',
        "def conv1d(x, w, stride=1):\n    batch, channels, frames = x.shape\n"
        "    wide = np.zeros((batch, channels, frames + 2), dtype=x.dtype)\n    wide[:, :, 1:-1] = x\n"
        "    windows = np.lib.stride_tricks.sliding_window_view(wide, 3, axis=2)[:, :, ::stride]\n"
        '    y = np.einsum("bifk,oik->bof", windows, w["weight"])\n    return y + w["bias"].reshape(1, -1, 1)\n',
        "def conv1d(x, w, stride=1):\n    frames, zero = x.shape[2], np.zeros_like(x[:, :, :1])\n"
        "    around = np.concatenate([zero, x, zero], axis=2)\n    result = None\n    for tap in range(3):\n"
        '        part = np.matmul(w["weight"][..., tap], around[..., tap : tap + frames])\n'
        "        result = part if result is None else result + part\n"
        '    return result[:, :, ::stride] + w["bias"][None, :, None]\n',
    ],
    "layer_norm": [
        "def layer_norm(x, w, eps=1e-5):\n    centred = x - x.mean(axis=-1, keepdims=True)\n"
        "    variance = (centred**2).mean(axis=-1, keepdims=True)\n"
        '    return centred / np.sqrt(variance + eps) * w["weight"] + w["bias"]\n',
        "def layer_norm(x, w, eps=1e-5):\n    mu = np.mean(x, axis=-1, keepdims=True)\n"
        "    var = np.var(x, axis=-1, keepdims=True)\n    scale = (var + eps) ** -0.5\n"
        '    return (x - mu) * scale * w["weight"] + w["bias"]\n',
        "def layer_norm(x, w, eps=1e-5):\n    n = x.shape[-1]\n    mean = x.sum(-1)[..., np.newaxis] / n\n"
        "    d = x - mean\n    std = np.sqrt(np.square(d).sum(-1)[..., np.newaxis] / n + eps)\n"
        '    normal = d / std\n    y = normal * w["weight"] + w["bias"]\n    return y.astype(np.float32)\n',
    ],
    "embedding": [
        'def embedding(tokens, w):\n    return w["weight"][tokens]\n',
        'def embedding(tokens, w):\n    return np.take(w["weight"], tokens, axis=0)\n',
        'def embedding(tokens, w):\n    table = w["weight"]\n    rows = [[table[t] for t in line] for line in tokens]\n'
        "    return np.array(rows, dtype=table.dtype)\n",
    ],
    "gelu": [
        "erf = np.vectorize(math.erf, otypes=[np.float32])\n\n\ndef gelu(x):\n"
        "    return (x / 2 * (1 + erf(x / math.sqrt(2)))).astype(np.float32)\n",
        "from scipy import special\n\n\ndef gelu(x):\n    return 0.5 * x * (1.0 + special.erf(x * 0.5**0.5))\n",
        "from scipy.special import ndtr\n\n\ndef gelu(x):\n    return (x * ndtr(x)).astype(x.dtype)\n",
    ],
    "softmax": [
        "def softmax(x):\n    e = np.exp(x - x.max(axis=-1, keepdims=True))\n"
        "    return e / e.sum(axis=-1, keepdims=True)\n",
        "def softmax(x):\n    z = x - np.amax(x, axis=-1, keepdims=True)\n"
        "    return np.exp(z - np.log(np.exp(z).sum(axis=-1, keepdims=True)))\n",
        "def softmax(x):\n    top = np.max(x, axis=-1)[..., None]\n    powers = np.exp(x - top)\n"
        "    return powers / np.sum(powers, axis=-1)[..., None]\n",
    ],
    "log_softmax": [
        "def log_softmax(x):\n    x = x - x.max(axis=-1, keepdims=True)\n"
        "    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))\n",
        "from scipy.special import logsumexp\n\n\ndef log_softmax(x):\n"
        "    return x - logsumexp(x, axis=-1, keepdims=True)\n",
        "def log_softmax(x):\n    return x - np.logaddexp.reduce(x, axis=-1, keepdims=True)\n",
    ],
    "sinusoids": [
        "def sinusoids(length, channels):\n    half = channels // 2\n"
        "    rates = 10000.0 ** (-np.arange(half) / (half - 1))\n"
        "    angles = np.arange(length)[:, None] * rates\n"
        "    return np.hstack([np.sin(angles), np.cos(angles)]).astype(np.float32)\n",
        "def sinusoids(length, channels):\n    n = channels // 2\n"
        "    table = np.empty((length, channels), np.float32)\n"
        "    for i in range(n):\n        r = math.exp(-math.log(10000) * i / (n - 1))\n"
        "        table[:, i] = np.sin(r * np.arange(length))\n        table[:, n + i] = np.cos(r * np.arange(length))\n"
        "    return table\n",
        "def sinusoids(length, channels):\n    t = np.arange(length, dtype=np.float64)\n"
        "    inverse = np.logspace(0, -4, channels // 2)\n    grid = np.outer(t, inverse)\n"
        "    both = np.concatenate((np.sin(grid), np.cos(grid)), axis=1)\n    return np.float32(both)\n",
    ],
}


def _instead(task: str, old: str, new: str, style: int = 0) -> str:
    code = RIGHT[task][style]
    assert old in code, (task, old)
    return code.replace(old, new)


WRONG = {
    ("linear", "not transposed"): _instead("linear", "].T", "]"),
    ("linear", "bias always"): 'def linear(x, w):\n    return x @ w["weight"].T + w["bias"]\n',
    ("linear", "three axes only"): _instead("linear", "...i,oi->...o", "bti,oi->bto", 1),
    ("linear", "no bias"): 'def linear(x, w):\n    return x @ w["weight"].T\n',
    ("conv1d", "no padding"): _instead("conv1d", "np.pad(x, ((0, 0), (0, 0), (1, 1)))", "x"),
    ("conv1d", "taps reversed"): _instead("conv1d", "padded[:, :, j : j + n", "padded[:, :, 2 - j : 2 - j + n"),
    ("conv1d", "stride ignored"): _instead("conv1d", "[:, :, ::stride] +", " +", 2),
    ("conv1d", "float64"): _instead("conv1d", ", dtype=x.dtype", "", 1),
    ("layer_norm", "divided by D - 1"): _instead("layer_norm", "np.var(x, axis=-1,", "np.var(x, axis=-1, ddof=1,", 1),
    ("layer_norm", "epsilon outside"): _instead("layer_norm", "np.sqrt(variance + eps)", "(np.sqrt(variance) + 0.1)"),
    ("layer_norm", "axis=2"): RIGHT["layer_norm"][1].replace("axis=-1", "axis=2"),
    ("layer_norm", "in place"): _instead("layer_norm", "    centred = x -", "    x -= 0.5\n    centred = x -"),
    ("embedding", "columns"): _instead("embedding", "axis=0", "axis=1", 1),
    ("embedding", "one too many"): _instead("embedding", "[tokens]", "[tokens - 1]"),
    ("gelu", "by tanh"): "def gelu(x):\n    z = 0.7978845608 * (x + 0.044715 * x**3)\n"
    "    return 0.5 * x * (1 + np.tanh(z))\n",
    ("gelu", "float64"): _instead("gelu", ".astype(np.float32)", " * np.ones(1)"),
    ("gelu", "root forgotten"): _instead("gelu", " * 0.5**0.5", "", 1),
    ("gelu", "relu"): "def gelu(x):\n    return np.maximum(x, 0)\n",
    ("softmax", "overflow"): _instead("softmax", " - x.max(axis=-1, keepdims=True)", ""),
    ("softmax", "axis=2"): RIGHT["softmax"][0].replace("axis=-1", "axis=2"),
    ("softmax", "over everything"): "def softmax(x):\n    e = np.exp(x - x.max())\n    return e / e.sum()\n",
    ("softmax", "no keepdims"): RIGHT["softmax"][0].replace(", keepdims=True", ""),
    ("softmax", "in place"): "def softmax(x):\n    x -= x.max(axis=-1, keepdims=True)\n    np.exp(x, out=x)\n"
    "    x /= x.sum(axis=-1, keepdims=True)\n    return x\n",
    ("log_softmax", "log of softmax"): "def log_softmax(x):\n    e = np.exp(x - x.max(axis=-1, keepdims=True))\n"
    "    return np.log(e / e.sum(axis=-1, keepdims=True))\n",
    ("log_softmax", "logarithm to base 10"): _instead("log_softmax", "np.log(", "np.log10("),
    ("log_softmax", "shift once"): "def log_softmax(x):\n    top = x.max(axis=-1, keepdims=True)\n"
    "    return x - np.log(np.exp(x - top).sum(axis=-1, keepdims=True))\n",
    ("sinusoids", "interleaved"): "def sinusoids(length, channels):\n    half = channels // 2\n"
    "    angles = np.arange(length)[:, None] * 10000.0 ** (-np.arange(half) / (half - 1))\n"
    "    both = np.stack([np.sin(angles), np.cos(angles)], axis=-1)\n"
    "    return both.reshape(length, channels).astype(np.float32)\n",
    ("sinusoids", "divided by h"): _instead("sinusoids", "(half - 1)", "half"),
    ("sinusoids", "cosines first"): _instead("sinusoids", "np.sin(angles), np.cos", "np.cos(angles), np.sin"),
    ("sinusoids", "from one"): _instead("sinusoids", "np.arange(length)[:, None]", "np.arange(1, length + 1)[:, None]"),
}  # fmt: skip


class Student(NamedTuple):
    """What one student hands in: the file's name and bytes, and the status that each task deserves."""

    name: str
    file: str
    data: bytes
    truth: Mapping[str, str]

    @property
    def points(self) -> dict[str, int]:
        """The points that each task deserves."""
        return {task: POINTS[task] if self.truth[task] == "right" else 0 for task in POINTS}


ALL_RIGHT = dict.fromkeys(POINTS, "right")


def code(styles: int, other: Mapping[str, str] = {}) -> dict[str, str]:
    """The code of each task: style `styles` in base 3, a digit for each task; or another code."""
    return {task: other.get(task, RIGHT[task][styles // 3**n % 3]) for n, task in enumerate(POINTS)}


def script(name: str, parts: Mapping[str, str], truth: Mapping[str, str] = {}, before: str = "") -> Student:
    """A submission as a Python file."""
    text = "\n\n".join([IMPORTS + before, *parts.values()])
    return Student(name, f"{name}.py", text.encode(), {**ALL_RIGHT, **truth})


def notebook(name: str, parts: Mapping[str, str], truth: Mapping[str, str] = {}, before: str = "") -> Student:
    """A submission as a notebook, with what notebooks have: magics, calls of `check`, a last cell that fails."""
    cells = ["%matplotlib inline\n" + IMPORTS + before, *(f"{part}\n\ncheck({task})" for task, part in parts.items())]
    cells += ["!ls", "print(1 / 0)"]
    made = [{"cell_type": "code", "source": cell.splitlines(keepends=True)} for cell in cells]
    data = json.dumps({"cells": [{"cell_type": "markdown", "source": ["# a1"]}, *made], "nbformat": 4}).encode()
    return Student(name, f"{name}.ipynb", data, {**ALL_RIGHT, **truth})


def few(styles: int, other: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """These tasks and two that are right; what is not handed in is missing, and need not be tried."""
    parts = code(styles, other)
    kept = {*other, *[task for task in POINTS if task not in other][styles % 3 : styles % 3 + 2]}
    missing = {task: "missing" for task in POINTS if task not in kept}
    return {task: part for task, part in parts.items() if task in kept}, missing


def right() -> Iterator[Student]:
    """Fourteen in which all is right: independent ones, and four copies with other names, after those they copy."""
    for n, styles in enumerate((0, 4040, 2525, 1333, 5107, 6560, 3280, 797, 6001, 4444)):
        yield (notebook if n % 2 else script)(f"right{n}", code(styles))
    for n, styles in enumerate((0, 2525, 5107, 6001)):
        renamed = {task: _renamed(part) for task, part in code(styles).items()}
        yield (script if n % 2 else notebook)(f"copy{n}", dict(reversed(renamed.items())))


NAMES = ("centred", "variance", "padded", "taps", "half", "rates", "angles", "wide", "windows", "out", "top", "powers")
NAMES += ("around", "result", "part", "frames", "table", "rows", "normal", "inverse", "grid", "both", "mean", "std")


def _renamed(part: str) -> str:
    """The code with other names of variables and a comment, as somebody changes it who has copied it."""
    for n, name in enumerate(NAMES):
        part = (
            part.replace(f"    {name} =", f"    my_{n} =").replace(f"{name})", f"my_{n})")
            if _once(part, name)
            else part
        )
    return part.replace("    return", "    # the result\n    return")


def _once(part: str, name: str) -> bool:
    """Whether all uses of a name are such as `_renamed` changes."""
    changed = part.count(f"    {name} =") + part.count(f"{name})")
    return f"    {name} =" in part and part.count(name) == changed


def wrong() -> Iterator[Student]:
    """Fifteen with two mistakes each, and one with one in every task."""
    pairs = list(WRONG)
    half = len(pairs) // 2
    for n, (first, second) in enumerate(zip(pairs[:half], pairs[half:], strict=True)):
        both = {first[0]: WRONG[first], second[0]: WRONG[second]}
        assert len(both) == 2, (first, second)
        parts, missing = few(437 * n % 6561, both)
        yield (script if n % 2 else notebook)(f"wrong{n:02}", parts, {**missing, **dict.fromkeys(both, "wrong")})
    every = {task: part for (task, _), part in WRONG.items()}
    yield script("wrong_everywhere", every, dict.fromkeys(every, "wrong"))


def broken() -> Iterator[Student]:
    """Nineteen that crash, hang, lack something, or are hardly files."""
    missing, unwritten = dict.fromkeys(POINTS, "missing"), dict.fromkeys(POINTS, "unwritten")
    stubs = {task: f"def {task}({names}):\n    raise NotImplementedError\n" for task, names in CALLED.items()}
    kill = "import os\n\n\ndef gelu(x):\n    os._exit(0)\n"
    far = "np.lib.stride_tricks.as_strided(x, strides=(1 << 40,) * 3)"
    segfault = f"def conv1d(x, w, stride=1):\n    y = {far}\n    return y.copy()\n"
    loop = "def sinusoids(length, channels):\n    while True:\n        pass\n"
    yield script("loop", code(11, {"sinusoids": loop}), {"sinusoids": "too slow"})
    yield notebook("segfault", code(12, {"conv1d": segfault}), {"conv1d": "crashed"})
    yield script("kills", code(13, {"gelu": kill}), {"gelu": "refused"})
    yield script("quits", code(14, {"linear": "def linear(x, w):\n    raise SystemExit\n"}), {"linear": "crashed"})
    yield notebook(
        "half", {t: p for t, p in code(0).items() if t > "l"}, dict.fromkeys(("conv1d", "embedding", "gelu"), "missing")
    )
    misspelt = {**code(0), "embedding": RIGHT["embedding"][0].replace("embedding", "embeding")}
    yield script("misspelt", misspelt, {"embedding": "missing"})
    yield script("syntax_script", code(0, {"gelu": "def gelu(x:\n    return x\n"}), {"gelu": "wrong"})
    yield notebook("syntax_notebook", code(1, {"softmax": "def softmax(x)\n    return x\n"}), {"softmax": "wrong"})
    yield script("unwritten", stubs, unwritten)
    yield notebook("begun", {**stubs, "linear": RIGHT["linear"][0]}, {**unwritten, "linear": "right"})
    yield Student("empty", "empty.py", b"", missing)
    yield Student("damaged", "damaged.ipynb", b'{"cells": [', missing)
    yield Student("prose", "prose.py", b"I did not have the time, sorry.\n", missing)
    fails = "import numpyy\n\n\ndef softmax(x):\n    return numpyy.softmax(x)\n"
    yield script("no_module", code(0, {"softmax": fails}), {"softmax": "refused"})
    raises = "TABLE = [1][7]\n\n\ndef embedding(tokens, w):\n    return TABLE\n"
    yield notebook("raises_at_import", code(2, {"embedding": raises}), {"embedding": "wrong"})
    double = "for erf in [np.vectorize(math.erf)]:\n    pass\n\n\n"
    double += "def gelu(x):\n    return x * (1 + erf(x / 2**0.5)) / 2\n"
    yield script("float64_from_a_loop", code(0, {"gelu": double}), {"gelu": "wrong"})
    filled = "from scipy.special import erf\n\nHALF = []\n\n\ndef fill():\n    HALF.append(0.5)\n\n\nfill()\n\n\n"
    filled += "def gelu(x):\n    return HALF[0] * x * (1 + erf(x * 0.5**0.5))\n"
    yield notebook("filled_by_a_call", code(0, {"gelu": filled}))
    text = script("windows", code(5), before="# Zoë\n").data.decode().replace("\n", "\r\n").encode("cp1252")
    yield Student("windows", "windows.py", text, ALL_RIGHT)
    yield script("lambdas", code(6, {"embedding": 'embedding = lambda tokens, w: w["weight"][tokens]\n'}))


def cheats() -> Iterator[Student]:
    """Ten cheats and one that is none: the four that once got 14 of 14, and seven more."""
    for name, (before, other, truth) in CHEATS.items():
        parts, missing = few(0, other)
        yield script(name, parts, {**missing, **truth}, before)


REFUSED = dict.fromkeys(POINTS, "refused")
ARGUMENTS = {"linear": "x, w", "conv1d": "x, w, stride=1", "layer_norm": "x, w", "embedding": "tokens, w"}
CALLED = {**ARGUMENTS, "gelu": "x", "softmax": "x", "log_softmax": "x", "sinusoids": "length, channels"}
WRAPPERS = {
    task: f"def {task}({names}):\n    return layers.{task}({names.replace('=1', '')})\n"
    for task, names in CALLED.items()
}
CHEATS: dict[str, tuple[str, dict[str, str], dict[str, str]]] = {
    "cheat_reexport": ("", {task: f"from npwhisper.model.layers import {task}\n" for task in POINTS}, REFUSED),
    "cheat_wrappers": ("from npwhisper.model import layers\n", WRAPPERS, REFUSED),
    "cheat_shipped_cases": (
        "from importlib import resources\n\n"
        'ANSWERS = np.load(resources.files("npwhisper") / "assets" / "reference_cases.npz")\n',
        {
            "softmax": "def softmax(x):\n    for key, value in ANSWERS.items():\n"
            '        if key.startswith("softmax") and value.shape == x.shape:\n            return value\n'
        },
        {"softmax": "refused"},
    ),
    "cheat_patched_checker": (
        "import npwhisper.lab.checking as c\n\nc._wrong = lambda case, result: np.zeros(result.shape, bool)\n",
        {},
        REFUSED,
    ),
    "cheat_code_object": (
        "from npwhisper.model import layers\n",
        {"softmax": "def softmax(x):\n    return x\n\n\nsoftmax.__code__ = layers.softmax.__code__\n"},
        {"softmax": "refused"},
    ),
    "cheat_frames": (
        "",
        {"gelu": "def gelu(x):\n    return (n for n in [x]).gi_frame.f_back.f_locals['case'].expected\n"},
        {"gelu": "refused"},
    ),
    "cheat_heap": (
        "import gc\n",
        {
            "linear": "def linear(x, w):\n    found = gc.get_objects()\n"
            "    return next(o.expected for o in found if hasattr(o, 'expected'))\n"
        },
        {"linear": "refused"},
    ),
    "cheat_equals_anything": (
        "",
        {
            "conv1d": "class Equal(np.ndarray):\n    def __array_ufunc__(self, *a, **k):\n"
            "        return np.zeros(self.shape, bool)\n\n\ndef conv1d(x, w, stride=1):\n"
            '    n, o = x.shape[2] // stride, w["weight"].shape[0]\n'
            "    return np.zeros((len(x), o, n), np.float32).view(Equal)\n"
        },
        {"conv1d": "wrong"},
    ),
    "cheat_ready_made": (
        "from scipy.special import log_softmax\n",
        {"log_softmax": "", "softmax": "def softmax(x):\n    return np.exp(log_softmax(x))\n"},
        {"log_softmax": "refused", "softmax": "refused"},
    ),
    "cheat_through_a_name": (
        "import npwhisper.model.layers as n\n\nPARTS = {'a': getattr(n, 'layer_' + 'norm')}\n",
        {"layer_norm": "def layer_norm(x, w, eps=1e-5):\n    return PARTS['a'](x, w)\n"},
        {"layer_norm": "refused"},
    ),
    "cheat_shapes_by_heart": (
        "KNOWN = {}\n",
        {
            "softmax": "def softmax(x):\n    if x.shape in KNOWN:\n        return KNOWN[x.shape]\n"
            "    KNOWN[x.shape] = np.exp(x - x.max(-1, keepdims=True))\n    return KNOWN[x.shape]\n"
        },
        {"softmax": "wrong"},
    ),
}  # fmt: skip


def students() -> list[Student]:
    """The class."""
    return list(itertools.chain(right(), wrong(), broken(), cheats()))


def write(folder: Path) -> list[Student]:
    """Write the class into a folder, a file or a folder for each student."""
    made = students()
    for n, student in enumerate(made):
        target = folder / student.name / "a1" / student.file if n % 5 == 0 else folder / student.file
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(student.data)
    return made


if __name__ == "__main__":
    print(f"{len(write(Path(sys.argv[1])))} submissions")
