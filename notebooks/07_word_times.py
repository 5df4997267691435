# %% [markdown]
# # 07 · When was each word said?
#
# **What you will build** · Word times from attention. The scores of a few heads become a map of tokens and
# times, and *dynamic time warping* finds a path through the map. At the end you cut single words out of the
# recording and listen to them.
#
# **What you need** · Notebooks 03 (cross-attention) and 06 (tokens, decoding).
#
# **Which file this explains** · `npwhisper/timing/`

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
from IPython.display import display

import npwhisper
from npwhisper import plot_alignment, timing
from npwhisper.lab import notebooks
from npwhisper.model import layers

notebooks.use_style()
model = npwhisper.load_model()
tokenizer = model.tokenizer
samples = npwhisper.load_audio(npwhisper.example())
n_frames = len(samples) // 160
mel = npwhisper.log_mel_spectrogram(npwhisper.pad_or_trim(samples), model.dims.n_mels)
features = model.embed_audio(mel)

text = npwhisper.decode(model, features[0], without_timestamps=True)
print(text.text)
notebooks.play(npwhisper.example())

# %% [markdown]
# ## Run the decoder again, over the finished text
#
# The text is known now. We run the decoder once more, over all tokens at once, and record cross-attention. Some
# heads attend to the part of the recording in which the next token is spoken. Their list, `model.alignment_heads`,
# comes with the checkpoint; OpenAI chose them after training (see notebook 10). The trace gives their *scores*:
# how well each token matches each of the 1500 audio positions, which are 20 ms apart.

# %%
prefix = len(tokenizer.sot_sequence)
tokens = np.array([[*tokenizer.sot_sequence, tokenizer.no_timestamps, *text.tokens, tokenizer.eot]])
with npwhisper.trace("decoder.blocks.*.cross_attn.scores") as acts:
    model.logits(tokens, features)

scores = np.stack(
    [
        acts[f"decoder.blocks.{layer}.cross_attn.scores"].reshape(
            model.dims.n_text_head, tokens.size, -1
        )[head]
        for layer, head in model.alignment_heads
    ]
)
scores = scores[:, :, : n_frames // 2]  # without the padding after the recording
print(f"{scores.shape}: heads, tokens, audio positions")

# %% [markdown]
# ## From scores to a map
#
# The map takes four steps. The pictures show the first three of them for one head.
#
# 1. `softmax` over time: the weights of each token sum to 1.
# 2. `standardise` over the tokens: some audio positions get a high weight from *every* token. What counts is
#    which token has an unusually high weight at a position. So subtract the mean of each position over the
#    tokens, and divide by the standard deviation.
# 3. `median_filter` over time, 7 positions wide: this removes single outliers and keeps edges.
# 4. The mean over the heads.
#
# The scores form a broad band; after the filter a narrow staircase is left.

# %%
weights = layers.softmax(scores)
standardised = timing.standardise(weights)
filtered = timing.median_filter(standardised, 7)
map_ = filtered.mean(axis=0)

names = [tokenizer.encoding.decode([token]) for token in tokens[0]]
extent = (0, n_frames / 100, len(names), 0)

# %% jupyter={"source_hidden": true}
fig, axes = plt.subplots(2, 2, figsize=(10, 7), sharex=True, sharey=True)
steps = {
    "scores of one head": scores,
    "softmax": weights,
    "standardised": standardised,
    "filtered": filtered,
}
for ax, (title, values) in zip(axes.flat, steps.items(), strict=True):
    picture = ax.imshow(values[0], extent=extent, origin="upper")
    ax.set_title(title)
    fig.colorbar(picture, ax=ax, label="value")
for ax in axes[:, 0]:
    ax.set_yticks(np.arange(0, len(names), 2) + 0.5, names[::2], fontsize="small")
    ax.set_ylabel("token (every second one)")
for ax in axes[1]:
    ax.set_xlabel("time (s)")
plt.show()

# %% [markdown]
# The library has the same four steps in one function:

# %%
assert np.allclose(map_, timing.token_map(scores), atol=1e-5)


# %% tags=["claim"]
def spread(picture):
    """The share of the cells that are above half of the range."""
    return (picture > (picture.max() + picture.min()) / 2).mean()


assert spread(filtered[0]) < 0.3 * spread(scores[0])
stairs = filtered[0][1:-1].argmax(axis=1)
assert np.corrcoef(stairs, np.arange(len(stairs)))[0, 1] > 0.9

# %% [markdown]
# ## The path: dynamic time warping
#
# Words are spoken in order. So we look for a path through the map from the upper left corner to the lower
# right corner. Each step goes right (the token continues), down (the next token begins) or both at once. Of all
# such paths we want the one with the largest sum of values. To follow the usual definition, we give each cell a
# *cost*, minus its value, and look for the cheapest path.
#
# The number of paths is enormous (exercise 1), but we need not try them all. The cheapest path to a cell is the
# cheapest path to one of three neighbours (left, above, or above left), plus the cell itself. So one pass over the
# table is enough:


# %%
def comes_from(cost, i, j):
    """The neighbour with the lowest cost; on a tie the left one, which is openai-whisper's rule."""
    corner, up, left = cost[i - 1, j - 1], cost[i - 1, j], cost[i, j - 1]
    if corner < min(up, left):
        return i - 1, j - 1
    return (i - 1, j) if up < min(corner, left) else (i, j - 1)


def my_dtw(x):
    """The cheapest path from corner to corner: (N, M) -> its rows, its columns, and the cost to reach each cell."""
    n, m = x.shape
    cost = np.full((n + 1, m + 1), np.inf)
    cost[0, 0] = 0
    for i in range(1, n + 1):
        for j in range(1, m + 1):
            cost[i, j] = x[i - 1, j - 1] + cost[comes_from(cost, i, j)]
    path = [(n, m)]
    while path[-1] != (1, 1):
        path.append(comes_from(cost, *path[-1]))
    rows, columns = np.array(path[::-1]).T - 1
    return rows, columns, cost[1:, 1:]


toy = np.array([[1, 1, 5, 6, 7, 7], [6, 5, 1, 2, 6, 7], [7, 6, 5, 4, 1, 1]], float)
rows, columns, cost = my_dtw(toy)

# %% jupyter={"source_hidden": true}
fig, axes = plt.subplots(1, 2, figsize=(8, 2.2))
for ax, values, title in (
    (axes[0], toy, "cost of each cell"),
    (axes[1], cost, "cost of the cheapest path to each cell"),
):
    ax.imshow(values, origin="upper", cmap="viridis_r")
    ax.plot(columns, rows, color="#FF800E", linewidth=3)
    for (i, j), value in np.ndenumerate(values):
        ax.text(
            j,
            i,
            f"{value:.0f}",
            ha="center",
            va="center",
            color="white" if value > values.max() / 2 else "black",
        )
    ax.set(title=title, xlabel="audio position", ylabel="token", xticks=range(6), yticks=range(3))
plt.show()

# %% [markdown]
# Now the real map. We leave out the start sequence before `<|notimestamps|>` and the last row, of
# `<|endoftext|>`.

# %%
matrix = map_[prefix:-1]
rows, columns, cost = my_dtw(-matrix)

# %% jupyter={"source_hidden": true}
fig, ax = plt.subplots(figsize=(9, 5))
extent = (0, n_frames / 100, len(matrix), 0)
picture = ax.imshow(matrix, extent=extent, origin="upper")
ax.step((columns + 0.5) / 50, rows + 0.5, color="#FF800E", linewidth=2.5, where="mid", label="path")
ax.set_yticks(np.arange(len(matrix)) + 0.5, names[prefix:-1])
ax.set(xlabel="time (s)", title="the map, and the path through it")
ax.legend(labelcolor="white")
fig.colorbar(picture, ax=ax, label="attention, standardised")
plt.show()

# %% [markdown]
# Why does the first row belong to `<|notimestamps|>`? Each row belongs to the token that the decoder *reads*, and
# its attention is used to predict the *next* token. So the row of a token shows when the token after it is spoken.
#
# ## From tokens to words
#
# A token begins where the path enters the row that predicts it. A word begins with its first token and ends where
# the next word begins.

# %%
enters = np.flatnonzero(np.diff(rows, prepend=-1) > 0)
times = columns[enters] / 50
words, word_tokens = tokenizer.split_to_word_tokens([*text.tokens, tokenizer.eot])
bounds = np.cumsum([0, *map(len, word_tokens[:-1])])
for word, begin, end in zip(words, times[bounds[:-1]], times[bounds[1:]], strict=False):
    print(f"{begin:5.2f} to {end:5.2f} s  {word}")

# %% [markdown]
# ## The equality
#
# Our path is the library's path, and our words begin when those of `find_alignment` begin.

# %%
assert np.array_equal(timing.dtw(-matrix), [rows, columns])

library = timing.find_alignment(model, tokenizer, text.tokens, features[0], n_frames)
assert [word.word for word in library] == words[:-1]
assert np.allclose([word.start for word in library], times[bounds[:-1]])
print(f"{len(library)} words, all with the same start")

# %% [markdown]
# With `word_timestamps=True`, `transcribe` then applies a few rules of thumb: a punctuation mark joins its word, and
# a word at the beginning or end of a sentence or segment is shortened if it is much longer than the others. Here
# are the words over the spectrogram:

# %%
segments = model.transcribe(npwhisper.example(), word_timestamps=True)["segments"]
spoken = [word for segment in segments for word in segment["words"]]

# %%
ax = plot_alignment(spoken, mel[:, :n_frames])
ax.set_title("each word between its start and its end (white lines)")
plt.show()

# %% [markdown]
# Are the times right? In fluent speech the white lines are close to the borders between words. At pauses they
# are not: each word begins where the one before it ends, so "ask" includes the whole second of silence before it.
# (The rules of thumb shorten such words only beside the ends of sentences and segments.) Cut out the three longest
# words and listen: all of them contain a pause.


# %% tags=["claim"]
def is_quiet(sound):
    """Which tenths of a second have less than a sixth of the recording's RMS amplitude."""
    tenths = np.sqrt((sound[: len(sound) // 1600 * 1600].reshape(-1, 1600) ** 2).mean(axis=1))
    return tenths < np.sqrt((samples**2).mean()) / 6


longest = sorted(spoken, key=lambda word: word["start"] - word["end"])[:3]
pauses = [is_quiet(samples[int(16000 * w["start"]) : int(16000 * w["end"])]) for w in longest]
assert longest[0]["word"].strip() == "ask"
assert pauses[0][:9].all(), "a second of silence before it"
assert all(quiet.sum() >= 2 for quiet in pauses)

# %%
for word in sorted(spoken, key=lambda word: word["start"] - word["end"])[:3]:
    begin, end = (int(16000 * word[side]) for side in ("start", "end"))
    print(
        f"{word['word']}: {word['start']:.2f} to {word['end']:.2f} s, probability {word['probability']:.2f}"
    )
    display(notebooks.play(samples[begin:end]))

# %% [markdown]
# ## Exercises
#
# **1. How many paths?** Write a function that counts the paths from the upper left to the lower right corner of a
# table with n rows and m columns (steps go right, down, or both at once). Fill a table of counts, as `my_dtw` fills
# a table of costs. How many paths are there for 3 by 6, and for our map?


# %% tags=["exercise"]
def n_paths(n, m):
    return ...


# %% jupyter={"source_hidden": true} tags=["check"]
notebooks.exercise(n_paths(3, 6), lambda count: count == 61)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def n_paths(n, m):
#     count = [[1] * m for _ in range(n)]
#     for i in range(1, n):
#         for j in range(1, m):
#             count[i][j] = count[i - 1][j - 1] + count[i - 1][j] + count[i][j - 1]
#     return count[-1][-1]
#
# assert n_paths(2, 2) == 3 and n_paths(3, 6) == 61
# print(f"{n_paths(*matrix.shape):.1e} paths through the map")
# ```
#
# They are called Delannoy numbers.
#
# </details>

# %% [markdown]
# **2. The wrong text.** Align a text that is *not* spoken in the recording:
# `npwhisper.align(npwhisper.example(), "The weather is fine today.", model)`. It returns a list of words, each with
# `start`, `end` and `probability`. How can you tell that the text is wrong?

# %% tags=["exercise"]
mean_probability = ...  # the mean of `probability` over the words of the wrong text

# %% jupyter={"source_hidden": true} tags=["check"]
aligned = npwhisper.align(npwhisper.example(), "The weather is fine today.", model)
expected = np.mean([word.probability for word in aligned])
notebooks.exercise(mean_probability, lambda p: np.isclose(p, expected, rtol=0.01))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# for text_given in (text.text, "The weather is fine today."):
#     aligned = npwhisper.align(npwhisper.example(), text_given, model)
#     print(f"{np.mean([word.probability for word in aligned]):.3f}  {text_given}")
# mean_probability = np.mean([word.probability for word in aligned])
# ```
#
# By the probabilities of the words, which are less than a tenth of those of the right text. The times alone look
# plausible.
#
# </details>

# %% tags=["claim"]
said = npwhisper.align(npwhisper.example(), text.text, model)
assert np.mean([word.probability for word in said]) > 10 * expected

# %% [markdown]
# **3. The median filter.** `timing.find_alignment(..., medfilt_width=7)` uses a filter 7 positions wide. How much do
# the start times of the words change with a width of 1 (no filter), and with 21? Which words change most?

# %% tags=["exercise"]
moved = ...  # the mean absolute change of the start times from width 7 to width 21, in seconds

# %% jupyter={"source_hidden": true} tags=["check"]
begins = [
    [word.start for word in timing.find_alignment(
        model, tokenizer, text.tokens, features[0], n_frames, medfilt_width=width
    )]
    for width in (7, 21)
]  # fmt: skip
expected = np.abs(np.subtract(*begins)).mean()
notebooks.exercise(moved, lambda seconds: np.isclose(seconds, expected, atol=1e-3))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# starts = {}
# for width in (1, 7, 21):
#     found = timing.find_alignment(model, tokenizer, text.tokens, features[0], n_frames, medfilt_width=width)
#     print(f"{width:2}", " ".join(f"{word.start:.2f}" for word in found))
#     starts[width] = np.array([word.start for word in found])
# moved = np.abs(starts[21] - starts[7]).mean()
# ```
#
# Hardly at all: without the filter by at most 0.02 s, with a width of 21 by at most 0.14 s. The comma, in the middle
# of a pause, moves most.
#
# </details>

# %% tags=["claim"]
starts = {
    width: np.array([word.start for word in timing.find_alignment(
        model, tokenizer, text.tokens, features[0], n_frames, medfilt_width=width
    )])
    for width in (1, 7, 21)
}  # fmt: skip
changes = {width: np.abs(starts[width] - starts[7]) for width in (1, 21)}
assert changes[1].max() < 0.021
assert changes[21].max() < 0.141
assert words[changes[21].argmax()] == ","
