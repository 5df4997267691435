"""Code written for openai-whisper or for npwhisper 0.1 runs after changing only the import."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from talkers import ENGLISH, talker

import npwhisper
from npwhisper.whisper.compat.moved import NEW_PLACES

ROOT = Path(__file__).parents[3]
OLD_NAMES = {
    "layers": ("linear", "layer_norm", "attend", "gelu", "sinusoids", "matmul", "product", "total"),
    "model.layers": ("linear", "attend", "scores", "split_heads", "merge_heads", "causal_mask", "product", "total"),
    "model.network": (
        "self_attention",
        "cross_attention",
        "mlp",
        "encoder_block",
        "decoder_block",
        "encoder",
        "Network",
    ),
    "cache": ("KeyValues", "Cache"),
    "parallel": (
        "set_num_threads",
        "limit_blas",
        "blocked",
        "headwise",
        "rowwise",
        "outputwise",
        "product",
        "few_rows",
        "are_few",
        "FEW_ROWS",
    ),
    "search": ("beam_search", "rank"),
    "rules": ("LOGIT_RULES",),
    "options": ("TranscribeOptions",),
    "swapping": ("swap",),
    "profiling": ("profile",),
    "tracing": ("trace", "layer"),
    "transcription": ("Transcription", "Decision"),
    "weights": ("load_weights", "available_models", "convert"),
    "download": ("DownloadError",),
    "streaming": ("LogMelStream",),
    "journal": ("JournalError", "read_journal"),
    "writers": ("get_writer", "to_srt"),
    "checking": ("check",),
    "whisper": ("Whisper", "align", "default_model", "iter_segments", "load_model", "transcribe"),
    "corpus": ("run", "manifest"),
}

UPSTREAMS_NAMES = {
    "audio": "SAMPLE_RATE N_FFT HOP_LENGTH CHUNK_LENGTH N_SAMPLES N_FRAMES N_SAMPLES_PER_TOKEN FRAMES_PER_SECOND "
    "TOKENS_PER_SECOND exact_div load_audio pad_or_trim mel_filters log_mel_spectrogram",
    "decoding": "decode detect_language DecodingOptions DecodingResult DecodingTask GreedyDecoder BeamSearchDecoder "
    "SuppressBlank SuppressTokens ApplyTimestampRules MaximumLikelihoodRanker LogitFilter TokenDecoder SequenceRanker",
    "model": "Whisper ModelDimensions sinusoids LayerNorm Linear Conv1d MultiHeadAttention ResidualAttentionBlock "
    "AudioEncoder TextDecoder",
    "timing": "dtw dtw_cpu dtw_cuda median_filter backtrace find_alignment add_word_timestamps merge_punctuations "
    "WordTiming",
    "tokenizer": "LANGUAGES TO_LANGUAGE_CODE Tokenizer get_encoding get_tokenizer",
    "transcribe": "cli get_end transcribe",
    "utils": "compression_ratio exact_div format_timestamp get_end get_start get_writer make_safe optional_float "
    "optional_int str2bool ResultWriter SubtitlesWriter WriteTXT WriteVTT WriteSRT WriteTSV WriteJSON",
    "normalizers": "BasicTextNormalizer EnglishTextNormalizer",
}


def fresh(code: str) -> str:
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


@pytest.mark.parametrize("old", NEW_PLACES)
def test_a_module_that_moved_is_still_imported(old: str) -> None:
    assert import_module(f"npwhisper.{old}") is import_module(f"npwhisper.{NEW_PLACES[old]}")
    if old != "grading":  # which `python -m npwhisper.grading` runs too
        assert (ROOT / f"npwhisper/whisper/compat/{old}.py").read_text() == (
            ROOT / "npwhisper/whisper/compat/layers.py"
        ).read_text()


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in OLD_NAMES.items() for name in names])
def test_its_names_are_still_there(module: str, name: str) -> None:
    assert hasattr(import_module(f"npwhisper.{module}"), name)


def test_star_imports_give_the_public_names() -> None:
    assert fresh("from npwhisper.layers import *; print(linear.__name__, attend.__name__)") == "linear attend"


MODULES = ["audio", "decoding", "model", "timing", "tokenizer", "utils", "normalizers"]


@pytest.mark.parametrize("module", [pytest.param(name, marks=pytest.mark.slow) for name in MODULES[:-1]] + MODULES[-1:])
def test_modules_are_there_without_an_import(module: str) -> None:
    assert fresh(f"import npwhisper as whisper; print(whisper.{module}.__name__)")


@pytest.mark.parametrize("module", UPSTREAMS_NAMES)
def test_upstreams_names_are_there(module: str) -> None:
    for name in UPSTREAMS_NAMES[module].split():
        assert hasattr(import_module(f"npwhisper.{module}"), name), name


@pytest.mark.parametrize(
    "module",
    [name if name == "transcribe" else pytest.param(name, marks=pytest.mark.slow) for name in UPSTREAMS_NAMES],
)
def test_upstreams_names_are_there_in_a_fresh_process(module: str) -> None:
    """Found as attributes after ``import npwhisper`` alone, and by ``from npwhisper.MODULE import NAME``."""
    names = UPSTREAMS_NAMES[module].split()
    start = "" if module == "transcribe" else f"[getattr(whisper.{module}, name) for name in {names}]; "
    assert fresh(
        f"import npwhisper as whisper; {start}from npwhisper.{module} import {', '.join(names)}; print('there')"
    )


def test_a_model_is_not_made_or_filled_in_torchs_way(model: npwhisper.Whisper) -> None:
    with pytest.raises(TypeError, match=r"got no weights: use npwhisper.load_model\(path\)"):
        npwhisper.Whisper(model.dims)
    with pytest.raises(TypeError, match=r"npwhisper.Whisper\(dims, state_dict\)"):
        model.load_state_dict(model.state_dict())
    assert npwhisper.Whisper(model.dims, model.state_dict()).dims == model.dims


@pytest.mark.slow
@pytest.mark.parametrize(
    "first", ["import npwhisper", "import npwhisper.transcribe", "from npwhisper.transcribe import cli, get_end"]
)
def test_transcribe_is_a_module_and_a_function_in_every_order(first: str) -> None:
    code = (
        f"{first}; import npwhisper, inspect; before = npwhisper.transcribe; import npwhisper.transcribe as module;"
        "assert callable(before) and callable(npwhisper.transcribe) and callable(module.transcribe);"
        "print(list(inspect.signature(npwhisper.transcribe).parameters)[:2])"
    )
    assert fresh(code) == "['audio', 'model']"


def test_importing_does_nothing_else() -> None:
    assert fresh("import sys, npwhisper; print([m for m in sys.modules if m.startswith('npwhisper.')])") == "[]"


def test_the_model_answers_to_torchs_names(model: npwhisper.Whisper) -> None:
    assert model.to(model.device).eval().half().float().cpu() is model
    assert (str(model.device), model.device.type) == ("cpu", "cpu")
    learnt = sum(p.size for name, p in model.state_dict().items() if name != "encoder.positional_embedding")
    assert sum(np.prod(p.shape) for p in model.parameters()) == learnt == 37_184_256
    with pytest.raises(ValueError, match="computes on the CPU"):
        model.to("cuda:0")


def test_hooks_are_told_where_to_go(model: npwhisper.Whisper) -> None:
    with pytest.raises(AttributeError, match=r"model.decoder.blocks: layers are functions .*npwhisper.trace"):
        _ = model.decoder.blocks
    with pytest.raises(TypeError, match=r"start_cache"):
        model.install_kv_cache_hooks()


def test_alignment_heads_of_all_official_models() -> None:
    from npwhisper.checkpoint.download import ALIGNMENT_HEADS

    other = npwhisper.load_model()
    assert npwhisper._ALIGNMENT_HEADS.keys() == npwhisper._MODELS.keys() == ALIGNMENT_HEADS.keys()
    other.set_alignment_heads(npwhisper._ALIGNMENT_HEADS["tiny.en"])
    assert other.alignment_heads == ALIGNMENT_HEADS["tiny.en"]


def test_a_spectrogram_answers_to_torchs_names() -> None:
    mel = npwhisper.log_mel_spectrogram(np.zeros(16000, np.float32))
    window = npwhisper.pad_or_trim(mel, 3000).to("cpu")
    assert window.unsqueeze(0).permute(0, 2, 1).shape == (1, 3000, 80)
    assert type(window.numpy()) is np.ndarray
    with pytest.raises(ValueError, match="computes on the CPU"):
        mel.to("cuda")


@pytest.mark.parametrize(
    ("module", "name", "words"),
    [
        ("model", "LayerNorm", r"layer_norm\(x, w\)"),
        ("model", "MultiHeadAttention", "npwhisper.trace"),
        ("decoding", "GreedyDecoder", "greedy_search"),
        ("decoding", "BeamSearchDecoder", "beam_search"),
        ("timing", "dtw_cuda", r"npwhisper.timing.dtw\(x\)"),
    ],
)
def test_what_is_torchs_says_what_we_have(module: str, name: str, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        getattr(import_module(f"npwhisper.{module}"), name)(1)


def test_logit_filters_change_logits_in_place() -> None:
    from npwhisper.decoding import ApplyTimestampRules, MaximumLikelihoodRanker, SuppressBlank, SuppressTokens
    from npwhisper.tokenizer import get_tokenizer

    tokenizer = get_tokenizer(False)
    logits, tokens = np.zeros((1, 51864), np.float32), np.array([[tokenizer.sot]])
    SuppressBlank(tokenizer, 1).apply(logits, tokens)
    assert np.flatnonzero(logits[0] == -np.inf).tolist() == [220, tokenizer.eot]
    SuppressTokens([5, 7]).apply(logits, tokens)
    assert np.flatnonzero(logits[0] == -np.inf).tolist() == [5, 7, 220, tokenizer.eot]
    ApplyTimestampRules(tokenizer, 1, 50).apply(logits, tokens)
    assert np.flatnonzero(np.isfinite(logits[0])).tolist() == list(range(50363, 50414))
    assert MaximumLikelihoodRanker(None).rank([[[1, 2], [3]]], [[-1.0, -3.0]]) == [0]


def test_upstreams_order_of_arguments() -> None:
    model, quick = talker(ENGLISH), {"temperature": 0, "sample_len": 6}
    expected = npwhisper.transcribe(npwhisper.example(), model, **quick)
    assert npwhisper.transcribe(model, npwhisper.example(), **quick) == expected


def test_helpers_of_utils() -> None:
    from npwhisper.utils import exact_div, get_end, get_start, make_safe, optional_float, optional_int, str2bool

    segments = [{"start": 0, "end": 2, "words": [{"start": 0.5, "end": 1.5}]}, {"start": 2, "end": 3, "words": []}]
    assert (get_start(segments), get_end(segments), get_end([])) == (0.5, 1.5, None)
    assert (exact_div(6, 3), optional_int("None"), optional_float("1.5"), str2bool("True")) == (2, None, 1.5, True)
    assert make_safe("é") == "é"


def test_normalizers() -> None:
    pytest.importorskip("whisper_normalizer")
    from npwhisper.normalizers import BasicTextNormalizer, EnglishTextNormalizer
    from npwhisper.normalizers.english import EnglishNumberNormalizer, EnglishSpellingNormalizer

    assert EnglishTextNormalizer()("Let's pay twenty dollars") == "let us pay $20"
    assert BasicTextNormalizer()("Hello, World!").strip() == "hello world"
    assert EnglishSpellingNormalizer()("mobilisation") == "mobilization"
    assert EnglishNumberNormalizer()("thirty one") == "31"
