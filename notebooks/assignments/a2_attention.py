# %% [markdown]
# # Assignment 2 · Attention
#
# In this assignment you write attention, from scores to heads, and then the blocks and the
# encoder built from it. Read notebooks 03 and 05 first. You may take the layers of assignment 1
# from the library: `layers.linear` and so on.
#
# **How it works** · Each task is a function with an empty body. Write it, run the cell, and read
# what `check` reports: it compares your function with PyTorch's results and often names the
# mistake. Arrays are float32; leave the arguments unchanged. You may use NumPy, SciPy (but
# nothing ready-made that solves the task) and the functions you have already written. Once
# everything is right, the last cell transcribes real speech with your functions. Hand in this
# notebook. 11 tasks, 20 points.

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
# Split the features into heads: head $h$ gets features $hK$ to $(h + 1)K - 1$. Then move the head
# axis in front of the position axis.


# %%
def split_heads(x, n_head):
    """x (B, T, D) -> (B, H, T, K), with K = D / H"""
    raise NotImplementedError


check(split_heads)

# %% [markdown]
# ## 2. `merge_heads` (1 point)
#
# The inverse of `split_heads`.


# %%
def merge_heads(x):
    """x (B, H, T, K) -> (B, T, D)"""
    raise NotImplementedError


check(merge_heads)

# %% [markdown]
# ## 3. `causal_mask` (2 points)
#
# 0 where a query may look at a key, minus infinity where it may not. The queries are the *last*
# positions: query $i$ is at position `n_key - n_query + i` and may look at itself and everything
# before it. (Draw the mask for 2 queries and 5 keys on paper.)


# %%
def causal_mask(n_query, n_key):
    """-> (n_query, n_key), float32"""
    raise NotImplementedError


check(causal_mask)

# %% [markdown]
# ## 4. `scores` (2 points)
#
# The inner product of every query with every key, divided by $\sqrt K$. Beware: `np.sqrt` of an
# integer is a float64 and makes the result float64; `math.sqrt` and `** -0.5` give Python floats,
# which do not.


# %%
def scores(q, k):
    """q (B, H, T, K), k (B, H, S, K) -> (B, H, T, S)"""
    raise NotImplementedError


check(scores)

# %% [markdown]
# ## 5. `attend` (2 points)
#
# Compute the scores, add the mask if there is one, take the softmax over the keys
# (`layers.softmax`), and average the values with these weights.


# %%
def attend(q, k, v, mask=None):
    """q (B, H, T, K), k and v (B, H, S, K), mask (T, S) -> (B, H, T, K)"""
    raise NotImplementedError


check(attend)

# %% [markdown]
# ## 6. `self_attention` (3 points)
#
# Queries, keys and values are `layers.linear` of x with `w["query"]`, `w["key"]` and
# `w["value"]`, each split into heads. Attend, merge the heads, and apply `layers.linear` with
# `w["out"]`.
#
# The encoder has neither a cache nor a mask. The decoder passes a `cache`: `k, v =
# cache.append(k, v)` stores the new keys and values and returns all of them so far. Then a causal
# mask is needed, and its size follows from the numbers of queries and keys.


# %%
def self_attention(x, w, n_head, cache=None):
    """x (B, T, D) -> (B, T, D)"""
    raise NotImplementedError


check(self_attention)

# %% [markdown]
# ## 7. `cross_attention` (3 points)
#
# The queries come from x. The keys and values of the recording are given, already split into
# heads. There is no mask: every query may look at the whole recording.
#
# B may be a multiple of A. Then B / A consecutive rows share each recording (with two rows per
# recording, rows 0 and 1 look at recording 0). Repeating keys and values with `np.repeat` is
# correct; doing without the copies is more elegant.


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
# Apply the layer norm `w["attn_ln"]` to x, then self-attention with `w["attn"]`, and add the
# result to x. Apply the layer norm `w["mlp_ln"]` to that, then the mlp with `w["mlp"]`, and add
# again.


# %%
def encoder_block(x, w, n_head):
    """x (B, S, D) -> (B, S, D)"""
    raise NotImplementedError


check(encoder_block)

# %% [markdown]
# ## 10. `decoder_block` (2 points)
#
# Like the encoder block, with cross-attention (`w["cross_attn_ln"]`, then `w["cross_attn"]`)
# between self-attention and the mlp. Self-attention gets `cache.text`, cross-attention gets
# `cache.audio`.


# %%
def decoder_block(x, w, n_head, cache):
    """x (B, T, D), cache with cache.text and cache.audio -> (B, T, D)"""
    raise NotImplementedError


check(decoder_block)

# %% [markdown]
# ## 11. `encoder` (2 points)
#
# Convolve with `w["conv1"]`, apply GELU, convolve with `w["conv2"]` and stride 2, apply GELU.
# Move the features to the last axis and add `w["positional_embedding"]`. Then apply every block
# of `w["blocks"]` (a dict, in order) and the layer norm `w["ln_post"]`.


# %%
def encoder(mel, w, n_head):
    """mel (B, M, F) -> (B, S, D)"""
    raise NotImplementedError


check(encoder)

# %% [markdown]
# ## Your attention, at work
#
# `swap` puts your functions in place of the library's. If every check passes, your own attention
# transcribes the recording.

# %%
parts = [split_heads, merge_heads, causal_mask, scores, attend, self_attention, cross_attention]
mine = [*parts, mlp, encoder_block, decoder_block, encoder]
if all(check(function) for function in mine):
    with swap({function.__name__: function for function in mine}):
        result = npwhisper.transcribe(npwhisper.example())
    print(f"your attention transcribed: {result['text']}")
    assert result["text"] == npwhisper.transcribe(npwhisper.example())["text"]
else:
    print("Some functions are not right yet.")

# %% [markdown]
# ## For the curious (no points)
#
# Wrap `npwhisper.trace("decoder.blocks.*.cross_attn.softmax")` around your own network and plot
# where each word looks (notebook 03 shows how). Does your encoder's attention look like the
# library's?
