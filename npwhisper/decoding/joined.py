"""The caches of several windows side by side, so that the network can read the tokens of all of them in one run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from npwhisper.compute.parts import Parts
from npwhisper.model.cache import BlockCache, Cache
from npwhisper.tracing.seam import Array


class JoinedCache(Cache):
    """Several caches side by side, for the rows of tokens of all of them: each is at its own place of its own text.

    >>> from npwhisper.model.cache import KeyValues
    >>> caches = [Cache((BlockCache(KeyValues.empty(1, 2, 10, 4), None),)) for _ in range(2)]
    >>> _ = caches[1].blocks[0].text.append(*np.ones((2, 1, 2, 3, 4), np.float32))
    >>> JoinedCache(caches).positions(1).tolist()
    [[0], [3]]
    """

    caches: list[Cache]

    def __init__(self, caches: Sequence[Cache]) -> None:
        rows = [cache.rows for cache in caches]
        blocks = (
            BlockCache(Parts([block.text for block in blocks], rows), Parts([block.audio for block in blocks], rows))
            for blocks in zip(*(cache.blocks for cache in caches), strict=True)
        )
        super().__init__(tuple(blocks))
        object.__setattr__(self, "caches", list(caches))  # as every field of a frozen dataclass is set

    @property
    def length(self) -> int:
        """The number of text positions of the longest."""
        return max(cache.length for cache in self.caches)

    def positions(self, n: int) -> Array:
        """The positions of the next `n` tokens of every row: -> (B, n)."""
        return np.concatenate([np.tile(cache.positions(n), (cache.rows, 1)) for cache in self.caches])

    def fit(self, rows: int) -> None:
        """Make sure that `rows` rows of tokens may come next."""
        held = sum(cache.rows for cache in self.caches)
        if rows != held:
            raise ValueError(f"the caches hold {held} rows of tokens, got {rows}: give every row one")
