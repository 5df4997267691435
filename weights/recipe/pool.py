# ruff: noqa: SIM905  (a list of words is easier to read as words)
"""All utterances: their sound in one tensor on the device, their texts and places in every layout process.

The training process copies shards to the device and writes down where each begins (`Pool`); the layout processes read
that list and the shards' JSON (`Catalogue`). So the pool may grow while the training runs.
"""

from __future__ import annotations

import base64
import glob
import json
import os
import re
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tiktoken
import torch

RATE = 16000
LETTERS = " abcdefghijklmnopqrstuvwxyz'"
PHONES = (
    "pau aa ae ah ao aw ax axr ay b ch d dh eh el em en er ey f g hh ih iy jh k l m n ng ow oy p r s sh t th uh "
    "uw v w y z zh"
).split()
GPT2_SPLIT = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
Array = np.ndarray[Any, Any]


def tokenizer(rank_file: str, ranks_used: int) -> tiktoken.Encoding:
    """GPT-2's byte-pair encoding with only its first ranks; the ids keep their official meaning."""
    lines = [line.split() for line in Path(rank_file).read_text(encoding="ascii").splitlines() if line]
    ranks = {base64.b64decode(token): int(rank) for token, rank in lines if int(rank) < ranks_used}
    return tiktoken.Encoding("gpt2-head", pat_str=GPT2_SPLIT, mergeable_ranks=ranks, special_tokens={})


@dataclass
class Item:
    """One utterance: where its samples lie in the pool, its tokens and when each of them is spoken."""

    start: int
    n: int
    tokens: list[int]
    middle: Array  # seconds from the start of the utterance to the middle of each token
    blur: float  # how uncertain these times are, in encoder positions of 0.02 s
    letters: list[int]
    phones: Array | None  # index in PHONES of each phone
    phone_ends: Array | None


def token_middles(encoding: tiktoken.Encoding, tokens: list[int]) -> Array:
    """Share of the letters spoken when half of each token is spoken, 0..1."""
    sizes = np.array([len(encoding.decode_single_token_bytes(t).strip()) for t in tokens], float)
    return (np.cumsum(sizes) - sizes / 2) / max(sizes.sum(), 1)


def times_by_words(text: str, share: Array, words: list[list[float]]) -> Array:
    """Token times from the known start and end of each word."""
    sizes = np.array([len(w) for w in text.split()], float)
    edges = np.concatenate([[0], np.cumsum(sizes)]) / sizes.sum()
    which = np.clip(np.searchsorted(edges, share, side="right") - 1, 0, len(words) - 1)
    inside = (share - edges[which]) / (edges[which + 1] - edges[which])
    w = np.array(words)[which]
    return w[:, 0] + inside * (w[:, 1] - w[:, 0])


def times_by_phones(share: Array, phones: Array, ends: Array) -> Array:
    """Token times from the known times of the phones: letters are spread evenly over the phones without the pauses."""
    voiced = phones != 0
    spoken = np.concatenate([[0], np.cumsum(voiced)]) / max(voiced.sum(), 1)
    return np.interp(share, spoken + np.arange(len(spoken)) * 1e-9, np.concatenate([[0], ends]))


def make_item(m: dict[str, Any], base: int, encoding: tiktoken.Encoding) -> Item:
    """One row of a shard's JSON as an Item."""
    tokens = encoding.encode(" " + m["text"])
    share, phones, ends = token_middles(encoding, tokens), None, None
    middle, blur = share * m["n"] / RATE, 14.0
    if m.get("phones"):
        phones = np.array([PHONES.index(p) if p in PHONES else -100 for p, _ in m["phones"]])
        ends = np.array([t for _, t in m["phones"]])
        middle, blur = times_by_phones(share, phones, ends), 7.0
    if m.get("words") and len(m["words"]) == len(m["text"].split()):
        middle, blur = times_by_words(m["text"], share, m["words"]), 4.0
    plain = re.sub(r"\s+", " ", re.sub(r"[^a-z' ]", " ", m["text"].lower())).strip()
    letters = [LETTERS.index(c) for c in plain]
    return Item(base + m["start"], m["n"], tokens, middle, blur, letters, phones, ends)


class Pool(threading.Thread):
    """Copies new shards to the device, in a thread of the training process, and lists them in a file."""

    def __init__(self, folders: list[str], list_file: str, device: str, hours: float) -> None:
        super().__init__(daemon=True)
        self.folders, self.device, self.seen, self.used = folders, device, set[str](), 0
        self.audio = torch.zeros(int(hours * 3600 * RATE), dtype=torch.int16, device=device)
        self.list = open(list_file, "w", encoding="utf-8", buffering=1)  # noqa: SIM115

    @property
    def hours(self) -> float:
        return self.used / RATE / 3600

    def refresh(self) -> None:
        for name in sorted(f for d in self.folders for f in glob.glob(d + "/*.json")):
            if name in self.seen:
                continue
            self.seen.add(name)
            x = np.load(name[:-5] + ".npy")
            if self.used + len(x) + 2 < len(self.audio):
                self.audio[self.used : self.used + len(x)] = torch.from_numpy(x).to(self.device)
                self.list.write(f"{self.used}\t{name}\n")
                self.used += len(x)

    def run(self) -> None:
        while True:
            self.refresh()
            time.sleep(3)


class Catalogue:
    """The utterances that the training process has listed so far, in groups: real recordings, Kokoro, other."""

    def __init__(self, list_file: str, encoding: tiktoken.Encoding) -> None:
        self.path, self.encoding, self.offset = list_file, encoding, 0
        self.items: list[Item] = []
        self.groups: dict[str, list[int]] = {"real": [], "kokoro": [], "other": []}

    def refresh(self) -> None:
        if not os.path.exists(self.path):
            return
        with open(self.path, encoding="utf-8") as f:
            f.seek(self.offset)
            lines = f.read()
        lines = lines[: lines.rfind("\n") + 1]
        self.offset += len(lines.encode())
        for line in lines.splitlines():
            base, name = line.split("\t")
            for m in json.loads(Path(name).read_text(encoding="utf-8")):
                kind = m["voice"].split()[0]
                self.groups[kind if kind in self.groups else "other"].append(len(self.items))
                self.items.append(make_item(m, int(base), self.encoding))
