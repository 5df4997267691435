# %% [markdown]
# # 10 · Looking inside: experiments on a network
#
# **What you will build** · Four experiments. You read out the decoder's predictions after every block (*logit
# lens*), switch off attention heads one by one (*ablation*), replace activations with those of another recording
# (*activation patching*), and look for the heads that follow the speech.
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
n_positions = len(samples) // 320  # audio positions before the padding
mel = npwhisper.log_mel_spectrogram(npwhisper.pad_or_trim(samples), d.n_mels)
features = model.embed_audio(mel)

start = list(tokenizer.sot_sequence_including_notimestamps)
text = npwhisper.decode(model, features[0], without_timestamps=True)
tokens = np.array([[*start, *text.tokens]])
targets = [*text.tokens, tokenizer.eot]
names = [tokenizer.encoding.decode([token]) for token in targets]
print(text.text)

# %% [markdown]
# ## Recording and replacing
#
# Every layer is a plain function, decorated with `@layer`. The decorator does nothing except inside a `trace` or
# `swap` block. There each call has a name; `trace` records its result, and `swap` replaces the function.
# `swap(edit=...)` keeps the function and passes a copy of its result through a function of ours. An edit that returns
# its argument must not change anything:

# %%
plain = model.logits(tokens, features)
with swap(edit={"decoder.blocks.*.mlp": lambda y: y}) as counts:
    unchanged = model.logits(tokens, features)
assert np.allclose(plain, unchanged, atol=1e-4)
print(f"{sum(counts.values())} results went through our function")

# %% [markdown]
# In all experiments below we measure how probable the decoder finds the text that it wrote: the mean
# log-probability of the tokens. Logarithms are natural, so the unit is the *nat*.


# %%
def text_logprobs(logits):
    """The log-probability of each token of our text and of the end: (1, T, V) -> (number of targets,)"""
    logprobs = layers.log_softmax(logits[0, len(start) - 1 :])
    return logprobs[np.arange(len(targets)), targets]


print(f"{text_logprobs(plain).mean():.3f} nats per token")

# %% [markdown]
# ## Experiment 1: the prediction after each block
#
# The decoder turns its residual stream into logits only after the last block: by the last layer norm, and a product
# with the token embeddings. We can apply both to the stream after *each* block, and see what the network would
# predict there. This is known as the *logit lens*.

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
    sure[row] = np.exp(text_logprobs(logits))
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
ax.set(title="the most probable next token after each block", xlabel="the right next token")
fig.colorbar(picture, ax=ax, label="probability of the\nright token")
plt.show()

# %% [markdown]
# In the first row the stream holds nothing but the token that was read (and its position), so the most probable token
# is that token itself. After blocks 0 and 1 the most probable token is neither the token that was read nor, in
# most columns, the right one: the output of these blocks is input for later blocks, not yet a prediction. After block
# 2 three quarters of the tokens are right, after block 3 all of them. The comma has the lowest probability; a full
# stop is one of the two most probable tokens at that position.

# %% tags=["claim"]
scores = [
    layers.layer_norm(s, w["ln"])[0, len(start) - 1 :] @ w["token_embedding"]["weight"].T
    for s in streams
]
predicted = np.array([rows.argmax(axis=1) for rows in scores])
read = tokens[0, len(start) - 1 :]
assert (predicted[0] == read).mean() > 0.9
assert not (predicted[1:3] == read).any()
right = (predicted == targets).mean(axis=1)
assert max(right[1:3]) < 0.2
assert 0.7 < right[3] < 0.8
assert right[4] == 1
assert names[sure[-1].argmin()] == ","
full_stop = tokenizer.encode(".")[0]
assert full_stop in np.argsort(-scores[-1][sure[-1].argmin()])[:2]

# %% [markdown]
# ## Experiment 2: which heads does it need?
#
# Switch off one cross-attention head at a time. The output of all heads is called `cross_attn.attend` and has shape
# (1, H, T, K); we set the part of one head to zero. How much does the mean log-probability of the text fall? We
# call this difference the *loss* without the head.


# %% jupyter={"source_hidden": true}
def without(head):
    def edit(y):
        y[:, head] = 0
        return y

    return edit


loss = np.empty((d.n_text_layer, d.n_text_head))
for block, head in np.ndindex(loss.shape):
    with swap(edit={f"decoder.blocks.{block}.cross_attn.attend": without(head)}):
        damaged = model.logits(tokens, features)
    loss[block, head] = (text_logprobs(plain) - text_logprobs(damaged)).mean()


def draw_heads(values, label, is_dark, **colours):
    """A square for each cross-attention head, with its value; a star marks the checkpoint's alignment heads."""
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
# Only three of the 24 heads matter by themselves: head 4 of block 0, head 2 of block 1 and, less, head 2 of block 3.
# Without any other single head the words stay the same; only punctuation and capitals change here and there. That
# holds for most of the checkpoint's alignment heads, too, which are marked with a star. It suggests that several heads
# carry the same information.


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
# ## Experiment 3: features of two recordings
#
# Encode the recording, and the same recording played backwards. Then combine the features: those of the recording up to
# some time, and those of the backward one after it. Replacing activations with those of another input is
# called *activation patching*. What does the decoder write?

# %%
backwards = npwhisper.log_mel_spectrogram(npwhisper.pad_or_trim(samples[::-1].copy()), d.n_mels)
other = model.embed_audio(backwards)
patched = []
for share in (1.0, 0.5, 0.0):
    cut = int(share * n_positions)

    def patch(y, cut=cut):
        y[:, cut:] = other[:, cut:]
        return y

    with swap(edit={"encoder": patch}):
        result = npwhisper.decode(model, mel, without_timestamps=True, sample_len=30)
    print(f"{share:4.0%} forwards: {result.text}")
    patched.append(result.text)

# %% [markdown]
# With the features of the recording up to the middle, the text begins almost as before. So the encoder keeps what is
# said at the position where it is said, although attention could have moved it anywhere. Where the features
# are those of backward speech, the decoder does not stop: it invents English sentences and repeats itself.

# %% tags=["claim"]
assert spoken_words(patched[0]) == spoken_words(text.text)
assert patched[1].startswith("And so my fellow Americans ask")
assert spoken_words(patched[1]) != spoken_words(text.text)
assert "Americans" not in patched[2]
assert len(patched[2]) > 20, "the decoder does not stop"
for invented in patched[1:]:
    phrases = [invented[i : i + 10] for i in range(len(invented) - 10)]
    assert len(set(phrases)) < len(phrases), "it repeats itself"

# %% [markdown]
# Now patch less: for a quarter of a second in the middle, replace the stream after one encoder block with that of a
# silent recording. Which tokens become less probable? And does it matter which block we choose?

# %%
silence = npwhisper.log_mel_spectrogram(np.zeros(480000, np.float32), d.n_mels)
with npwhisper.trace(*(f"encoder.blocks.{i}" for i in range(d.n_audio_layer))) as quiet:
    model.embed_audio(silence)

middle = slice(n_positions // 2 - 6, n_positions // 2 + 6)
damage = []
for i in range(d.n_audio_layer):

    def silenced(y, i=i):
        y[:, middle] = quiet[f"encoder.blocks.{i}"][:, middle]
        return y

    with swap(edit={f"encoder.blocks.{i}": silenced}):
        damaged = model.embed_audio(mel)
    damage.append(text_logprobs(plain) - text_logprobs(model.logits(tokens, damaged)))

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
# One token loses most of its probability: "what", which is spoken at that time. "your" loses a little. The loss is
# similar for the first three blocks and smaller after the last one. A likely reason is that before the last block
# attention has passed some of the information on to other positions.

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
# Which heads are useful for word times? Those whose attention moves through the recording as the text advances.
# Here is a simple measure. For each head alone, find the best path that never goes back (notebook 07), and compute how
# much of its attention lies on that path.

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
    weights = layers.softmax(scores[:, :n_positions])[rows]
    path_rows, path_columns = timing.dtw(-weights)
    follows[block, head] = weights[path_rows, path_columns].sum() / len(weights)

draw_heads(follows, "attention on the path", is_dark=lambda value: value <= 0.5, vmin=0, vmax=1)
best = np.unravel_index(follows.argmax(), follows.shape)
print(f"highest: block {best[0]}, head {best[1]}")
print(f"alignment heads of the checkpoint (block, head): {model.alignment_heads}")

# %% [markdown]
# The four heads with the highest values have no star. Would they give better word times? Compare the times that the
# head with the highest value gives with those of the checkpoint's eight alignment heads:

# %% tags=["claim"]
sharpest = [np.unravel_index(i, follows.shape) for i in np.argsort(-follows, axis=None)[:4]]
assert not {(int(i), int(h)) for i, h in sharpest} & set(model.alignment_heads)
assert len(model.alignment_heads) == 8

# %%
one_head = npwhisper.Whisper(d, model.weights, [(int(best[0]), int(best[1]))])
found = [
    timing.find_alignment(which, tokenizer, text.tokens, features[0], 2 * n_positions)
    for which in (model, one_head)
]
starts = np.array([[word.start for word in words] for words in found])
print("start (s)   eight   one")
print(
    "\n".join(f"{w.word:11} {a:5.2f} {b:5.2f}" for w, a, b in zip(found[0], *starts, strict=True))
)
print(f"mean difference {np.abs(starts[0] - starts[1]).mean():.2f} s")

# %% [markdown]
# With the single head the words begin a third of a second earlier than with the eight. (In the recording "so" begins
# at 0.68 s; the eight heads give 0.74 s, the single one 0.42 s.) This head attends to a word too early. So a head
# whose attention follows the speech in order does not necessarily give accurate times.

# %% tags=["claim"]
assert 0.25 < (starts[0] - starts[1]).mean() < 0.45
assert found[0][1].word.strip() == "so"
assert np.allclose(starts[:, 1], [0.74, 0.42], atol=0.011)

# %% [markdown]
# One sentence is little evidence. To choose alignment heads, use many recordings whose word times were measured by
# hand.
#
# ## The equality
#
# Is switching off a head with `edit` the same as removing it from the checkpoint? The layer `out` multiplies the
# features of each head with some of its columns. So set these columns to zero in a copy of the weights, and
# compare the logits.

# %%
block, head = (int(i) for i in best)
width = d.n_text_state // d.n_text_head
name = f"decoder.blocks.{block}.cross_attn.out.weight"
cut_off = model.weights[name].copy()
cut_off[:, head * width : (head + 1) * width] = 0
without_head = npwhisper.Whisper(d, {**model.weights, name: cut_off}, model.alignment_heads)

with swap(edit={f"decoder.blocks.{block}.cross_attn.attend": without(head)}):
    edited = model.logits(tokens, features)
assert np.allclose(edited, without_head.logits(tokens, features), atol=1e-3)
assert np.allclose(model.logits(tokens, features), plain, atol=1e-4), (
    "after the `with` block everything is as before"
)
print("the same, and our model is unchanged")

# %% [markdown]
# ## All of it on one page
#
# `glass` records a whole transcription and writes it into one HTML page: the sound, every decoding step, the attention
# of every head, the logit lens, and word times. The page needs no network. Open `talk.html` in your browser.

# %%
run = npwhisper.glass(npwhisper.example(), "talk.html", model=model)
print(f"{os.path.getsize('talk.html') / 1e6:.1f} MB: {run.result['text']}")

# %% [markdown]
# The first view shows the sound with its words, the network as a drawing, and the decoding steps.

# %%
Image(filename=notebooks.path("glass_overview.webp"), width=900)

# %% [markdown]
# Another view shows the cross-attention of every layer and head over the spectrogram. The heads with a star are used
# for word times.

# %%
Image(filename=notebooks.path("glass_attention.webp"), width=900)

# %% [markdown]
# A third view shows why the network chose "country" and not "county": how much each part of the network added to the
# difference of the two logits. Above it are the candidates and the rules.

# %%
Image(filename=notebooks.path("glass_choice.webp"), width=900)

# %% [markdown]
# ## Exercises
#
# **1. A decoder without sound.** Set the output of *all* cross-attention to zero (`"decoder.blocks.*.cross_attn"`) and
# decode `mel` without timestamps, with at most 30 tokens (`sample_len=30`). Does the decoder still write English, as a
# language model would?

# %% tags=["exercise"]
soundless = ...  # the result of `npwhisper.decode` if all cross-attention is zero

# %% jupyter={"source_hidden": true} tags=["check"]
notebooks.exercise(soundless, lambda result: result.text != text.text and len(result.tokens) <= 30)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# with swap(edit={"decoder.blocks.*.cross_attn": lambda y: 0 * y}):
#     soundless = npwhisper.decode(model, mel, without_timestamps=True, sample_len=30)
# print(soundless.text)
# ```
#
# No: it writes one control token, `<|notimestamps|>`, and stops. If this token is forbidden, it writes nothing. In
# training there was always a recording, so the decoder did not learn to write without one.
#
# </details>

# %% tags=["claim"]
with swap(edit={"decoder.blocks.*.cross_attn": lambda y: 0 * y}):
    forbidden = [[-1], [-1, tokenizer.no_timestamps]]
    alone = [
        npwhisper.decode(model, mel, without_timestamps=True, sample_len=30, suppress_tokens=ids)
        for ids in forbidden
    ]
assert [result.text for result in alone] == ["<|notimestamps|>", ""]

# %% [markdown]
# **2. Which half is more important?** In each of the first three encoder blocks, set the output of `attn` to zero, then
# that of `mlp`, one at a time. How much does the mean of `text_logprobs` fall in each case? (Encode `mel` inside the
# `swap` block.)

# %% tags=["exercise"]
lost = ...  # {"attn": [loss without that of block 0, of block 1, of block 2], "mlp": [...]}

# %% jupyter={"source_hidden": true} tags=["check"]
with swap(edit={"encoder.blocks.1.mlp": lambda y: 0 * y}):
    damaged = model.logits(tokens, model.embed_audio(mel))
expected = (text_logprobs(plain) - text_logprobs(damaged)).mean()
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
#             damaged = model.logits(tokens, model.embed_audio(mel))
#         lost[part].append((text_logprobs(plain) - text_logprobs(damaged)).mean())
# for part, losses in lost.items():
#     print(f"{part:5}", " ".join(f"{value:6.2f}" for value in losses))
# ```
#
# Neither: without any one of the six the text loses 3 to 6 nats per token.
#
# </details>

# %% tags=["claim"]
for part in ("attn", "mlp"):
    for i in range(3):
        with swap(edit={f"encoder.blocks.{i}.{part}": lambda y: 0 * y}):
            damaged = model.logits(tokens, model.embed_audio(mel))
        assert 2.5 < (text_logprobs(plain) - text_logprobs(damaged)).mean() < 6.5, (i, part)

# %% [markdown]
# **3. Sharper attention.** Multiply all cross-attention scores (`"decoder.blocks.*.cross_attn.scores"`) by 2, 1.2, 0.8
# and 0.5. Large scores give a sharp softmax, small ones a flat one. Does the text become more probable with sharper
# attention?

# %% tags=["exercise"]
doubled = ...  # the mean log-probability of the tokens if all scores are doubled

# %% jupyter={"source_hidden": true} tags=["check"]
with swap(edit={"decoder.blocks.*.cross_attn.scores": lambda y: 2 * y}):
    expected = text_logprobs(model.logits(tokens, features)).mean()
notebooks.exercise(doubled, lambda mean: np.isclose(mean, expected, atol=1e-3))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# means = {}
# for factor in (2.0, 1.2, 1.0, 0.8, 0.5):
#     with swap(edit={"decoder.blocks.*.cross_attn.scores": lambda y, factor=factor: factor * y}):
#         means[factor] = text_logprobs(model.logits(tokens, features)).mean()
#         print(factor, means[factor].round(3))
# doubled = means[2.0]
# ```
#
# Doubling the scores hardly matters; halving them costs two nats per token. Of these five factors the best is 1, with
# which the network was trained.
#
# </details>

# %% tags=["claim"]
at = {}
for factor in (2.0, 1.2, 1.0, 0.8, 0.5):
    with swap(edit={"decoder.blocks.*.cross_attn.scores": lambda y, factor=factor: factor * y}):
        at[factor] = text_logprobs(model.logits(tokens, features)).mean()
assert max(at, key=at.get) == 1.0
assert abs(at[2.0] - at[1.0]) < 0.02
assert 1.5 < at[1.0] - at[0.5] < 2.5
