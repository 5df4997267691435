"""Alignment heads as text: openai-whisper's base85 form.

Some cross-attention heads of the decoder look at the moment of the audio where the word is being spoken; word
timestamps are made from them. openai-whisper writes the choice as one byte a head (layer by layer), gzipped, in base85.
Source: whisper/__init__.py (`_ALIGNMENT_HEADS`) and whisper/model.py (`set_alignment_heads`).
"""

from __future__ import annotations

import base64
import gzip
import zlib
from collections.abc import Iterable

from npwhisper.checkpoint.contents import CheckpointError, Heads


def alignment_heads_from_base85(text: str | bytes, n_text_layer: int, n_text_head: int) -> Heads:
    """The (layer, head) pairs of upstream's `set_alignment_heads` text.

    Parameters
    ----------
    text
        Base85 of the gzipped bytes, one a head, non-zero where chosen.
    n_text_layer, n_text_head
        Size of the decoder.

    Raises
    ------
    CheckpointError
        If the text does not hold exactly layers x heads bytes.

    Examples
    --------
    >>> alignment_heads_from_base85(alignment_heads_to_base85([(1, 0), (1, 2)], 2, 3), 2, 3)
    [(1, 0), (1, 2)]
    """
    size = n_text_layer * n_text_head
    try:
        chosen = zlib.decompressobj(wbits=31).decompress(base64.b85decode(text), size + 1)
    except (ValueError, zlib.error) as error:
        raise CheckpointError("the alignment heads are not base85 of gzipped bytes: copy the whole string") from error
    if len(chosen) != size:
        raise CheckpointError(
            f"the alignment heads are not for {n_text_layer} layers of {n_text_head} heads: use this model's"
        )
    return [divmod(i, n_text_head) for i, byte in enumerate(chosen) if byte]


def alignment_heads_to_base85(heads: Iterable[tuple[int, int]], n_text_layer: int, n_text_head: int) -> str:
    """The inverse of `alignment_heads_from_base85`, for openai-whisper's `set_alignment_heads`.

    >>> alignment_heads_from_base85(alignment_heads_to_base85([(3, 1)], 4, 6), 4, 6)
    [(3, 1)]
    """
    chosen = bytearray(n_text_layer * n_text_head)
    for layer, head in heads:
        chosen[layer * n_text_head + head] = 1
    return base64.b85encode(gzip.compress(bytes(chosen), mtime=0)).decode()
