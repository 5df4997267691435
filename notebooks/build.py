"""Make every notebook: `NN_name.py` is what is written by hand, `NN_name.ipynb` is the same with its outputs.

    python notebooks/build.py                  execute all and write the .ipynb files
    python notebooks/build.py 03 a2            only those whose names begin so
    python notebooks/build.py --check          execute all from a clean kernel, write nothing

Needs the extra `notebooks`. A notebook that raises, warns, writes to stderr, takes over two minutes, or whose folded
solutions fail, is an error; so is an .ipynb whose cells are not those of its .py.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import re
import sys
import time
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
LONGEST = 120  # seconds
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def sources(*beginnings: str) -> list[Path]:
    """The notebooks' .py files, in reading order; only those whose names begin with one of `beginnings`, if given."""
    found = [
        *sorted(FOLDER.glob("[0-9][0-9]_*.py")),
        *sorted(FOLDER.glob("assignments/a[0-9]_*.py")),
    ]
    return [path for path in found if not beginnings or path.name.startswith(beginnings)]


def cells(text: str) -> list[tuple[str, str]]:
    """Cut jupytext's percent format into (kind, source): ``# %%`` begins code, ``# %% [markdown]`` a commented text."""
    found = []
    for part in re.split(r"^# %%", text, flags=re.MULTILINE)[1:]:
        head, _, body = part.partition("\n")
        if head.strip() == "[markdown]":
            found.append(("markdown", re.sub(r"^# ?", "", body, flags=re.MULTILINE).strip("\n")))
        else:
            found.append(("code", body.strip("\n")))
    return found


def solutions(text: str) -> list[str]:
    """The Python blocks that the markdown cells fold away in ``<details>``."""
    folded = [
        part
        for kind, source in cells(text)
        if kind == "markdown"
        for part in source.split("<details>")[1:]
    ]
    return [
        block
        for part in folded
        for block in re.findall(r"^```python\n(.*?)^```", part, re.MULTILINE | re.DOTALL)
    ]


def complaints(outputs: list[Any]) -> list[str]:
    """What a reader should not see among the outputs of a cell."""
    texts = [output.get("text", "") if output.get("name") == "stderr" else "" for output in outputs]
    texts += [
        f"{output['ename']}: {output['evalue']}"
        for output in outputs
        if output["output_type"] == "error"
    ]
    return [text for text in texts if text]


def execute(path: Path) -> tuple[Any, float]:
    """Run a notebook, then its folded solutions, in a clean kernel: the notebook with its outputs, and seconds."""
    import nbformat
    from nbclient import NotebookClient

    text = path.read_text(encoding="utf-8")
    parts = [(kind, source) for kind, source in cells(text)]
    parts += [("code", source) for source in solutions(text)]
    made = [
        getattr(nbformat.v4, f"new_{kind}_cell")(source, id=f"cell-{i}")
        for i, (kind, source) in enumerate(parts)
    ]
    notebook = nbformat.v4.new_notebook(cells=made, metadata={"kernelspec": KERNEL})
    client = NotebookClient(
        notebook, timeout=LONGEST, resources={"metadata": {"path": str(path.parent)}}
    )
    begin = time.perf_counter()
    client.execute()
    seconds = time.perf_counter() - begin
    found = [
        c for cell in notebook.cells if cell.cell_type == "code" for c in complaints(cell.outputs)
    ]
    if found or seconds > LONGEST:
        raise RuntimeError(f"{path.name} took {seconds:.0f} s and printed: {found}")
    notebook.cells = notebook.cells[: len(cells(text))]
    return notebook, seconds


def lighter(picture: str) -> str:
    """A PNG in base64 with a palette of 96 colours: a third of the size, and hardly anybody sees it."""
    from PIL import Image

    file = io.BytesIO()
    Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB").quantize(96, dither=0).save(
        file, "PNG", optimize=True
    )
    return base64.b64encode(file.getvalue()).decode()


def dumped(notebook: Any) -> str:
    """The notebook as JSON, without what changes from one run or machine to the next for no reason."""
    import nbformat

    for cell in notebook.cells:
        cell.metadata = {}
        for data in (output["data"] for output in cell.get("outputs", []) if "data" in output):
            if "image/png" in data:
                data["image/png"] = lighter(data["image/png"])
    notebook.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    return nbformat.writes(notebook) + "\n"


def in_step(path: Path) -> bool:
    """Whether the .ipynb beside a .py has the same cells."""
    beside = path.with_suffix(".ipynb")
    if not beside.exists():
        return False
    written = json.loads(beside.read_text(encoding="utf-8"))["cells"]
    return [(c["cell_type"], "".join(c["source"])) for c in written] == cells(
        path.read_text(encoding="utf-8")
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Execute the notebooks and write their .ipynb files."
    )
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument("names", nargs="*", help="beginnings of names; by default all")
    arguments = parser.parse_args()
    failed = 0
    for path in sources(*arguments.names):
        try:
            notebook, seconds = execute(path)
            if arguments.check and not in_step(path):
                raise RuntimeError(
                    f"the .ipynb is not what the .py says: python notebooks/build.py {path.stem}"
                )
            if not arguments.check:
                path.with_suffix(".ipynb").write_text(dumped(notebook), encoding="utf-8")
            print(
                f"{path.stem}: {seconds:.1f} s, {path.with_suffix('.ipynb').stat().st_size // 1000} kB",
                flush=True,
            )
        except Exception as error:
            failed += 1
            print(f"{path.stem}: FAILED\n{error}", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
