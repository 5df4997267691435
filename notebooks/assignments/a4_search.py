# %% [markdown]
# # Assignment 4 · Search
#
# You write greedy search, beam search and the rules that forbid tokens. Read notebook 06 first.
#
# A search is given `step(tokens, parents)`, which returns the log-probabilities (B, V) of the next
# token for every row of tokens (B, T). `parents[i]` tells which row of the *previous* call row i
# goes on from, so that a cache can follow; on the first call it is `None`.
#
# **How it works** · Each task is a function with an empty body: write it, run the cell, and read
# what `check` says. It compares your function with what PyTorch computes, and often knows which
# mistake it was. Arrays are float32 and must not be changed in place. You may use NumPy, and the
# functions that you have written before. When all is right, the last cell lets your functions
# recognise real speech. Hand in this notebook. 9 tasks, 18 points.

# %% jupyter={"source_hidden": true} tags=["install"]
# On Colab, install the package; elsewhere this cell does nothing.
import importlib.util
import subprocess
import sys

if "google.colab" in sys.modules and importlib.util.find_spec("npwhisper") is None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "npwhisper[notebooks]"]
    subprocess.run(command, check=True)

# %%
import zlib

import numpy as np

import npwhisper
from npwhisper import check
from npwhisper.decoding.rules import RuleContext
from npwhisper.decoding.search import Hypothesis
from npwhisper.model import layers

# %% [markdown]
# ## 1. `greedy_search` (2 points)
#
# Take the best token at every step, until it is `eot` or there are `max_tokens` new ones. The rows
# are independent of each other: one may end before another, and gains nothing more from then on.
#
# `Hypothesis(tokens, sum_logprob)` holds the *new* tokens, without `eot`, as a list of int, and
# the sum of the log-probabilities of all tokens that were taken, that of `eot` included.


# %%
def greedy_search(step, tokens, eot, max_tokens):
    """tokens (N, T) -> for each row a list of one Hypothesis"""
    raise NotImplementedError


check(greedy_search)

# %% [markdown]
# ## 2. `beam_search` (5 points)
#
# For each row of `tokens` keep the `beam_size` best unfinished continuations. At each step, the
# candidates are all continuations of all of them, by sum of log-probabilities. Go through them
# from the best on:
#
# - one that ends in `eot` goes to the pool of the finished ones;
# - any other becomes one of the new `beam_size` beams;
# - stop when there are `beam_size` beams (whatever ends further down is too bad to be looked at).
#
# The search of a row is over when its pool holds `round(beam_size * patience)`: take no more than
# that. If the steps run out before, fill the pool up to `beam_size` with unfinished beams, the
# best first.
#
# All beams of all rows go through `step` together, and all rows must take part until the last one
# is done: a row that is over just keeps pace. On the first call each row is there once; on later
# calls `parents` counts through the rows of all beams.


# %%
def beam_search(step, tokens, eot, max_tokens, beam_size, patience=1.0):
    """tokens (N, T) -> for each row a list of Hypothesis"""
    raise NotImplementedError


check(beam_search)

# %% [markdown]
# ## 3. `rank` (1 point)
#
# By the sum of log-probabilities, divided by the number of tokens (at least 1). If a length
# penalty $\alpha$ is given, divide by $((5 + n) / 6)^\alpha$ instead.


# %%
def rank(hypotheses, length_penalty=None):
    """list of Hypothesis -> their indices, from the best to the worst"""
    raise NotImplementedError


check(rank)

# %% [markdown]
# ## 4. `compression_ratio` (1 point)
#
# How many times longer the text is, in UTF-8, than what `zlib.compress` makes of it. Loops
# compress well; that is how `transcribe` finds them.


# %%
def compression_ratio(text):
    """str -> float"""
    raise NotImplementedError


check(compression_ratio)

# %% [markdown]
# ## 5. `suppress_tokens` (1 point)
#
# The rules now, as functions from logits to *new* logits. `sampled` (B, T) are the tokens so far,
# `context` is a `RuleContext`: a tuple that knows the numbers of the special tokens.
#
# This one: minus infinity for all `context.suppressed`.


# %%
def suppress_tokens(logits, sampled, context):
    """logits (B, V) -> (B, V), new"""
    raise NotImplementedError


check(suppress_tokens)

# %% [markdown]
# ## 6. `suppress_blank` (1 point)
#
# Minus infinity for all `context.blank`, but only at the very beginning: when as many tokens have
# been sampled as were given (`context.n_given`).


# %%
def suppress_blank(logits, sampled, context):
    """logits (B, V) -> (B, V), new"""
    raise NotImplementedError


check(suppress_blank)

# %% [markdown]
# ## 7. `penalize_repetition` (1 point)
#
# With p = `context.repetition_penalty`: for every text token (below `context.eot`) that is among
# the row's sampled ones, divide its logit by p if it is positive, and multiply it by p if it is
# negative.


# %%
def penalize_repetition(logits, sampled, context):
    """logits (B, V) -> (B, V), new"""
    raise NotImplementedError


check(penalize_repetition)

# %% [markdown]
# ## 8. `forbid_repeated_ngrams` (2 points)
#
# With n = `context.no_repeat_ngram_size` (0: do nothing): look at the text tokens of the row. The
# last n - 1 of them, followed by which token, would make up n tokens that were there before? Those
# tokens get minus infinity.


# %%
def forbid_repeated_ngrams(logits, sampled, context):
    """logits (B, V) -> (B, V), new"""
    raise NotImplementedError


check(forbid_repeated_ngrams)

# %% [markdown]
# ## 9. `apply_timestamp_rules` (4 points)
#
# The grammar of timestamps: the tokens from `context.timestamp_begin` on, in the order of time. If
# `context.without_timestamps`, do nothing. Otherwise, for each row:
#
# 1. `context.no_timestamps` is never allowed.
# 2. If the last token is a timestamp, look at the one before it. If that is a timestamp too, or if there
#    is none, no timestamp may follow. If it is text, a timestamp or `eot` must follow: everything
#    below `context.eot` is forbidden.
# 3. Timestamps do not go back: all below the row's latest timestamp are forbidden, and so is that
#    timestamp itself, unless it has just closed a segment (it is the last token, and text comes
#    before it): then the next segment may begin at the same time.
# 4. At the beginning (nothing sampled): only timestamps, and none more than
#    `context.max_initial_timestamp` steps after the first one (if that is not None).
# 5. After all that: if all timestamps together are likelier than the best other token, forbid
#    everything that is not a timestamp. (Compare the logarithm of the summed exponentials with the
#    largest logit. If no timestamp is possible at all, there is nothing to do.)


# %%
def apply_timestamp_rules(logits, sampled, context):
    """logits (B, V) -> (B, V), new"""
    raise NotImplementedError


check(apply_timestamp_rules)

# %% [markdown]
# ## Your search, at work
#
# `network_step` is the network as a search sees it, with your rules applied. Timestamps are
# on, so they appear in the text.


# %%
def network_step(whisper, mel, context):
    features = whisper.embed_audio(mel)
    cache = whisper.start_cache(features)
    n_first = len(whisper.tokenizer.sot_sequence)

    def step(tokens, parents):
        if parents is not None:
            cache.reorder(np.asarray(parents))
        scores = whisper.decoder(tokens[:, cache.length :], features, cache, [-1])[:, -1]
        for rule in (suppress_blank, suppress_tokens, apply_timestamp_rules):
            scores = rule(scores, tokens[:, n_first:], context)
        return layers.log_softmax(scores)

    return step


rules = [
    suppress_tokens,
    suppress_blank,
    penalize_repetition,
    forbid_repeated_ngrams,
    apply_timestamp_rules,
]
if all(
    check(function) for function in [greedy_search, beam_search, rank, compression_ratio, *rules]
):
    whisper = npwhisper.load_model()
    t = whisper.tokenizer
    special = [t.transcribe, t.translate, t.sot, t.sot_prev, t.sot_lm, t.no_speech]
    context = RuleContext(
        eot=t.eot,
        timestamp_begin=t.timestamp_begin,
        no_timestamps=t.no_timestamps,
        blank=[*t.encode(" "), t.eot],
        suppressed=[*t.non_speech_tokens, *special],
        max_initial_timestamp=50,
    )
    samples = npwhisper.pad_or_trim(npwhisper.load_audio(npwhisper.example()))
    mel = npwhisper.log_mel_spectrogram(samples, whisper.dims.n_mels)
    first = np.array([t.sot_sequence])

    greedy = greedy_search(network_step(whisper, mel, context), first, t.eot, 100)[0][0]
    print("greedy:", t.decode_with_timestamps(greedy.tokens))
    assert greedy.tokens == whisper.decode(mel).tokens

    found = beam_search(network_step(whisper, mel, context), first, t.eot, 100, beam_size=5)[0]
    best = found[rank(found)[0]]
    print("beams: ", t.decode_with_timestamps(best.tokens))
    assert best.tokens == whisper.decode(mel, beam_size=5).tokens
    print(f"compression ratio {compression_ratio(t.decode(best.tokens)):.2f}")
else:
    print("Some functions are not right yet.")

# %% [markdown]
# ## For the curious (no points)
#
# Let `beam_search` run on the small table of notebook 06 and draw its tree. How large must the
# beam be until it always finds the best sentence of a random table?
