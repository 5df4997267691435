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
    "tracing", "compute", "model", "checkpoint", "audio", "tokenizer", "decoding", "timing", "transcription", "output",
    "torch_names", "whisper", "corpus", "lab", "__main__", "compat",
]  # fmt: skip


def module(path: Path) -> str:
    """The package of a file, or the file itself where it stands alone."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


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


def test_every_package_has_its_place() -> None:
    assert sorted(ORDER) == sorted({module(path) for path in SOURCES} - {"__init__"})


@pytest.mark.parametrize("path", [p for p in SOURCES if p != PACKAGE / "__init__.py"], ids=identity)
def test_a_package_imports_only_what_stands_before_it(path: Path) -> None:
    mine = ORDER.index(module(path))
    ours = {name.split(".")[1] for name in imports(parsed(path)) if name.startswith("npwhisper.")}
    later = {name for name in ours & set(ORDER) if ORDER.index(name) > mine}
    assert not later, f"{module(path)} imports {later}, which stand after it"


@pytest.mark.parametrize("path", SOURCES, ids=identity)
def test_heavy_libraries_are_imported_where_they_are_used(path: Path) -> None:
    top = ast.Module([node for node in parsed(path).body if isinstance(node, (ast.Import, ast.ImportFrom))], [])
    names = {name.split(".")[0] for name in imports(top)}
    assert not names & (HEAVY | FORBIDDEN) or path.name == "grading.py"


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


def test_transcribing_imports_no_torch_and_names_are_public() -> None:
    code = "import sys, npwhisper; npwhisper.transcribe(npwhisper.example()); print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout.strip() == "False"


def test_every_public_name_exists_and_has_a_docstring() -> None:
    import npwhisper

    for name in npwhisper.__all__:
        assert getattr(npwhisper, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'trancribe'"):
        _ = npwhisper.trancribe


FORBIDDEN_CALLS = {"is_handled", "limit", "run", "run_alone", "set_num_threads", "get_num_threads", "isinstance"}


@pytest.mark.parametrize("name", ["layers.py"])
def test_layers_are_formulas_only(name: str) -> None:
    tree = parsed(PACKAGE / "model" / name)
    assert not imports(tree) & {"threading", "concurrent.futures", "npwhisper.compute.threads"}
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert calls
    for call in calls:
        assert not {keyword.arg for keyword in call.keywords} & {"out", "rows", "block"}, ast.unparse(call)
        called = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        assert called not in FORBIDDEN_CALLS, ast.unparse(call)
