#!/usr/bin/env python3
# ruff: noqa: RUF001  (phonetic letters)
"""Speak sentences with Kokoro-82M on a graphics card: 54 voices and any mixture of two of them.

    kokoro.py --model kokoro.onnx --voices voices.npz --text novels.txt --out POOL --workers 6 --minutes 5

Writes the same shards as synthesize.py. The phonemes come from the package hibari-tts, which writes them as Kokoro
wants them. The network tells how long each phoneme lasts, so that the times of words and phones are known.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing as mp
import os
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
from engines import Phones, resample, trim
from synthesize import write_shard
from text import held_out, load_text, template

RATE_IN, FRAME = 24000, 0.025
DURATIONS = "/encoder/Clip_output_0"  # frames of 0.025 s for every symbol
NAMES = {
    "A": "ey", "I": "ay", "O": "ow", "Q": "ow", "W": "aw", "Y": "oy", "ɑ": "aa", "ɒ": "aa", "æ": "ae", "a": "ae",
    "ʌ": "ah", "ɔ": "ao", "ə": "ax", "ɐ": "ax", "ᵊ": "ax", "ɛ": "eh", "ɜ": "er", "ɪ": "ih", "ᵻ": "ih", "i": "iy",
    "ʊ": "uh", "u": "uw", "ʧ": "ch", "ʤ": "jh", "ð": "dh", "ɡ": "g", "ŋ": "ng", "ɹ": "r", "ʃ": "sh", "θ": "th",
    "ʒ": "zh", "j": "y", "ɾ": "d", "T": "d", "b": "b", "d": "d", "f": "f", "h": "hh", "k": "k", "l": "l", "m": "m",
    "n": "n", "p": "p", "s": "s", "t": "t", "v": "v", "w": "w", "z": "z",
}  # fmt: skip
Array = np.ndarray[Any, Any]


def phone_times(symbols: str, durations: Array) -> Phones:
    """(phone, end in seconds) in the names of flite; stress marks join the next phone, short gaps the one before."""
    end = np.cumsum(durations) * FRAME
    out: Phones = [["pau", float(end[0])]]
    for k, c in enumerate(symbols):
        t = float(end[k + 1])
        if c in NAMES:
            out.append([NAMES[c], t])
        elif c in " ,.?!;:—…" and durations[k + 1] >= 4:
            out.append(["pau", t])
        elif c in "ː ,.?!":
            out[-1][1] = t
    out.append(["pau", float(end[-1])])
    return out


def word_times(symbols: str, durations: Array) -> list[list[float]]:
    """Start and end of each word of the phoneme string; punctuation counts as pause."""
    end, at = np.cumsum(durations) * FRAME, None
    words: list[list[float]] = []
    for k, c in enumerate(symbols + " "):
        if c == " " or c in ",.?!;:—…":
            if at is not None:
                words.append([at, float(end[k])])
            at = None
        elif at is None:
            at = float(end[k])
    return words


class Speaker:
    def __init__(self, model: str, voices: str, device: str) -> None:
        import hibari
        import torch
        from hibari import Hibari
        from onnx_on_torch import Graph

        self.torch, self.device, self.graph = torch, device, Graph(model, device, ["audio", DURATIONS])
        self.styles = {k: v.astype(np.float32) for k, v in np.load(voices).items()}
        self.english = [k for k in self.styles if k[0] in "ab"]
        self.g2p = Hibari()
        assets = Path(hibari.__file__).parent / "assets"
        table = json.loads((assets / "vocab.json").read_text(encoding="utf-8"))
        self.vocabulary = table.get("vocab", table)

    def voice(self, r: random.Random, n: int) -> tuple[str, Array]:
        """A voice, or a mixture of two: its name and the style for an utterance of n symbols."""
        names = self.english if r.random() < 0.7 else list(self.styles)
        a, b = r.choice(names), r.choice(names)
        if r.random() < 0.5:
            return "kokoro " + a, self.styles[a][n]
        w = r.uniform(0.2, 0.8)
        return "kokoro mixed", w * self.styles[a][n] + (1 - w) * self.styles[b][n]

    def speak(self, text: str, r: random.Random) -> tuple[str, Array, Phones, list[list[float]]] | None:
        symbols = "".join(c for c in " ".join(self.g2p.phonemize(text)) if c in self.vocabulary)
        if not 2 < len(symbols) < 240:
            return None
        name, style = self.voice(r, len(symbols))
        t = self.torch
        feed = {
            "tokens": t.tensor([[0, *(self.vocabulary[c] for c in symbols), 0]]),
            "style": t.from_numpy(style[None]).to(self.device),
            "speed": t.tensor([r.uniform(0.8, 1.25)], device=self.device),
        }
        audio, durations = self.graph(feed)
        d = durations.float().cpu().numpy().ravel()
        return name, resample(audio.cpu().numpy().ravel(), RATE_IN), phone_times(symbols, d), word_times(symbols, d)


def utterance(speaker: Speaker, text: str, r: random.Random) -> tuple[Array, dict[str, Any]] | None:
    """Samples and row of one sentence; None if it is too long, too short or not a number."""
    said = speaker.speak(text, r)
    if said is None or not np.isfinite(said[1]).all():
        return None
    name, samples, phones, words = said
    x, times, shift = trim(32768 * samples, phones)
    if x is None or len(x) > 15 * 16000:
        return None
    moved = [[max(0.0, start - shift), max(0.0, end - shift)] for start, end in words]
    known = moved if len(moved) == len(text.split()) else None
    return x, {"text": text, "voice": name, "n": len(x), "phones": times, "words": known}


def worker(k: int, a: argparse.Namespace) -> None:
    r, speaker = random.Random(a.seed * 1000 + k), Speaker(a.model, a.voices, a.device)
    text = [s for s in load_text(a.text, 0, 25) if not held_out(s)]
    began, seconds, number = time.time(), 0.0, 0
    while time.time() - began < 60 * a.minutes:
        audio: list[Array] = []
        rows: list[dict[str, Any]] = []
        while len(rows) < 32:
            made = utterance(speaker, template(r) if r.random() < 0.15 else r.choice(text), r)
            if made is not None:
                rows.append({**made[1], "start": sum(map(len, audio))})
                audio.append(made[0])
        write_shard(f"{a.out}/{a.tag}{k:02d}-{number:05d}", audio, rows)
        seconds, number = seconds + sum(map(len, audio)) / 16000, number + 1
    print(f"kokoro worker {k}: {seconds / 3600:.2f} h in {time.time() - began:.0f} s", flush=True)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", required=True)
    p.add_argument("--voices", required=True, help=".npz: for each voice (symbols, 256)")
    p.add_argument("--text", required=True)
    p.add_argument("--out", required=True)
    p.add_argument("--workers", type=int, default=6)
    p.add_argument("--minutes", type=float, default=5)
    p.add_argument("--device", default="cuda")
    p.add_argument("--tag", default="k")
    p.add_argument("--seed", type=int, default=1)
    a = p.parse_args()
    os.makedirs(a.out, exist_ok=True)
    context = mp.get_context("spawn")
    processes = [context.Process(target=worker, args=(k, a)) for k in range(a.workers)]
    for q in processes:
        q.start()
    for q in processes:
        q.join()


if __name__ == "__main__":
    main()
