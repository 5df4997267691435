# %% [markdown]
# # Assignment 2 · Attention
#
# In this assignment you write attention, and then the blocks and the encoder that are built from it.
# Read notebooks 03 and 05 first.
#
# Letters in shapes: B batch, A recordings, T text positions (queries), S audio positions or
# keys, D features, H heads, K features of one head, M mel bins, F frames.
#
# **How it works** · In each task the body of a function is missing. Write the body, run the cell, and
# read the report of `check`. It compares your function with reference results, says where they
# differ, and often names the mistake. Run it as often as you like. Arguments and results are
# float32 unless a task says otherwise. Do not change the arguments.
#
# **What is graded** · A task earns its points if every case is right: those of `check`, and
# others with different numbers and sizes. By default a task may take ten seconds. You may use
# NumPy, SciPy (except a function that is the task itself), the functions that you have written,
# and npwhisper's functions of assignment 1: `layers.linear` and so on. Hand in this notebook. 11
# tasks, 20 points.
#
# Once every check passes, the last cell transcribes real speech with your functions.

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
# Split the features into heads: head $h$ gets the features $hK$ to $(h + 1)K - 1$. Then move the axis
# of heads before the axis of positions.


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
# 0 where a query may attend to a key, minus infinity where it may not. The queries are the *last*
# positions: query $i$ is at position `n_key - n_query + i`, and may attend to that position and all
# positions before it. (Draw the mask for 2 queries and 5 keys on paper.)


# %%
def causal_mask(n_query, n_key):
    """-> (n_query, n_key), float32"""
    raise NotImplementedError


check(causal_mask)

# %% [markdown]
# ## 4. `scores` (2 points)
#
# The inner product of every query with every key, divided by $\sqrt K$. Note that `np.sqrt` of an
# integer is a NumPy float64 and makes the result float64. `math.sqrt(K)` and `K**-0.5` are Python
# floats, which keep it float32.


# %%
def scores(q, k):
    """q (B, H, T, K), k (B, H, S, K) -> (B, H, T, S)"""
    raise NotImplementedError


check(scores)

# %% [markdown]
# ## 5. `attend` (2 points)
#
# Compute the scores, add the mask if there is one, take the softmax over the keys
# (`layers.softmax`), and multiply these weights with the values.


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
# The encoder passes no cache and needs no mask. The decoder passes a `cache`. Then `k, v =
# cache.append(k, v)` stores the keys and values of x and returns those of all positions so far, and a
# causal mask is needed. Its size is the number of queries by the number of all keys.


# %%
def self_attention(x, w, n_head, cache=None):
    """x (B, T, D), cache None or a KeyValues -> (B, T, D)"""
    raise NotImplementedError


check(self_attention)

# %% [markdown]
# ## 7. `cross_attention` (3 points)
#
# The queries come from x (`w["query"]`). The keys and values of the recordings are given, already
# split into heads. There is no mask: every query may attend to the whole recording. At the end apply
# `w["out"]`, as in self-attention.
#
# B may be a multiple of A. Then B / A consecutive rows share each recording: with two rows per
# recording, rows 0 and 1 attend to recording 0, rows 2 and 3 to recording 1. Repeating keys and values
# with `np.repeat` is correct; a reshape avoids the copies.


# %%
def cross_attention(x, w, n_head, audio):
    """x (B, T, D), audio = (keys, values) of (A, H, S, K) -> (B, T, D)"""
    raise NotImplementedError


check(cross_attention)

# %% [markdown]
# ## 8. `mlp` (1 point)
#
# `layers.linear` with `w["0"]`, `layers.gelu`, `layers.linear` with `w["2"]`.


# %%
def mlp(x, w):
    """x (B, T, D) -> (B, T, D)"""
    raise NotImplementedError


check(mlp)

# %% [markdown]
# ## 9. `encoder_block` (1 point)
#
# Apply `layers.layer_norm` with `w["attn_ln"]` to x, then self-attention with `w["attn"]`, and add the
# result to x. Apply the layer norm `w["mlp_ln"]` to this sum, then the MLP with `w["mlp"]`, and add the
# result to the sum.


# %%
def encoder_block(x, w, n_head):
    """x (B, S, D) -> (B, S, D)"""
    raise NotImplementedError


check(encoder_block)

# %% [markdown]
# ## 10. `decoder_block` (2 points)
#
# Like the encoder block, with one more part between self-attention and the MLP: the layer norm
# `w["cross_attn_ln"]`, then cross-attention with `w["cross_attn"]`, and its result is added, too.
# Self-attention gets `cache.text` (a `KeyValues`), cross-attention gets `cache.audio` (a pair of keys and
# values).


# %%
def decoder_block(x, w, n_head, cache):
    """x (B, T, D), cache with cache.text and cache.audio -> (B, T, D)"""
    raise NotImplementedError


check(decoder_block)

# %% [markdown]
# ## 11. `encoder` (2 points)
#
# Apply `layers.conv1d` with `w["conv1"]`, GELU, `layers.conv1d` with `w["conv2"]` and stride 2, and GELU.
# Move the features to the last axis and add `w["positional_embedding"]`. Then apply `encoder_block`
# with each value of `w["blocks"]` (a dict, in order), and the layer norm `w["ln_post"]`.


# %%
def encoder(mel, w, n_head):
    """mel (B, M, F) -> (B, S, D), with S = F / 2"""
    raise NotImplementedError


check(encoder)

# %% [markdown]
# ## Your attention at work
#
# `swap` replaces the library's functions by yours. If every check passes, your own attention
# transcribes the recording. The text must equal that of the library.

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
# Transcribe with your functions inside a block `with npwhisper.trace("decoder.blocks.*.cross_attn.softmax")
# as acts:`, and plot which part of the recording each word attends to (notebook 03 shows how). Is the
# picture the same with the library's functions?
