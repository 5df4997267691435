"""Torch's names for Whisper's weights, from the many ways they are spelled in the wild.

Training code puts prefixes before the names (`module.`, `model.`, `_orig_mod.`); Hugging Face renamed the parts. Here
they become openai-whisper's again. Where a file does not state the sizes, they are inferred from the shapes.
Source: the table in transformers' `convert_openai_to_hf.py`, reversed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from npwhisper.checkpoint.contents import CheckpointError, checked_dims
from npwhisper.model.layers import sinusoids
from npwhisper.tracing.seam import Array

LANDMARK = "encoder.conv1.weight"
HEAD_SIZE = 64  # of every official model
PARTS = {
    "self_attn.q_proj": "attn.query",
    "self_attn.k_proj": "attn.key",
    "self_attn.v_proj": "attn.value",
    "self_attn.out_proj": "attn.out",
    "self_attn_layer_norm": "attn_ln",
    "encoder_attn.q_proj": "cross_attn.query",
    "encoder_attn.k_proj": "cross_attn.key",
    "encoder_attn.v_proj": "cross_attn.value",
    "encoder_attn.out_proj": "cross_attn.out",
    "encoder_attn_layer_norm": "cross_attn_ln",
    "fc1": "mlp.0",
    "fc2": "mlp.2",
    "final_layer_norm": "mlp_ln",
}
WHOLE = {
    "encoder.embed_positions.weight": "encoder.positional_embedding",
    "decoder.embed_positions.weight": "decoder.positional_embedding",
    "decoder.embed_tokens.weight": "decoder.token_embedding.weight",
    "encoder.layer_norm.weight": "encoder.ln_post.weight",
    "encoder.layer_norm.bias": "encoder.ln_post.bias",
    "decoder.layer_norm.weight": "decoder.ln.weight",
    "decoder.layer_norm.bias": "decoder.ln.bias",
}
PARTS_OF_OTHERS = {  # a piece of a tensor's name -> what the file is, and what to do
    ".lora_": "has a LoRA adapter in it: merge it with peft (merge_and_unload(), then save_pretrained) and open that",
    ".mlp1.": "is MLX's, with sizes in a config.json beside it: give the folder that contains both",
}
LAYER = re.compile(r"(encoder|decoder)\.layers\.(\d+)\.(.+)\.(weight|bias)")


def openai_names(weights: Mapping[str, Array]) -> dict[str, Array]:
    """The same arrays under openai-whisper's names, without the tied output projection and other modules' weights."""
    plain = {name.replace("_orig_mod.", ""): array for name, array in weights.items()}
    _require_plain(plain)
    _require_tied(plain)
    prefixes = sorted({name[: -len(LANDMARK)] for name in plain if name.endswith(LANDMARK)})
    if len(prefixes) != 1:
        found = f"several models ({', '.join(repr(p[:40]) for p in prefixes[:5])})" if prefixes else "no Whisper model"
        raise CheckpointError(
            f"the file holds {found}: one tensor should be called {LANDMARK}, with or without a prefix"
        )
    tidy = {
        openai_name(name[len(prefixes[0]) :]): array for name, array in plain.items() if name.startswith(prefixes[0])
    }
    tidy.pop("proj_out.weight", None)
    return tidy


def _require_plain(weights: Mapping[str, Array]) -> None:
    """Refuse files whose names show that they are part of something else."""
    for mark, advice in PARTS_OF_OTHERS.items():
        if any(mark in name for name in weights):
            raise CheckpointError(f"the file {advice}")


def _require_tied(weights: Mapping[str, Array]) -> None:
    """Refuse an output projection of its own: Whisper multiplies by the token embedding."""
    head, embedding = (
        next((array for name, array in weights.items() if name.endswith(ending)), None)
        for ending in ("proj_out.weight", "decoder.embed_tokens.weight")
    )
    if head is not None and embedding is not None and not np.array_equal(head, embedding):
        raise CheckpointError(
            "proj_out.weight is not the token embedding (tie_word_embeddings is false): "
            "this fine-tune is another network than Whisper and cannot be computed here"
        )


def openai_name(name: str) -> str:
    """One Hugging Face name as openai-whisper spells it; any other name as it is.

    >>> openai_name("decoder.layers.3.encoder_attn.q_proj.weight")
    'decoder.blocks.3.cross_attn.query.weight'
    """
    layer = LAYER.fullmatch(name)
    if layer and layer[3] in PARTS:
        return f"{layer[1]}.blocks.{layer[2]}.{PARTS[layer[3]]}.{layer[4]}"
    return WHOLE.get(name, name)


def computed_positions(weights: Mapping[str, Array], dims: Mapping[str, int]) -> Array:
    """The encoder's sinusoids, for files that leave them out: (n_audio_ctx, n_audio_state).

    They are computed only if they take less memory than the weights that are there, so that a size that a file merely
    claims cannot fill the memory.
    """
    length, width = dims["n_audio_ctx"], dims["n_audio_state"]
    if 4 * length * width > sum(array.nbytes for array in weights.values()) or width % 2 or width < 4:
        raise CheckpointError(f"{length} positions of {width} numbers do not fit the weights: the settings are broken")
    return sinusoids(length, width)


def inferred_dims(weights: Mapping[str, Array], head_width: int = HEAD_SIZE) -> dict[str, int]:
    """The ten sizes read off the weights' shapes; heads are taken to be 64 wide, as in every official model."""
    audio, mels, _ = _shape(weights, LANDMARK, 3)
    vocab, text = _shape(weights, "decoder.token_embedding.weight", 2)
    if audio % head_width or text % head_width:
        raise CheckpointError(
            f"the file gives no dims, and its width {audio} is not a multiple of {head_width}: add dims to it"
        )
    dims = {
        "n_mels": mels,
        "n_audio_ctx": _shape(weights, "encoder.positional_embedding", 2)[0],
        "n_audio_state": audio,
        "n_audio_head": audio // head_width,
        "n_audio_layer": _count_blocks(weights, "encoder"),
        "n_vocab": vocab,
        "n_text_ctx": _shape(weights, "decoder.positional_embedding", 2)[0],
        "n_text_state": text,
        "n_text_head": text // head_width,
        "n_text_layer": _count_blocks(weights, "decoder"),
    }
    return checked_dims(dims)


def _shape(weights: Mapping[str, Array], name: str, ndim: int) -> tuple[int, ...]:
    if name not in weights or weights[name].ndim != ndim:
        raise CheckpointError(
            f"the file gives no dims, and has no {name} with {ndim} axes to infer them from: use a whole file"
        )
    shape: tuple[int, ...] = weights[name].shape
    return shape


def _count_blocks(weights: Mapping[str, Array], half: str) -> int:
    return len({name.split(".")[2] for name in weights if name.startswith(f"{half}.blocks.")})
