#!/usr/bin/env python3
"""Load a checkpoint in transformers and faster-whisper, and set what they hear beside openai-whisper's.

    others.py --model nano.en.pt --out FOLDER RECORDING ...

Writes FOLDER/hf (transformers) and FOLDER/ct2 (faster-whisper, through CTranslate2's own converter). The tokenizer that
both want beside the weights is made from openai-whisper's `gpt2.tiktoken`. Needs openai-whisper, transformers,
tokenizers, ctranslate2 and faster-whisper.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from evaluate import load
from model import EOT, NOSTAMPS, SOT
from pool import GPT2_SPLIT

NAMES = (  # openai-whisper's, transformers'
    ("blocks", "layers"), ("mlp.0", "fc1"), ("mlp.2", "fc2"), ("mlp_ln", "final_layer_norm"),
    (".attn.query", ".self_attn.q_proj"), (".attn.key", ".self_attn.k_proj"), (".attn.value", ".self_attn.v_proj"),
    (".attn_ln", ".self_attn_layer_norm"), (".attn.out", ".self_attn.out_proj"),
    (".cross_attn.query", ".encoder_attn.q_proj"), (".cross_attn.key", ".encoder_attn.k_proj"),
    (".cross_attn.value", ".encoder_attn.v_proj"), (".cross_attn_ln", ".encoder_attn_layer_norm"),
    (".cross_attn.out", ".encoder_attn.out_proj"), ("decoder.ln.", "decoder.layer_norm."),
    ("token_embedding", "embed_tokens"), ("positional_embedding", "embed_positions.weight"), ("ln_post", "layer_norm"),
)  # fmt: skip


def configuration(d: dict[str, int]) -> Any:
    from transformers import WhisperConfig

    return WhisperConfig(
        vocab_size=d["n_vocab"], num_mel_bins=d["n_mels"], d_model=d["n_audio_state"],
        encoder_layers=d["n_audio_layer"], encoder_attention_heads=d["n_audio_head"],
        decoder_layers=d["n_text_layer"], decoder_attention_heads=d["n_text_head"],
        encoder_ffn_dim=4 * d["n_audio_state"], decoder_ffn_dim=4 * d["n_text_state"],
        max_source_positions=d["n_audio_ctx"], max_target_positions=d["n_text_ctx"], pad_token_id=EOT,
        bos_token_id=EOT, eos_token_id=EOT, decoder_start_token_id=SOT, suppress_tokens=[], begin_suppress_tokens=[],
    )  # fmt: skip


def renamed(name: str) -> str:
    for ours, theirs in NAMES:
        name = name.replace(ours, theirs)
    return "model." + name


def write_tokenizer(folder: Path) -> None:
    """GPT-2's byte-pair encoding with Whisper's special tokens, as a `tokenizer.json`."""
    import whisper
    from tokenizers import AddedToken
    from transformers.convert_slow_tokenizer import TikTokenConverter

    assets = Path(whisper.__file__).parent / "assets"
    tokenizer = TikTokenConverter(vocab_file=str(assets / "gpt2.tiktoken"), pattern=GPT2_SPLIT).converted()
    special = whisper.tokenizer.get_tokenizer(False).special_tokens
    tokenizer.add_special_tokens([AddedToken(t, special=True) for t in sorted(special, key=special.__getitem__)])
    assert all(tokenizer.token_to_id(token) == number for token, number in special.items())
    tokenizer.save(str(folder / "tokenizer.json"))
    words = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(words), encoding="utf-8")


def hugging_face(path: str, folder: Path) -> Any:
    """The model in transformers, also written to `folder`."""
    from transformers import WhisperForConditionalGeneration

    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    model = WhisperForConditionalGeneration(configuration(checkpoint["dims"])).eval()
    weights = {renamed(k): v.float() for k, v in checkpoint["model_state_dict"].items()}
    missing, unknown = model.load_state_dict(weights, strict=False)
    assert missing == ["proj_out.weight"]  # tied to the embedding of the tokens
    assert not unknown
    model.tie_weights()
    model.save_pretrained(folder)
    write_tokenizer(folder)
    return model


def main() -> None:
    import whisper
    from ctranslate2.converters import TransformersConverter
    from faster_whisper import WhisperModel

    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", required=True)
    p.add_argument("--out", required=True, type=Path)
    p.add_argument("recordings", nargs="+")
    a = p.parse_args()
    openai, transformers = whisper.load_model(a.model), hugging_face(a.model, a.out / "hf")
    converter = TransformersConverter(str(a.out / "hf"), copy_files=["tokenizer.json"])
    converter.convert(str(a.out / "ct2"), quantization="float32", force=True)
    faster = WhisperModel(str(a.out / "ct2"), device="cpu", compute_type="float32")
    ids = torch.tensor([[SOT, NOSTAMPS, 314, 2221]])
    for recording in a.recordings:
        audio = load(recording)
        mel = whisper.log_mel_spectrogram(whisper.pad_or_trim(audio))[None]
        with torch.no_grad():
            apart = (openai(mel, ids) - transformers(mel, decoder_input_ids=ids).logits).abs().max()
        segments, _ = faster.transcribe(audio, language="en", beam_size=1, temperature=0.0)
        text = openai.transcribe(audio, temperature=0.0, fp16=False)["text"]
        theirs = "".join(segment.text for segment in segments)
        print(f"{recording}: logits apart by {float(apart):.1e}, texts {'equal' if text == theirs else 'differ'}")
        print(f"  openai-whisper {text!r}\n  faster-whisper {theirs!r}")


if __name__ == "__main__":
    main()
