#!/usr/bin/env python3
"""Fill a folder with synthetic speech made by small free text-to-speech programs, on all cores.

Each worker process takes a voice, a speaking rate and a pitch, lets the program speak a batch of sentences, trims the
silence at both ends and writes one *shard*:

    OUT/<worker>-<number>.npy    int16 mono audio at 16 kHz, all utterances one after the other
    OUT/<worker>-<number>.json   list of {"text", "voice", "start", "n", "phones"}   (start and n in samples)

The .json file is renamed into place last, so a trainer may read the folder while it grows. One sentence in a hundred
(by its checksum) is never spoken for training; --samples N speaks N of those with every voice, as wav files for tests.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing as mp
import os
import random
import tempfile
import time
from typing import Any

import numpy as np
from engines import RATE, environment, speak, trim
from real import write_wav
from text import held_out, load_text, template

MIXES: dict[str, dict[str, float]] = {  # shares of the audio time
    "train": {
        "rhvoice alan": 6, "rhvoice bdl": 6, "rhvoice slt": 6, "flite awb": 8, "flite rms": 8, "flite slt": 7,
        "flite kal16": 6, "pico en-US": 9, "pico en-GB": 9, "espeak": 14, "hibari heart": 9,
    },
    "unseen": {"rhvoice clb": 1, "festival ked_diphone": 1, "festival cmu_us_slt_arctic_hts": 1},
}  # fmt: skip


def write_shard(base: str, audio: list[Any], rows: list[dict[str, Any]]) -> None:
    """Sound first, then the list, so that a reader of the list finds the sound."""
    np.save(base + ".npy", np.concatenate(audio))
    with open(base + ".tmp", "w", encoding="utf-8") as f:
        json.dump(rows, f)
    os.rename(base + ".tmp", base + ".json")


def speak_shard(voice: str, batch: list[str], r: random.Random, env: dict[str, str], base: str) -> float:
    """One shard of one voice; returns its seconds."""
    audio: list[Any] = []
    rows: list[dict[str, Any]] = []
    n = 0
    with tempfile.TemporaryDirectory() as folder:
        for s, samples, times in speak(voice, batch, r, env, folder):
            x, phones, _ = trim(samples, times)
            if x is None or len(x) > 15 * RATE or len(x) / RATE < 0.03 * len(s):
                continue
            audio.append(x)
            rows.append({"text": s, "voice": voice, "start": n, "n": len(x), "phones": phones})
            n += len(x)
    if audio:
        write_shard(base, audio, rows)
    return n / RATE


def worker(k: int, a: argparse.Namespace) -> None:
    """Speak until the worker's share of the hours, or the time, is used up."""
    r, env = random.Random(a.seed * 1000 + k), environment(os.path.abspath(a.pack))
    text = [s for s in load_text(a.text, a.top_words, a.max_words) if not held_out(s)]
    random.Random(a.seed).shuffle(text)
    text, mix, began, number = text[k :: a.workers], MIXES[a.mix], time.time(), 0
    done = dict.fromkeys(mix, 0.0)
    source = itertools.cycle(text)
    while sum(done.values()) < a.hours * 3600 / a.workers and time.time() - began < 60 * a.minutes:
        # the voice that is furthest behind its share, with a little chance so that workers differ
        voice = min(mix, key=lambda v: done[v] / mix[v] * r.uniform(0.8, 1.2) + r.random() * 1e-3)
        batch = [template(r) if r.random() < a.templates else next(source) for _ in range(a.batch)]
        done[voice] += max(speak_shard(voice, batch, r, env, f"{a.out}/{a.tag}{k:02d}-{number:05d}"), 5.0)
        number += 1
    print(f"worker {k}: {sum(done.values()) / 3600:.2f} h in {time.time() - began:.0f} s", flush=True)


def copy_words(source: str, target: str) -> None:
    """festival's "end 100 word" -> lines "end word"."""
    with open(source, encoding="latin-1") as f, open(target, "w", encoding="utf-8") as g:
        g.writelines(f"{row[0]} {row[2]}\n" for row in map(str.split, f) if len(row) == 3)


def write_samples(a: argparse.Namespace) -> None:
    """Sentences that training never hears: OUT/samples.tsv, wav files, and festival's true ends of words (.words)."""
    r, env = random.Random(a.seed), environment(os.path.abspath(a.pack))
    text = [s for s in load_text(a.text, a.top_words, a.max_words) if held_out(s) and len(s.split()) >= 4]
    r.shuffle(text)
    lines = ["file\ttranscript\tvoice\n"]
    for voice in MIXES[a.mix]:
        batch, text = text[: a.samples], text[a.samples :]
        with tempfile.TemporaryDirectory() as folder:
            for s, x, _ in speak(voice, batch, r, env, folder):
                i, name = batch.index(s), f"{voice.replace(' ', '_')}_{batch.index(s)}"
                write_wav(f"{a.out}/{name}.wav", x * (16384 / np.abs(x).max()))
                lines.append(f"{name}.wav\t{s}\t{voice}\n")
                if os.path.exists(f"{folder}/{i}.words"):
                    copy_words(f"{folder}/{i}.words", f"{a.out}/{name}.words")
    with open(a.out + "/samples.tsv", "w", encoding="utf-8") as f:
        f.writelines(lines)


def arguments() -> argparse.Namespace:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--pack", required=True, help="folder of the unpacked programs")
    p.add_argument("--text", required=True)
    p.add_argument("--out", required=True)
    p.add_argument("--hours", type=float, default=10)
    p.add_argument("--minutes", type=float, default=1e9)
    p.add_argument("--workers", type=int, default=os.cpu_count())
    p.add_argument("--mix", choices=MIXES, default="train")
    p.add_argument("--top-words", type=int, default=0, help="keep only sentences made of that many most frequent words")
    p.add_argument("--max-words", type=int, default=25)
    p.add_argument("--templates", type=float, default=0.12, help="share of sentences made from templates")
    p.add_argument("--batch", type=int, default=24, help="sentences a shard")
    p.add_argument("--tag", default="s", help="prefix of the shard names")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--samples", type=int, default=0, help="write that many test sentences of every voice instead")
    return p.parse_args()


def main() -> None:
    a = arguments()
    os.makedirs(a.out, exist_ok=True)
    if a.samples:
        return write_samples(a)
    processes = [mp.Process(target=worker, args=(k, a)) for k in range(a.workers)]
    for q in processes:
        q.start()
    for q in processes:
        q.join()
    return None


if __name__ == "__main__":
    main()
