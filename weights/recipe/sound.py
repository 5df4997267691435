"""From a batch's plan to log-mel spectrograms, with all augmentation, on the device and in few operations."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from pool import RATE

HOP = 160
Tensor = torch.Tensor


def fast_length(n: int) -> int:
    """The next length that a Fourier transform likes: a power of two times 1, 3 or 5, over n."""
    return min(k * 2 ** int(np.ceil(np.log2(n / k))) for k in (1, 3, 5))


def warped_filters(mel_filters: Any, warps: Any) -> Tensor:
    """One mel filter bank for each warp of the frequency axis: a cheap "other speaker"."""
    f, k, bank = torch.as_tensor(np.asarray(mel_filters), dtype=torch.float32), torch.arange(201.0), []
    for w in warps:
        source = k * float(w)
        low = source.floor().long().clamp(0, 200)
        part = (source - low).clamp(0, 1)
        mixed = f[:, low] * (1 - part) + f[:, (low + 1).clamp(0, 200)] * part
        bank.append(mixed * (source <= 200) * float(w))
    return torch.stack(bank)


class Sound:
    """mel = Sound(audio of the pool, mel filters, device)(batch)."""

    def __init__(self, audio: Tensor, mel_filters: Any, device: str, seed: int, backgrounds: Tensor | None) -> None:
        self.audio, self.device, self.backgrounds = audio, device, backgrounds
        self.r, self.window = np.random.default_rng(seed), torch.hann_window(400, device=device)
        self.warps = np.linspace(0.80, 1.24, 45)
        self.bank = warped_filters(mel_filters, self.warps).to(device)
        self.bins = torch.linspace(0.02, 1, 201, device=device)

    def __call__(self, b: dict[str, Any]) -> Tensor:
        self.size, self.width, self.strength = b["size"], b["width"], b["strength"]
        x = self.speech(b)
        if self.strength > 0.5:
            x = self.room(x)
        x = self.noise(x, b["speech"])
        s = torch.stft(x, 400, HOP, window=self.window, return_complex=True)[..., : round(self.width * 100)]
        p = self.filters(self.colour(s.real.square() + s.imag.square()))
        m = p.clamp(min=1e-10).log10()
        m = self.hide((torch.maximum(m, m.amax((1, 2), keepdim=True) - 8) + 4) / 4)
        late = torch.arange(m.shape[2], device=self.device) >= self.put(b["ends"])[:, None]
        return torch.where(late[:, None], torch.zeros_like(m), m)

    # ------------------------------------------------------------------------------------------------ small helpers
    def put(self, x: Any) -> Tensor:
        t = torch.from_numpy(np.ascontiguousarray(x))
        return t.pin_memory().to(self.device, non_blocking=True) if self.device == "cuda" else t

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        return self.put(self.r.uniform(low, high, (self.size, *shape)).astype(np.float32))

    def chance(self, p: float) -> Tensor:
        return self.put(self.r.random(self.size) < p * self.strength)

    # ------------------------------------------------------------------------------------------------ waves
    def speech(self, b: dict[str, Any]) -> Tensor:
        """Gather all utterances of all windows; linear interpolation changes their speed."""
        samples = int(self.width * RATE) + 240
        num, total = self.put(b["num"]), int(b["num"].sum())
        which = torch.repeat_interleave(torch.arange(len(b["num"]), device=self.device), num, output_size=total)
        j = torch.arange(total, device=self.device) - (num.cumsum(0) - num)[which]
        at = j * self.put(b["speed"])[which]
        low = at.long()
        part, base = at - low, self.put(b["src"])[which] + low
        x = self.audio[base].float() * (1 - part) + self.audio[base + 1].float() * part
        out = torch.zeros(self.size * samples, device=self.device)
        out[self.put(b["dst"])[which] + j] = x * self.put(b["gain"])[which]
        return out.view(self.size, samples)

    def room(self, x: Tensor) -> Tensor:
        """Echoes: exponentially decaying noise after the direct sound, in some of the windows."""
        rows = np.flatnonzero(self.r.random(self.size) < 0.4 * self.strength)
        if not len(rows):
            return x
        n, k = RATE // 2, len(rows)
        t = torch.arange(n, device=self.device) / RATE
        t60 = self.put(self.r.uniform(0.08, 0.7, (k, 1)).astype(np.float32))
        level = self.put(self.r.uniform(0.02, 0.12, (k, 1)).astype(np.float32))
        h = torch.randn(k, n, device=self.device) * torch.exp(-6.9 * t / t60) * level
        h[:, :80] = 0
        h[:, 0] = 1
        m, at = fast_length(x.shape[1] + n), self.put(rows)
        y = torch.fft.irfft(torch.fft.rfft(x[at], m) * torch.fft.rfft(h, m), m)[:, : x.shape[1]]
        return x.index_copy(0, at, y)

    def noise(self, x: Tensor, speech: Any) -> Tensor:
        """Backgrounds under a third of the windows and alone in most windows without speech; faint other voices."""
        heard = self.put(speech)
        loud = torch.where(heard, x.square().mean(1).sqrt() + 1e-5, 10 ** (self.uniform(-4.0, -0.7)))
        if self.backgrounds is not None:
            rows = np.flatnonzero(self.r.random(self.size) < np.where(speech, 0.3 * self.strength, 0.75))
            n = x.shape[1]
            pick = self.r.integers(len(self.backgrounds), size=len(rows))
            shift = self.r.integers(0, self.backgrounds.shape[1], size=len(rows))
            t = (torch.arange(n, device=self.device) + self.put(shift)[:, None]) % self.backgrounds.shape[1]
            y = self.backgrounds[self.put(pick)[:, None], t].float()
            y = y / (y.square().mean(1, keepdim=True).sqrt() + 1e-3)
            below = np.where(speech[rows], self.r.uniform(5, 35, len(rows)), 0.0)
            at = self.put(rows)
            scale = loud[at] * self.put((10 ** (-below / 20)).astype(np.float32))
            x = x.index_add(0, at, y * scale[:, None])
        softly = (self.chance(0.08) & heard).float() * 10 ** (-self.uniform(10, 26) / 20)
        other = x.roll(1, 0) + x.roll(2, 0).flip(1)
        return x + softly[:, None] * other * (loud / (loud.roll(1, 0) + 1e-3)).clamp(max=2)[:, None]

    # ------------------------------------------------------------------------------------------------ spectra
    def colour(self, p: Tensor) -> Tensor:
        """The microphone's colour, steady noise, and limits of the band; p is the power (windows, 201, frames)."""
        f, st = self.bins, self.strength
        bump = self.uniform(-6, 6, 1) * st * torch.exp(-(((f - self.uniform(0.05, 0.9, 1)) / 0.15) ** 2))
        p = p * (f ** (self.uniform(-2, 2, 1) * st) * 10 ** (bump / 10))[:, :, None]
        slope = f ** self.uniform(-2.0, 0.3, 1)
        level = (p.mean((1, 2)) + 1e-7) * 10 ** (-self.uniform(5, 45) / 10) / slope.mean(1) * self.chance(0.75)
        p = p + (slope * level[:, None])[:, :, None] * torch.empty_like(p).exponential_()
        high = torch.where(self.chance(0.3), self.uniform(0.42, 0.95), 2.0)
        low = torch.where(self.chance(0.25), self.uniform(0.01, 0.045), -1.0)
        k = torch.arange(201, device=self.device) / 200
        return p * (torch.sigmoid((high[:, None] - k) * 80) * torch.sigmoid((k - low[:, None]) * 400))[:, :, None]

    def filters(self, p: Tensor) -> Tensor:
        """Mel filters, each window with its own warp of the frequency axis."""
        warp = self.r.uniform(1 - 0.18 * self.strength, 1 + 0.22 * self.strength, self.size)
        which = np.clip(np.round((warp - 0.80) / 0.01), 0, len(self.warps) - 1).astype(np.int64)
        return torch.bmm(self.bank[self.put(which)], p)

    def hide(self, m: Tensor) -> Tensor:
        """SpecAugment: two bands of frequencies and, longer windows more often, stretches of time."""
        mean = m.mean((1, 2), keepdim=True)
        bins, t = torch.arange(m.shape[1], device=self.device), torch.arange(m.shape[2], device=self.device)
        for _ in range(2):
            a, n = self.uniform(0, 70), self.uniform(0, 18 * self.strength)
            band = (bins >= a[:, None]) & (bins < (a + n)[:, None]) & self.chance(0.6)[:, None]
            m = torch.where(band[:, :, None], mean, m)
        for _ in range(1 + int(self.width / 8)):
            a, n = self.uniform(0, 1) * m.shape[2], self.uniform(0, 32 * self.strength)
            gap = (t >= a[:, None]) & (t < (a + n)[:, None]) & self.chance(0.6)[:, None]
            m = torch.where(gap[:, None, :], mean, m)
        return m
