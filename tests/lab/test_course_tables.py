"""Tables, pages and Gradescope's results of a class, from marks that hold whatever students can write."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from npwhisper.lab.course.feedback import page, write_feedback
from npwhisper.lab.course.marking import NOT_GRADED, Mark, Marks, Options, seed_for
from npwhisper.lab.course.similarity import fingerprints, similar_pairs
from npwhisper.lab.course.tables import as_csv, as_gradescope, as_json, as_table, needs_a_look

WRONG = Mark("softmax", 0.5, 2, "wrong", "softmax: 1 of 4 cases right\n  wrong  <b>ordinary</b>", 1, 4)
RIGHT = Mark("gelu", 2, 2, "right", "", 5, 5)


def marks(student: str = "ann", notes: tuple[str, ...] = (), *of: Mark) -> Marks:
    return Marks(student, "17", False, "a1.py", of or (RIGHT, WRONG), notes, "x = '</pre>'\n", ("line 3: <i>",))


def test_no_cell_is_a_formula() -> None:
    names = ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", "\n=1", "\r+1", " =1", 'a,b"c\nd']
    rows = list(csv.reader(io.StringIO(as_csv([marks(name, (name,)) for name in names]))))
    assert len(rows) == 1 + len(names)
    assert all(len(row) == len(rows[0]) for row in rows)
    assert not any(cell[:1] in ("=", "+", "-", "@", "\t", "\r", "\n", " ") for row in rows for cell in row)
    assert rows[1][0] == "'=cmd|' /C calc'!A0"
    assert rows[-1][0] == 'a,b"c d'


def test_the_points_of_a_row_and_the_sum() -> None:
    (row,) = csv.DictReader(io.StringIO(as_csv([marks()])))
    assert (row["gelu"], row["softmax"], row["points"], row["of"]) == ("2", "0.5", "2.5", "4")
    assert row["not right"] == "softmax: wrong"
    assert "ann    2.5/4  1 wrong" in as_table([marks()])


def test_json_holds_all_but_the_code() -> None:
    (student,) = json.loads(as_json([marks()], []))["students"]
    assert (student["points"], student["of"], student["left_out"]) == (2.5, 4, ["line 3: <i>"])
    assert student["marks"][1]["report"] == WRONG.report
    assert not {"code", "shapes"} & set(student)


def test_results_as_gradescopes_specification_says() -> None:
    """https://gradescope-autograders.readthedocs.io/en/latest/specs/: what a key may hold."""
    results = json.loads(as_gradescope(marks("ann", ("a\x1b[2Jnote",))))
    visible = {"hidden", "after_due_date", "after_published", "visible"}
    forms = {"text", "html", "simple_format", "md", "ansi"}
    assert isinstance(results["execution_time"], (int, float))
    assert {results["visibility"], results["stdout_visibility"]} <= visible
    assert {results["output_format"], results["test_output_format"]} <= forms
    assert results["output"] == "Graded: a1.py\na\\x1b[2Jnote"
    assert "score" not in results  # then it is the sum of the tests'
    for test in results["tests"]:
        assert set(test) <= {"score", "max_score", "status", "name", "number", "output", "tags", "visibility"}
        assert 0 <= test["score"] <= test["max_score"]
        assert test["status"] in ("passed", "failed")
        assert test["visibility"] in visible
        assert all(isinstance(tag, str) for tag in test["tags"])
    assert [test["number"] for test in results["tests"]] == ["1", "2"]
    assert results["tests"][1]["output"].startswith("wrong\nsoftmax: 1 of 4 cases right")


def test_pages_run_nothing_and_stay_in_their_folder(tmp_path: Path) -> None:
    class_marks = [marks("<script>alert(1)</script>"), marks("../../up"), marks("org/ann"), marks("ANN"), marks("ann")]
    paths = write_feedback(class_marks, tmp_path / "pages")
    assert sorted(path.name for path in (tmp_path / "pages").iterdir()) == sorted(path.name for path in paths)
    assert len({path.name.casefold() for path in paths}) == 5
    assert {path.name for path in paths} >= {"up_17.html", "org_ann_17.html"}
    text = page(class_marks[0])
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert "&lt;b&gt;ordinary&lt;/b&gt;" in text
    assert "&#x27;&lt;/pre&gt;&#x27;" in text
    assert "line 3: &lt;i&gt;" in text
    assert "<strong>2.5 of 4 points</strong>" in text


def test_whom_the_grader_failed_is_said() -> None:
    failed = marks("bob", (), Mark("gelu", 0, 2, NOT_GRADED, "the grader failed"))
    assert needs_a_look([marks(), failed]) == ["bob"]


def test_a_private_word_makes_other_seeds_for_each_student() -> None:
    secret = Options("a1", secret="word")
    seeds = {seed_for(name, options) for name in ("ann", "bob", "org/ann") for options in (secret, Options("a1"))}
    assert len(seeds) == 6
    assert seed_for("ann", secret) == seed_for("ann", secret) != seed_for("ann", Options("a1", secret="other"))
    assert {seed_for(name, Options("a1", seed=7, secret="word")) for name in ("ann", "bob")} == {7}


NORM = """
def layer_norm(x, w, eps=1e-5):
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred**2).mean(axis=-1, keepdims=True)
    return centred / np.sqrt(variance + eps) * w["weight"] + w["bias"]
"""
COPIED = (
    NORM.replace("centred", "a")
    .replace("variance", "b")
    .replace("\n    return", '\n    "text"\n    # mine\n    return')
)
OTHER = """
def layer_norm(x, w, eps=1e-5):
    n = x.shape[-1]
    mean = x.sum(-1)[..., np.newaxis] / n
    d = x - mean
    std = np.sqrt(np.square(d).sum(-1)[..., np.newaxis] / n + eps)
    y = d / std * w["weight"] + w["bias"]
    return y.astype(np.float32)
"""


def test_a_renamed_copy_is_listed_and_another_answer_is_not() -> None:
    shapes = {name: fingerprints(code) for name, code in {"ann": NORM, "bob": COPIED, "cid": OTHER}.items()}
    (pair,) = similar_pairs(shapes, 0.8, "a1")
    assert (pair.first, pair.second, pair.score, pair.same) == ("ann", "bob", 1.0, ["layer_norm"])
