# ruff: noqa: E731 (a formula a line)
"""Every layer up to `encoder` as a formula in plain NumPy: `check` shows that this is what the package computes."""

import math

import numpy as np
import pytest

from npwhisper import check
from npwhisper.lab.exercises import EXERCISES

erf = np.vectorize(math.erf, otypes=[np.float32])
mean, var, largest, total = (lambda x, f=f: f(x, -1, keepdims=True) for f in (np.mean, np.var, np.max, np.sum))

# Layers: x first, then the slice of torch's state dict
linear = lambda x, w: x @ w["weight"].T + w.get("bias", 0)
pad = lambda x: np.pad(x, ((0, 0), (0, 0), (1, 1)))
tap = lambda x, i, stride: pad(x)[:, :, i : i + x.shape[2] : stride]
conv1d = lambda x, w, stride=1: sum(w["weight"][:, :, i] @ tap(x, i, stride) for i in range(3)) + w["bias"][:, None]
layer_norm = lambda x, w: (x - mean(x)) / np.sqrt(var(x) + 1e-5) * w["weight"] + w["bias"]
embedding = lambda tokens, w: w["weight"][tokens]
gelu = lambda x: x / 2 * (1 + erf(x / 2**0.5))
softmax = lambda x: np.exp(x - largest(x)) / total(np.exp(x - largest(x)))
log_softmax = lambda x: x - largest(x) - np.log(total(np.exp(x - largest(x))))
angles = lambda n, d: np.outer(np.arange(n), 10000.0 ** -np.linspace(0, 1, d // 2))
sinusoids = lambda n, d: np.hstack([np.sin(angles(n, d)), np.cos(angles(n, d))]).astype(np.float32)

# Attention
split_heads = lambda x, n_head: x.reshape(*x.shape[:2], n_head, -1).swapaxes(1, 2)
merge_heads = lambda x: x.swapaxes(1, 2).reshape(len(x), x.shape[2], -1)
causal_mask = lambda t, s: np.where(np.tri(t, s, s - t), 0, -np.inf).astype(np.float32)
scores = lambda q, k: q @ k.swapaxes(2, 3) / q.shape[3] ** 0.5
attend = lambda q, k, v, mask=0: softmax(scores(q, k) + mask) @ v
heads = lambda x, w, n, *names: [split_heads(linear(x, w[name]), n) for name in names]
seen = lambda q, k, v: attend(q, k, v, causal_mask(q.shape[2], k.shape[2]))
to_text = lambda q, k, v, cache: seen(q, *cache.append(k, v)) if cache else attend(q, k, v)
shared = lambda q, x: np.repeat(x, len(q) // len(x), axis=0)  # rows of one window share its audio
to_audio = lambda q, k, v: attend(q, shared(q, k), shared(q, v))
self_attention = lambda x, w, n, cache=None: linear(
    merge_heads(to_text(*heads(x, w, n, "query", "key", "value"), cache)), w["out"]
)
cross_attention = lambda x, w, n, audio: linear(merge_heads(to_audio(*heads(x, w, n, "query"), *audio)), w["out"])

# Blocks and the encoder
mlp = lambda x, w: linear(gelu(linear(x, w["0"])), w["2"])
add_self = lambda x, w, n, cache=None: x + self_attention(layer_norm(x, w["attn_ln"]), w["attn"], n, cache)
add_cross = lambda x, w, n, audio: x + cross_attention(layer_norm(x, w["cross_attn_ln"]), w["cross_attn"], n, audio)
add_mlp = lambda x, w: x + mlp(layer_norm(x, w["mlp_ln"]), w["mlp"])
encoder_block = lambda x, w, n: add_mlp(add_self(x, w, n), w)
decoder_block = lambda x, w, n, cache: add_mlp(add_cross(add_self(x, w, n, cache.text), w, n, cache.audio), w)
frames = lambda mel, w: gelu(conv1d(gelu(conv1d(mel, w["conv1"])), w["conv2"], 2)).swapaxes(1, 2)
stack = lambda x, blocks, n: stack(encoder_block(x, blocks[0], n), blocks[1:], n) if blocks else x
start = lambda mel, w: frames(mel, w) + w["positional_embedding"]
encoder = lambda mel, w, n: layer_norm(stack(start(mel, w), [*w["blocks"].values()], n), w["ln_post"])


@pytest.mark.parametrize("name", [*EXERCISES][: [*EXERCISES].index("encoder") + 1])
def test_check_finds_the_formula_right(name: str) -> None:
    check(globals()[name], name).assert_passed()
