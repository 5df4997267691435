# %% [markdown]
# # 10 · Looking inside: experiments on a network
#
# **What you will build** · Four experiments. You read out what the decoder would say half-way; switch
# off heads one by one; make it transcribe something that was never said, by transplanting activations;
# and find the heads that follow the speech yourself.
#
# **What you need** · Notebooks 03 (heads), 05 (the residual stream) and 07 (alignment).
#
# **Which file this explains** · `npwhisper/tracing/`

# %% jupyter={"source_hidden": true} tags=["install"]
# On Colab, install the package; elsewhere this cell does nothing.
import importlib.util
import subprocess
import sys

if "google.colab" in sys.modules and importlib.util.find_spec("npwhisper") is None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "npwhisper[notebooks]"]
    subprocess.run(command, check=True)

# %%
import os

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Image

import npwhisper
from npwhisper import swap, timing
from npwhisper.lab import notebooks
from npwhisper.model import layers

notebooks.use_style()
model = npwhisper.load_model()
d, tokenizer = model.dims, model.tokenizer
samples = npwhisper.load_audio(npwhisper.example())
n_heard = len(samples) // 320
mel = npwhisper.log_mel_spectrogram(npwhisper.pad_or_trim(samples), d.n_mels)
features = model.embed_audio(mel)

start = list(tokenizer.sot_sequence_including_notimestamps)
text = npwhisper.decode(model, features[0], without_timestamps=True)
tokens = np.array([[*start, *text.tokens]])
targets = [*text.tokens, tokenizer.eot]
names = [tokenizer.encoding.decode([token]) for token in targets]
print(text.text)

# %% [markdown]
# ## One seam
#
# Every layer is a plain function, decorated with `@layer`. The decorator does nothing, except while
# you trace or swap: then each call has a name, and its result can be recorded (`trace`), or the
# function replaced (`swap`). With `edit=` a result is changed by a function of ours. To edit
# nothing must change nothing:

# %%
plain = model.logits(tokens, features)
with swap(edit={"decoder.blocks.*.mlp": lambda y: y}) as counts:
    watched = model.logits(tokens, features)
assert np.allclose(plain, watched, atol=1e-4)
print(f"{sum(counts.values())} results went through our function")

# %% [markdown]
# How sure is the decoder of its own text? The mean log-probability of the tokens is the measure of
# all experiments below.


# %%
def sureness(logits):
    """The log-probability of each token of our text: (1, T, V) -> (T,)"""
    logprobs = layers.log_softmax(logits[0, len(start) - 1 :])
    return logprobs[np.arange(len(targets)), targets]


print(f"{sureness(plain).mean():.3f} per token")

# %% [markdown]
# ## Experiment 1: what would it say half-way?
#
# The stream that runs through the decoder is compared with the tokens only at its end. But we can
# do so earlier: apply the last layer norm and the table of tokens to the stream after
# *each* block. (This is known as the *logit lens*.)

# %%
blocks = [f"decoder.blocks.{i}" for i in range(d.n_text_layer)]
with npwhisper.trace("decoder.token_embedding", *blocks) as acts:
    model.logits(tokens, features)

w = model.scope["decoder"]
embedded = acts["decoder.token_embedding"] + w["positional_embedding"][: tokens.shape[1]]
streams = [embedded, *(acts[f"decoder.blocks.{i}"] for i in range(d.n_text_layer))]
labels = ["tokens", *(f"block {i}" for i in range(d.n_text_layer))]

# %% jupyter={"source_hidden": true}
fig, ax = plt.subplots(figsize=(11, 0.65 * len(streams) + 1.4))
sure = np.empty((len(streams), len(targets)))
for row, stream in enumerate(streams):
    logits = layers.layer_norm(stream, w["ln"]) @ w["token_embedding"]["weight"].T
    sure[row] = np.exp(sureness(logits))
    for column, best in enumerate(logits[0, len(start) - 1 :].argmax(axis=-1)):
        word = tokenizer.encoding.decode([int(best)]).strip()[:7]
        word = word if word.isprintable() and word.isascii() else "?"
        ax.text(
            column,
            row,
            word,
            ha="center",
            va="center",
            fontsize="small",
            rotation=90,
            color="black" if sure[row, column] > 0.5 else "white",
        )
picture = ax.imshow(sure, origin="upper", vmin=0, vmax=1)
ax.set_yticks(range(len(streams)), labels)
ax.set_xticks(range(len(names)), names, rotation=45, ha="right")
ax.set(title="the likeliest next token after each block", xlabel="the right next token")
fig.colorbar(picture, ax=ax, label="probability of the\nright token")
plt.show()

# %% [markdown]
# In the first row the stream is nothing but the token that was read, so that token itself is the
# likeliest. After the first two blocks it is neither the old token nor, in most columns, the new one: what these
# blocks write is not meant for the table of tokens, but for the blocks after them. After the third block
# three quarters of the tokens are right, after the fourth all of them. The comma is the least certain: a full
# stop would do as well.

# %% tags=["claim"]
scores = [
    layers.layer_norm(s, w["ln"])[0, len(start) - 1 :] @ w["token_embedding"]["weight"].T
    for s in streams
]
likeliest = np.array([rows.argmax(axis=1) for rows in scores])
read = tokens[0, len(start) - 1 :]
assert (likeliest[0] == read).mean() > 0.9
assert not (likeliest[1:3] == read).any()
right = (likeliest == targets).mean(axis=1)
assert max(right[1:3]) < 0.2
assert 0.7 < right[3] < 0.8
assert right[4] == 1
assert names[sure[-1].argmin()] == ","
full_stop = tokenizer.encode(".")[0]
assert full_stop in np.argsort(-scores[-1][sure[-1].argmin()])[:2]

# %% [markdown]
# ## Experiment 2: which heads does it need?
#
# Switch off one cross-attention head at a time: the trace calls what the heads found
# `cross_attn.attend`, of shape (1, H, T, K), and we put zeros in place of one head. How much surer
# is the decoder with the head than without?


# %% jupyter={"source_hidden": true}
def without(head):
    def edit(y):
        y[:, head] = 0
        return y

    return edit


loss = np.empty((d.n_text_layer, d.n_text_head))
for block, head in np.ndindex(loss.shape):
    with swap(edit={f"decoder.blocks.{block}.cross_attn.attend": without(head)}):
        loss[block, head] = sureness(plain).mean() - sureness(model.logits(tokens, features)).mean()


def draw_heads(values, label, is_dark, **colours):
    """A square for each cross-attention head, with its value; a star marks those that the checkpoint names."""
    fig, ax = plt.subplots(figsize=(1.6 + 0.9 * d.n_text_head, 1.2 + 0.6 * d.n_text_layer))
    picture = ax.imshow(values, origin="upper", **colours)
    for (block, head), value in np.ndenumerate(values):
        star = "*" if (block, head) in model.alignment_heads else ""
        ax.text(
            head,
            block,
            f"{value:.2f}{star}",
            ha="center",
            va="center",
            fontsize="small",
            color="white" if is_dark(value) else "black",
        )
    ax.set(
        xlabel="head",
        ylabel="decoder block",
        xticks=range(d.n_text_head),
        yticks=range(d.n_text_layer),
    )
    fig.colorbar(picture, ax=ax, label=label)
    plt.show()


limit = np.abs(loss).max()
draw_heads(
    loss,
    "loss without it\n(nats per token)",
    is_dark=lambda value: abs(value) > limit / 2,
    cmap="PuOr_r",
    vmin=-limit,
    vmax=limit,
)

# %% [markdown]
# Of 24 heads only three are missed: head 4 of block 0, head 2 of block 1 and, less, head 2 of block 3.
# Without any other single head the words stay as they were, even without one of those with a star, which
# the checkpoint names as following the speech: many heads do the same, and any one of them can be spared.
# (Punctuation and capitals do change here and there.)


# %% tags=["claim"]
def spoken_words(transcript):
    return "".join(c for c in transcript.lower() if c.isalpha() or c == " ")


assert set(zip(*np.nonzero(loss > 0.05), strict=True)) == {(0, 4), (1, 2), (3, 2)}
assert loss[3, 2] < 0.5 * min(loss[0, 4], loss[1, 2])
for block, head in np.ndindex(loss.shape):
    if (block, head) not in {(0, 4), (1, 2)}:
        with swap(edit={f"decoder.blocks.{block}.cross_attn.attend": without(head)}):
            choices = model.logits(tokens, features)[0, len(start) - 1 :].argmax(axis=1)
        written = [spoken_words(tokenizer.encoding.decode([int(token)])) for token in choices]
        wanted = [spoken_words(name) for name in names[:-1]]
        assert all(a in ("", b) for a, b in zip(written, wanted, strict=False) if b), (block, head)
for block, head in ((2, 5), (3, 2)):
    with swap(edit={f"decoder.blocks.{block}.cross_attn.attend": without(head)}):
        transcript = npwhisper.decode(model, features[0], without_timestamps=True).text
    assert spoken_words(transcript) == spoken_words(text.text), (block, head)

# %% [markdown]
# ## Experiment 3: hearing what was not said
#
# Take the recording, and the same recording played backwards. Encode both. Now build a *chimera*:
# the features of the one up to some moment, and of the other after it. The decoder cannot know.

# %%
backwards = npwhisper.log_mel_spectrogram(npwhisper.pad_or_trim(samples[::-1].copy()), d.n_mels)
other = model.embed_audio(backwards)
chimeras = []
for share in (1.0, 0.5, 0.0):
    cut = int(share * n_heard)

    def patch(y, cut=cut):
        y[:, cut:] = other[:, cut:]
        return y

    with swap(edit={"encoder": patch}):
        heard = npwhisper.decode(model, mel, without_timestamps=True, sample_len=30)
    print(f"{share:4.0%} forwards: {heard.text}")
    chimeras.append(heard.text)

# %% [markdown]
# As far as the features are ours, the text is ours. The encoder has put what is said *where* it is
# said, although attention would have allowed it to put everything anywhere. And where speech runs
# backwards, the decoder does not stop: it invents English, or a loop.

# %% tags=["claim"]
assert spoken_words(chimeras[0]) == spoken_words(text.text)
assert chimeras[1].startswith("And so my fellow Americans ask")
assert spoken_words(chimeras[1]) != spoken_words(text.text)
assert "Americans" not in chimeras[2]
assert len(chimeras[2]) > 20, "the decoder does not stop"

# %% [markdown]
# Now a small injury: for a quarter of a second in the middle, the stream after one block is
# replaced by that of a silent recording. Which tokens suffer? And does it matter in which block?

# %%
silence = npwhisper.log_mel_spectrogram(np.zeros(480000, np.float32), d.n_mels)
with npwhisper.trace(*(f"encoder.blocks.{i}" for i in range(d.n_audio_layer))) as quiet:
    model.embed_audio(silence)

middle = slice(n_heard // 2 - 6, n_heard // 2 + 6)
damage = []
for i in range(d.n_audio_layer):

    def silenced(y, i=i):
        y[:, middle] = quiet[f"encoder.blocks.{i}"][:, middle]
        return y

    with swap(edit={f"encoder.blocks.{i}": silenced}):
        damaged = model.embed_audio(mel)
    damage.append(sureness(plain) - sureness(model.logits(tokens, damaged)))

# %% jupyter={"source_hidden": true}
fig, ax = plt.subplots(figsize=(8, 0.45 * d.n_audio_layer + 1.6))
limit = np.abs(damage).max()
picture = ax.imshow(damage, origin="upper", cmap="PuOr_r", vmin=-limit, vmax=limit)
ax.set_xticks(range(len(names)), names, rotation=45, ha="right")
ax.set(
    title="a quarter of a second of silence after one block",
    ylabel="encoder block",
    xlabel="token",
    yticks=range(d.n_audio_layer),
)
fig.colorbar(picture, ax=ax, label="loss (nats)")
plt.show()

# %% [markdown]
# One token suffers, "what", which is said at that moment, and "your" a little. Which block is
# damaged hardly matters, though after the last block the loss is smaller: by then the positions
# around it have received the information.

# %% tags=["claim"]
most = np.array(damage).max(axis=0)
ranked = np.argsort(-most)
assert [names[i].strip() for i in ranked[:2]] == ["what", "your"]
assert most[ranked[0]] > 5 * most[ranked[1]]
on_what = [float(row[ranked[0]]) for row in damage]
assert on_what[-1] < 0.8 * min(on_what[:-1])
assert max(on_what[:-1]) < 1.4 * min(on_what[:-1])

# %% [markdown]
# ## Experiment 4: find the heads that follow the speech
#
# Which heads would you take for word times? Those whose attention moves through the recording as
# the text advances. A simple measure: let every head alone draw its map and its path (notebook
# 07), and ask how much of its attention lies on a path that never goes back.

# %%
everything = np.array(
    [[*tokenizer.sot_sequence, tokenizer.no_timestamps, *text.tokens, tokenizer.eot]]
)
with npwhisper.trace("decoder.blocks.*.cross_attn.scores") as acts:
    model.logits(everything, features)

rows = slice(len(tokenizer.sot_sequence), -1)
follows = np.empty((d.n_text_layer, d.n_text_head))
for block, head in np.ndindex(follows.shape):
    scores = acts[f"decoder.blocks.{block}.cross_attn.scores"].reshape(
        d.n_text_head, everything.size, -1
    )[head]
    weights = layers.softmax(scores[:, :n_heard])[rows]
    path_rows, path_columns = timing.dtw(-weights)
    follows[block, head] = weights[path_rows, path_columns].sum() / len(weights)

draw_heads(follows, "attention on the path", is_dark=lambda value: value <= 0.5, vmin=0, vmax=1)
best = np.unravel_index(follows.argmax(), follows.shape)
print(f"best: block {best[0]}, head {best[1]}; the checkpoint says {model.alignment_heads}")

# %% [markdown]
# The sharpest heads by this measure are not those with a star. Does that matter for word times? Compare
# the times that our best head gives with those of the eight heads of the checkpoint:

# %% tags=["claim"]
sharpest = [np.unravel_index(i, follows.shape) for i in np.argsort(-follows, axis=None)[:4]]
assert not {(int(i), int(h)) for i, h in sharpest} & set(model.alignment_heads)
assert len(model.alignment_heads) == 8

# %%
one_head = npwhisper.Whisper(d, model.weights, [(int(best[0]), int(best[1]))])
found = [
    timing.find_alignment(which, tokenizer, text.tokens, features[0], 2 * n_heard)
    for which in (model, one_head)
]
starts = np.array([[word.start for word in words] for words in found])
print(
    "\n".join(f"{w.word:10} {a:5.2f} {b:5.2f}" for w, a, b in zip(found[0], *starts, strict=True))
)
print(f"mean difference {np.abs(starts[0] - starts[1]).mean():.2f} s")

# %% [markdown]
# The single head is a third of a second ahead of the eight: it is sharp, but it looks at the word
# before the word is said. (In the sound "so" begins at 0.68 s: the eight say 0.74, the single one 0.42.) A head that
# follows the speech is not yet a clock.

# %% tags=["claim"]
assert 0.25 < (starts[0] - starts[1]).mean() < 0.45
assert found[0][1].word.strip() == "so"
assert np.allclose(starts[:, 1], [0.74, 0.42], atol=0.011)

# %% [markdown]
# One sentence is little evidence; those who choose alignment heads use many recordings, and
# compare with times that people measured.
#
# ## The equality
#
# Is switching off a head by `edit` the same as if the head had never had weights? The `out` layer
# multiplies each head's features with a part of its columns. So remove these columns from the
# checkpoint, and compare.

# %%
block, head = (int(i) for i in best)
width = d.n_text_state // d.n_text_head
name = f"decoder.blocks.{block}.cross_attn.out.weight"
cut_off = model.weights[name].copy()
cut_off[:, head * width : (head + 1) * width] = 0
operated = npwhisper.Whisper(d, {**model.weights, name: cut_off}, model.alignment_heads)

with swap(edit={f"decoder.blocks.{block}.cross_attn.attend": without(head)}):
    edited = model.logits(tokens, features)
assert np.allclose(edited, operated.logits(tokens, features), atol=1e-3)
assert np.allclose(model.logits(tokens, features), plain, atol=1e-4), (
    "after the block everything is as before"
)
print("the same, and the model is unharmed")

# %% [markdown]
# ## All of it on one page
#
# What you traced by hand here, `glass` records in a whole transcription, and writes it into one HTML
# page, which opens from the disk and needs no network: the sound, every decode step, attention of every
# head, the logit lens, word times. Open `talk.html` in your browser.

# %%
run = npwhisper.glass(npwhisper.example(), "talk.html", model=model)
print(f"{os.path.getsize('talk.html') / 1e6:.1f} MB: {run.result['text']}")

# %% [markdown]
# The first view: the sound with its words, the network as a drawing, and the steps of decoding.

# %%
Image(filename=notebooks.path("glass_overview.webp"), width=900)

# %% [markdown]
# Cross-attention of every layer and head over the spectrogram, those with a star used for word times:

# %%
Image(filename=notebooks.path("glass_attention.webp"), width=900)

# %% [markdown]
# And why "country" was said and not "county": what each part of the network added to the difference of the
# two logits. The candidates and the rules stand above it in the same view.

# %%
Image(filename=notebooks.path("glass_choice.webp"), width=900)

# %% [markdown]
# ## Exercises
#
# **1. A decoder without sound.** Set *all* cross-attention to zero (`"decoder.blocks.*.cross_attn"`) and
# let the model write. What does a decoder write without the sound? What do you think it was trained
# on?

# %% tags=["exercise"]
deaf = ...  # what `decode` gives, at most 30 tokens, if all cross-attention is zero

# %% jupyter={"source_hidden": true} tags=["check"]
notebooks.exercise(deaf, lambda result: result.text != text.text and len(result.tokens) <= 30)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# with swap(edit={"decoder.blocks.*.cross_attn": lambda y: 0 * y}):
#     deaf = npwhisper.decode(model, mel, without_timestamps=True, sample_len=30)
# print(deaf.text)
# ```
#
# Without the sound it is a language model of its training texts, and a weak one.
#
# </details>

# %% [markdown]
# **2. Which half is more important?** Remove, one at a time, the `attn` and the `mlp` of each of the
# first three encoder blocks (their results set to zero), and compare the loss of sureness.

# %% tags=["exercise"]
lost = ...  # {"attn": [loss without that of block 0, 1, 2], "mlp": [...]}

# %% jupyter={"source_hidden": true} tags=["check"]
with swap(edit={"encoder.blocks.1.mlp": lambda y: 0 * y}):
    expected = (sureness(plain) - sureness(model.logits(tokens, model.embed_audio(mel)))).mean()
notebooks.exercise(
    lost,
    lambda losses: len(losses["attn"]) == 3 and np.isclose(losses["mlp"][1], expected, atol=1e-3),
)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# lost = {}
# for part in ("attn", "mlp"):
#     lost[part] = []
#     for i in range(3):
#         with swap(edit={f"encoder.blocks.{i}.{part}": lambda y: 0 * y}):
#             lost[part].append((sureness(plain) - sureness(model.logits(tokens, model.embed_audio(mel)))).mean())
# for part, losses in lost.items():
#     print(f"{part:5}", " ".join(f"{value:6.2f}" for value in losses))
# ```
#
# </details>

# %% [markdown]
# **3. Sharper attention.** Multiply all cross-attention scores by 2, by 1.2, by 0.8 and by 0.5.
# Does the model become surer when it looks more sharply?

# %% tags=["exercise"]
doubled = ...  # the mean log-probability of the tokens if all scores are doubled

# %% jupyter={"source_hidden": true} tags=["check"]
with swap(edit={"decoder.blocks.*.cross_attn.scores": lambda y: 2 * y}):
    expected = sureness(model.logits(tokens, features)).mean()
notebooks.exercise(doubled, lambda mean: np.isclose(mean, expected, atol=1e-3))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# means = {}
# for factor in (2.0, 1.2, 1.0, 0.8, 0.5):
#     with swap(edit={"decoder.blocks.*.cross_attn.scores": lambda y, factor=factor: factor * y}):
#         means[factor] = sureness(model.logits(tokens, features)).mean()
#         print(factor, means[factor].round(3))
# doubled = means[2.0]
# ```
#
# Sharper than trained hardly matters, even twice as sharp; half as sharp costs two nats per token. Training has
# already found about the best sharpness.
#
# </details>

# %% tags=["claim"]
at = {}
for factor in (2.0, 1.2, 1.0, 0.8, 0.5):
    with swap(edit={"decoder.blocks.*.cross_attn.scores": lambda y, factor=factor: factor * y}):
        at[factor] = sureness(model.logits(tokens, features)).mean()
assert max(at, key=at.get) == 1.0
assert abs(at[2.0] - at[1.0]) < 0.02
assert 1.5 < at[1.0] - at[0.5] < 2.5
