# %% [markdown]
# # Assignment 5 · Audio and alignment
#
# In this assignment you write both ends of Whisper: the spectrogram that goes in and the word
# times that come out. Read notebooks 01 and 07 first.
#
# Letters in shapes: F frames, H heads, T tokens, S audio positions, N and M rows and columns of
# a table, L cells on a path; `...` any number of axes.
#
# **How it works** · In each task the body of a function is missing. Write the body, run the cell, and
# read the report of `check`. It compares your function with reference results, says where they
# differ, and often names the mistake. Run it as often as you like. Arguments and results are
# float32 unless a task says otherwise. Do not change the arguments.
#
# **What is graded** · A task earns its points if every case is right: those of `check`, and
# others with different numbers and sizes. By default a task may take ten seconds. You may use
# NumPy, SciPy (except a function that is the task itself), the functions that you have written,
# and npwhisper's functions of assignments 1 to 4, such as `layers.softmax`. Hand in this
# notebook. 13 tasks, 23 points.
#
# Once every check passes, the last cell transcribes real speech from your spectrogram and finds
# the word times with your functions.

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
# Cut off the end of the array along `axis`, or append zeros, so that it has `length` values there.


# %%
def pad_or_trim(array, length=480000, axis=-1):
    """an array of any shape -> the same shape, except `length` along `axis`"""
    raise NotImplementedError


check(pad_or_trim)

# %% [markdown]
# ## 2. `hann` (1 point)
#
# The Hann window, which fades each frame in and out: $\frac12 - \frac12 \cos(2 \pi n / 400)$ for $n$
# from 0 to 399. (This is not `np.hanning(400)`, which is symmetric; here the last value is *not* 0.)


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
# The first axis of the result is frequency. Do not pad the samples here.


# %%
def stft(samples):
    """samples (400 + 160 (F - 1),) -> (201, F), float32"""
    raise NotImplementedError


check(stft)

# %% [markdown]
# ## 4. `hz_to_mel` (1 point)
#
# The mel scale. Below 1000 Hz, the mel of a frequency $f$ is $3 f / 200$; from 1000 Hz on it is
# $15 + 27 \ln(f / 1000) / \ln 6.4$. The function must take arrays (here float64). Avoid the logarithm
# of 0, even where its result is not used.


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
# Triangular filters. Take `n_mels + 2` points from 0 to 8000 Hz, equally spaced on the mel scale, and
# convert them to Hz. Triangle $i$ rises from 0 at point $i$ to 1 at point $i + 1$, and falls to 0 at
# point $i + 2$. Row $i$ of the result holds its values at the frequencies 0, 40, ..., 8000 Hz, multiplied
# by 2 / (point $i + 2$ - point $i$) in Hz, so that its area is 1.


# %%
def mel_filters(n_mels):
    """-> (n_mels, 201), float32"""
    raise NotImplementedError


check(mel_filters)

# %% [markdown]
# ## 7. `log_mel_spectrogram` (3 points)
#
# 1. Pad both ends with 200 mirrored samples (`np.pad`, mode "reflect").
# 2. Apply `stft` and drop the last frame, which leaves samples // 160 frames.
# 3. Compute the matrix product of `mel_filters(n_mels)` and the power.
# 4. Replace values below 1e-10 by 1e-10, and take the logarithm to base 10.
# 5. Replace values below the maximum minus 8 by the maximum minus 8.
# 6. Add 4 and divide by 4.


# %%
def log_mel_spectrogram(audio, n_mels=80):
    """audio (samples,) -> (n_mels, samples // 160), float32"""
    raise NotImplementedError


check(log_mel_spectrogram)

# %% [markdown]
# ## 8. `median_filter` (2 points)
#
# The median of the `filter_width` (odd) values around each value, along the last axis. Beyond either end
# the values are mirrored (`np.pad`, mode "reflect"). If the last axis is not longer than
# `filter_width // 2`, return the values unchanged.


# %%
def median_filter(x, filter_width):
    """x (..., S) -> (..., S)"""
    raise NotImplementedError


check(median_filter)

# %% [markdown]
# ## 9. `standardise` (1 point)
#
# For each head and audio position, subtract the mean over the tokens (axis T) and divide by the standard
# deviation over the tokens, in which the variance divides by T. Where the deviation is 0, the result is 0.


# %%
def standardise(weights):
    """weights (H, T, S) -> (H, T, S)"""
    raise NotImplementedError


check(standardise)

# %% [markdown]
# ## 10. `token_map` (1 point)
#
# Apply softmax over the audio positions (`layers.softmax`), then `standardise`, then `median_filter` with the
# width `medfilt_width`, and take the mean over the heads.


# %%
def token_map(scores, medfilt_width=7):
    """scores (H, T, S) -> (T, S)"""
    raise NotImplementedError


check(token_map)

# %% [markdown]
# ## 11. `dtw_cost` (3 points)
#
# `x` holds the cost of each cell. Compute the cost of the cheapest path from the upper left cell to each
# cell, both ends included. A step goes right, down, or both at once, so the path comes to a cell from one of
# three cells: *corner* (up and left), *up* or *left*. Take the corner if it is strictly cheaper than both
# others; otherwise take up if it is strictly cheaper than both others; otherwise take left. (This is
# openai-whisper's rule. If corner and up are equal, it takes left even if left is the most expensive. Do the
# same, so that your word times agree with openai-whisper's.)


# %%
def dtw_cost(x):
    """x (N, M) -> (N, M), float64"""
    raise NotImplementedError


check(dtw_cost)

# %% [markdown]
# ## 12. `backtrace` (2 points)
#
# Find the cheapest path itself. Start at the last cell (lower right) and go back to the first, by the same rule
# as in task 11. In the first row the path can only go left, in the first column only up.


# %%
def backtrace(cost):
    """cost (N, M), of `dtw_cost` -> (2, L): rows and columns of the path, from the first cell to the last"""
    raise NotImplementedError


check(backtrace)

# %% [markdown]
# ## 13. `dtw` (1 point)
#
# `dtw_cost`, then `backtrace`.


# %%
def dtw(x):
    """x (N, M) -> (2, L)"""
    raise NotImplementedError


check(dtw)

# %% [markdown]
# ## Your audio and alignment at work
#
# If every check passes, the network transcribes your spectrogram, and your functions find the word times. They
# must equal those of the library.

# %%
audio = [pad_or_trim, hann, stft, hz_to_mel, mel_to_hz, mel_filters, log_mel_spectrogram]
alignment = [median_filter, standardise, token_map, dtw_cost, backtrace, dtw]
if all(check(function) for function in audio + alignment):
    whisper = npwhisper.load_model()
    samples = npwhisper.load_audio(npwhisper.example())
    mel = log_mel_spectrogram(pad_or_trim(samples), whisper.dims.n_mels)
    text = whisper.decode(mel, without_timestamps=True)
    print("transcribed from your spectrogram:", text.text)

    given = (whisper, whisper.tokenizer, text.tokens, mel, len(samples) // 160)
    with swap({function.__name__: function for function in alignment}):
        words = timing.find_alignment(*given)
    for word in words:
        print(f"{word.start:5.2f} to {word.end:5.2f} s {word.word}")
    assert [word.start for word in words] == [word.start for word in timing.find_alignment(*given)]
else:
    print("Some functions are not right yet.")

# %% [markdown]
# ## For the curious (no points)
#
# Record your own voice, find its word times, and play the recording with each word reversed in its place.
