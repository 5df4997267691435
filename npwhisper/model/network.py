"""The network: from a log-mel spectrogram and tokens to the logits of the next token.

Read bottom-up: attention, mlp, blocks, encoder, decoder. Each is a function of its input and its slice of the weights,
like the layers that it is made of; `Network` holds the weights of one checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from npwhisper.compute.blocks import positionwise
from npwhisper.compute.int8 import Int8Matrix
from npwhisper.compute.parts import by_parts
from npwhisper.compute.products import matmul
from npwhisper.compute.threads import limit_blas
from npwhisper.model.cache import BlockCache, Cache, JoinedCache, KeyValues
from npwhisper.model.layers import (
    attend,
    causal_mask,
    conv1d,
    embedding,
    gelu,
    layer_norm,
    linear,
    merge_heads,
    split_heads,
)
from npwhisper.tracing.scope import Scope, nest
from npwhisper.tracing.seam import Array, Weights, layer


@layer
def self_attention(x: Array, w: Weights, n_head: int, cache: KeyValues | None = None) -> Array:
    """Let positions look at each other: all at all in the encoder, at none later in the decoder, which has a cache.

    (B, T, D) -> (B, T, D)
    """
    q, k, v = (split_heads(linear(x, w[name]), n_head) for name in ("query", "key", "value"))
    y = attend(q, k, v) if cache is None else by_parts(_attend_to_text, cache, q, k, v)
    return linear(merge_heads(y), w["out"])


def _attend_to_text(cache: KeyValues, q: Array, k: Array, v: Array) -> Array:
    """Attend to what is in the cache and to the new positions, each to none after it: (B, H, T, K) -> (B, H, T, K)."""
    k, v = cache.append(k, v)
    return attend(q, k, v, causal_mask(q.shape[2], k.shape[2]))


@layer
def cross_attention(x: Array, w: Weights, n_head: int, audio: tuple[Array, Array]) -> Array:
    """Let text positions look at the audio, whose keys and values were computed once by `start_cache`.

    (B, T, D), audio keys and values (A, H, S, K) of A windows, each shared by B / A rows -> (B, T, D)
    """
    y = by_parts(partial(_attend_to_audio, n_head=n_head), audio, linear(x, w["query"]))
    return linear(y, w["out"])


def _attend_to_audio(audio: tuple[Array, Array], q: Array, n_head: int) -> Array:
    """Attend to the audio; the rows of a window are further queries to it: (B, T, D) -> (B, T, D)."""
    k, v = audio
    y = attend(split_heads(q.reshape(len(k), -1, q.shape[-1]), n_head), k, v)
    return merge_heads(y).reshape(q.shape)


@layer
@positionwise
def mlp(x: Array, w: Weights) -> Array:
    """Think about every position by itself: four times wider, GELU, back.

    (B, T, D) -> (B, T, D)
    """
    return linear(gelu(linear(x, w["0"])), w["2"])


@layer
def encoder_block(x: Array, w: Weights, n_head: int) -> Array:
    """Add to every position what attention and then the mlp make of it.

    (B, S, D) -> (B, S, D)
    """
    x = x + self_attention(layer_norm(x, w["attn_ln"]), w["attn"], n_head)
    return x + mlp(layer_norm(x, w["mlp_ln"]), w["mlp"])


@layer
def decoder_block(x: Array, w: Weights, n_head: int, cache: BlockCache) -> Array:
    """Add to every position what the text before it, the audio and then the mlp make of it.

    (B, T, D) -> (B, T, D)
    """
    x = x + self_attention(layer_norm(x, w["attn_ln"]), w["attn"], n_head, cache.text)
    x = x + cross_attention(layer_norm(x, w["cross_attn_ln"]), w["cross_attn"], n_head, cache.audio)
    return x + mlp(layer_norm(x, w["mlp_ln"]), w["mlp"])


@layer
def encoder(mel: Array, w: Weights, n_head: int) -> Array:
    """Hear: two convolutions (the second halves the frames), positions, blocks.

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
    """
    return matmul(x, weight.T)


@layer
def decoder(
    tokens: Array, w: Weights, n_head: int, cache: Cache | JoinedCache, at: Sequence[int] | None = None
) -> Array:
    """Say what comes next: the tokens that continue those in the cache, with their positions, through the blocks.

    (B, T) -> (B, T, V), or (B, len(at), V): the logits at the positions `at` only
    """
    x = embedding(tokens, w["token_embedding"]) + w["positional_embedding"][cache.positions(tokens.shape[1])]
    for block, block_cache in zip(w["blocks"].values(), cache.blocks, strict=True):
        x = decoder_block(x, block, n_head, block_cache)
    x = layer_norm(x if at is None else x[:, at], w["ln"])
    return logits(x, w["token_embedding"]["weight"])


def start_cache(audio_features: Array, w: Weights, n_head: int, capacity: int) -> Cache:
    """Compute every block's keys and values of the audio, and make room for `capacity` text positions.

    (A, S, D) -> Cache
    """
    return Cache(tuple(_start_block(audio_features, block, n_head, capacity) for block in w["blocks"].values()))


def _start_block(audio_features: Array, w: Weights, n_head: int, capacity: int) -> BlockCache:
    k, v = (split_heads(linear(audio_features, w["cross_attn"][name]), n_head) for name in ("key", "value"))
    k = np.ascontiguousarray(k.swapaxes(2, 3)).swapaxes(2, 3)  # laid out as `scores` reads it
    v = np.ascontiguousarray(v)
    return BlockCache(KeyValues.empty(len(k), n_head, capacity, k.shape[-1]), (k, v))


@dataclass(frozen=True)
class ModelDimensions:
    """The ten numbers that fix a Whisper network's shape, in the order of the checkpoints.

    Source: ``ModelDimensions`` in openai-whisper's ``model.py``.
    """

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
    """A checkpoint ready to compute: dimensions, weights and what follows from them.

    Parameters
    ----------
    dims : ModelDimensions
    weights : mapping from torch's names to float32 arrays, the matrices perhaps of 8 bits
    alignment_heads : sequence of (layer, head)
        The cross-attention heads that follow the audio; by default all heads of the upper half of the layers.
    """

    def __init__(
        self,
        dims: ModelDimensions,
        weights: Mapping[str, Array | Int8Matrix],
        alignment_heads: Sequence[tuple[int, int]] | None = None,
    ) -> None:
        self.dims = dims
        self.weights = weights
        upper = range(dims.n_text_layer // 2, dims.n_text_layer)
        self.alignment_heads = [(i, h) for i in upper for h in range(dims.n_text_head)]
        if alignment_heads is not None:
            self.alignment_heads = [(int(i), int(h)) for i, h in alignment_heads]

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

    @limit_blas(1)
    def encoder(self, mel: Array) -> Array:
        """Encode log-mel windows: (M, 3000) or (B, M, 3000) -> (B, 1500, D). See `embed_audio`."""
        mel = self._check_mel(np.asarray(mel))
        return encoder(mel, self.scope["encoder"], self.dims.n_audio_head)

    def embed_audio(self, mel: Array) -> Array:
        """Encode log-mel windows.

        Parameters
        ----------
        mel : array, shape (n_mels, 3000) or (B, n_mels, 3000)

        Returns
        -------
        array of float32, shape (B, 1500, n_audio_state)

        Raises
        ------
        ValueError
            If the number of mel bins or frames is not the model's.
        """
        return self.encoder(mel)

    @limit_blas(1)
    def start_cache(self, audio_features: Array) -> Cache:
        """A fresh decoder cache for windows (A, S, D) that the encoder has heard."""
        return start_cache(audio_features, self.scope["decoder"], self.dims.n_text_head, self.dims.n_text_ctx)

    @limit_blas(1)
    def decoder(
        self,
        tokens: Array,
        audio_features: Array,
        cache: Cache | JoinedCache | None = None,
        at: Sequence[int] | None = None,
    ) -> Array:
        """Logits after each token; with a `cache` from `start_cache`, `tokens` continue those it has seen.

        (B, T), (A, S, D) -> (B, T, V) or, at the positions `at` only, (B, len(at), V); every B / A rows share a window.
        A `JoinedCache` has several windows, each at its own position; what `audio_features` are is then in it.
        """
        tokens = self._check_tokens(np.atleast_2d(np.asarray(tokens)))
        if cache is None:
            cache = self.start_cache(audio_features[None] if audio_features.ndim == 2 else audio_features)
        if cache.length + tokens.shape[1] > self.dims.n_text_ctx:
            raise ValueError(
                f"the decoder has {self.dims.n_text_ctx} text positions, got {cache.length + tokens.shape[1]}: "
                "pass fewer tokens"
            )
        cache.fit(len(tokens))
        return decoder(tokens, self.scope["decoder"], self.dims.n_text_head, cache, at)

    def logits(self, tokens: Array, audio_features: Array) -> Array:
        """Logits of the token after each of `tokens`.

        Parameters
        ----------
        tokens : array of int, shape (T,) or (B, T)
        audio_features : array, shape (1500, D) or (A, 1500, D)
            What `embed_audio` returned for one or more windows; every B / A rows of tokens share a window.

        Returns
        -------
        array of float32, shape (B, T, n_vocab)

        Raises
        ------
        ValueError
            If there are too many tokens or unknown ones, or B is not a multiple of A.
        """
        return self.decoder(tokens, audio_features)

    def __call__(self, mel: Array, tokens: Array) -> Array:
        """Logits for windows and tokens at once: (B, M, 3000), (B, T) -> (B, T, V)."""
        return self.logits(tokens, self.embed_audio(mel))

    def _check_mel(self, mel: Array) -> Array:
        n_mels, n_frames = self.dims.n_mels, 2 * self.dims.n_audio_ctx
        if mel.ndim not in (2, 3):
            raise ValueError(f"a log-mel spectrogram has 2 or 3 axes, got shape {mel.shape}: pass (n_mels, frames)")
        if mel.shape[-2] != n_mels:
            raise ValueError(
                f"the model hears {n_mels} mel bins, got {mel.shape[-2]} (shape {mel.shape}): "
                f"make it with log_mel_spectrogram(audio, n_mels={n_mels})"
            )
        if mel.shape[-1] != n_frames:
            raise ValueError(
                f"the model hears windows of {n_frames} frames, got {mel.shape[-1]} (shape {mel.shape}): "
                f"use pad_or_trim(mel, {n_frames})"
            )
        return np.asarray(mel.reshape(-1, n_mels, n_frames), dtype=np.float32)

    def _check_tokens(self, tokens: Array) -> Array:
        n_vocab = self.dims.n_vocab
        if tokens.dtype.kind not in "iu" or tokens.size == 0 or tokens.ndim > 2:
            raise ValueError(f"tokens are rows of integers, got {tokens.dtype} of shape {tokens.shape}: pass token ids")
        if tokens.min() < 0 or tokens.max() >= n_vocab:
            raise ValueError(
                f"token ids of this model are 0 to {n_vocab - 1}, got {tokens.min()} to {tokens.max()}: "
                "use the tokenizer of the same model"
            )
        return tokens
