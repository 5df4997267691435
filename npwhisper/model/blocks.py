"""The blocks that the encoder and the decoder are stacks of: attention, then an mlp, each added to what came in."""

from __future__ import annotations

from npwhisper.compute.blocks import positionwise
from npwhisper.model.attention import cross_attention, self_attention
from npwhisper.model.cache import BlockCache
from npwhisper.model.layers import gelu, layer_norm, linear
from npwhisper.tracing.seam import Array, Weights, layer


@layer
@positionwise
def mlp(x: Array, w: Weights) -> Array:
    """Transform every position by itself: four times wider, GELU, back.

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
