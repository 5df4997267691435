"""Notebooks as they are handed in: what the tasks need is kept wherever it stands, the rest is left out and said."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest

from npwhisper.lab.grading.grader import Grader, seed_of
from npwhisper.lab.grading.notebook import Collected, NotebookError, collect, collect_script, main


def notebook(path: Path, *cells: str) -> Path:
    texts = [textwrap.dedent(cell).strip("\n") for cell in cells]
    content = [{"cell_type": "code", "source": text.splitlines(keepends=True)} for text in texts]
    path.write_text(json.dumps({"cells": content, "nbformat": 4}), encoding="utf-8")
    return path


def collected(tmp_path: Path, *cells: str) -> Collected:
    return collect(notebook(tmp_path / "alice.ipynb", *cells))


def names(found: Collected, *wanted: str) -> list[object]:
    """Run what was collected, and give what it defines."""
    defined: dict[str, object] = {}
    exec(found.code, defined)
    return [defined[name] for name in wanted]


def test_everything_that_a_task_names_is_kept_from_any_cell(tmp_path: Path) -> None:
    found = collected(
        tmp_path,
        "import math\nimport numpy as np",
        "erf = np.vectorize(math.erf)\nscale = lambda n: n / BASE",
        "BASE: float = 2.0\nTABLE = [0.0] * 3\nfor i in range(3):\n    TABLE[i] = i + 1",
        "ITEMS = []\nITEMS.append(1); ITEMS += [2]",
        "FRACTION = 0.5\nclass Half:\n    value = FRACTION\n",
        "try:\n    from nowhere import log\nexcept ImportError:\n    from math import log",
        "@np.vectorize\ndef gelu(x):\n    # a comment\n"
        "    return x * TABLE[0] * erf(x) * scale(len(ITEMS)) * Half.value + log(1)",
    )
    (gelu,) = names(found, "gelu")
    assert gelu(2.0) == pytest.approx(2 * 0.9953222650 * 1.0 * 0.5)  # type: ignore[operator]
    assert "# a comment" in found.code
    assert found.left_out == []


def test_what_no_task_needs_is_left_out_and_said(tmp_path: Path) -> None:
    found = collected(
        tmp_path,
        "%matplotlib inline\nimport numpy as np, seaborn\nimport torch",
        "def softmax(x):\n    e = np.exp(x)\n    return e / e.sum(-1, keepdims=True)\n\n\ncheck(softmax)",
        "x = np.ones(3)\nassert softmax(x)[0] == 7\nnp.testing.assert_allclose(x, 2)\nprint(1 / 0)",
        "if all(check(f) for f in [softmax]):\n    e = 3",
        "def unneeded(x=undefined): ...",
    )
    assert found.code == (
        "import numpy as np\n\n\ndef softmax(x):\n    e = np.exp(x)\n    return e / e.sum(-1, keepdims=True)\n"
    )
    assert [line.partition(":")[0] for line in found.left_out] == ["cell 1"] * 2 + ["cell 2"] + ["cell 3"] * 4 + [
        "cell 4",
        "cell 5",
    ]
    assert "cell 3: print(1 / 0)" in found.left_out
    assert "cell 4: if all(check(f) for f in [softmax]): ..." in found.left_out


def test_magics_and_cells_that_are_no_python_cost_only_themselves(tmp_path: Path) -> None:
    found = collected(
        tmp_path,
        "%%bash\nrm -rf /",
        "%%time\nA = 1",
        "!pip install x\nB = 2\nif B:\n    %timeit B\nnp.dot?\n?np",
        "C = 3\ndef scores(q, k):\n    return A + B + C + D + E\n"
        "this is no python\nD = 4\n@decorated\ndef broken(:\n    pass\nE = (\n    5\n)",
        "text = '''\n%not a magic\n'''\ndef linear(x, w):\n    return text",
    )
    scores, linear = names(found, "scores", "linear")
    assert scores(0, 0) == 15  # type: ignore[operator]
    assert linear(0, 0) == "\n%not a magic\n"  # type: ignore[operator]
    assert "cell 1: %%bash ...  (not Python)" in found.left_out
    assert "cell 4: this is no python  (not Python)" in found.left_out


def test_the_last_definition_counts_and_futures_come_first(tmp_path: Path) -> None:
    found = collected(
        tmp_path, "N = 1\ndef gelu(x): return 1", "from __future__ import annotations\nN = 2", "def gelu(x): return N"
    )
    assert found.code.startswith("from __future__")
    assert names(found, "gelu")[0](0) == 2  # type: ignore[operator]


def test_a_misspelt_task_is_kept_so_that_the_grader_can_say_so(tmp_path: Path) -> None:
    path = tmp_path / "alice.py"
    path.write_text(collected(tmp_path, "def embeding(tokens, w): ...").code)
    assert "has no function 'embedding': did you mean embeding?" in Grader(path, 10).run("embedding").report


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"cells": 3}', '{"cells": [', "[" * 100_000, '{"worksheets": []}', "null"],
    ids=range(9),
)
def test_what_is_no_notebook_is_one_sentence(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "broken.ipynb"
    broken.write_text(text)
    with pytest.raises(NotebookError, match=r"broken\.ipynb (cannot be read as a notebook|is empty)"):
        collect(broken)
    good = notebook(tmp_path / "good.ipynb", "def gelu(x): return x", "gelu(1)")
    assert main([str(broken), str(good), str(tmp_path / "x.py")]) == 1
    out = capsys.readouterr()
    assert out.out == f"{tmp_path / 'good.py'}\n    left out, cell 2: gelu(1)\n"
    assert len(out.err.splitlines()) == 2
    assert not (tmp_path / "broken.py").exists()


def test_damaged_cells_and_older_notebooks_are_read(tmp_path: Path) -> None:
    path = tmp_path / "old.ipynb"
    cells = [3, None, {}, {"cell_type": "code"}, {"cell_type": "code", "source": "def gelu(x): return x"}]
    path.write_text("\ufeff" + json.dumps({"cells": cells}), encoding="utf-8")
    assert collect(path).code == "def gelu(x): return x\n"
    path.write_text(
        json.dumps({"worksheets": [{"cells": [{"cell_type": "code", "input": ["def gelu(x):\n", " return 1"]}]}]})
    )
    assert collect(path).code == "def gelu(x):\n return 1\n"


def test_a_student_has_one_seed_in_both_forms() -> None:
    assert seed_of(Path("alice.ipynb")) == seed_of(Path("alice.py"))


FILLING = {
    "by a call alone": "TABLE = []\ndef fill():\n    TABLE.append(3)\nfill()",
    "a global": "TABLE = None\ndef fill():\n    global TABLE\n    TABLE = [3]\nfill()",
    "its argument": "TABLE = []\ndef fill(n, x):\n    x.append(n)\nfill(3, x=TABLE)",
    "through another": "TABLE = []\ndef add(x):\n    x += [3]\n    x[0] = 3\ndef fill():\n    add(TABLE)\nfill()",
    "in a loop": "TABLE = [0]\ndef fill(i):\n    TABLE[i] = 3\nfor i in range(1):\n    fill(i)",
    "by a decorator": "TABLE = []\ndef register(f):\n    TABLE.append(3)\n    return f\n@register\ndef other(): ...",
    "with a result that nobody needs": "TABLE = [0]\ndef fill():\n    TABLE[0] = 3\n    return 1\ndone = fill()",
    "and itself": "TABLE = []\ndef fill(n=0):\n    TABLE.append(3)\n    if n:\n        fill(n - 1)\nfill(2)",
}


@pytest.mark.parametrize("way", FILLING)
def test_a_call_that_fills_what_a_task_needs_is_kept(tmp_path: Path, way: str) -> None:
    found = collected(tmp_path, FILLING[way], "def gelu(x):\n    return TABLE[0]")
    assert names(found, "gelu")[0](0) == 3  # type: ignore[operator]
    assert found.left_out == []


def test_calls_that_fill_nothing_a_task_needs_are_left_out_and_said(tmp_path: Path) -> None:
    helpers = "SEEN = []\ndef show(f):\n    SEEN.append(f)\n    g = [f]\n    g[0] = 1\ndef gelu(x):\n    return x"
    found = collected(tmp_path, helpers, "show(gelu)", "import sys\nsys.setrecursionlimit(5000)\nsys.exit()")
    assert found.code == "def gelu(x):\n    return x\n\n\nimport sys\n\n\nsys.setrecursionlimit(5000)\n"
    assert found.left_out == [
        "cell 1: SEEN = []",
        "cell 1: def show(f): ...",
        "cell 2: show(gelu)",
        "cell 3: sys.exit()",
    ]


def test_a_changed_checker_is_kept_so_that_the_grader_refuses_it(tmp_path: Path) -> None:
    path = tmp_path / "alice.py"
    cells = ("import npwhisper.lab.checking as c\nc._wrong = 0", "import math\nmath.pi = 3", "def gelu(x): return x")
    found = collected(tmp_path, *cells)
    path.write_text(found.code)
    assert "math" not in found.code
    verdict = Grader(path, 10).grade("gelu")
    assert (verdict.status, verdict.report) == (
        "refused",
        "gelu: line 4: the file changes npwhisper.lab.checking._wrong, so that nothing in it counts",
    )


def test_what_one_task_needs_stays_in_its_line() -> None:
    text = "A = 1; B = 2\n\ndef linear(x, w): return A + B\n\n# here\nC = A; D = C\ndef gelu(x):\n    return D\n"
    assert collect_script(text).code == text.replace("# here", "")
    assert collect_script(text, ("gelu",)).code == "A = 1\n\n\n\n\nC = A; D = C\ndef gelu(x):\n    return D\n"
    assert collect_script(text, ("linear",)).code == "A = 1; B = 2\n\ndef linear(x, w): return A + B\n"
