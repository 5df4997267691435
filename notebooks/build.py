"""Make every notebook: `NN_name.py` is what is written by hand, `NN_name.ipynb` is the same with its outputs.

    python notebooks/build.py                  execute all and write the .ipynb files
    python notebooks/build.py 03 a2            only those whose names begin so
    python notebooks/build.py --check          execute all from a clean kernel, write nothing

Needs the extra `notebooks`. Each runs in an empty folder, with the npwhisper that is installed. A notebook that raises,
warns, writes to stderr or takes over two minutes is an error; so is an .ipynb whose cells are not those of its .py.

Cells with the tag `claim` are executed but not written into the .ipynb: they assert what the text says is to be seen.
The check of every exercise (tag `check`) must say at first that nothing is answered, must accept the folded solution,
and must reject the same answer spoiled.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).resolve().parent
LONGEST = 240  # seconds, on a machine that does other things too
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def sources(*beginnings: str) -> list[Path]:
    """The notebooks' .py files, in reading order; only those whose names begin with one of `beginnings`, if given."""
    found = [
        *sorted(FOLDER.glob("[0-9][0-9]_*.py")),
        *sorted(FOLDER.glob("assignments/a[0-9]_*.py")),
    ]
    return [path for path in found if not beginnings or path.name.startswith(beginnings)]


class Cell(NamedTuple):
    """A cell of the percent format: "code" or "markdown", its text, and its metadata as in the .ipynb."""

    kind: str
    source: str
    metadata: dict[str, Any]

    def has(self, tag: str) -> bool:
        return tag in self.metadata.get("tags", [])


def cells(text: str) -> list[Cell]:
    """Cut jupytext's percent format: ``# %%`` begins code, ``# %% [markdown]`` a text; metadata may follow."""
    found = []
    for part in re.split(r"^# %%", text, flags=re.MULTILINE)[1:]:
        head, _, body = part.partition("\n")
        metadata = {
            key: json.loads(value) for key, value in re.findall(r"(\w+)=(\{.*?\}|\[[^]]*\])", head)
        }
        if "[markdown]" in head:
            body = re.sub(r"^# ?", "", body, flags=re.MULTILINE)
        found.append(
            Cell("markdown" if "[markdown]" in head else "code", body.strip("\n"), metadata)
        )
    return found


def written(text: str) -> list[Cell]:
    """The cells that the .ipynb has: all but the claims."""
    return [cell for cell in cells(text) if not cell.has("claim")]


def solutions(text: str) -> list[str]:
    """The Python that the markdown cells fold away in ``<details>``, a text for each of them."""
    folded = [
        part
        for cell in cells(text)
        if cell.kind == "markdown"
        for part in cell.source.split("<details>")[1:]
    ]
    blocks = [
        re.findall(r"^```python\n(.*?)^```", part, re.MULTILINE | re.DOTALL) for part in folded
    ]
    return ["".join(block) for block in blocks]


REJECT = """
import numpy as np

def _spoiled(answer):
    if isinstance(answer, dict):
        return {key: _spoiled(value) for key, value in answer.items()}
    if isinstance(answer, (list, tuple)):
        return [_spoiled(part) for part in answer[:-1]]
    if isinstance(answer, (str, bytes)):
        return answer[:-1]
    return 1.5 * answer + 1 if isinstance(answer, (int, float, np.number, np.ndarray)) else None

def _reject(answer, is_right, hint=""):
    try:
        notebooks.exercise(_spoiled(answer), is_right, hint)
    except Exception:
        return
    raise AssertionError(f"a wrong answer is accepted: {_spoiled(answer)!r:.200}")
"""


def trials(text: str) -> list[str]:
    """What proves the exercises: each solution, then its check, which must print "Right.", then the same spoiled."""
    checks = [cell.source for cell in cells(text) if cell.has("check")]
    found = [REJECT] if checks else []
    for solution, check in zip(solutions(text), checks, strict=True):
        found += [solution, check, check.replace("notebooks.exercise(", "_reject(")]
    return found


def exercise_complaints(text: str, executed: list[Any]) -> list[str]:
    """Checks that do not say "Not answered yet" to begin with, or not "Right." to the solution."""
    n = len(cells(text))
    before = [c for c, cell in zip(executed, cells(text), strict=False) if cell.has("check")]
    wanted = [(c, "Not answered yet") for c in before] + [
        (c, "Right.") for c in executed[n + 2 :: 3]
    ]
    printed = [(c, wish, "".join(o.get("text", "") for o in c.outputs)) for c, wish in wanted]
    return [
        f"{c.source}\nprinted {output!r}, not {wish!r}"
        for c, wish, output in printed
        if wish not in output
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
    """Run a notebook in an empty folder, then its exercises: the notebook with its outputs, and seconds."""
    import nbformat
    from nbclient import NotebookClient

    text = path.read_text(encoding="utf-8")
    parts = [*cells(text), *(Cell("code", source, {}) for source in trials(text))]
    made = [
        getattr(nbformat.v4, f"new_{cell.kind}_cell")(
            cell.source, id=f"cell-{i}", metadata=cell.metadata
        )
        for i, cell in enumerate(parts)
    ]
    notebook = nbformat.v4.new_notebook(cells=made, metadata={"kernelspec": KERNEL})
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as empty:
        NotebookClient(notebook, timeout=LONGEST, resources={"metadata": {"path": empty}}).execute()
    seconds = time.perf_counter() - begin
    found = [
        c for cell in notebook.cells if cell.cell_type == "code" for c in complaints(cell.outputs)
    ]
    found += exercise_complaints(text, notebook.cells)
    if found or seconds > LONGEST:
        raise RuntimeError(f"{path.name} took {seconds:.0f} s and printed: {found}")
    keep = notebook.cells[: len(cells(text))]
    notebook.cells = [cell for cell in keep if "claim" not in cell.metadata.get("tags", [])]
    renumber(notebook.cells)
    return notebook, seconds


def renumber(kept: list[Any]) -> None:
    """Count the executed cells anew, without the claims between them."""
    code = [cell for cell in kept if cell.cell_type == "code"]
    for count, cell in enumerate(code, start=1):
        cell.execution_count = count
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = count


def lighter(picture: str) -> str:
    """A PNG in base64 with a palette of 96 colours: a third of the size, and hardly anybody sees it."""
    from PIL import Image

    file = io.BytesIO()
    image = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGBA")
    image.quantize(96, method=Image.Quantize.FASTOCTREE, dither=0).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def dumped(notebook: Any) -> str:
    """The notebook as JSON, without what changes from one run or machine to the next for no reason."""
    import nbformat

    for cell in notebook.cells:
        cell.metadata = {
            key: cell.metadata[key] for key in ("jupyter", "tags") if key in cell.metadata
        }
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
    found = json.loads(beside.read_text(encoding="utf-8"))["cells"]
    theirs = [Cell(c["cell_type"], "".join(c["source"]), c["metadata"]) for c in found]
    return theirs == written(path.read_text(encoding="utf-8"))


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
