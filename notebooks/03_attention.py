# %% [markdown]
# # 03 · Attention: how positions exchange information
#
# **What you will build** · Attention from its formula: scores, softmax, weighted mean; then with
# several heads and with a mask. You also plot the attention weights of a real speech model and see
# what its heads do.
#
# **What you need** · Notebook 02: linear layers.
#
# **Which file this explains** · `attend`, `scores`, `softmax`, `causal_mask`, `split_heads` in
# `npwhisper/model/`, as well as `self_attention` and `cross_attention`

# %% jupyter={"source_hidden": true} tags=["install"]
# On Colab, install the package; elsewhere this cell does nothing.
import importlib.util
import subprocess
import sys

if "google.colab" in sys.modules and importlib.util.find_spec("npwhisper") is None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "npwhisper[notebooks]"]
    subprocess.run(command, check=True)

# %%
import math

import matplotlib.pyplot as plt
import numpy as np

import npwhisper
from npwhisper.lab import notebooks
from npwhisper.model import layers, self_attention

notebooks.use_style()
model = npwhisper.load_model()
samples = npwhisper.load_audio(npwhisper.example())
n_sound = len(samples) // 320  # positions of 20 ms that are sound, not padding
mel = npwhisper.log_mel_spectrogram(npwhisper.pad_or_trim(samples), model.dims.n_mels)

# %% [markdown]
# ## A soft dictionary lookup
#
# A Python dictionary finds the one key that equals the query, and returns its value. Attention
# measures *how well* the query matches each key, and returns a weighted mean of all values. Queries,
# keys and values are vectors of K numbers. The match is an inner product, the *score*. *Softmax* turns the
# scores into weights: it exponentiates them and divides by the sum, so they are positive and add up to 1.
#
# $$ \mathrm{attend}(q, k, v) = \mathrm{softmax}\!\left(\frac{q\, k^\top}{\sqrt K}\right) v $$
#
# Here is an example with three keys in the plane (and without the division by $\sqrt K$). The query
# rotates through a full circle, and the plots show the weight of each key.


# %%
def softmax(x):
    # Without the subtraction, large scores overflow: exp(1000) is infinite.
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


keys = np.array([[1.0, 0.0], [-0.5, 0.9], [-0.5, -0.9]])
angles = np.linspace(0, 2 * np.pi, 200)
queries = np.stack([np.cos(angles), np.sin(angles)], axis=1)

# %% jupyter={"source_hidden": true}
fig, axes = plt.subplots(1, 3, figsize=(8, 2.6), sharey=True)
for ax, sharpness in zip(axes, (1, 4, 20), strict=True):
    weights = softmax(sharpness * queries @ keys.T)
    for i, style in enumerate(("-", "--", ":")):
        ax.plot(np.degrees(angles), weights[:, i], style, label=f"key {i}")
    ax.set(
        title=f"query of length {sharpness}",
        xlabel="angle of the query (°)",
        xticks=[0, 120, 240, 360],
    )
axes[0].set_ylabel("attention weight")
axes[0].legend(fontsize="small", loc="upper center")
plt.show()

# %% [markdown]
# With a long query, one key gets nearly all the weight, as in a dictionary. With a short query, the
# result is closer to an average. The network learns the layers that compute queries and keys, so it
# can learn either behaviour.

# %% tags=["claim"]
top = [np.median(softmax(sharpness * queries @ keys.T).max(axis=1)) for sharpness in (1, 20)]
assert top[0] < 0.75 < 0.99 < top[1], top

# %% [markdown]
# ## Why divide by the root of K?
#
# The inner product of two vectors of K independent standard normal numbers has standard deviation $\sqrt K$. So
# without the division, scores grow with K, and in an untrained network a single key gets most of the weight.
# Such a softmax hardly reacts to small changes of the scores: its gradient is close to zero, and training makes
# little progress. The plot shows the largest of 50 weights, for random queries and keys.

# %%
rng = np.random.default_rng(0)

# %% jupyter={"source_hidden": true}
fig, ax = plt.subplots(figsize=(8, 2.6))
widths = [2, 4, 8, 16, 32, 64, 128]
for scaled, style in ((False, "o--"), (True, "s-")):
    largest = []
    for width in widths:
        q, k = rng.standard_normal((200, 1, width)), rng.standard_normal((200, 50, width))
        scores = (q @ k.swapaxes(1, 2)) / (math.sqrt(width) if scaled else 1)
        largest.append(softmax(scores).max(axis=-1).mean())
    ax.plot(widths, largest, style, label="divided by √K" if scaled else "not divided")
ax.set(
    xscale="log",
    xticks=widths,
    xticklabels=widths,
    xlabel="width K",
    ylabel="largest weight of 50",
    ylim=(0, 1),
)
ax.minorticks_off()
ax.legend()
plt.show()

# %% tags=["claim"]
assert largest[-1] < 0.2, "divided by the root of K, no weight dominates"
assert softmax(q @ k.swapaxes(1, 2)).max(axis=-1).mean() > 0.7, "not divided, one does"

# %% [markdown]
# ## Heads
#
# One attention computes one weighted mean per query. Whisper computes several in parallel: the D
# features are cut into H *heads* of K = D / H features, and each head attends separately. `einsum`
# names the axes: b batch, h head, t position of the query, s position of the key, k feature.


# %%
def attend(q, k, v, mask=None):
    scores = np.einsum("bhtk,bhsk->bhts", q, k) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores + mask
    return np.einsum("bhts,bhsk->bhtk", softmax(scores), v)


def split_heads(x, n_head):
    batch, length, width = x.shape
    return x.reshape(batch, length, n_head, width // n_head).transpose(0, 2, 1, 3)


q, k, v = (rng.standard_normal((2, 3, n, 8)).astype(np.float32) for n in (5, 7, 7))
assert np.allclose(attend(q, k, v), layers.attend(q, k, v), atol=1e-5)
print(
    f"queries {q.shape}, keys {k.shape} -> scores {(*q.shape[:3], k.shape[2])} -> output {attend(q, k, v).shape}"
)

# %% [markdown]
# ## Self-attention
#
# Three linear layers compute the queries, keys and values. In *self-attention* all three have the same
# input, so each position attends to the positions of its own sequence. A fourth linear layer combines the outputs
# of the heads. (The layer for the keys has no bias: a bias would add the same number to all scores of a
# query, which does not change the softmax.)


# %%
def my_self_attention(x, w, n_head, mask=None):
    q, k, v = (split_heads(layers.linear(x, w[name]), n_head) for name in ("query", "key", "value"))
    y = attend(q, k, v, mask)
    merged = y.transpose(0, 2, 1, 3).reshape(x.shape)
    return layers.linear(merged, w["out"])


# %% [markdown]
# ## Self-attention in the encoder
#
# What do the heads of a trained network attend to? The next plot shows the attention weights of the
# encoder for our recording, one picture per head. Each row is a query position, each column a
# key position. Only the 11 seconds of sound are shown; the rest of the window is padding. The square root
# of the weights is plotted, so that small weights are visible.

# %%
with npwhisper.trace("encoder.blocks.*.attn.softmax", "encoder.blocks.0.attn*") as acts:
    features = model.embed_audio(mel)

d = model.dims
n_rows, n_columns = min(d.n_audio_layer, 4), min(d.n_audio_head, 6)
blocks = np.linspace(0, d.n_audio_layer - 1, n_rows).round().astype(int)

# %% jupyter={"source_hidden": true}
fig, axes = plt.subplots(
    n_rows, n_columns, figsize=(10, 1.8 * n_rows), sharex=True, sharey=True, squeeze=False
)
for row, block in zip(axes, blocks, strict=True):
    for head, ax in enumerate(row):
        weights = acts[f"encoder.blocks.{block}.attn.softmax"][0, head, :n_sound, :n_sound]
        ax.imshow(
            np.sqrt(weights),
            extent=(0, n_sound / 50, n_sound / 50, 0),
            origin="upper",
            aspect="equal",
        )
        ax.set_title(f"block {block}, head {head}", fontsize="small")
for ax in axes[-1]:
    ax.set_xlabel("key: time (s)")
for row in axes:
    row[0].set_ylabel("query: time (s)")
plt.show()

# %% [markdown]
# Two kinds of heads appear from the first block on. In a picture with a thin bright diagonal, each position
# attends to its immediate neighbourhood. In a checkerboard, the content matters more than the distance: in
# block 0, head 3, speech attends mostly to speech and pauses mostly to pauses, even if they are seconds apart.
# Some heads (block 3, head 5) have short diagonals away from the main one. They connect moments with the same
# sound: "can do for" and "your country" are each said twice.

# %% tags=["claim"]
loudness = mel[:, : 2 * n_sound].mean(axis=0).reshape(-1, 2).mean(axis=1)
pause = loudness < np.quantile(loudness, 0.35)
apart = np.abs(np.subtract.outer(np.arange(n_sound), np.arange(n_sound))) > 50  # a second
board = acts["encoder.blocks.0.attn.softmax"][0, 3, :n_sound, :n_sound] * apart
board = board / board.sum(axis=1, keepdims=True)
assert board[pause][:, pause].sum(axis=1).mean() > 0.6, "pauses attend to pauses"
assert board[~pause][:, ~pause].sum(axis=1).mean() > 0.8, "speech attends to speech"
last = np.array(acts["encoder.blocks.3.attn.softmax"][0, 5, :n_sound, :n_sound])
far = np.where(np.tri(n_sound, k=-75, dtype=bool), last, 0)  # more than 1.5 seconds before
for spoken, (begin, end), lag in (
    ("can do for", (9.3, 9.9), 2.7),
    ("your country", (9.95, 10.5), 4.1),
):
    rows = np.arange(int(50 * begin), int(50 * end))
    looked_at = far[rows].argmax(axis=1)[far[rows].max(axis=1) > 0.05]
    lags = (rows[far[rows].max(axis=1) > 0.05] - looked_at) / 50
    assert len(lags) >= 5, spoken
    assert abs(np.median(lags) - lag) < 0.3, (spoken, lags)

# %% [markdown]
# How far apart are query and key? For each head, the next plot shows their mean distance, weighted by
# the attention weights.

# %%
positions = np.arange(n_sound) / 50
distance = np.abs(positions[:, None] - positions)

# %% jupyter={"source_hidden": true}
fig, ax = plt.subplots(figsize=(8, 2.6))
reach = np.empty((d.n_audio_layer, d.n_audio_head))
for block in range(d.n_audio_layer):
    weights = acts[f"encoder.blocks.{block}.attn.softmax"][0, :, :n_sound, :n_sound]
    reach[block] = (weights * distance).sum(axis=(1, 2)) / weights.sum(axis=(1, 2))
    ax.plot(np.full(d.n_audio_head, block), reach[block], "o")
ax.set(
    xlabel="encoder block",
    ylabel="mean distance (s)",
    xticks=range(d.n_audio_layer),
    ylim=(0, None),
)
plt.show()

# %% [markdown]
# Every block has heads with a mean distance below 0.5 seconds and heads with a mean distance of 2 to 3.6
# seconds.

# %% tags=["claim"]
assert (reach.min(axis=1) < 0.5).all()
assert ((reach.max(axis=1) > 2) & (reach.max(axis=1) < 3.6)).all()

# %% [markdown]
# ## The causal mask: no attention to later positions
#
# The decoder produces text from left to right, so a position must not attend to later ones. A *causal mask*
# ensures this: it adds minus infinity to the scores of later positions, and their weights become exactly
# zero. Next you plot the self-attention of the first three heads of the decoder, for the tokens of our sentence.

# %%
mask = layers.causal_mask(6, 6)
assert np.array_equal(mask == 0, np.tri(6, dtype=bool))

tokenizer = model.tokenizer
text = npwhisper.decode(model, features[0], without_timestamps=True)
tokens = np.array([[*tokenizer.sot_sequence_including_notimestamps, *text.tokens]])
names = [tokenizer.encoding.decode([token]) for token in tokens[0]]
with npwhisper.trace("decoder.blocks.*.softmax") as acts_text:
    model.logits(tokens, features)

weights = acts_text["decoder.blocks.0.attn.softmax"][0]
n_shown = min(len(weights), 3)

# %% jupyter={"source_hidden": true}
fig, axes = plt.subplots(1, n_shown, figsize=(11, 4.6), sharey=True, squeeze=False)
for head, ax in enumerate(axes[0]):
    ax.imshow(weights[head], origin="upper", aspect="equal", vmin=0, vmax=1)
    ax.set_xticks(range(len(names)), names, rotation=90, fontsize="x-small")
    ax.set(title=f"block 0, head {head}", xlabel="key")
axes[0, 0].set_yticks(range(len(names)), names, fontsize="x-small")
axes[0, 0].set_ylabel("query")
plt.show()

# %%
assert np.array_equal(weights, np.tril(weights)), "a position attends to a later one"

# %% [markdown]
# Above the diagonal all weights are zero. In the first head nearly every text token attends almost only to itself, in
# the third head to the token before. The middle head finds repetitions: in the second half of the sentence, "ask",
# "what", "do", "for", "your" and "country" each attend to the earlier occurrence of the same word.

# %% tags=["claim"]
assert np.median(np.diag(weights[0])) > 0.9
assert (weights[0][2:].argmax(axis=1) == np.arange(2, len(names))).mean() > 0.9
assert np.median(np.diag(weights[2], k=-1)) > 0.9
assert (weights[2][3:].argmax(axis=1) == np.arange(2, len(names) - 1)).mean() > 0.9
for word in (" ask", " what", " do", " for", " your", " country"):
    before, again = (i for i, name in enumerate(names) if name == word)
    assert weights[1][again, before] > 0.4, word

# %% [markdown]
# ## Cross-attention: from the text to the sound
#
# In *cross-attention* the queries come from the text, and the keys and values from the output of the encoder.
# This is the only way in which the sound enters the decoder. The next plot shows all heads for our sentence. Each
# row is one step and is labelled with the token that the step predicts.

# %%
n_rows, n_columns = min(d.n_text_layer, 4), min(d.n_text_head, 6)
blocks = np.linspace(0, d.n_text_layer - 1, n_rows).round().astype(int)
first = len(tokenizer.sot_sequence_including_notimestamps) - 1  # predicts the first text token
predicted = [*names[first + 1 :], "(end)"]

# %% jupyter={"source_hidden": true}
fig, axes = plt.subplots(
    n_rows, n_columns, figsize=(10, 3 * n_rows), sharex=True, sharey=True, squeeze=False
)
for row, block in zip(axes, blocks, strict=True):
    for head, ax in enumerate(row):
        weights = acts_text[f"decoder.blocks.{block}.cross_attn.softmax"].reshape(
            d.n_text_head, len(names), -1
        )[head, first:, :n_sound]
        ax.imshow(np.sqrt(weights), extent=(0, n_sound / 50, len(predicted), 0), origin="upper")
        star = " *" if (block, head) in model.alignment_heads else ""
        ax.set_title(f"block {block}, head {head}{star}", fontsize="small")
for ax in axes[-1]:
    ax.set_xlabel("time (s)")
for row in axes:
    row[0].set_yticks(np.arange(0, len(predicted), 2) + 0.5, predicted[::2], fontsize=8)
    row[0].set_ylabel("predicted token")
plt.show()

# %% [markdown]
# In many heads the weights form a path from the upper left to the lower right: these heads follow the speech.
# Where the path jumps to the right, Kennedy pauses. The star marks the heads that OpenAI selected for
# word times (notebook 07). They attend roughly to the moment at which the predicted word is spoken. Some heads without
# a star follow the speech as well. Two of them (block 1, head 2 and block 2, head 4) attend to the word
# before, which is the input of the step. Most heads of the first block spread their weights over the whole recording.


# %% tags=["claim"]
def follows(block, head):
    """Correlation between the order of the steps and the times with the largest weights."""
    attention = acts_text[f"decoder.blocks.{block}.cross_attn.softmax"].reshape(
        d.n_text_head, len(names), -1
    )
    moments = attention[head, first:, :n_sound].argmax(axis=1)
    return np.corrcoef(moments, np.arange(len(moments)))[0, 1] if np.ptp(moments) else 0.0


assert all(follows(*pair) > 0.85 for pair in model.alignment_heads)
assert all(
    follows(*pair) > 0.95 and pair not in model.alignment_heads
    for pair in ((1, 2), (1, 5), (2, 1), (2, 4))
)
assert sum(follows(0, head) < 0.6 for head in range(d.n_text_head)) >= 4

timed = model.transcribe(samples, word_timestamps=True)["segments"]
times = np.array([(word["start"], word["end"]) for segment in timed for word in segment["words"]])
word_at = np.array([i for i, name in enumerate(names) if name.startswith(" ")])


def off(block, head, step):
    """Median distance (s) from a word to the time with the largest weight, `step` rows below the word's own."""
    attention = acts_text[f"decoder.blocks.{block}.cross_attn.softmax"].reshape(
        d.n_text_head, len(names), -1
    )
    peaks = attention[head, word_at + step, :n_sound].argmax(axis=1) / 50
    return np.median(np.clip(np.maximum(times[:, 0] - peaks, peaks - times[:, 1]), 0, None))


for pair in model.alignment_heads:  # nearer to the predicted word than to the word before
    assert off(*pair, -1) < 0.2, pair
    assert off(*pair, -1) < off(*pair, 0), pair
for pair in ((1, 2), (2, 4)):  # the other way round
    assert off(*pair, 0) < 0.02 < 0.1 < off(*pair, -1), pair

# %% [markdown]
# ## The equality
#
# Our self-attention equals the library's, with the weights of the encoder's first block and the input
# that this block received:

# %%
block = model.scope["encoder"]["blocks"]["0"]
x = acts["encoder.blocks.0.attn_ln"][:, :300]
mine = my_self_attention(x, block["attn"], d.n_audio_head)
library = self_attention(x, block["attn"], d.n_audio_head)
assert np.allclose(mine, library, atol=1e-4)
print(f"largest difference {np.abs(mine - library).max():.1e}")

# %% [markdown]
# ## Exercises
#
# **1. Attention ignores the order.** Shuffle the positions of `x`. Show that self-attention returns
# the same vectors, shuffled in the same way. Why does the encoder need `positional_embedding`?

# %% tags=["exercise"]
order = np.random.default_rng(1).permutation(x.shape[1])
shuffled = ...  # self-attention of the shuffled positions

# %% jupyter={"source_hidden": true} tags=["check"]
notebooks.exercise(
    shuffled,
    lambda y: np.allclose(y, library[:, order], atol=1e-4),
    "Give `x[:, order]` to `self_attention`.",
)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# order = np.random.default_rng(1).permutation(x.shape[1])
# shuffled = self_attention(x[:, order], block["attn"], d.n_audio_head)
# assert np.allclose(shuffled, library[:, order], atol=1e-4)
# ```
#
# Every position attends to all positions, and a sum does not depend on the order of its terms. Without a
# positional embedding, attention could not distinguish "dog bites man" from "man bites dog".
#
# </details>

# %% [markdown]
# **2. A mask of zeros.** Suppose somebody multiplies the weights of later positions by 0 *after* the softmax,
# instead of adding minus infinity to the scores before. What is wrong? Compute what the weights of each query
# add up to.

# %% tags=["exercise"]
scores = np.random.default_rng(2).standard_normal((6, 6)).astype(np.float32)
sums = ...  # the sum of the weights of each query, if they are multiplied by 0 after the softmax

# %% jupyter={"source_hidden": true} tags=["check"]
notebooks.exercise(sums, lambda s: np.allclose(s, (softmax(scores) * np.tri(6)).sum(axis=1)))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# scores = np.random.default_rng(2).standard_normal((6, 6)).astype(np.float32)
# right = softmax(scores + layers.causal_mask(6, 6))
# wrong = softmax(scores) * np.tri(6)
# assert np.allclose(right.sum(axis=1), 1) and not np.allclose(wrong.sum(axis=1), 1)
# sums = wrong.sum(axis=1)
# ```
#
# Later positions no longer contribute, but they still took their share in the softmax. The remaining
# weights add up to less than 1, and for the first positions to much less.
#
# </details>

# %% [markdown]
# **3. What does attention cost?** Count the multiplications in `attend` for H heads, T queries and S keys of
# width K, with D = H K. For which S does attention cost as much as the mlp (8 D² multiplications per
# position)?

# %% tags=["exercise"]
ratio = ...  # multiplications in attention / multiplications in the mlp, for this encoder

# %% jupyter={"source_hidden": true} tags=["check"]
notebooks.exercise(ratio, lambda r: np.isclose(r, d.n_audio_ctx / (4 * d.n_audio_state), rtol=0.01))

# %% [markdown]
# <details><summary>Solution</summary>
#
# The scores take H T S K multiplications and the weighted means as many, together 2 T S D. That is 2 S D per
# position, which equals 8 D² if S = 4 D.
#
# ```python
# print(f"this encoder: S = {d.n_audio_ctx}, 4 D = {4 * d.n_audio_state}")
# print(f"attention / mlp = {2 * d.n_audio_ctx * d.n_audio_state / (8 * d.n_audio_state**2):.2f}")
# ratio = 2 * d.n_audio_ctx * d.n_audio_state / (8 * d.n_audio_state**2)
# ```
#
# S is 1500 in every model, so the ratio 1500 / (4 D) falls as models get wider. In `tiny`, attention costs
# about as much as the mlp; in `large` (D = 1280), 0.29 of it.
#
# </details>

# %% tags=["claim"]
assert round(d.n_audio_ctx / (4 * d.n_audio_state), 2) == 0.98
assert round(1500 / (4 * 1280), 2) == 0.29
