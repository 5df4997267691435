"""A sandbox for each task (Linux, bubblewrap): no network, and no files except Python's own and the graded one.

The worker runs in new namespaces without the grader's processes, environment and files. It can write only to its own
folder, and is killed with the process that started it.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker, spawn
from pathlib import Path

import numpy as np

from npwhisper.compute import THREAD_VARIABLES

SYSTEM = ("/usr", "/bin", "/lib", "/lib64", "/etc/alternatives", "/etc/ld.so.cache")
PACKAGE = Path(__file__).parents[2]
ALONE = ("--unshare-all", "--cap-drop", "ALL", "--die-with-parent", "--new-session", "--clearenv")
KEPT = ("LANG", "LC_ALL", *THREAD_VARIABLES, "PATH")


class SandboxError(RuntimeError):
    """No sandbox can be made on this system."""


def check_sandbox() -> None:
    """Try to start a sandbox.

    Raises
    ------
    SandboxError
        If bubblewrap is not installed, or the system does not allow it.
    """
    if shutil.which("bwrap") is None:
        raise SandboxError("a sandbox needs bubblewrap, which runs only on Linux: install the package bubblewrap")
    tried = subprocess.run(["bwrap", *ALONE, *_mounts([]), "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        raise SandboxError(f"bubblewrap cannot make a sandbox here: {tried.stderr.strip() or tried.returncode}")


@contextmanager
def sandboxed(file: Path, folder: Path) -> Iterator[None]:
    """Let `multiprocessing` start processes in a sandbox inside the `with` block.

    Parameters
    ----------
    file : Path
        The graded file, readable inside.
    folder : Path
        Writable inside.
    """
    resource_tracker.ensure_running()  # stays outside the sandbox
    python = os.fsdecode(spawn.get_executable())
    start = folder / "start"
    start.write_text(f'#!/bin/sh\nexec {shlex.join([*command(file, folder), python])} "$@"\n', encoding="utf-8")
    start.chmod(0o700)
    spawn.set_executable(str(start))
    try:
        yield
    finally:
        spawn.set_executable(python)


def command(file: Path, folder: Path) -> list[str]:
    """The prefix that runs a command in a sandbox."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ} | {"TMPDIR": str(folder)}
    variables = [word for name, value in kept.items() for word in ("--setenv", name, value)]
    writable = ["--bind", str(folder), str(folder), "--dir", os.getcwd(), "--remount-ro", "/", "--remount-ro", "/dev"]
    return ["bwrap", *ALONE, *variables, *_mounts([file]), *writable]


def _mounts(files: list[Path]) -> list[str]:
    """Arguments that mount what can be read inside."""
    libraries = Path(np.__file__).parents[1]
    places = [*SYSTEM, sys.base_prefix, sys.prefix, libraries, PACKAGE, *files]
    binds = [word for place in dict.fromkeys(map(str, places)) for word in ("--ro-bind-try", place, place)]
    return ["--proc", "/proc", "--dev", "/dev", *binds]
