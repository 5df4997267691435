# %% [markdown]
# # Assignment 5 · Audio and alignment
#
# You write both ends of Whisper: the spectrogram that goes in, and the word times that come out.
# Read the notebooks 01 and 07 first.
#
# **How it works** · Each task is a function with an empty body: write it, run the cell, and read
# what `check` says. It compares your function with what PyTorch computes, and often knows which
# mistake it was. Arrays are float32 and must not be changed in place. You may use NumPy, and the
# functions that you have written before. When all is right, the last cell lets your functions
# recognise real speech. Hand in this notebook. 13 tasks, 23 points.

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
from npwhisper import check, swap, timing
from npwhisper.model import layers

# %% [markdown]
# ## 1. `pad_or_trim` (1 point)
#
# Cut the end off, or append zeros.


# %%
def pad_or_trim(array, length=480000, axis=-1):
    """any array -> the same with `length` along `axis`"""
    raise NotImplementedError


check(pad_or_trim)

# %% [markdown]
# ## 2. `hann` (1 point)
#
# The bell that fades a frame in and out: $\frac12 - \frac12 \cos(2 \pi n / 400)$ for n from 0 to
# 399. (Not `np.hanning(400)`, which is symmetric: the last value here is *not* 0.)


# %%
def hann():
    """-> (400,), float32"""
    raise NotImplementedError


check(hann)

# %% [markdown]
# ## 3. `stft` (3 points)
#
# The power of each frequency in each frame: frames of 400 samples, one every 160; times `hann()`;
# Fourier transform (`np.fft.rfft`); squared magnitude. Frequencies first. Nothing is padded here.


# %%
def stft(samples):
    """samples (400 + 160 (F - 1),) -> (201, F), float32"""
    raise NotImplementedError


check(stft)

# %% [markdown]
# ## 4. `hz_to_mel` (1 point)
#
# Below 1000 Hz: $3 f / 200$. From there on: $15 + 27 \ln(f / 1000) / \ln 6.4$. For arrays; beware
# of the logarithm of 0, even where it is not wanted.


# %%
def hz_to_mel(hz):
    """(...) -> (...)"""
    raise NotImplementedError


check(hz_to_mel)

# %% [markdown]
# ## 5. `mel_to_hz` (1 point)
#
# The way back.


# %%
def mel_to_hz(mel):
    """(...) -> (...)"""
    raise NotImplementedError


check(mel_to_hz)

# %% [markdown]
# ## 6. `mel_filters` (3 points)
#
# Triangles. Take n_mels + 2 points at equal distances in mel, from 0 to 8000 Hz, and turn them
# into Hz: triangle i rises from point i to point i + 1 and falls to point i + 2. Its values at the
# frequencies 0, 40, ... 8000 Hz are the weights; its area is made one by the factor 2 / (right -
# left).


# %%
def mel_filters(n_mels):
    """-> (n_mels, 201), float32"""
    raise NotImplementedError


check(mel_filters)

# %% [markdown]
# ## 7. `log_mel_spectrogram` (3 points)
#
# 1. Mirror 200 samples at both ends (`np.pad`, mode "reflect").
# 2. `stft`; drop the last frame (there are samples // 160).
# 3. `mel_filters(n_mels)` times power.
# 4. The logarithm to base 10 of at least 1e-10.
# 5. Nothing below the largest value minus 8.
# 6. Plus 4, divided by 4.


# %%
def log_mel_spectrogram(audio, n_mels=80):
    """audio (samples,) -> (n_mels, samples // 160), float32"""
    raise NotImplementedError


check(log_mel_spectrogram)

# %% [markdown]
# ## 8. `median_filter` (2 points)
#
# The median of the `filter_width` values (odd) around each value on the last axis. Beyond both
# ends the values are mirrored (mode "reflect"). If a row is not longer than filter_width // 2,
# return it as it is.


# %%
def median_filter(x, filter_width):
    """x (..., S) -> (..., S)"""
    raise NotImplementedError


check(median_filter)

# %% [markdown]
# ## 9. `standardise` (1 point)
#
# For each head and moment: mean 0 and standard deviation 1 over the tokens (the axis T). Where the
# deviation is 0, the result is 0.


# %%
def standardise(weights):
    """weights (H, T, S) -> (H, T, S)"""
    raise NotImplementedError


check(standardise)

# %% [markdown]
# ## 10. `token_map` (1 point)
#
# Softmax over the moments (`layers.softmax`), standardise, median filter, mean over the heads.


# %%
def token_map(scores, medfilt_width=7):
    """scores (H, T, S) -> (T, S)"""
    raise NotImplementedError


check(token_map)

# %% [markdown]
# ## 11. `dtw_cost` (3 points)
#
# The price of the cheapest path from the upper left cell to each cell, the cell's own price
# included. A path goes right, down, or both at once. When is a neighbour the cheapest? With
# *corner* (up and left), *up* and *left*: take the corner if it is strictly cheaper than both
# others; else up if it is strictly cheaper than both others; else left. (That is openai-whisper's
# rule. On a tie it takes left, even if left is the dearest of the three; so that your times agree
# with its times, do the same.)


# %%
def dtw_cost(x):
    """x (N, M) -> (N, M), float64"""
    raise NotImplementedError


check(dtw_cost)

# %% [markdown]
# ## 12. `backtrace` (2 points)
#
# From the last cell back to the first, by the same rule. In the first row one can only go left, in
# the first column only up.


# %%
def backtrace(cost):
    """cost (N, M) -> (2, L): the rows and the columns of the path, in order"""
    raise NotImplementedError


check(backtrace)

# %% [markdown]
# ## 13. `dtw` (1 point)
#
# Both together.


# %%
def dtw(x):
    """x (N, M) -> (2, L)"""
    raise NotImplementedError


check(dtw)

# %% [markdown]
# ## Your ears and your clock, at work
#
# The spectrogram is yours, and so are the word times.

# %%
ears = [pad_or_trim, hann, stft, hz_to_mel, mel_to_hz, mel_filters, log_mel_spectrogram]
clock = [median_filter, standardise, token_map, dtw_cost, backtrace, dtw]
if all(check(function) for function in ears + clock):
    whisper = npwhisper.load_model()
    samples = npwhisper.load_audio(npwhisper.example())
    mel = log_mel_spectrogram(pad_or_trim(samples), whisper.dims.n_mels)
    text = whisper.decode(mel, without_timestamps=True)
    print("your spectrogram was heard as:", text.text)

    given = (whisper, whisper.tokenizer, text.tokens, mel, len(samples) // 160)
    with swap({function.__name__: function for function in clock}):
        words = timing.find_alignment(*given)
    for word in words:
        print(f"{word.start:5.2f} to {word.end:5.2f} s {word.word}")
    assert [word.start for word in words] == [word.start for word in timing.find_alignment(*given)]
else:
    print("Some functions are not right yet.")

# %% [markdown]
# ## For the curious (no points)
#
# Record your own voice, and let every word of it be played backwards, each in its place.
