"""A sandbox for each task (Linux, bubblewrap): no network, and no files but Python's own and the one that is graded.

The worker starts in new namespaces, in which the grader's processes, its environment and its files do not exist. It
may write into its own folder alone, and ends with the process that started it.
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
    """There is no sandbox here."""


def check_sandbox() -> None:
    """Try to start a sandbox.

    Raises
    ------
    SandboxError
        If bubblewrap is not installed, or the system does not allow it.
    """
    if shutil.which("bwrap") is None:
        raise SandboxError("a sandbox needs bubblewrap, which only Linux has: install the package bubblewrap")
    tried = subprocess.run(["bwrap", *ALONE, *_mounts([]), "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        raise SandboxError(f"bubblewrap cannot make a sandbox here: {tried.stderr.strip() or tried.returncode}")


@contextmanager
def sandboxed(file: Path, folder: Path) -> Iterator[None]:
    """Let `multiprocessing` start processes in a sandbox inside the `with` block.

    Parameters
    ----------
    file : Path
        What is graded; inside it can be read.
    folder : Path
        Inside it can be written to.
    """
    resource_tracker.ensure_running()  # which stays outside
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
    """The command that runs what stands behind it in a sandbox."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ} | {"TMPDIR": str(folder)}
    variables = [word for name, value in kept.items() for word in ("--setenv", name, value)]
    writable = ["--bind", str(folder), str(folder), "--dir", os.getcwd(), "--remount-ro", "/", "--remount-ro", "/dev"]
    return ["bwrap", *ALONE, *variables, *_mounts([file]), *writable]


def _mounts(files: list[Path]) -> list[str]:
    """What can be read inside."""
    libraries = Path(np.__file__).parents[1]
    places = [*SYSTEM, sys.base_prefix, sys.prefix, libraries, PACKAGE, *files]
    binds = [word for place in dict.fromkeys(map(str, places)) for word in ("--ro-bind-try", place, place)]
    return ["--proc", "/proc", "--dev", "/dev", *binds]
