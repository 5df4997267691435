"""The JSON files beside the weights: settings, indexes, vocabularies. Only regular files of a bounded size are read."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

from npwhisper.checkpoint.contents import CheckpointError
from npwhisper.checkpoint.json_text import loads

LONGEST_JSON = 10_000_000


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    CheckpointError
        If the file is missing, not a regular file, longer than `LONGEST_JSON`, or no JSON object.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise CheckpointError(f"{path.name} is not a regular file: it cannot be a settings file")
        with open(path, "rb") as file:
            text = file.read(LONGEST_JSON + 1)
    except OSError as error:
        raise CheckpointError(f"the folder has no readable {path.name}: use a folder of save_pretrained") from error
    if len(text) > LONGEST_JSON:
        raise CheckpointError(f"{path.name} has over {LONGEST_JSON} bytes: it cannot be a settings file")
    try:
        content = loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path.name} is not JSON: the file is broken") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path.name} is not a JSON object: the file is broken")
    return content
