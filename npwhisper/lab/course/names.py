"""Making students' names safe for file systems, tables and pages."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

RESERVED = {"CON", "PRN", "AUX", "NUL", *(f"{port}{n}" for port in ("COM", "LPT") for n in range(1, 10))}
LONGEST = 50  # characters, of at most four bytes each; file systems allow 255 bytes


def printable(text: object) -> str:
    """The text on one line, with characters that are not printable escaped.

    >>> printable("a\\nb\\x1b[2J\\u202e")
    'a b\\\\x1b[2J\\\\u202e'
    """
    words = " ".join(str(text).split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in words)


def safe_name(text: str) -> str:
    """A file name without extension that is valid on every system.

    >>> safe_name("../../etc/passwd"), safe_name("Zoë O'Hara"), safe_name("con"), safe_name("<b>")
    ('etc_passwd', 'Zoë_O_Hara', 'con_', 'b')
    """
    name = re.sub(r"[^\w-]+", "_", unicodedata.normalize("NFC", text)).strip("_-")[:LONGEST]
    return f"{name}_" if name.upper() in RESERVED else name or "student"


def unique_names(texts: Iterable[str]) -> list[str]:
    """Safe names that are pairwise different, even if case is ignored.

    >>> unique_names(["Ann", "ann", "a/b", "a:b"])
    ['Ann', 'ann-2', 'a_b', 'a_b-2']
    """
    taken, names = set[str](), list[str]()
    for text in texts:
        base, n = safe_name(text), 1
        name = base
        while name.casefold() in taken:
            n += 1
            name = f"{base}-{n}"
        taken.add(name.casefold())
        names.append(name)
    return names


def cell(value: object) -> str:
    """A value for a table that no spreadsheet interprets as a formula.

    >>> cell("=1+1"), cell(" @SUM"), cell(-1.5), cell("-")
    ("'=1+1", "'@SUM", '-1.5', "'-")
    """
    text = printable(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(("=", "+", "-", "@")) else text
