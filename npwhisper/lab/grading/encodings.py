"""Reading a submitted file as text, whatever its encoding."""

from __future__ import annotations

import codecs
import io
import tokenize
from pathlib import Path

LARGEST = 64 * 2**20  # bytes; a notebook with figures has a few million


def read_text(path: Path) -> tuple[str, str]:
    """The text of a file with normalised line ends, and a sentence if it is not UTF-8.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If the file is too large.
    """
    if (size := path.stat().st_size) > LARGEST:
        raise ValueError(f"it has {size >> 20} MB: at most {LARGEST >> 20} are read")
    data = path.read_bytes()
    encoding = _encoding(data)
    text = data.decode(encoding, "replace").removeprefix("\ufeff")
    note = "" if encoding == "utf-8" else f"it is not UTF-8, and was read as {encoding}"
    return text.replace("\r\n", "\n").replace("\r", "\n"), note


def _encoding(data: bytes) -> str:
    """UTF-8 if valid, otherwise by byte-order mark or coding line, otherwise Windows-1252."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if _decodes(data, "utf-8"):
        return "utf-16-le" if data[1:2] == b"\0" else "utf-8"
    try:
        declared = tokenize.detect_encoding(io.BytesIO(data).readline)[0]
    except SyntaxError:
        return "cp1252"
    return declared if declared not in ("utf-8", "utf-8-sig") and _decodes(data, declared) else "cp1252"


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except (UnicodeError, LookupError):
        return False
    return True
