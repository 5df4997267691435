"""Make a file that can be graded out of a notebook that was handed in.

    python collect.py alice.ipynb bob.ipynb          writes alice.py and bob.py beside them

Only imports, functions, classes and plain constants are taken over; nothing is executed here. Grading
runs that code in processes of its own, which are no sandbox: .github/SECURITY.md has a recipe for one.
"""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path

DEFINITIONS = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)


def code_of(path: Path) -> list[str]:
    """The code cells of a notebook."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def definitions(code: str) -> list[str]:
    """The definitions at the top level of a cell, as source; a cell that is not Python becomes a comment."""
    plain = "\n".join(
        "" if line.lstrip().startswith(("%", "!")) else line for line in code.splitlines()
    )
    try:
        tree = ast.parse(plain)
    except SyntaxError as error:
        return [f"# a cell was left out: {error}"]
    return [
        ast.unparse(node)
        for node in tree.body
        if isinstance(node, DEFINITIONS) or _is_constant(node)
    ]


def _is_constant(node: ast.stmt) -> bool:
    """Whether this gives names to numbers, texts or containers of them."""
    if not isinstance(node, ast.Assign):
        return False
    try:
        ast.literal_eval(node.value)
    except ValueError:
        return False
    return True


def collect(path: Path) -> Path:
    """Write the definitions of a notebook to a .py file beside it."""
    if path.suffix != ".ipynb":
        raise ValueError(f"{path} is not a notebook: give files that end in .ipynb")
    target = path.with_suffix(".py")
    parts = [part for cell in code_of(path) for part in definitions(cell)]
    target.write_text("\n\n\n".join(parts) + "\n", encoding="utf-8")
    return target


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        print(collect(Path(argument)))
