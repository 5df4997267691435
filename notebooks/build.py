"""Make every notebook: `NN_name.py` is what is written by hand, `NN_name.ipynb` is the same with its outputs.

    python notebooks/build.py                  execute all and write the .ipynb files
    python notebooks/build.py 03 a2            only those whose names begin so
    python notebooks/build.py --check          execute all from a clean kernel, write nothing
    python notebooks/build.py --repository OWNER/NAME     execute nothing, write a badge that opens each .ipynb in Colab

Needs the extra `notebooks`. Each runs in an empty folder, with the npwhisper that is installed. A notebook that raises,
warns, writes to stderr or takes over four minutes is an error; so is an .ipynb whose cells are not those of its .py.

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
BADGE = (
    "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({address})\n\n"
)
COLAB = "https://colab.research.google.com/github/{repository}/blob/{branch}/{notebook}"
IS_BADGE = re.compile(r"\A\[!\[Open in Colab\]\(\S+\)\]\(\S+\)\n\n")
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
    texts = ["".join(cell["source"]) for cell in found]
    theirs = [
        Cell(cell["cell_type"], IS_BADGE.sub("", text), cell["metadata"])
        for cell, text in zip(found, texts, strict=True)
    ]
    return theirs == written(path.read_text(encoding="utf-8"))


def is_numbered(path: Path) -> bool:
    """Whether the code cells of the .ipynb beside a .py are numbered 1, 2, ... without a gap."""
    found = json.loads(path.with_suffix(".ipynb").read_text(encoding="utf-8"))["cells"]
    counts = [cell["execution_count"] for cell in found if cell["cell_type"] == "code"]
    return counts == list(range(1, len(counts) + 1))


def badge_of(beside: Path) -> str:
    """The badge with which an .ipynb begins, or nothing."""
    if not beside.exists():
        return ""
    first = json.loads(beside.read_text(encoding="utf-8"))["cells"][0]
    found = IS_BADGE.match("".join(first["source"]))
    return found[0] if found else ""


def with_badge(notebook: Any, badge: str) -> Any:
    """The notebook, beginning with this badge in the place of any other."""
    first = notebook["cells"][0]
    first["source"] = badge + IS_BADGE.sub("", "".join(first["source"]))
    return notebook


def write_badge(path: Path, repository: str, branch: str) -> None:
    """Let the .ipynb beside a .py begin with a badge that opens it in Colab."""
    import nbformat

    beside = path.with_suffix(".ipynb")
    notebook = nbformat.read(beside, as_version=4)
    place = beside.relative_to(FOLDER.parent).as_posix()
    address = COLAB.format(repository=repository, branch=branch, notebook=place)
    text = nbformat.writes(with_badge(notebook, BADGE.format(address=address))) + "\n"
    beside.write_text(text, encoding="utf-8")


def make(path: Path, is_check: bool) -> str:
    """Execute a notebook, and write its .ipynb or compare with it: a line that says so."""
    beside = path.with_suffix(".ipynb")
    notebook, seconds = execute(path)
    if not is_check:
        beside.write_text(dumped(with_badge(notebook, badge_of(beside))), encoding="utf-8")
    elif not (in_step(path) and is_numbered(path)):
        raise RuntimeError(
            f"the .ipynb is not what the .py says: python notebooks/build.py {path.stem}"
        )
    return f"{path.stem}: {seconds:.1f} s, {beside.stat().st_size // 1000} kB"


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Execute the notebooks and write their .ipynb files."
    )
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument("--repository", metavar="OWNER/NAME", help="on GitHub: only write badges")
    parser.add_argument("--branch", default="main", help="of the repository (main)")
    parser.add_argument("names", nargs="*", help="beginnings of names; by default all")
    arguments = parser.parse_args()
    if arguments.repository and not re.fullmatch(r"[\w.-]+/[\w.-]+", arguments.repository):
        parser.error(f"--repository {arguments.repository}: give OWNER/NAME, as on GitHub")
    return arguments


def main() -> int:
    arguments = parsed()
    failed = 0
    for path in sources(*arguments.names):
        if arguments.repository:
            write_badge(path, arguments.repository, arguments.branch)
            continue
        try:
            print(make(path, arguments.check), flush=True)
        except Exception as error:
            failed += 1
            print(f"{path.stem}: FAILED\n{error}", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
