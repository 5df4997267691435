"""The network: from a log-mel spectrogram and tokens to the logits of the next token.

`encoder` and `decoder` are functions of their input and their slice of the weights, as the blocks and layers in them
are; `Network` holds the weights of one checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from npwhisper import formerly
from npwhisper.compute.blocks import reproducible
from npwhisper.compute.products import laid_out_for_attention, matmul
from npwhisper.model.attention import split_heads
from npwhisper.model.blocks import decoder_block, encoder_block
from npwhisper.model.cache import BlockCache, Cache, KeyValues
from npwhisper.model.layers import conv1d, embedding, gelu, layer_norm, linear
from npwhisper.tracing.scope import Scope, nest
from npwhisper.tracing.seam import Array, Weights, layer


@layer
@reproducible
def encoder(mel: Array, w: Weights, n_head: int) -> Array:
    """Two convolutions (the second halves the frames), positions, blocks.

    (B, M, F) -> (B, S, D)
    """
    x = gelu(conv1d(mel, w["conv1"]))
    x = gelu(conv1d(x, w["conv2"], stride=2))
    x = x.transpose(0, 2, 1) + w["positional_embedding"]
    for block in w["blocks"].values():
        x = encoder_block(x, block, n_head)
    return layer_norm(x, w["ln_post"])


@layer
def logits(x: Array, weight: Array) -> Array:
    """Compare every position with the embedding of every token: the weights are tied.

    (B, T, D), (V, D) -> (B, T, V)

    >>> logits(np.ones((1, 1, 2), np.float32), np.array([[1, 2], [3, 4]], np.float32))
    array([[[3., 7.]]], dtype=float32)
    """
    return matmul(x, weight.T)


@layer
@reproducible
def decoder(tokens: Array, w: Weights, n_head: int, cache: Cache, at: Sequence[int] | None = None) -> Array:
    """Score every next token: the tokens after those in the cache, with their positions, through the blocks.

    (B, T) -> (B, T, V), or (B, len(at), V): the logits at the positions `at` only
    """
    x = embedding(tokens, w["token_embedding"]) + w["positional_embedding"][cache.positions(tokens.shape[1])]
    for block, block_cache in zip(w["blocks"].values(), cache.blocks, strict=True):
        x = decoder_block(x, block, n_head, block_cache)
    x = layer_norm(x if at is None else x[:, at], w["ln"])
    return logits(x, w["token_embedding"]["weight"])


@reproducible
def start_cache(audio_features: Array, w: Weights, n_head: int, capacity: int) -> Cache:
    """Compute every block's keys and values of the audio, and make room for `capacity` text positions.

    (A, S, D) -> Cache
    """
    shape = (len(audio_features), n_head, capacity, audio_features.shape[-1] // n_head)
    texts = [KeyValues.empty(*shape) for _ in w["blocks"]]
    audio = [_keys_and_values(audio_features, block["cross_attn"], n_head) for block in w["blocks"].values()]
    return Cache(tuple(map(BlockCache, texts, audio)))


def _keys_and_values(audio_features: Array, w: Weights, n_head: int) -> tuple[Array, Array]:
    k, v = (split_heads(linear(audio_features, w[name]), n_head) for name in ("key", "value"))
    return laid_out_for_attention(k, v)


@dataclass(frozen=True)
class ModelDimensions:
    """The ten numbers that fix a network's shape, in the order of the checkpoints, as openai-whisper names them."""

    n_mels: int
    n_audio_ctx: int
    n_audio_state: int
    n_audio_head: int
    n_audio_layer: int
    n_vocab: int
    n_text_ctx: int
    n_text_state: int
    n_text_head: int
    n_text_layer: int


class Network:
    """A checkpoint ready to compute: its `dims`, its `weights` by torch's names, and what follows from them.

    `alignment_heads` are the (layer, head) of the cross-attention that follows the audio; by default all heads of the
    upper half of the layers.
    """

    def __init__(
        self, dims: ModelDimensions, weights: Weights, alignment_heads: Sequence[tuple[int, int]] | None = None
    ) -> None:
        upper = range(dims.n_text_layer // 2, dims.n_text_layer)
        default = [(i, h) for i in upper for h in range(dims.n_text_head)]
        self.dims, self.weights = dims, weights
        self.alignment_heads = default if alignment_heads is None else [(int(i), int(h)) for i, h in alignment_heads]

    @cached_property
    def scope(self) -> Scope:
        """The weights nested by module: ``scope["decoder"]["blocks"]["0"]``."""
        return nest(self.weights)

    @property
    def is_multilingual(self) -> bool:
        """Whether the vocabulary is the multilingual one."""
        return self.dims.n_vocab >= 51865

    @property
    def num_languages(self) -> int:
        """The number of language tokens in the vocabulary."""
        return self.dims.n_vocab - 51765 - int(self.is_multilingual)

    def encoder(self, mel: Array) -> Array:
        """Encode log-mel windows: (M, 3000) or (B, M, 3000) -> (B, 1500, D)."""
        return encoder(self._checked_mel(np.asarray(mel)), self.scope["encoder"], self.dims.n_audio_head)

    def embed_audio(self, mel: Array) -> Array:
        """See `encoder`."""
        return self.encoder(mel)

    def start_cache(self, audio_features: Array) -> Cache:
        """A fresh decoder cache for encoded windows (A, S, D)."""
        return start_cache(audio_features, self.scope["decoder"], self.dims.n_text_head, self.dims.n_text_ctx)

    def decoder(
        self, tokens: Array, audio_features: Array, cache: Cache | None = None, at: Sequence[int] | None = None
    ) -> Array:
        """Logits after each token; with a `cache` from `start_cache`, `tokens` continue those it has seen.

        (B, T), (A, S, D) -> (B, T, V) or, at the positions `at` only, (B, len(at), V); every B / A rows share a window.
        """
        tokens = self._checked_tokens(np.atleast_2d(np.asarray(tokens)))
        if cache is None:
            cache = self.start_cache(audio_features[None] if audio_features.ndim == 2 else audio_features)
        room, length = self.dims.n_text_ctx, cache.length + tokens.shape[1]
        if length > room:
            raise ValueError(f"the decoder has {room} text positions, got {length}: pass fewer tokens")
        cache.fit(len(tokens))
        return decoder(tokens, self.scope["decoder"], self.dims.n_text_head, cache, at)

    def logits(self, tokens: Array, audio_features: Array) -> Array:
        """Logits after each token: (T,) or (B, T), (1500, D) or (A, 1500, D) -> (B, T, V)."""
        return self.decoder(tokens, audio_features)

    def __call__(self, mel: Array, tokens: Array) -> Array:
        """Logits for windows and tokens at once: (B, M, 3000), (B, T) -> (B, T, V)."""
        return self.logits(tokens, self.embed_audio(mel))

    def _checked_mel(self, mel: Array) -> Array:
        n_mels, n_frames = self.dims.n_mels, 2 * self.dims.n_audio_ctx
        if mel.ndim not in (2, 3):
            raise ValueError(f"a log-mel spectrogram has 2 or 3 axes, got shape {mel.shape}: pass (n_mels, frames)")
        if mel.shape[-2] != n_mels:
            advice = f"make it with log_mel_spectrogram(audio, n_mels={n_mels})"
            raise ValueError(f"the model takes {n_mels} mel bins, got {mel.shape[-2]} (shape {mel.shape}): {advice}")
        if mel.shape[-1] != n_frames:
            got = f"{mel.shape[-1]} (shape {mel.shape}): use pad_or_trim(mel, {n_frames})"
            raise ValueError(f"the model takes windows of {n_frames} frames, got {got}")
        return np.asarray(mel.reshape(-1, n_mels, n_frames), dtype=np.float32)

    def _checked_tokens(self, tokens: Array) -> Array:
        if tokens.dtype.kind not in "iu" or tokens.size == 0 or tokens.ndim > 2:
            raise ValueError(f"tokens are rows of integers, got {tokens.dtype} of shape {tokens.shape}: pass token ids")
        first, last, wanted = tokens.min(), tokens.max(), f"0 to {self.dims.n_vocab - 1}"
        if first < 0 or last >= self.dims.n_vocab:
            advice = "use the tokenizer of the same model"
            raise ValueError(f"token ids of this model are {wanted}, got {first} to {last}: {advice}")
        return tokens


__getattr__ = formerly("npwhisper.model.attention", "npwhisper.model.blocks")
