"""For PyInstaller, which asks installed packages where their hooks are: ours adds the vocabularies and the weights."""

from __future__ import annotations

from pathlib import Path


def hook_folders() -> list[str]:
    """The folders with our hooks; named in pyproject.toml as the entry point ``hook-dirs``."""
    return [str(Path(__file__).parent)]
