"""What the network is tested on: random weights and inputs that anybody can make again from their names.

Numbers come from `default_rng(...).random`, which makes them of random integers alone: the same on every machine, with
or without torch. Sizes are pairwise different, so that a swapped axis cannot pass.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from npwhisper import ModelDimensions, load_audio
from npwhisper.checkpoint.weights import expected_shapes
from npwhisper.model import Network
from npwhisper.tracing.scope import Scope
from npwhisper.tracing.seam import Array

HERE = Path(__file__).parents[1]
REFERENCE = HERE / "golden" / "reference"
REFERENCES = ["audio.npz", "hooks.npz", "layers.npz", "networks.npz", "shapes.json", "transcription.json"]
RECORDINGS = HERE / "data"
SPARSE = 97  # of a large array, the references keep every 97th number
FRAMES = 37  # of a spectrogram, every 37th frame

SMALL = ModelDimensions(
    n_mels=7,
    n_audio_ctx=11,
    n_audio_state=24,
    n_audio_head=3,
    n_audio_layer=2,
    n_vocab=41,
    n_text_ctx=13,
    n_text_state=24,
    n_text_head=4,
    n_text_layer=3,
)
TINY = ModelDimensions(80, 1500, 384, 6, 4, 51865, 448, 384, 6, 4)
LARGE_V3 = ModelDimensions(128, 1500, 1280, 20, 1, 51866, 448, 1280, 20, 1)  # of one layer instead of 32
LARGE_V3_NARROW = ModelDimensions(128, 1500, 128, 2, 2, 51866, 448, 128, 2, 1)

OFFICIAL = {
    "tiny.en": ModelDimensions(80, 1500, 384, 6, 4, 51864, 448, 384, 6, 4),
    "tiny": TINY,
    "base": ModelDimensions(80, 1500, 512, 8, 6, 51865, 448, 512, 8, 6),
    "small": ModelDimensions(80, 1500, 768, 12, 12, 51865, 448, 768, 12, 12),
    "medium.en": ModelDimensions(80, 1500, 1024, 16, 24, 51864, 448, 1024, 16, 24),
    "large-v2": ModelDimensions(80, 1500, 1280, 20, 32, 51865, 448, 1280, 20, 32),
    "large-v3": ModelDimensions(128, 1500, 1280, 20, 32, 51866, 448, 1280, 20, 32),
    "turbo": ModelDimensions(128, 1500, 1280, 20, 32, 51866, 448, 1280, 20, 4),
}

# The letters of the shapes in npwhisper.layers, for SMALL
B, T, S, F, D, H, K, V, M = 2, 5, 11, 22, 24, 4, 6, 41, 7

MODULES: dict[str, tuple[int, ...]] = {  # torch's modules of SMALL and the shapes of their inputs
    "encoder.conv1": (B, M, F),
    "encoder.conv2": (B, D, F),
    "encoder.ln_post": (B, S, D),
    "encoder.blocks.1.attn.query": (B, S, D),
    "encoder.blocks.1.attn.key": (B, S, D),
    "encoder.blocks.1.attn": (B, S, D),
    "encoder.blocks.1.mlp.0": (B, S, D),
    "encoder.blocks.1.mlp.1": (B, S, D),
    "encoder.blocks.1.mlp.2": (B, S, 4 * D),
    "encoder.blocks.1.mlp": (B, S, D),
    "encoder.blocks.1": (B, S, D),
    "decoder.token_embedding": (B, T),
    "decoder.blocks.2.attn": (B, T, D),
    "decoder.blocks.2.cross_attn": (B, T, D),
    "decoder.blocks.2": (B, T, D),
}
STACKS: dict[str, tuple[int, ...]] = {"encoder": (B, M, F), "decoder": (B, T)}
FUNCTIONS: dict[str, tuple[tuple[int, ...], ...]] = {  # functions without weights and the shapes of their inputs
    "softmax": ((B, T, V),),
    "log_softmax": ((B, T, V),),
    "scores": ((B, H, T, K), (B, H, S, K)),
    "attend": ((B, H, T, K), (B, H, S, K), (B, H, S, K)),
    "attend_causally": ((B, H, T, K),) * 3,
}
SINUSOIDS = {"sinusoids_of_tiny": (1500, 384), "sinusoids_of_large": (1500, 1280)}


def random_array(name: str, *shape: int, seed: int = 0) -> Array:
    """Float32 numbers of mean 0 and variance 1, evenly spread."""
    numbers = np.random.default_rng([seed, crc32(name.encode())]).random(shape, dtype=np.float32)
    return (numbers - 0.5) * math.sqrt(12)


def random_tokens(name: str, *shape: int, n_vocab: int = V, seed: int = 0) -> Array:
    """Token ids: whole numbers from 0 to n_vocab - 1."""
    numbers = np.random.default_rng([seed, crc32(name.encode())]).random(shape)
    return (numbers * n_vocab).astype(np.int64)


def random_input(name: str, shape: tuple[int, ...], seed: int = 0) -> Array:
    """What a module of SMALL is given: tokens for the decoder and its embedding, numbers for all others."""
    tokens = name in ("decoder", "decoder.token_embedding")
    return random_tokens(name, *shape, seed=seed) if tokens else random_array(name, *shape, seed=seed)


def random_features(dims: ModelDimensions = SMALL, batch: int = B, seed: int = 0) -> Array:
    """Something for the decoder to hear: (B, S, D)."""
    return random_array("audio_features", batch, dims.n_audio_ctx, dims.n_audio_state, seed=seed)


def random_mel(dims: ModelDimensions = SMALL, batch: int = B, seed: int = 0) -> Array:
    """(B, M, F)"""
    return random_array("mel", batch, dims.n_mels, 2 * dims.n_audio_ctx, seed=seed)


def random_weights(dims: ModelDimensions = SMALL, seed: int = 0) -> dict[str, Array]:
    """A flat state dict whose numbers keep activations near 1, in every tensor different."""
    weights = {name: _random_weight(name, shape, seed) for name, shape in expected_shapes(dims).items()}
    for array in weights.values():
        array.flags.writeable = False
    return weights


def _random_weight(name: str, shape: tuple[int, ...], seed: int) -> Array:
    numbers = random_array(name, *shape, seed=seed)
    if "embedding" in name:
        return numbers * 0.5
    if len(shape) == 1:
        scale = name.endswith("weight") and ("ln" in name)
        return numbers * 0.3 + (1.0 if scale else 0.0)
    ends_a_branch = name.endswith(("out.weight", "mlp.2.weight"))  # is added to something larger
    return numbers / math.sqrt(math.prod(shape[1:])) * (0.5 if ends_a_branch else 1.0)


def network(dims: ModelDimensions = SMALL, seed: int = 0) -> Network:
    """A network of random weights."""
    return Network(dims, random_weights(dims, seed))


def module(weights: Scope, path: str) -> Any:
    """The slice of the weights that belongs to a module; empty for one that has none."""
    for part in path.split("."):
        weights = weights.get(part, {})
    return weights


def sparse(array: Array) -> Array:
    """A small part of a large array: every 97th number of all."""
    return array.ravel()[::SPARSE]


def recordings() -> dict[str, Path]:
    """Real speech, 3 to 53 seconds each, by name; `tests/data/README.md` says where it is from."""
    return {path.stem: path for path in sorted(RECORDINGS.glob("*.flac"))}


def audio_signals() -> dict[str, Array]:
    """Sounds to make spectrograms of: noise, a rising tone, and the recordings; 16 kHz."""
    seconds = np.arange(2 * 16000) / 16000
    made = {
        "noise": random_array("noise", 3 * 16000) * 0.1,
        "chirp": (0.5 * np.sin(2 * np.pi * (50 + 1900 * seconds) * seconds)).astype(np.float32),
        "short": random_array("short", 2345) * 0.1,
    }
    return made | {
        name: load_audio(recordings()[name]) for name in ("jfk", "sonnet", "austen_0880", "speechocean_05401_16")
    }


def speech_signals() -> dict[str, Array]:
    """Speech to transcribe: the recordings, and all of them in a row until they are longer than a window; 16 kHz."""
    spoken = {name: load_audio(path) for name, path in recordings().items()}
    row: list[Array] = []
    while sum(map(len, row)) < 33 * 16000:
        row.append(list(spoken.values())[len(row) % len(spoken)])
    return spoken | {"joined": np.concatenate(row)}


def reference(file: str) -> Any:
    """A file of `tests/golden/reference`, as `make_reference.py` wrote it: arrays or texts by their names."""
    if file.endswith(".json"):
        return json.loads((REFERENCE / file).read_text(encoding="utf-8"))
    with np.load(REFERENCE / file) as arrays:
        return dict(arrays)
