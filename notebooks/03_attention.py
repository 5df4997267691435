# %% [markdown]
# # 03 · Attention: how positions look at each other
#
# **What you will build** · Attention from its definition: scores, softmax, weighted mean; then
# with a mask, then with many heads. Then you look at what it does in a real network for speech.
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
n_heard = len(samples) // 320  # positions of 20 ms that are sound and not padding
mel = npwhisper.log_mel_spectrogram(npwhisper.pad_or_trim(samples), model.dims.n_mels)

# %% [markdown]
# ## A dictionary that is never quite sure
#
# A Python dictionary finds the one key that equals the query, and returns its value. Attention
# asks *how well* the query matches each key, and returns a mixture of all values. Queries, keys
# and values are vectors; a match is an inner product.
#
# $$ \mathrm{attend}(q, k, v) = \mathrm{softmax}\!\left(\frac{q\, k^\top}{\sqrt K}\right) v $$
#
# Here is one with three keys in the plane. The query is turned through a circle: watch the answer.


# %%
def softmax(x):
    powers = np.exp(x - x.max(axis=-1, keepdims=True))  # exp(1000) would be infinite
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
# A long query makes it a dictionary, a short one an average. The network can choose the length.

# %% tags=["claim"]
top = [np.median(softmax(sharpness * queries @ keys.T).max(axis=1)) for sharpness in (1, 20)]
assert top[0] < 0.75 < 0.99 < top[1], top

# %% [markdown]
# ## Why divide by the root of K?
#
# The inner product of two random vectors of K numbers has standard deviation $\sqrt K$. Without
# the division, long vectors would make every softmax all-or-nothing from the start, and then
# nothing can be learned.

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
# One attention gives one answer. Whisper asks several questions at once: the D features are cut
# into H *heads* of K = D / H features, each of which attends by itself. With `einsum` the whole
# thing is its own documentation: b batch, h head, t position that asks, s position that is asked,
# k feature.


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
    f"queries {q.shape}, keys {k.shape} -> scores {(*q.shape[:3], k.shape[2])} -> answers {attend(q, k, v).shape}"
)

# %% [markdown]
# ## Self-attention
#
# Where do queries, keys and values come from? From three linear layers. In *self-attention* all
# three see the same positions. A fourth linear layer mixes the answers of the heads. (The keys
# have no bias: it would add the same to all scores of a query, and softmax does not care.)


# %%
def my_self_attention(x, w, n_head, mask=None):
    q, k, v = (split_heads(layers.linear(x, w[name]), n_head) for name in ("query", "key", "value"))
    answers = attend(q, k, v, mask)
    merged = answers.transpose(0, 2, 1, 3).reshape(x.shape)
    return layers.linear(merged, w["out"])


# %% [markdown]
# ## Looking at a network that listens
#
# The encoder's self-attention, traced while it encodes our sentence. Each row of a picture is a
# position that asks, each column a position that it looks at. Only the part with sound is shown;
# the rest of the 30 seconds is padding.

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
        weights = acts[f"encoder.blocks.{block}.attn.softmax"][0, head, :n_heard, :n_heard]
        ax.imshow(
            np.sqrt(weights),
            extent=(0, n_heard / 50, n_heard / 50, 0),
            origin="upper",
            aspect="equal",
        )
        ax.set_title(f"block {block}, head {head}", fontsize="small")
for ax in axes[-1]:
    ax.set_xlabel("looked at (s)")
for row in axes:
    row[0].set_ylabel("looking (s)")
plt.show()

# %% [markdown]
# Two kinds of heads are there from the first block on. A thin bright diagonal is a head that looks at
# its immediate neighbourhood. A checkerboard is a head for which *what* counts, not where: pauses
# look at pauses, and speech at speech, however far away. In some heads (block 3, head 5) there are short
# diagonals beside the main one: they join moments that sound alike, for "can do for" and "your
# country" are said twice. (The root of the weights is shown, so that faint ones are visible too.)

# %% tags=["claim"]
last = np.array(acts["encoder.blocks.3.attn.softmax"][0, 5, :n_heard, :n_heard])
far = np.where(np.tri(n_heard, k=-75, dtype=bool), last, 0)  # more than 1.5 seconds before
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
# How far does each head look? The mean distance between looking and looked at:

# %%
positions = np.arange(n_heard) / 50
distance = np.abs(positions[:, None] - positions)

# %% jupyter={"source_hidden": true}
fig, ax = plt.subplots(figsize=(8, 2.6))
reach = np.empty((d.n_audio_layer, d.n_audio_head))
for block in range(d.n_audio_layer):
    weights = acts[f"encoder.blocks.{block}.attn.softmax"][0, :, :n_heard, :n_heard]
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
# In every block some heads look less than half a second away, and others two or three seconds.

# %% tags=["claim"]
assert (reach.min(axis=1) < 0.5).all()
assert ((reach.max(axis=1) > 2) & (reach.max(axis=1) < 3.6)).all()

# %% [markdown]
# ## A mask: do not look into the future
#
# The decoder writes from left to right, so a position must not see later ones. That is done by
# adding minus infinity to their scores: their share of the softmax is then exactly zero.

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
    ax.set(title=f"block 0, head {head}", xlabel="looked at")
axes[0, 0].set_yticks(range(len(names)), names, fontsize="x-small")
plt.show()

# %%
assert np.array_equal(weights, np.tril(weights)), "nobody looks to the right"

# %% [markdown]
# The first and the third head look at the token itself and almost nowhere else. The one in the middle finds
# repetitions: in the second half of the sentence "ask", "what", "do", "for", "your" and "country" each
# look back at the earlier occurrence of the same word.

# %% tags=["claim"]
assert np.median(np.diag(weights[0])) > 0.9
to_itself = weights[2][2:].argmax(axis=1)
assert (weights[0][2:].argmax(axis=1) == np.arange(2, len(names))).mean() > 0.9
for word in (" ask", " what", " do", " for", " your", " country"):
    before, again = (i for i, name in enumerate(names) if name == word)
    assert weights[1][again, before] > 0.4, word

# %% [markdown]
# ## Cross-attention: the text looks at the sound
#
# In *cross-attention* the queries come from the text and the keys and values from the encoder. It
# is the only place where the sound enters the decoder. The heads of its blocks, for the tokens of
# our sentence:

# %%
n_rows, n_columns = min(d.n_text_layer, 4), min(d.n_text_head, 6)
blocks = np.linspace(0, d.n_text_layer - 1, n_rows).round().astype(int)

# %% jupyter={"source_hidden": true}
fig, axes = plt.subplots(
    n_rows, n_columns, figsize=(10, 3 * n_rows), sharex=True, sharey=True, squeeze=False
)
for row, block in zip(axes, blocks, strict=True):
    for head, ax in enumerate(row):
        weights = acts_text[f"decoder.blocks.{block}.cross_attn.softmax"].reshape(
            d.n_text_head, len(names), -1
        )[head]
        ax.imshow(
            np.sqrt(weights[:, :n_heard]), extent=(0, n_heard / 50, len(names), 0), origin="upper"
        )
        star = " *" if (block, head) in model.alignment_heads else ""
        ax.set_title(f"block {block}, head {head}{star}", fontsize="small")
for ax in axes[-1]:
    ax.set_xlabel("time (s)")
for row in axes:
    row[0].set_yticks(np.arange(0, len(names), 2) + 0.5, names[::2], fontsize=8)
plt.show()

# %% [markdown]
# Staircases from the upper left to the lower right are heads that follow the speaker: while a
# word is written, they look at the moment at which it was said. The flat parts of the stairs are
# Kennedy's pauses. The heads with a star are those that OpenAI chose for word times (notebook 07); some
# without a star follow the speech as well. In the first block most heads look everywhere, or nowhere in
# particular.

# %% tags=["claim"]
n_given = 2  # the tokens before the text


def follows(block, head):
    """Correlation between the order of the tokens and the moments they look at most."""
    listened = acts_text[f"decoder.blocks.{block}.cross_attn.softmax"].reshape(
        d.n_text_head, len(names), -1
    )
    moments = listened[head, n_given:, :n_heard].argmax(axis=1)
    return np.corrcoef(moments, np.arange(len(moments)))[0, 1] if np.ptp(moments) else 0.0


assert all(follows(*pair) > 0.85 for pair in model.alignment_heads)
assert all(
    follows(*pair) > 0.95 and pair not in model.alignment_heads
    for pair in ((1, 2), (1, 5), (2, 1), (2, 4))
)
assert sum(follows(0, head) < 0.6 for head in range(d.n_text_head)) >= 4

# %% [markdown]
# ## The equality
#
# Our self-attention, with the real weights of the encoder's first block, on the input that block
# received:

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
# **1. Attention does not know about order.** Shuffle the positions of `x`. Show that the result of
# self-attention is the same, shuffled. Why does the encoder need `positional_embedding`?

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
# Every position asks every other one, and the sum over them has no order. Without positions added
# at the beginning, "dog bites man" would be the same as "man bites dog".
#
# </details>

# %% [markdown]
# **2. A mask of zeros.** Somebody multiplies the weights *after* softmax with 0 for the future,
# instead of adding minus infinity before. What is wrong? Check that the weights of a query add up
# to one.

# %% tags=["exercise"]
scores = np.random.default_rng(2).standard_normal((6, 6)).astype(np.float32)
sums = ...  # what the weights of each query add up to if they are multiplied after softmax

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
# The future is not mixed in, but it still takes its share of the weights away: early positions get
# nearly nothing.
#
# </details>

# %% [markdown]
# **3. What does a query cost?** Count the multiplications of `attend` for H heads, T queries and S
# keys of width K. At which length does attention cost as much as the mlp (8 D² per position), if D
# = H K?

# %% tags=["exercise"]
ratio = ...  # multiplications of attention / multiplications of the mlp, in this encoder

# %% jupyter={"source_hidden": true} tags=["check"]
notebooks.exercise(ratio, lambda r: np.isclose(r, d.n_audio_ctx / (4 * d.n_audio_state), rtol=0.01))

# %% [markdown]
# <details><summary>Solution</summary>
#
# Scores: H T S K; weighted mean: H T S K; together 2 T S D. Per position 2 S D, which equals 8 D²
# at S = 4 D.
#
# ```python
# print(f"this encoder: S = {d.n_audio_ctx}, 4 D = {4 * d.n_audio_state}")
# print(f"attention / mlp = {2 * d.n_audio_ctx * d.n_audio_state / (8 * d.n_audio_state**2):.2f}")
# ratio = 2 * d.n_audio_ctx * d.n_audio_state / (8 * d.n_audio_state**2)
# ```
#
# Small models spend their time in attention, large ones in the mlp.
#
# </details>
