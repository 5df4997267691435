"""Our functions and the loops of `naive.py`, called for the modules that `cases.py` names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cases
import naive

from npwhisper import model
from npwhisper.model.cache import BlockCache, KeyValues
from npwhisper.tracing.scope import Scope, nest
from npwhisper.tracing.seam import Array

Call = Callable[[Array, Scope, Array], Array]
"""``call(x, w, audio_features)``"""
HEADS = {"encoder": cases.SMALL.n_audio_head, "decoder": cases.SMALL.n_text_head}


def room() -> KeyValues:
    return KeyValues.empty(cases.B, cases.H, cases.SMALL.n_text_ctx, cases.K)


def block_cache(w: Scope, features: Array) -> BlockCache:
    return model.start_cache(features, {"blocks": {"0": w}}, cases.H, cases.SMALL.n_text_ctx).blocks[0]


def of_layers(home: Any) -> dict[str, Call]:
    """The modules that ours and the loops compute alike; `home` holds the functions."""
    return {
        "encoder.conv1": lambda x, w, _: home.conv1d(x, w),
        "encoder.conv2": lambda x, w, _: home.conv1d(x, w, stride=2),
        "encoder.ln_post": lambda x, w, _: home.layer_norm(x, w),
        "encoder.blocks.1.attn.query": lambda x, w, _: home.linear(x, w),
        "encoder.blocks.1.attn.key": lambda x, w, _: home.linear(x, w),
        "encoder.blocks.1.attn": lambda x, w, _: home.self_attention(x, w, HEADS["encoder"]),
        "encoder.blocks.1.mlp.0": lambda x, w, _: home.linear(x, w),
        "encoder.blocks.1.mlp.1": lambda x, w, _: home.gelu(x),
        "encoder.blocks.1.mlp.2": lambda x, w, _: home.linear(x, w),
        "encoder.blocks.1.mlp": lambda x, w, _: home.mlp(x, w),
        "encoder.blocks.1": lambda x, w, _: home.encoder_block(x, w, HEADS["encoder"]),
        "encoder": lambda x, w, _: home.encoder(x, w, HEADS["encoder"]),
        "decoder.token_embedding": lambda x, w, _: home.embedding(x, w),
    }


OURS: dict[str, Call] = {
    **of_layers(model),
    "decoder.blocks.2.attn": lambda x, w, _: model.self_attention(x, w, cases.H, room()),
    "decoder.blocks.2.cross_attn": lambda x, w, features: model.cross_attention(
        x, w, cases.H, block_cache(Scope() | {"cross_attn": w}, features).audio
    ),
    "decoder.blocks.2": lambda x, w, features: model.decoder_block(x, w, cases.H, block_cache(w, features)),
    "decoder": lambda x, w, features: model.decoder(
        x, w, cases.H, model.start_cache(features, w, cases.H, cases.SMALL.n_text_ctx)
    ),
}
NAIVE: dict[str, Call] = {
    **of_layers(naive),
    "decoder.blocks.2.attn": lambda x, w, _: naive.self_attention(x, w, cases.H, causal=True),
    "decoder.blocks.2.cross_attn": lambda x, w, features: naive.cross_attention(x, w, cases.H, features),
    "decoder.blocks.2": lambda x, w, features: naive.decoder_block(x, w, cases.H, features),
    "decoder": lambda x, w, features: naive.decoder(x, w, cases.H, features),
}


def called(calls: dict[str, Call], path: str, seed: int = 0) -> Array:
    """What `calls` makes of the random input of a module."""
    shape = (cases.MODULES | cases.STACKS)[path]
    w = cases.module(nest(cases.random_weights(seed=seed)), path)
    x, features = cases.random_input(path, shape, seed), cases.random_features(seed=seed)
    x.flags.writeable = features.flags.writeable = False  # nobody may write into what it was given
    return calls[path](x, w, features)


def function_called(library: object, name: str, seed: int = 0) -> Array:
    """What a function without weights, of ours or of `naive`, makes of random inputs."""
    shapes = cases.FUNCTIONS[name]
    inputs = [cases.random_array(f"{name}.{i}", *shape, seed=seed) for i, shape in enumerate(shapes)]
    for x in inputs:
        x.flags.writeable = False
    if name == "attend_causally":
        return library.attend(*inputs, library.causal_mask(inputs[0].shape[2], inputs[1].shape[2]))
    return getattr(library, name)(*inputs)
