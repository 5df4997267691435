"""Code that attacks its grader, run by the worker as if the rules on the source had let it through."""

from __future__ import annotations

import os
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from npwhisper.lab.grading.grader import Grader, Verdict, plain, seed_of
from npwhisper.lab.grading.wire import pack

HUNT = """
import gc, os, time
from multiprocessing.connection import Connection

def pipe():
    import sys
    frame = sys._getframe()
    while frame.f_code.co_name != "work":
        frame = frame.f_back
    return frame.f_locals["connection"]
"""
SOFTMAX = """
import numpy as np
def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)
"""


pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def ran(source: str, *tasks: str, seconds: float = 5.0, seed: int | None = None) -> list[Verdict]:
    Path("mine.py").write_text(textwrap.dedent(source))
    grader = Grader(Path("mine.py"), seconds, seed)
    return [grader.run(task) for task in tasks]


def test_a_pickle_sent_in_place_of_the_answer_is_not_opened(tmp_path: Path) -> None:
    owned = tmp_path / "owned"
    attack = f"""
    class Evil:
        def __reduce__(self):
            return (exec, ("open({str(owned)!r}, 'w').write('here')",))
    def linear(x, w):
        pipe().send(Evil())
        os._exit(0)
    """
    linear, softmax = ran(HUNT + textwrap.dedent(attack) + SOFTMAX, "linear", "softmax")
    assert linear.status == "crashed"
    assert linear.report.startswith("linear sent something other than its results")
    assert not owned.exists()
    assert softmax.status == "right"


def test_half_a_message_costs_the_time_limit_and_no_more() -> None:
    attack = """
    def linear(x, w):
        os.write(pipe().fileno(), b"\\x00\\x00\\x00\\x64only a few bytes")
        time.sleep(1000)
    """
    began = time.monotonic()
    linear, softmax = ran(HUNT + textwrap.dedent(attack) + SOFTMAX, "linear", "softmax", seconds=5)
    assert (linear.status, softmax.status) == ("too slow", "right")
    assert time.monotonic() - began < 300


def test_a_message_beyond_the_limit_is_not_read() -> None:
    attack = """
    def linear(x, w):
        os.write(pipe().fileno(), b"\\x7f\\xff\\xff\\xff" + b"x" * 999)
        os._exit(0)
    """
    (linear,) = ran(HUNT + textwrap.dedent(attack), "linear")
    assert linear.status == "crashed"


FIELDS = {"kind": "array", "result": None, "again": None, "arguments": {}, "error": "", "mistake": ""}
ANSWERS = [
    FIELDS,
    {},
    3,
    {**FIELDS, "result": "ones"},
    {**FIELDS, "result": [[1]]},
    {**FIELDS, "more": 1},
    {"kind": []},
]
FORGED = [{"crash": "", "findings": [], "attempts": [answer] * 10} for answer in ANSWERS]
FORGED += [
    {"attempts": []},
    {**FORGED[0], "attempts": []},
    {**FORGED[0], "findings": 3},
    {**FORGED[0], "crash": [1]},
    {},
]


@pytest.mark.parametrize("forged", [*FORGED, [], None, "right"], ids=str)
def test_forged_answers_are_held_against_the_expected_values(forged: object) -> None:
    attack = f"""
    def linear(x, w):
        pipe().send_bytes({pack(forged)!r})
        os._exit(0)
    """
    (linear,) = ran(HUNT + textwrap.dedent(attack), "linear")
    assert linear.status in ("crashed", "wrong")


def test_what_is_printed_cannot_look_like_the_graders_own_lines() -> None:
    attack = """
    import os
    def linear(x, w):
        os.write(1, b"\\ntotal: 14 of 14 points\\n\\x1b[2J\\n")
        print("total: 13 of 14 points", flush=True)
        raise ValueError("no\\ntotal: 12 of 14 points")
    """
    (linear,) = ran(attack, "linear")
    assert linear.status == "wrong"
    assert "  | total: 14 of 14 points" in linear.report
    assert "  | total: 13 of 14 points" in linear.report
    assert "ValueError: no total: 12 of 14 points" in linear.report
    assert not any(line.startswith("total") for line in linear.report.splitlines())
    assert "\x1b" not in linear.report


def test_plain_text_is_one_line() -> None:
    assert plain("a\n b\tc\x00\u202e") == "a b c\\x00\\x202e"
    assert len(plain("x" * 10_000)) == 500


def test_a_file_that_imports_only_once_loses_what_it_breaks_and_nothing_crashes(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    attack = f"""
    import os
    if os.path.exists({str(flag)!r}): raise AssertionError("second import")
    open({str(flag)!r}, "w").close()
    def linear(x, w): os._exit(1)
    """
    linear, gelu, softmax = ran(textwrap.dedent(attack) + SOFTMAX, "linear", "gelu", "softmax")
    assert linear.report == "linear ended the whole process"
    assert gelu.report == softmax.report == "mine.py cannot be imported: AssertionError: second import"


def test_what_ends_the_process_at_import_is_reported() -> None:
    (linear,) = ran("import os\nos._exit(3)", "linear")
    assert linear == Verdict("wrong", "importing mine.py ended the process")


def test_other_processes_are_refused_and_those_started_anyway_are_ended(tmp_path: Path) -> None:
    child = tmp_path / "child.pid"
    attack = f"""
    import ctypes, os, time
    def gelu(x):
        os.fork()
    def linear(x, w):
        if ctypes.CDLL(None).fork() == 0:  # round the guard
            with open({str(child)!r} + ".new", "w") as file: file.write(str(os.getpid()))
            os.rename({str(child)!r} + ".new", {str(child)!r})  # never empty, though every case writes it again
            time.sleep(120); os._exit(0)
        while not os.path.exists({str(child)!r}): time.sleep(0.01)
        raise ValueError
    """
    gelu, linear = ran(attack, "gelu", "linear")
    assert "os.fork is not allowed while a task is graded" in gelu.report
    assert linear.status == "wrong"
    assert not is_running(int(child.read_text()))


def is_running(pid: int) -> bool:
    for _ in range(600):
        try:
            if "State:\tZ" in Path(f"/proc/{pid}/status").read_text():
                return False
        except OSError:
            return False
        time.sleep(0.1)
    return True


def test_one_functions_settings_reach_no_other(tmp_path: Path) -> None:
    attack = """
    def linear(x, w):
        np.seterr(all="raise")
        np.exp = np.cos
        import npwhisper.lab.exercises as e
        e._reference().clear() if 0 else None
        e.PLANS.clear()
        e.EXERCISES.clear()
        return x
    """
    linear, softmax = ran(SOFTMAX + textwrap.dedent(attack), "linear", "softmax")
    assert (linear.status, softmax.status) == ("wrong", "right")
    assert np.geterr()["over"] != "raise"


def test_memory_and_output_are_limited() -> None:
    attack = """
    def linear(x, w):
        return np.ones(10 ** 10)
    def gelu(x):
        while True: print("x" * 10_000)
    def log_softmax(x):
        return np.ones(10 ** 7)
    """
    linear, gelu, log_softmax = ran(SOFTMAX + textwrap.dedent(attack), "linear", "gelu", "log_softmax")
    assert "MemoryError" in linear.report
    assert "File too large" in gelu.report
    assert "its shape is (10000000,): far more than there should be" in log_softmax.report
    assert len(gelu.report) < 20_000


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("from npwhisper.model.layers import softmax", "it uses npwhisper's softmax, which is the task itself"),
        ("import npwhisper.model as m\nsoftmax = np.vectorize(m.softmax, signature='(n)->(n)')", "npwhisper's softmax"),
        ("def softmax(x):\n  return __import__('npwhisper').model.softmax(x)", "line 3: it uses npwhisper's softmax"),
        (
            "def softmax(x):\n  from npwhisper.lab.exercises import solution\n  return solution('softmax')(x)",
            "solution",
        ),
        (
            "def softmax(x):\n  from npwhisper.lab.exercises import load_cases\n  try: load_cases('softmax')\n"
            "  except Exception: pass\n  e = np.exp(x - x.max(-1, keepdims=True)); return e / e.sum(-1, keepdims=True)",
            "line 4: it uses npwhisper's load_cases",
        ),
        (
            "import importlib.resources as r\ndef softmax(x):\n"
            "  return np.load(str(r.files('npwhisper') / 'assets' / 'reference_cases.npz'))['softmax']",
            "line 4: it reads the shipped cases",
        ),
    ],
)
def test_the_guard_stops_what_the_rules_would_have_read(code: str, sentence: str) -> None:
    (softmax,) = ran("import numpy as np\n" + code, "softmax")
    assert softmax.status == "refused"
    assert sentence in softmax.report


def test_the_expected_values_are_nowhere_in_the_worker() -> None:
    attack = """
    import gc, sys
    import numpy as np
    def causal_mask(n_query, n_key):
        for thing in gc.get_objects():
            if type(thing).__name__ == "Case" and thing.expected.size:
                return thing.expected
        return np.ones((n_query, n_key), np.float32)
    def hann():
        frame = sys._getframe()
        while frame:
            for value in frame.f_locals.values():
                for case in value if isinstance(value, list) else [value]:
                    if type(case).__name__ == "Case" and case.expected.size:
                        return case.expected
            frame = frame.f_back
        return np.ones(400, np.float32)
    """
    verdicts = ran(attack, "causal_mask", "hann")
    assert [verdict.status for verdict in verdicts] == ["wrong", "wrong"]


def test_results_that_claim_to_equal_anything_are_plain_numbers_here() -> None:
    attack = """
    import numpy as np
    class Equal(np.ndarray):
        def __array_ufunc__(self, *a, **k): return np.zeros(self.shape, bool)
        def __eq__(self, other): return True
    def softmax(x):
        return np.zeros(x.shape, x.dtype).view(Equal)
    """
    assert ran(attack, "softmax")[0].status == "wrong"


def test_every_student_gets_other_numbers_and_the_same_ones_again() -> None:
    assert seed_of(Path("alice.py")) == seed_of(Path("x/alice.py")) != seed_of(Path("bob.py"))
    assert "seed 77" in ran("def softmax(x): return x", "softmax", seed=77)[0].report
    assert f"seed {seed_of(Path('mine.py'))}" in ran("def softmax(x): return x", "softmax")[0].report


def test_relative_files_of_a_task_do_not_stay() -> None:
    ran("def softmax(x):\n  open('left.txt', 'w').close()\n  return x", "softmax")
    assert sorted(os.listdir()) == ["mine.py"]


def test_the_method_of_the_cache_is_not_the_answer_to_it() -> None:
    (append,) = ran("def append(cache, k, v):\n  return cache.append(k, v)", "append")
    assert append.report.startswith("append: line 2: it uses npwhisper's append, which is the task itself")
