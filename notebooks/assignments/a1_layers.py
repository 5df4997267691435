# %% [markdown]
# # Assignment 1 · Layers
#
# You write the layers of which Whisper consists, as functions of an input and its weights. Read
# notebook 02 first.
#
# **How it works** · Each task is a function with an empty body: write it, run the cell, and read
# what `check` says. It compares your function with what PyTorch computes, and often knows which
# mistake it was. Arrays are float32 and must not be changed in place. You may use NumPy, and the
# functions that you have written before. When all is right, the last cell lets your functions
# recognise real speech. Hand in this notebook. 8 tasks, 14 points.

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

# %% [markdown]
# ## 1. `linear` (1 point)
#
# $$ y_o = b_o + \sum_i W_{oi}\, x_i $$
#
# `w` is a dict with `w["weight"]` and perhaps `w["bias"]`: Whisper's key projections have none.
# `x` may have any number of axes before the last.


# %%
def linear(x, w):
    """x (..., D_in), weight (D_out, D_in), bias (D_out,) or missing -> (..., D_out)"""
    raise NotImplementedError


check(linear)

# %% [markdown]
# ## 2. `embedding` (1 point)
#
# Look up a row of the table for every token. NumPy can do that in one indexing.


# %%
def embedding(tokens, w):
    """tokens (B, T) integers, weight (V, D) -> (B, T, D)"""
    raise NotImplementedError


check(embedding)

# %% [markdown]
# ## 3. `gelu` (2 points)
#
# $$ \mathrm{gelu}(x) = \frac{x}{2} \left(1 + \mathrm{erf} \frac{x}{\sqrt 2}\right) $$
#
# The exact one. `scipy.special.erf` works on arrays; `math.erf` only on single numbers
# (`np.vectorize` helps). Mind the type of the result.


# %%
def gelu(x):
    """x (...) -> (...)"""
    raise NotImplementedError


check(gelu)

# %% [markdown]
# ## 4. `layer_norm` (2 points)
#
# $$ y = \frac{x - \mu}{\sqrt{\sigma^2 + \varepsilon}} \, w + b $$
#
# Mean and variance of the D features of each position; the variance divides by D; epsilon stands
# inside the root.


# %%
def layer_norm(x, w, eps=1e-5):
    """x (..., D), weight (D,), bias (D,) -> (..., D)"""
    raise NotImplementedError


check(layer_norm)

# %% [markdown]
# ## 5. `softmax` (2 points)
#
# $$ y_i = \frac{e^{x_i}}{\sum_j e^{x_j}} $$
#
# It must also work for x = 1000. What may you subtract from all x without changing the result?


# %%
def softmax(x):
    """x (..., N) -> (..., N), along the last axis"""
    raise NotImplementedError


check(softmax)

# %% [markdown]
# ## 6. `log_softmax` (1 point)
#
# The logarithm of softmax. Taking `np.log` of your softmax gives minus infinity where a
# probability is too small for float32: write it without ever leaving the logarithms.


# %%
def log_softmax(x):
    """x (..., N) -> (..., N), along the last axis"""
    raise NotImplementedError


check(log_softmax)

# %% [markdown]
# ## 7. `conv1d` (3 points)
#
# $$ y_{o,t} = b_o + \sum_i \sum_{j=0}^{2} W_{oij}\, x_{i,\,s t + j - 1} $$
#
# with stride s. Frames beyond both ends are zeros. Loops over the three taps are fine; loops over
# frames are too slow for the last cell.


# %%
def conv1d(x, w, stride=1):
    """x (B, D_in, F), weight (D_out, D_in, 3), bias (D_out,) -> (B, D_out, F // stride)"""
    raise NotImplementedError


check(conv1d)

# %% [markdown]
# ## 8. `sinusoids` (2 points)
#
# The encoder's table of positions. With $h = $ channels / 2 and rates $r_i = 10000^{-i / (h - 1)}$,
# where $i$ is 0 to $h - 1$, row t holds $\sin(t\, r_0), \dots, \sin(t\, r_{h-1})$ and then
# $\cos(t\, r_0), \dots, \cos(t\, r_{h-1})$: first all sines, then all cosines.


# %%
def sinusoids(length, channels):
    """-> (length, channels)"""
    raise NotImplementedError


check(sinusoids)

# %% [markdown]
# ## Your layers, at work
#
# `swap` puts your functions in the place of the library's; everything in between stays. If all
# checks pass, the recording is recognised by your own layers.

# %%
mine = [linear, embedding, gelu, layer_norm, softmax, conv1d]
if all(check(function) for function in [*mine, log_softmax, sinusoids]):
    with swap({function.__name__: function for function in mine}) as calls:
        result = npwhisper.transcribe(npwhisper.example())
    print(f"your layers were called {sum(calls.values())} times, and heard: {result['text']}")
    assert result["text"] == npwhisper.transcribe(npwhisper.example())["text"]
else:
    print("Some functions are not right yet.")

# %% [markdown]
# ## For the curious (no points)
#
# How many seconds do your layers need, and how many the library's? Where is the time lost? Look with
# `with npwhisper.profile() as p: ...`, and then at `p`.
