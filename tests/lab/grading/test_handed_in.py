"""Whole assignments, solved as the hand-outs say, with what the library may lend: all points, on several seeds."""

from __future__ import annotations

from pathlib import Path

import pytest

from npwhisper.lab.exercises import EXERCISES
from npwhisper.lab.grading.grader import Grader

A1 = """
import math
import numpy as np
from npwhisper import check

def linear(x, w):
    y = x @ w["weight"].T
    return y + w["bias"] if "bias" in w else y

def embedding(tokens, w): return w["weight"][tokens]

erf = np.vectorize(math.erf, otypes=[np.float32])
def gelu(x): return (x / 2 * (1 + erf(x / math.sqrt(2)))).astype(np.float32)

def layer_norm(x, w, eps=1e-5):
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + eps) * w["weight"] + w["bias"]

softmax = lambda x: np.exp(log_softmax(x))

def log_softmax(x):
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))

def conv1d(x, w, stride=1):
    padded, n = np.pad(x, ((0, 0), (0, 0), (1, 1))), x.shape[2]
    return sum(w["weight"][:, :, j] @ padded[:, :, j : j + n : stride] for j in range(3)) + w["bias"][:, None]

def sinusoids(length, channels):
    rates = 10000.0 ** (-np.arange(channels // 2) / (channels // 2 - 1))
    angles = np.arange(length)[:, None] * rates
    return np.hstack([np.sin(angles), np.cos(angles)]).astype(np.float32)

check(linear)
check(softmax, "softmax").assert_passed()
"""
A2 = """
import math
import numpy as np
from npwhisper import model
from npwhisper.model import layers
from npwhisper.model.layers import linear, layer_norm

def split_heads(x, n_head): return x.reshape(*x.shape[:2], n_head, -1).transpose(0, 2, 1, 3)
def merge_heads(x): return x.transpose(0, 2, 1, 3).reshape(x.shape[0], x.shape[2], -1)
def causal_mask(n_query, n_key): return np.triu(np.full((n_query, n_key), -np.inf, np.float32), 1 + n_key - n_query)
def scores(q, k): return q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1])

def attend(q, k, v, mask=None):
    return model.softmax(scores(q, k) if mask is None else scores(q, k) + mask) @ v

def self_attention(x, w, n_head, cache=None):
    q, k, v = (split_heads(linear(x, w[name]), n_head) for name in ("query", "key", "value"))
    mask = None
    if cache is not None:
        k, v = cache.append(k, v)
        mask = causal_mask(q.shape[2], k.shape[2])
    return linear(merge_heads(attend(q, k, v, mask)), w["out"])

def cross_attention(x, w, n_head, audio):
    k, v = (np.repeat(a, len(x) // len(a), axis=0) for a in audio)
    return linear(merge_heads(attend(split_heads(linear(x, w["query"]), n_head), k, v)), w["out"])

def mlp(x, w): return linear(layers.gelu(linear(x, w["0"])), w["2"])

def encoder_block(x, w, n_head):
    x = x + self_attention(layer_norm(x, w["attn_ln"]), w["attn"], n_head)
    return x + mlp(layer_norm(x, w["mlp_ln"]), w["mlp"])

def decoder_block(x, w, n_head, cache):
    x = x + self_attention(layer_norm(x, w["attn_ln"]), w["attn"], n_head, cache.text)
    x = x + cross_attention(layer_norm(x, w["cross_attn_ln"]), w["cross_attn"], n_head, cache.audio)
    return x + mlp(layer_norm(x, w["mlp_ln"]), w["mlp"])

def encoder(mel, w, n_head):
    x = layers.gelu(layers.conv1d(mel, w["conv1"]))
    x = layers.gelu(layers.conv1d(x, w["conv2"], stride=2)).swapaxes(1, 2) + w["positional_embedding"]
    for block in w["blocks"].values():
        x = encoder_block(x, block, n_head)
    return layer_norm(x, w["ln_post"])
"""
A3 = """
import numpy as np
from npwhisper.model import layers
from npwhisper.model import network as model
from npwhisper.model.cache import BlockCache, Cache, KeyValues

def append(cache, k, v):
    n = cache.length + k.shape[2]
    cache.k[:, :, cache.length : n], cache.v[:, :, cache.length : n] = k, v
    cache.length = n
    return cache.k[:, :, :n], cache.v[:, :, :n]

def reorder(cache, parents):
    new = KeyValues.empty(len(parents), *cache.k.shape[1:])
    new.append(cache.k[parents][:, :, : cache.length], cache.v[parents][:, :, : cache.length])
    cache.k, cache.v = new.k, new.v

def start_cache(audio_features, w, n_head, capacity):
    blocks, rows = [], len(audio_features)
    for block in w["blocks"].values():
        both = (layers.linear(audio_features, block["cross_attn"][name]) for name in ("key", "value"))
        k, v = (layers.split_heads(x, n_head) for x in both)
        blocks.append(BlockCache(KeyValues.empty(rows, n_head, capacity, k.shape[3]), (k, v)))
    return Cache(tuple(blocks))

def logits(x, weight): return x @ weight.T

def decoder(tokens, w, n_head, cache, at=None):
    start = cache.length
    x = layers.embedding(tokens, w["token_embedding"])
    x = x + w["positional_embedding"][start : start + tokens.shape[1]]
    for block, kept in zip(w["blocks"].values(), cache.blocks):
        x = model.decoder_block(x, block, n_head, kept)
    x = x if at is None else x[:, at]
    return logits(layers.layer_norm(x, w["ln"]), w["token_embedding"]["weight"])
"""
A4 = """
import zlib
import numpy as np
from npwhisper.decoding.search import Hypothesis

def greedy_search(step, tokens, eot, max_tokens):
    rows, sums, new = tokens, np.zeros(len(tokens)), [[] for _ in tokens]
    open_rows = [True] * len(tokens)
    for i in range(max_tokens):
        logprobs = step(rows, None if i == 0 else np.arange(len(rows)))
        best = logprobs.argmax(axis=-1)
        for row in range(len(rows)):
            if open_rows[row]:
                sums[row] += logprobs[row, best[row]]
                open_rows[row] = best[row] != eot
                new[row] += [int(best[row])] if open_rows[row] else []
        rows = np.concatenate([rows, best[:, None]], axis=1)
    return [[Hypothesis(tokens, float(total))] for tokens, total in zip(new, sums)]

def rank(hypotheses, length_penalty=None):
    def score(i):
        n = len(hypotheses[i].tokens)
        return hypotheses[i].sum_logprob / (n if length_penalty is None else ((5 + n) / 6) ** length_penalty)
    return sorted(range(len(hypotheses)), key=score, reverse=True)

def compression_ratio(text):
    return len(text.encode("utf-8")) / len(zlib.compress(text.encode("utf-8")))

def suppress_tokens(logits, sampled, context):
    logits = logits.copy()
    logits[:, context.suppressed] = -np.inf
    return logits
"""
A5 = """
import numpy as np
from npwhisper.model import layers

def standardise(weights):
    std = weights.std(axis=-2, keepdims=True)
    return np.where(std > 0, (weights - weights.mean(axis=-2, keepdims=True)) / np.where(std > 0, std, 1), 0)

def median_filter(x, filter_width):
    half = filter_width // 2
    if x.shape[-1] <= half:
        return x
    x = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(half, half)], mode="reflect")
    return np.median(np.lib.stride_tricks.sliding_window_view(x, filter_width, axis=-1), axis=-1).astype(x.dtype)

def token_map(scores, medfilt_width=7):
    return median_filter(standardise(layers.softmax(scores)), medfilt_width).mean(axis=0)

def hz_to_mel(hz):
    hz = np.asarray(hz, float)
    return np.where(hz < 1000, 3 * hz / 200, 15 + 27 * np.log(np.maximum(hz, 1e-9) / 1000) / np.log(6.4))
"""
HANDED_IN = {"a1": (A1, 8), "a2": (A2, 11), "a3": (A3, 5), "a4": (A4, 4), "a5": (A5, 4)}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [None, 5])
@pytest.mark.parametrize("assignment", HANDED_IN)
def test_honest_work_gets_its_points(tmp_path: Path, assignment: str, seed: int | None) -> None:
    code, count = HANDED_IN[assignment]
    (tmp_path / "alice.py").write_text(code)
    grader = Grader(tmp_path / "alice.py", 10, seed)
    tasks = [task for task in grader.tasks if EXERCISES[task].assignment == assignment]
    assert len(tasks) == count
    verdicts = {task: grader.grade(task) for task in tasks}
    assert {task: v.report for task, v in verdicts.items() if v.status != "right"} == {}
