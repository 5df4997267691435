#!/usr/bin/env python3
"""Train a small English-only Whisper from nothing on a pool of utterances that may still grow, on one graphics card.

The run is planned in minutes, not in steps: phase A shows short windows taken from anywhere in the 30 seconds
(cheap; the sound-to-letters relation is learnt here), phase B full 30 second windows. Losses:

  * cross-entropy of the tokens, with label smoothing; timestamps also accept their near neighbours a little;
  * letters by CTC and phones by frame on the encoder, through heads that are dropped at export;
  * an attention guide: the first cross-attention head of every decoder layer but the lowest is rewarded for looking
    near the place (known from the layout) of the token to be predicted. It also makes these heads good for word times.

Writes OUT/small.pt (the moving average of the weights in half precision; see export.py) and OUT/log.txt. A run that
was cut off goes on from its small.pt with --resume and --done, the share of the plan that it had reached; optimizers
and the heads that are dropped at export begin anew, so the learning rate warms up again.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from layout import Plan, start_processes
from model import N_VOCAB, Block, Nano
from muon import Muon
from pool import LETTERS, PHONES, Pool
from sound import Sound

Tensor = torch.Tensor


def token_loss(net: Nano, x: Tensor, targets: Tensor, smooth: float = 0.05) -> tuple[Tensor, Tensor]:
    """Cross-entropy with smoothing, and the accuracy of the tokens that are not timestamps."""
    logp, first = net.log_probs(x), net.first_stamp
    stamp = targets >= first
    nll = -logp.gather(1, targets[:, None])[:, 0]
    steps = ((-2, 0.08), (-1, 0.2), (0, 0.44), (1, 0.2), (2, 0.08))
    near = sum(w * -logp.gather(1, (targets + k).clamp(first, first + 1500)[:, None])[:, 0] for k, w in steps)
    nll = torch.where(stamp, near, nll)
    loss = ((1 - smooth) * nll - smooth * logp[:, :-1].mean(1)).mean()
    hit = (logp.argmax(1) == targets) & ~stamp
    return loss, hit.sum() / (~stamp).sum().clamp(min=1)


def guide_loss(weights: list[Tensor], keep: Tensor, place: Tensor, sigma: Tensor) -> Tensor:
    """Minus the log of the attention that falls near the known place of the token to be predicted."""
    known = ~place.isnan()
    t = torch.arange(weights[0].shape[2], device=place.device)
    near = torch.exp(-(((t - place.nan_to_num()[:, None]) / sigma[:, None]) ** 2) / 2)
    loss = sum(-((w.flatten(0, 1)[keep] * near).sum(1) + 1e-4).log() for w in weights)
    assert isinstance(loss, Tensor)
    return (loss * known).sum() / known.sum().clamp(min=1) / len(weights)


def losses(net: Nano, mel: Tensor, b: dict[str, Tensor], narrow: float) -> dict[str, Tensor]:
    """All losses of one batch; narrow 0..1 shrinks the guide from 15 positions to what is known of a token."""
    audio = net.encoder(mel, b["offset"])
    x, weights = net.decoder(b["ids"], audio)
    ce, accuracy = token_loss(net, x.flatten(0, 1)[b["keep"]], b["targets"])
    letters = net.aux_ctc(audio).float().log_softmax(-1).transpose(0, 1)
    total = b["n_letters"].sum().clamp(min=1)
    ctc = F.ctc_loss(letters, b["letters"] + 1, b["ctc_len"], b["n_letters"], 0, "sum", zero_infinity=True) / total
    z = net.aux_phone(audio).float().flatten(0, 1)
    known = b["phone"].flatten() >= 0
    phone = F.cross_entropy(z, b["phone"].flatten(), ignore_index=-100, reduction="sum") / known.sum().clamp(min=1)
    right = ((z.argmax(1) == b["phone"].flatten()) & known).sum() / known.sum().clamp(min=1)
    guide = guide_loss(weights, b["keep"], b["place"], b["blur"].clamp(min=15 - 11 * narrow))
    return {"ce": ce, "ctc": ctc, "phone": phone, "guide": guide, "acc": accuracy, "phone_acc": right}


def mix(v: dict[str, Tensor], f: float) -> Tensor:
    """The encoder heads matter most while the network has not found the sounds yet."""
    fade = min(1.0, max(0.0, (f - 0.2) / 0.3))
    weight = {"ctc": 0.5 - 0.3 * fade, "phone": 0.5 - 0.4 * fade, "guide": 0.3 - 0.2 * fade}
    total = v["ce"]
    for name, w in weight.items():
        total = total + w * v[name]
    return total


def learning_rate(f: float, step: int, a: argparse.Namespace) -> float:
    """Warm-up in steps, then level, then half a cosine to zero at the end of the time."""
    rate = min(1.0, (step + 1) / a.warmup)
    return float(a.lr * rate * min(1.0, 0.5 * (1 + math.cos(math.pi * max(0.0, min(1.0, (f - 0.3) / 0.7))))))


def optimizers(net: Nano, lr: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks, AdamW for the rest."""
    matrices = [p for n, p in net.named_parameters() if p.ndim == 2 and ".blocks." in n]
    ids = {id(p) for p in matrices}
    rest = [(n, p) for n, p in net.named_parameters() if id(p) not in ids]
    decay = [p for n, p in rest if p.ndim >= 2 and "embedding" not in n]
    plain = [p for n, p in rest if not (p.ndim >= 2 and "embedding" not in n)]
    groups = [{"params": decay, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}]
    return [Muon(matrices, lr), torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98), fused=True)]


def save(path: str, ema: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """The averaged weights in half precision, without the heads that only training needs."""
    weights = {k: v.half().cpu() for k, v in ema.items() if not k.startswith("aux_")}
    torch.save({**facts, "weights": weights}, path + ".tmp")
    os.replace(path + ".tmp", path)


def dimensions(a: argparse.Namespace) -> dict[str, int]:
    side = {"ctx": (1500, 448), "state": (a.state,) * 2, "head": (a.state // 64,) * 2}
    side["layer"] = (a.audio_layers, a.text_layers)
    dims = {"n_mels": 80, "n_vocab": N_VOCAB}
    for k, name in enumerate(("audio", "text")):
        dims.update({f"n_{name}_{what}": values[k] for what, values in side.items()})
    return dims


def arguments() -> argparse.Namespace:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--pool", required=True, nargs="+", help="folders of shards; they may still grow")
    p.add_argument("--ranks", required=True, help="gpt2.tiktoken")
    p.add_argument("--mels", required=True, help="mel_filters.npz")
    p.add_argument("--backgrounds", help="backgrounds.npy")
    p.add_argument("--out", required=True)
    p.add_argument("--minutes", type=float, default=20)
    p.add_argument("--state", type=int, default=256)
    p.add_argument("--audio-layers", type=int, default=8)
    p.add_argument("--text-layers", type=int, default=4)
    p.add_argument("--base-tokens", type=int, default=2048)
    p.add_argument("--seconds-a", type=float, default=1920, help="window seconds in one batch of phase A")
    p.add_argument("--seconds-b", type=float, default=1920)
    p.add_argument("--widths-a", type=float, nargs="+", default=[6.0, 10.0])
    p.add_argument("--widths-b", type=float, nargs="+", default=[30.0, 30.0, 30.0, 12.0])
    p.add_argument("--phase-a", type=float, default=0.35, help="share of the time given to phase A")
    p.add_argument("--lr", type=float, default=2e-3)
    p.add_argument("--warmup", type=int, default=300)
    p.add_argument("--real-share", type=float, default=0.15)
    p.add_argument("--kokoro-share", type=float, default=0.3)
    p.add_argument("--hours-max", type=float, default=250, help="capacity of the pool on the device")
    p.add_argument("--least-hours", type=float, default=0.5, help="begin when the pool holds so much")
    p.add_argument("--ema", type=float, default=0.999)
    p.add_argument("--save-every", type=float, default=60)
    p.add_argument("--layout-workers", type=int, default=3)
    p.add_argument("--resume", help="small.pt of a run that was cut off")
    p.add_argument("--done", type=float, default=0.0, help="share of the plan that lies behind; --minutes is the rest")
    p.add_argument("--max-steps", type=int, default=10**9)
    p.add_argument("--compile", action="store_true")
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    p.add_argument("--seed", type=int, default=0)
    return p.parse_args()


class Run:
    """One training run: its network, optimizers, data and counters."""

    def __init__(self, a: argparse.Namespace) -> None:
        self.a, self.dims = a, dimensions(a)
        self.log_file = open(a.out + "/log.txt", "a", buffering=1)  # noqa: SIM115
        listing = a.out + "/pool.txt"
        self.plan = Plan(listing, a.ranks, a.base_tokens, a.minutes, a.done, a.phase_a, a.widths_a, a.widths_b,
                         a.seconds_a, a.seconds_b, (a.real_share, a.kokoro_share), a.seed)  # fmt: skip
        self.start, self.queue, self.workers = start_processes(self.plan, a.layout_workers)
        torch.manual_seed(a.seed)
        torch.set_float32_matmul_precision("high")
        self.pool = Pool(a.pool, listing, a.device, a.hours_max)
        self.net = Nano(self.dims, a.base_tokens, len(LETTERS), len(PHONES)).to(a.device)
        if a.resume:
            self.resume(a.resume)
        self.opts = optimizers(self.net, a.lr)
        self.ema = {k: v.clone() for k, v in self.net.state_dict().items()}
        self.live = dict(self.net.state_dict())
        self.sound = Sound(self.pool.audio, np.load(a.mels)["mel_80"], a.device, a.seed, self.backgrounds())
        self.step, self.heard, self.t_data = 0, 0.0, 0.0
        if a.compile:
            Block.forward = torch.compile(Block.forward, dynamic=None)  # type: ignore[method-assign]

    def backgrounds(self) -> Tensor | None:
        if not self.a.backgrounds:
            return None
        while not os.path.exists(self.a.backgrounds):
            time.sleep(1)
        return torch.from_numpy(np.load(self.a.backgrounds)).to(self.a.device)

    def resume(self, path: str) -> None:
        """Take the weights of an earlier run; the heads that only training needs are not among them."""
        weights = torch.load(path, map_location="cpu", weights_only=True)["weights"]
        missing, unknown = self.net.load_state_dict({k: v.float() for k, v in weights.items()}, strict=False)
        assert not unknown
        assert all(name.startswith("aux_") for name in missing)

    def log(self, *words: Any) -> None:
        line = " ".join(str(w) for w in words)
        print(line, flush=True)
        self.log_file.write(line + "\n")

    def wait_for_data(self) -> None:
        self.pool.refresh()
        while self.pool.hours < self.a.least_hours:
            time.sleep(1)
            self.pool.refresh()
        self.pool.start()

    def train_step(self, f: float) -> dict[str, Tensor]:
        t0 = time.time()
        b = self.queue.get()
        self.t_data += time.time() - t0
        self.heard += b["seconds"]
        mel = self.sound(b)
        names = ("ids", "targets", "keep", "place", "blur", "phone", "letters", "n_letters", "ctc_len", "offset")
        t = {k: self.sound.put(b[k]) for k in names}
        for o in self.opts:
            for g in o.param_groups:
                g["lr"] = learning_rate(f, self.step, self.a)
        with torch.autocast(self.a.device, dtype=torch.bfloat16):
            v = losses(self.net, mel, t, min(1.0, f / 0.4))
        for o in self.opts:
            o.zero_grad(set_to_none=True)
        mix(v, f).backward()
        v["norm"] = torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0, foreach=True)
        for o in self.opts:
            o.step()
        self.step += 1
        self.average()
        return v

    @torch.no_grad()
    def average(self) -> None:
        decay = min(self.a.ema, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.ema.values()), list(self.live.values()), 1 - decay)

    def save(self) -> None:
        facts = {"dims": self.dims, "base_tokens": self.a.base_tokens, "step": self.step, "heard": self.heard}
        facts.update(pool_hours=self.pool.hours, minutes=(time.time() - self.t0) / 60)
        save(self.a.out + "/small.pt", self.ema, facts)

    def report(self, f: float, v: dict[str, Tensor], seconds: float, steps: int) -> None:
        parts = " ".join(f"{k} {float(x.detach()):.3f}" for k, x in v.items())
        self.log(f"step {self.step} f {f:.3f} lr {learning_rate(f, self.step, self.a):.2e} {parts} | "
                 f"{seconds / steps:.3f} s/step, waited {self.t_data / steps:.3f}, heard {self.heard / 3600:.1f} h, "
                 f"pool {self.pool.hours:.2f} h")  # fmt: skip
        self.t_data = 0.0

    def go(self) -> None:
        self.log("args", json.dumps(vars(self.a)))
        self.wait_for_data()
        self.t0 = last_save = last_log = time.time()
        self.start.value, logged = self.t0, 0
        while self.step < self.a.max_steps:
            f = self.plan.share_done(time.time() - self.t0)
            if f >= 1:
                break
            v = self.train_step(f)
            if self.step - logged >= 50 or self.step in (1, 2, 5, 10, 25):
                self.report(f, v, time.time() - last_log, self.step - logged)
                last_log, logged = time.time(), self.step
            if time.time() - last_save > self.a.save_every:
                self.save()
                last_save = time.time()
        self.save()
        self.log("done", self.step, "steps", round((time.time() - self.t0) / 60, 2), "minutes",
                 round(self.heard / 3600, 2), "hours heard")  # fmt: skip


def main() -> None:
    a = arguments()
    os.makedirs(a.out, exist_ok=True)
    run = Run(a)
    try:
        run.go()
    finally:
        for w in run.workers:
            w.kill()  # they would wait for ever


if __name__ == "__main__":
    main()
