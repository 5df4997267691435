"""Execute the notebooks in the browser's Python, under Node: every cell, every solution, every rejected answer.

    python notebooks/lite/build.py --to FOLDER
    python notebooks/lite/run_notebooks.py FOLDER [00 a2 ...]

The kernel is the one of the site's JupyterLab, with the packages and weights of the site. What raises or writes to
stderr is an error, as in `notebooks/build.py`, whose cells these are. Needs Node 20 or newer.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

HERE = Path(__file__).resolve().parent


def notebooks() -> ModuleType:
    """The script that makes the notebooks: it knows their cells."""
    spec = importlib.util.spec_from_file_location("notebooks_build", HERE.parent / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def executed(site: Path, cells: list[str], *options: str) -> Iterator[dict[str, Any]]:
    """Run cells in a fresh kernel, with the options of cells.mjs; the result of each as it comes."""
    node = shutil.which("node") or sys.exit("node was not found: install Node 20 or newer")
    process = subprocess.Popen([node, str(HERE / "cells.mjs"), str(site), *options], text=True, encoding="utf-8",
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdin.write(json.dumps(cells))
    process.stdin.close()
    yield from (json.loads(line) for line in process.stdout)
    if process.wait():
        raise RuntimeError(process.stderr.read()[-2000:])


def complaint(source: str, result: dict[str, Any], wish: str) -> str:
    """What is wrong with the result of a cell; empty if nothing is."""
    wrong = result["error"] or result["stderr"]
    if not wrong and wish not in result["stdout"]:
        wrong = f"printed {result['stdout']!r}, not {wish!r}"
    return f"{source}\n--> {wrong}\n" if wrong else ""


def wishes(made: Any, text: str) -> list[tuple[str, str]]:
    """Every piece of code of a notebook, with what it must print: its cells, then the trials of its exercises."""
    code = [cell for cell in made.cells(text) if cell.kind == "code"]
    found = [(cell.source, "Not answered yet" if cell.has("check") else "") for cell in code]
    trials = made.trials(text)
    return found + [(trial, "Right." if i % 3 == 2 else "") for i, trial in enumerate(trials)]


def run(site: Path, made: Any, path: Path, *options: str) -> bool:
    """Run one notebook; prints how many pieces of code did as they should, and what did not."""
    pieces = wishes(made, path.read_text(encoding="utf-8"))
    right, seconds = 0, 0.0
    for (source, wish), result in zip(
        pieces, executed(site, [source for source, _ in pieces], *options), strict=True
    ):
        wrong = complaint(source, result, wish)
        right, seconds = right + (not wrong), seconds + result["seconds"]
        print(wrong, end="", flush=True)
    print(
        f"{path.stem}: {right} of {len(pieces)} cells, {seconds:.0f} s of processor time",
        flush=True,
    )
    return right == len(pieces)


def main() -> None:
    """The command line."""
    about, _, more = (__doc__ or "").partition("\n\n")
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=about, epilog=more, formatter_class=form)
    parser.add_argument("site", type=Path, help="what build.py made, with JupyterLab")
    parser.add_argument("names", nargs="*", help="beginnings of names; by default all")
    parser.add_argument(
        "--simd", action="store_true", help="products by the page's kernel, several times faster"
    )
    args = parser.parse_intermixed_args()
    options = ["simd"] if args.simd else []
    made = notebooks()
    results = [run(args.site.resolve(), made, path, *options) for path in made.sources(*args.names)]
    sys.exit(
        f"{results.count(False)} of {len(results)} notebooks failed" if not all(results) else 0
    )


if __name__ == "__main__":
    main()
