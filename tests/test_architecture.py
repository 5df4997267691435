"""The shape of the house: the README's reading order is the import order, files and functions stay small."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "npwhisper"
SOURCES = sorted(PACKAGE.rglob("*.py"))
HEAVY = {"matplotlib", "pooch", "pytest", "safetensors", "scipy", "soundfile", "tiktoken", "tqdm"}
FORBIDDEN = {"torch", "whisper", "transformers", "numba"}


ORDER = [  # a package imports only what stands before it
    "tracing", "compute", "model", "checkpoint", "audio", "tokenizer", "decoding", "timing", "transcription",
    "whisper", "lab", "__main__", "compat",
]  # fmt: skip


def package(name: str) -> str:
    """The package of a dotted name; the names for other people's imports are a package of their own, which is last."""
    return "compat" if name.startswith("npwhisper.whisper.compat") else name.split(".")[1]


def module(path: Path) -> str:
    """The package of a file, or the file itself where it stands alone."""
    return package(".".join(path.relative_to(ROOT).with_suffix("").parts))


def imports(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "npwhisper":
            names |= {f"npwhisper.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def identity(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def test_the_package_is_seen_at_a_glance() -> None:
    assert len([path for path in PACKAGE.iterdir() if path.name != "__pycache__"]) <= 14


def test_every_package_has_its_place() -> None:
    assert sorted(ORDER) == sorted({module(path) for path in SOURCES} - {"__init__"})


def test_the_tests_have_the_folders_of_the_package() -> None:
    folders = {path.parent.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("test_*.py")}
    beside = {Path("parity"), Path("notebooks")}
    assert [folder for folder in folders - beside if not (PACKAGE / folder).is_dir()] == []


@pytest.mark.parametrize("path", [p for p in SOURCES if p != PACKAGE / "__init__.py"], ids=identity)
def test_a_package_imports_only_what_stands_before_it(path: Path) -> None:
    mine = ORDER.index(module(path))
    ours = {package(name) for name in imports(parsed(path)) if name.startswith("npwhisper.")}
    later = {name for name in ours & set(ORDER) if ORDER.index(name) > mine}
    assert not later, f"{module(path)} imports {later}, which stand after it"


@pytest.mark.parametrize("path", SOURCES, ids=identity)
def test_heavy_libraries_are_imported_where_they_are_used(path: Path) -> None:
    top = ast.Module([node for node in parsed(path).body if isinstance(node, (ast.Import, ast.ImportFrom))], [])
    names = {name.split(".")[0] for name in imports(top)}
    assert not names & (HEAVY | FORBIDDEN) or path.parent.name == "grading"


@pytest.mark.parametrize("path", SOURCES, ids=identity)
def test_functions_stay_short(path: Path) -> None:
    for node in ast.walk(parsed(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.end_lineno:
            body = node.body[1:] if ast.get_docstring(node) else node.body
            length = (node.end_lineno - body[0].lineno + 1) if body else 0
            assert length <= 35, f"{path.name}: {node.name} has {length} lines"


@pytest.mark.parametrize("path", sorted((PACKAGE / "model").glob("*.py")), ids=identity)
def test_the_network_has_no_einsum_and_no_file_access(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert not re.search(r"\beinsum\b|\bopen\(|\bPath\b", source)


def test_importing_the_package_imports_not_even_numpy() -> None:
    code = "import sys, npwhisper; print(sorted({m.split('.')[0] for m in sys.modules} & set(sys.argv[1:])))"
    heavy = ["numpy", *HEAVY, *FORBIDDEN]
    run = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout.strip() == "[]"


def test_transcribing_imports_no_torch_and_names_are_public(talker_file: Path) -> None:
    code = (
        "import sys, npwhisper; npwhisper.transcribe(npwhisper.example(), sys.argv[1], temperature=0);"
        "print('torch' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(talker_file)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert run.stdout.strip() == "False"


def test_every_public_name_exists_and_has_a_docstring() -> None:
    import npwhisper

    for name in npwhisper.__all__:
        assert getattr(npwhisper, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'trancribe'"):
        _ = npwhisper.trancribe


MODEL = sorted((PACKAGE / "model").glob("*.py"))
NOT_IN_FORMULAS = {  # names of how something is computed, or of who is watching
    "Int8Matrix", "ascontiguousarray", "blas_libraries", "by_parts", "copyto", "get_num_threads", "getattr",
    "is_handled", "is_inside", "isinstance", "limit_blas", "run", "run_alone", "set_num_threads", "using_threads",
}  # fmt: skip
CHECKS = re.compile("_checked_")  # methods of Network that look at what a user passed


def used(tree: ast.AST) -> set[str]:
    """Every name and attribute that the code reads, called or not."""
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return names | {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def faults(tree: ast.AST) -> set[str]:
    """What makes a file of `model/` more than formulas."""
    modules = {"threading", "concurrent", "concurrent.futures", "multiprocessing", "npwhisper.compute.threads"}
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    keywords = {node.arg for node in ast.walk(tree) if isinstance(node, ast.keyword)}
    found = imports(tree) & modules | (used(tree) | imported) & NOT_IN_FORMULAS | keywords & {"out", "rows", "block"}
    for node in ast.walk(tree):
        is_formula = isinstance(node, ast.FunctionDef) and not CHECKS.match(node.name)
        if is_formula and any(isinstance(n, ast.Compare) and used(n) & {"dtype", "kind"} for n in ast.walk(node)):
            found.add("a test of a dtype")
    return found


@pytest.mark.parametrize("path", MODEL, ids=identity)
def test_the_model_is_formulas_only(path: Path) -> None:
    assert not faults(parsed(path))


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("import threading", "threading"),
        ("from concurrent.futures import Future", "concurrent.futures"),
        ("from npwhisper.tracing.seam import is_handled", "is_handled"),
        ("@limit_blas(1)\ndef f(x): ...", "limit_blas"),
        ("np.exp(x, out=x)", "out"),
        ("def f(x):\n    return x if x.dtype == np.float32 else 0", "a test of a dtype"),
    ],
)
def test_what_is_not_a_formula_is_found(code: str, fault: str) -> None:
    assert faults(ast.parse(code)) == {fault}


def test_the_whole_model_is_read_in_one_sitting() -> None:
    assert [path.stem for path in MODEL] == ["__init__", "attention", "blocks", "cache", "layers", "network"]
    assert sum(len(path.read_text(encoding="utf-8").splitlines()) for path in MODEL) <= 600
