"""Files made by the original tools (torch.save, save_pretrained, safetensors), and our files read by them."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoint_files import ggml_start, ggml_tensor

torch = pytest.importorskip("torch")
whisper = pytest.importorskip("whisper")
safetensors_numpy = pytest.importorskip("safetensors.numpy")
transformers = pytest.importorskip("transformers")

import npwhisper  # noqa: E402
from npwhisper.checkpoint import (  # noqa: E402
    CheckpointError,
    alignment_heads_from_base85,
    alignment_heads_to_base85,
    read_checkpoint,
    to_float32,
    write_checkpoint,
)
from npwhisper.checkpoint.download import ALIGNMENT_HEADS, OFFICIAL  # noqa: E402
from npwhisper.checkpoint.mapped import map_file  # noqa: E402
from npwhisper.checkpoint.pt import read_legacy, read_zip, state_dict  # noqa: E402
from npwhisper.checkpoint.vocabulary import CheckpointWarning  # noqa: E402
from npwhisper.checkpoint.weights import convert  # noqa: E402

DIMS = {
    "n_mels": 80,
    "n_audio_ctx": 30,
    "n_audio_state": 128,
    "n_audio_head": 2,
    "n_audio_layer": 3,
    "n_vocab": 51864,
    "n_text_ctx": 20,
    "n_text_state": 128,
    "n_text_head": 2,
    "n_text_layer": 2,
}
TOKENS = np.array([[50257, 50362, 11, 314, 1101]])
MEL = np.random.default_rng(3).standard_normal((1, 80, 60)).astype(np.float32)
FORMS = {"zip": True, "legacy": False}


def seeded(seed: int = 0) -> Any:
    """openai-whisper's own model with random weights (its own start leaves some of them empty or equal)."""
    torch.manual_seed(seed)
    model = whisper.model.Whisper(whisper.model.ModelDimensions(**DIMS)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.1 + (parameter.ndim == 1))
    return model


def logits(model: Any) -> np.ndarray:
    with torch.no_grad():
        return model(torch.from_numpy(MEL), torch.from_numpy(TOKENS)).float().numpy()


def assert_same_logits(path: Path, expected: np.ndarray) -> None:
    loaded = npwhisper.load_model(str(path))
    result = loaded(MEL, TOKENS)
    assert result.shape == expected.shape
    assert np.abs(result - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.fixture(scope="module")
def model() -> Any:
    return seeded()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
def test_torch_save(model: Any, tmp_path: Path, form: str, dtype: str) -> None:
    weights = {name: value.to(getattr(torch, dtype)) for name, value in model.state_dict().items()}
    path = tmp_path / "model.pt"
    torch.save({"dims": DIMS, "model_state_dict": weights}, path, _use_new_zipfile_serialization=FORMS[form])
    read = read_checkpoint(path)
    assert read.dims == DIMS
    assert read.weights.keys() == weights.keys()
    for name, value in weights.items():
        assert np.array_equal(to_float32(read.weights[name], name), value.float().numpy()), name
    reference = seeded()
    reference.load_state_dict({name: value.float() for name, value in weights.items()})
    assert_same_logits(path, logits(reference))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickle_protocols(model: Any, tmp_path: Path, form: str, protocol: int) -> None:
    checkpoint = {"dims": DIMS, "model_state_dict": model.state_dict()}
    torch.save(checkpoint, tmp_path / "m", _use_new_zipfile_serialization=FORMS[form], pickle_protocol=protocol)
    assert read_checkpoint(tmp_path / "m").weights.keys() == checkpoint["model_state_dict"].keys()


def odd_tensors() -> dict[str, Any]:
    base = torch.arange(24, dtype=torch.float32)
    matrix = base.reshape(4, 6)
    return {
        "transposed": matrix.T,
        "column": matrix[:, 2],
        "steps": base[1::3],
        "scalar": torch.tensor(2.5),
        "inside": base[7],
        "empty": torch.zeros(0, 5),
        "tied": matrix,
        "parameter": torch.nn.Parameter(torch.ones(3, 2)),
        "batch": torch.randn(2, 3, 4).permute(2, 0, 1),
        **{
            str(dtype): torch.arange(-3, 8).to(dtype)
            for dtype in (torch.int64, torch.int32, torch.int16, torch.int8, torch.bfloat16, torch.float64)
        },
        "uint8": torch.arange(9, dtype=torch.uint8),
        "bool": torch.tensor([True, False, True]),
    }


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("protocol", [2, 4])
def test_every_kind_of_tensor(tmp_path: Path, form: str, protocol: int) -> None:
    tensors = odd_tensors()
    path = tmp_path / "model.pt"
    torch.save(tensors, path, _use_new_zipfile_serialization=FORMS[form], pickle_protocol=protocol)
    read, _ = state_dict((read_zip if FORMS[form] else read_legacy)(map_file(path)))
    assert read.keys() == tensors.keys()
    for name, value in tensors.items():
        expected = value.detach()
        expected = (expected.float() if expected.dtype == torch.bfloat16 else expected).numpy()
        assert read[name].shape == expected.shape, name
        assert read[name].dtype == expected.dtype, name
        assert np.array_equal(read[name], expected), name


@pytest.mark.parametrize("form", FORMS)
def test_a_module_with_buffers_and_metadata(tmp_path: Path, form: str) -> None:
    module = torch.nn.Sequential(torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 5))
    torch.save(module.state_dict(), tmp_path / "model.pt", _use_new_zipfile_serialization=FORMS[form])
    read, _ = state_dict((read_zip if FORMS[form] else read_legacy)(map_file(tmp_path / "model.pt")))
    assert {name: value.numpy().tolist() for name, value in module.state_dict().items()} == {
        name: array.tolist() for name, array in read.items()
    }


@pytest.mark.parametrize("prefix", ["", "model.", "module.", "_orig_mod."])
def test_a_training_checkpoint(model: Any, tmp_path: Path, prefix: str) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    checkpoint = {
        "epoch": 3,
        "global_step": 1200,
        "state_dict": {prefix + name: value for name, value in model.state_dict().items()},
        "optimizer_states": [optimizer.state_dict()],
        "hyper_parameters": {"lr": 1e-3, "betas": (0.9, 0.98), "name": "tiny"},
    }
    torch.save(checkpoint, tmp_path / "model.ckpt")
    assert read_checkpoint(tmp_path / "model.ckpt").dims == DIMS
    assert_same_logits(tmp_path / "model.ckpt", logits(model))


def test_a_compiled_and_tied_state_dict(model: Any, tmp_path: Path) -> None:
    weights = {f"_orig_mod.{name}": value for name, value in model.state_dict().items()}
    weights["_orig_mod.proj_out.weight"] = model.decoder.token_embedding.weight
    torch.save(weights, tmp_path / "model.pt")
    assert_same_logits(tmp_path / "model.pt", logits(model))


def test_a_whole_pickled_module_is_refused_by_name(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(3, 5), tmp_path / "model.pt")
    with pytest.raises(npwhisper.checkpoint.CheckpointError, match=r"torch\.nn\.modules\.linear\.Linear"):
        read_checkpoint(tmp_path / "model.pt")


# --- our files read by the original tools ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("mapped", [False, True])
def test_round_trip_into_openai_whisper(model: Any, tmp_path: Path, dtype: str, mapped: bool) -> None:
    weights = {name: value.to(getattr(torch, dtype)) for name, value in model.state_dict().items()}
    torch.save({"dims": DIMS, "model_state_dict": weights}, tmp_path / "a.pt")
    convert(tmp_path / "a.pt", tmp_path / "b.safetensors")
    convert(tmp_path / "b.safetensors", tmp_path / "c.pt")
    back = torch.load(tmp_path / "c.pt", weights_only=True, mmap=mapped)
    assert back["dims"] == DIMS
    assert back["model_state_dict"].keys() == weights.keys()
    for name, value in weights.items():
        assert back["model_state_dict"][name].dtype == value.dtype
        assert torch.equal(back["model_state_dict"][name], value), name
    theirs = whisper.load_model(str(tmp_path / "c.pt"), device="cpu")
    for name, value in theirs.state_dict().items():
        assert torch.equal(value, weights[name].float()), name
    assert_same_logits(tmp_path / "b.safetensors", logits(theirs))


def test_our_safetensors_are_theirs(model: Any, tmp_path: Path) -> None:
    torch.save({"dims": DIMS, "model_state_dict": model.state_dict()}, tmp_path / "a.pt")
    write_checkpoint(tmp_path / "b.safetensors", read_checkpoint(tmp_path / "a.pt"), "float32")
    theirs = safetensors_numpy.load_file(tmp_path / "b.safetensors")
    for name, value in model.state_dict().items():
        assert np.array_equal(theirs[name], value.numpy()), name
    from safetensors import safe_open

    with safe_open(tmp_path / "b.safetensors", "np") as file:
        assert json.loads(file.metadata()["dims"]) == DIMS
        assert file.metadata()["format"] == "npwhisper"


def test_their_safetensors_are_ours(model: Any, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        weights = {name: value.to(dtype) for name, value in model.state_dict().items()}
        save_file(weights, tmp_path / "model.safetensors")
        read = read_checkpoint(tmp_path / "model.safetensors")
        assert read.dims == DIMS
        for name, value in weights.items():
            assert np.array_equal(to_float32(read.weights[name]), value.float().numpy()), name


# --- Hugging Face ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hf_model() -> Any:
    """As distil-whisper: fewer layers in the decoder than in the encoder."""
    torch.manual_seed(5)
    config = transformers.WhisperConfig(
        vocab_size=51864,
        num_mel_bins=80,
        max_source_positions=30,
        max_target_positions=20,
        d_model=128,
        encoder_layers=4,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=512,
        decoder_ffn_dim=512,
        pad_token_id=50256,
        bos_token_id=50256,
        eos_token_id=50256,
        decoder_start_token_id=50257,
    )
    model = transformers.WhisperForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.1 + (parameter.ndim == 1))
    model.generation_config.alignment_heads = [[1, 0], [0, 1]]
    return model


def hf_logits(model: Any) -> np.ndarray:
    with torch.no_grad():
        return model(torch.from_numpy(MEL), decoder_input_ids=torch.from_numpy(TOKENS)).logits.numpy()


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("shard", ["10GB", "4MB"])
def test_save_pretrained(hf_model: Any, tmp_path: Path, dtype: str, shard: str) -> None:
    rounded = transformers.WhisperForConditionalGeneration(hf_model.config).eval()
    rounded.load_state_dict({k: v.to(getattr(torch, dtype)).float() for k, v in hf_model.state_dict().items()})
    rounded.generation_config.alignment_heads = [[1, 0], [0, 1]]
    expected = hf_logits(rounded)
    rounded.to(getattr(torch, dtype)).save_pretrained(tmp_path / "m", max_shard_size=shard)
    assert ((tmp_path / "m" / "model.safetensors.index.json").exists()) == (shard == "4MB")
    read = read_checkpoint(tmp_path / "m")
    assert (read.dims["n_audio_layer"], read.dims["n_text_layer"]) == (4, 2)
    assert read.alignment_heads == [(1, 0), (0, 1)]
    assert_same_logits(tmp_path / "m", expected)


def test_pytorch_model_bin(hf_model: Any, tmp_path: Path) -> None:
    hf_model.save_pretrained(tmp_path / "m")
    (tmp_path / "m" / "model.safetensors").unlink()
    torch.save(hf_model.state_dict(), tmp_path / "m" / "pytorch_model.bin")
    assert_same_logits(tmp_path / "m", hf_logits(hf_model))


def test_hugging_face_to_openai_whisper(hf_model: Any, tmp_path: Path) -> None:
    hf_model.save_pretrained(tmp_path / "m")
    convert(tmp_path / "m", tmp_path / "m.pt")
    theirs = whisper.load_model(str(tmp_path / "m.pt"), device="cpu")
    expected = hf_logits(hf_model)
    assert np.abs(logits(theirs) - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("rows", [51866, 51870, 51904])
def test_added_tokens_leave_the_others_as_they_are(hf_model: Any, tmp_path: Path, rows: int) -> None:
    grown = copy.deepcopy(hf_model)
    grown.resize_token_embeddings(rows)
    grown.generation_config.no_timestamps_token_id = 50362
    grown.save_pretrained(tmp_path / "m")
    with pytest.warns(CheckpointWarning, match=f"last {rows - 51864} of {rows} tokens are not Whisper's"):
        ours = npwhisper.load_model(tmp_path / "m")
    assert not ours.is_multilingual
    expected = hf_logits(grown)[..., :51864]
    assert np.abs(ours(MEL, TOKENS) - expected).max() < 1e-4 * np.abs(expected).max()


def test_an_output_projection_of_its_own_is_refused(hf_model: Any, tmp_path: Path) -> None:
    hf_model.save_pretrained(tmp_path / "m")
    weights = safetensors_numpy.load_file(tmp_path / "m" / "model.safetensors")
    weights["proj_out.weight"] = weights["model.decoder.embed_tokens.weight"][::-1].copy()
    safetensors_numpy.save_file(weights, tmp_path / "m" / "model.safetensors", {"format": "pt"})
    for path in (tmp_path / "m", tmp_path / "m" / "model.safetensors"):
        with pytest.raises(CheckpointError, match=r"proj_out\.weight is not the token embedding"):
            read_checkpoint(path)


@pytest.mark.parametrize("form", FORMS)
def test_whole_modules_are_refused_with_advice(model: Any, hf_model: Any, tmp_path: Path, form: str) -> None:
    for module in (model, hf_model):
        torch.save(module, tmp_path / "m.pt", _use_new_zipfile_serialization=FORMS[form])
        with pytest.raises(CheckpointError, match=rf"whole pickled module .*{type(module).__name__}.*save"):
            read_checkpoint(tmp_path / "m.pt")


# --- ggml ------------------------------------------------------------------------------------------------------------


def q8_0(array: np.ndarray) -> tuple[bytes, np.ndarray]:
    """Blocks of 32 with their largest weight at 127, and the weights they stand for."""
    rows = array.reshape(-1, 32)
    scale = (np.abs(rows).max(axis=1, keepdims=True) / 127).astype("<f2")
    integers = np.round(rows / scale.astype(np.float32)).astype(np.int8)
    blocks = np.concatenate([scale.view(np.uint8).reshape(-1, 2), integers.view(np.uint8)], axis=1)
    return blocks.tobytes(), (integers * scale.astype(np.float32)).reshape(array.shape)


def plain(dtype: str) -> Callable[[np.ndarray], tuple[bytes, np.ndarray]]:
    return lambda array: (array.astype(dtype).tobytes(), array.astype(dtype).astype(np.float32))


@pytest.mark.parametrize(
    ("kind", "file_kind", "pack"),
    [(0, 0, plain("<f4")), (1, 1, plain("<f2")), (8, 2007, q8_0)],
    ids=["f32", "f16", "q8_0"],
)
def test_ggml(model: Any, tmp_path: Path, kind: int, file_kind: int, pack: Any) -> None:
    parts, stands_for = [ggml_start(DIMS, file_kind)], {}
    for name, value in model.state_dict().items():
        array = value.numpy()
        packs = array.ndim == 2 and not name.endswith("positional_embedding")
        data, stands_for[name] = (pack if packs else plain("<f4"))(array)
        shape = (array.size, 1) if name in ("encoder.conv1.bias", "encoder.conv2.bias") else array.shape
        parts.append(ggml_tensor(name, kind if packs else 0, shape, data))
    (tmp_path / "ggml.bin").write_bytes(b"".join(parts))
    reference = seeded()
    reference.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in stands_for.items()})
    assert_same_logits(tmp_path / "ggml.bin", logits(reference))


# --- the official table ----------------------------------------------------------------------------------------------


def test_the_table_is_openai_whispers() -> None:
    assert {name: url for name, (url, _) in OFFICIAL.items()} == whisper._MODELS


@pytest.mark.parametrize("name", OFFICIAL)
def test_the_alignment_heads_are_openai_whispers(name: str) -> None:
    sizes = {"tiny": (4, 6), "base": (6, 8), "small": (12, 12), "medium": (24, 16), "large": (32, 20), "turbo": (4, 20)}
    size = sizes["turbo" if "turbo" in name else name.split(".")[0].split("-")[0]]
    assert alignment_heads_from_base85(whisper._ALIGNMENT_HEADS[name], *size) == ALIGNMENT_HEADS[name]


def test_set_alignment_heads_reads_our_text(model: Any) -> None:
    model.set_alignment_heads(alignment_heads_to_base85([(1, 0), (0, 1)], 2, 2).encode())
    assert model.alignment_heads.to_dense().tolist() == [[False, True], [True, False]]
