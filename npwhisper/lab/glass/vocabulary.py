"""Recovering tokens from their embeddings, and finding tokens that are spelled alike."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from npwhisper.model import Network
from npwhisper.tokenizer import Tokenizer
from npwhisper.tracing.seam import Array

BEGINNING = 8  # leading numbers of an embedding; unique for every trained token


class Embeddings:
    """The token embedding of a model, from vectors back to ids."""

    def __init__(self, model: Network) -> None:
        self.table = np.asarray(model.weights["decoder.token_embedding.weight"])
        self._by_beginning = _by_beginning(self.table)

    def tokens(self, embedded: Array) -> Array:
        """The ids of embedding vectors: (B, T, D) -> (B, T)."""
        return np.array([[self._token(x) for x in row] for row in embedded])

    def _token(self, x: Array) -> int:
        i = self._by_beginning.get(x[:BEGINNING].tobytes())
        if i is not None and np.array_equal(self.table[i], x):
            return i
        return int(np.square(self.table - x).sum(axis=1).argmin())  # a swapped embedding


def _by_beginning(embeddings: Array) -> dict[bytes, int]:
    """The first token for each beginning of an embedding."""
    data = np.ascontiguousarray(embeddings[:, :BEGINNING]).tobytes()
    size = len(data) // len(embeddings)
    return {data[size * i : size * (i + 1)]: i for i in range(len(embeddings) - 1, -1, -1)}


def related_tokens(tokenizer: Tokenizer) -> Callable[[int, Array], Array]:
    """A function that finds tokens spelled like a given one, with the same first four bytes."""
    texts = tokenizer.encoding.decode_tokens_bytes(range(tokenizer.eot))
    families: dict[bytes, list[int]] = {}
    for i, text in enumerate(texts):
        families.setdefault(text[:4], []).append(i)

    def related(token: int, logits: Array) -> Array:
        is_word = token < len(texts) and len(texts[token]) >= 4
        family = np.array(families[texts[token][:4]] if is_word else [], dtype=np.int64)
        family = family[family < len(logits)]
        return family[np.argsort(-logits[family], kind="stable")[:5]]

    return related
