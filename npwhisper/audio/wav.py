"""WAV files whose recorder never came to write how long they are: the data size is 0, and sound follows."""

from __future__ import annotations

from npwhisper.audio.links import Link, Reader

UNKNOWN = b"\xff\xff\xff\xff"  # libsndfile then reads to the end of the file


def wav_links(data: Reader) -> list[Link]:
    """The file with a data size that means "to the end", if its own is 0 and wrong; else none."""
    if data.at(0, 4) != b"RIFF" or data.at(8, 4) != b"WAVE":
        return []
    at = 12
    while len(head := data.at(at, 8)) == 8:
        size = int.from_bytes(head[4:], "little")
        if head[:4] == b"data":
            wrong = size == 0 and data.size > at + 8 and not _are_chunks(data, at + 8)
            return [Link([range(at + 4), UNKNOWN, range(at + 8, data.size)])] if wrong else []
        at += 8 + size + size % 2
    return []


def _are_chunks(data: Reader, at: int) -> bool:
    """Whether the rest of the file is chunks, such as tags, up to its end."""
    while len(head := data.at(at, 8)) == 8 and head[:4].isascii() and head[:4].decode().isprintable():
        size = int.from_bytes(head[4:], "little")
        at += 8 + size + size % 2
    return data.size <= at <= data.size + 1
