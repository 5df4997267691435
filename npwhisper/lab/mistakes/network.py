"""Mistakes in blocks, stacks and decoding."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from npwhisper import model
from npwhisper.decoding import beam_search, greedy_search, rules
from npwhisper.model import BlockCache, gelu, layer_norm, linear
from npwhisper.tracing.seam import Array, Function, Weights


def _mlp_with_residual(x: Array, w: Weights) -> Array:
    return x + model.mlp(x, w)


def _norm_after(x: Array, w: Weights, n_head: int) -> Array:
    x = layer_norm(x + model.self_attention(x, w["attn"], n_head), w["attn_ln"])
    return layer_norm(x + model.mlp(x, w["mlp"]), w["mlp_ln"])


def _without_residual(x: Array, w: Weights, n_head: int) -> Array:
    x = model.self_attention(layer_norm(x, w["attn_ln"]), w["attn"], n_head)
    return model.mlp(layer_norm(x, w["mlp_ln"]), w["mlp"])


def _side_by_side(x: Array, w: Weights, n_head: int) -> Array:
    attention = model.self_attention(layer_norm(x, w["attn_ln"]), w["attn"], n_head)
    return x + attention + model.mlp(layer_norm(x, w["mlp_ln"]), w["mlp"])


def _decoder_norm_after(x: Array, w: Weights, n_head: int, cache: BlockCache) -> Array:
    x = layer_norm(x + model.self_attention(x, w["attn"], n_head, cache.text), w["attn_ln"])
    x = layer_norm(x + model.cross_attention(x, w["cross_attn"], n_head, cache.audio), w["cross_attn_ln"])
    return layer_norm(x + model.mlp(x, w["mlp"]), w["mlp_ln"])


def _audio_before_text(x: Array, w: Weights, n_head: int, cache: BlockCache) -> Array:
    x = x + model.cross_attention(layer_norm(x, w["cross_attn_ln"]), w["cross_attn"], n_head, cache.audio)
    x = x + model.self_attention(layer_norm(x, w["attn_ln"]), w["attn"], n_head, cache.text)
    return x + model.mlp(layer_norm(x, w["mlp_ln"]), w["mlp"])


def _other_norm(x: Array, w: Weights, n_head: int, cache: BlockCache | None = None, name: str = "attn_ln") -> Array:
    """A block that normalises the input of the mlp with the weights of another layer norm."""
    wrong = {**w, "mlp_ln": w[name]}
    return model.encoder_block(x, wrong, n_head) if cache is None else model.decoder_block(x, wrong, n_head, cache)


def _deaf(x: Array, w: Weights, n_head: int, cache: BlockCache) -> Array:
    x = x + model.self_attention(layer_norm(x, w["attn_ln"]), w["attn"], n_head, cache.text)
    return x + model.mlp(layer_norm(x, w["mlp_ln"]), w["mlp"])


def _encode(mel: Array, w: Weights, n_head: int, omit: str = "") -> Array:
    """An encoder without one of its parts."""
    act = (lambda x: x) if omit == "gelu" else gelu
    x = act(model.conv1d(act(model.conv1d(mel, w["conv1"])), w["conv2"], stride=2)).transpose(0, 2, 1)
    if omit != "positions":
        x = x + w["positional_embedding"]
    for block in w["blocks"].values():
        x = model.encoder_block(x, block, n_head)
    return x if omit == "ln_post" else layer_norm(x, w["ln_post"])


def _decode(tokens: Array, w: Weights, n_head: int, cache: Any, start: int | None = None, last: bool = True) -> Array:
    """A decoder with wrong positions, or without its final layer norm."""
    start = cache.length if start is None else start
    x = model.embedding(tokens, w["token_embedding"]) + w["positional_embedding"][start : start + tokens.shape[1]]
    for block, block_cache in zip(w["blocks"].values(), cache.blocks, strict=True):
        x = model.decoder_block(x, block, n_head, block_cache)
    return model.logits(layer_norm(x, w["ln"]) if last else x, w["token_embedding"]["weight"])


def _rule_with(**changes: Any) -> Function:
    return lambda logits, sampled, context: rules.apply_timestamp_rules(logits, sampled, context._replace(**changes))


def _sum_without_end(step: Any, tokens: Array, eot: int, max_tokens: int) -> Any:
    """Greedy search whose sums leave out the end-of-text token."""
    found = []
    for row in tokens:
        so_far, total, taken = row[None], 0.0, list[int]()
        for i in range(max_tokens):
            logprobs = step(so_far, np.zeros(1, dtype=np.int64) if i else None)[0]
            best = int(logprobs.argmax())
            if best == eot:
                break
            total, taken = total + float(logprobs[best]), [*taken, best]
            so_far = np.append(so_far, [[best]], axis=1)
        found.append([(taken, total)])
    return found


def _end_kept(search: Function) -> Function:
    """A search that keeps the end-of-text token in the text."""

    def kept(step: Any, tokens: Array, eot: int, max_tokens: int, *beams: int) -> Any:
        found = search(step, tokens, eot, max_tokens, *beams)
        return [
            [(taken if len(taken) == max_tokens else [*taken, eot], total) for taken, total in hypotheses]
            for hypotheses in found
        ]

    return kept


MISTAKES: dict[str, dict[str, Function]] = {
    "mlp": {
        "there is no GELU between the two projections": lambda x, w: linear(linear(x, w["0"]), w["2"]),
        "GELU comes after the second projection: put it between the two": lambda x, w: gelu(
            linear(linear(x, w["0"]), w["2"])
        ),
        "the residual is added here: leave that to the block": _mlp_with_residual,
    },
    "encoder_block": {
        "layer norm comes before attention and mlp, not after": _norm_after,
        "the residual is missing: add the input": _without_residual,
        "attention and mlp run one after the other, not side by side": _side_by_side,
        "the layer norm before the mlp is mlp_ln, not attn_ln": _other_norm,
    },
    "decoder_block": {
        "layer norm comes before attention and mlp, not after": _decoder_norm_after,
        "self-attention comes before cross-attention": _audio_before_text,
        "there is no cross-attention": _deaf,
        "the layer norm before the mlp is mlp_ln, not attn_ln": _other_norm,
        "the layer norm before the mlp is mlp_ln, not cross_attn_ln": functools.partial(
            _other_norm, name="cross_attn_ln"
        ),
    },
    "encoder": {
        "there is no GELU after the convolutions": functools.partial(_encode, omit="gelu"),
        "positions are not added": functools.partial(_encode, omit="positions"),
        "the last layer norm, ln_post, is missing": functools.partial(_encode, omit="ln_post"),
    },
    "decoder": {
        "positions restart at every step: continue from cache.length": functools.partial(_decode, start=0),
        "the last layer norm, ln, is missing": functools.partial(_decode, last=False),
    },
    "greedy_search": {
        "the end-of-text token counts too: add its log-probability to the sum": _sum_without_end,
        "eot is kept in the tokens: leave it out": _end_kept(greedy_search),
    },
    "beam_search": {"eot is kept in the tokens: leave it out": _end_kept(beam_search)},
    "apply_timestamp_rules": {
        "the largest first timestamp is not limited": _rule_with(max_initial_timestamp=None),
        "no token is forbidden": lambda logits, sampled, context: logits,
    },
}
