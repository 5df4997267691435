#!/usr/bin/env python3
"""Kokoro's voice files (*.bin: float32, 510 lengths x 256) -> voices.npz with the first 256 lengths in half precision.

pack_voices.py FOLDER voices.npz
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np


def main() -> None:
    folder, out = sys.argv[1:]
    files = sorted(Path(folder).glob("*.bin"))
    np.savez_compressed(out, **{f.stem: np.fromfile(f, "<f4").reshape(-1, 256)[:256].astype(np.float16) for f in files})


if __name__ == "__main__":
    main()
