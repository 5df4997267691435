"""How far right code is from float64, layer by layer: what `compare` may take for rounding.

    python tests/benchmarks/rounding.py MODEL FOLDER [COUNT]

MODEL is a checkpoint, FOLDER holds recordings. Each is compared three times at every layer: npwhisper with torch in
float32 (what `compare` is asked), torch in float32 with torch in float64, and npwhisper with torch in float64. Prints
the largest errors of each kind of layer, and which right values `compare` would call wrong. Needs torch and
openai-whisper. Windows are as long as the recordings, so that hundreds are compared in minutes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import whisper

import npwhisper
from npwhisper.audio import FRAMES_PER_SECOND, log_mel_spectrogram, pad_or_trim
from npwhisper.lab.comparing import Difference, capture_torch, compare, in_float64
from npwhisper.tracing.seam import Activations, Array, trace

TEXT = " And so my fellow Americans, ask not what your country can do for you."
SECONDS = 3.0  # the longest that is taken of a recording
COLUMNS = ("npwhisper and torch", "torch and float64", "npwhisper and float64")


def shortened(path: str, seconds: float) -> npwhisper.Whisper:
    """The model for windows of `seconds`: the encoder knows fewer positions, all else is the same."""
    model = npwhisper.load_model(path)
    n = round(seconds * FRAMES_PER_SECOND) // 2
    weights = {**model.weights, "encoder.positional_embedding": model.weights["encoder.positional_embedding"][:n]}
    return npwhisper.Whisper(replace(model.dims, n_audio_ctx=n), weights, model.alignment_heads)


def torchs(model: npwhisper.Whisper) -> Any:
    """openai-whisper's model of the same weights."""
    theirs = whisper.model.Whisper(whisper.ModelDimensions(**vars(model.dims))).eval()
    theirs.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in model.weights.items()})
    return theirs


def captured(model: Any, mel: Array, tokens: Array, dtype: Any) -> Activations:
    """What torch computes, in `dtype`."""
    with torch.no_grad(), capture_torch(model, "encoder*", "decoder*") as acts:
        model(torch.from_numpy(mel[None]).to(dtype), torch.from_numpy(tokens[None]))
    return acts


def traced(model: npwhisper.Whisper, mel: Array, tokens: Array) -> Activations:
    """What npwhisper computes."""
    with trace("encoder*", "decoder*") as acts:
        model(mel[None], tokens[None])
    return acts


def main(path: str, folder: str, count: int = 200) -> None:
    ours, recordings = shortened(path, SECONDS), sorted(Path(folder).rglob("*.[wf][al][va]*"))[:count]
    single = torchs(ours)
    double = in_float64(single)
    tokens = np.array([*ours.tokenizer.sot_sequence, ours.tokenizer.no_timestamps, *ours.tokenizer.encode(TEXT)])
    worst, alarms = dict[str, list[float]](), [0, 0]
    for recording in recordings:
        mel = log_mel_spectrogram(npwhisper.load_audio(recording), ours.dims.n_mels)
        mel = np.asarray(pad_or_trim(mel, 2 * ours.dims.n_audio_ctx))
        float32, float64 = captured(single, mel, tokens, torch.float32), captured(double, mel, tokens, torch.float64)
        mine = traced(ours, mel, tokens)
        for i, judge in enumerate((None, float64)):
            first = compare(float32, mine, judge=judge).first
            alarms[i] += first is not None
            if first:
                print(f"{recording.name}, {'judged by float64' if judge else 'no judge'}: {first}", flush=True)
        for column, (one, other) in enumerate([(float32, mine), (float64, float32), (float64, mine)]):
            for name, error in kinds(compare(one, other).differences):
                row = worst.setdefault(name, [0.0] * len(COLUMNS))
                row[column] = max(row[column], error)
    print(f"of {len(recordings)} comparisons of right code {alarms[0]} are called wrong, {alarms[1]} with the judge")
    print(f"{'layer':24}", *COLUMNS)
    for name, errors in sorted(worst.items(), key=lambda item: -item[1][0]):
        print(f"{name:24}", *(f"{error:{len(column)}.1e}" for error, column in zip(errors, COLUMNS, strict=True)))


def kinds(differences: list[Difference]) -> Iterator[tuple[str, float]]:
    """The kind of each layer, all blocks being of one kind, and its error."""
    for difference in differences:
        parts = [part for part in difference.name.split(".") if part != "blocks" and not part.isdigit()]
        yield ".".join(parts), difference.error


if __name__ == "__main__":
    main(*sys.argv[1:3], *map(int, sys.argv[3:]))
