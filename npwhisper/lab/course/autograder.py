"""The command ``npwhisper autograder``: writes what other systems need to grade an assignment."""

from __future__ import annotations

import argparse
import secrets
from collections.abc import Sequence
from pathlib import Path

from npwhisper.lab.course.classroom import write_workflow
from npwhisper.lab.course.command import add_options, options_from
from npwhisper.lab.course.gradescope import write_gradescope
from npwhisper.lab.course.otter import write_otter


def run(arguments: Sequence[str]) -> int:
    """Write an autograder and print its files."""
    p = parser()
    given = p.parse_args(arguments)
    written = _written_for_otter(given) if given.system == "otter" else _written(p, given)
    print("\n".join(map(str, written)))
    return 0


def parser() -> argparse.ArgumentParser:
    """The arguments of ``npwhisper autograder``, one subcommand per system."""
    p = argparse.ArgumentParser(prog="npwhisper autograder", description="Write an autograder for another system.")
    systems = p.add_subparsers(dest="system", required=True)
    gradescope = systems.add_parser("gradescope", help="a folder, and the zip to upload")
    gradescope.add_argument("folder", type=Path)
    gradescope.add_argument("--wheel", type=Path, help="a wheel of npwhisper (default: installed from PyPI)")
    classroom = systems.add_parser("github", help="a workflow for the template repository of GitHub Classroom")
    classroom.add_argument("folder", type=Path, help="a checkout of the template repository")
    otter = systems.add_parser("otter", help="a master notebook for `otter assign`")
    otter.add_argument("notebook", type=Path, help="the assignment notebook")
    otter.add_argument("folder", type=Path)
    otter.add_argument("--seed", type=int, help="seed of the hidden tests (default: random)")
    for system in (gradescope, classroom):
        add_options(system)
    return p


def _written_for_otter(given: argparse.Namespace) -> list[Path]:
    seed = secrets.randbelow(2**32) if given.seed is None else given.seed
    return write_otter(given.notebook, given.folder, seed)


def _written(p: argparse.ArgumentParser, given: argparse.Namespace) -> list[Path]:
    try:
        options = options_from(argparse.Namespace(**{**vars(given), "user": "", "sandbox": False}))
    except ValueError as error:
        p.error(str(error))
    return (
        write_gradescope(given.folder, options, given.wheel)
        if given.system == "gradescope"
        else write_workflow(given.folder, options)
    )
