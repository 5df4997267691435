"""The laboratory beside torch: the same names, the same values at every decode step, the wrong layer found."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cases
import numpy as np
import pytest

torch = pytest.importorskip("torch")
reference_whisper = pytest.importorskip("whisper")

import npwhisper  # noqa: E402
from npwhisper.audio import example, log_mel_spectrogram, pad_or_trim  # noqa: E402
from npwhisper.lab import exercises  # noqa: E402
from npwhisper.lab.comparing import (  # noqa: E402
    capture_torch,
    compare,
    first_difference,
    in_float64,
    our_name,
    save_activations,
)
from npwhisper.model import Network  # noqa: E402
from npwhisper.tracing.seam import Activations, Array, trace  # noqa: E402
from npwhisper.tracing.swapping import swap  # noqa: E402

pytestmark = pytest.mark.filterwarnings(  # openai-whisper's own
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning", "ignore:__array_wrap__"
)

MEL, TOKENS = cases.random_mel(), cases.random_input("decoder", cases.STACKS["decoder"])
PARTS = np.split(TOKENS, [3, 4], axis=1)
EXTRAS = {"gelu", "split_heads", "merge_heads", "causal_mask", "scores", "softmax", "attend", "logits"}
UNCAPTURED = {"split_heads", "merge_heads", "causal_mask"}


def torch_model(network: Network) -> Any:
    model = reference_whisper.model.Whisper(reference_whisper.model.ModelDimensions(**vars(network.dims)))
    model.load_state_dict({name: torch.tensor(value) for name, value in network.weights.items()})
    return model.eval()


def torch_steps(model: Any) -> Activations:
    """Everything from the mel spectrogram to three decode steps, by openai-whisper with its own KV cache."""
    with torch.no_grad(), capture_torch(model) as acts:
        features = model.embed_audio(torch.from_numpy(MEL).to(next(model.parameters()).dtype))
        cache, hooks = model.install_kv_cache_hooks()
        for part in PARTS:
            model.decoder(torch.from_numpy(part), features, kv_cache=cache)
        for hook in hooks:
            hook.remove()
    return acts


def our_steps(network: Network) -> Activations:
    with trace() as acts:
        features = network.embed_audio(MEL)
        cache = network.start_cache(features)
        for part in PARTS:
            network.decoder(part, features, cache)
    return acts


@pytest.fixture(scope="module")
def theirs() -> Activations:
    return torch_steps(torch_model(cases.network()))


@pytest.fixture(scope="module")
def judge() -> Activations:
    return torch_steps(in_float64(torch_model(cases.network())))


@pytest.fixture(scope="module")
def ours() -> Activations:
    return our_steps(cases.network())


def test_names_are_those_of_torchs_modules_and_the_documented_extras(ours: Activations) -> None:
    modules = dict(torch_model(cases.network()).named_modules())
    lists = {name for name, module in modules.items() if isinstance(module, torch.nn.ModuleList)}
    names = {our_name(name) for name in modules if name not in lists | {""}}
    assert names <= set(ours)
    assert {name.rpartition(".")[2] for name in set(ours) - names} == EXTRAS


def test_all_is_captured_but_what_has_no_module(theirs: Activations, ours: Activations) -> None:
    assert {name.rpartition(".")[2] for name in set(ours) - set(theirs)} == UNCAPTURED
    assert set(theirs) <= set(ours)


@pytest.mark.parametrize("name", list(our_steps(cases.network())))
def test_values_equal_torchs_at_every_step(name: str, theirs: Activations, ours: Activations) -> None:
    if name.rpartition(".")[2] in UNCAPTURED:
        assert name not in theirs
        return
    assert len(ours.all(name)) == len(theirs.all(name))
    result = compare({name: theirs.all(name)}, {name: ours.all(name)}, tolerance=1e-4)
    assert result, str(result)
    assert len(result.differences) == (3 if name.startswith("decoder") and not is_audio(name) else len(ours.all(name)))


def is_audio(name: str) -> bool:
    """Whether this is computed once for all steps."""
    return name.endswith(("cross_attn.key", "cross_attn.value"))


def wrong(y: Array) -> Array:
    y = np.array(y)
    y.flat[y.size // 2] += 0.05 * np.abs(y).max()
    return y


COMPARABLE = [name for name in our_steps(cases.network()) if name.rpartition(".")[2] not in UNCAPTURED]


@pytest.mark.parametrize("name", COMPARABLE)
def test_the_first_difference_is_the_wrong_layer(
    name: str, theirs: Activations, judge: Activations, tiny_random: Network
) -> None:
    with swap(edit={name: wrong}):
        acts = our_steps(tiny_random)
    for difference in (first_difference(theirs, acts), compare(theirs, acts, judge=judge).first):
        assert difference is not None
        assert difference.name == name


def test_the_judge_computes_in_float64(theirs: Activations, judge: Activations, ours: Activations) -> None:
    """The same values but for rounding, and rounding there is: ours differs from torch's, but not from the judge's."""
    assert set(judge) == set(theirs)
    assert compare(theirs, ours, judge=judge)
    errors = [d.error for d in compare(judge, theirs).differences if d.error]
    assert 1e-8 < np.median(errors) < 1e-5
    strict = compare(theirs, ours, tolerance=0.0)
    assert not strict
    judged = compare(theirs, ours, tolerance=0.0, judge=judge)
    assert sum(d.is_wrong for d in judged.differences) < sum(d.is_wrong for d in strict.differences)


@pytest.mark.parametrize(
    ("layer", "mistake"),
    [
        ("gelu", lambda x: 0.5 * x * (1 + np.tanh(0.7978846 * (x + 0.044715 * x**3)))),
        ("scores", lambda q, k: q @ k.swapaxes(-1, -2)),
        ("layer_norm", lambda x, w: x * w["weight"] + w["bias"]),
        ("softmax", lambda x: np.exp(x) / np.exp(x).sum(axis=-2, keepdims=True)),
    ],
)
def test_a_mistake_in_one_place_is_found_there(
    layer: str, mistake: Callable[..., Array], theirs: Activations, judge: Activations, tiny_random: Network
) -> None:
    place = {"layer_norm": "decoder.blocks.1.cross_attn_ln", "gelu": "decoder.blocks.1.mlp.gelu"}.get(
        layer, f"decoder.blocks.1.cross_attn.{layer}"
    )
    with swap({place: mistake}):
        acts = our_steps(tiny_random)
    for difference in (first_difference(theirs, acts), compare(theirs, acts, judge=judge).first):
        assert difference is not None
        assert difference.name == place


def test_a_recording_of_torch_is_read_without_torch(theirs: Activations, ours: Activations, tmp_path: Path) -> None:
    save_activations(theirs, tmp_path / "torch.npz")
    save_activations(ours, tmp_path / "ours.npz")
    code = (
        "import sys; from npwhisper.lab.comparing import compare; "
        "print(bool(compare('torch.npz', 'ours.npz')), 'torch' in sys.modules)"
    )
    root = str(Path(npwhisper.__file__).parent.parent)
    run = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {root!r}); {code}"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert run.stdout.split() == ["True", "False"]


def test_the_capture_chooses_by_glob_and_leaves_nothing_behind() -> None:
    model = torch_model(cases.network())
    attention = reference_whisper.model.MultiHeadAttention
    with torch.no_grad(), capture_torch(model, "*.mlp.gelu", "encoder") as acts:
        assert not attention.use_sdpa
        model(torch.from_numpy(MEL), torch.from_numpy(TOKENS))
    assert attention.use_sdpa
    assert len(acts) == 2 + 3 + 1
    with torch.no_grad():
        model(torch.from_numpy(MEL), torch.from_numpy(TOKENS))
    assert len(acts.records) == 6
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def transformers_model(network: Network) -> Any:
    transformers = pytest.importorskip("transformers")
    d = network.dims
    config = transformers.WhisperConfig(
        vocab_size=d.n_vocab, num_mel_bins=d.n_mels, d_model=d.n_audio_state, max_source_positions=d.n_audio_ctx,
        max_target_positions=d.n_text_ctx, encoder_layers=d.n_audio_layer, encoder_attention_heads=d.n_audio_head,
        decoder_layers=d.n_text_layer, decoder_attention_heads=d.n_text_head, encoder_ffn_dim=4 * d.n_audio_state,
        decoder_ffn_dim=4 * d.n_text_state, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
        attn_implementation="eager",
    )  # fmt: skip
    model = transformers.WhisperForConditionalGeneration(config).eval()
    positions = {
        "model.encoder.embed_positions.weight": "encoder.positional_embedding",
        "model.decoder.embed_positions.weight": "decoder.positional_embedding",
    }
    state = {}
    for name in model.state_dict():
        module, _, parameter = name.rpartition(".")
        key = "decoder.token_embedding.weight" if module == "proj_out" else f"{our_name(module)}.{parameter}"
        state[name] = torch.tensor(network.weights[positions.get(name, key)])
    model.load_state_dict(state)
    return model


def test_transformers_is_captured_under_the_same_names(ours: Activations) -> None:
    model = transformers_model(cases.network())
    with torch.no_grad(), capture_torch(model) as acts:
        model(input_features=torch.from_numpy(MEL), decoder_input_ids=torch.from_numpy(TOKENS))
    network = cases.network()
    with trace() as whole:
        network(MEL, TOKENS)
    missing = {name.rpartition(".")[2] for name in set(whole) - set(acts)}
    assert missing == UNCAPTURED | {"scores", "mlp", "decoder"}
    assert set(acts) <= set(whole)
    result = compare(acts, whole)
    assert result, str(result)
    assert len(result.differences) == len(acts.records)


def test_the_embedded_model_equals_torch_while_it_decodes() -> None:
    ours, mel = npwhisper.load_model(), pad_or_trim(log_mel_spectrogram(example()), 3000)
    theirs = torch_model(ours)
    options = {"fp16": False, "without_timestamps": True, "language": "en", "sample_len": 5}
    with torch.no_grad(), capture_torch(theirs, "encoder*", "decoder*") as reference:
        expected = reference_whisper.decode(theirs, torch.from_numpy(mel), reference_whisper.DecodingOptions(**options))
    with trace("encoder*", "decoder*") as acts:
        result = npwhisper.decode(ours, mel, **options)
    assert not isinstance(result, list)
    assert result.tokens == expected.tokens
    assert len(acts.steps) == len(reference.steps) == 5
    comparison = compare(reference, acts)
    assert comparison, str(comparison)
    assert len(comparison.differences) == len(reference.records)


def test_the_shipped_cases_are_those_of_the_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers")
    import make_check_cases

    shipped = exercises._reference()
    versions = [str(shipped["made_by"])]
    versions.append(
        ", ".join(f"{n} {importlib.metadata.version(n)}" for n in ("torch", "openai-whisper", "transformers"))
    )
    if versions[0] != versions[1]:
        pytest.skip(f"made with {versions[0]}, here is {versions[1]}")
    monkeypatch.setattr(make_check_cases, "TARGET", tmp_path / "cases.npz")
    monkeypatch.setattr(make_check_cases, "ARRAYS", {})
    torch.manual_seed(6)
    make_check_cases.main()
    with np.load(tmp_path / "cases.npz") as made:
        assert list(made) == list(shipped)
        for name in made:
            if made[name].dtype.kind == "f":
                np.testing.assert_allclose(made[name], shipped[name], rtol=1e-4, atol=1e-5)
            else:
                np.testing.assert_array_equal(made[name], shipped[name])
