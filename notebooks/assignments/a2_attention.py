# %% [markdown]
# # Assignment 2 · Attention
#
# You write attention, from scores to heads, and then the blocks and the encoder that are made of
# it. Read the notebooks 03 and 05 first. The layers of assignment 1 may be taken from the library:
# `layers.linear` and so on.
#
# **How it works** · Each task is a function with an empty body: write it, run the cell, and read
# what `check` says. It compares your function with what PyTorch computes, and often knows which
# mistake it was. Arrays are float32 and must not be changed in place. You may use NumPy, and the
# functions that you have written before. When all is right, the last cell lets your functions
# recognise real speech. Hand in this notebook. 11 tasks, 20 points.

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

import numpy as np

import npwhisper
from npwhisper import check, swap
from npwhisper.model import layers

# %% [markdown]
# ## 1. `split_heads` (1 point)
#
# Cut the features into heads: head h gets the features h K to (h + 1) K. Then put the heads before
# the positions.


# %%
def split_heads(x, n_head):
    """x (B, T, D) -> (B, H, T, K), with K = D / H"""
    raise NotImplementedError


check(split_heads)

# %% [markdown]
# ## 2. `merge_heads` (1 point)
#
# The way back.


# %%
def merge_heads(x):
    """x (B, H, T, K) -> (B, T, D)"""
    raise NotImplementedError


check(merge_heads)

# %% [markdown]
# ## 3. `causal_mask` (2 points)
#
# 0 where a query may look at a key, minus infinity where not. The queries are the *last*
# positions: query i is position n_key - n_query + i, and may look at itself and everything before.
# (Try 2 queries and 5 keys on paper.)


# %%
def causal_mask(n_query, n_key):
    """-> (n_query, n_key), float32"""
    raise NotImplementedError


check(causal_mask)

# %% [markdown]
# ## 4. `scores` (2 points)
#
# The inner product of every query with every key, divided by $\sqrt K$. Beware of `np.sqrt` of an
# integer: it is a float64 and makes the result one. `math.sqrt` or `** -0.5` is not.


# %%
def scores(q, k):
    """q (B, H, T, K), k (B, H, S, K) -> (B, H, T, S)"""
    raise NotImplementedError


check(scores)

# %% [markdown]
# ## 5. `attend` (2 points)
#
# Scores, plus the mask if there is one, softmax over the keys (`layers.softmax`), and the mean of
# the values with these weights.


# %%
def attend(q, k, v, mask=None):
    """q (B, H, T, K), k and v (B, H, S, K), mask (T, S) -> (B, H, T, K)"""
    raise NotImplementedError


check(attend)

# %% [markdown]
# ## 6. `self_attention` (3 points)
#
# Queries, keys and values are `layers.linear` of x with `w["query"]`, `w["key"]` and `w["value"]`,
# in heads. Attend, merge the heads, and `layers.linear` with `w["out"]`.
#
# In the encoder there is no cache and no mask. In the decoder there is a `cache`: `k, v =
# cache.append(k, v)` stores the new keys and values and gives all so far; then a causal mask is
# needed, for which the number of queries and of keys count.


# %%
def self_attention(x, w, n_head, cache=None):
    """x (B, T, D) -> (B, T, D)"""
    raise NotImplementedError


check(self_attention)

# %% [markdown]
# ## 7. `cross_attention` (3 points)
#
# The queries come from x, the keys and values of the recording are given, in heads already. No
# mask: all of the recording may be looked at.
#
# B may be a multiple of A: then A recordings are shared by B / A rows each, in their order (row 0
# and 1 look at recording 0, if there are two each). Repeating the keys and values with `np.repeat`
# is right; doing without is an art.


# %%
def cross_attention(x, w, n_head, audio):
    """x (B, T, D), audio = (keys, values) of (A, H, S, K) -> (B, T, D)"""
    raise NotImplementedError


check(cross_attention)

# %% [markdown]
# ## 8. `mlp` (1 point)
#
# Linear with `w["0"]`, GELU, linear with `w["2"]`.


# %%
def mlp(x, w):
    """x (B, T, D) -> (B, T, D)"""
    raise NotImplementedError


check(mlp)

# %% [markdown]
# ## 9. `encoder_block` (1 point)
#
# Add to x what self-attention (`w["attn"]`) makes of the layer norm (`w["attn_ln"]`) of x; then
# add what the mlp (`w["mlp"]`) makes of the layer norm (`w["mlp_ln"]`) of that.


# %%
def encoder_block(x, w, n_head):
    """x (B, S, D) -> (B, S, D)"""
    raise NotImplementedError


check(encoder_block)

# %% [markdown]
# ## 10. `decoder_block` (2 points)
#
# The same with cross-attention (`w["cross_attn"]`, after `w["cross_attn_ln"]`) between
# self-attention and mlp. Self-attention gets `cache.text`, cross-attention `cache.audio`.


# %%
def decoder_block(x, w, n_head, cache):
    """x (B, T, D), cache with cache.text and cache.audio -> (B, T, D)"""
    raise NotImplementedError


check(decoder_block)

# %% [markdown]
# ## 11. `encoder` (2 points)
#
# Convolution with `w["conv1"]`, GELU, convolution with `w["conv2"]` and stride 2, GELU. Then
# features last; add `w["positional_embedding"]`; all blocks of `w["blocks"]` (a dict, in order);
# layer norm with `w["ln_post"]`.


# %%
def encoder(mel, w, n_head):
    """mel (B, M, F) -> (B, S, D)"""
    raise NotImplementedError


check(encoder)

# %% [markdown]
# ## Your attention, at work

# %%
parts = [split_heads, merge_heads, causal_mask, scores, attend, self_attention, cross_attention]
mine = [*parts, mlp, encoder_block, decoder_block, encoder]
if all(check(function) for function in mine):
    with swap({function.__name__: function for function in mine}):
        result = npwhisper.transcribe(npwhisper.example())
    print(f"your attention heard: {result['text']}")
    assert result["text"] == npwhisper.transcribe(npwhisper.example())["text"]
else:
    print("Some functions are not right yet.")

# %% [markdown]
# ## For the curious (no points)
#
# With `npwhisper.trace("decoder.blocks.*.cross_attn.softmax")` around your own network, draw where
# each word looks (notebook 03 shows how). Does your encoder's attention look like the library's?
