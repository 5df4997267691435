"""The laboratory of the browser, outside of one: what its page asks of Python, and how its parts are put together."""

from __future__ import annotations

import ctypes
import json
import re
import shutil
import subprocess
import weakref
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urljoin

import numpy as np
import pytest
from scripts import loaded

import npwhisper
from npwhisper.compute import products

LITE = Path(__file__).parents[2] / "notebooks" / "lite"


@pytest.fixture(scope="module")
def laboratory() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(LITE / "page"))
        module = loaded(LITE / "page" / "laboratory.py")
        module.about()
        yield module
    products.use(None)


@pytest.fixture(scope="module")
def build() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(LITE))
        return loaded(LITE / "build.py")


@pytest.fixture(scope="module")
def multiply(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The kernel's function, from its source, compiled for this machine instead of for a browser."""
    compiler = shutil.which("clang") or shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler here")
    library = tmp_path_factory.mktemp("kernel") / "product.so"
    command = [compiler, "-O2", "-Wall", "-Werror", "-fPIC", "-shared", "-o", str(library)]
    subprocess.run([*command, str(LITE / "kernel" / "product.c")], check=True)
    function = ctypes.CDLL(str(library)).multiply
    function.argtypes = [ctypes.c_void_p] * 4 + [ctypes.c_int] * 7
    function.restype = None
    return function


def asked(laboratory: ModuleType, name: str, *args: Any) -> Any:
    return json.loads(laboratory.answer(name, *args))


def test_the_example_becomes_the_same_tokens_segment_by_segment(laboratory: ModuleType) -> None:
    segments: list[str] = []
    samples = npwhisper.load_audio(npwhisper.example())
    figures = json.loads(asked(laboratory, "transcribe", samples, "", segments.append)["value"])
    expected = npwhisper.transcribe(samples)["segments"]
    assert figures["tokens"] == [token for segment in expected for token in segment["tokens"]]
    assert [json.loads(segment)["text"] for segment in segments] == [segment["text"] for segment in expected]
    assert figures["calls"] == 0


@pytest.mark.slow
def test_a_layer_of_the_editor_is_called(laboratory: ModuleType) -> None:
    silence = np.zeros(16000, np.float32)
    code = "def gelu(x):\n    return x * normal_cdf(x)\n"
    figures = json.loads(asked(laboratory, "transcribe", silence, code, lambda _: None)["value"])
    assert figures["calls"] > 0


def test_every_layer_that_is_offered_runs_as_it_is_shown(laboratory: ModuleType) -> None:
    sources = asked(laboratory, "sources")["value"]
    assert set(sources) == set(laboratory.EDITABLE)
    for name, code in sources.items():
        assert list(laboratory.layers(code)) == [name]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("def gelu(x):\n    return x +\n", "line 2: SyntaxError: invalid syntax"),
        ("def gelu(x):\n    return x[..., 1:]\n", "gelu returned an array of shape"),
        ("def gelu(x):\n    return x / undefined\n", "line 2: NameError: name 'undefined' is not defined"),
        ("x = 1\n", "the code defines no layer: name the function gelu"),
    ],
)
def test_wrong_code_gets_a_sentence_with_its_line(laboratory: ModuleType, code: str, expected: str) -> None:
    result = asked(laboratory, "transcribe", np.zeros(16000, np.float32), code, lambda _: None)
    assert result["error"].startswith(expected)
    assert "\n" not in result["error"]


def test_the_model_before_is_let_go_before_another_is_read(laboratory: ModuleType, tmp_path: Path) -> None:
    def of_one_tensor(model: npwhisper.Whisper) -> weakref.ref[np.ndarray]:
        return weakref.ref(model.weights["decoder.token_embedding.weight"])

    before, here = of_one_tensor(laboratory.model()), []
    path = tmp_path / "own.safetensors"
    shutil.copy(LITE.parents[1] / "weights" / "tiny.en.safetensors", path)
    with pytest.MonkeyPatch.context() as patch:
        read = npwhisper.load_model
        patch.setattr(npwhisper, "load_model", lambda path: here.append(before()) or read(path))
        assert asked(laboratory, "load", path)["value"].startswith("<Whisper: 4 + 4 layers of 384")
    assert here == [None]
    own = of_one_tensor(laboratory.model())
    path.write_text("no weights")
    assert asked(laboratory, "load", path)["error"].startswith("own.safetensors: this is no checkpoint")
    assert own() is None
    assert asked(laboratory, "about")["value"] == repr(laboratory.default_model())


def test_cells_of_an_assignment_run_one_after_another(laboratory: ModuleType) -> None:
    first = asked(
        laboratory, "run_cell", "a1_layers", "import numpy as np\nfrom npwhisper import check\nprint('ready')"
    )
    assert json.loads(first["value"]) == {"text": "ready\n", "passed": None}
    right = "def softmax(x):\n    y = np.exp(x - x.max(-1, keepdims=True))\n    return y / y.sum(-1, keepdims=True)\n\n"
    assert json.loads(asked(laboratory, "run_cell", "a1_layers", f"{right}check(softmax)")["value"])["passed"] is True
    wrong = right.replace("return y", "return 2 * y")
    assert json.loads(asked(laboratory, "run_cell", "a1_layers", f"{wrong}check(softmax)")["value"])["passed"] is False
    broken = json.loads(asked(laboratory, "run_cell", "a1_layers", "x = 1\nx / 0")["value"])
    assert broken == {"text": "line 2: ZeroDivisionError: division by zero", "passed": False}


def test_a_cell_loads_the_embedded_model_that_is_in_memory(laboratory: ModuleType) -> None:
    source = "import npwhisper\nown = npwhisper.load_model()\nnpwhisper.load_model('nothing')"
    said = json.loads(asked(laboratory, "run_cell", "a3_cache", source)["value"])
    assert laboratory._spaces["a3_cache"]["own"] is laboratory.default_model()
    assert "no model is called 'nothing'" in said["text"]
    assert npwhisper.load_model() is not laboratory.default_model()


@pytest.mark.parametrize("lies", ["rows", "columns"])
@pytest.mark.parametrize("shape", [(1, 70, 90), (3, 64, 70), (7, 33, 41), (8, 65, 129), (11, 66, 31), (130, 19, 21)])
def test_the_kernel_is_numpys_product(multiply: Any, shape: tuple[int, int, int], lies: str) -> None:
    module = loaded(LITE / "page" / "kernel.py")
    compiled = module.Kernel(multiply)
    x, y = module.operands(*shape, lies)
    exact = x.astype(np.float64) @ y.astype(np.float64)
    most = shape[1] * 2.0**-24 * (np.abs(x) @ np.abs(y))
    assert shape[0] * shape[1] * shape[2] >= module.FEWEST
    assert (np.abs(compiled(x, y) - exact) <= most).all()
    assert (np.abs(compiled(x[::2], y[:, ::2]) - exact[::2, ::2]) <= most[::2, ::2]).all()
    stack = compiled(np.stack([x, -x]), np.stack([y, y])[None])
    assert stack.shape == (1, 2, shape[0], shape[2])
    assert (np.abs(stack[0, 1] + exact) <= most).all()
    assert not module.fault(compiled)


def test_a_kernel_that_is_wrong_anywhere_is_turned_off(laboratory: ModuleType) -> None:
    def nothing(x: int, y: int, z: int, panel: int, rows: int, *_: int) -> None:
        ctypes.memset(z, 0, 4 * rows)

    said = json.loads(asked(laboratory, "attach", nothing)["value"])
    assert said["fault"].endswith("are wrong")
    assert laboratory._kernel is None


@pytest.mark.slow
def test_the_kernel_gives_the_same_tokens_and_can_be_switched_off(laboratory: ModuleType, multiply: Any) -> None:
    calls: list[int] = []
    said = json.loads(asked(laboratory, "attach", lambda *args: (calls.append(args[4]), multiply(*args))[1])["value"])
    assert said["fault"] == ""
    assert said["numpy"] > 0 < said["simd"]
    samples = npwhisper.load_audio(npwhisper.example())
    tokens = {}
    for by in ("simd", "numpy"):
        asked(laboratory, "compute", by)
        calls.clear()
        tokens[by] = json.loads(asked(laboratory, "transcribe", samples, "", lambda _: None)["value"])["tokens"]
        assert bool(calls) == (by == "simd")
    assert tokens["simd"] == tokens["numpy"]


def test_without_a_compiler_the_build_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    compiling = loaded(LITE / "compiling.py")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert compiling.compile_kernel(tmp_path / "to").startswith(
        "clang was not found: the page computes with NumPy only"
    )
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["product.c"]


def test_packages_come_with_all_that_they_need(build: ModuleType) -> None:
    known = {"a": {"depends": ["b"]}, "b": {"depends": ["c"]}, "c": {"depends": []}, "d": {"depends": []}}
    assert build.closure(known, ["a"]) == ["a", "b", "c"]
    with pytest.raises(SystemExit, match="e is needed and is in no lock file"):
        build.closure({"a": {"depends": ["e"]}}, ["a"])


def test_a_file_is_taken_out_of_a_wheel_and_of_its_record(build: ModuleType, tmp_path: Path) -> None:
    wheel = tmp_path / "thing-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("thing/heavy.bin", b"heavy")
        archive.writestr("thing/__init__.py", b"")
        archive.writestr("thing-1.0.dist-info/RECORD", "thing/heavy.bin,,5\nthing/__init__.py,,0\n")
    assert build.without(wheel, "thing/heavy.bin") == b"heavy"
    with zipfile.ZipFile(wheel) as archive:
        assert set(archive.namelist()) == {"thing/__init__.py", "thing-1.0.dist-info/RECORD"}
        assert archive.read("thing-1.0.dist-info/RECORD") == b"thing/__init__.py,,0\n"


def test_a_folder_with_other_things_in_it_is_left_alone(build: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(SystemExit, match="is not empty and was not made by this command: give another folder"):
        build.build(tmp_path, tmp_path / "cache")
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_every_file_of_the_page_is_kept_for_a_visit_without_a_network() -> None:
    kept = re.search(r"const PAGE = \[(.*?)\]", (LITE / "page" / "sw.js").read_text(), re.DOTALL)
    assert kept
    names = set(re.findall(r'"(.*?)"', kept[1]))
    there = {path.name for path in (LITE / "page").iterdir() if path.suffix in (".html", ".css", ".js")}
    assert names == there - {"index.html", "sw.js"} | {"./"}


def test_text_is_inserted_into_a_page_at_one_place_only(tmp_path: Path) -> None:
    import lab

    page = tmp_path / "index.html"
    page.write_text("<head></head>")
    lab.insert(page, "<b>", before="</head>")
    assert page.read_text() == "<head><b></head>"
    page.write_text("<head></head></head>")
    with pytest.raises(SystemExit, match=r"has 2 times </head>: expected one"):
        lab.insert(page, "<b>", before="</head>")


def test_the_page_asks_no_other_server_for_anything() -> None:
    for path in (p for p in (LITE / "page").iterdir() if p.is_file()):
        assert "//" not in path.read_text(encoding="utf-8").replace("// ", ""), path.name


PACKAGES = {
    "numpy": [], "scipy": ["numpy"], "regex": [], "tiktoken": ["regex", "requests"], "tqdm": [], "micropip": [],
    "ipython": ["prompt_toolkit"], "prompt-toolkit": [], "jedi": [], "matplotlib": ["numpy"], "pandas": ["numpy"],
}  # fmt: skip
CDN = "https://cdn.jsdelivr.net/pyodide/v314.0.7/full/"


@pytest.fixture
def from_cdn(build: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """`static/pyodide` of a site that takes Pyodide from its public servers, with wheels that are nearly empty."""

    def listed(name: str) -> dict[str, Any]:
        file = f"{name.replace('-', '_')}-1.0-cp314-cp314-pyemscripten_2026_0_wasm32.whl"
        return {"name": name, "version": "1.0", "file_name": file, "imports": [name], "depends": PACKAGES[name]}

    def wheel(folder: Path, name: str) -> Path:
        path = folder / f"{name.replace('==', '-')}-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(build.WEIGHTS, b"weights")
        return path

    packages = {name: listed(name) for name in PACKAGES}
    monkeypatch.setattr(build, "runtime_lock", lambda cache: {"info": {"python": "3.14.2"}, "packages": packages})
    monkeypatch.setattr(build, "wheel_of", wheel)
    monkeypatch.setattr(build, "own_wheel", lambda folder: wheel(folder, "npwhisper-0.1.0"))
    (tmp_path / "cache").mkdir()
    build.assemble(tmp_path / "site", tmp_path / "cache", is_plain=False, is_from_cdn=True)
    return tmp_path / "site" / "static" / "pyodide"


def test_the_small_site_takes_pyodide_of_one_version_from_its_servers(from_cdn: Path) -> None:
    packages = json.loads((from_cdn / "pyodide-lock.json").read_text())["packages"]
    there = {name for name, package in packages.items() if package["file_name"].startswith(CDN)}
    assert there == set(PACKAGES) - {"pandas"}
    assert packages["prompt-toolkit"]["file_name"].startswith(f"{CDN}prompt_toolkit-1.0-")
    own = {packages[name]["file_name"] for name in packages.keys() - there}
    assert own == {"comm-0.2.3-py3-none-any.whl", "npwhisper-0.1.0-py3-none-any.whl"}
    assert {path.name for path in from_cdn.iterdir()} == own | {"pyodide.mjs", "pyodide-lock.json"}
    start = (from_cdn / "pyodide.mjs").read_text()
    assert f'from "{CDN}pyodide.mjs"' in start
    assert f'indexURL: "{CDN}"' in start
    assert start.count("https://") == 2


def test_every_needed_package_is_in_the_lock_file(build: ModuleType, from_cdn: Path) -> None:
    packages = json.loads((from_cdn / "pyodide-lock.json").read_text())["packages"]
    import lab

    assert set(build.closure(packages, (*build.NEEDED, *lab.PRELOADED))) == set(packages)
    assert packages["tiktoken"]["depends"] == ["regex"]


def test_the_page_counts_only_what_it_loads(build: ModuleType, from_cdn: Path) -> None:
    packages = json.loads((from_cdn / "pyodide-lock.json").read_text())["packages"]
    sizes = build.loaded_by_page(from_cdn.parents[1], packages)
    assert sizes["static/weights/tiny.en.safetensors"] == len(b"weights")
    assert "static/pyodide/npwhisper-0.1.0-py3-none-any.whl" in sizes
    assert "static/pyodide/comm-0.2.3-py3-none-any.whl" not in sizes


def test_the_lab_finds_python_and_the_weights_of_the_page() -> None:
    import lab

    data = lab.configuration("static/weights/tiny.en.safetensors", True)["jupyter-config-data"]
    kernel = data["litePluginSettings"][lab.KERNEL]
    site = "http://localhost/course/"
    assert urljoin(f"{site}lab/", kernel["pyodideUrl"]) == f"{site}static/pyodide/pyodide.mjs"
    weights = kernel["loadPyodideOptions"]["env"]["NPWHISPER_EMBEDDED_URL"]
    assert urljoin(f"{site}{lab.WORKER}worker.js", weights) == f"{site}static/weights/tiny.en.safetensors"
    assert kernel["disablePyPIFallback"] is True


def test_the_lab_has_every_notebook_for_its_kernel(tmp_path: Path) -> None:
    import lab

    lab.copy_notebooks(LITE.parent, tmp_path)
    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.ipynb"))
    assert len([name for name in found if name[0] in "01"]) == 11
    assert [name for name in found if name[0] == "a"] == [
        f"assignments/{path.name}" for path in sorted((LITE.parent / "assignments").glob("a*.ipynb"))
    ]
    for name in found:
        assert json.loads((tmp_path / name).read_text())["metadata"]["kernelspec"]["name"] == "python"


def test_page_and_lab_keep_their_files_in_the_same_cache() -> None:
    name = re.compile('"npwhisper VERSION_OF_THE_BUILD"')
    assert name.search((LITE / "page" / "sw.js").read_text())
    assert name.search((LITE / "shared_cache.js").read_text())
