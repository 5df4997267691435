#!/usr/bin/env python3
"""Word error rates of a checkpoint, the choice of its alignment heads, and the error of its word times.

    evaluate.py --model nano.en.pt --set NAME=samples.tsv [--set ...] [--beam 5] [--engine whisper] [--out results.json]
    evaluate.py --model nano.en.pt --set quick=samples.tsv --batch 16   decode() in batches instead of transcribe()
    evaluate.py --model nano.en.pt --align FOLDER       heads whose attention is nearest to the places of the words
    evaluate.py --model nano.en.pt --times FOLDER --heads "[[1, 0]]"         mean error of the word times in seconds

A manifest is tab-separated with a header; "file" (relative to the manifest), "transcript" and "voice" are used. An
empty transcript means a clip without speech: any text counts as an error. FOLDER is one written by synthesize.py
--samples with a festival voice (its .words files hold the true ends of the words). Both texts go through Whisper's
English normaliser.
"""

from __future__ import annotations

import argparse
import base64
import collections
import csv
import glob
import gzip
import importlib
import json
import os
import wave
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Word = tuple[str, float, float]


def errors(ref: list[str], hyp: list[str]) -> int:
    """Edit distance of two word lists."""
    d = list(range(len(hyp) + 1))
    for i, r in enumerate(ref, 1):
        prev, d[0] = d[0], i
        for j, h in enumerate(hyp, 1):
            prev, d[j] = d[j], min(d[j] + 1, d[j - 1] + 1, prev + (r != h))
    return d[-1]


def load(path: str) -> Array:
    """16 kHz mono float32 from a wav file (or FLAC, with soundfile)."""
    if not path.endswith(".wav"):
        import soundfile

        return np.asarray(soundfile.read(path, dtype="float32")[0])
    with wave.open(path) as f:
        assert (f.getframerate(), f.getnchannels(), f.getsampwidth()) == (16000, 1, 2), path
        return np.frombuffer(f.readframes(f.getnframes()), np.int16).astype(np.float32) / 32768


def rows(manifest: str) -> list[dict[str, str]]:
    with open(manifest, encoding="utf-8") as f:
        return list(csv.DictReader(f, delimiter="\t", quoting=csv.QUOTE_NONE))


def transcripts(model: Any, audios: list[Array], options: dict[str, Any]) -> list[str]:
    """transcribe() of each recording."""
    return [model.transcribe(a, **options)["text"] for a in audios]


def decoded(model: Any, audios: list[Array], batch: int) -> list[str]:
    """Greedy decode() of 30 seconds, several recordings at a time: quicker, and nearly the same for short ones."""
    import torch
    import whisper

    options, texts = whisper.DecodingOptions(fp16=False, language="en"), []
    for k in range(0, len(audios), batch):
        mels = [whisper.log_mel_spectrogram(a, model.dims.n_mels) for a in audios[k : k + batch]]
        mel = torch.stack([whisper.pad_or_trim(m, 3000) for m in mels])
        texts += [r.text for r in whisper.decode(model, mel, options)]
    return texts


def normaliser() -> Any:
    from whisper.normalizers import EnglishTextNormalizer

    return EnglishTextNormalizer()


def score(name: str, manifest: str, texts: list[str]) -> list[dict[str, Any]]:
    """One record a recording: reference, hypothesis, errors, words."""
    norm, out = normaliser(), []
    for row, text in zip(rows(manifest), texts, strict=True):
        ref, hyp = norm(row["transcript"]).split(), norm(text).split()
        record = {"set": name, "voice": row["voice"], "file": row["file"], "ref": row["transcript"], "hyp": text}
        out.append({**record, "errors": errors(ref, hyp), "words": len(ref)})
    return out


def table(records: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Word error rate by set and voice, and of each set; for clips without speech the share without text."""
    groups = collections.defaultdict(list)
    for r in records:
        groups[r["set"] + "/" + r["voice"]].append(r)
        groups[r["set"] + "/ALL"].append(r)
    out = {}
    for name, group in groups.items():
        words, wrong = sum(r["words"] for r in group), sum(r["errors"] for r in group)
        quiet = sum(not r["hyp"].strip() for r in group) / len(group)
        out[name] = {
            "wer": round(100 * wrong / max(1, words), 1),
            "words": words,
            "files": len(group),
            "no_text": round(quiet, 2),
        }
    return out


# ---------------------------------------------------------------------------------------------- places of the words
def true_words(path: str) -> list[Word]:
    """Lines "end word" -> (word, start, end); a word starts where the one before ends."""
    lines = [line.split() for line in Path(path).read_text(encoding="utf-8").splitlines()]
    ends = [float(line[0]) for line in lines]
    starts = [max(0.0, ends[0] - 0.3), *ends[:-1]] if ends else []
    return [(line[1], s, e) for line, s, e in zip(lines, starts, ends, strict=True)]


def cross_attention(model: Any, audio: Array, text: str) -> tuple[Any, list[int], Any]:
    """Attention of every decoder head for the text, at the places where each of its tokens is predicted."""
    import torch
    import whisper
    from whisper.model import disable_sdpa

    tok = whisper.tokenizer.get_tokenizer(False)
    mel = whisper.pad_or_trim(whisper.log_mel_spectrogram(audio, model.dims.n_mels), 3000)
    ids = tok.encode(" " + text.strip())
    seq = torch.tensor([*tok.sot_sequence, tok.no_timestamps, *ids, tok.eot])
    got: list[Any] = [None] * model.dims.n_text_layer
    hooks = [
        b.cross_attn.register_forward_hook(lambda _, i, o, k=k: got.__setitem__(k, o[1][0]))
        for k, b in enumerate(model.decoder.blocks)
    ]
    with torch.no_grad(), disable_sdpa():
        model(mel[None], seq[None])
    for h in hooks:
        h.remove()
    return tok, ids, torch.stack(got)[:, :, len(tok.sot_sequence) : -1, : len(audio) // 320].softmax(-1)


def words_of(tok: Any, ids: list[int]) -> list[tuple[str, int]]:
    """(word, number of tokens); punctuation belongs to the word before it."""
    merged: list[tuple[str, int]] = []
    words, tokens = tok.split_to_word_tokens([*ids, tok.eot])
    for word, own in zip(words[:-1], tokens[:-1], strict=True):
        if merged and (not word.startswith(" ") or not word.strip(" .,?!'-")):
            merged[-1] = (merged[-1][0] + word, merged[-1][1] + len(own))
        else:
            merged.append((word, len(own)))
    return merged


def choose_heads(model: Any, folder: str, limit: int) -> tuple[Any, int]:
    """Mean distance in seconds of each head's centre of attention from the true middle of the words (layers, heads)."""
    import torch

    err, n = torch.zeros(model.dims.n_text_layer, model.dims.n_text_head), 0
    text = {r["file"]: r["transcript"] for r in rows(folder + "/samples.tsv")}
    for path in sorted(glob.glob(folder + "/*.words"))[:limit]:
        name = os.path.basename(path)[:-6] + ".wav"
        truth = true_words(path)
        tok, ids, w = cross_attention(model, load(folder + "/" + name), text[name])
        spans = words_of(tok, ids)
        if len(spans) != len(truth):
            continue
        t, at = torch.arange(w.shape[-1]) * 0.02, 0
        for (_, k), (_, start, end) in zip(spans, truth, strict=True):
            part = w[:, :, at : at + k]
            err += ((part * t).sum(-1) / part.sum(-1)).mean(-1).sub((start + end) / 2).abs()
            at, n = at + k, n + 1
    return err / max(n, 1), n


def heads_string(shape: tuple[int, int], heads: list[list[int]]) -> str:
    """The form that openai-whisper's set_alignment_heads wants: base85 of the gzipped mask."""
    mask = np.zeros(shape, bool)
    for layer, head in heads:
        mask[layer, head] = True
    return base64.b85encode(gzip.compress(mask.tobytes(), mtime=0)).decode()


def time_errors(model: Any, folder: str) -> tuple[list[float], list[float]]:
    """Distances of the starts and ends of the words that were heard right, from the true ones."""
    norm, starts, ends = normaliser(), [], []
    for row in rows(folder + "/samples.tsv"):
        path = folder + "/" + row["file"][:-4] + ".words"
        if not os.path.exists(path):
            continue
        result = model.transcribe(load(path[:-6] + ".wav"), temperature=0.0, fp16=False, word_timestamps=True)
        heard = [w for s in result["segments"] for w in s["words"]]
        truth = true_words(path)
        if len(heard) != len(truth):
            continue
        for k, (w, (word, start, end)) in enumerate(zip(heard, truth, strict=True)):
            if norm(w["word"]) == norm(word):
                starts += [abs(w["start"] - start)] if k else []
                ends.append(abs(w["end"] - end))
    return starts, ends


def arguments() -> argparse.Namespace:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", required=True)
    p.add_argument("--engine", choices=["whisper", "npwhisper"], default="whisper")
    p.add_argument("--set", action="append", default=[], help="NAME=manifest.tsv")
    p.add_argument("--beam", type=int)
    p.add_argument("--batch", type=int, default=0, help="whisper, greedy: decode() that many recordings at a time")
    p.add_argument("--align")
    p.add_argument("--limit", type=int, default=16, help="recordings used for --align")
    p.add_argument("--times")
    p.add_argument("--heads", help='alignment heads for --times, "[[layer, head], ...]"')
    p.add_argument("--out")
    return p.parse_args()


def load_model(a: argparse.Namespace, engine: Any) -> Any:
    """The checkpoint, with the wanted alignment heads; openai-whisper reads .pt files, npwhisper also .safetensors."""
    model = engine.load_model(a.model)
    if a.heads and a.engine == "whisper":
        shape = (model.dims.n_text_layer, model.dims.n_text_head)
        model.set_alignment_heads(heads_string(shape, json.loads(a.heads)).encode())
    return model


def word_error_rates(a: argparse.Namespace, model: Any) -> None:
    records: list[dict[str, Any]] = []
    for name, manifest in (s.split("=", 1) for s in a.set):
        audios = [load(os.path.join(os.path.dirname(manifest), r["file"])) for r in rows(manifest)]
        options: dict[str, Any] = {"beam_size": a.beam, "temperature": 0.0}
        options |= {"fp16": False} if a.engine == "whisper" else {}
        texts = decoded(model, audios, a.batch) if a.batch else transcripts(model, audios, options)
        records += score(name, manifest, texts)
    for group, r in table(records).items():
        size = f"{r['words']:5d} words {r['files']:4d} files"
        print(f"{group:36s} WER {r['wer']:6.1f} %  {size}, no text {r['no_text']:.2f}")
    if a.out:
        with open(a.out, "w", encoding="utf-8") as f:
            json.dump({"engine": a.engine, "beam": a.beam, "table": table(records), "texts": records}, f, indent=1)


def main() -> None:
    a = arguments()
    engine = importlib.import_module(a.engine)
    model = load_model(a, engine)
    if a.align:
        err, n = choose_heads(model, a.align, a.limit)
        print("words", n, "mean distance in seconds, layers by heads:\n", err.numpy().round(3))
    if a.times:
        starts, ends = time_errors(model, a.times)
        for name, x in (("start", starts), ("end", ends)):
            print(f"{name}: mean {np.mean(x):.3f} s, median {np.median(x):.3f} s, {len(x)} words")
    if a.set:
        word_error_rates(a, model)


if __name__ == "__main__":
    main()
