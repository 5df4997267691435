"""What a task may use, read from the source: each way round it is found with its line, and honest work is not."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from npwhisper.lab.exercises import EXERCISES
from npwhisper.lab.grading.grader import Grader
from npwhisper.lab.grading.source import read


def findings(tmp_path: Path, code: str, task: str) -> list[str]:
    path = tmp_path / "mine.py"
    path.write_text(textwrap.dedent(code))
    return [str(finding) for finding in read(path).findings(task)]


CHEATS = {
    "re-export": ("from npwhisper.model.layers import softmax", "softmax", "line 1: it uses npwhisper's softmax"),
    "re-export under a name": (
        "from npwhisper import model\nsoftmax = model.softmax",
        "softmax",
        "line 2: it uses npw",
    ),
    "re-export by star": ("from npwhisper.model.layers import *", "softmax", "it uses npwhisper's softmax"),
    "re-export in a branch": (
        "import npwhisper.model.layers as n\ndef softmax(x): ...\nif 1:\n  softmax = n.softmax",
        "softmax",
        "line 4: it uses npwhisper's softmax, which is the task itself",
    ),
    "thin wrapper": (
        "from npwhisper.model import layers\ndef softmax(x):\n  return layers.softmax(x)",
        "softmax",
        "line 3: it uses npwhisper's softmax, which is the task itself",
    ),
    "import inside": (
        "def softmax(x):\n  from npwhisper.model.layers import softmax as s\n  return s(x)",
        "softmax",
        "line 3: it uses npwhisper's softmax",
    ),
    "through a helper": (
        "import npwhisper as n\ndef h(x): return n.model.layers.softmax(x)\n"
        "k = lambda x: h(x)\ndef softmax(x): return k(x)",
        "softmax",
        "line 2: it uses npwhisper's softmax",
    ),
    "another task of a1": (
        "from npwhisper.model import layers\nimport numpy as np\ndef log_softmax(x): return np.log(layers.softmax(x))",
        "log_softmax",
        "line 3: it uses npwhisper's softmax, which a1 may not use",
    ),
    "default argument": (
        "from npwhisper.model import layers\ndef softmax(x, *, layers=layers.softmax): return layers(x)",
        "softmax",
        "line 2: it uses npwhisper's softmax",
    ),
    "decorator": (
        "from npwhisper.model import layers\n@lambda f: layers.softmax\ndef softmax(x): ...",
        "softmax",
        "line 2: it uses npwhisper's softmax",
    ),
    "module as a value": (
        "from npwhisper.model import layers\nl = layers\ndef softmax(x): return l.softmax(x)",
        "softmax",
        "line 2: it uses the module npwhisper.model.layers as a value",
    ),
    "getattr": (
        "import npwhisper.model.layers as l\ndef softmax(x): return getattr(l, 'softmax')(x)",
        "softmax",
        "line 2: it uses npwhisper's softmax",
    ),
    "getattr of a made name": (
        "import npwhisper.model.layers as l\ndef softmax(x): return getattr(l, 'soft' + 'max')(x)",
        "softmax",
        "line 2: it uses getattr",
    ),
    "shipped cases": (
        "import numpy as np\nANSWERS = np.load('reference_cases.npz')\ndef softmax(x): return ANSWERS['softmax']",
        "softmax",
        "line 2: it uses numpy.load, which is not allowed",
    ),
    "shipped cases by open": (
        "def softmax(x):\n  return open('reference_cases.npz', 'rb').read()",
        "softmax",
        "line 2: it uses open",
    ),
    "the reference": (
        "from npwhisper.lab.exercises import solution\ndef softmax(x): return solution('softmax')(x)",
        "softmax",
        "line 2: it uses npwhisper's solution",
    ),
    "patched checker": (
        "import npwhisper.lab.checking as c\nc._wrong = lambda *a: a[1] * 0\ndef softmax(x): return x",
        "softmax",
        "line 2: the file changes npwhisper.lab.checking._wrong, so that nothing in it counts",
    ),
    "patched in a function": (
        "import numpy as np\ndef f(): np.allclose = lambda *a: True\nf()\ndef softmax(x): return x",
        "softmax",
        "line 2: the file changes numpy.allclose",
    ),
    "patched by setattr": (
        "import npwhisper.lab.checking as c\nsetattr(c, '_wrong', 1)\ndef softmax(x): return x",
        "softmax",
        "line 2: the file changes npwhisper.lab.checking",
    ),
    "another function's code": (
        "import npwhisper.model.layers as n\ndef softmax(x): return x\nsoftmax.__code__ = n.softmax.__code__",
        "softmax",
        "line 3: it uses __code__",
    ),
    "put into a list": (
        "import npwhisper.model.layers as n\nF = []\ndef fill(f): f.append(n.softmax)\nfill(F)\n"
        "def softmax(x): return F[0](x)",
        "softmax",
        "line 3: it uses npwhisper's softmax",
    ),
    "another library": (
        "import torch\ndef softmax(x): return torch.softmax(torch.tensor(x), -1).numpy()",
        "softmax",
        "line 2: it uses torch: a1 is written with NumPy",
    ),
    "ready made": (
        "from scipy import special\ndef softmax(x): return special.softmax(x, axis=-1)",
        "softmax",
        "line 2: it uses scipy.special.softmax",
    ),
    "exec": ("def softmax(x):\n  exec('y = 1')", "softmax", "line 2: it uses exec"),
    "exec at import": ("exec('def softmax(x): ...')\ndef softmax(x): ...", "softmax", "line 1: the file calls exec"),
    "globals": ("globals()['softmax'] = 1\ndef softmax(x): ...", "softmax", "line 1: the file calls globals"),
    "importlib": (
        "import importlib\ndef softmax(x): return importlib.import_module('npwhisper.model').softmax(x)",
        "softmax",
        "line 2: it uses importlib",
    ),
    "modules of a module": (
        "import warnings\ndef softmax(x): return warnings.sys.modules['npwhisper.model'].softmax(x)",
        "softmax",
        "line 2: it uses warnings.sys.modules",
    ),
    "dunders": ("def softmax(x):\n  return softmax.__globals__", "softmax", "line 2: it uses __globals__"),
    "frames": ("def softmax(x):\n  return (lambda: 0).gi_frame.f_back", "softmax", "line 2: it uses f_back"),
    "the method of the cache": (
        "def append(cache, k, v):\n  return 0\n\nfrom npwhisper.model import KeyValues as KV\n"
        "def reorder(cache, parents):\n  return KV.reorder(cache, parents)",
        "reorder",
        "line 6: it uses npwhisper's reorder, which is the task itself",
    ),
    "a search of a later assignment": (
        "from npwhisper.decoding import search\ndef decoder(*a): return search.beam_search(*a)",
        "decoder",
        "line 2: it uses npwhisper's beam_search, which a3 may not use",
    ),
}


@pytest.mark.parametrize("cheat", CHEATS)
def test_a_way_round_is_found_with_its_line(tmp_path: Path, cheat: str) -> None:
    code, task, sentence = CHEATS[cheat]
    assert any(found.startswith(sentence) or sentence in found for found in findings(tmp_path, code, task))
    verdict = Grader(tmp_path / "mine.py", 10).grade(task)
    assert verdict.status == "refused"
    assert sentence in verdict.report


HONEST = {
    "a1": """
        import math, os, torch
        import numpy as np
        import npwhisper
        from npwhisper import check, swap
        from npwhisper.model import layers
        try:
            from scipy.special import erf
        except ImportError:
            erf = np.vectorize(math.erf)
        x = npwhisper.load_audio(npwhisper.example())
        audio = layers.softmax(x)
        ROOT = math.sqrt(2.0)
        os.environ["A"] = "b"
        def gelu(x):
            layers = getattr(x, "shape", ())
            audio = [layers for layers in layers]
            return (x * 0.5 * (1 + erf(x / ROOT))).astype(x.dtype)
        def softmax(x):
            return layers.softmax(x)
        def softmax(x):
            e = np.exp(x - x.max(axis=-1, keepdims=True))
            return e / e.sum(axis=-1, keepdims=True)
        check(softmax)
        with swap(softmax=softmax):
            audio = npwhisper.transcribe(npwhisper.example())
        """,
    "a2": """
        import numpy as np
        from npwhisper import model
        from npwhisper.model import layers
        def attend(q, k, v, mask=None):
            return layers.softmax(scores(q, k) + (0 if mask is None else mask)) @ v
        def scores(q, k): return q @ np.swapaxes(k, -1, -2) / q.shape[-1] ** 0.5
        def self_attention(x, w, n_head, cache=None):
            q, k, v = (split_heads(model.linear(x, w[n]), n_head) for n in ("query", "key", "value"))
            if cache is not None:
                k, v = cache.append(k, v)
            return layers.linear(attend(q, k, v), w["out"])
        def split_heads(x, n_head): return x
        """,
    "a3": """
        import numpy as np
        from npwhisper.model import layers, network as model
        from npwhisper.model.cache import BlockCache, Cache, KeyValues
        def start_cache(a, w, n_head, capacity):
            keys = layers.split_heads(layers.linear(a, w), n_head)
            return Cache([BlockCache(KeyValues.empty(1, n_head, capacity, 2), keys)])
        def decoder(tokens, w, n_head, cache, at=None):
            x = layers.embedding(tokens, w) + cache.length
            return model.decoder_block(layers.layer_norm(x, w), w, n_head, cache)
        def append(cache, k, v):
            cache.k[:, :, : cache.length] = k
            cache.length += 1
        """,
    "a4": """
        import zlib
        from npwhisper.decoding.search import Hypothesis
        from npwhisper.model import layers
        def greedy_search(step, tokens, eot, max_tokens):
            return [[Hypothesis([1], float(layers.log_softmax(step(tokens, None))[0, 0]))]]
        def compression_ratio(text):
            return len(text.encode()) / len(zlib.compress(text.encode()))
        """,
    "a5": """
        import numpy as np
        from npwhisper import timing
        from npwhisper.audio import N_FFT, SAMPLE_RATE
        from npwhisper.model import layers
        def token_map(scores, medfilt_width=7):
            return median_filter(standardise(layers.softmax(scores)), medfilt_width).mean(axis=0)
        def standardise(w): return (w - w.mean(-2, keepdims=True)) / w.std(-2, keepdims=True)
        def median_filter(x, filter_width): return np.sort(x)
        def hann(): return np.hanning(N_FFT + 1)[:-1].astype(np.float32)
        """,
}


@pytest.mark.parametrize("assignment", HONEST)
def test_honest_work_is_let_through(tmp_path: Path, assignment: str) -> None:
    (tmp_path / "mine.py").write_text(textwrap.dedent(HONEST[assignment]))
    source = read(tmp_path / "mine.py")
    assert source.tasks
    assert {EXERCISES[task].assignment for task in source.tasks} == {assignment}
    assert {task: source.findings(task) for task in source.tasks} == {task: [] for task in source.tasks}


def test_one_cheat_costs_its_own_task_alone(tmp_path: Path) -> None:
    code = "from npwhisper.model.layers import softmax\nimport torch\ndef gelu(x): return torch\ndef linear(x, w): ..."
    assert findings(tmp_path, code, "linear") == []
    assert len(findings(tmp_path, code, "softmax")) == len(findings(tmp_path, code, "gelu")) == 1


@pytest.mark.parametrize("code", ["def softmax(x:", "\0", "x = " + "(" * 5000, "# coding: nothing\nx = 1"])
def test_what_is_no_python_is_left_to_its_import(tmp_path: Path, code: str) -> None:
    assert findings(tmp_path, code, "softmax") == []


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("def softmax(x): ...", True),
        ("from m import softmax", True),
        ("from m import *", True),
        ("if 1:\n  softmax = 2", True),
        ("def __getattr__(name): ...", True),
        ("def softmaxx(x): ...", False),
        ("def f():\n  softmax = 1", False),
        ("", False),
    ],
)
def test_a_task_that_no_line_defines_is_missing_without_a_try(tmp_path: Path, code: str, expected: bool) -> None:
    path = tmp_path / "mine.py"
    path.write_text(code)
    assert read(path).may_have("softmax") is expected
    if not expected:
        path.write_text(f"{code}\nwhile True: ...")
        assert Grader(path, 1, start=1).grade("softmax").status == "missing"
