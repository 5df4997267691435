"""How many rows of the token embedding are Whisper's.

Fine-tunes append tokens to the vocabulary, or pad it to a round number. Whisper's control tokens keep their ids, but
the number of rows no longer says how many there are: 51866 rows are the vocabulary of large-v3, or that of base and one
token more. The settings of a Hugging Face folder say which; without them, the number of mel bins does.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from npwhisper.checkpoint.contents import CheckpointError
from npwhisper.checkpoint.settings import read_json
from npwhisper.tracing.seam import Array

ENGLISH, MULTILINGUAL, HUNDRED = 51864, 51865, 51866  # rows of the official models; the last has 128 mel bins
ENGLISH_START = 50257
TIMESTAMPS = 1501  # the last tokens, after the one that switches them off
NO_TIMESTAMPS = (50362, 50363, 50364)  # its id in the three vocabularies
EMBEDDING = "decoder.token_embedding.weight"


class CheckpointWarning(UserWarning):
    """A checkpoint was opened without everything it contains."""


def whisper_rows(dims: dict[str, int], no_timestamps: int | None = None) -> int:
    """The number of tokens that are Whisper's, of a model with perhaps more.

    >>> whisper_rows({"n_vocab": 51866, "n_mels": 128}), whisper_rows({"n_vocab": 51866, "n_mels": 80})
    (51866, 51865)
    >>> whisper_rows({"n_vocab": 51904, "n_mels": 80}, no_timestamps=50362)
    51864
    """
    rows = dims["n_vocab"]
    if no_timestamps in NO_TIMESTAMPS:
        return min(rows, no_timestamps + 1 + TIMESTAMPS)
    return min(rows, MULTILINGUAL if dims["n_mels"] != 128 else HUNDRED)


def only_whisper_tokens(
    weights: dict[str, Array], dims: dict[str, int], no_timestamps: int | None = None
) -> tuple[dict[str, Array], dict[str, int]]:
    """Leave out the rows of tokens that were appended to Whisper's, with a warning."""
    rows = whisper_rows(dims, no_timestamps)
    embedding = weights.get(EMBEDDING)
    if rows == dims["n_vocab"] or embedding is None or len(embedding) != dims["n_vocab"]:
        return weights, dims
    warnings.warn(
        f"the last {dims['n_vocab'] - rows} of {dims['n_vocab']} tokens are not Whisper's and are left out: "
        "text that needs them is not recognised",
        CheckpointWarning,
        stacklevel=2,
    )
    return {**weights, EMBEDDING: embedding[:rows]}, {**dims, "n_vocab": rows}


def no_timestamps_id(folder: Path) -> int | None:
    """The id of ``<|notimestamps|>`` in the settings of a Hugging Face folder, or None if they do not state it."""
    for name, find in (
        ("generation_config.json", lambda settings: settings.get("no_timestamps_token_id")),
        ("added_tokens.json", lambda settings: settings.get("<|notimestamps|>")),
        ("tokenizer.json", _from_tokenizer),
        ("config.json", _from_first_token),
    ):
        path = folder / name
        try:
            found = find(read_json(path)) if path.exists() else None
        except CheckpointError:
            continue
        if type(found) is int:
            return found
    return None


def _from_tokenizer(settings: dict[str, Any]) -> Any:
    added = settings.get("added_tokens")
    entries = added if isinstance(added, list) else []
    found = [e.get("id") for e in entries if isinstance(e, dict) and e.get("content") == "<|notimestamps|>"]
    return found[0] if found else None


def _from_first_token(settings: dict[str, Any]) -> int | None:
    """The English vocabulary's, if a grown vocabulary starts texts with the English <|startoftranscript|>."""
    is_grown = settings.get("vocab_size") not in (ENGLISH, MULTILINGUAL, HUNDRED)
    return NO_TIMESTAMPS[0] if is_grown and settings.get("decoder_start_token_id") == ENGLISH_START else None
