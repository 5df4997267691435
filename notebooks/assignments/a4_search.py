# %% [markdown]
# # Assignment 4 · Search
#
# In this assignment you write greedy search, beam search and the rules that forbid tokens. Read
# notebook 06 first.
#
# A search calls a function `step(tokens, parents)`. `tokens` is an integer array (B, T), one text for each
# row, and `step` returns the log-probabilities (B, V) of the next token for each row. `parents` is an integer
# array (B,): row i continues row `parents[i]` of the *previous* call, so that a cache can be reordered. On
# the first call `parents` is `None`.
#
# Letters in shapes: N texts to search for, B rows (texts or beams), T tokens of a row,
# V vocabulary.
#
# **How it works** · In each task the body of a function is missing. Write the body, run the cell, and
# read the report of `check`. It compares your function with reference results, says where they
# differ, and often names the mistake. Run it as often as you like. Arrays are float32 unless a
# task says otherwise. Do not change the arguments.
#
# **What is graded** · A task earns its points if every case is right: those of `check`, and
# others with different numbers and sizes. By default a task may take ten seconds. You may use
# NumPy, SciPy, the modules imported below, the functions that you have written, and npwhisper's
# functions of assignments 1 to 3. Hand in this notebook. 9 tasks, 18 points.
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
# For each row, take the most probable token at every step until it is `eot` or there are `max_tokens` new
# tokens. The rows are independent: one may end before another. `step` needs rows of equal length, so
# append `eot` to a row that has ended, and add nothing to its sum. Each row continues itself, so `parents`
# is `np.arange(N)` from the second call on.
#
# `Hypothesis(tokens, sum_logprob)` holds the *new* tokens without `eot`, as a list of int, and
# the sum of the log-probabilities of all tokens taken, including the first `eot`.


# %%
def greedy_search(step, tokens, eot, max_tokens):
    """tokens (N, T) -> for each row a list of one Hypothesis"""
    raise NotImplementedError


check(greedy_search)

# %% [markdown]
# ## 2. `beam_search` (5 points)
#
# For each of the N rows of `tokens`, keep the `beam_size` best unfinished texts, the *beams*. At each step the
# candidates are all beams, each continued by every token. Go through the candidates in order of
# decreasing sum of log-probabilities:
#
# - a candidate that ends with `eot` goes into the row's pool of finished hypotheses;
# - any other becomes one of the new beams;
# - stop once there are `beam_size` new beams; the remaining candidates are dropped.
#
# The search of a row ends when its pool holds `round(beam_size * patience)` hypotheses; keep no
# more than that. If there are `max_tokens` new tokens first and the pool holds fewer than `beam_size`, fill
# it up to `beam_size` with unfinished beams, the most probable first.
#
# All beams of all rows go through `step` together until the search of the last row has ended; the beams of
# rows that ended earlier are carried along. In the first call there are N rows, in later calls
# N times `beam_size`, and `parents` contains indices of the rows of the call before. The order of the hypotheses in
# a list is free.


# %%
def beam_search(step, tokens, eot, max_tokens, beam_size, patience=1.0):
    """tokens (N, T) -> for each row a list of Hypothesis"""
    raise NotImplementedError


check(beam_search)

# %% [markdown]
# ## 3. `rank` (1 point)
#
# Rank by the sum of log-probabilities divided by the number of tokens $n$ (by 1 if there are none). If a
# length penalty $\alpha$ is given, divide by $((5 + n) / 6)^\alpha$ instead. The larger the quotient, the
# better.


# %%
def rank(hypotheses, length_penalty=None):
    """list of Hypothesis -> their indices, from the best to the worst"""
    raise NotImplementedError


check(rank)

# %% [markdown]
# ## 4. `compression_ratio` (1 point)
#
# The number of bytes of the text in UTF-8, divided by the number of bytes after `zlib.compress`.
# Repetitive text compresses well; `transcribe` uses this to detect repetition loops.


# %%
def compression_ratio(text):
    """str -> float"""
    raise NotImplementedError


check(compression_ratio)

# %% [markdown]
# ## 5. `suppress_tokens` (1 point)
#
# The remaining tasks are rules: functions that take logits and return *new* logits. To forbid a token is to
# set its logit to minus infinity. `sampled` (B, T) holds the tokens after the start sequence; `context` is a
# `RuleContext`, a tuple with the ids of the special tokens and a few options.
#
# The first rule forbids every token in `context.suppressed`.


# %%
def suppress_tokens(logits, sampled, context):
    """logits (B, V) -> (B, V), new"""
    raise NotImplementedError


check(suppress_tokens)

# %% [markdown]
# ## 6. `suppress_blank` (1 point)
#
# Forbid every token in `context.blank`, but only at the beginning: when `sampled` holds just the
# `context.n_given` tokens of a given prefix (usually 0). Otherwise nothing is forbidden.


# %%
def suppress_blank(logits, sampled, context):
    """logits (B, V) -> (B, V), new"""
    raise NotImplementedError


check(suppress_blank)

# %% [markdown]
# ## 7. `penalize_repetition` (1 point)
#
# Let $p$ = `context.repetition_penalty`. For every text token (an id below `context.eot`) that occurs in
# the row of `sampled`, divide its logit by $p$ if it is positive, and multiply it by $p$ if it is
# negative. A token that occurs several times is penalized once.


# %%
def penalize_repetition(logits, sampled, context):
    """logits (B, V) -> (B, V), new"""
    raise NotImplementedError


check(penalize_repetition)

# %% [markdown]
# ## 8. `forbid_repeated_ngrams` (2 points)
#
# Let $n$ = `context.no_repeat_ngram_size`. If it is 0, forbid nothing. Otherwise take the text tokens of
# the row of `sampled` (ids below `context.eot`). Forbid every token that, appended to them, would make the
# last $n$ tokens equal to $n$ consecutive tokens that have already occurred.


# %%
def forbid_repeated_ngrams(logits, sampled, context):
    """logits (B, V) -> (B, V), new"""
    raise NotImplementedError


check(forbid_repeated_ngrams)

# %% [markdown]
# ## 9. `apply_timestamp_rules` (4 points)
#
# The grammar of timestamps. Timestamps are the tokens with ids from `context.timestamp_begin` on, in order
# of time. If `context.without_timestamps` is true, forbid nothing. Otherwise, for each row:
#
# 1. `context.no_timestamps` is forbidden.
# 2. If the last token is a timestamp, look at the token before it. If that is a timestamp too, or if there
#    is none, the last token opened a segment: all timestamps are forbidden. If it is text, the last
#    token closed a segment: all tokens below `context.eot` are forbidden, so that a timestamp or `eot`
#    follows.
# 3. Timestamps never decrease. All timestamps before the row's last timestamp are forbidden. The last
#    timestamp itself is forbidden, too, unless it has just closed a segment: then the same time may open
#    the next one.
# 4. At the beginning (the row of `sampled` is empty) only timestamps are allowed, and of these only the
#    first and the `context.max_initial_timestamp` after it (all if that is `None`).
# 5. Finally, if all timestamps together are more probable than the best other token, forbid
#    all tokens that are not timestamps. (Compare the logarithm of the sum of the exponentials of the
#    timestamps' logits with the largest other logit, after rules 1 to 4. If every timestamp is
#    forbidden, do nothing.)


# %%
def apply_timestamp_rules(logits, sampled, context):
    """logits (B, V) -> (B, V), new"""
    raise NotImplementedError


check(apply_timestamp_rules)

# %% [markdown]
# ## Your search at work
#
# `network_step` makes a step function from the network and applies your rules. Timestamps are requested, so they
# appear in the text. If every check passes, your searches must find the same tokens as the library's.


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
# Run your `beam_search` on the small table of notebook 06 and draw its tree. Then try random tables: how many
# beams does it need to find the most probable sentence every time?
