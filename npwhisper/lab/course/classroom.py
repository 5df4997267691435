"""A workflow for GitHub Classroom: every task is a test with its points.

Classroom's grader passes only PATH and HOME to its command. So GitHub inserts the name of the repository into the
command, and the secret is passed in a file.
"""

from __future__ import annotations

from pathlib import Path

import npwhisper
from npwhisper.lab.course.marking import Options
from npwhisper.lab.exercises import EXERCISES

HEAD = """# Grades assignment {assignment} on every push, for GitHub Classroom. Put this file into the template
# repository and protect it there, because students' changes to it take effect. For hidden cases, set the
# organisation secret NPWHISPER_SECRET.
name: Grade
on: [push, workflow_dispatch]
permissions:
  checks: write
  actions: read
  contents: read
jobs:
  grade:
    runs-on: ubuntu-latest
    if: github.actor != 'github-classroom[bot]'
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: "3.12"
      - run: pip install npwhisper=={version}
      - run: printf '%s' "$NPWHISPER_SECRET" > "$RUNNER_TEMP/npwhisper-secret"
        env:
          NPWHISPER_SECRET: ${{{{ secrets.NPWHISPER_SECRET }}}}
"""
TASK = """      - name: {task}
        id: {id}
        uses: classroom-resources/autograding-command-grader@v1
        with:
          test-name: {task}
          command: >-
            npwhisper grade . --student "${{{{ github.repository }}}}" --assignment {assignment} --tasks {task} --strict
            --secret-file "${{{{ runner.temp }}}}/npwhisper-secret"
          timeout: 10
          max-score: {points}
"""
REPORT = """      - uses: classroom-resources/autograding-grading-reporter@v1
        env:
{results}
        with:
          runners: {runners}
"""


def workflow(options: Options) -> str:
    """The text of ``.github/workflows/classroom.yml``."""
    ids = {task: task.replace("_", "-") for task in options.chosen}
    parts = [HEAD.format(assignment=options.assignment, version=npwhisper.__version__)]
    for task, name in ids.items():
        points = EXERCISES[task].points
        parts.append(TASK.format(task=task, id=name, assignment=options.assignment, points=points))
    results = "\n".join(f'          {n.upper()}_RESULTS: "${{{{ steps.{n}.outputs.result }}}}"' for n in ids.values())
    return "".join([*parts, REPORT.format(results=results, runners=",".join(ids.values()))])


def write_workflow(folder: Path, options: Options) -> list[Path]:
    """Write the workflow into a checkout of the template repository."""
    path = folder / ".github" / "workflows" / "classroom.yml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(workflow(options), encoding="utf-8", newline="\n")
    return [path]
