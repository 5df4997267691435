# %% [markdown]
# # Assignment 4 · Search
#
# In this assignment you write greedy search, beam search and the rules that forbid tokens. Read
# notebook 06 first.
#
# A search is given `step(tokens, parents)`, which returns the log-probabilities (B, V) of the
# next token for every row of tokens (B, T). `parents[i]` is the row of the *previous* call that
# row i continues, so that a cache can follow; on the first call `parents` is `None`.
#
# **How it works** · Each task is a function with an empty body. Write it, run the cell, and read
# what `check` reports: it compares your function with PyTorch's results and often names the
# mistake. Arrays are float32; leave the arguments unchanged. You may use NumPy, SciPy (but
# nothing ready-made that solves the task) and the functions you have already written. Once
# everything is right, the last cell transcribes real speech with your functions. Hand in this
# notebook. 9 tasks, 18 points.

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
# Take the most probable token at every step until it is `eot` or there are `max_tokens` new
# tokens. The rows are independent: one may end before another, and a row that has ended stays as
# it is.
#
# `Hypothesis(tokens, sum_logprob)` holds the *new* tokens, without `eot`, as a list of int, and
# the sum of the log-probabilities of all tokens taken, including `eot`.


# %%
def greedy_search(step, tokens, eot, max_tokens):
    """tokens (N, T) -> for each row a list of one Hypothesis"""
    raise NotImplementedError


check(greedy_search)

# %% [markdown]
# ## 2. `beam_search` (5 points)
#
# For each row of `tokens`, keep the `beam_size` best unfinished continuations. At each step the
# candidates are all continuations of all of them. Go through the candidates in order of
# decreasing total log-probability:
#
# - a candidate that ends in `eot` goes into the pool of finished hypotheses;
# - any other becomes one of the new `beam_size` beams;
# - stop once there are `beam_size` beams (candidates further down are not considered).
#
# The search of a row ends when its pool holds `round(beam_size * patience)` hypotheses; keep no
# more than that. If the steps run out first, fill the pool up to `beam_size` with unfinished
# beams, the best first.
#
# All beams of all rows go through `step` together, and all rows take part until the last one is
# done: the beams of a finished row are simply carried along. On the first call each row occurs
# once; on later calls `parents` indexes the rows of all beams.


# %%
def beam_search(step, tokens, eot, max_tokens, beam_size, patience=1.0):
    """tokens (N, T) -> for each row a list of Hypothesis"""
    raise NotImplementedError


check(beam_search)

# %% [markdown]
# ## 3. `rank` (1 point)
#
# Rank by the sum of log-probabilities divided by the number of tokens $n$ (at least 1). If a
# length penalty $\alpha$ is given, divide by $((5 + n) / 6)^\alpha$ instead.


# %%
def rank(hypotheses, length_penalty=None):
    """list of Hypothesis -> their indices, from the best to the worst"""
    raise NotImplementedError


check(rank)

# %% [markdown]
# ## 4. `compression_ratio` (1 point)
#
# The length of the text in UTF-8 bytes, divided by the length of what `zlib.compress` makes of
# it. Repetitive text compresses well, which is how `transcribe` detects loops.


# %%
def compression_ratio(text):
    """str -> float"""
    raise NotImplementedError


check(compression_ratio)

# %% [markdown]
# ## 5. `suppress_tokens` (1 point)
#
# Now the rules: functions from logits to *new* logits. `sampled` (B, T) holds the tokens so far;
# `context` is a `RuleContext`, a tuple with the ids of the special tokens.
#
# The first rule: minus infinity for every token in `context.suppressed`.


# %%
def suppress_tokens(logits, sampled, context):
    """logits (B, V) -> (B, V), new"""
    raise NotImplementedError


check(suppress_tokens)

# %% [markdown]
# ## 6. `suppress_blank` (1 point)
#
# Minus infinity for every token in `context.blank`, but only at the very beginning, when
# `sampled` holds only the `context.n_given` tokens that were given.


# %%
def suppress_blank(logits, sampled, context):
    """logits (B, V) -> (B, V), new"""
    raise NotImplementedError


check(suppress_blank)

# %% [markdown]
# ## 7. `penalize_repetition` (1 point)
#
# With $p$ = `context.repetition_penalty`: for every text token (below `context.eot`) that the row
# has already sampled, divide its logit by $p$ if it is positive and multiply it by $p$ if it is
# negative.


# %%
def penalize_repetition(logits, sampled, context):
    """logits (B, V) -> (B, V), new"""
    raise NotImplementedError


check(penalize_repetition)

# %% [markdown]
# ## 8. `forbid_repeated_ngrams` (2 points)
#
# Let $n$ = `context.no_repeat_ngram_size` (if it is 0, do nothing), and look at the text tokens
# of the row. Which tokens, appended to the last $n - 1$ of them, would repeat $n$ consecutive
# tokens that have already occurred? Those tokens get minus infinity.


# %%
def forbid_repeated_ngrams(logits, sampled, context):
    """logits (B, V) -> (B, V), new"""
    raise NotImplementedError


check(forbid_repeated_ngrams)

# %% [markdown]
# ## 9. `apply_timestamp_rules` (4 points)
#
# The grammar of timestamps. Timestamps are the tokens from `context.timestamp_begin` on, in order
# of time. If `context.without_timestamps` is set, do nothing. Otherwise, for each row:
#
# 1. `context.no_timestamps` is never allowed.
# 2. Suppose the last token is a timestamp. If the token before it is one too (or there is none),
#    no timestamp may follow. If it is not, a timestamp or `eot` must follow: everything below
#    `context.eot` is forbidden.
# 3. Timestamps never decrease. Everything below the row's latest timestamp is forbidden, and so
#    is that timestamp itself, unless it has just closed a segment (it is the last token, and text
#    precedes it): then the same time may open the next one.
# 4. At the beginning (nothing sampled yet), only timestamps are allowed, and none more than
#    `context.max_initial_timestamp` steps after the first (if that is not None).
# 5. Finally, if all timestamps together are more probable than the best other token, forbid
#    everything that is not a timestamp. (Compare the logarithm of the summed exponentials with
#    the largest logit. If no timestamp is possible at all, there is nothing to do.)


# %%
def apply_timestamp_rules(logits, sampled, context):
    """logits (B, V) -> (B, V), new"""
    raise NotImplementedError


check(apply_timestamp_rules)

# %% [markdown]
# ## Your search, at work
#
# `network_step` presents the network to a search, with your rules applied. Timestamps are
# requested, so they appear in the text.


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
# Run `beam_search` on the small table of notebook 06 and draw its tree. How wide must the beam be
# to always find the best sentence of a random table?
