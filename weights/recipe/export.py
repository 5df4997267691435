#!/usr/bin/env python3
"""Turn the weights of a training run into a standard Whisper checkpoint: half precision, OpenAI's names, all rows.

    export.py --run RUN/small.pt --safetensors nano.en.safetensors --pt nano.en.pt

The .pt file is what `whisper.load_model(path)` reads; the .safetensors file has the same tensors and the dimensions as
JSON in its metadata. The rows of tokens that were not trained are all copies of the shared "dead" row.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import torch
from model import FIRST_SPECIAL, N_SPECIAL, N_VOCAB

Tensor = torch.Tensor
EMBEDDING = "decoder.token_embedding.weight"


def full_vocabulary(compact: Tensor) -> Tensor:
    """Rows of the compact embedding -> all 51,864 rows."""
    own = compact.shape[0] - 1 - N_SPECIAL
    full = compact[-1:].repeat(N_VOCAB, 1)
    full[:own], full[FIRST_SPECIAL:] = compact[:own], compact[own : own + N_SPECIAL]
    return full


def standard(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a checkpoint that every Whisper implementation reads."""
    return {k: (full_vocabulary(v) if k == EMBEDDING else v).half().contiguous() for k, v in weights.items()}


def write_safetensors(path: str, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """The format itself: 8 bytes length, JSON header, raw little-endian data."""
    header: dict[str, Any] = {"__metadata__": metadata}
    at = 0
    for k, v in tensors.items():
        n = v.numel() * 2
        header[k] = {"dtype": "F16", "shape": list(v.shape), "data_offsets": [at, at + n]}
        at += n
    h = json.dumps(header, separators=(",", ":")).encode()
    h += b" " * (-len(h) % 8)
    with open(path, "wb") as f:
        f.write(len(h).to_bytes(8, "little") + h)
        for v in tensors.values():
            f.write(v.numpy().astype("<f2").tobytes())


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--run", required=True)
    p.add_argument("--safetensors")
    p.add_argument("--pt")
    p.add_argument("--alignment-heads", help="JSON list of [layer, head], kept in the metadata")
    a = p.parse_args()
    c = torch.load(a.run, map_location="cpu", weights_only=True)
    tensors = standard(c["weights"])
    if a.pt:
        torch.save({"dims": c["dims"], "model_state_dict": tensors}, a.pt)
    if a.safetensors:
        meta = {"format": "npwhisper", "dims": json.dumps(c["dims"]), "base_tokens": str(c["base_tokens"]),
                "steps": str(c["step"]), "hours_heard": f"{c['heard'] / 3600:.1f}"}  # fmt: skip
        if a.alignment_heads:
            meta["alignment_heads"] = a.alignment_heads
        write_safetensors(a.safetensors, tensors, meta)
    facts = {k: v for k, v in c.items() if k != "weights"}
    print(
        facts,
        sum(v.numel() for v in c["weights"].values()),
        "trained",
        sum(v.numel() for v in tensors.values()),
        "in all",
    )


if __name__ == "__main__":
    main()
