#!/usr/bin/env python3
"""Real recordings with transcripts (Ogg Opus shards with their JSON) -> shards for the pool, or test recordings.

    real.py --shards REAL --out POOL               speakers for training
    real.py --shards REAL --out TEST --held-out    every tenth speaker, never trained on: wav files and samples.tsv

Each JSON lists text, voice ("real" and the speaker), start and n in samples of the recording of the same name.
"""

from __future__ import annotations

import argparse
import glob
import json
import os
import wave
from pathlib import Path
from typing import Any

import numpy as np


def held_out_speakers(shards: list[str]) -> set[str]:
    """Every tenth speaker in the order of the names."""
    rows = [m for s in shards for m in json.loads(Path(s).read_text(encoding="utf-8"))]
    return set(sorted({m["voice"] for m in rows})[4::10])


def write_wav(path: str, x: np.ndarray[Any, Any]) -> None:
    with wave.open(path, "wb") as f:
        f.setnchannels(1)
        f.setsampwidth(2)
        f.setframerate(16000)
        f.writeframes(x.astype("<i2").tobytes())


def convert(shard: str, out: str, speakers: set[str], held_out: bool) -> list[str]:
    """One shard; returns lines for samples.tsv."""
    import soundfile

    x, rate = soundfile.read(shard[:-5] + ".opus", dtype="int16")
    assert rate in (16000, 48000), rate
    x, rows = x[:: rate // 16000], json.loads(Path(shard).read_text(encoding="utf-8"))
    rows = [m for m in rows if (m["voice"] in speakers) == held_out]
    name = os.path.basename(shard)[:-5]
    if held_out:
        files = [f"{name}_{m['voice'][5:]}_{k}.wav" for k, m in enumerate(rows)]
        for f, m in zip(files, rows, strict=True):
            write_wav(f"{out}/{f}", x[m["start"] : m["start"] + m["n"]])
        return [f"{f}\t{m['text']}\treal\n" for f, m in zip(files, rows, strict=True)]
    np.save(f"{out}/{name}.npy", x)
    Path(f"{out}/{name}.json").write_text(json.dumps(rows), encoding="utf-8")
    return []


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--shards", required=True)
    p.add_argument("--out", required=True)
    p.add_argument("--held-out", action="store_true")
    a = p.parse_args()
    os.makedirs(a.out, exist_ok=True)
    shards = sorted(glob.glob(a.shards + "/*.json"))
    speakers, lines = held_out_speakers(shards), []
    for s in shards:
        lines += convert(s, a.out, speakers, a.held_out)
    if a.held_out:
        with open(a.out + "/samples.tsv", "w", encoding="utf-8") as f:
            f.writelines(["file\ttranscript\tvoice\n", *lines])
    print(len(speakers), "speakers held out", len(lines), "recordings written")


if __name__ == "__main__":
    main()
