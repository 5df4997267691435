# %% [markdown]
# # 04 · The KV cache: do not compute the same thing twice
#
# **What you will build** · A memory for attention, in three lines; and a measurement of what a
# decoder costs without it. Then you use the library's cache: cut a text anywhere,
# reorder its rows, and see that nothing changes.
#
# **What you need** · Notebook 03: attention, masks.
#
# **Which file this explains** · `npwhisper/model/cache.py`, and `start_cache` in
# `npwhisper/model/network.py`

# %% jupyter={"source_hidden": true} tags=["install"]
# On Colab, install the package; elsewhere this cell does nothing.
import importlib.util
import subprocess
import sys

if "google.colab" in sys.modules and importlib.util.find_spec("npwhisper") is None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "npwhisper[notebooks]"]
    subprocess.run(command, check=True)

# %%
import time

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap

import npwhisper
from npwhisper.lab import notebooks
from npwhisper.model import layers
from npwhisper.model.cache import BlockCache, Cache, KeyValues

notebooks.use_style()
model = npwhisper.load_model()
d = model.dims
mel = npwhisper.log_mel_spectrogram(
    npwhisper.pad_or_trim(npwhisper.load_audio(npwhisper.example())), d.n_mels
)
features = model.embed_audio(mel)

# %% [markdown]
# ## What is computed again and again?
#
# The decoder writes one token at a time. To write token 10 it needs keys and values of the tokens
# 0 to 9, and to write token 11 those of 0 to 10. But since no position sees a later one (the
# causal mask), those of 0 to 9 *are the same as before*.

# %%
steps = 12
work = np.tri(steps)
work[np.arange(steps), np.arange(steps)] = 2

# %% jupyter={"source_hidden": true}
fig, ax = plt.subplots(figsize=(8, 3))
ax.imshow(work, origin="upper", aspect="equal", cmap=ListedColormap(["none", "#A2C8EC", "#2E86C9"]))
ax.set(xlabel="position in the text", ylabel="step", xticks=range(steps), yticks=range(steps))
for label, colour in (
    ("computed for the first time", "#2E86C9"),
    ("computed again: the same", "#A2C8EC"),
):
    ax.scatter([], [], marker="s", s=60, color=colour, label=label)
ax.legend(loc="center left", bbox_to_anchor=(1.05, 0.5))
plt.show()

# %%
print(f"{steps} steps: {steps * (steps + 1) // 2} positions without a memory, {steps} with one")

# %% [markdown]
# For the recording it is worse still: every decoder block computes keys and values of all 1500 audio
# positions, which never change while a window is decoded.
#
# ## A memory in three lines
#
# Keep the keys and values that were seen; append the new ones; attend to all. The queries need not
# be kept: a query is asked once.


# %%
def attention_with_memory(x, w, n_head, memory):
    q, k, v = (
        layers.split_heads(layers.linear(x, w[name]), n_head) for name in ("query", "key", "value")
    )
    if memory:
        k, v = np.concatenate([memory["k"], k], axis=2), np.concatenate([memory["v"], v], axis=2)
    memory.update(k=k, v=v)
    mask = layers.causal_mask(q.shape[2], k.shape[2])
    return layers.linear(layers.merge_heads(layers.attend(q, k, v, mask)), w["out"])


w = model.scope["decoder"]["blocks"]["0"]["attn"]
x = np.random.default_rng(0).standard_normal((1, 10, d.n_text_state)).astype(np.float32)

whole = attention_with_memory(x, w, d.n_text_head, {})
memory = {}
one_by_one = [attention_with_memory(x[:, i : i + 1], w, d.n_text_head, memory) for i in range(10)]
assert np.allclose(whole, np.concatenate(one_by_one, axis=1), atol=1e-4)
print("ten positions at once, or one after the other: the same")

# %% [markdown]
# The mask deserves a look. With a memory, the queries are the *last* positions: query i is
# position `n_key - n_query + i`. A mask that forgets this offset is the classic mistake.

# %%
print(layers.causal_mask(2, 5))

# %% [markdown]
# The library's `KeyValues` does the same without concatenating: it makes room for all positions
# once and writes into it, so that appending copies only what is new.

# %%
room = KeyValues.empty(
    batch=1, n_head=d.n_text_head, capacity=d.n_text_ctx, width=d.n_text_state // d.n_text_head
)
for i in range(10):
    k, v = (
        layers.split_heads(layers.linear(x[:, i : i + 1], w[name]), d.n_text_head)
        for name in ("key", "value")
    )
    keys, values = room.append(k, v)
print(
    f"length {room.length} of {room.k.shape[2]}; keys so far {keys.shape}, a view: {np.shares_memory(keys, room.k)}"
)
assert np.allclose(keys, memory["k"], atol=1e-5)

# %% [markdown]
# ## Measured
#
# What does the next token cost, after n tokens? With no memory at all, with the audio remembered,
# and with both.


# %%
def forget_text(cache):
    """The same audio, and nothing written yet."""
    empty = [KeyValues.empty(1, *block.text.k.shape[1:]) for block in cache.blocks]
    return Cache(
        tuple(
            BlockCache(text, block.audio) for text, block in zip(empty, cache.blocks, strict=True)
        )
    )


def milliseconds(step):
    times = []
    for _ in range(7):
        begin = time.perf_counter()
        step()
        times.append(time.perf_counter() - begin)
    return 1000 * min(times)


tokens = np.arange(1000, 1200)[None]
lengths = [1, 10, 25, 50, 100, 150, 200]
cache = model.start_cache(features)
cost = {"no memory": [], "audio remembered": [], "audio and text remembered": []}
for n in lengths:
    cost["no memory"].append(
        milliseconds(lambda n=n: model.decoder(tokens[:, :n], features, at=[-1]))
    )
    audio_only = [forget_text(cache) for _ in range(7)]
    cost["audio remembered"].append(
        milliseconds(
            lambda n=n, left=audio_only: model.decoder(tokens[:, :n], features, left.pop(), at=[-1])
        )
    )
    both = forget_text(cache)
    if n > 1:
        model.decoder(tokens[:, : n - 1], features, both, at=[-1])
    cost["audio and text remembered"].append(
        milliseconds(lambda n=n, both=both: model.decoder(tokens[:, n - 1 : n], features, both))
    )

# %% jupyter={"source_hidden": true}
fig, ax = plt.subplots()
for (label, values), style in zip(cost.items(), ("o-", "s--", "^:"), strict=True):
    ax.plot(lengths, values, style, label=label)
ax.set(xlabel="tokens so far", ylabel="time for one more (ms)", ylim=(0, None))
ax.legend()
plt.show()

# %%
factor = cost["no memory"][-1] / cost["audio and text remembered"][-1]
print(f"after {lengths[-1]} tokens the memory makes a step {factor:.0f} times faster")

# %% [markdown]
# With both, a step costs almost the same at the beginning and at the end. More than half of what remains is
# the comparison with all tokens of the vocabulary.

# %% tags=["claim"]
# In operations counted, for seconds depend on what else the machine does.


def operations(step):
    with npwhisper.profile() as profile:
        step()
    costs = profile.folded()
    leaves = [name for name in costs if not any(other.startswith(f"{name}.") for other in costs)]
    return {name: costs[name].flops for name in leaves}


after_1, after_200 = forget_text(cache), forget_text(cache)
model.decoder(tokens[:, :199], features, after_200, at=[-1])
without = operations(lambda: model.decoder(tokens, features, at=[-1]))
with_both = [
    operations(lambda c=c: model.decoder(tokens[:, -1:], features, c)) for c in (after_1, after_200)
]
assert sum(with_both[1].values()) < 1.1 * sum(with_both[0].values())
assert with_both[1]["decoder.logits"] > 0.5 * sum(with_both[1].values())
assert sum(without.values()) > 10 * sum(with_both[1].values())

# %% [markdown]
# ## What it costs: memory
#
# Two arrays (keys and values) of D float32 numbers for each position and block. Computed for this
# model, and for the official sizes:

# %%
sizes = {"this model": (d.n_text_layer, d.n_text_state)}
sizes |= {
    "tiny": (4, 384),
    "base": (6, 512),
    "small": (12, 768),
    "medium": (24, 1024),
    "large": (32, 1280),
}
per_position = np.array([2 * 4 * layer * width / 1e6 for layer, width in sizes.values()])  # MB
audio, text = 1500 * per_position, 448 * per_position

# %% jupyter={"source_hidden": true}
fig, ax = plt.subplots(figsize=(8, 2.6))
ax.barh(list(sizes), audio, label="audio (1500 positions)")
ax.barh(list(sizes), text, left=audio, label="text (448 positions)")
ax.set(xlabel="memory for one window (MB)", ylabel="model")
ax.invert_yaxis()
ax.legend()
plt.show()

# %% [markdown]
# ## Rows that change places
#
# A beam search (notebook 06) keeps several texts at once, one for each row of the cache. When row
# 0 is dropped and row 1 continues in two ways, the memory must follow: `reorder([1, 1])`. The audio is
# the same for all rows and stays.

# %%
sot = model.tokenizer.sot
first = np.array([[sot, 100, 200], [sot, 300, 400]])
cache = model.start_cache(features)
cache.reorder(np.array([0, 0]))  # two rows that have seen nothing yet
model.decoder(first, features, cache)
cache.reorder(np.array([1, 1]))
after = model.decoder(np.array([[500], [600]]), features, cache)[:, -1]

expected = model.logits(
    np.array([[sot, 300, 400, 500], [sot, 300, 400, 600]]), np.repeat(features, 2, axis=0)
)[:, -1]
assert np.allclose(after, expected, atol=1e-3)
print("both rows continue row 1")

# %% [markdown]
# ## The equality
#
# The most valuable property of a cache: *cached equals uncached, for every way of cutting the
# text*. All at once; one by one; and every cut in two.

# %%
given = model.tokenizer.sot_sequence_including_notimestamps
tokens = np.array([[*given, *model.tokenizer.encode(" Ask not what")]])
n = tokens.shape[1]
reference = model.logits(tokens, features)

cuts = [[i] for i in range(1, n)] + [list(range(1, n))]
for cut in cuts:
    cache = model.start_cache(features)
    parts = [model.decoder(part, features, cache) for part in np.split(tokens, cut, axis=1)]
    assert np.allclose(np.concatenate(parts, axis=1), reference, atol=1e-3), cut
print(f"{len(cuts)} ways of cutting {n} tokens: the same logits")

# %% [markdown]
# ## Exercises
#
# **1. Write with the cache.** Write the greedy loop of notebook 00 with a cache: after the first
# step, give the decoder only the one new token. It must end with the same text as `decode`.

# %% tags=["exercise"]
text = ...  # the tokens that your loop wrote

# %% jupyter={"source_hidden": true} tags=["check"]
plain = npwhisper.DecodingOptions(
    without_timestamps=True, suppress_tokens=None, suppress_blank=False, sample_len=100
)
notebooks.exercise(text, lambda t: list(t) == npwhisper.decode(model, features[0], plain).tokens)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# tokenizer, cache, text = model.tokenizer, model.start_cache(features), []
# new = list(tokenizer.sot_sequence_including_notimestamps)
# while len(text) < 100:
#     token = int(model.decoder(np.array([new]), features, cache)[0, -1].argmax())
#     if token == tokenizer.eot:
#         break
#     text.append(token)
#     new = [token]
# plain = npwhisper.DecodingOptions(without_timestamps=True, suppress_tokens=None, suppress_blank=False, sample_len=100)
# assert text == npwhisper.decode(model, features[0], plain).tokens
# ```
#
# </details>

# %% [markdown]
# **2. Where am I?** The position of a new token is the number of tokens in the cache. What would
# the model write if somebody forgot this, and every token stood at position 0? (A dict with a
# changed table is enough: `dict(model.scope["decoder"], positional_embedding=...)`, given to
# `npwhisper.model.decoder`.)

# %% tags=["exercise"]
forgotten = ...  # the table of positions, as a decoder sees it that always stands at position 0

# %% jupyter={"source_hidden": true} tags=["check"]
first = model.scope["decoder"]["positional_embedding"][:1]
notebooks.exercise(
    forgotten, lambda t: np.shape(t) == (d.n_text_ctx, d.n_text_state) and np.allclose(t, first)
)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# from npwhisper.model import decoder
#
# table = model.scope["decoder"]["positional_embedding"]
# lost = dict(model.scope["decoder"], positional_embedding=np.repeat(table[:1], len(table), axis=0))
# cache, new, text = model.start_cache(features), list(model.tokenizer.sot_sequence_including_notimestamps), []
# for _ in range(12):
#     new = [int(decoder(np.array([new]), lost, d.n_text_head, cache)[0, -1].argmax())]
#     text += new
# print(model.tokenizer.decode(text))
# forgotten = lost["positional_embedding"]
# ```
#
# </details>

# %% [markdown]
# **3. How many multiplications are saved?** A decoder block does about 14 D² multiplications for
# each text position (4 D² in self-attention, 2 D² in cross-attention, 8 D² in the mlp) and 2 D²
# for each audio position (its keys and values). How many times less work are 100 tokens with both
# memories than with none? (Leave out the scores and the vocabulary.)

# %% tags=["exercise"]
factor = ...  # how many times less work

# %% jupyter={"source_hidden": true} tags=["check"]
without = sum(14 * n + 2 * 1500 for n in range(1, 101))
notebooks.exercise(factor, lambda f: np.isclose(f, without / (14 * 100 + 2 * 1500), rtol=0.02))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# without = sum(14 * n + 2 * 1500 for n in range(1, 101))
# with_both = 14 * 100 + 2 * 1500
# print(f"{without / with_both:.0f} times")
# factor = without / with_both
# ```
#
# D² and the number of blocks cancel.
#
# </details>
