# %% [markdown]
# # 01 · From sound to mel: the input of the network
#
# **What you will build** · The log-mel spectrogram, the array that enters the network: frames, a
# Fourier transform written as a matrix product, mel filters, and a logarithm. At the end you turn
# the spectrogram back into sound and hear which information it keeps and which it loses.
#
# **What you need** · NumPy, and the shape of sine and cosine.
#
# **Which file this explains** · `npwhisper/audio/`

# %% jupyter={"source_hidden": true} tags=["install"]
# On Colab, install the package; elsewhere this cell does nothing.
import importlib.util
import subprocess
import sys

if "google.colab" in sys.modules and importlib.util.find_spec("npwhisper") is None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "npwhisper[notebooks]"]
    subprocess.run(command, check=True)

# %%
import matplotlib.pyplot as plt
import numpy as np

import npwhisper
from npwhisper import plot_mel
from npwhisper.audio import HOP_LENGTH, N_FFT, SAMPLE_RATE, hann, hz_to_mel, mel_filters, stft
from npwhisper.lab import notebooks

notebooks.use_style()

# %% [markdown]
# ## Sound is a list of numbers
#
# A microphone measures air pressure. `load_audio` reads a recording as *samples*: 16,000 numbers per
# second, between -1 and 1.

# %%
samples = npwhisper.load_audio(npwhisper.example())
print(samples.shape, samples.dtype, f"{len(samples) / SAMPLE_RATE:.2f} s")
notebooks.play(npwhisper.example())

# %% jupyter={"source_hidden": true}
fig, axes = plt.subplots(3, 1, figsize=(8, 5))
for ax, (begin, end) in zip(
    axes, [(0.0, len(samples) / SAMPLE_RATE), (1.0, 1.2), (1.05, 1.075)], strict=True
):
    part = slice(int(begin * SAMPLE_RATE), int(end * SAMPLE_RATE))
    ax.plot(np.arange(len(samples))[part] / SAMPLE_RATE, samples[part], linewidth=0.8)
    ax.set(ylabel="pressure", title=f"{1000 * (end - begin):.0f} ms")
axes[-1].set_xlabel("time (s)")
plt.show()

# %% [markdown]
# The top picture shows words and pauses. The lower two zoom in on a vowel (in "my") and show a
# *pattern that repeats*, because the vocal cords open and close 100 to 300 times per second. The
# shape of the pattern, and so the frequencies in it, distinguishes one vowel from another.
# Speech recognition therefore starts from frequencies. It measures them over short times, because
# speech sounds change within a few hundredths of a second.

# %% tags=["claim"]
vowel = samples[int(1.05 * SAMPLE_RATE) :]
alike = [np.corrcoef(vowel[:400], vowel[lag : lag + 400])[0, 1] for lag in range(53, 161)]
assert max(alike) > 0.9, "no pattern that repeats 100 to 300 times a second"

# %% [markdown]
# ## Cut the sound into frames
#
# A *frame* is 25 ms of sound (400 samples). Each frame starts 10 ms (160 samples) after the one
# before, so neighbouring frames overlap.
#
# The first frame is *centred* on the first sample. Half of it would lie before the beginning, so 200
# mirrored samples are added at each end (`mode="reflect"`).

# %%
padded = np.pad(samples, N_FFT // 2, mode="reflect")
n_frames = len(samples) // HOP_LENGTH
frames = np.stack([padded[i * HOP_LENGTH : i * HOP_LENGTH + N_FFT] for i in range(n_frames)])
print(f"{n_frames} frames of {N_FFT} samples")

# %% [markdown]
# A frame begins and ends abruptly. An abrupt edge is a click, and a click contains all frequencies.
# To avoid this, each frame is faded in and out: it is multiplied by a bell-shaped curve, the *Hann
# window*. To see the effect, compare a pure tone with and without it.

# %%
frame = frames[108]
milliseconds = np.arange(N_FFT) * 1000 / SAMPLE_RATE
hertz = np.fft.rfftfreq(N_FFT, 1 / SAMPLE_RATE)
tone = np.sin(2 * np.pi * 1020 * np.arange(N_FFT) / SAMPLE_RATE)

# %% jupyter={"source_hidden": true}
fig, (left, right) = plt.subplots(1, 2)
left.plot(milliseconds, frame, label="frame", linewidth=1)
left.plot(milliseconds, frame * hann(), label="windowed", linewidth=1)
left.plot(milliseconds, hann() * np.abs(frame).max(), label="window", linewidth=1, linestyle="--")
left.set(xlabel="time (ms)", ylabel="pressure")
left.set(ylim=(-0.65, 1.15))
left.legend(fontsize="small", loc="upper center", ncols=3, columnspacing=1, handlelength=1)
for window, label in ((1.0, "frame"), (hann(), "windowed")):
    right.plot(
        hertz, 20 * np.log10(np.abs(np.fft.rfft(tone * window)) + 1e-9), label=label, linewidth=1
    )
right.set(
    title="a pure tone of 1020 Hz",
    xlabel="frequency (Hz)",
    ylabel="level (dB)",
    xlim=(0, 4000),
    ylim=(-60, 50),
)
right.legend()
plt.show()

# %% [markdown]
# On the right is the spectrum of a pure tone, which should be a single narrow peak. In the plain frame
# it spreads over all frequencies (*spectral leakage*). With the window it stays a peak.

# %% tags=["claim"]
far = hertz > 2000
spilt = [
    np.abs(np.fft.rfft(tone * window))[far].max() / np.abs(np.fft.rfft(tone * window)).max()
    for window in (1.0, hann())
]
assert spilt[0] > 0.01 > 0.0001 > spilt[1], spilt

# %% [markdown]
# ## Measure the frequencies in a frame
#
# To measure how much of a frequency is in a frame, say 1000 Hz, multiply the frame by a sine and by
# a cosine of 1000 Hz and add up each product. If the frame oscillates at that frequency, at least
# one of the two sums is large. Their squares add up to the *power* at this frequency. Doing this for
# 0, 40, 80, ..., 8000 Hz is the *discrete Fourier transform*, which is a matrix product.

# %%
k = np.arange(N_FFT // 2 + 1)[:, None]  # whole oscillations in a frame: 0 to 200
n = np.arange(N_FFT)[None]
cosines, sines = np.cos(2 * np.pi * k * n / N_FFT), np.sin(2 * np.pi * k * n / N_FFT)

windowed = frames * hann()
power = (cosines @ windowed.T) ** 2 + (sines @ windowed.T) ** 2
print("power of each frequency in each frame:", power.shape)

# %% jupyter={"source_hidden": true}
fig, axes = plt.subplots(1, 2)
for ax, values, title in (
    (axes[0], power, "power"),
    (axes[1], np.log10(power + 1e-10), "log10 of the power"),
):
    picture = ax.imshow(values, extent=(0, n_frames / 100, 0, 8000))
    ax.set(title=title, xlabel="time (s)", ylabel="frequency (Hz)")
    fig.colorbar(picture, ax=ax, label=title)
plt.show()

# %% [markdown]
# The left picture is almost empty: the largest value is more than a million times the median. The
# ear handles such a range because loudness follows *ratios*: doubling the power sounds like roughly the same
# step, whether the sound is soft or loud. The logarithm (right) also turns equal ratios into equal steps.

# %% tags=["claim"]
assert power.max() > 1e6 * np.median(power)

# %% [markdown]
# The library computes the same power with the *fast* Fourier transform, which needs far fewer
# multiplications.

# %%
assert np.allclose(stft(padded)[:, :n_frames], power, rtol=1e-3, atol=1e-5)

# %% [markdown]
# ## From frequency to mel
#
# The step from 200 to 300 Hz sounds large, the step from 7200 to 7300 Hz is hardly noticeable. The *mel*
# scale assigns a number to every frequency so that equal differences sound about equally large. The
# version that Whisper uses is linear below 1000 Hz and logarithmic above.

# %% jupyter={"source_hidden": true}
fig, (left, right) = plt.subplots(1, 2)
left.plot(hertz, hz_to_mel(hertz))
left.set(xlabel="frequency (Hz)", ylabel="pitch (mel)")
filters = mel_filters(80)
for i in range(0, 80, 6):
    right.plot(hertz, filters[i], linewidth=1)
right.set(title="every sixth mel filter", xlabel="frequency (Hz)", ylabel="weight (1/Hz)")
plt.show()

# %% [markdown]
# Place 80 triangles at equal distances on the mel scale. Each is a *filter*: it adds up the power
# of the frequencies under it, weighted by its height. This is another matrix product, with a matrix that
# is mostly zeros. It reduces 201 frequencies to 80 *mel bins*, narrow ones at low frequencies and wide ones at
# high frequencies. (`large-v3` and `turbo` have 128 bins.)

# %%
mel_power = filters @ power
print(f"{filters.shape} @ {power.shape} -> {mel_power.shape}")

# %% [markdown]
# ## Logarithm, floor and scale
#
# Three small steps remain: the logarithm; a floor, which raises every value that is more than 80 dB (8
# powers of ten) below the loudest one to that level; and a shift and a scale that bring the numbers close
# to 0, a range in which networks train well.

# %%
log_mel = np.log10(np.maximum(mel_power, 1e-10))
floored = np.maximum(log_mel, log_mel.max() - 8)
mel = (floored + 4) / 4

# %% jupyter={"source_hidden": true}
fig, ax = plt.subplots(figsize=(8, 3.2))
picture = ax.imshow(mel, extent=(0, n_frames / 100, 0, 80))
ax.set(title="the input of Whisper", xlabel="time (s)", ylabel="mel bin")
fig.colorbar(picture, ax=ax, label="log power, scaled")
plt.show()

# %% [markdown]
# ## The equality
#
# You have taken seven steps: frames, window, Fourier transform, mel filters, logarithm, floor, scale.
# The result equals the library's spectrogram.

# %%
library = npwhisper.log_mel_spectrogram(samples, 80)
assert library.shape == mel.shape
assert np.abs(library - mel).max() < 1e-4
print(f"largest difference {np.abs(library - mel).max():.1e}")

# %% [markdown]
# The network receives a window of 30 seconds, so the array is padded to 3000 frames. That is its whole input.
#
# Spectrograms of other recordings look different. Here a LibriVox volunteer reads the beginning of
# Shakespeare's first sonnet. This recording reaches the top of the picture, while Kennedy's has hardly
# anything above 5000 Hz. The black holes at the top are a trace of MP3 compression, which drops
# what the ear would hardly notice.

# %%
sonnet = npwhisper.load_audio(notebooks.path("sonnet.flac"))[: 11 * SAMPLE_RATE]

# %%
ax = plot_mel(npwhisper.log_mel_spectrogram(sonnet))
ax.set_title("eleven seconds of the sonnet")
plt.show()

# %% tags=["claim"]
reader = npwhisper.log_mel_spectrogram(sonnet)
high = (filters * hertz).sum(axis=1) / filters.sum(axis=1) > 5000
loud = [(picture_[high] > picture_.max() - 1.25).mean() for picture_ in (library, reader)]
assert loud[0] < 0.01 < 0.1 < loud[1], "50 dB below the loudest, above 5000 Hz"
black = reader <= reader.min() + 1e-6
assert black[high].mean() > 0.2 > 0.05 > black[~high].mean(), "holes at the top"

# %% [markdown]
# ## Listen to what the spectrogram keeps
#
# The spectrogram keeps how *loud* each mel bin is. It loses two things: at which point of its
# oscillation each wave is (the *phase*), and all differences within a mel bin. To hear what is left, start
# from noise, which has random phases, and give each frequency the loudness that the spectrogram has there.


# %%
def resound(mel, seed=0):
    """Give noise the loudness of a log-mel spectrogram: (M, F) -> (160 F,)"""
    loudness = np.sqrt(np.maximum(np.linalg.pinv(mel_filters(len(mel))) @ 10 ** (4 * mel - 4), 0)).T
    phase = np.random.default_rng(seed).random(loudness.shape) * 2 * np.pi
    waves = np.fft.irfft(loudness * np.exp(1j * phase), N_FFT) * hann()
    sound = np.zeros(len(waves) * HOP_LENGTH + N_FFT)
    for i, wave in enumerate(waves):
        sound[i * HOP_LENGTH : i * HOP_LENGTH + N_FFT] += wave
    return sound[N_FFT // 2 : -N_FFT // 2].astype(np.float32)


notebooks.play(resound(mel)[: 5 * SAMPLE_RATE])

# %% [markdown]
# The melody of the voice is nearly gone, and it sounds like a whisper, but you can still understand
# the words. So can the network:

# %%
print(npwhisper.load_model().transcribe(resound(mel))["text"])

# %% [markdown]
# The text is the same as that of the original recording.

# %% tags=["claim"]
whisper = npwhisper.load_model()
assert whisper.transcribe(resound(mel))["text"] == whisper.transcribe(samples)["text"]

# %% [markdown]
# ## Exercises
#
# **1. Which bin?** Make one second of a pure tone of 1000 Hz, and one of 4000 Hz. Which mel bin is the largest
# for each? Predict it with `hz_to_mel` first.

# %% tags=["exercise"]
bins = ...  # [the bin of 1000 Hz, the bin of 4000 Hz]

# %% jupyter={"source_hidden": true} tags=["check"]
scale = [hz_to_mel(np.array(pitch)) / hz_to_mel(np.array(8000)) for pitch in (1000, 4000)]
notebooks.exercise(
    bins,
    lambda found: np.allclose(found, 81 * np.array(scale) - 1, atol=1),
    "Make the tone, take a frame from the middle of its spectrogram, and find the largest bin.",
)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# bins = []
# for pitch in (1000, 4000):
#     tone = np.sin(2 * np.pi * pitch * np.arange(SAMPLE_RATE) / SAMPLE_RATE).astype(np.float32)
#     found = npwhisper.log_mel_spectrogram(tone)[:, 50].argmax()
#     predicted = hz_to_mel(np.array(pitch)) / hz_to_mel(np.array(8000)) * 81 - 1
#     print(f"{pitch} Hz: predicted {predicted:.1f}, found {found}")
#     assert abs(found - predicted) <= 1
#     bins.append(found)
# ```
#
# 80 overlapping triangles need 82 equally spaced points on the mel scale: each triangle starts at one
# point, peaks at the next and ends at the one after. So bin i peaks at the fraction (i + 1) / 81 of the scale.
#
# </details>

# %% [markdown]
# **2. Ten times the pressure.** Multiply the samples by 10. How does the spectrogram change, and why does
# that help the network?

# %% tags=["exercise"]
shift = ...  # by how much the values above the floor grow

# %% jupyter={"source_hidden": true} tags=["check"]
notebooks.exercise(shift, lambda s: np.isclose(s, 0.5), "Subtract one spectrogram from the other.")

# %% [markdown]
# <details><summary>Solution</summary>
#
# Ten times the pressure is 100 times the power, so the logarithm grows by 2, and the scaled value by a
# quarter of that, 0.5. The floor moves with the loudest value, so the whole spectrogram grows by 0.5. For
# the network, soft and loud speech are therefore the same pattern, shifted by a constant.
#
# ```python
# louder = npwhisper.log_mel_spectrogram(10 * samples)
# loud_enough = library > library.min() + 1e-6
# assert np.allclose((louder - library)[loud_enough], 0.5, atol=1e-4)
# shift = (louder - library)[loud_enough].mean()
# ```
#
# </details>

# %% [markdown]
# **3. Fewer bins.** How many mel bins do *you* need to understand the sentence? Try `resound` with
# 40, 20, 10 and 5 bins.

# %% tags=["exercise"]
coarse = ...  # the sound of ten mel bins

# %% jupyter={"source_hidden": true} tags=["check"]
ten_bins = npwhisper.log_mel_spectrogram(samples, 10)
notebooks.exercise(coarse, lambda sound: np.allclose(sound, resound(ten_bins), atol=1e-4))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# for n_mels in (40, 20, 10, 5):
#     sound = resound(npwhisper.log_mel_spectrogram(samples, n_mels))
#     assert len(sound) == len(samples) // HOP_LENGTH * HOP_LENGTH
# coarse = resound(npwhisper.log_mel_spectrogram(samples, 10))
# notebooks.play(coarse)
# ```
#
# Ask somebody who does not know the sentence. People need few bins: Shannon et al. (1995, *Science* 270)
# found that listeners recognise simple sentences well from only three bands of noise.
#
# </details>
