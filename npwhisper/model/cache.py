"""The memory of the decoder: keys and values that need not be computed again.

The keys and values of the text grow by one position with every token; those of the audio are computed once per window.
A cache is a value that the caller holds and passes on: nothing is stored on functions or modules.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from npwhisper.tracing.seam import Array, layer


class KeyValues:
    """Room for the keys and values of `capacity` positions, filled from the left.

    >>> cache = KeyValues.empty(1, 2, 10, 4)
    >>> k, v = cache.append(np.ones((1, 2, 3, 4), np.float32), np.ones((1, 2, 3, 4), np.float32))
    >>> k.shape, cache.length
    ((1, 2, 3, 4), 3)
    """

    def __init__(self, k: Array, v: Array, length: int) -> None:
        self.k, self.v, self.length = k, v, length

    @classmethod
    def empty(cls, batch: int, n_head: int, capacity: int, width: int) -> KeyValues:
        """An empty cache with room for (B, H, capacity, K)."""
        shape = (batch, n_head, capacity, width)
        return cls(np.empty(shape, dtype=np.float32), np.empty(shape, dtype=np.float32), 0)

    @layer
    def append(self, k: Array, v: Array) -> tuple[Array, Array]:
        """Store the new positions and return views of all so far: (B, H, T, K) -> (B, H, length, K) twice."""
        start, end = self.length, self.length + k.shape[2]
        if end > self.k.shape[2]:
            raise ValueError(f"the cache has room for {self.k.shape[2]} positions, got {end}: start a larger one")
        self.k[:, :, start:end] = k
        self.v[:, :, start:end] = v
        self.length = end
        return self.k[:, :, :end], self.v[:, :, :end]

    @layer
    def reorder(self, parents: Array) -> None:
        """Let row i continue what row ``parents[i]`` was: the beams that survive, in their new order and number."""
        k, v = self.k[:, :, : self.length], self.v[:, :, : self.length]
        if len(parents) == len(k):
            k[:], v[:] = k[parents], v[parents]
            return
        larger = KeyValues.empty(len(parents), *self.k.shape[1:])
        larger.append(k[parents], v[parents])
        self.k, self.v = larger.k, larger.v


@dataclass(frozen=True)
class BlockCache:
    """What one decoder block remembers: the growing `text` and the keys and values (A, H, S, K) of the `audio`."""

    text: Any  # KeyValues, or Parts of them
    audio: Any  # (k, v), or Parts of such pairs


@dataclass(frozen=True)
class Cache:
    """One `BlockCache` for each block of the decoder."""

    blocks: tuple[BlockCache, ...]

    @property
    def length(self) -> int:
        """The number of text positions that every block has seen."""
        return self.blocks[0].text.length

    @property
    def rows(self) -> int:
        """The number of rows of tokens."""
        return len(self.blocks[0].text.k)

    def positions(self, n: int) -> Array:
        """The positions of the next `n` tokens: -> (n,)."""
        return np.arange(self.length, self.length + n)

    def emptied(self) -> Cache:
        """A cache of the same audio that has seen no text yet."""
        n_windows, (_, n_head, capacity, width) = len(self.blocks[0].audio[0]), self.blocks[0].text.k.shape
        texts = (KeyValues.empty(n_windows, n_head, capacity, width) for _ in self.blocks)
        return Cache(tuple(BlockCache(text, block.audio) for text, block in zip(texts, self.blocks, strict=True)))

    def reorder(self, parents: Array) -> None:
        """Reorder the text of every block; the audio belongs to the window and stays."""
        if not np.array_equal(parents, np.arange(self.rows)):
            for block in self.blocks:
                block.text.reorder(parents)

    def fit(self, rows: int) -> None:
        """Make sure that `rows` rows of tokens may come next; a cache without tokens makes room for them."""
        windows = len(self.blocks[0].audio[0])
        if rows % windows:
            raise ValueError(f"got {rows} rows of tokens for {windows} windows: give every window the same number")
        if self.length and rows != self.rows:
            raise ValueError(f"the cache holds {self.rows} rows of tokens, got {rows}: reorder it first")
        if rows != self.rows:
            self.reorder(np.zeros(rows, dtype=np.int64))  # nothing is remembered yet, so any parent will do
