# %% [markdown]
# # 02 · Layers: linear, layer norm, GELU, convolution
#
# **What you will build** · The four small functions that make up most of the network: linear, layer
# norm, GELU and convolution. You write each as a formula and then as a few lines of NumPy. At the
# end you combine them into the front end of the encoder.
#
# **What you need** · Matrix products and broadcasting, and notebook 01 for the spectrogram.
#
# **Which file this explains** · `npwhisper/model/layers.py`

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

import matplotlib.pyplot as plt
import numpy as np

import npwhisper
from npwhisper.lab import notebooks
from npwhisper.model import layers, mlp

notebooks.use_style()
model = npwhisper.load_model()
mel = npwhisper.log_mel_spectrogram(
    npwhisper.pad_or_trim(npwhisper.load_audio(npwhisper.example())), model.dims.n_mels
)

with npwhisper.trace("encoder*") as acts:  # real values to work with
    model.embed_audio(mel)
print(acts)

# %% [markdown]
# ## A layer is a function of an input and its weights
#
# Every layer in this notebook is a function `f(x, w)` of its input and its weights, and has no other
# state. The *weights* are the arrays that training has found. The checkpoint stores them under
# PyTorch's names, such as `encoder.blocks.0.mlp.0.weight`. `model.scope` nests them at the dots, so
# that each layer can be given its own part. The trace above holds what the encoder's layers compute for
# the recording of notebook 00, so you can check every function on real values.

# %%
w = model.scope["encoder"]["blocks"]["0"]["mlp"]["0"]
print(w.name, {name: array.shape for name, array in w.items()})

# %% [markdown]
# ## Linear: inner products with rows of weights
#
# A linear layer has one row of weights for each of its outputs. The output is the inner product of
# this row with the input, plus a constant, the *bias*. The more the input points in the direction of
# the row, the larger the inner product. As a formula:
#
# $$ y_o = b_o + \sum_i W_{oi}\, x_i $$
#
# `einsum` writes this formula in NumPy; a matrix product computes it faster. PyTorch stores $W$
# as (outputs, inputs), so the code transposes it.

# %%
x = acts["encoder.blocks.0.mlp_ln"]  # (1, 1500, D): D numbers at each of 1500 positions
by_definition = np.einsum("bti,oi->bto", x, w["weight"]) + w["bias"]
by_product = x @ w["weight"].T + w["bias"]
assert np.allclose(by_definition, by_product, atol=1e-4)
assert np.allclose(layers.linear(x, w), by_product, atol=1e-4)
print(f"{x.shape} -> {by_product.shape}: the same weights at every position")

# %% [markdown]
# ## Layer norm: bring every position to the same scale
#
# Numbers that pass through many layers tend to grow or to shrink. A layer norm takes the D numbers
# of *one position*, subtracts their mean and divides by their standard deviation. Then it multiplies
# each of the D features by a learned scale $w$ and adds a learned shift $b$.
#
# $$ y = \frac{x - \mu}{\sqrt{\sigma^2 + \varepsilon}} \, w + b $$
#
# Two details are easy to get wrong: the variance is the *biased* one (divide by D, not by D - 1),
# and $\varepsilon = 10^{-5}$ is *inside* the root.


# %%
def layer_norm(x, w, eps=1e-5):
    mean = x.mean(axis=-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(axis=-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + eps) * w["weight"] + w["bias"]


last = model.dims.n_audio_layer - 1
before = acts[f"encoder.blocks.{last}"]
norm = model.scope["encoder"]["ln_post"]
after = layer_norm(before, norm)
assert np.allclose(layers.layer_norm(before, norm), after, atol=1e-4)

# %% jupyter={"source_hidden": true}
fig, (left, right) = plt.subplots(1, 2, sharex=True)
for ax, values, title in ((left, before, "before"), (right, after, "after")):
    spread = values[0, :145].std(axis=-1)
    ax.plot(np.arange(145) / 50, values[0, :145].mean(axis=-1), label="mean")
    ax.plot(np.arange(145) / 50, spread, label="standard deviation", linestyle="--")
    ax.set(title=f"{title} the last layer norm", xlabel="time (s)", ylabel="over the features")
left.legend()
plt.show()

# %% [markdown]
# Before the layer norm, two positions stand out: their standard deviation is more than 20 times that
# of a typical position. Both lie where nobody speaks, before the first word and in the first pause. Many
# large transformers have such outliers, usually at positions with little information. Sun et al. (2024) call them
# *massive activations* and show that attention concentrates on them. After the layer norm, the standard
# deviations of all positions are within a factor of 3.

# %% tags=["claim"]
sizes = [values[0, :145].std(axis=-1) for values in (before, after)]
outliers = np.flatnonzero(sizes[0] > 5 * np.median(sizes[0]))
assert len(outliers) == 2
assert (sizes[0][outliers] > 20 * np.median(sizes[0])).all()
loudness = mel[:, :290].mean(axis=0).reshape(-1, 2).mean(axis=1)
assert (loudness[outliers] < np.quantile(loudness, 0.3)).all(), "where nobody speaks"
assert sizes[1].max() < 3 * sizes[1].min()

# %% [markdown]
# ## GELU: a nonlinearity
#
# Two linear layers in a row are equivalent to a single one, and so is any longer stack. A stack can compute more
# only with a *nonlinearity* in between, a function whose graph is not a straight line. The simplest is ReLU,
# `max(x, 0)`, which sets negative values to zero. GELU is a smooth version: it multiplies x by the
# probability $\Phi(x)$ that a standard normal random number is smaller than x.
#
# $$ \mathrm{gelu}(x) = x \cdot \Phi(x) = \frac{x}{2} \left(1 + \mathrm{erf} \frac{x}{\sqrt 2}\right) $$


# %%
def gelu(x):
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def gelu_tanh(x):  # an approximation that other networks use, but not Whisper
    return x * 0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


t = np.linspace(-4, 4, 401)

# %% jupyter={"source_hidden": true}
fig, (left, right) = plt.subplots(1, 2)
left.plot(t, np.maximum(t, 0), label="ReLU", linestyle="--")
left.plot(t, gelu(t), label="GELU")
left.set(xlabel="x", ylabel="y", title="two nonlinearities")
left.legend()
library = layers.gelu(t.astype(np.float32))
right.semilogy(t, np.abs(gelu_tanh(t) - gelu(t)) + 1e-9, label="tanh approximation")
right.semilogy(t, np.abs(library - gelu(t)) + 1e-9, label="npwhisper, in float32", linestyle="--")
right.set(xlabel="x", ylabel="error", title="difference from the definition", ylim=(1e-12, 1e-2))
right.legend(loc="lower center")
plt.show()

# %% [markdown]
# The right plot shows the errors of two approximations. The well-known tanh approximation is off by almost
# 5e-4, which can be enough to change a token. The library also uses a tanh, but of a longer polynomial with
# fitted coefficients. In float32 its error stays below 1e-6, and it is faster than SciPy's `erf` (in a browser
# the two take about the same time).

# %%
assert np.abs(layers.gelu(t.astype(np.float32)) - gelu(t)).max() < 1e-6

# %% tags=["claim"]
import time

from scipy.special import erf

assert 4e-4 < np.abs(gelu_tanh(t) - gelu(t)).max() < 5e-4
bent = np.random.default_rng(0).standard_normal((1500, 1536)).astype(np.float32)
quickest = {}
for name, function in {
    "erf": lambda: 0.5 * bent * (1 + erf(bent / 1.4)),
    "ours": lambda: layers.gelu(bent),
}.items():
    begins = [time.perf_counter()]
    for _ in range(7):
        function()
        begins.append(time.perf_counter())
    quickest[name] = min(np.diff(begins))
assert sys.platform == "emscripten" or quickest["erf"] > 1.5 * quickest["ours"], quickest

# %% [markdown]
# ## The mlp: linear, GELU, linear
#
# Linear, GELU, linear is called a *multi-layer perceptron* (mlp). It treats every position
# separately. The first layer expands the D features to 4 D *hidden values*, GELU suppresses the
# negative ones, and the second layer combines the rest into D features again. More than half of the weights
# in Whisper's blocks belong to mlps.


# %%
def my_mlp(x, w):
    hidden = x @ w["0"]["weight"].T + w["0"]["bias"]
    return gelu(hidden) @ w["2"]["weight"].T + w["2"]["bias"]


weights = model.scope["encoder"]["blocks"]["0"]["mlp"]
assert np.allclose(my_mlp(x[:, :50], weights), mlp(x[:, :50], weights), atol=1e-4)

hidden = acts["encoder.blocks.0.mlp.gelu"][0, :145]

# %% jupyter={"source_hidden": true}
fig, ax = plt.subplots()
ax.hist(
    acts["encoder.blocks.0.mlp.0"][0, :145].ravel(),
    bins=100,
    range=(-4, 4),
    alpha=0.6,
    label="before GELU",
)
ax.hist(hidden.ravel(), bins=100, range=(-4, 4), alpha=0.6, label="after GELU")
ax.set(
    xlabel="value",
    ylabel="count",
    title="hidden values in the first mlp of the encoder",
    yscale="log",
)
ax.legend()
plt.show()

# %%
print(f"hidden values above 0.1 after GELU: {(hidden > 0.1).mean():.0%}")

# %% [markdown]
# Before GELU, nine of ten hidden values are negative. GELU turns these into numbers between -0.17
# and 0, so after GELU only a few values are clearly different from zero.

# %% tags=["claim"]
assert (acts["encoder.blocks.0.mlp.0"][0, :145] < 0).mean() > 0.9
assert hidden.min() > -0.171
in_blocks = {name: a.size for name, a in model.weights.items() if ".blocks." in name}
assert sum(n for name, n in in_blocks.items() if ".mlp." in name) > 0.5 * sum(in_blocks.values())

# %% [markdown]
# ## Convolution: a linear layer that slides
#
# The encoder begins with two convolutions. A convolution of width 3 is a linear layer whose input is
# three neighbouring frames. The same layer is applied at every frame. To give the first and the last
# frame two neighbours, a frame of zeros is added at each end (*padding*).
#
# $$ y_{o,t} = b_o + \sum_i \sum_{j=0}^{2} W_{oij}\, x_{i,\,t + j - 1} $$
#
# With a *stride* of 2, only every second output is computed. This turns 3000 frames of 10 ms into 1500
# positions of 20 ms.


# %%
def conv1d(x, w, stride=1):
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1)))
    # the frame before, the frame itself, the one after
    taps = [padded[:, :, j : j + x.shape[2] : stride] for j in range(3)]
    return (
        sum(np.einsum("bit,oi->bot", taps[j], w["weight"][:, :, j]) for j in range(3))
        + w["bias"][:, None]
    )


encoder = model.scope["encoder"]
mine = conv1d(mel[None], encoder["conv1"])
assert np.allclose(mine, layers.conv1d(mel[None], encoder["conv1"]), atol=1e-4)
print(f"conv1: {mel[None].shape} -> {mine.shape}")

# %% [markdown]
# What does the first convolution detect? Each of its outputs has its own weights, a *kernel*: a small
# picture, as high as the spectrogram and 3 frames wide. The output is large wherever the spectrogram
# is similar to the kernel. These are the sixteen kernels with the largest weights:

# %%
kernels = encoder["conv1"]["weight"]
strongest = np.argsort(-np.abs(kernels).max(axis=(1, 2)))[:16]
# sorted from low to high frequency
strongest = strongest[np.abs(kernels[strongest]).max(axis=2).argmax(axis=1).argsort()]
limit = np.abs(kernels[strongest]).max() / 2

# %% jupyter={"source_hidden": true}
fig, axes = plt.subplots(1, 16, figsize=(8, 2.8), sharey=True)
for ax, i in zip(axes, strongest, strict=True):
    picture = ax.imshow(kernels[i], vmin=-limit, vmax=limit, cmap="PuOr")
    ax.set(xticks=[], title=i)
axes[0].set_ylabel("mel bin")
fig.suptitle("sixteen kernels of the first convolution", fontsize="medium")
fig.supxlabel("3 frames each", fontsize="medium")
fig.colorbar(picture, ax=axes, label="weight")
plt.show()

# %% [markdown]
# Each of the sixteen responds to one narrow band of frequencies: its weights are positive (purple) in the
# band and negative (orange) beside it, so the output is large if the band is louder than its neighbours. Of the
# three kernels for the lowest bands, two have a larger weight in the last frame than in the first, so they respond
# most when the sound in the band begins. Nobody designed these kernels: they were learned.

# %% tags=["claim"]
bands = [int(np.abs(kernel).max(axis=1).argmax()) for kernel in kernels[strongest]]
for kernel, band in zip(kernels[strongest], bands, strict=True):
    beside = kernel[max(band - 4, 0) : band + 5].mean(axis=1)
    assert kernel[band].mean() > 0.2 > 0 > beside.min(), "purple in the band, orange beside it"
rises = [
    kernels[i][band, 2] > kernels[i][band, 0] for i, band in zip(strongest[:3], bands, strict=False)
]
assert sum(rises) == 2

# %% [markdown]
# ## The equality
#
# Now combine these functions into the front end of the encoder: convolution, GELU, convolution with stride
# 2, GELU. Its output, plus a table of positions (notebook 05), is the input of the first block.

# %%
y = gelu(conv1d(mel[None, :, :400], encoder["conv1"]))
y = gelu(conv1d(y, encoder["conv2"], stride=2))

# Compare up to position 195 only: we cut the spectrogram at frame 400, which changes the last positions.
traced = layers.gelu(acts["encoder.conv2"])[:, :, :195]
assert np.allclose(y[:, :, :195], traced, atol=1e-4)
print(f"largest difference {np.abs(y[:, :, :195] - traced).max():.1e}")

# %% jupyter={"source_hidden": true}
fig, axes = plt.subplots(1, 2)
for ax, values, title in zip(
    axes,
    (mel[:, :300], y[0, :64, :150]),
    ("spectrogram, every 10 ms", "front end, every 20 ms"),
    strict=True,
):
    picture = ax.imshow(values, extent=(0, 3, 0, len(values)))
    ax.set(title=title, xlabel="time (s)", ylabel="bin or channel")
    fig.colorbar(picture, ax=ax, label="value")
plt.show()

# %% [markdown]
# ## Exercises
#
# **1. The wrong variance.** How large is the error if a layer norm computes its variance with D - 1
# instead of D? Compute the ratio of the two results for the last layer norm, and compare it with $\sqrt{(D-1)/D}$.

# %% tags=["exercise"]
ratio = ...  # the normalised values with the wrong variance, divided by the right ones

# %% jupyter={"source_hidden": true} tags=["check"]
D = before.shape[-1]
notebooks.exercise(
    ratio, lambda r: np.allclose(r, math.sqrt((D - 1) / D), rtol=1e-4), "Leave out weight and bias."
)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# wrong = (before - before.mean(-1, keepdims=True)) / np.sqrt(before.var(-1, ddof=1, keepdims=True) + 1e-5)
# right = (before - before.mean(-1, keepdims=True)) / np.sqrt(before.var(-1, keepdims=True) + 1e-5)
# D = before.shape[-1]
# assert np.allclose(wrong / right, math.sqrt((D - 1) / D), rtol=1e-3)
# print(f"all values are {1 - math.sqrt((D - 1) / D):.2%} too small")
# ratio = (wrong / right).mean()
# ```
#
# The error is so small that a transcript hardly shows it, and large enough to fail a comparison with PyTorch.
#
# </details>

# %% [markdown]
# **2. A convolution is a linear layer.** Write `conv1d` with a single matrix product. First put the
# three neighbouring frames into one long vector.


# %% tags=["exercise"]
def conv1d_as_product(x, w, stride=1):
    return ...


# %% jupyter={"source_hidden": true} tags=["check"]
with_loop = conv1d(mel[None], encoder["conv1"], 2)
notebooks.exercise(
    conv1d_as_product(mel[None], encoder["conv1"], 2),
    lambda y: np.shape(y) == with_loop.shape and np.allclose(y, with_loop, atol=1e-4),
)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def conv1d_as_product(x, w, stride=1):
#     padded = np.pad(x, ((0, 0), (0, 0), (1, 1)))
#     columns = np.lib.stride_tricks.sliding_window_view(padded, 3, axis=2)[:, :, ::stride]  # (B, D_in, F, 3)
#     columns = columns.transpose(0, 2, 1, 3).reshape(len(x), -1, x.shape[1] * 3)
#     return (columns @ w["weight"].reshape(len(w["bias"]), -1).T + w["bias"]).swapaxes(1, 2)
#
# with_loop = conv1d(mel[None], encoder["conv1"], 2)
# assert np.allclose(conv1d_as_product(mel[None], encoder["conv1"], 2), with_loop, atol=1e-4)
# ```
#
# </details>

# %% [markdown]
# **3. Position by position.** Show that the mlp does not mix positions: change the input at position
# 10 and find where the output changes. Then do the same for frame 10 of the first convolution.

# %% tags=["exercise"]
reached = ...  # [changed positions after the mlp, changed frames after conv1], two lists

# %% jupyter={"source_hidden": true} tags=["check"]
notebooks.exercise(reached, lambda r: [list(part) for part in r] == [[10], [9, 10, 11]])

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# changed = x[:, :50].copy()
# changed[0, 10] += 1
# moved = np.abs(mlp(changed, weights) - mlp(x[:, :50], weights)).max(axis=-1)[0] > 1e-4
# assert np.flatnonzero(moved).tolist() == [10]
# reached = [np.flatnonzero(moved).tolist()]
#
# louder = mel[None].copy()
# louder[0, :, 10] += 1
# moved = np.abs(conv1d(louder, encoder["conv1"]) - mine).max(axis=1)[0] > 1e-4
# assert np.flatnonzero(moved).tolist() == [9, 10, 11]
# reached.append(np.flatnonzero(moved).tolist())
# ```
#
# Only attention combines positions that are far apart. It is the subject of notebook 03.
#
# </details>
