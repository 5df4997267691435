"""Which recordings the arguments of a command line stand for: files, folders and patterns."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from npwhisper.whisper.corpus.recordings import SUFFIXES


def expanded(recordings: Sequence[str]) -> list[str]:
    """The recordings named, each once, with folders and wildcards replaced by the recordings in them."""
    found = list[str]()
    for name in recordings:
        if os.path.isdir(name):
            inside = sorted(p for p in Path(name).iterdir() if p.suffix.lower() in SUFFIXES)
            if not inside:
                raise ValueError(f"the folder {name!r} holds no recordings: name one that does")
            found += map(str, inside)
        else:
            is_pattern = not os.path.exists(name) and glob.has_magic(name)
            found += (is_pattern and sorted(glob.glob(name, recursive=True))) or [name]
    return list(dict.fromkeys(found))
