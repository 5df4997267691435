"""The workflow for GitHub Classroom, run step by step as GitHub runs it: a clone, a new environment, every command.

Of the two actions of Classroom only what they promise is here: the grader runs a command with a few variables and
turns its exit status into a result, the reporter finds the results in variables named after the runners.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest
from test_assignments import stub
from test_notebooks import NOTEBOOKS

from npwhisper.__main__ import main
from npwhisper.lab.exercises import EXERCISES

yaml = pytest.importorskip("yaml", reason="pip install npwhisper[notebooks]")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("bash") is None or shutil.which("git") is None, reason="GitHub has bash and git"),
]
ANSWERS = {
    "linear": "def linear(x, w):\n    return x @ w['weight'].T + w.get('bias', ZERO)",
    "embedding": "def embedding(tokens, w):\n    return w['weight'][tokens]",
    "softmax": "def softmax(x):\n    return np.exp(x) / np.exp(x).sum(-1)",
    "gelu": "def gelu(x):\n    return npwhisper.model.layers.gelu(x)",
}
RIGHT = {"linear", "embedding"}


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=Zoë", "-c", "user.email=zoe@example.org", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A student's repository: the template's workflow, the notebook with some answers, and what else lies about."""
    folder = tmp_path / "origin"
    folder.mkdir()
    assert main(["autograder", "github", str(folder), "-a", "a1"]) == 0
    notebook = json.loads((NOTEBOOKS / "assignments" / "a1_layers.ipynb").read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if task := stub("".join(cell["source"])):
            cell["source"] = ANSWERS.get(task, "".join(cell["source"]))
    notebook["cells"].insert(3, {"cell_type": "code", "source": "%matplotlib inline\nZERO = 0.0"})
    (folder / "meine Lösung.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    (folder / "README.md").write_text("# Assignment 1\n")
    (folder / "notes.py").write_text("print('I tried this first')\n")
    git(folder, "init")
    git(folder, "add", "-A")
    git(folder, "commit", "-m", "Hand in")
    return folder


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """A folder with the wheel of this checkout; NPWHISPER_WHEELS names one that is there."""
    if given := os.environ.get("NPWHISPER_WHEELS"):
        return Path(given)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path / "wheels")]
    subprocess.run([*command, str(NOTEBOOKS.parent)], check=True)
    return tmp_path / "wheels"


class Runner:
    """Runs the steps of a job in order; `report` has what the reporter would tell Classroom."""

    def __init__(self, repository: Path, work: Path, environment: dict[str, str], secret: str) -> None:
        self.repository, self.work = repository, work
        self.checkout, self.outputs, self.report = work / "checkout", dict[str, str](), dict[str, float]()
        self.environment = {**environment, "RUNNER_TEMP": str(work)}
        self.known = {"github.repository": "class/zoe-a1", "runner.temp": str(work), "secrets.NPWHISPER_SECRET": secret}

    def run(self, step: dict[str, Any]) -> None:
        """Run one step; an action or a variable that this does not know is an error."""
        given = {key: self.filled(str(value)) for key, value in step.get("with", {}).items()}
        variables = {key: self.filled(str(value)) for key, value in step.get("env", {}).items()}
        if "run" in step:
            command = ["bash", "-e", "-c", self.filled(step["run"])]
            subprocess.run(command, cwd=self.checkout, env={**self.environment, **variables}, check=True)
            return
        action = step["uses"].partition("/")[2].partition("@")[0]
        method = {
            "checkout": self.clone,
            "setup-python": self.install,
            "autograding-command-grader": lambda given, _: self.grade(step["id"], given),
            "autograding-grading-reporter": self.add_up,
        }[action]
        method(given, variables)

    def filled(self, text: str) -> str:
        """The text with GitHub's expressions replaced by their values."""
        values = self.known | {f"steps.{name}.outputs.result": result for name, result in self.outputs.items()}
        return re.sub(r"\$\{\{ *([\w.-]+) *\}\}", lambda match: values[match[1]], text)

    def clone(self, given: dict[str, str], variables: dict[str, str]) -> None:
        subprocess.run(["git", "clone", "--quiet", str(self.repository), str(self.checkout)], check=True)

    def install(self, given: dict[str, str], variables: dict[str, str]) -> None:
        venv.create(self.work / "python", with_pip=True)
        self.environment["PATH"] = f"{self.work / 'python' / 'bin'}:{self.environment['PATH']}"

    def grade(self, name: str, given: dict[str, str]) -> None:
        """The command gets no variable but these, and is right if it exits with 0."""
        few = {key: self.environment[key] for key in ("PATH", "HOME")} | {"FORCE_COLOR": "true"}
        seconds = 60 * float(given["timeout"])
        done = subprocess.run(given["command"], shell=True, cwd=self.checkout, env=few, timeout=seconds, check=False)
        self.outputs[name] = json.dumps([given["test-name"], float(given["max-score"]) * (done.returncode == 0)])

    def add_up(self, given: dict[str, str], variables: dict[str, str]) -> None:
        results = [json.loads(variables[f"{name.upper()}_RESULTS"]) for name in given["runners"].split(",")]
        self.report = dict(results)


def test_every_step_of_the_workflow_runs_and_gives_the_points(
    repository: Path, wheels: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    job = yaml.safe_load((repository / ".github/workflows/classroom.yml").read_text(encoding="utf-8"))["jobs"]["grade"]
    away = {"PYTHONPATH", "NPWHISPER_SECRET", "VIRTUAL_ENV"}
    environment = {key: value for key, value in os.environ.items() if key not in away}
    runner = Runner(repository, tmp_path, {**environment, "PIP_FIND_LINKS": str(wheels)}, secret="sesame")
    for step in job["steps"]:
        runner.run(step)
    points = {task: exercise.points for task, exercise in EXERCISES.items() if exercise.assignment == "a1"}
    assert runner.report == {task: of * (task in RIGHT) for task, of in points.items()}
    printed = capfd.readouterr().out
    assert "class/zoe-a1" in printed
    assert "sesame" not in printed


def test_the_secret_may_be_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").write_text("")
    (tmp_path / "a1.py").write_text(ANSWERS["embedding"])
    arguments = ["--student", "class/zoe", "-a", "a1", "--tasks", "embedding", "--strict"]
    assert main(["grade", str(tmp_path / "a1.py"), *arguments, "--secret-file", str(tmp_path / "empty")]) == 0
