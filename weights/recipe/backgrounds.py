#!/usr/bin/env python3
"""Make sounds without speech: music-like chords, beeps, hums, sweeps, clicks, bursts of noise, wind.

    backgrounds.py --out FOLDER --clips 160 --seed 1

Writes FOLDER/backgrounds.npy, int16 (clips, 480000): 30 s each at 16 kHz. They are mixed softly under speech, and
shown alone they teach the model to write nothing.
"""

from __future__ import annotations

import argparse
import os
from multiprocessing import Pool
from typing import Any

import numpy as np

RATE, SECONDS = 16000, 30
Array = np.ndarray[Any, Any]
KINDS = ("music", "music", "music", "beeps", "hum", "sweeps", "clicks", "bursts", "wind", "noise")


def tone(r: np.random.Generator, pitch: float, n: int) -> Array:
    """One note: a few harmonics, an attack and a decay, perhaps vibrato."""
    t = np.arange(n) / RATE
    wobble = 1 + r.uniform(0, 0.01) * np.sin(2 * np.pi * r.uniform(3, 7) * t)
    phase = 2 * np.pi * pitch * np.cumsum(wobble) / RATE
    powers = r.uniform(0.3, 2.5)
    x = sum(np.sin(k * phase + r.uniform(0, 6)) / k**powers for k in range(1, 9) if k * pitch < 7500)
    envelope = np.minimum(1, t / r.uniform(0.005, 0.1)) * np.exp(-t / r.uniform(0.15, 2.0))
    return np.asarray(x * envelope * np.minimum(1, (n - np.arange(n)) / 200))


def coloured(r: np.random.Generator, n: int, slope: float) -> Array:
    """Noise whose power falls with the frequency to the power of slope."""
    s = np.fft.rfft(r.standard_normal(n))
    s *= np.maximum(np.arange(len(s)) / len(s), 1e-3) ** (-slope / 2)
    x = np.fft.irfft(s, n)
    return np.asarray(x / np.abs(x).max())


def music(r: np.random.Generator, n: int) -> Array:
    """Chords and a melody on a scale, in time with a beat, sometimes with a drum."""
    x, beat = np.zeros(n), r.uniform(0.2, 0.7)
    root, scale = r.uniform(80, 400), np.array([0, 2, 4, 5, 7, 9, 11, 12]) + 0.0
    for k in range(int(n / RATE / beat)):
        a = int(k * beat * RATE)
        for _ in range(r.integers(0, 4)):
            m = min(n - a, int(r.uniform(0.5, 4) * beat * RATE))
            if m > 400:
                x[a : a + m] += r.uniform(0.2, 1) * tone(r, root * 2 ** (r.choice(scale) / 12 + r.integers(0, 2)), m)
        if r.random() < 0.4:
            m = min(n - a, 3000)
            x[a : a + m] += 0.7 * coloured(r, m, r.uniform(0, 2)) * np.exp(-np.arange(m) / r.uniform(200, 1200))
    return x


def events(r: np.random.Generator, n: int, kind: str) -> Array:
    """Beeps, sweeps, clicks or bursts at random or regular moments."""
    x, t, regular = np.zeros(n), r.uniform(0, 2), r.random() < 0.5
    gap, pitch = r.uniform(0.1, 3), r.uniform(200, 4000)
    while t < n / RATE - 0.05:
        a, m = int(t * RATE), int(RATE * r.uniform(0.03, 0.8))
        m = min(m, n - a)
        s = np.arange(m) / RATE
        edge = np.minimum(1, np.minimum(s, s[::-1]) / 0.005)
        if kind == "beeps":
            y = np.sin(2 * np.pi * (pitch if regular else r.uniform(200, 4000)) * s) * edge
        elif kind == "sweeps":
            y = np.sin(2 * np.pi * np.cumsum(np.linspace(r.uniform(100, 4000), r.uniform(100, 4000), m)) / RATE) * edge
        elif kind == "clicks":
            y = r.standard_normal(m) * np.exp(-s / r.uniform(0.0005, 0.01))
        else:
            y = coloured(r, m, r.uniform(0, 2)) * edge
        x[a : a + m] += r.uniform(0.3, 1) * y
        t += gap if regular else r.exponential(gap) + 0.02
    return x


def hum(r: np.random.Generator, n: int) -> Array:
    t, f = np.arange(n) / RATE, r.choice([50.0, 60.0, r.uniform(30, 300)])
    return np.asarray(sum(r.uniform(0, 1) / k * np.sin(2 * np.pi * k * f * t + r.uniform(0, 6)) for k in range(1, 12)))


def wind(r: np.random.Generator, n: int) -> Array:
    slow = np.interp(np.arange(n), np.arange(0, n + 4000, 4000), r.uniform(0, 1, n // 4000 + 1)) ** 2
    return coloured(r, n, r.uniform(0.5, 2.5)) * slow


def clip(seed: int) -> Array:
    """One clip of a random kind."""
    r = np.random.default_rng(seed)
    kind, n = str(r.choice(KINDS)), RATE * SECONDS
    if kind == "music":
        x = music(r, n)
    elif kind in ("hum", "wind"):
        x = hum(r, n) if kind == "hum" else wind(r, n)
    else:
        x = coloured(r, n, r.uniform(-0.5, 2.5)) if kind == "noise" else events(r, n, kind)
    if r.random() < 0.5:
        x = x / (np.abs(x).max() + 1e-9) + 10 ** -r.uniform(1, 3) * coloured(r, n, r.uniform(0, 2))
    return (x / (np.abs(x).max() + 1e-9) * 16000).astype(np.int16)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", required=True)
    p.add_argument("--clips", type=int, default=160)
    p.add_argument("--workers", type=int, default=8)
    p.add_argument("--seed", type=int, default=1)
    a = p.parse_args()
    with Pool(a.workers) as pool:
        clips = pool.map(clip, [a.seed * 100000 + k for k in range(a.clips)])
    np.save(a.out + "/tmp.npy", np.stack(clips))
    os.rename(a.out + "/tmp.npy", a.out + "/backgrounds.npy")


if __name__ == "__main__":
    main()
