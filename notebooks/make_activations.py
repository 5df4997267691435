"""Write a small network, `small.safetensors`, and what torch computes with it, `small_activations.npz`.

    python notebooks/make_activations.py            write both
    python notebooks/make_activations.py --check    make them anew in memory and compare

Needs torch and openai-whisper; notebook 05, which compares with these numbers, does not.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from whisper.model import ModelDimensions, Whisper

from npwhisper.checkpoint import Checkpoint, write_checkpoint
from npwhisper.lab.comparing import capture_torch, compare, save_activations
from npwhisper.tracing.seam import Activations

DATA = Path(__file__).resolve().parents[1] / "npwhisper" / "assets" / "notebooks"
DIMS = ModelDimensions(
    n_mels=7,
    n_audio_ctx=12,
    n_audio_state=24,
    n_audio_head=3,
    n_audio_layer=2,
    n_vocab=41,
    n_text_ctx=10,
    n_text_state=24,
    n_text_head=4,
    n_text_layer=2,
)


def inputs() -> tuple[np.ndarray, np.ndarray]:
    """The inputs of the network: mel (7, 24), tokens (1, 6). Notebook 05 makes the same."""
    return np.random.default_rng(0).random((7, 24), dtype=np.float32), np.array(
        [[3, 1, 4, 1, 5, 9]]
    )


def network() -> Whisper:
    """Random weights that float16 holds exactly, near those of a trained network in size."""
    model, rng = Whisper(DIMS).eval(), np.random.default_rng(1)
    for name, parameter in model.named_parameters():
        shape = tuple(parameter.shape)
        numbers = rng.standard_normal(shape) * (
            0.3 if len(shape) == 1 else np.prod(shape[1:]) ** -0.5
        )
        numbers += 1.0 if len(shape) == 1 and name.endswith("weight") else 0.0
        parameter.data = torch.from_numpy(numbers.astype(np.float16).astype(np.float32))
    table = model.encoder.positional_embedding
    table.copy_(table.half().float())
    return model


def activations(model: Whisper) -> Activations:
    mel, tokens = inputs()
    with torch.no_grad(), capture_torch(model) as acts:
        model(torch.from_numpy(mel[None]), torch.from_numpy(tokens))
    return acts


def main() -> None:
    parser = argparse.ArgumentParser(description="Write or check what notebook 05 compares with.")
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    model = network()
    acts = activations(model)
    if parser.parse_args().check:
        comparison = compare(DATA / "small_activations.npz", acts)
        assert comparison, comparison.first
        print(f"{len(comparison.differences)} activations are equal")
        return
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    write_checkpoint(DATA / "small.safetensors", Checkpoint(vars(DIMS), weights))
    save_activations(acts, DATA / "small_activations.npz")


if __name__ == "__main__":
    main()
