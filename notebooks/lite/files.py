"""Commands and files: what both halves of the build need."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path


def run(*command: str, cwd: Path | None = None) -> None:
    """Run a command; what it says is shown only if it fails."""
    try:
        subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise SystemExit(f"{command[0]} was not found: install it") from None
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"{' '.join(command)} failed:\n{error.stdout}{error.stderr}") from None


def write(path: Path, data: bytes) -> None:
    """Write a file, and make the folders that it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def megabytes(folder: Path) -> float:
    """How large all files of a folder are together, in 10^6 bytes."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
