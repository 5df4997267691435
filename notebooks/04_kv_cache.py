# %% [markdown]
# # 04 · The KV cache: compute keys and values only once
#
# **What you will build** · A cache for the keys and values of attention, in three lines, and a
# measurement of what it saves. Then you use the library's cache and check that it never changes the
# result: neither when the text is cut into pieces nor when the rows of a batch are reordered.
#
# **What you need** · Notebook 03: attention, the causal mask.
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
from npwhisper.model.cache import KeyValues

notebooks.use_style()
model = npwhisper.load_model()
d = model.dims
mel = npwhisper.log_mel_spectrogram(
    npwhisper.pad_or_trim(npwhisper.load_audio(npwhisper.example())), d.n_mels
)
features = model.embed_audio(mel)

# %% [markdown]
# ## What is computed repeatedly?
#
# The decoder produces one token at a time. For token 10 it needs the keys and values of tokens 0 to
# 9, for token 11 those of tokens 0 to 10. The causal mask keeps every position from attending to
# later ones, so a new token does not change the positions before it: the keys and values of tokens 0 to 9
# are *the same as in the step before*.

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
    ("computed again, with the same result", "#A2C8EC"),
):
    ax.scatter([], [], marker="s", s=60, color=colour, label=label)
ax.legend(loc="center left", bbox_to_anchor=(1.05, 0.5))
plt.show()

# %%
print(f"{steps} steps: {steps * (steps + 1) // 2} positions without a cache, {steps} with one")

# %% [markdown]
# Cross-attention repeats even more work: in every step, every decoder block computes the keys and values of
# all 1500 audio positions, which do not change while a window is decoded.
#
# ## A cache in three lines
#
# Keep the keys and values of earlier positions, append those of the new positions, and attend to all of them.
# Queries need not be kept, because each query is used only in its own step.


# %%
def attention_with_cache(x, w, n_head, cache):
    q, k, v = (
        layers.split_heads(layers.linear(x, w[name]), n_head) for name in ("query", "key", "value")
    )
    if cache:
        k, v = np.concatenate([cache["k"], k], axis=2), np.concatenate([cache["v"], v], axis=2)
    cache.update(k=k, v=v)
    mask = layers.causal_mask(q.shape[2], k.shape[2])
    return layers.linear(layers.merge_heads(layers.attend(q, k, v, mask)), w["out"])


w = model.scope["decoder"]["blocks"]["0"]["attn"]
x = np.random.default_rng(0).standard_normal((1, 10, d.n_text_state)).astype(np.float32)

whole = attention_with_cache(x, w, d.n_text_head, {})
cache = {}
one_by_one = [attention_with_cache(x[:, i : i + 1], w, d.n_text_head, cache) for i in range(10)]
assert np.allclose(whole, np.concatenate(one_by_one, axis=1), atol=1e-4)
print("ten positions at once and one at a time give the same result")

# %% [markdown]
# The mask needs care. With a cache, the queries are the *last* positions: query i is at position
# `n_key - n_query + i`. It is a common mistake to leave out this offset. For 2 queries and 5 keys
# the right mask is:

# %%
print(layers.causal_mask(2, 5))

# %% [markdown]
# `np.concatenate` copies all earlier keys and values in every step. The library's `KeyValues` avoids
# this: it allocates arrays for all positions once and writes each new position into them.

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
    f"{room.length} of {room.k.shape[2]} positions; keys so far {keys.shape}, a view: {np.shares_memory(keys, room.k)}"
)
assert np.allclose(keys, cache["k"], atol=1e-5)

# %% [markdown]
# ## What the cache saves
#
# How long does the next token take if n tokens are given? Measure it without a cache, with a cache for the
# audio only, and with a cache for audio and text, and take the median of seven rounds. (`emptied` returns a cache
# with the same audio and no text.)


# %%
def milliseconds(tokens, cache=None):
    begin = time.perf_counter()
    model.decoder(tokens, features, cache, at=[-1])
    return 1000 * (time.perf_counter() - begin)


tokens = np.arange(1000, 1200)[None]
lengths = [1, 10, 25, 50, 100, 150, 200]
cache = model.start_cache(features)
times = np.empty((7, len(lengths), 3))  # in rounds, so that a slow moment affects all alike
for in_round in times:
    for i, n in enumerate(lengths):
        audio, both = cache.emptied(), cache.emptied()
        if n > 1:
            model.decoder(tokens[:, : n - 1], features, both, at=[-1])
        in_round[i] = (
            milliseconds(tokens[:, :n]),
            milliseconds(tokens[:, :n], audio),
            milliseconds(tokens[:, n - 1 : n], both),
        )
labels = ("no cache", "audio cached", "audio and text cached")
cost = dict(zip(labels, np.median(times, axis=0).T, strict=True))

# %% jupyter={"source_hidden": true}
fig, ax = plt.subplots()
for (label, values), style in zip(cost.items(), ("o-", "s--", "^:"), strict=True):
    ax.plot(lengths, values, style, label=label)
ax.set(xlabel="tokens so far", ylabel="time for the next token (ms)", ylim=(0, None))
ax.legend()
plt.show()

# %%
factor = cost["no cache"][-1] / cost["audio and text cached"][-1]
print(f"after {lengths[-1]} tokens the cache makes a step {factor:.0f} times faster")

# %% [markdown]
# The times depend on the machine and on what else it does, but not the shape of the curves: with audio and text cached,
# a step takes almost the same time after 200 tokens as after one. More than half of the remaining arithmetic is the
# last layer, which computes a score for every token of the vocabulary.

# %% tags=["claim"]
# Operations are counted, because times depend on what else the machine does.


def operations(step):
    with npwhisper.profile() as profile:
        step()
    costs = profile.folded()
    leaves = [name for name in costs if not any(other.startswith(f"{name}.") for other in costs)]
    return {name: costs[name].flops for name in leaves}


after_1, after_200 = cache.emptied(), cache.emptied()
model.decoder(tokens[:, :199], features, after_200, at=[-1])
without = operations(lambda: model.decoder(tokens, features, at=[-1]))
with_both = [
    operations(lambda c=c: model.decoder(tokens[:, -1:], features, c)) for c in (after_1, after_200)
]
assert sum(with_both[1].values()) < 1.1 * sum(with_both[0].values())
assert with_both[1]["decoder.logits"] > 0.5 * sum(with_both[1].values())
assert sum(without.values()) > 10 * sum(with_both[1].values())

# %% [markdown]
# ## What the cache costs
#
# The cache takes memory: two arrays (keys and values) of D float32 numbers for each position and
# block. The next plot shows it for this model and for the official sizes.

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

# %% tags=["claim"]
assert round(audio[-1] + text[-1]) == 638
assert audio[-1] / (audio[-1] + text[-1]) > 0.75

# %% [markdown]
# For `large` the cache takes 638 MB, more than three quarters of it for the audio.
#
# ## Reorder the rows
#
# Beam search (notebook 06) keeps several candidate texts at once, each in its own row of the cache. If it drops
# row 0 and continues row 1 in two ways, the cache must change in the same way: `reorder([1, 1])`. The keys
# and values of the audio are the same for all rows and stay.

# %%
sot = model.tokenizer.sot
first = np.array([[sot, 100, 200], [sot, 300, 400]])
cache = model.start_cache(features)
cache.reorder(np.array([0, 0]))  # make two rows, still without text
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
# A cache must not change the result, *however the text is cut*. Compare the logits of all tokens at once with
# those of every cut into two pieces, and with those of one token at a time.

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
print(f"{len(cuts)} ways to cut {n} tokens give the same logits")

# %% [markdown]
# ## Exercises
#
# **1. Greedy decoding with a cache.** Write the greedy loop of notebook 00 with a cache: after the
# first step, give the decoder only the new token. The result must equal that of `decode` with the options
# of notebook 00.

# %% tags=["exercise"]
text = ...  # the tokens that your loop chose

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
# **2. A forgotten offset.** The position of a new token is the number of tokens in the cache. Which text does
# the model produce if the code forgets this and gives every new token the position 0? (You need not change the code:
# give `npwhisper.model.decoder` weights with another table of positions,
# `dict(model.scope["decoder"], positional_embedding=...)`.)

# %% tags=["exercise"]
forgotten = ...  # a table of positions in which every position looks like position 0

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
# print(model.tokenizer.encoding.decode(text))
# forgotten = lost["positional_embedding"]
# ```
#
# The model repeats `<|notimestamps|>` and never gets to the text.
#
# </details>

# %% tags=["claim"]
from npwhisper.model import decoder

table = np.repeat(model.scope["decoder"]["positional_embedding"][:1], d.n_text_ctx, axis=0)
at_0 = dict(model.scope["decoder"], positional_embedding=table)
cache, new = model.start_cache(features), list(model.tokenizer.sot_sequence_including_notimestamps)
for _ in range(12):
    new = [int(decoder(np.array([new]), at_0, d.n_text_head, cache)[0, -1].argmax())]
    assert model.tokenizer.encoding.decode(new) == "<|notimestamps|>"

# %% [markdown]
# **3. How many multiplications does the cache save?** A decoder block does about 14 D² multiplications for
# each text position (4 D² in self-attention, 2 D² in cross-attention, 8 D² in the mlp) and 2 D²
# for each audio position (its keys and values). By what factor do caches for audio and text reduce
# the multiplications for 100 tokens? (Leave out the scores and the last layer.)

# %% tags=["exercise"]
factor = ...  # multiplications without a cache / multiplications with it

# %% jupyter={"source_hidden": true} tags=["check"]
without = sum(14 * n + 2 * 1500 for n in range(1, 101))
notebooks.exercise(factor, lambda f: np.isclose(f, without / (14 * 100 + 2 * 1500), rtol=0.02))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# without = sum(14 * n + 2 * 1500 for n in range(1, 101))
# with_cache = 14 * 100 + 2 * 1500
# print(f"{without / with_cache:.0f} times fewer")
# factor = without / with_cache
# ```
#
# D² and the number of blocks are the same in numerator and denominator, so they cancel.
#
# </details>
