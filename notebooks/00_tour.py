# %% [markdown]
# # 00 · A tour: from a sound to a sentence
#
# **What you will build** · Speech recognition in five lines, and then the same five lines again
# with the lid off: you take the sound through every stage of Whisper by hand, until the same
# sentence comes out.
#
# **What you need** · NumPy: arrays, shapes, `argmax`. You need not know anything about neural networks
# or sound.
#
# **Which file this explains** · `npwhisper/whisper/handle.py`, the handle that people hold, and the order
# in which all other files are read.

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
# ## Listen, then let the machine listen
#
# This recording comes with the package: eleven seconds of John F. Kennedy's inaugural address, 1961.
# Play it.

# %%
samples = npwhisper.load_audio(npwhisper.example())
notebooks.play(npwhisper.example())

# %% [markdown]
# `load_model` without a name gives `tiny.en`, the smallest of the models that OpenAI trained on
# 680,000 hours of speech. It comes with the package, so everything in these notebooks works
# offline. Larger models make fewer errors: `npwhisper.load_model("base.en")` downloads one, and
# everything below stays as it is.

# %%
model = npwhisper.load_model()
result = model.transcribe(npwhisper.example())
print(result["text"])

# %% [markdown]
# The result is a dictionary. Apart from the whole text it has *segments*, which tell what is said
# when.

# %%
for segment in result["segments"]:
    print(f"{segment['start']:5.2f} s to {segment['end']:5.2f} s: {segment['text']}")

# %% [markdown]
# ## Now with the lid off
#
# What happened between the sound and the sentence? Four things, and each is an array you can look
# at.
#
# | stage | array | in words |
# |---|---|---|
# | sound | `(samples,)` | air pressure, 16000 times a second |
# | mel | `(n_mels, 3000)` | how loud each pitch is, 100 times a second: a picture of the sound |
# | features | `(1, 1500, D)` | what the **encoder** makes of the picture: D numbers for each 20 ms |
# | logits | `(1, T, V)` | what the **decoder** makes of features and tokens: a score for each of V tokens |
#
# ### Stage 1: sound to picture
#
# Whisper always looks at windows of exactly 30 seconds, so a short recording is padded with
# silence.

# %%
mel = npwhisper.log_mel_spectrogram(npwhisper.pad_or_trim(samples), model.dims.n_mels)

# %% jupyter={"source_hidden": true}
fig, (top, bottom) = plt.subplots(2, 1, figsize=(8, 4.2), sharex=True)
seconds = np.arange(len(samples)) / 16000
top.plot(seconds, samples, linewidth=0.5)
top.set(title="the sound", ylabel="pressure")
frames = len(samples) // 160
plot_mel(mel[:, :frames], ax=bottom)
bottom.set_title("the same as a log-mel spectrogram: bright is loud")
plt.show()

# %% [markdown]
# Time runs to the right in both pictures. In the lower one, low pitches are at the bottom and hisses
# (*s*, *sh*) at the top; the stripes are the overtones of the voice. The dark gaps are Kennedy's
# pauses. Even they are not black below 5000 Hz: the old recording is noisy throughout. Notebook 01
# shows how this picture is made.

# %% tags=["claim"]
loudness = mel[:, :frames].mean(axis=0)
pauses = mel[:60, :frames][:, loudness < np.quantile(loudness, 0.2)]
assert (pauses > mel.min() + 0.01).mean() > 0.9, "the pauses are black"

# %% [markdown]
# ### Stage 2: picture to features
#
# The encoder reads the whole picture at once.

# %%
features = model.embed_audio(mel)
d = model.dims
print(f"mel {mel.shape} -> features {features.shape}")
print(
    f"the encoder has {d.n_audio_layer} blocks, each of which passes on {d.n_audio_state} numbers for each 20 ms"
)

# %% jupyter={"source_hidden": true}
fig, ax = plt.subplots()
heard = features[0, : frames // 2, :48]
picture = ax.imshow(
    (heard - heard.mean(axis=0)).T, extent=(0, frames / 100, 0, 48), vmin=-3, vmax=3
)
ax.set(
    title="what the encoder computed (48 features, less their means)",
    xlabel="time (s)",
    ylabel="feature",
)
fig.colorbar(picture, ax=ax, label="value")
plt.show()

# %% [markdown]
# Nobody designed these features: the network found them in training, and most cannot be read. But
# you can see that they change when the sound changes, and one row can be read after all: feature 19
# is bright in the pauses and dark where Kennedy speaks.

# %% tags=["claim"]
by_position = loudness.reshape(-1, 2).mean(axis=1)
assert np.corrcoef(features[0, : frames // 2, 19], by_position)[0, 1] < -0.6, "feature 19"

# %% [markdown]
# ### Stage 3: one token at a time
#
# The decoder does one thing only: given the features and the tokens so far, it scores every
# possible next token. A *token* is a piece of text, often a word with the space before it, and has
# a number.

# %%
tokenizer = model.tokenizer
tokens = tokenizer.encode(" Yes, I should like to.")
print(tokens)
print([tokenizer.decode([token]) for token in tokens])

# %% [markdown]
# Before the text stand *special tokens*, which tell the model what we want: here "a transcript
# starts" and "no timestamps, please". A multilingual model is told the language and the task as
# well.

# %%
start = list(tokenizer.sot_sequence_including_notimestamps)
print(start, tokenizer.encoding.decode(start))

# %% [markdown]
# One step. `logits[:, -1]` are the scores after the last token; the highest is the decoder's
# choice.

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
# Now do it again with that token appended, and again, until the model says that the text ends.
# That loop is called *greedy decoding*, and it is all there is.

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
# There it is. You have transcribed speech with a loop of eight lines.
#
# ## Seeing everything
#
# Here is the whole network, with the shape of what flows along every arrow. On the right is what happens inside
# each cross-attention. The boxes will make sense one by one: 02 explains the layers, 03 attention, 05 the blocks.

# %%
plot_network(d)
plt.show()

# %% [markdown]
# `trace` records every intermediate result inside its `with` block, under the names that PyTorch
# gives to the parts of the same network. Nothing inside the box is hidden.

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
# One of these arrays deserves a look now. While it writes, the decoder *attends* to the
# recording: for each token it distributes weights over the 1500 positions of the window. Some of
# its *heads* follow the speech, although training never told them when a word is said. Here is one
# of those that OpenAI found to follow it best.

# %%
layer, head = model.alignment_heads[2]
attention = acts[f"decoder.blocks.{layer}.cross_attn.softmax"].reshape(-1, len(tokens), 1500)[head]
names = [tokenizer.encoding.decode([token]) for token in tokens]

# %% jupyter={"source_hidden": true}
ax = plot_attention(attention[:, : frames // 2], queries=names)
ax.set(
    title=f"where head {head} of decoder block {layer} listens",
    xlabel="time (s)",
    ylabel="token",
)
plt.show()

# %% [markdown]
# The bright path runs from the upper left to the lower right: word after word, as they are said.
# In notebook 03 you build this, and in notebook 07 it becomes a time for every word.

# %% tags=["claim"]
path = attention[:, : frames // 2].argmax(axis=1)
assert np.corrcoef(path, np.arange(len(path)))[0, 1] > 0.95, "the head does not follow the speech"

# %% [markdown]
# ## The equality
#
# Every notebook ends with one: what we built by hand is what the library computes. `decode`
# transcribes one window. Usually it also forbids some tokens (noises, music signs, a blank at the
# beginning); here we switch that off, since our loop does not forbid them. (`transcribe` above asked
# for timestamps as well, which is why its text has other punctuation.)

# %%
options = npwhisper.DecodingOptions(
    without_timestamps=True, suppress_tokens=None, suppress_blank=False, sample_len=58
)
decoded = npwhisper.decode(model, mel, options)
assert tokens[len(start) :] == decoded.tokens
assert tokenizer.decode(tokens[len(start) :]).strip() == decoded.text
print("the same:", decoded.text)

# %% tags=["claim"]
import re

spoken, punctuated = result["text"].strip(), decoded.text
assert spoken != punctuated, "the punctuation is the same with timestamps"
assert re.findall(r"\w+", spoken) == re.findall(r"\w+", punctuated)

# %% [markdown]
# ## The way on
#
# | notebook | file that it explains |
# |---|---|
# | 01 sound to mel | `audio/` |
# | 02 layers | `model/`: linear, layer norm, GELU, convolution |
# | 03 attention | `model/`: scores, masks, heads |
# | 04 the KV cache | `model/cache.py` |
# | 05 encoder and decoder | `model/`, compared with PyTorch layer by layer |
# | 06 decoding | `decoding/` |
# | 07 word times | `timing/` |
# | 08 the hot path | `compute/`: how the layers became fast |
# | 09 checkpoint files | `checkpoint/`: what is inside a `.pt` file |
# | 10 looking inside | `tracing/`: experiments on the network |
#
# ## Exercises
#
# **1. How big is the model?** `model.weights` maps names to arrays. How many numbers are there in
# all, and which share of them is the table of tokens (`decoder.token_embedding.weight`)?

# %% tags=["exercise"]
share = ...  # the share of the table of tokens, between 0 and 1

# %% jupyter={"source_hidden": true} tags=["check"]
total = sum(array.size for array in model.weights.values())
notebooks.exercise(
    share,
    lambda s: np.isclose(s * total, model.dims.n_vocab * model.dims.n_text_state, rtol=0.01),
    "Add up the sizes of all arrays; then divide the size of the table by the sum.",
)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# total = sum(array.size for array in model.weights.values())
# table = model.weights["decoder.token_embedding.weight"].size
# print(f"{total / 1e6:.1f} million numbers, of which {table / total:.0%} are the table of tokens")
# assert table == model.dims.n_vocab * model.dims.n_text_state
# share = table / total
# ```
#
# Half of this small model is the table of tokens; of `large` it is 4 %.
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
# **2. What does it transcribe in silence?** Decode a window of zeros. Look at `text`, and at
# `no_speech_prob`.

# %% tags=["exercise"]
no_speech = ...  # the probability that nobody speaks, in a window of zeros

# %% jupyter={"source_hidden": true} tags=["check"]
notebooks.exercise(no_speech, lambda p: 0.94 < p < 0.97, "It is the result's `no_speech_prob`.")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# silence = npwhisper.log_mel_spectrogram(np.zeros(480000, np.float32), model.dims.n_mels)
# heard = npwhisper.decode(model, silence, without_timestamps=True)
# print(repr(heard.text), f"no_speech_prob {heard.no_speech_prob:.3f}, mean log-probability {heard.avg_logprob:.2f}")
# no_speech = heard.no_speech_prob
# ```
#
# It writes "you". Whisper was trained on subtitled recordings, where nearly every sound has words, so
# in silence it makes some up: a *hallucination*. Yet it gives a probability of 95 % to the token for "no
# speech". Notebook 06 shows how `transcribe` uses these two numbers.
#
# </details>

# %% tags=["claim"]
quiet = npwhisper.log_mel_spectrogram(np.zeros(480000, np.float32), model.dims.n_mels)
heard_in_silence = npwhisper.decode(model, quiet, without_timestamps=True)
assert heard_in_silence.text == "you"
assert round(heard_in_silence.no_speech_prob, 2) == 0.95

# %% [markdown]
# **3. How much faster may one speak?** Keep every sample but say that there are fewer of them:
# resample the recording as if it had been made at 20000 samples a second
# (`npwhisper.audio.resample(samples, 20000, 16000)`), and transcribe. Higher and faster, like a
# record at the wrong speed. When does the text break?

# %% tags=["exercise"]
fastest = ...  # of the factors 1, 1.125, 1.25, 1.5 and 2, the last at which every word is right

# %% jupyter={"source_hidden": true} tags=["check"]
notebooks.exercise(fastest, lambda f: f == 1.5, "Compare the words with those of the recording.")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def letters(text):
#     return "".join(filter(str.isalpha, text.lower()))
#
# for rate in (16000, 18000, 20000, 24000, 32000):
#     quick = npwhisper.audio.resample(samples, rate, 16000)
#     heard = npwhisper.decode(model, npwhisper.log_mel_spectrogram(npwhisper.pad_or_trim(quick), model.dims.n_mels))
#     print(f"{rate / 16000:.2f} times faster: {heard.text}")
#     if letters(heard.text) == letters(decoded.text):
#         fastest = rate / 16000
# ```
#
# At one and a half times the speed every word is still right; at twice the speed the first half of the
# sentence is lost.
#
# </details>

# %% tags=["claim"]
twice = npwhisper.audio.resample(samples, 32000, 16000)
twice_mel = npwhisper.log_mel_spectrogram(npwhisper.pad_or_trim(twice), model.dims.n_mels)
heard_twice = npwhisper.decode(model, twice_mel).text
assert not re.search("fellow|Americans|ask", heard_twice), heard_twice
