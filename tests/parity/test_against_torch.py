"""The network beside torch and openai-whisper themselves, on other random numbers than the frozen ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cases
import numpy as np
import pytest
from network_calls import OURS, called, function_called
from tolerances import assert_layer_equal, assert_stack_equal

pytest.importorskip("whisper")
pytest.importorskip("torch")

import make_reference
import torch
from make_reference import torch_model
from whisper.decoding import PyTorchInference

import npwhisper
from npwhisper.checkpoint import read_checkpoint, to_float32
from npwhisper.model import ModelDimensions, Network, layers, logits
from npwhisper.tracing.seam import trace

SEEDS = [1, 2, 3]


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.mark.parametrize("seed", SEEDS)
def test_every_module_and_function(seed: int) -> None:
    theirs = make_reference.layers(seed)
    for path in cases.MODULES:
        assert_layer_equal(called(OURS, path, seed), theirs[path])
    for path in cases.STACKS:
        assert_stack_equal(called(OURS, path, seed), theirs[path])
    for name in cases.FUNCTIONS:
        assert_layer_equal(function_called(layers, name, seed), theirs[name])


def test_gelu_is_torchs_exact_one() -> None:
    x = np.linspace(-30, 30, 100_001, dtype=np.float32)
    assert_layer_equal(layers.gelu(x), torch.nn.functional.gelu(torch.from_numpy(x)).numpy())


def test_hooks_and_traces_see_the_same() -> None:
    theirs, tokens = make_reference.hooks(), cases.random_input("decoder", cases.STACKS["decoder"])
    with trace() as ours:
        cases.network()(cases.random_mel(), tokens)
    for name, value in theirs.items():
        assert_stack_equal(ours[name.replace("mlp.1", "mlp.gelu")], value)


@pytest.mark.parametrize("dims", [cases.TINY, cases.LARGE_V3], ids=["tiny", "large-v3 of one layer"])
def test_whole_networks_of_official_dimensions(dims: npwhisper.ModelDimensions) -> None:
    network = cases.network(dims, seed=1)
    features, theirs = make_reference.network_output(dims, seed=1)
    mel, tokens = cases.random_mel(dims, 1, 1), cases.random_tokens("decoder", 1, 5, n_vocab=dims.n_vocab, seed=1)
    assert_stack_equal(network.embed_audio(mel), features)
    assert_stack_equal(network(mel, tokens), theirs)


def test_the_embedded_model_on_speech(model: npwhisper.Whisper) -> None:
    theirs = torch_model(model.dims, model.weights)
    tokens = np.array([[*model.tokenizer.sot_sequence, *model.tokenizer.encode(" And so my fellow")]])
    for path in cases.recordings().values():
        mel = npwhisper.log_mel_spectrogram(npwhisper.load_audio(path), model.dims.n_mels)
        mel = npwhisper.pad_or_trim(mel, 3000)
        their_logits = theirs(torch.from_numpy(mel[None].copy()), torch.from_numpy(tokens)).numpy()
        assert_stack_equal(model(mel, tokens), their_logits)


def test_caches_agree_step_by_step_and_beam_by_beam() -> None:
    """Our cache and openai-whisper's hooks, through a prompt, single tokens and reordered beams of two windows."""
    weights, features = cases.random_weights(seed=1), cases.random_features(batch=2)
    ours, theirs = Network(cases.SMALL, weights), torch_model(cases.SMALL, weights)
    tokens = cases.random_tokens("prompt", 6, 4)
    inference, cache = PyTorchInference(theirs, tokens.shape[1]), ours.start_cache(features)
    their_features = torch.from_numpy(np.repeat(features, 3, axis=0))
    for step, parents in enumerate([[2, 1, 0, 3, 3, 3], [0, 0, 1, 5, 4, 3], [0, 1, 2, 3, 4, 5], [1, 1, 1, 4, 3, 4]]):
        their_logits = inference.logits(torch.from_numpy(tokens), their_features).numpy()
        assert_stack_equal(ours.decoder(tokens[:, cache.length :], features, cache), their_logits)
        cache.reorder(np.array(parents))
        inference.rearrange_kv_cache(parents)
        tokens = np.concatenate([tokens[parents], cases.random_tokens(f"step {step}", 6, 1)], axis=1)
    inference.cleanup_caching()


def test_logits_of_the_largest_vocabulary() -> None:
    x, weight = cases.random_array("x", 5, 1, 384), cases.random_array("weight", 51866, 384) / 20
    assert_stack_equal(logits(x, weight), (torch.from_numpy(x) @ torch.from_numpy(weight).T).numpy())


def test_a_file_that_torch_wrote_is_read(tmp_path: Path) -> None:
    theirs = torch_model(cases.SMALL, cases.random_weights(seed=1)).half()
    torch.save({"dims": vars(cases.SMALL), "model_state_dict": theirs.state_dict()}, tmp_path / "small.pt")
    checkpoint = read_checkpoint(tmp_path / "small.pt")
    weights = {name: to_float32(array, name) for name, array in checkpoint.weights.items()}
    ours = Network(ModelDimensions(**checkpoint.dims), weights)
    mel, tokens = cases.random_mel(), cases.random_tokens("tokens", cases.B, cases.T)
    their_logits = theirs.float()(torch.from_numpy(mel), torch.from_numpy(tokens)).numpy()
    assert_stack_equal(ours(mel, tokens), their_logits)
