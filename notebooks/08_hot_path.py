# %% [markdown]
# # 08 · The hot path: the same numbers, faster
#
# The *hot path* of a program is the code in which it spends most of its time.
#
# **What you will build** · Eight versions of one part of the network, the MLP of an encoder block:
# from loops to blocks of rows on several threads. Each version is compared with the definition
# and timed, including two that turn out to be slower. Then a picture of what this machine can do, its *roofline*,
# which shows how much faster each layer could become.
#
# **What you need** · Notebooks 02 (the MLP) and 03 (attention).
#
# **Which file this explains** · `npwhisper/compute/`
#
# All times were measured on the machine on which this notebook was last run (two cores, shared with
# other work). Run it on yours: they will differ.

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
import time

import matplotlib.pyplot as plt
import numpy as np
from scipy.special import erf

import npwhisper
from npwhisper.compute.blocks import blocked
from npwhisper.compute.products import inner
from npwhisper.compute.threads import get_num_threads
from npwhisper.lab import notebooks
from npwhisper.model import layers, mlp
from npwhisper.tracing.profiling import measure_ceilings

notebooks.use_style()
model = npwhisper.load_model()
d = model.dims
mel = npwhisper.log_mel_spectrogram(
    npwhisper.pad_or_trim(npwhisper.load_audio(npwhisper.example())), d.n_mels
)
with npwhisper.trace("encoder.blocks.0.mlp_ln", "encoder.blocks.0.attn.split_heads") as acts:
    features = model.embed_audio(mel)
x = acts["encoder.blocks.0.mlp_ln"][0]
w = model.scope["encoder"]["blocks"]["0"]["mlp"]
# Two matrix products; a multiplication and an addition count as two operations.
flops = 2 * x.size * 4 * d.n_audio_state * 2
print(f"x {x.shape}, {flops / 1e9:.2f} billion operations, {get_num_threads()} threads")

# %% [markdown]
# ## What can this machine do?
#
# Two measurements are enough: how many arithmetic operations per second the machine does in a large matrix
# product, and how many bytes per second it moves in a large copy.

# %%
ceilings = measure_ceilings()
print(f"{ceilings.flops / 1e9:.0f} billion operations/s, {ceilings.bytes / 1e9:.0f} GB/s")
print(f"at this rate the products of the MLP alone take {1000 * flops / ceilings.flops:.1f} ms")

# %% [markdown]
# ## The ladder
#
# The definition is written in double precision, and every version is compared with it. Each version is a
# function of the input x and the weights w.


# %%
def definition(x, w):
    hidden = x.astype(np.float64) @ w["0"]["weight"].T.astype(np.float64) + w["0"]["bias"]
    hidden = hidden * 0.5 * (1 + erf(hidden / math.sqrt(2)))
    return hidden @ w["2"]["weight"].T.astype(np.float64) + w["2"]["bias"]


right = definition(x, w)
ladder = {}


def climb(name, function, rows=None, repeat=5):
    """Check a version, then time it; if only some rows are computed, scale their time up to all rows."""
    part = x if rows is None else x[:rows]
    y = function(part, w)
    assert np.abs(y - right[: len(part)]).max() < 1e-3 * np.abs(right).max(), name
    times = []
    for _ in range(repeat):
        begin = time.perf_counter()
        function(part, w)
        times.append(time.perf_counter() - begin)
    ladder[name] = min(times) * len(x) / len(part)
    print(f"{name:34} {1000 * ladder[name]:10.1f} ms {flops / ladder[name] / 1e9:8.2f} billion/s")


# %% [markdown]
# **1. Loops.** The definition, number by number, for one position only; its time is scaled up to all 1500.


# %%
def with_loops(x, w):
    def linear(row, w):
        weight, bias = w["weight"], w["bias"]
        return [
            sum(a * b for a, b in zip(row, line, strict=True)) + c
            for line, c in zip(weight.tolist(), bias.tolist(), strict=True)
        ]

    def gelu(value):
        return value * 0.5 * (1 + math.erf(value / math.sqrt(2)))

    rows = [linear([gelu(value) for value in linear(row, w["0"])], w["2"]) for row in x.tolist()]
    return np.array(rows, dtype=np.float32)


climb("1 loops", with_loops, rows=1, repeat=1)

# %% [markdown]
# **2. einsum.** The product as a formula. It is readable and much faster than loops, but it does not use BLAS, the
# library that NumPy calls for matrix products.


# %%
def with_einsum(x, w):
    hidden = np.einsum("ti,oi->to", x, w["0"]["weight"]) + w["0"]["bias"]
    hidden = (hidden * 0.5 * (1 + erf(hidden / math.sqrt(2)))).astype(np.float32)
    return np.einsum("ti,oi->to", hidden, w["2"]["weight"]) + w["2"]["bias"]


climb("2 einsum", with_einsum, repeat=2)

# %% [markdown]
# **3. matmul.** `x @ weight.T` is just as short, and BLAS does the work.
#
# (NumPy in a browser has no BLAS. There `x @ weight.T` is a plain loop and takes twice as long as einsum. It does
# not rearrange the weights either, so in version 7 small blocks of rows cost hardly more than large ones.)


# %%
def with_matmul(x, w):
    hidden = x @ w["0"]["weight"].T + w["0"]["bias"]
    hidden = hidden * np.float32(0.5) * (1 + erf(hidden / np.float32(math.sqrt(2))))
    return hidden @ w["2"]["weight"].T + w["2"]["bias"]


climb("3 matmul", with_matmul)

# %% [markdown]
# **4. GELU without erf.** Now GELU, between the two products, takes much of the time, because `erf` is slow.
# NumPy's `tanh` is much faster, and erf(x / √2) ≈ tanh(x P(x²)) to float32 precision, with a polynomial P that
# was fitted once (notebook 02).


# %%
def with_quick_gelu(x, w):
    hidden = x @ w["0"]["weight"].T + w["0"]["bias"]
    return layers.gelu(hidden) @ w["2"]["weight"].T + w["2"]["bias"]


climb("4 erf by tanh", with_quick_gelu)

# %% [markdown]
# **5. Half the bytes?** The weights are float16 in the file. Would it be faster to keep them in float16? No: for
# float16 NumPy does not call BLAS, but a plain loop that converts every number to float32. (We time only five rows,
# because this is slow. The result is also less precise.)

# %%
half = {
    name: {key: array.astype(np.float16) for key, array in part.items()} for name, part in w.items()
}


def with_half_precision(x, w):
    hidden = layers.gelu(
        (x.astype(np.float16) @ half["0"]["weight"].T).astype(np.float32) + half["0"]["bias"]
    )
    return (hidden.astype(np.float16) @ half["2"]["weight"].T).astype(np.float32) + half["2"][
        "bias"
    ]


begin = time.perf_counter()
with_half_precision(x[:5], w)
ladder["5 float16 (failed)"] = (time.perf_counter() - begin) * len(x) / 5
print(f"{1000 * ladder['5 float16 (failed)']:.0f} ms, and less precise")

# %% [markdown]
# **6. Blocks of rows.** The array between the two products is four times as wide as x. Every operation of
# GELU reads it from memory and writes it back. But each row is computed independently of the others. So we can
# take a few hundred rows through all operations before the next ones; then the intermediate results stay in the
# processor's cache. By itself this gains little where the cache is large, and BLAS's threads get smaller products
# to share. It prepares version 8.


# %%
def in_blocks(x, w, rows=375):
    return np.concatenate([with_quick_gelu(x[i : i + rows], w) for i in range(0, len(x), rows)])


climb("6 blocks of 375 rows", in_blocks)

# %% [markdown]
# **7. Smaller blocks?** Are smaller blocks even better? No: BLAS first copies the weights into the order that its
# inner loop needs, again for every product. With few rows this copying is most of the work.

# %%
climb("7 blocks of 8 rows (failed)", lambda x, w: in_blocks(x, w, rows=8))

# %% [markdown]
# **8. Blocks on threads.** Python's global lock (the GIL) lets only one thread run Python code at a time. NumPy
# releases it while it computes, so several threads can compute one block each. BLAS is limited to one thread
# meanwhile, so that there are not more threads than cores. The decorator `blocked` does all this for a function of
# rows; the library's `mlp` is made in the same way.

# %%
climb("8 blocks on threads", blocked(rows=750)(with_quick_gelu))
climb("  the library", lambda x, w: mlp(x[None], w)[0])

# %% jupyter={"source_hidden": true}
fig, ax = plt.subplots(figsize=(8, 3.4))
names = list(ladder)
colours = ["#C85200" if "failed" in name else "#2E86C9" for name in names]
ax.barh(names, [1000 * ladder[name] for name in names], color=colours)
for i, name in enumerate(names):
    ax.text(1150 * ladder[name], i, f"{1000 * ladder[name]:,.0f} ms", va="center", fontsize="small")
ax.axvline(1000 * flops / ceilings.flops, color="#7b7b7b", linestyle="--")
ax.text(
    1000 * flops / ceilings.flops,
    -0.9,
    " the limit of the machine",
    color="#7b7b7b",
    fontsize="small",
)
ax.set(
    xscale="log",
    xlabel="time for one mlp (ms)",
    ylabel="version",
    xlim=(None, 4000 * max(ladder.values())),
)
ax.invert_yaxis()
plt.show()

# %% [markdown]
# The two orange versions failed. Failed attempts are worth recording, because somebody will have the same idea
# again. All attempts with their figures, including those for the decoder, are in
# [the notes on speed](notes/speed.md).

# %% tags=["claim"]
# Far smaller factors than are measured, for the machine may be busy.
has_blas = sys.platform != "emscripten"  # NumPy in a browser is built without it
assert ladder["1 loops"] > 20 * ladder["2 einsum"]
if has_blas:
    assert ladder["2 einsum"] > 1.5 * ladder["3 matmul"]
    assert ladder["3 matmul"] > ladder["4 erf by tanh"]
    assert ladder["5 float16 (failed)"] > 10 * ladder["3 matmul"]
    assert ladder["7 blocks of 8 rows (failed)"] > 1.5 * ladder["4 erf by tanh"]
    assert ladder["2 einsum"] > 2 * ladder["  the library"]
else:
    assert ladder["2 einsum"] < ladder["3 matmul"]
    assert ladder["5 float16 (failed)"] > 2 * ladder["3 matmul"]
halved = with_half_precision(x[:5], w)
assert np.abs(halved - right[:5]).max() > 10 * np.abs(with_matmul(x[:5], w) - right[:5]).max(), (
    "less precise"
)

# %% [markdown]
# ## How large should a block be?
#
# Small blocks are slow, because the weights are rearranged for each of them. Large blocks do not fit into the cache;
# whether that costs time depends on how large the cache is. The same question arises for attention. For all
# queries of all H heads at once, the scores are an array of H times 1500 times 1500 numbers; for some queries of one
# head it is much smaller. Here is the time of both for different sizes of block:

# %%
sizes = [8, 32, 128, 375, 1500]
q, k, v = (a[0] for a in acts.all("encoder.blocks.0.attn.split_heads"))
width = q.shape[-1]


def attend_in_blocks(rows):
    result = np.empty_like(q)
    for head in range(len(q)):
        for i in range(0, len(q[head]), rows):
            scores = (q[head, i : i + rows] * width**-0.5) @ k[head].T
            scores -= scores.max(axis=-1, keepdims=True)
            np.exp(scores, out=scores)
            scores /= scores.sum(axis=-1, keepdims=True)
            result[head, i : i + rows] = scores @ v[head]
    return result


def quickest(function, *arguments, repeat=3):
    times = []
    for _ in range(repeat):
        begin = time.perf_counter()
        function(*arguments)
        times.append(time.perf_counter() - begin)
    return min(times)


# %% jupyter={"source_hidden": true}
fig, ax = plt.subplots()
ax.plot(sizes, [1000 * quickest(in_blocks, x, w, rows) for rows in sizes], "o-", label="mlp")
ax.plot(
    sizes, [1000 * quickest(attend_in_blocks, rows) for rows in sizes], "s--", label="attention"
)
ax.set(
    xscale="log",
    xticks=sizes,
    xticklabels=sizes,
    xlabel="rows in a block",
    ylabel="time (ms)",
    ylim=(0, None),
)
ax.minorticks_off()
ax.legend()
plt.show()

# %%
assert np.allclose(attend_in_blocks(128), layers.attend(q[None], k[None], v[None])[0], atol=1e-4)

# %% tags=["claim"]
if has_blas:
    assert quickest(in_blocks, x, w, 8) > 1.3 * quickest(in_blocks, x, w, 375)
    assert quickest(attend_in_blocks, 8) > 1.2 * quickest(attend_in_blocks, 375)

# %% [markdown]
# ## Two threads, one lock
#
# NumPy releases the lock while it computes, but needs it again between two operations, for about a microsecond. If
# another thread holds the lock at that time, the thread sleeps, and waking it takes as long as a small
# operation. So blocks that fit into the cache can still be too small for threads. Compare one thread with
# several, for small blocks and for large ones:


# %%
def many_operations(x):
    """Several quick operations in a row, as in GELU."""
    y = x * x
    for _ in range(6):
        y += 0.5
        y *= x
    return np.tanh(y)


hidden = np.random.default_rng(0).standard_normal((1500, 1024)).astype(np.float32) / 2
threads = get_num_threads()
for rows in (4, 16, 64, 188, 750):
    function = blocked(rows=rows)(many_operations)
    npwhisper.set_num_threads(1)
    one = quickest(function, hidden, repeat=9)
    npwhisper.set_num_threads(threads)
    all_of_them = quickest(function, hidden, repeat=9)
    print(
        f"{rows:4} rows: {1000 * one:5.1f} ms on one thread, {1000 * all_of_them:5.1f} on {threads}"
    )

# %% [markdown]
# ## The roofline
#
# Why is one layer limited by arithmetic and another by memory? Divide the number of operations of a layer by the
# number of bytes that it must read and write. With many operations per byte, arithmetic is the limit (the flat part
# of the roof). With few, memory is the limit (the slope). `profile` counts both for each layer. While it
# measures, layers run one by one, so these points do not show what computing a whole `mlp` in blocks saves.

# %%
with npwhisper.profile() as profile:
    cache = model.start_cache(model.embed_audio(mel))
    for token in model.tokenizer.encode(" Ask not what your country"):
        model.decoder(np.array([[token]]), features, cache)

chosen = {
    "encoder.conv2": "conv2",
    "encoder.blocks.*.mlp.0": "mlp.0",
    "encoder.blocks.*.attn.query": "query",
    "encoder.blocks.*.attn.scores": "scores",
    "decoder.logits": "logits, one token",
}
intensity = np.logspace(-1.5, 3, 100)

# %% jupyter={"source_hidden": true}
fig, ax = plt.subplots(figsize=(8, 3.6))
roof = np.minimum(ceilings.flops, ceilings.bytes * intensity) / 1e9
ax.loglog(intensity, roof, color="#7b7b7b", label="the limit of the machine")
for (name, label), marker in zip(chosen.items(), "os^DP", strict=True):
    cost = profile.folded()[name]
    ax.loglog(cost.flops / cost.bytes, cost.flops / cost.seconds / 1e9, marker, label=label)
ax.set(
    xlabel="operations for each byte",
    ylabel="billion operations/s",
    title="the roofline of this machine",
)
ax.legend(fontsize="small")
plt.show()

# %% [markdown]
# (A point may lie above the slope: then its arrays were still in a cache, which is faster than memory.)
#
# The point on the far left is the last layer of the decoder: the vector of one position is multiplied with the
# embeddings of all tokens of the vocabulary. Each weight is read once and used once, so memory is the limit. There
# are two remedies: read fewer bytes, or use each weight several times once it is read. Five beams, for example, need
# not cost five times as much as one.
#
# The order of reading also matters. BLAS's matrix-vector product reads several rows of the matrix at once, from
# different places, and rows of 384 numbers end before the processor starts to fetch ahead. For a single row
# the library therefore computes one dot product after the other (`np.vecdot`), in the order of memory. How much
# this gains depends on the processor. The next cell compares both, for one row and for five:

# %% tags=["claim"]
costs = profile.folded()
intensities = {name: costs[name].flops / costs[name].bytes for name in chosen}
assert min(intensities, key=intensities.get) == "decoder.logits", "on the far left"
assert intensities["decoder.logits"] < 0.55, (
    "each weight is read once, for a multiplication and an addition"
)

# %%
table = model.weights["decoder.token_embedding.weight"]
rng = np.random.default_rng(0)
for rows in (1, 5):
    vectors = rng.standard_normal((rows, d.n_text_state)).astype(np.float32)
    for how, function in (("x @ W.T", np.matmul), ("library", inner)):
        seconds = quickest(function, vectors, table.T if function is np.matmul else table, repeat=9)
        speed = table.nbytes / seconds / 1e9
        print(f"{rows} row(s), {how} {1000 * seconds:6.2f} ms, {speed:3.0f} GB/s")

# %% tags=["claim"]
read = []
for rows in (1, 5):
    with npwhisper.profile() as beams:
        tokens = np.full((rows, 1), model.tokenizer.sot)
        model.decoder(tokens, features, model.start_cache(np.repeat(features, rows, axis=0)))
    read.append(beams.folded()["decoder.logits"].bytes)
assert read[1] < 1.1 * read[0], "the weights are read once, for one row or for five"

# %% [markdown]
# ## Eight windows at once
#
# If a step mostly consists of reading weights, each weight that is read should serve several rows. Several beams do
# that, and so do several windows of a long recording: with `batch_size=8`, `transcribe` decodes eight windows side by
# side. How long does one decoding step take for one window, and how long per window for eight?

# %%
per_window = {}
for n in (1, 8):
    cache = model.start_cache(np.repeat(features, n, axis=0))
    token = np.full((n, 1), model.tokenizer.sot)
    seconds = quickest(model.decoder, token, features, cache, repeat=15)
    per_window[n] = seconds / n
    print(f"{n} window(s): {1000 * seconds:5.2f} ms a step, {1000 * per_window[n]:5.2f} per window")

# %% tags=["claim"]
assert per_window[8] < per_window[1], per_window

# %% [markdown]
# A step with eight rows takes longer than a step with one row, but less than eight times as long: the weights are
# read once for all rows. (Inside a `trace`, `profile` or `swap` block the windows are decoded one after the other.)
#
# ## The equality
#
# Speed is worth nothing if the result is wrong. Every version above except the float16 one was compared with the
# definition before it was timed. Here is the library's once more, and the whole encoder on one thread and on all.

# %%
assert np.allclose(mlp(x[None], w)[0], right, atol=1e-3)

n_threads = get_num_threads()
npwhisper.set_num_threads(1)
alone = model.embed_audio(mel)
npwhisper.set_num_threads(n_threads)
assert np.allclose(alone, model.embed_audio(mel), atol=1e-3)
print("the same on 1 thread and on", n_threads)

# %% [markdown]
# ## Exercises
#
# **1. Where does the time go?** Profile a whole `transcribe`. Each entry of a profile has `own_seconds`: its time
# without that of the layers inside it. Add these up for GELU (names that end with `gelu`), for attention (`scores`,
# `softmax`, `attend`) and for layer norms (`ln`, `_ln`, `ln_post`), and divide by the sum of all. Which of the three is
# worth optimizing?

# %% tags=["exercise"]
shares = ...  # {"gelu": share of all own seconds, between 0 and 1, "attention": ..., "norms": ...}

# %% jupyter={"source_hidden": true} tags=["check"]
notebooks.exercise(
    shares,
    lambda s: set(s) == {"gelu", "attention", "norms"} and all(0 < v < 1 for v in s.values()),
    "Divide the own seconds of each group by those of everything.",
)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# with npwhisper.profile() as whole:
#     model.transcribe(npwhisper.example())
# total = sum(cost.own_seconds for cost in whole.values())
# groups = {"gelu": ("gelu",), "attention": ("scores", "softmax", "attend"), "norms": ("ln", "_ln", "ln_post")}
# shares = {}
# for group, endings in groups.items():
#     own = sum(cost.own_seconds for name, cost in whole.items() if name.endswith(endings))
#     shares[group] = own / total
#     print(f"{group:10} {own / total:.0%}")
# ```
#
# A part that takes 5 % of the time can save at most 5 % of it, however fast you make it. (That is Amdahl's law.)
#
# </details>

# %% [markdown]
# **2. Copies.** `weight.T` is a view: nothing is copied, and BLAS is told to read the weight as transposed. Is it
# faster to transpose the weight once, into contiguous memory? Measure both for 1500 rows and for one row.

# %% tags=["exercise"]
turned = ...  # w["0"]["weight"], transposed once, in contiguous memory

# %% jupyter={"source_hidden": true} tags=["check"]
notebooks.exercise(turned, lambda t: t.flags.c_contiguous and np.array_equal(t, w["0"]["weight"].T))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# weight = w["0"]["weight"]
# turned = np.ascontiguousarray(weight.T)
# for rows in (1500, 1):
#     as_it_is = quickest(lambda: x[:rows] @ weight.T, repeat=10)
#     once = quickest(lambda: x[:rows] @ turned, repeat=10)
#     print(f"{rows:5} rows: {1e6 * as_it_is:8.0f} µs as it is, {1e6 * once:8.0f} µs transposed once")
# ```
#
# With 1500 rows there is hardly a difference, because BLAS rearranges the weights in any case. With one row it
# depends on the processor. The price is a second copy of all weights.
#
# </details>

# %% [markdown]
# **3. How many threads?** Time `model.embed_audio(mel)` with 1, 2, ... `n_threads` threads
# (`npwhisper.set_num_threads`; `quickest` measures). How many times faster is it with all threads? Why is it not
# n times faster with n threads?

# %% tags=["exercise"]
seconds = ...  # a list of n_threads times: the encoder's with 1, 2, ... threads

# %% jupyter={"source_hidden": true} tags=["check"]
notebooks.exercise(seconds, lambda s: len(s) == n_threads and all(0 < value < 60 for value in s))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# seconds = []
# for n in range(1, n_threads + 1):
#     npwhisper.set_num_threads(n)
#     seconds.append(quickest(model.embed_audio, mel, repeat=3))
#     print(f"{n} threads: {1000 * seconds[-1]:.0f} ms")
# npwhisper.set_num_threads(n_threads)
# ```
#
# Some work cannot be divided among threads (Python between the layers), and some resources are shared by all cores:
# memory, caches, and the power that the processor may draw.
#
# </details>
