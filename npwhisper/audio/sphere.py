"""NIST SPHERE files: libsndfile believes their size, not the number of samples that their header states.

The format: NIST's SPHERE manual, "File Format"; lines of text, filled up with spaces.
"""

from __future__ import annotations

import re

from npwhisper.audio.damage import within_sample
from npwhisper.audio.links import Link, Reader


def sphere_links(data: Reader) -> list[Link]:
    """The file and its length, as far as the header states it; none if this is another format."""
    head = data.at(0, 1 << 16)
    if head[:7] != b"NIST_1A":
        return []
    start = int(head[8:16]) if head[8:16].strip().isdigit() else 1024
    stated = {name: int(value) for name, value in re.findall(rb"(?m)^(\w+) -i (\d{1,18})\b", head[:start])}
    count, rate = stated.get(b"sample_count", 0), stated.get(b"sample_rate", 0)
    width = stated.get(b"sample_n_bytes", 1) * stated.get(b"channel_count", 1)
    damage = None if count else within_sample(data.size - start, width)
    return [Link([range(data.size)], count / rate if rate else 0.0, damage)]
