# %% [markdown]
# # Assignment 1 · Layers
#
# In this assignment you write the layers that Whisper is built from, each as a function of an input
# and its weights. Read notebook 02 first.
#
# Letters in shapes: B batch, T tokens, F frames, D features, V vocabulary; `...` any number
# of axes.
#
# **How it works** · In each task the body of a function is missing. Write the body, run the cell, and
# read the report of `check`. It compares your function with reference results, says where they
# differ, and often names the mistake. Run it as often as you like. Arguments and results are
# float32 unless a task says otherwise. Do not change the arguments.
#
# **What is graded** · A task earns its points if every case is right: those of `check`, and
# others with different numbers and sizes. By default a task may take ten seconds. You may use
# NumPy, SciPy (except a function that is the task itself) and the functions that you have
# written. Hand in this notebook. 8 tasks, 14 points.
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

# %% [markdown]
# ## 1. `linear` (1 point)
#
# $$ y_o = b_o + \sum_i W_{oi}\, x_i $$
#
# `w` is a dict with `w["weight"]` and usually `w["bias"]`; Whisper's key projections have no bias.
# `x` may have any number of axes before the last.


# %%
def linear(x, w):
    """x (..., D_in), weight (D_out, D_in), bias (D_out,) or missing -> (..., D_out)"""
    raise NotImplementedError


check(linear)

# %% [markdown]
# ## 2. `embedding` (1 point)
#
# Look up one row of the table `w["weight"]` for each token. In NumPy, one indexing expression does it.


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
# Use this exact form, not the tanh approximation. `scipy.special.erf` takes arrays; `math.erf`
# takes single numbers only (`np.vectorize` helps, but its result is float64).


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
# The mean $\mu$ and the variance $\sigma^2$ are taken over the D features of each position. The
# variance divides by D, not by D - 1, and $\varepsilon$ (`eps`) is inside the square root. $w$ is
# `w["weight"]` and $b$ is `w["bias"]`.


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
# It must also work for $x_i = 1000$, where $e^{x_i}$ overflows. What can you subtract from every $x_i$
# without changing the result? (Some of the $x_i$ are minus infinity, but never all of a row.)


# %%
def softmax(x):
    """x (..., N) -> (..., N), along the last axis"""
    raise NotImplementedError


check(softmax)

# %% [markdown]
# ## 6. `log_softmax` (1 point)
#
# The logarithm of softmax. `np.log` of your softmax is minus infinity wherever a probability is too
# small for float32. So simplify the logarithm of the formula first, and compute that.


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
# where $s$ is the stride, 1 or 2, and F is a multiple of it. Frames beyond either end are zero. A
# loop over the three positions $j$ of the kernel is fine; a loop over the frames is too slow for the
# last cell.


# %%
def conv1d(x, w, stride=1):
    """x (B, D_in, F), weight (D_out, D_in, 3), bias (D_out,) -> (B, D_out, F // stride)"""
    raise NotImplementedError


check(conv1d)

# %% [markdown]
# ## 8. `sinusoids` (2 points)
#
# The encoder's table of positions. Let $h$ be half the number of channels, and let the rates be
# $r_i = 10000^{-i / (h - 1)}$ for $i$ from 0 to $h - 1$. Row $t$ holds $\sin(t\, r_0), \dots,
# \sin(t\, r_{h-1})$, followed by $\cos(t\, r_0), \dots, \cos(t\, r_{h-1})$: all sines first, then
# all cosines.


# %%
def sinusoids(length, channels):
    """-> (length, channels), float32; channels is even"""
    raise NotImplementedError


check(sinusoids)

# %% [markdown]
# ## Your layers at work
#
# `swap` replaces the library's functions by yours while the block lasts. If every check passes, your
# own layers transcribe the recording. The text must equal that of the library's layers.

# %%
mine = [linear, embedding, gelu, layer_norm, softmax, conv1d]
if all(check(function) for function in [*mine, log_softmax, sinusoids]):
    with swap({function.__name__: function for function in mine}) as calls:
        result = npwhisper.transcribe(npwhisper.example())
    print(f"your layers were called {sum(calls.values())} times and transcribed: {result['text']}")
    assert result["text"] == npwhisper.transcribe(npwhisper.example())["text"]
else:
    print("Some functions are not right yet.")

# %% [markdown]
# ## For the curious (no points)
#
# How many seconds do your layers take, and how many do the library's? Which layers take the most?
# Measure with `with npwhisper.profile() as p: ...`, then look at `p`.
