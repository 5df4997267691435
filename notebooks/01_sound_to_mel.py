# %% [markdown]
# # 01 · From sound to mel: the picture that Whisper looks at
#
# **What you will build** · The log-mel spectrogram, from samples to the array that enters the
# network: frames, a Fourier transform written as a matrix product, mel filters, a logarithm. At
# the end you turn the picture back into sound, and hear what Whisper can hear, and what not.
#
# **What you need** · NumPy, and what sine and cosine look like.
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
# A microphone measures the air pressure. `load_audio` reads any recording as 16000 numbers a
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
# From far away you see words and pauses. From near, where a vowel is spoken (here in "my"),
# you see a *pattern that repeats*: the vocal cords open and close one to three hundred times a
# second. The shape of the pattern, that is, the frequencies that are in it, tells which vowel it is.
# So a listener should look at frequencies, but only for a moment at a time, because a moment later
# the next sound comes.

# %% tags=["claim"]
vowel = samples[int(1.05 * SAMPLE_RATE) :]
alike = [np.corrcoef(vowel[:400], vowel[lag : lag + 400])[0, 1] for lag in range(53, 161)]
assert max(alike) > 0.9, "no pattern that repeats 100 to 300 times a second"

# %% [markdown]
# ## Cut into frames
#
# Whisper looks at 25 ms at a time (400 samples), and moves on by 10 ms (160 samples). The frames
# overlap.
#
# So that the first frame is *centred* on the first sample, the 200 samples at each end are mirrored
# beyond it.

# %%
padded = np.pad(samples, N_FFT // 2, mode="reflect")
n_frames = len(samples) // HOP_LENGTH
frames = np.stack([padded[i * HOP_LENGTH : i * HOP_LENGTH + N_FFT] for i in range(n_frames)])
print(f"{n_frames} frames of {N_FFT} samples")

# %% [markdown]
# A frame begins and ends abruptly, and an abrupt end sounds like a click, which contains all
# frequencies. So each frame is faded in and out by a bell, the *Hann window*.

# %%
frame = frames[108]
milliseconds = np.arange(N_FFT) * 1000 / SAMPLE_RATE
hertz = np.fft.rfftfreq(N_FFT, 1 / SAMPLE_RATE)
tone = np.sin(2 * np.pi * 1020 * np.arange(N_FFT) / SAMPLE_RATE)

# %% jupyter={"source_hidden": true}
fig, (left, right) = plt.subplots(1, 2)
left.plot(milliseconds, frame, label="frame", linewidth=1)
left.plot(milliseconds, frame * hann(), label="frame, faded", linewidth=1)
left.plot(milliseconds, hann() * np.abs(frame).max(), label="bell", linewidth=1, linestyle="--")
left.set(xlabel="time (ms)", ylabel="pressure")
left.set(ylim=(-0.65, 1.15))
left.legend(fontsize="small", loc="upper center", ncols=3, columnspacing=1, handlelength=1)
for window, label in ((1.0, "cut off"), (hann(), "faded")):
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
# On the right is a pure tone, which should be one narrow peak. Cut off, it smears over all
# frequencies; faded, it stays a peak.

# %% tags=["claim"]
far = hertz > 2000
spilt = [
    np.abs(np.fft.rfft(tone * window))[far].max() / np.abs(np.fft.rfft(tone * window)).max()
    for window in (1.0, hann())
]
assert spilt[0] > 0.01 > 0.0001 > spilt[1], spilt

# %% [markdown]
# ## Which frequencies are in a frame?
#
# To find out whether a frame contains, say, 1000 Hz, multiply it with a sine and a cosine of 1000
# Hz and add up. If the frame oscillates at that frequency, the sum is large. Do so for 0, 40, 80, ... 8000 Hz and
# you have the *discrete Fourier transform*. It is nothing but a matrix product.

# %%
k = np.arange(N_FFT // 2 + 1)[:, None]  # the number of full swings within a frame: 0 to 200
n = np.arange(N_FFT)[None]
cosines, sines = np.cos(2 * np.pi * k * n / N_FFT), np.sin(2 * np.pi * k * n / N_FFT)

faded = frames * hann()
power = (cosines @ faded.T) ** 2 + (sines @ faded.T) ** 2
print("power of each frequency in each frame:", power.shape)

# %% jupyter={"source_hidden": true}
fig, axes = plt.subplots(1, 2)
for ax, values, title in (
    (axes[0], power, "power"),
    (axes[1], np.log10(power + 1e-10), "its logarithm"),
):
    picture = ax.imshow(values, extent=(0, n_frames / 100, 0, 8000))
    ax.set(title=title, xlabel="time (s)", ylabel="frequency (Hz)")
    fig.colorbar(picture, ax=ax, label=title)
plt.show()

# %% [markdown]
# On the left there is hardly anything to see: the largest values are more than a million times as large
# as most of the others. Our ears cope with that, because they hear *ratios*: doubling the
# power always sounds like the same step. The logarithm (right) does the same.

# %% tags=["claim"]
assert power.max() > 1e6 * np.median(power)

# %% [markdown]
# The library computes the same with the *fast* Fourier transform, which gets by with far fewer
# multiplications.

# %%
assert np.allclose(stft(padded)[:, :n_frames], power, rtol=1e-3, atol=1e-5)

# %% [markdown]
# ## Pitch as the ear hears it
#
# From 200 to 300 Hz is a large step for the ear, from 7200 to 7300 Hz none at all. The *mel* scale
# numbers pitches so that equal steps sound equally large: in proportion below 1000 Hz,
# logarithmically above.

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
# Place 80 triangles at equal distances on the mel scale, and let each add up the power under it.
# That is a matrix product again, mostly with zeros: 201 frequencies become 80 *mel bins*, narrow
# ones for low pitches and wide ones for high ones. (The newest large models have 128 bins.)

# %%
mel_power = filters @ power
print(f"{filters.shape} @ {power.shape} -> {mel_power.shape}")

# %% [markdown]
# ## The logarithm, and a floor
#
# Three small steps remain: the logarithm; a floor, which lifts everything that is more than 80 dB (8
# powers of ten) below the loudest value, since that is only noise; and a shift and scale that bring the
# numbers near 0, which suits networks.

# %%
log_mel = np.log10(np.maximum(mel_power, 1e-10))
floored = np.maximum(log_mel, log_mel.max() - 8)
mel = (floored + 4) / 4

# %% jupyter={"source_hidden": true}
fig, ax = plt.subplots(figsize=(8, 3.2))
picture = ax.imshow(mel, extent=(0, n_frames / 100, 0, 80))
ax.set(title="what Whisper looks at", xlabel="time (s)", ylabel="mel bin")
fig.colorbar(picture, ax=ax, label="log power, scaled")
plt.show()

# %% [markdown]
# ## The equality
#
# Seven steps, and it is the library's spectrogram.

# %%
library = npwhisper.log_mel_spectrogram(samples, 80)
assert library.shape == mel.shape
assert np.abs(library - mel).max() < 1e-4
print(f"largest difference {np.abs(library - mel).max():.1e}")

# %% [markdown]
# For the network it is then padded to 30 seconds: 3000 frames. That is the whole input. Here is
# another voice: a volunteer of LibriVox reads the beginning of Shakespeare's first sonnet. It
# reaches the top of the picture, while Kennedy's recording has hardly anything above 5000 Hz. The
# black holes at the top are what MP3 compression leaves: it drops what the ear would not miss.

# %%
sonnet = npwhisper.load_audio(notebooks.path("sonnet.flac"))[: 11 * SAMPLE_RATE]

# %%
ax = plot_mel(npwhisper.log_mel_spectrogram(sonnet))
ax.set_title("eleven seconds of a reader")
plt.show()

# %% tags=["claim"]
reader = npwhisper.log_mel_spectrogram(sonnet)
high = (filters * hertz).sum(axis=1) / filters.sum(axis=1) > 5000
loud = [(picture_[high] > picture_.max() - 1.25).mean() for picture_ in (library, reader)]
assert loud[0] < 0.01 < 0.1 < loud[1], "50 dB below the loudest, above 5000 Hz"
black = reader <= reader.min() + 1e-6
assert black[high].mean() > 0.2 > 0.05 > black[~high].mean(), "holes at the top"

# %% [markdown]
# ## What does Whisper hear?
#
# The spectrogram keeps how *loud* each pitch is, and throws away when exactly each wave swings up
# and down (its *phase*) and everything that is finer than a mel bin. To hear what is left, take
# noise and make each of its frequencies as loud as the picture says.


# %%
def resound(mel, seed=0):
    """Shape noise like a log-mel spectrogram: (M, F) -> (160 F,)"""
    loudness = np.sqrt(np.maximum(np.linalg.pinv(mel_filters(len(mel))) @ 10 ** (4 * mel - 4), 0)).T
    phase = np.random.default_rng(seed).random(loudness.shape) * 2 * np.pi
    waves = np.fft.irfft(loudness * np.exp(1j * phase), N_FFT) * hann()
    sound = np.zeros(len(waves) * HOP_LENGTH + N_FFT)
    for i, wave in enumerate(waves):
        sound[i * HOP_LENGTH : i * HOP_LENGTH + N_FFT] += wave
    return sound[N_FFT // 2 : -N_FFT // 2].astype(np.float32)


notebooks.play(resound(mel)[: 5 * SAMPLE_RATE])

# %% [markdown]
# The melody of the voice is nearly gone: literally a whisper. The words are still there. The
# network agrees:

# %%
print(npwhisper.load_model().transcribe(resound(mel))["text"])

# %% [markdown]
# That is the same text as from the recording itself.

# %% tags=["claim"]
whisper = npwhisper.load_model()
assert whisper.transcribe(resound(mel))["text"] == whisper.transcribe(samples)["text"]

# %% [markdown]
# ## Exercises
#
# **1. Which bin?** Make one second of a pure tone of 1000 Hz, and of 4000 Hz. In which mel bin are
# they? Predict it with `hz_to_mel` first.

# %% tags=["exercise"]
bins = ...  # [the bin of 1000 Hz, the bin of 4000 Hz]

# %% jupyter={"source_hidden": true} tags=["check"]
scale = [hz_to_mel(np.array(pitch)) / hz_to_mel(np.array(8000)) for pitch in (1000, 4000)]
notebooks.exercise(
    bins,
    lambda found: np.allclose(found, 81 * np.array(scale) - 1, atol=1),
    "Make the tone, take a frame from its middle, and look for the largest bin.",
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
# 80 triangles have 82 corners, so the centre of bin i stands at (i + 1) / 81 of the scale.
#
# </details>

# %% [markdown]
# **2. Ten times louder.** Multiply the samples by 10. What happens to the spectrogram, and why is
# that good for a network?

# %% tags=["exercise"]
shift = ...  # how much larger the loud values of the spectrogram are

# %% jupyter={"source_hidden": true} tags=["check"]
notebooks.exercise(shift, lambda s: np.isclose(s, 0.5), "Subtract one spectrogram from the other.")

# %% [markdown]
# <details><summary>Solution</summary>
#
# Ten times the pressure is 100 times the power, so the logarithm grows by 2, and a quarter of that
# is 0.5: the whole picture is shifted by a half, floor included, and its shape stays the same.
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
# **3. A coarser ear.** How few mel bins still let *you* understand the sentence? Try `resound`
# with 40, 20, 10 and 5 bins.

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
# Ten bins are usually enough for people. Try it with somebody who does not know the sentence.
#
# </details>
