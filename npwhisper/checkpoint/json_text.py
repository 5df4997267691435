"""JSON from untrusted files: as `json.loads`, but never nested deeper than is safe to read."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np

DEEPEST = 500  # levels; Python's own limit ends at about 990, but a program may have raised it beyond the C stack
STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


def loads(text: str | bytes, **options: Any) -> Any:
    """Read JSON.

    Raises
    ------
    ValueError
        If it is not JSON.
    RecursionError
        If it is nested too deeply, whatever `sys.setrecursionlimit` allows.

    >>> loads('{"a": [1]}')
    {'a': [1]}
    >>> loads("[" * 1000)
    Traceback (most recent call last):
    RecursionError: the JSON is more than 500 levels deep
    """
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if _depth(data) > DEEPEST and _depth(STRING.sub(b"", data)) > DEEPEST:
        raise RecursionError(f"the JSON is more than {DEEPEST} levels deep")
    return json.loads(text, **options)


def _depth(data: bytes) -> int:
    """The most brackets that are open at once, those within texts counted too.

    >>> _depth(b'{"a": [[]], "b": []}')
    3
    """
    places = np.frombuffer(data, np.uint8)
    opening, closing = (np.isin(places, list(kinds)).astype(np.int8) for kinds in (b"[{", b"]}"))
    return int(np.cumsum(opening - closing, dtype=np.int32).max(initial=0))
