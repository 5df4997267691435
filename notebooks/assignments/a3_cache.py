# %% [markdown]
# # Assignment 3 · The KV cache
#
# You write the memory of the decoder, and then the decoder that uses it. Read notebook 04 first.
# Layers and blocks may be taken from the library: `layers.linear`, `model.decoder_block` and so
# on.
#
# **How it works** · Each task is a function with an empty body: write it, run the cell, and read
# what `check` says. It compares your function with what PyTorch computes, and often knows which
# mistake it was. Arrays are float32 and must not be changed in place. You may use NumPy, and the
# functions that you have written before. When all is right, the last cell lets your functions
# recognise real speech. Hand in this notebook. 5 tasks, 11 points.

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
# `cache` is a `KeyValues`: `cache.k` and `cache.v` are arrays (B, H, capacity, K), of which the
# first `cache.length` positions are filled. Write the new keys and values behind them, move
# `cache.length` on, and return all keys and values so far. Views, no copies: `cache.k[:, :,
# :length]`.


# %%
def append(cache, k, v):
    """k, v (B, H, T, K) -> all keys, all values: (B, H, length, K) twice"""
    raise NotImplementedError


check(append)

# %% [markdown]
# ## 2. `reorder` (2 points)
#
# Beams have changed places: from now on row i must hold what row `parents[i]` held. A row may be
# needed twice, or not at all. Beware of overwriting a row that is still needed.
#
# If there are more or fewer parents than rows, the cache needs new arrays of that many rows:
# `KeyValues.empty(n, n_head, capacity, width)` makes some, and `cache.k` and `cache.v` may be
# replaced. The length stays.


# %%
def reorder(cache, parents):
    """parents (n,) -> None; changes the cache"""
    raise NotImplementedError


check(reorder)

# %% [markdown]
# ## 3. `start_cache` (3 points)
#
# The keys and values of the recording, computed once for each block of the decoder. `w` are the
# decoder's weights; for each `block` of `w["blocks"].values()` the keys are
# `layers.linear(audio_features, block["cross_attn"]["key"])` in heads (`layers.split_heads`), and
# the values likewise.
#
# Return `Cache(blocks)` with a tuple of `BlockCache(text, audio)`: the text is an empty
# `KeyValues` with room for `capacity` positions, and `audio` the pair of keys and values.


# %%
def start_cache(audio_features, w, n_head, capacity):
    """audio_features (A, S, D) -> Cache"""
    raise NotImplementedError


check(start_cache)

# %% [markdown]
# ## 4. `logits` (1 point)
#
# The inner product of every position with the embedding of every token.


# %%
def logits(x, weight):
    """x (B, T, D), weight (V, D) -> (B, T, V)"""
    raise NotImplementedError


check(logits)

# %% [markdown]
# ## 5. `decoder` (3 points)
#
# 1. `layers.embedding` of the tokens with `w["token_embedding"]`, plus the rows of
#    `w["positional_embedding"]` that belong to their positions. The first new token stands behind
#    all that the cache has seen: at `cache.length`.
# 2. `model.decoder_block` for each block of `w["blocks"].values()`, with its `cache.blocks[i]`.
# 3. Only at the positions `at`, if it is given (a list of indices; the rest is not needed): layer
#    norm with `w["ln"]`, and your `logits` with the table of tokens,
#    `w["token_embedding"]["weight"]`.


# %%
def decoder(tokens, w, n_head, cache, at=None):
    """tokens (B, T) -> (B, T, V), or (B, len(at), V)"""
    raise NotImplementedError


check(decoder)

# %% [markdown]
# ## Your cache, at work
#
# Two recognitions with your functions: a greedy loop of our own, that feeds the decoder one token
# at a time; and the library's beam search, in which the rows change places.


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
# How long does a step take after 10, 100 and 200 tokens, with your cache and without? Draw it, as
# in notebook 04.
