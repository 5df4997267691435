# %% [markdown]
# # Assignment 5 · Audio and alignment
#
# In this assignment you write both ends of Whisper: the spectrogram that goes in and the word
# times that come out. Read notebooks 01 and 07 first.
#
# **How it works** · Each task is a function with an empty body. Write it, run the cell, and read
# what `check` reports: it compares your function with PyTorch's results and often names the
# mistake. Arrays are float32; leave the arguments unchanged. You may use NumPy, SciPy (but
# nothing ready-made that solves the task) and the functions you have already written. Once
# everything is right, the last cell transcribes real speech with your functions. Hand in this
# notebook. 13 tasks, 23 points.

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
# Cut off the end, or append zeros.


# %%
def pad_or_trim(array, length=480000, axis=-1):
    """any array -> the same with `length` along `axis`"""
    raise NotImplementedError


check(pad_or_trim)

# %% [markdown]
# ## 2. `hann` (1 point)
#
# The window that fades each frame in and out: $\frac12 - \frac12 \cos(2 \pi n / 400)$ for $n$
# from 0 to 399. (Not `np.hanning(400)`, which is symmetric; here the last value is *not* 0.)


# %%
def hann():
    """-> (400,), float32"""
    raise NotImplementedError


check(hann)

# %% [markdown]
# ## 3. `stft` (3 points)
#
# The power of each frequency in each frame. Take a frame of 400 samples every 160 samples,
# multiply it by `hann()`, apply the Fourier transform (`np.fft.rfft`), and square the magnitude.
# Frequencies are the first axis. There is no padding here.


# %%
def stft(samples):
    """samples (400 + 160 (F - 1),) -> (201, F), float32"""
    raise NotImplementedError


check(stft)

# %% [markdown]
# ## 4. `hz_to_mel` (1 point)
#
# Below 1000 Hz: $3 f / 200$. From 1000 Hz on: $15 + 27 \ln(f / 1000) / \ln 6.4$. It must take
# arrays; avoid the logarithm of 0, even where its result is not used.


# %%
def hz_to_mel(hz):
    """(...) -> (...)"""
    raise NotImplementedError


check(hz_to_mel)

# %% [markdown]
# ## 5. `mel_to_hz` (1 point)
#
# The inverse of `hz_to_mel`.


# %%
def mel_to_hz(mel):
    """(...) -> (...)"""
    raise NotImplementedError


check(mel_to_hz)

# %% [markdown]
# ## 6. `mel_filters` (3 points)
#
# Triangular filters. Take `n_mels + 2` points, equally spaced in mel from 0 to 8000 Hz, and
# convert them to Hz. Triangle $i$ rises from point $i$ to point $i + 1$ and falls to point $i +
# 2$. Its values at the frequencies 0, 40, ..., 8000 Hz are the weights; the factor 2 / (right -
# left) gives it an area of one.


# %%
def mel_filters(n_mels):
    """-> (n_mels, 201), float32"""
    raise NotImplementedError


check(mel_filters)

# %% [markdown]
# ## 7. `log_mel_spectrogram` (3 points)
#
# 1. Pad both ends with 200 mirrored samples (`np.pad`, mode "reflect").
# 2. Apply `stft` and drop the last frame, which leaves samples // 160.
# 3. Multiply `mel_filters(n_mels)` by the power.
# 4. Take the logarithm to base 10, of at least 1e-10.
# 5. Raise everything below the maximum minus 8 to that value.
# 6. Add 4 and divide by 4.


# %%
def log_mel_spectrogram(audio, n_mels=80):
    """audio (samples,) -> (n_mels, samples // 160), float32"""
    raise NotImplementedError


check(log_mel_spectrogram)

# %% [markdown]
# ## 8. `median_filter` (2 points)
#
# The median of the `filter_width` (odd) values around each value, along the last axis. Values
# beyond either end are mirrored (mode "reflect"). If a row is not longer than `filter_width //
# 2`, return it unchanged.


# %%
def median_filter(x, filter_width):
    """x (..., S) -> (..., S)"""
    raise NotImplementedError


check(median_filter)

# %% [markdown]
# ## 9. `standardise` (1 point)
#
# For each head and moment, scale to mean 0 and standard deviation 1 over the tokens (axis T).
# Where the deviation is 0, the result is 0.


# %%
def standardise(weights):
    """weights (H, T, S) -> (H, T, S)"""
    raise NotImplementedError


check(standardise)

# %% [markdown]
# ## 10. `token_map` (1 point)
#
# Softmax over the moments (`layers.softmax`), then `standardise`, `median_filter`, and the mean
# over the heads.


# %%
def token_map(scores, medfilt_width=7):
    """scores (H, T, S) -> (T, S)"""
    raise NotImplementedError


check(token_map)

# %% [markdown]
# ## 11. `dtw_cost` (3 points)
#
# The cost of the cheapest path from the upper left cell to each cell, including both ends. A path
# moves right, down, or both at once. Call the three possible predecessors *corner* (up and left),
# *up* and *left*: take the corner if it is strictly cheaper than both others, else up if it is
# strictly cheaper than both others, else left. (This is openai-whisper's rule. On a tie it takes
# left even if left is the most expensive of the three; do the same, so that your times agree with
# its times.)


# %%
def dtw_cost(x):
    """x (N, M) -> (N, M), float64"""
    raise NotImplementedError


check(dtw_cost)

# %% [markdown]
# ## 12. `backtrace` (2 points)
#
# From the last cell back to the first, by the same rule. In the first row the path can only go
# left, in the first column only up.


# %%
def backtrace(cost):
    """cost (N, M) -> (2, L): the rows and the columns of the path, in order"""
    raise NotImplementedError


check(backtrace)

# %% [markdown]
# ## 13. `dtw` (1 point)
#
# `dtw_cost` and `backtrace` together.


# %%
def dtw(x):
    """x (N, M) -> (2, L)"""
    raise NotImplementedError


check(dtw)

# %% [markdown]
# ## Your audio and alignment, at work
#
# Your spectrogram goes into the network, and your functions find the word times.

# %%
ears = [pad_or_trim, hann, stft, hz_to_mel, mel_to_hz, mel_filters, log_mel_spectrogram]
clock = [median_filter, standardise, token_map, dtw_cost, backtrace, dtw]
if all(check(function) for function in ears + clock):
    whisper = npwhisper.load_model()
    samples = npwhisper.load_audio(npwhisper.example())
    mel = log_mel_spectrogram(pad_or_trim(samples), whisper.dims.n_mels)
    text = whisper.decode(mel, without_timestamps=True)
    print("transcribed from your spectrogram:", text.text)

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
# Record your own voice and play every word backwards, each in its place.
