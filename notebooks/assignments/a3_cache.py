# %% [markdown]
# # Assignment 3 · The KV cache
#
# In this assignment you write the decoder's memory, and then the decoder that uses it. Read
# notebook 04 first. You may take layers and blocks from the library: `layers.linear`,
# `model.decoder_block` and so on.
#
# **How it works** · Each task is a function with an empty body. Write it, run the cell, and read
# what `check` reports: it compares your function with PyTorch's results and often names the
# mistake. Arrays are float32; change nothing but the cache. You may use NumPy, SciPy (but nothing
# ready-made that solves the task) and the functions you have already written. Once everything is
# right, the last cell transcribes real speech with your functions. Hand in this notebook. 5
# tasks, 11 points.

# %% jupyter={"source_hidden": true} tags=["install"]
# On Colab, install the package; elsewhere this cell does nothing.
import importlib.util
import subprocess
import sys

if "google.colab" in sys.modules and importlib.util.find_spec("npwhisper") is None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "npwhisper[notebooks]"]
    subprocess.run(command, check=True)

# %%
import numpy as np

import npwhisper
from npwhisper import check, swap
from npwhisper.model import layers
from npwhisper.model import network as model
from npwhisper.model.cache import BlockCache, Cache, KeyValues

# %% [markdown]
# ## 1. `append` (2 points)
#
# `cache` is a `KeyValues`: `cache.k` and `cache.v` are arrays (B, H, capacity, K) whose first
# `cache.length` positions are filled. Write the new keys and values after those, increase
# `cache.length`, and return all keys and values so far, as views rather than copies: `cache.k[:,
# :, :length]`.


# %%
def append(cache, k, v):
    """k, v (B, H, T, K) -> all keys, all values: (B, H, length, K) twice"""
    raise NotImplementedError


check(append)

# %% [markdown]
# ## 2. `reorder` (2 points)
#
# Beam search has reordered its beams: from now on row i must hold what row `parents[i]` held. A
# row may be needed twice, or not at all. Do not overwrite a row that is still needed.
#
# If there are more or fewer parents than rows, the cache needs new arrays with that many rows:
# `KeyValues.empty(n, n_head, capacity, width)` creates some, and you may replace `cache.k` and
# `cache.v`. The length stays the same.


# %%
def reorder(cache, parents):
    """parents (n,) -> None; changes the cache"""
    raise NotImplementedError


check(reorder)

# %% [markdown]
# ## 3. `start_cache` (3 points)
#
# The keys and values of the recording, computed once for each decoder block. `w` holds the
# decoder's weights. For each `block` in `w["blocks"].values()`, the keys are
# `layers.linear(audio_features, block["cross_attn"]["key"])`, split into heads with
# `layers.split_heads`; the values likewise.
#
# Return `Cache(blocks)`, where `blocks` is a tuple of `BlockCache(text, audio)`: `text` is an
# empty `KeyValues` with room for `capacity` positions, and `audio` is the pair of keys and
# values.


# %%
def start_cache(audio_features, w, n_head, capacity):
    """audio_features (A, S, D) -> Cache"""
    raise NotImplementedError


check(start_cache)

# %% [markdown]
# ## 4. `logits` (1 point)
#
# The inner product of every position with every token's embedding.


# %%
def logits(x, weight):
    """x (B, T, D), weight (V, D) -> (B, T, V)"""
    raise NotImplementedError


check(logits)

# %% [markdown]
# ## 5. `decoder` (3 points)
#
# 1. Embed the tokens (`layers.embedding` with `w["token_embedding"]`) and add the rows of
#    `w["positional_embedding"]` for their positions. The first new token follows everything the
#    cache has seen, so it is at position `cache.length`.
# 2. Apply `model.decoder_block` for each block of `w["blocks"].values()`, with `cache.blocks[i]`.
# 3. If `at` (a list of indices) is given, keep only those positions. Apply the layer norm
#    `w["ln"]`, then your `logits` with the table of tokens, `w["token_embedding"]["weight"]`.


# %%
def decoder(tokens, w, n_head, cache, at=None):
    """tokens (B, T) -> (B, T, V), or (B, len(at), V)"""
    raise NotImplementedError


check(decoder)

# %% [markdown]
# ## Your cache, at work
#
# Your functions transcribe the recording twice: in a greedy loop written here, which feeds the
# decoder one token at a time, and in the library's beam search, which reorders the rows.


# %%
def write_greedily(whisper, mel, n_most=60):
    """One token after the other, with your cache and your decoder."""
    w, d, tokenizer = whisper.scope["decoder"], whisper.dims, whisper.tokenizer
    cache = start_cache(whisper.embed_audio(mel), w, d.n_text_head, d.n_text_ctx)
    new, text = list(tokenizer.sot_sequence_including_notimestamps), []
    while len(text) < n_most:
        token = int(decoder(np.array([new]), w, d.n_text_head, cache, [-1])[0, -1].argmax())
        if token == tokenizer.eot:
            break
        text, new = [*text, token], [token]
    return tokenizer.decode(text)


mine = [append, reorder, logits, decoder]
if all(check(function) for function in [*mine, start_cache]):
    whisper = npwhisper.load_model()
    samples = npwhisper.pad_or_trim(npwhisper.load_audio(npwhisper.example()))
    mel = npwhisper.log_mel_spectrogram(samples, whisper.dims.n_mels)
    right = whisper.decode(mel, beam_size=5).text
    with swap({function.__name__: function for function in mine}):
        print("greedy, one token at a time:", write_greedily(whisper, mel))
        with_beams = whisper.decode(mel, beam_size=5).text
    print("beam search:", with_beams)
    assert with_beams == right
else:
    print("Some functions are not right yet.")

# %% [markdown]
# ## For the curious (no points)
#
# How long does a step take after 10, 100 and 200 tokens, with your cache and without it? Plot it,
# as in notebook 04.
