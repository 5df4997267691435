"""``whisper._MODELS`` and ``whisper._ALIGNMENT_HEADS``: the official models as openai-whisper lists them."""

from __future__ import annotations

from npwhisper.checkpoint.download import ALIGNMENT_HEADS, OFFICIAL
from npwhisper.checkpoint.heads import alignment_heads_to_base85

DECODERS = {"tiny": (4, 6), "base": (6, 8), "small": (12, 12), "medium": (24, 16), "large": (32, 20), "turbo": (4, 20)}
"""Layers and heads of each size; turbo has the heads of large and the layers of tiny."""


def _decoder(name: str) -> tuple[int, int]:
    return next(DECODERS[size] for size in reversed(DECODERS) if size in name)


_MODELS = {name: url for name, (url, _) in OFFICIAL.items()}
_ALIGNMENT_HEADS = {
    name: alignment_heads_to_base85(heads, *_decoder(name)).encode() for name, heads in ALIGNMENT_HEADS.items()
}
