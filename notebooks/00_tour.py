# %% [markdown]
# # 00 · A tour: from sound to sentence
#
# **What you will build** · Speech recognition in three lines, and then the same computation by
# hand: you pass a recording through every stage of Whisper and inspect each intermediate array,
# until you get the same sentence.
#
# **What you need** · NumPy: arrays, shapes, `argmax`. You need no knowledge of neural networks or
# of sound.
#
# **Which file this explains** · `npwhisper/whisper/handle.py`, the `Whisper` object that
# `load_model` returns. The tour also gives the order in which to read the other files.

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
from npwhisper import plot_attention, plot_mel
from npwhisper.lab import notebooks
from npwhisper.lab.drawing import plot_network

notebooks.use_style()

# %% [markdown]
# ## Transcribe a recording
#
# The package contains a recording: eleven seconds of John F. Kennedy's inaugural address of 1961.
# Play it.

# %%
samples = npwhisper.load_audio(npwhisper.example())
notebooks.play(npwhisper.example())

# %% [markdown]
# Without a name, `load_model` loads `tiny.en`, OpenAI's smallest Whisper model for English. It is
# part of the package, so these notebooks work offline. Larger models make fewer errors:
# `npwhisper.load_model("base.en")` downloads one. The code below works with it as well, but what the
# text says about single features and heads is true of `tiny.en` only.

# %%
model = npwhisper.load_model()
result = model.transcribe(npwhisper.example())
print(result["text"])

# %% [markdown]
# The result is a dictionary. Besides the whole text, it contains *segments*: pieces of the text with
# their start and end times.

# %%
for segment in result["segments"]:
    print(f"{segment['start']:5.2f} s to {segment['end']:5.2f} s: {segment['text']}")

# %% [markdown]
# ## The same, one stage at a time
#
# Between the sound and the sentence, `transcribe` computes three arrays. You will now compute each
# of them yourself.
#
# | stage | array | meaning |
# |---|---|---|
# | sound | `(samples,)` | the input: air pressure, 16,000 numbers per second |
# | mel | `(n_mels, 3000)` | how loud each pitch is, 100 times per second: a picture of the sound |
# | features | `(1, 1500, D)` | the output of the **encoder**: D numbers for every 20 ms of the picture |
# | logits | `(1, T, V)` | the output of the **decoder**: after each of T tokens, scores for all V tokens it knows |
#
# ### Stage 1: from sound to picture
#
# Whisper processes windows of exactly 30 seconds. A shorter recording is padded with zeros, that
# is, with silence.

# %%
mel = npwhisper.log_mel_spectrogram(npwhisper.pad_or_trim(samples), model.dims.n_mels)

# %% jupyter={"source_hidden": true}
fig, (top, bottom) = plt.subplots(2, 1, figsize=(8, 4.2), sharex=True)
seconds = np.arange(len(samples)) / 16000
top.plot(seconds, samples, linewidth=0.5)
top.set(title="sound", ylabel="pressure")
frames = len(samples) // 160
plot_mel(mel[:, :frames], ax=bottom)
bottom.set_title("log-mel spectrogram: bright is loud")
plt.show()

# %% [markdown]
# Time runs to the right in both pictures. In the lower one, frequency increases upwards: the
# stripes are the overtones of the voice, and hissing sounds (*s*, *sh*) lie near the top. The dark
# gaps are Kennedy's pauses. Below 5000 Hz even the gaps are not black, because the old recording
# contains noise throughout. Notebook 01 shows how to compute this picture, the *log-mel
# spectrogram*.

# %% tags=["claim"]
loudness = mel[:, :frames].mean(axis=0)
pauses = mel[:60, :frames][:, loudness < np.quantile(loudness, 0.2)]
assert (pauses > mel.min() + 0.01).mean() > 0.9, "the pauses are black"

# %% [markdown]
# ### Stage 2: from picture to features
#
# The encoder is the first part of the network. It processes the whole picture at once.

# %%
features = model.embed_audio(mel)
d = model.dims
print(f"mel {mel.shape} -> features {features.shape}")
print(
    f"the encoder has {d.n_audio_layer} blocks; each outputs {d.n_audio_state} numbers for every 20 ms"
)

# %% jupyter={"source_hidden": true}
fig, ax = plt.subplots()
shown = features[0, : frames // 2, :48]
picture = ax.imshow(
    (shown - shown.mean(axis=0)).T, extent=(0, frames / 100, 0, 48), vmin=-3, vmax=3
)
ax.set(
    title="output of the encoder (48 features, each minus its mean)",
    xlabel="time (s)",
    ylabel="feature",
)
fig.colorbar(picture, ax=ax, label="value")
plt.show()

# %% [markdown]
# Nobody designed these features. The network learned them during training, and most have no obvious
# meaning. But you can see that they change with the sound, and one of them is easy to interpret:
# feature 19 is high in the pauses and low where Kennedy speaks.

# %% tags=["claim"]
by_position = loudness.reshape(-1, 2).mean(axis=1)
assert np.corrcoef(features[0, : frames // 2, 19], by_position)[0, 1] < -0.6, "feature 19"

# %% [markdown]
# ### Stage 3: from features to text, one token at a time
#
# The decoder is the second part of the network. Given the features and the text so far, it computes
# a score for every possible next token. A *token* is a piece of text, often a word with the space
# before it. The network knows each token by its number.

# %%
tokenizer = model.tokenizer
tokens = tokenizer.encode(" Yes, I should like to.")
print(tokens)
print([tokenizer.decode([token]) for token in tokens])

# %% [markdown]
# The text is preceded by *special tokens*, which select what the model does. Here they mean "start
# of transcript" and "no timestamps". A multilingual model also needs one token for the language and
# one for the task (transcribe or translate).

# %%
start = list(tokenizer.sot_sequence_including_notimestamps)
print(start, tokenizer.encoding.decode(start))

# %% [markdown]
# Now compute one step. The scores are called *logits*. `logits[:, -1]` are those after the last
# token, and the token with the highest score is the most likely next one.

# %%
logits = model.logits(np.array([start]), features)
print(
    f"logits {logits.shape}: a score for each of {d.n_vocab} tokens, after each of {len(start)} tokens"
)

best = np.argsort(-logits[0, -1])[:8]

# %% jupyter={"source_hidden": true}
fig, ax = plt.subplots(figsize=(8, 2.6))
ax.barh(
    [repr(tokenizer.encoding.decode([token])) for token in best][::-1], logits[0, -1, best][::-1]
)
ax.set(title="the eight tokens with the highest scores", xlabel="score (logit)")
plt.show()

# %% [markdown]
# Append that token, compute the scores again, and repeat until the most likely token is the
# *end-of-text* token. This loop is called *greedy decoding*.

# %%
tokens = list(start)
while len(tokens) < 60:
    logits = model.logits(np.array([tokens]), features)
    following = int(logits[0, -1].argmax())
    if following == tokenizer.eot:
        break
    tokens.append(following)
print(tokenizer.decode(tokens[len(start) :]))

# %% [markdown]
# You have transcribed speech with a loop of eight lines.
#
# ## Look inside the network
#
# This diagram shows the whole network, with the shape of the array on every arrow. The right column
# expands the cross-attention of a decoder block. You need not understand the boxes yet: notebook 02
# explains the layers, 03 attention, and 05 the blocks.

# %%
plot_network(d)
plt.show()

# %% [markdown]
# `trace` records every intermediate result inside its `with` block. The names are those of the
# modules in OpenAI's PyTorch implementation. Where it has no module, a function such as `softmax` is
# added to the name.

# %%
with npwhisper.trace() as acts:
    model.logits(np.array([tokens]), features)
print(acts)
for name in acts.names("decoder.blocks.0*"):
    print(f"{name:42} {acts[name].shape}")

# %% tags=["claim"]
from npwhisper.lab.drawing import steps

for column in steps(d).values():
    for step in column[1:]:
        shape = tuple(len(tokens) if size == "T" else size for size in step.shape)
        assert not step.trace.startswith("decoder") or acts[step.trace].shape == shape, step

# %% [markdown]
# One kind of these arrays is easy to interpret already. In each step the decoder *attends* to the
# recording: it distributes weights, which add up to 1, over the 1500 positions of the window. It does so
# several times in parallel, in so-called *heads*. Some heads follow the speech, although the training data
# contain no times of single words. Here is one of the heads that OpenAI uses to find these times.

# %%
layer, head = model.alignment_heads[2]
attention = acts[f"decoder.blocks.{layer}.cross_attn.softmax"].reshape(-1, len(tokens), 1500)[head]
attention = attention[len(start) - 1 :]  # one row for each step of the loop
names = [tokenizer.encoding.decode([token]) for token in (*tokens[len(start) :], tokenizer.eot)]

# %% jupyter={"source_hidden": true}
fig, ax = plt.subplots(figsize=(8, 6.8), layout="constrained")
plot_attention(attention[:, : frames // 2], queries=names, ax=ax)
ax.set(
    title=f"attention weights of head {head} in decoder block {layer}",
    xlabel="time (s)",
    ylabel="token chosen in the step",
)
plt.show()

# %% [markdown]
# Each row is one step of the loop, labelled with the token that the step chose. The bright path runs
# from the upper left to the lower right: in each step the head attends to the moment at which the
# chosen word is spoken. You build attention in notebook 03, and notebook 07 turns this path into a
# time for every word.

# %% tags=["claim"]
path = attention[:, : frames // 2].argmax(axis=1)
assert np.corrcoef(path, np.arange(len(path)))[0, 1] > 0.95, "the head does not follow the speech"
timed = model.transcribe(npwhisper.example(), word_timestamps=True)["segments"]
times = [(word["start"], word["end"]) for segment in timed for word in segment["words"]]
peaks = [p / 50 for p, name in zip(path, names, strict=True) if name.startswith(" ")]
near = [begin - 0.25 < p < end + 0.25 for p, (begin, end) in zip(peaks, times, strict=True)]
assert np.mean(near) > 0.9, "the rows are not labelled with the words that are spoken there"

# %% [markdown]
# ## The equality
#
# Every notebook has a section with this title. It checks that what you built by hand equals what
# the library computes. Here the library's function is `decode`, which transcribes one window. By
# default it also excludes some tokens (for example music signs, and a space at the
# beginning). Our loop excludes none, so we switch this off. `transcribe` above also asked for
# timestamps. Its words are the same, its punctuation differs.

# %%
options = npwhisper.DecodingOptions(
    without_timestamps=True, suppress_tokens=None, suppress_blank=False, sample_len=58
)
decoded = npwhisper.decode(model, mel, options)
assert tokens[len(start) :] == decoded.tokens
assert tokenizer.decode(tokens[len(start) :]).strip() == decoded.text
print("equal:", decoded.text)

# %% tags=["claim"]
import re

spoken, punctuated = result["text"].strip(), decoded.text
assert spoken != punctuated, "the punctuation is the same with timestamps"
assert re.findall(r"\w+", spoken) == re.findall(r"\w+", punctuated)

# %% [markdown]
# ## What comes next
#
# | notebook | part of `npwhisper/` that it explains |
# |---|---|
# | 01 sound to mel | `audio/` |
# | 02 layers | `model/`: linear, layer norm, GELU, convolution |
# | 03 attention | `model/`: scores, masks, heads |
# | 04 the KV cache | `model/cache.py` |
# | 05 encoder and decoder | `model/`, compared with PyTorch layer by layer |
# | 06 decoding | `decoding/` |
# | 07 word times | `timing/` |
# | 08 the hot path | `compute/`: how the layers are made fast |
# | 09 checkpoint files | `checkpoint/`: what a `.pt` file contains |
# | 10 looking inside | `tracing/`: experiments on the network |
#
# ## Exercises
#
# **1. How large is the model?** `model.weights` maps names to arrays. How many numbers do they hold
# in total, and what share of them is in the token embedding
# (`decoder.token_embedding.weight`), the table with one row for each token?

# %% tags=["exercise"]
share = ...  # the share of the token embedding, between 0 and 1

# %% jupyter={"source_hidden": true} tags=["check"]
total = sum(array.size for array in model.weights.values())
notebooks.exercise(
    share,
    lambda s: np.isclose(s * total, model.dims.n_vocab * model.dims.n_text_state, rtol=0.01),
    "Add up the sizes of all arrays, then divide the size of the token embedding by the sum.",
)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# total = sum(array.size for array in model.weights.values())
# table = model.weights["decoder.token_embedding.weight"].size
# print(f"{total / 1e6:.1f} million numbers, {table / total:.0%} of them in the token embedding")
# assert table == model.dims.n_vocab * model.dims.n_text_state
# share = table / total
# ```
#
# In this small model the token embedding is half of all numbers; in `large` it is 4 %.
#
# </details>

# %% tags=["claim"]
assert 0.5 < model.weights["decoder.token_embedding.weight"].size / total < 0.55
width, n_blocks, n_tokens = (
    1280,
    32,
    51866,
)  # large: 12 D² in a block of the encoder, 16 D² in one of the decoder
assert round(n_tokens / (n_tokens + 28 * n_blocks * width), 2) == 0.04

# %% [markdown]
# **2. What does the model transcribe from silence?** Decode a window whose samples are all zero. Look at
# `text` and at `no_speech_prob`.

# %% tags=["exercise"]
no_speech = ...  # the probability of "no speech" for a window of zeros

# %% jupyter={"source_hidden": true} tags=["check"]
notebooks.exercise(no_speech, lambda p: 0.94 < p < 0.97, "It is the result's `no_speech_prob`.")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# silence = npwhisper.log_mel_spectrogram(np.zeros(480000, np.float32), model.dims.n_mels)
# found = npwhisper.decode(model, silence, without_timestamps=True)
# print(repr(found.text), f"no_speech_prob {found.no_speech_prob:.3f}, mean log-probability {found.avg_logprob:.2f}")
# no_speech = found.no_speech_prob
# ```
#
# The text is "you", although nobody speaks. Text without speech is called a *hallucination*. At the
# same time the model assigns a probability of 95 % to its token for "no speech". Notebook 06 shows
# how `transcribe` decides from this number and the mean log-probability whether a window is silent.
#
# </details>

# %% tags=["claim"]
quiet = npwhisper.log_mel_spectrogram(np.zeros(480000, np.float32), model.dims.n_mels)
from_silence = npwhisper.decode(model, quiet, without_timestamps=True)
assert from_silence.text == "you"
assert round(from_silence.no_speech_prob, 2) == 0.95

# %% [markdown]
# **3. How fast may the speech be?** Pretend that the recording was made with 20,000 samples per second, and
# resample it to 16,000: `npwhisper.audio.resample(samples, 20000, 16000)`. The voice becomes faster and
# higher by a factor of 1.25, like a tape that runs too fast. Transcribe it. At which factor does
# the text become wrong?

# %% tags=["exercise"]
fastest = ...  # of 1, 1.125, 1.25, 1.5 and 2, the largest factor at which every word is right

# %% jupyter={"source_hidden": true} tags=["check"]
notebooks.exercise(fastest, lambda f: f == 1.5, "Compare the words with those of the original.")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def letters(text):
#     return "".join(filter(str.isalpha, text.lower()))
#
# for rate in (16000, 18000, 20000, 24000, 32000):
#     quick = npwhisper.audio.resample(samples, rate, 16000)
#     faster = npwhisper.decode(model, npwhisper.log_mel_spectrogram(npwhisper.pad_or_trim(quick), model.dims.n_mels))
#     print(f"factor {rate / 16000:.3f}: {faster.text}")
#     if letters(faster.text) == letters(decoded.text):
#         fastest = rate / 16000
# ```
#
# At 1.5 times the speed every word is still right. At twice the speed most of the first half of the sentence is
# wrong: "fellow Americans" and "ask" are missing.
#
# </details>

# %% tags=["claim"]
twice = npwhisper.audio.resample(samples, 32000, 16000)
twice_mel = npwhisper.log_mel_spectrogram(npwhisper.pad_or_trim(twice), model.dims.n_mels)
at_twice = npwhisper.decode(model, twice_mel).text
assert not re.search("fellow|Americans|ask", at_twice), at_twice
