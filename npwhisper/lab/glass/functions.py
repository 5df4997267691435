# ruff: noqa: E501, RUF001 (a table; the signs of mathematics)
"""The functions behind the boxes: formula, shapes in the letters of `layers.py`, and source code."""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple


class Entry(NamedTuple):
    """A function of the package: its module, formula and shapes."""

    home: str
    formula: str
    shapes: str


FUNCTIONS = {
    "stft": Entry("audio", "power[f, t] = |FFT(hann · samples of frame t)|²", "(400 + 160 (F - 1),) → (201, F)"),
    "mel_filters": Entry("audio", "overlapping triangles, evenly spaced on the mel scale", "→ (M, 201)"),
    "compress": Entry(
        "audio", "mel = (max(log₁₀(filters · power), loudest - 8) + 4) / 4", "(M, 201), (201, F) → (M, F)"
    ),
    "conv1d": Entry("model", "y[c, t] = Σ weight[c, i, j] · x[i, stride·t + j - 1] + bias[c]", "(B, D, F) → (B, D', F/stride)"),
    "gelu": Entry("model", "gelu(x) = x · Φ(x), Φ the standard normal CDF", "(…) → (…)"),
    "layer_norm": Entry("model", "y = (x - mean) / √(variance + ε) · weight + bias", "(…, D) → (…, D)"),
    "linear": Entry("model", "y = x · weightᵀ + bias", "(…, D_in) → (…, D_out)"),
    "embedding": Entry("model", "x = weight[token]", "(B, T) → (B, T, D)"),
    "split_heads": Entry("model", "split the features into H heads of K = D / H", "(B, T, D) → (B, H, T, K)"),
    "causal_mask": Entry("model", "mask[t, s] = -∞ where s is later than t", "→ (T, S)"),
    "scores": Entry("model", "scores = q · kᵀ / √K", "(B, H, T, K), (B, H, S, K) → (B, H, T, S)"),
    "softmax": Entry("model", "softmax(x)ᵢ = exp(xᵢ) / Σⱼ exp(xⱼ)", "(…, N) → (…, N)"),
    "attend": Entry("model", "attend(q, k, v) = softmax(q · kᵀ / √K + mask) · v", "(B, H, T, K), (B, H, S, K) → (B, H, T, K)"),
    "merge_heads": Entry("model", "concatenate the H heads", "(B, H, T, K) → (B, T, D)"),
    "self_attention": Entry("model", "out(attend(query(x), key(x), value(x)))", "(B, T, D) → (B, T, D)"),
    "cross_attention": Entry("model", "out(attend(query(x), key(audio), value(audio)))", "(B, T, D), (A, S, D) → (B, T, D)"),
    "mlp": Entry("model", "mlp(x) = W₂ · gelu(W₀ · x + b₀) + b₂", "(B, T, D) → (B, T, D)"),
    "encoder_block": Entry("model", "x += self_attention(ln(x));  x += mlp(ln(x))", "(B, S, D) → (B, S, D)"),
    "decoder_block": Entry(
        "model", "x += self_attention(ln(x));  x += cross_attention(ln(x));  x += mlp(ln(x))", "(B, T, D) → (B, T, D)"
    ),
    "encoder": Entry("model", "ln(blocks(gelu(conv2(gelu(conv1(mel)))) + positions))", "(B, M, F) → (B, S, D)"),
    "decoder": Entry("model", "ln(blocks(embedding[tokens] + positions)) · embeddingᵀ", "(B, T) → (B, T, V)"),
    "logits": Entry("model", "logits = x · embeddingᵀ", "(B, T, D), (V, D) → (B, T, V)"),
    "start_cache": Entry("model", "keys and values of the audio for every block, once per window", "(A, S, D) → L × 2 × (A, H, S, K)"),
    "KeyValues": Entry("model", "append the new positions, return all so far", "(B, H, T, K) → (B, H, length, K) twice"),
    "penalize_repetition": Entry("decoding", "logit / p if positive, logit · p if negative, for tokens that occurred before", "(B, V) → (B, V)"),
    "forbid_repeated_ngrams": Entry("decoding", "-∞ for tokens that would repeat an n-gram", "(B, V) → (B, V)"),
    "suppress_blank": Entry("decoding", "-∞ for the space and the end-of-text token, at the first step", "(B, V) → (B, V)"),
    "suppress_tokens": Entry("decoding", "-∞ for the suppressed tokens, at every step", "(B, V) → (B, V)"),
    "apply_timestamp_rules": Entry("decoding", "-∞ for timestamps, or text, where they may not follow", "(B, V) → (B, V)"),
    "log_softmax": Entry("model", "log p = logits - log Σ exp(logits)", "(…, N) → (…, N)"),
    "greedy_search": Entry("decoding", "token = argmax(log p)", "(N, T) → hypotheses"),
    "beam_search": Entry("decoding", "keep the beam_size continuations with the largest Σ log p", "(N, T) → hypotheses"),
    "sample": Entry("decoding", "token ~ softmax(log p / temperature)", "(N, T) → hypotheses"),
    "rank": Entry("decoding", "Σ log p / length, or / ((5 + length) / 6)^length_penalty", "hypotheses → their order"),
    "find_alignment": Entry("timing", "times = path of dtw(-token_map(weights of the alignment heads))", "tokens, mel → words"),
    "standardise": Entry("timing", "y = (x - mean over tokens) / std over tokens", "(H, T, S) → (H, T, S)"),
    "median_filter": Entry("timing", "the median of 7 neighbours in time", "(H, T, S) → (H, T, S)"),
    "token_map": Entry("timing", "the mean over the heads", "(H, T, S) → (T, S)"),
    "dtw_cost": Entry("timing", "cost[i, j] = x[i, j] + min(cost[i-1, j-1], cost[i-1, j], cost[i, j-1])", "(N, M) → (N, M)"),
    "backtrace": Entry("timing", "from the last cell back through the cheapest predecessors", "(N, M) → (2, L)"),
    "split_at_timestamps": Entry("transcription.windows", "a segment ends between two consecutive timestamps", "tokens → pieces"),
}  # fmt: skip


def describe_functions() -> dict[str, dict[str, Any]]:
    """Formula, shapes, file and source of every function in `FUNCTIONS`."""
    return {name: _describe(name, entry) for name, entry in FUNCTIONS.items()}


def _describe(name: str, entry: Entry) -> dict[str, Any]:
    function = inspect.unwrap(getattr(import_module(f"npwhisper.{entry.home}"), name))
    file = Path(inspect.getfile(function)).parts
    where = "/".join(file[len(file) - file[::-1].index("npwhisper") - 1 :])
    line = inspect.getsourcelines(function)[1]
    doc = (inspect.getdoc(function) or "").split("\n\n")[0].replace("\n", " ")
    return {
        "formula": entry.formula,
        "shapes": entry.shapes,
        "file": f"{where}, line {line}",
        "says": doc,
        "source": inspect.getsource(function),
    }
