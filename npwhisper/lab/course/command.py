"""The command ``npwhisper grade SUBMISSIONS...``."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from npwhisper.checkpoint.replacing import replacing
from npwhisper.lab.course.feedback import write_feedback
from npwhisper.lab.course.journal import Journal, key_of
from npwhisper.lab.course.marking import SECRET, Marks, Options
from npwhisper.lab.course.names import printable
from npwhisper.lab.course.run import grade_all
from npwhisper.lab.course.similarity import Pair, similar_pairs
from npwhisper.lab.course.submissions import Submission, find
from npwhisper.lab.course.tables import as_csv, as_gradescope, as_json, as_pairs, as_table, needs_a_look
from npwhisper.lab.exercises import EXERCISES
from npwhisper.lab.grading.sandbox import SandboxError, check_sandbox

ASSIGNMENTS = sorted({exercise.assignment for exercise in EXERCISES.values()})


def run(arguments: Sequence[str]) -> int:
    """Grade a class; the exit status is 1 if the grader failed, or with --strict if any points were lost."""
    p = parser()
    given = p.parse_args(arguments)
    options = _options(p, given)
    with tempfile.TemporaryDirectory() as work:
        submissions = _submissions(p, given, Path(work))
        journal = Journal(_journal_path(given))
        class_marks = _graded(submissions, options, given.jobs, journal)
    pairs = _pairs(class_marks, options, given.similar)
    _report(given, class_marks, pairs)
    journal.remove()
    is_short = given.strict and any(marks.points < marks.of for marks in class_marks)
    return int(is_short or bool(needs_a_look(class_marks)))


def _options(p: argparse.ArgumentParser, given: argparse.Namespace) -> Options:
    """The checked options; a wrong one is a usage error."""
    try:
        options = options_from(given)
        _check_places(given)
    except ValueError as error:
        p.error(str(error))
    return options


def _submissions(p: argparse.ArgumentParser, given: argparse.Namespace, work: Path) -> list[Submission]:
    """The submissions; for Gradescope there must be exactly one."""
    submissions = find(given.submissions, work, given.student or _student(given.metadata))
    if given.gradescope and len(submissions) != 1:
        n, advice = len(submissions), "add --student NAME if they belong to one student"
        p.error(f"--gradescope is for one submission, but there are {n}: {advice}")
    return submissions


def parser() -> argparse.ArgumentParser:
    """The arguments of ``npwhisper grade``."""
    p = argparse.ArgumentParser(prog="npwhisper grade", description="Grade the submissions of a class.")
    p.add_argument(
        "submissions",
        nargs="+",
        metavar="SUBMISSION",
        help="folders or zips exported by Moodle or Canvas, .py or .ipynb files",
    )
    _add_outputs(p)
    p.add_argument("--similar", type=float, default=0.8, metavar="SHARE", help="list pairs at least this similar (0.8)")
    p.add_argument("--student", default="", metavar="NAME", help="treat all files as one submission of this student")
    p.add_argument("--metadata", metavar="FILE", help="Gradescope's submission_metadata.json, which names the student")
    p.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="submissions graded in parallel (all cores)")
    p.add_argument("--sandbox", action="store_true", help="run the students' code in bubblewrap (Linux)")
    p.add_argument("--strict", action="store_true", help="exit with status 1 if any points were lost")
    add_options(p)
    return p


def _add_outputs(p: argparse.ArgumentParser) -> None:
    """What to write."""
    p.add_argument("--csv", metavar="FILE", help="write a table of points")
    p.add_argument("--json", metavar="FILE", help="write everything: points, reports, similar pairs")
    p.add_argument("--feedback", metavar="DIR", help="write an HTML page for each student")
    p.add_argument("--gradescope", metavar="FILE", help="write Gradescope's results.json of one submission")


def add_options(p: argparse.ArgumentParser) -> None:
    """How to grade: arguments shared with the autograders."""
    p.add_argument("--assignment", "-a", required=True, choices=ASSIGNMENTS, help="the assignment to grade")
    p.add_argument("--tasks", nargs="+", default=[], metavar="TASK", help="grade only these tasks")
    p.add_argument("--partial", action="store_true", help="give points in proportion to the right cases")
    p.add_argument("--seconds", type=float, default=10.0, help="time limit of each task in seconds (10)")
    p.add_argument("--start-seconds", type=float, default=60.0, help="time limit of importing the file in seconds (60)")
    p.add_argument(
        "--memory", type=float, default=2.0, metavar="GB", help="memory limit of each task, if supported (2)"
    )
    p.add_argument("--seed", type=int, help="seed of the fresh cases for all students (default: one per student)")
    p.add_argument("--secret-file", metavar="FILE", help=f"file with a secret for hidden cases; or set ${SECRET}")
    p.add_argument("--user", default="", help="run the students' code as this user (needs root)")


def options_from(given: argparse.Namespace) -> Options:
    """The checked options.

    Raises
    ------
    ValueError
        If a task belongs to another assignment, a limit is not positive, or the user cannot be used.
    """
    secret = (
        Path(given.secret_file).read_text(encoding="utf-8").strip() if given.secret_file else os.environ.get(SECRET, "")
    )
    names = (given.assignment, tuple(given.tasks), given.seconds, given.start_seconds, given.memory, given.partial)
    options = Options(*names, given.seed, secret, given.user, given.sandbox)
    _check(options)
    return options


def _check(options: Options) -> None:
    if unknown := sorted(set(options.tasks) - set(options.chosen)):
        own = ", ".join(Options(options.assignment).chosen)
        raise ValueError(f"--tasks {' '.join(unknown)}: {options.assignment} has {own}")
    if not (options.seconds > 0 and options.start > 0 and options.memory > 0):
        raise ValueError("--seconds, --start-seconds and --memory must be greater than 0")
    if options.user:
        _check_user(options.user)
    if options.is_sandboxed:
        _check_sandbox(options.user)


def _check_sandbox(user: str) -> None:
    if user:
        raise ValueError("--sandbox and --user exclude each other: leave out --user, a sandbox needs no other user")
    try:
        check_sandbox()
    except SandboxError as error:
        raise ValueError(f"--sandbox: {error}") from None


def _check_user(user: str) -> None:
    try:
        import pwd

        pwd.getpwnam(user)
    except (ImportError, KeyError):
        raise ValueError(f"--user {user}: this system has no such user") from None
    if os.geteuid():
        raise ValueError(f"--user {user}: only root can run code as another user")


def _check_places(given: argparse.Namespace) -> None:
    """Raise if an output file cannot be written at the end."""
    for flag in ("csv", "json", "gradescope"):
        path = getattr(given, flag)
        if path and not Path(path).parent.is_dir():
            raise ValueError(f"--{flag} {path}: there is no folder {str(Path(path).parent)!r}: create it first")


def _student(metadata: str | None) -> str:
    """The student of a submission, from Gradescope's metadata."""
    if not metadata:
        return ""
    try:
        users = json.loads(Path(metadata).read_text(encoding="utf-8"))["users"]
        return ", ".join(str(user.get("email") or user.get("name") or user.get("id")) for user in users)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "submission"


def _journal_path(given: argparse.Namespace) -> Path | None:
    """A file next to the first output."""
    first = given.csv or given.json or given.feedback
    return Path(first).with_name(f"{Path(first).name}.journal") if first else None


def _graded(submissions: Sequence[Submission], options: Options, jobs: int, journal: Journal) -> list[Marks]:
    """The marks in the order of the submissions; on a terminal, print progress to standard error."""
    keys = [key_of(submission, options) for submission in submissions]
    found = {place: journal.known[key] for place, key in enumerate(keys) if key in journal.known}
    if found:
        print(f"{_continued(len(found), len(keys))}: delete {journal.path} to grade all of them", file=sys.stderr)
    todo = [place for place in range(len(keys)) if place not in found]
    for number, marks in grade_all([submissions[place] for place in todo], options, jobs):
        found[todo[number]] = marks
        journal.add(keys[todo[number]], marks)
        if sys.stderr.isatty():
            print(f"{len(found)} of {len(submissions)}  {printable(marks.student)}", file=sys.stderr)
    return [found[place] for place in sorted(found)]


def _continued(known: int, of: int) -> str:
    return f"{known} of {of} submissions are unchanged since an interrupted run and keep their marks"


def _pairs(class_marks: Sequence[Marks], options: Options, least: float) -> list[Pair]:
    names = [f"{marks.student} ({marks.number})" if marks.number else marks.student for marks in class_marks]
    return similar_pairs(
        {name: m.shapes for name, m in zip(names, class_marks, strict=True)}, least, options.assignment
    )


def _report(given: argparse.Namespace, class_marks: Sequence[Marks], pairs: Sequence[Pair]) -> None:
    """Print the table and write the requested files."""
    print(as_table(class_marks))
    if pairs:
        print(f"\nSimilar: {len(pairs)}. Similar code is no proof; read both submissions, and ask.\n{as_pairs(pairs)}")
    if failed := needs_a_look(class_marks):
        print(f"\nThe grader failed for {', '.join(map(printable, failed))}: see their notes.")
    _write(given, class_marks, pairs)


def _write(given: argparse.Namespace, class_marks: Sequence[Marks], pairs: Sequence[Pair]) -> None:
    """Write the requested files."""
    for path, text in (
        (given.csv, "\ufeff" + as_csv(class_marks)),  # the byte-order mark tells spreadsheets that this is UTF-8
        (given.json, as_json(class_marks, pairs)),
        (given.gradescope, as_gradescope(class_marks[0])),
    ):
        if path:
            with replacing(Path(path)) as file:
                file.write(text.encode("utf-8"))
    if given.feedback:
        write_feedback(class_marks, Path(given.feedback))
