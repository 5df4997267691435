"""Networks of random weights that talk: official vocabularies, peaked distributions, timestamps and ends now and then.

What they say means nothing, but it takes every branch of decoding, in any language and at any size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import cases
import numpy as np

from npwhisper import ModelDimensions, Whisper
from npwhisper.decoding.joined import JoinedCache
from npwhisper.tokenizer import get_tokenizer
from npwhisper.tracing.seam import Array

ENGLISH = ModelDimensions(80, 1500, 24, 3, 1, 51864, 448, 24, 4, 2)
MULTILINGUAL = ModelDimensions(80, 1500, 16, 2, 1, 51865, 448, 16, 4, 2)
HUNDRED = ModelDimensions(128, 1500, 16, 4, 2, 51866, 448, 16, 2, 1)


@cache
def talker(dims: ModelDimensions = MULTILINGUAL, seed: int = 0, gain: float = 8.0) -> Whisper:
    """A network of random weights whose next token depends on the audio and on all tokens before it.

    Parameters
    ----------
    gain : float
        Width of the logits: with more of it, the best token stands out more.
    """
    weights = {name: np.array(array) for name, array in cases.random_weights(dims, seed).items()}
    width = np.sqrt(dims.n_text_state / 16)
    for name, array in weights.items():
        if name.startswith("decoder.blocks") and name.endswith(("query.weight", "key.weight")):
            array *= 2.5  # attend to little, so that every token counts
        elif name.startswith("decoder.blocks") and name.endswith(("out.weight", "mlp.2.weight")):
            array *= 2.0 * width
        elif name == "decoder.positional_embedding":
            array *= 4.0 * width  # what comes next is not what came last
    weights["decoder.ln.weight"] *= gain / np.sqrt(dims.n_text_state)
    _prefer(weights, dims, seed)
    for array in weights.values():
        array.flags.writeable = False
    return Whisper(dims, weights)


def _prefer(weights: dict[str, Array], dims: ModelDimensions, seed: int) -> None:
    """Make timestamps and ends likelier by one direction of the embedding, which the last bias adds to every state."""
    n_languages = dims.n_vocab - 51765 - (dims.n_vocab >= 51865)
    tokenizer = get_tokenizer(dims.n_vocab >= 51865, num_languages=n_languages)
    direction = cases.random_array("direction", dims.n_text_state, seed=seed)
    direction /= np.linalg.norm(direction)
    embedding = weights["decoder.token_embedding.weight"]
    embedding -= np.outer(embedding @ direction, direction)
    embedding[tokenizer.timestamp_begin :] += np.linspace(1.5, 0.5, 1501, dtype=np.float32)[:, None] * direction
    embedding[tokenizer.eot] += 2.0 * direction
    weights["decoder.ln.bias"] += 4.0 * direction


class Script(Whisper):
    """A network that answers what `says` tells it: from the tokens so far to the logits of those that stand out.

    All other tokens have the logit -30. `heard` collects the tokens of the first call for every window.
    """

    def __init__(self, says: Callable[[list[int]], dict[int, float]], n_vocab: int = 51864) -> None:
        super().__init__(replace(ENGLISH, n_vocab=n_vocab), {})
        self.says, self.heard = says, list[list[int]]()

    def embed_audio(self, mel: Array) -> Array:
        return np.zeros((np.size(mel) // (80 * 3000), 1500, self.dims.n_audio_state), dtype=np.float32)

    def start_cache(self, audio_features: Array) -> Any:
        return ScriptCache(len(audio_features))

    def decoder(self, tokens: Array, audio_features: Array, cache: Any = None, at: Any = None) -> Array:
        cache = cache or self.start_cache(audio_features)
        caches = cache.caches if isinstance(cache, JoinedCache) else [cache]
        parts = np.split(tokens, np.cumsum([part.rows for part in caches])[:-1])
        return np.concatenate([self._read(*pair, at) for pair in zip(parts, caches, strict=True)])

    def _read(self, tokens: Array, cache: Any, at: Any) -> Array:
        self.heard += [] if cache.length else tokens.tolist()
        cache.texts = [row + new for row, new in zip(cache.texts, tokens.tolist(), strict=True)]
        width = tokens.shape[1]
        ends = [cache.length - width + range(width)[i] + 1 for i in (at or range(width))]
        return np.array([[self._logits(row[:end]) for end in ends] for row in cache.texts])

    def _logits(self, tokens: list[int]) -> Array:
        row = np.full(self.dims.n_vocab, -30.0, dtype=np.float32)
        for token, logit in self.says(tokens).items():
            row[token] = logit
        return row


class ScriptCache:
    """The tokens of every row, where a real cache has what the network made of them."""

    blocks = ()

    def __init__(self, rows: int) -> None:
        self.texts = [list[int]() for _ in range(rows)]

    @property
    def rows(self) -> int:
        return len(self.texts)

    @property
    def length(self) -> int:
        return len(self.texts[0])

    def emptied(self) -> ScriptCache:
        return ScriptCache(1)

    def fit(self, rows: int) -> None:
        assert rows == self.rows

    def reorder(self, parents: Array) -> None:
        self.texts = [list(self.texts[parent]) for parent in parents]
