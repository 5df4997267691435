"""Windows: which utterance is heard where, and what the decoder shall say about it. Only numpy; runs in own processes.

A *window* is a part of a 30 second Whisper input, from second `offset` on and `width` seconds long. One to many
utterances are laid out in it; because their places are known, so are the timestamps, the place of every token (for the
attention guide) and the phone of every encoder frame.
"""

from __future__ import annotations

import multiprocessing as mp
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tiktoken
from model import EOT, NOSPEECH, NOSTAMPS, PREV, SOT, STAMP0, compact
from pool import RATE, Array, Catalogue, tokenizer

NOWHERE = float("nan")


@dataclass
class Plan:
    """What the layout processes need to know of the training: sizes and shares; `phase_a` is a share of the time."""

    list_file: str
    ranks: str
    base_tokens: int
    minutes: float
    done: float
    phase_a: float
    widths_a: list[float]
    widths_b: list[float]
    seconds_a: float
    seconds_b: float
    shares: tuple[float, float]  # of real recordings and of Kokoro among the utterances drawn
    seed: int

    def share_done(self, seconds: float) -> float:
        """How much of the whole plan lies behind, so many seconds after the start of this run."""
        return self.done + (1 - self.done) * max(0.0, seconds / 60 / self.minutes)


@dataclass
class Window:
    segments: list[tuple[int, float, float]] = field(default_factory=list)  # item, start in seconds, speed
    cut: tuple[int, float, float] | None = None  # an utterance that begins but does not end in the window
    offset: float = 0.0
    end: float = 0.0  # where the last speech ends
    tokens: list[int] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)  # what is to be predicted AT each token (so one place ahead)
    place: list[float] = field(default_factory=list)
    blur: list[float] = field(default_factory=list)
    loss_from: int = 0
    letters: list[int] = field(default_factory=list)

    def say(self, tokens: list[int], place: Any = None, blur: float = 5.0) -> None:
        self.tokens += tokens
        self.place += [NOWHERE] * len(tokens) if place is None else list(place)
        self.blur += [blur] * len(tokens)


class Layout:
    """Draws windows from a catalogue; the shares of silence, prompts and so on change with the share f of the time."""

    def __init__(self, catalogue: Catalogue, whole: tiktoken.Encoding, shares: tuple[float, float], seed: int) -> None:
        self.c, self.whole = catalogue, whole
        self.real_share, self.kokoro_share = shares
        self.r = np.random.default_rng(seed)

    def pick(self, longest: float, tries: int = 3) -> int | None:
        """A random utterance of at most `longest` seconds: the longest of `tries` that fit (windows fill better)."""
        groups, fit, u = self.c.groups, [], self.r.random()
        name = "real" if u < self.real_share else "kokoro" if u < self.real_share + self.kokoro_share else "other"
        group = groups[name] if len(groups[name]) > 200 else groups["other"]
        for _ in range(40):
            i = group[self.r.integers(len(group))]
            if self.c.items[i].n <= longest * RATE:
                fit.append((self.c.items[i].n, i))
                if len(fit) == tries:
                    break
        return max(fit)[1] if fit else None

    def offset(self, width: float) -> float:
        """Windows at the very start of the 30 seconds are the commonest case of all."""
        if width >= 30 or self.r.random() < 0.5:
            return 0.0
        if self.r.random() < 0.15:
            return 30.0 - width
        return float(round(self.r.uniform(0, 30 - width) / 0.02) * 0.02)

    def fill(self, w: Window, width: float, strength: float) -> None:
        """Place utterances one after the other until the window is full (or after the first)."""
        r, last = self.r, w.offset + width >= 29.99
        single = r.random() < (0.25 if width >= 30 else 0.3)
        t = r.uniform(0, 0.6) if r.random() < 0.7 else r.uniform(0, 2.0)
        while True:
            speed = r.uniform(1 - 0.14 * strength, 1 + 0.14 * strength)
            room = ((width - 0.1 - t) if w.segments else (width - 0.3)) * speed
            if last and w.segments and r.random() < 0.5:
                room = 30.0  # may run over the end of the 30 seconds
            i = self.pick(room, 1 if width >= 30 or r.random() < 0.3 else 3) if room > 0.3 else None
            if i is None:
                break
            n = self.c.items[i].n / RATE / speed
            if t + n > width - 0.06 and w.segments:
                if last and r.random() < 0.8 and t < width - 0.3:
                    w.cut = (i, t, speed)
                break
            if t + n > width - 0.06:
                t = max(0.0, width - n - 0.1)
            w.segments.append((i, t, speed))
            t += n
            w.end = t
            if single:
                break
            t += r.uniform(0.05, 0.7) if r.random() < 0.85 else r.uniform(0.5, 3.0)

    def prompt(self, w: Window) -> None:
        """Previous text, as transcribe() gives it (with timestamps) or plain, sometimes in the official tokens."""
        stamped, official, s = self.r.random() < 0.6, self.r.random() < 0.15, 0.0
        prev: list[int] = []
        for _ in range(self.r.integers(1, 4) if self.r.random() < 0.6 else self.r.integers(3, 9)):
            i = self.pick(30, 1)
            if i is None:
                break
            it, e = self.c.items[i], min(30.0, s + self.c.items[i].n / RATE)
            text = self.whole.encode(self.c.encoding.decode(it.tokens)) if official else it.tokens
            a, b = STAMP0 + int(s / 0.02), STAMP0 + int(e / 0.02)
            prev += [a, *text, b] if stamped else text
            s = min(e, 29.0)
        w.say([PREV, *prev[-int(self.r.integers(60, 200)) :]])

    def write(self, w: Window, stamped: bool) -> None:
        """The tokens of a window with speech."""
        if not stamped:
            w.say([NOSTAMPS])
        for i, s, speed in w.segments:
            it = self.c.items[i]
            e = s + it.n / RATE / speed
            if stamped:
                w.say([self.stamp(w, s)], [s])
            w.say(it.tokens, s + it.middle / speed, it.blur)
            if stamped:
                w.say([self.stamp(w, e)], [e])
            w.letters += ([0] if w.letters else []) + it.letters
        if w.cut:
            w.say([self.stamp(w, w.cut[1])], [w.cut[1]])
        w.say([EOT])

    def stamp(self, w: Window, s: float) -> int:
        return STAMP0 + int(np.clip(round((w.offset + s) / 0.02), 0, 1500))

    def window(self, width: float, f: float, strength: float) -> Window:
        w, r = Window(offset=self.offset(width)), self.r
        if r.random() >= (0.03 if f < 0.3 else 0.08):
            self.fill(w, width, strength)
        if r.random() < (0.0 if f < 0.2 else 0.35):
            self.prompt(w)
        w.say([SOT])
        w.loss_from = len(w.tokens) - 1
        if w.segments:
            self.write(w, w.cut is not None or r.random() < 0.7)
        else:  # whatever token the decoder is then made to take instead of "no speech": nothing follows
            w.say([[NOSPEECH, NOSTAMPS, STAMP0, STAMP0 + int(r.integers(0, 50))][r.integers(4)], EOT])
        w.targets = [*w.tokens[1:], EOT]
        if w.segments:
            self.disturb(w)
        else:
            w.targets[w.loss_from] = NOSPEECH
        w.tokens = w.tokens[:447]
        return w

    def disturb(self, w: Window) -> None:
        """Change some of the words that the decoder reads, so that it listens rather than recites."""
        for k in range(w.loss_from + 1, len(w.tokens)):
            if w.tokens[k] < EOT and self.r.random() < 0.04:
                it = self.c.items[self.r.integers(len(self.c.items))]
                w.tokens[k] = it.tokens[self.r.integers(len(it.tokens))]

    # ------------------------------------------------------------------------------------------------ batch
    def batch(self, size: int, width: float, f: float, strength: float, base_tokens: int) -> dict[str, Any]:
        """size windows -> numpy arrays, ready for the device."""
        rows = [self.window(width, f, strength) for _ in range(size)]
        out = {"width": width, "size": size, "f": f, "strength": strength}
        return {**out, **self.sound(rows, width), **self.words(rows, base_tokens), **self.labels(rows, width)}

    def sound(self, rows: list[Window], width: float) -> dict[str, Array]:
        """Where to read and where to write the samples of every utterance."""
        r, samples, parts = self.r, int(width * RATE) + 240, []
        for b, w in enumerate(rows):
            level = 10 ** (r.uniform(-25, -2) / 20)
            for i, s, speed in w.segments + ([w.cut] if w.cut else []):
                a = round(s * RATE)
                n = min(int(self.c.items[i].n / speed) - 2, samples - a)
                if n > 0:
                    gain = level * 10 ** (r.uniform(-4, 4) / 20) / 16384
                    parts.append((self.c.items[i].start, b * samples + a, n, speed, gain))
        columns = list(zip(*parts, strict=True)) if parts else [(0,), (0,), (1,), (1.0,), (0.0,)]
        whole = [np.array(c, np.int64) for c in columns[:3]]
        speech = np.array([bool(w.segments) for w in rows])
        # transcribe() pads the end of a file with 0.0 in log-mel space, a bare log_mel(pad_or_trim(audio)) with silence
        ends = [min(width, w.end + r.exponential(0.4)) if r.random() < 0.6 and not w.cut else width for w in rows]
        ends = [
            e if w.segments else (width if r.random() < 0.5 else r.uniform(0.5, width))
            for e, w in zip(ends, rows, strict=True)
        ]
        return {
            "src": whole[0], "dst": whole[1], "num": whole[2], "speed": np.array(columns[3], np.float32),
            "gain": np.array(columns[4], np.float32), "speech": speech, "ends": np.array(ends, np.float32) * 100,
        }  # fmt: skip

    def words(self, rows: list[Window], base_tokens: int) -> dict[str, Array]:
        """Tokens, targets and the places to look at, padded to one length."""
        length = -(-max(len(w.tokens) for w in rows) // 32) * 32
        ids, targets = np.full((2, len(rows), length), EOT, np.int64)
        place, blur = np.full((len(rows), length), NOWHERE, np.float32), np.ones((len(rows), length), np.float32)
        mask = np.zeros((len(rows), length), bool)
        for b, w in enumerate(rows):
            n = len(w.tokens)
            ids[b, :n], targets[b, :n] = w.tokens, w.targets[:n]
            place[b, : n - 1], blur[b, : n - 1] = w.place[1:n], w.blur[1:n]
            mask[b, w.loss_from : n - 1] = True
        return {
            "ids": compact(ids, base_tokens).astype(np.int32),
            "targets": compact(targets[mask], base_tokens).astype(np.int64),
            "keep": np.flatnonzero(mask).astype(np.int64),
            "place": place[mask] / 0.02, "blur": blur[mask],
        }  # fmt: skip

    def labels(self, rows: list[Window], width: float) -> dict[str, Any]:
        """For the heads that exist only while training: letters of the window, phone of every encoder frame."""
        frames = round(width / 0.02)
        phone = np.full((len(rows), frames), -100, np.int64)
        for b, w in enumerate(rows):
            for i, s, speed in w.segments + ([w.cut] if w.cut else []):
                it = self.c.items[i]
                if it.phones is not None and it.phone_ends is not None:
                    t0, t1 = round(s / 0.02), min(frames, int((s + it.n / RATE / speed) / 0.02))
                    k = np.searchsorted(it.phone_ends / speed, (np.arange(t0, t1) + 0.5) * 0.02 - s)
                    phone[b, t0:t1] = it.phones[np.minimum(k, len(it.phones) - 1)]
        ctc = [max(1, min(frames, int((w.cut[1] if w.cut else width) / 0.02))) for w in rows]
        return {
            "phone": phone, "letters": np.array([c for w in rows for c in w.letters] or [1], np.int64),
            "n_letters": np.array([len(w.letters) for w in rows], np.int64), "ctc_len": np.array(ctc, np.int64),
            "offset": np.array([round(w.offset / 0.02) for w in rows], np.int64),
            "seconds": sum(self.c.items[i].n for w in rows for i, _, _ in w.segments) / RATE,
        }  # fmt: skip


def layout_process(plan: Plan, number: int, start: Any, queue: Any) -> None:
    """Draw batches for ever. start.value is the time when the training began, 0 before."""
    catalogue = Catalogue(plan.list_file, tokenizer(plan.ranks, plan.base_tokens))
    layout = Layout(catalogue, tokenizer(plan.ranks, 50256), plan.shares, plan.seed * 100 + number)
    last = 0.0
    while True:
        if time.time() - last > 5:
            catalogue.refresh()
            last = time.time()
        if len(catalogue.items) < 200 or not start.value:
            time.sleep(0.2)
            continue
        f = plan.share_done(time.time() - start.value)
        early = f < plan.phase_a
        width = float(layout.r.choice(plan.widths_a if early else plan.widths_b))
        size = max(2, int((plan.seconds_a if early else plan.seconds_b) / width))
        strength = min(1.0, 0.35 + 0.65 * f / 0.3)
        queue.put(layout.batch(size, width, f, strength, plan.base_tokens))


def start_processes(plan: Plan, count: int) -> tuple[Any, Any, list[Any]]:
    """The shared start time, the queue of batches and the processes. Call before the device is touched."""
    context = mp.get_context("fork")
    start, queue = context.Value("d", 0.0), context.Queue(4 * count)
    workers = [context.Process(target=layout_process, args=(plan, k, start, queue), daemon=True) for k in range(count)]
    for w in workers:
        w.start()
    return start, queue, workers
