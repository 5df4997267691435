# %% [markdown]
# # Assignment 3 · The KV cache
#
# In this assignment you write the cache of keys and values, and then the decoder that uses it. Read
# notebook 04 first.
#
# Letters in shapes: B rows (windows or beams), A recordings, T new tokens, S audio positions,
# D features, H heads, K features of one head, V vocabulary.
#
# **How it works** · In each task the body of a function is missing. Write the body, run the cell, and
# read the report of `check`. It compares your function with reference results, says where they
# differ, and often names the mistake. Run it as often as you like. Arrays are float32. Change no
# argument but the cache.
#
# **What is graded** · A task earns its points if every case is right: those of `check`, and
# others with different numbers and sizes. By default a task may take ten seconds. You may use
# NumPy, SciPy, the functions that you have written, and npwhisper's functions of assignments 1
# and 2: `layers.linear`, `model.decoder_block` and so on. Hand in this notebook. 5 tasks, 11
# points.
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
# `cache.length` positions are filled. Write the T new keys and values after those, increase
# `cache.length` by T, and return all keys and all values so far. Return views, not copies:
# `cache.k[:, :, : cache.length]`.


# %%
def append(cache, k, v):
    """k, v (B, H, T, K) -> all keys, all values: (B, H, length, K) twice"""
    raise NotImplementedError


check(append)

# %% [markdown]
# ## 2. `reorder` (2 points)
#
# Beam search has reordered its beams: from now on, row i of the keys and of the values must be what row
# `parents[i]` was. A row may be needed twice, or not at all. Do not overwrite a row that is still needed.
#
# If the number n of parents is not the number of rows, the cache needs new arrays with n rows.
# `KeyValues.empty(n, n_head, capacity, width)` creates a cache of that size, and you may assign to `cache.k`
# and `cache.v`. `cache.length` stays the same.


# %%
def reorder(cache, parents):
    """parents (n,) -> None; changes the cache"""
    raise NotImplementedError


check(reorder)

# %% [markdown]
# ## 3. `start_cache` (3 points)
#
# Compute the keys and values of the recordings, once for each decoder block. `w` holds the
# decoder's weights. For each `block` in `w["blocks"].values()`, the keys are
# `layers.linear(audio_features, block["cross_attn"]["key"])`, split into heads with
# `layers.split_heads`. The values are computed in the same way with `["value"]`.
#
# Return `Cache(blocks)`, where `blocks` is a tuple with one `BlockCache(text, audio)` for each block:
# `text` is `KeyValues.empty(A, n_head, capacity, K)`, and `audio` is the pair of keys and values, each of
# shape (A, H, S, K).


# %%
def start_cache(audio_features, w, n_head, capacity):
    """audio_features (A, S, D) -> Cache"""
    raise NotImplementedError


check(start_cache)

# %% [markdown]
# ## 4. `logits` (1 point)
#
# The inner product of the features of every position with the embedding of every token.


# %%
def logits(x, weight):
    """x (B, T, D), weight (V, D) -> (B, T, V)"""
    raise NotImplementedError


check(logits)

# %% [markdown]
# ## 5. `decoder` (3 points)
#
# 1. Embed the tokens (`layers.embedding` with `w["token_embedding"]`) and add the rows of
#    `w["positional_embedding"]` for their positions. The first new token follows the tokens in the
#    cache, so it is at position `cache.length`.
# 2. Apply `model.decoder_block` with each block of `w["blocks"].values()`; block i gets
#    `cache.blocks[i]`.
# 3. If `at` (a list of indices, such as `[-1]`) is given, keep only those positions. Apply
#    `layers.layer_norm` with `w["ln"]`, then your `logits` with `w["token_embedding"]["weight"]`.


# %%
def decoder(tokens, w, n_head, cache, at=None):
    """tokens (B, T) -> (B, T, V), or (B, len(at), V)"""
    raise NotImplementedError


check(decoder)

# %% [markdown]
# ## Your cache at work
#
# If every check passes, your functions transcribe the recording twice: in the greedy loop below,
# which gives the decoder one token at a time, and in the library's beam search, which reorders the rows.
# The text of the beam search must equal the library's.


# %%
def write_greedily(whisper, mel, n_most=60):
    """Decode one token at a time, with your cache and your decoder."""
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
# How long does a decoding step take after 10, 100 and 200 tokens, with your cache and without it? Plot
# the times, as in notebook 04.
