"""Write `tests/golden/reference/`: what torch and openai-whisper answer to the inputs of `cases.py`.

    python tests/golden/make_reference.py            writes all files (or those named)
    python tests/golden/make_reference.py --check    makes them anew in memory and compares

Needs torch and openai-whisper. Outputs alone are stored; weights and inputs are made again
from their names. The transcripts belong to the embedded model: run this again whenever that is replaced.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[2] / place) for place in (".", "tests/support")]

import cases
import numpy as np
import torch
import whisper
from tolerances import PROBABILITY, assert_stack_equal
from whisper.model import AudioEncoder, TextDecoder, sinusoids
from whisper.model import ModelDimensions as TorchDimensions
from whisper.model import Whisper as TorchWhisper

import npwhisper
from npwhisper import ModelDimensions
from npwhisper.checkpoint.weights import embedded_path
from npwhisper.tracing.seam import Array, Weights

LARGE = {"tiny": cases.TINY, "large-v3": cases.LARGE_V3_NARROW}
PARTS = ("seek", "start", "end", "text", "tokens", "avg_logprob", "compression_ratio", "no_speech_prob", "temperature")
VERSIONS = {name: importlib.metadata.version(name) for name in ("numpy", "torch", "openai-whisper")}


def torch_model(dims: ModelDimensions, weights: Weights) -> TorchWhisper:
    """openai-whisper's model with our weights; strict, so that every name and shape must be theirs."""
    model = TorchWhisper(TorchDimensions(**vars(dims))).eval()
    model.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in weights.items()})
    return model


def module_output(model: TorchWhisper, path: str, x: Array, audio_features: Array) -> Array:
    """What the module at `path` makes of `x`."""
    module, x, xa = model.get_submodule(path), torch.from_numpy(x), torch.from_numpy(audio_features)
    causal = {"mask": model.decoder.mask} if path.startswith("decoder.blocks") else {}
    if path == "decoder" or path.endswith("cross_attn"):
        y = module(x, xa)
    elif path.endswith(".attn"):
        y = module(x, **causal)
    elif causal and path.count(".") == 2:
        y = module(x, xa, **causal)
    else:
        y = module(x)
    return (y[0] if isinstance(y, tuple) else y).numpy()


def function_output(name: str, *inputs: Array) -> Array:
    """What torch's function makes of arrays."""
    functions: dict[str, Callable[..., torch.Tensor]] = {
        "softmax": lambda x: torch.softmax(x, -1),
        "log_softmax": lambda x: torch.log_softmax(x, -1),
        "scores": lambda q, k: (q @ k.mT) / math.sqrt(q.shape[-1]),
        "attend": torch.nn.functional.scaled_dot_product_attention,
        "attend_causally": lambda q, k, v: torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True),
    }
    return functions[name](*map(torch.from_numpy, inputs)).numpy()


def layers(seed: int = 0) -> dict[str, Array]:
    """Every layer, block and stack of a small network, and the functions without weights."""
    model, features = torch_model(cases.SMALL, cases.random_weights(seed=seed)), cases.random_features(seed=seed)
    outputs = {
        path: module_output(model, path, cases.random_input(path, shape, seed), features)
        for path, shape in (cases.MODULES | cases.STACKS).items()
    }
    for name, shapes in cases.FUNCTIONS.items():
        inputs = [cases.random_array(f"{name}.{i}", *shape, seed=seed) for i, shape in enumerate(shapes)]
        outputs[name] = function_output(name, *inputs)
    return outputs | {name: cases.sparse(sinusoids(*shape).numpy()) for name, shape in cases.SINUSOIDS.items()}


def hooks() -> dict[str, Array]:
    """What torch's forward hooks see in every module of a small network, by `named_modules()` names."""
    model, seen = torch_model(cases.SMALL, cases.random_weights()), {}

    def record(name: str) -> Callable[..., None]:
        def hook(_module: Any, _inputs: Any, output: Any) -> None:
            seen[name] = (output[0] if isinstance(output, tuple) else output).numpy()

        return hook

    for name, module in model.named_modules():
        if name:
            module.register_forward_hook(record(name))
    tokens = cases.random_input("decoder", cases.STACKS["decoder"])
    model(torch.from_numpy(cases.random_mel()), torch.from_numpy(tokens))
    return seen


def networks() -> dict[str, Array]:
    """A little of what whole networks of official dimensions and random weights answer."""
    outputs = {}
    for name, dims in LARGE.items():
        features, logits = network_output(dims)
        outputs |= {f"{name}.audio_features": cases.sparse(features), f"{name}.logits": cases.sparse(logits)}
    return outputs


def network_output(dims: ModelDimensions, seed: int = 0) -> tuple[Array, Array]:
    """Audio features and logits of a network of random weights: (1, S, D), (1, T, V)."""
    model = torch_model(dims, cases.random_weights(dims, seed))
    features = model.embed_audio(torch.from_numpy(cases.random_mel(dims, batch=1, seed=seed)))
    tokens = cases.random_tokens("decoder", 1, cases.T, n_vocab=dims.n_vocab, seed=seed)
    return features.numpy(), model.logits(torch.from_numpy(tokens), features).numpy()


def audio_cases() -> dict[str, Array]:
    """Every 37th frame of the spectrograms of `cases.audio_signals()`."""
    return {
        f"{name}.{n_mels}": whisper.log_mel_spectrogram(samples, n_mels).numpy()[:, :: cases.FRAMES]
        for name, samples in cases.audio_signals().items()
        for n_mels in (80, 128)
    }


def shape_cases() -> dict[str, Any]:
    """Names and shapes of the state dict of a small model; the counts of tensors and numbers of the official ones."""
    small = torch_model(cases.SMALL, cases.random_weights())
    return {
        "state_dict": {name: list(tensor.shape) for name, tensor in small.state_dict().items()},
        "counts": {name: _counts(dims) for name, dims in cases.OFFICIAL.items()},
    }


def _counts(d: ModelDimensions) -> list[int]:
    with torch.device("meta"):  # sizes without numbers
        encoder = AudioEncoder(d.n_mels, d.n_audio_ctx, d.n_audio_state, d.n_audio_head, d.n_audio_layer)
        decoder = TextDecoder(d.n_vocab, d.n_text_ctx, d.n_text_state, d.n_text_head, d.n_text_layer)
    tensors = [*encoder.state_dict().values(), *decoder.state_dict().values()]
    return [len(tensors), sum(tensor.numel() for tensor in tensors)]


def transcription_cases() -> dict[str, Any]:
    """What openai-whisper hears with the weights of the embedded model, at temperature 0."""
    ours = npwhisper.load_model()
    model = torch_model(ours.dims, ours.weights)
    results = {name: model.transcribe(x, temperature=0.0, fp16=False) for name, x in cases.speech_signals().items()}
    return {
        "weights": hashlib.sha256(embedded_path().read_bytes()).hexdigest(),
        "results": {name: _without_ids(result) for name, result in results.items()},
    }


def _without_ids(result: dict[str, Any]) -> dict[str, Any]:
    segments = [{part: segment[part] for part in PARTS} for segment in result["segments"]]
    return {"text": result["text"], "language": result["language"], "segments": segments}


FILES: dict[str, Callable[[], dict[str, Any]]] = {
    "layers.npz": layers,
    "hooks.npz": hooks,
    "networks.npz": networks,
    "audio.npz": audio_cases,
    "shapes.json": shape_cases,
    "transcription.json": transcription_cases,
}


def write(file: str) -> None:
    """Make one file, with the versions that made it."""
    content = FILES[file]()
    cases.REFERENCE.mkdir(exist_ok=True)
    if file.endswith(".json"):
        text = json.dumps({"versions": VERSIONS, **content}, ensure_ascii=False, indent=1)
        (cases.REFERENCE / file).write_text(text + "\n", encoding="utf-8")
    else:
        np.savez_compressed(cases.REFERENCE / file, versions=np.array(json.dumps(VERSIONS)), **content)
    print(f"{file}: {(cases.REFERENCE / file).stat().st_size} bytes")


def check(file: str) -> None:
    """Make one file anew and compare: arrays and numbers closely, all else exactly."""
    written = cases.reference(file)
    versions = written.pop("versions")
    versions = versions if isinstance(versions, dict) else json.loads(str(versions))
    _compare(file, FILES[file](), written)
    print(f"{file}: equal" + ("" if versions == VERSIONS else f" (written by {versions}, compared with {VERSIONS})"))


def _compare(where: str, new: Any, old: Any) -> None:
    if isinstance(new, dict):
        assert list(new) == list(old), f"{where}: {sorted(set(new) ^ set(old))}"
        for name in new:
            _compare(f"{where}/{name}", new[name], old[name])
    elif isinstance(new, list):
        assert len(new) == len(old), f"{where}: {len(new)} and {len(old)} entries"
        for i, (a, b) in enumerate(zip(new, old, strict=True)):
            _compare(f"{where}/{i}", a, b)
    elif isinstance(new, np.ndarray):
        assert_stack_equal(new, old)
    elif isinstance(new, float):
        assert abs(new - old) <= PROBABILITY, f"{where}: {new} and {old}"
    else:
        assert new == old, f"{where}: {new} and {old}"


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description="Write or check tests/golden/reference.")
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    parser.add_argument("files", nargs="*", metavar="FILE", help=f"some of {', '.join(FILES)}; by default all")
    arguments = parser.parse_args()
    for file in arguments.files or FILES:
        (check if arguments.check else write)(file)


if __name__ == "__main__":
    main()
