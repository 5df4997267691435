# %% [markdown]
# # 05 · Encoder and decoder: the whole network, compared with PyTorch
#
# **What you will build** · The encoder and the decoder, a few lines each, from the layers of
# notebooks 02 to 04. Then you compare every layer with PyTorch and let the comparison find
# the first layer that is wrong.
#
# **What you need** · Notebooks 02, 03 and 04. You need no PyTorch: its results are in a file.
#
# **Which file this explains** · `npwhisper/model/` and `npwhisper/lab/comparing/`

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
from npwhisper import capture_torch, compare, swap
from npwhisper.checkpoint import read_checkpoint
from npwhisper.lab import notebooks
from npwhisper.lab.comparing import load_activations
from npwhisper.model import cross_attention, layers, mlp, self_attention

notebooks.use_style()
model = npwhisper.load_model()
d = model.dims
samples = npwhisper.load_audio(npwhisper.example())
n_sound = len(samples) // 320  # positions of 20 ms that are sound, not padding
mel = npwhisper.log_mel_spectrogram(npwhisper.pad_or_trim(samples), d.n_mels)[None]

# %% [markdown]
# ## The structure of the network
#
# A checkpoint maps dotted names to arrays. Nested at the dots, the names show the structure of the
# network: which modules it has, and the shapes of their weights.


# %%
def draw(scope, indent=0):
    for name, part in scope.items():
        if isinstance(part, dict) and all(not isinstance(value, dict) for value in part.values()):
            print(
                f"{'  ' * indent + name:24}",
                "  ".join(f"{key} {array.shape}" for key, array in sorted(part.items())[::-1]),
            )
        elif isinstance(part, dict):
            print("  " * indent + name)
            draw(dict(list(part.items())[:1]) if name == "blocks" else part, indent + 1)
            if name == "blocks":
                print(f"{'  ' * (indent + 1)}... {len(part)} such blocks in all")
        else:
            print(f"{'  ' * indent + name:24} {part.shape}")


draw(model.scope)

# %% [markdown]
# ## The encoder: from sound to features
#
# The encoder consists of the two convolutions of notebook 02, a table of positions, and a stack of blocks. A block does
# not replace its input. It *adds* to it twice: first the output of attention, then the output of the mlp. So one
# array of D numbers per position passes through all blocks, and each block adds to it. This array is called the
# *residual stream*.


# %%
def encoder_block(x, w, n_head):
    x = x + self_attention(layers.layer_norm(x, w["attn_ln"]), w["attn"], n_head)
    return x + mlp(layers.layer_norm(x, w["mlp_ln"]), w["mlp"])


def encoder(mel, w, n_head):
    x = layers.gelu(layers.conv1d(mel, w["conv1"]))
    x = layers.gelu(layers.conv1d(x, w["conv2"], stride=2))
    x = x.transpose(0, 2, 1) + w["positional_embedding"]
    for block in w["blocks"].values():
        x = encoder_block(x, block, n_head)
    return layers.layer_norm(x, w["ln_post"])


# %% [markdown]
# ### The table of positions
#
# Attention ignores the order of the positions (notebook 03), so the encoder adds a different pattern to each
# position. The patterns are samples of waves, from fast to slow: in Whisper, the left half of the features are
# sines and the right half cosines. The checkpoint contains this table.

# %%
table = model.scope["encoder"]["positional_embedding"]
# The file stores it in half precision.
assert np.allclose(table, layers.sinusoids(*table.shape), atol=2e-3)

# %% jupyter={"source_hidden": true}
fig, (left, right) = plt.subplots(1, 2)
picture = left.imshow(table[:400], extent=(0, d.n_audio_state, 8, 0), origin="upper")
left.set(title="the first eight seconds", xlabel="feature", ylabel="position (s)")
fig.colorbar(picture, ax=left, label="value")
alike = table[:400] @ table[200] / (d.n_audio_state / 2)
right.plot(np.arange(400) / 50, alike)
right.set(
    title="similarity to the position at 4 s", xlabel="position (s)", ylabel="inner product, scaled"
)
plt.show()

# %% [markdown]
# Neighbouring positions have more similar patterns than distant ones. From such patterns a head can learn to attend to
# the neighbourhood of a position.

# %% tags=["claim"]
assert (alike[190:211] > 0.65).all()
assert alike[190:211].min() > alike[:150].max()

# %% [markdown]
# ### What each block adds
#
# How much do attention and mlp contribute? The next plot shows the length of the vectors that they add, and the
# length of the stream, averaged over the positions with sound.

# %%
with npwhisper.trace("encoder.blocks.*") as acts:
    features = model.embed_audio(mel)


def size(name):
    return float(np.linalg.norm(acts[name][0, :n_sound], axis=-1).mean())


blocks = range(d.n_audio_layer)

# %% jupyter={"source_hidden": true}
fig, ax = plt.subplots()
ax.plot(blocks, [size(f"encoder.blocks.{i}") for i in blocks], "o-", label="stream after the block")
ax.plot(
    blocks, [size(f"encoder.blocks.{i}.attn") for i in blocks], "s--", label="added by attention"
)
ax.plot(blocks, [size(f"encoder.blocks.{i}.mlp") for i in blocks], "^:", label="added by the mlp")
ax.set(xlabel="encoder block", ylabel="mean length of the vectors", xticks=blocks, ylim=(0, None))
ax.legend()
plt.show()

# %% [markdown]
# In the first block attention adds more than the mlp, in the last block the mlp adds more. At the end the stream is
# almost three times as long as after the first block.

# %% tags=["claim"]
stream, by_attention, by_mlp = (
    [size(f"encoder.blocks.{i}{part}") for i in blocks] for part in ("", ".attn", ".mlp")
)
assert by_attention[0] > by_mlp[0]
assert by_mlp[-1] > by_attention[-1]
assert 2.5 < stream[-1] / stream[0] < 3

# %% [markdown]
# ## The decoder: predict the next token
#
# The decoder's stream starts as the *embedding* of each token, its row in a learned table, plus the row of its position
# in another learned table. Each block attends to the text so far, then to the recording, and then applies its mlp.
# The last step computes the inner product of each position with the embeddings of *all* tokens. The same
# table thus turns tokens into vectors and vectors into scores: the weights are *tied*.


# %%
def decoder_block(x, w, n_head, cache):
    x = x + self_attention(layers.layer_norm(x, w["attn_ln"]), w["attn"], n_head, cache.text)
    x = x + cross_attention(
        layers.layer_norm(x, w["cross_attn_ln"]), w["cross_attn"], n_head, cache.audio
    )
    return x + mlp(layers.layer_norm(x, w["mlp_ln"]), w["mlp"])


def decoder(tokens, w, n_head, cache):
    x = (
        layers.embedding(tokens, w["token_embedding"])
        + w["positional_embedding"][: tokens.shape[1]]
    )
    for block, block_cache in zip(w["blocks"].values(), cache.blocks, strict=True):
        x = decoder_block(x, block, n_head, block_cache)
    return layers.layer_norm(x, w["ln"]) @ w["token_embedding"]["weight"].T


tokens = np.array(
    [[*model.tokenizer.sot_sequence_including_notimestamps, *model.tokenizer.encode(" Yes, I")]]
)
logits = decoder(tokens, model.scope["decoder"], d.n_text_head, model.start_cache(features))
print(f"{logits.shape}: a score for each of {d.n_vocab} tokens, after each of {tokens.size} tokens")

# %% [markdown]
# ## Compare with PyTorch
#
# How do we know that this is Whisper and not only something close to it? We run openai-whisper with the same weights,
# record the output of every module, and compare. So that you need not install PyTorch, the package contains a very
# small network with random weights (`small.safetensors`) and the outputs that PyTorch 2.13 computed for it
# (`small_activations.npz`).

# %%
checkpoint = read_checkpoint(notebooks.path("small.safetensors"))
small_weights = {name: np.float32(array) for name, array in checkpoint.weights.items()}
small = npwhisper.Whisper(npwhisper.ModelDimensions(**checkpoint.dims), small_weights, [])
recorded = load_activations(notebooks.path("small_activations.npz"))
print(small.dims)
print(recorded)

# %%
small_mel = np.random.default_rng(0).random((7, 24), dtype=np.float32)
small_tokens = np.array([[3, 1, 4, 1, 5, 9]])

with npwhisper.trace() as acts:
    small(small_mel, small_tokens)
comparison = compare(recorded, acts)


def show_errors(ax, comparison, title, style="o"):
    errors = [max(difference.error, 1e-9) for difference in comparison.differences]
    ax.semilogy(errors, style, markersize=3)
    ax.axhline(1e-4, color="#C85200", linewidth=1, linestyle="--")
    ax.set(
        title=title,
        xlabel="layer, in the order of execution",
        ylabel="error / largest value",
        ylim=(5e-10, 10),
    )


# %%
fig, ax = plt.subplots(figsize=(8, 2.6))
show_errors(ax, comparison, "our layers compared with PyTorch's")
ax.text(0, 2e-4, "tolerance", color="#C85200")
plt.show()

# %%
assert comparison, comparison.first
print(
    f"{len(comparison.differences)} arrays, the largest error is {max(x.error for x in comparison.differences):.0e}"
)

# %% [markdown]
# Errors of this size are rounding errors of float32: the two programs add the same numbers in a different order.

# %% tags=["claim"]
assert max(difference.error for difference in comparison.differences) < 1e-5

# %% [markdown]
# ## Find the first wrong layer
#
# Suppose your own layer norm computes the variance with D - 1 instead of D. `swap` puts it in the place of one
# layer norm of the network, and the comparison shows from which layer on the values are wrong.


# %%
def my_layer_norm(x, w, eps=1e-5):
    variance = x.var(axis=-1, ddof=1, keepdims=True)  # the mistake
    return (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(variance + eps) * w["weight"] + w["bias"]


with swap({"decoder.blocks.0.mlp_ln": my_layer_norm}), npwhisper.trace() as wrong:
    small(small_mel, small_tokens)
comparison = compare(recorded, wrong)

# %% jupyter={"source_hidden": true}
fig, ax = plt.subplots(figsize=(8, 2.6))
show_errors(ax, comparison, "with a wrong layer norm in the first block of the decoder")
first = next(i for i, difference in enumerate(comparison.differences) if difference.is_wrong)
ax.annotate(
    comparison.first.name,
    (first, comparison.first.error),
    (first - 40, 0.5),
    arrowprops={"arrowstyle": "->", "color": "#7b7b7b"},
)
plt.show()

# %%
print(comparison.first)

# %% tags=["claim"]
assert comparison.first.name == "decoder.blocks.0.mlp_ln"
is_wrong = [difference.is_wrong for difference in comparison.differences]
assert is_wrong == sorted(is_wrong), "all before the first are right, all after it are wrong"

# %% [markdown]
# The error jumps at the layer that we replaced. All layers before it agree, and all after it are wrong, because they
# depend on it. So when a comparison fails, look at the first wrong layer.
#
# ## Compare with an installed PyTorch
#
# If torch and openai-whisper are installed, the next cell compares `tiny.en` with them.

# %%
try:
    import torch
    from whisper.model import ModelDimensions as TorchDimensions
    from whisper.model import Whisper as TorchWhisper
except ImportError:
    print("torch or openai-whisper is not installed, so this comparison is skipped")
else:
    theirs = TorchWhisper(TorchDimensions(**vars(d))).eval()
    theirs.load_state_dict(
        {name: torch.from_numpy(np.array(array)) for name, array in model.weights.items()}
    )
    with torch.no_grad(), capture_torch(theirs) as reference:
        theirs(torch.from_numpy(mel), torch.from_numpy(tokens))
    with npwhisper.trace() as ours:
        model(mel, tokens)
    comparison = compare(reference, ours)
    assert comparison, comparison.first
    print(f"{len(comparison.differences)} arrays agree with torch {torch.__version__}")

# %% [markdown]
# ## The equality
#
# The encoder and the decoder above compute the same as the library's, for `tiny.en`, and the same as PyTorch, for the
# small network.

# %%
ours = encoder(mel, model.scope["encoder"], d.n_audio_head)
assert np.allclose(ours, features, atol=1e-3)
assert np.allclose(logits, model.logits(tokens, features), atol=1e-3)

w = small.scope
encoded = encoder(small_mel[None], w["encoder"], small.dims.n_audio_head)
decoded = decoder(small_tokens, w["decoder"], small.dims.n_text_head, small.start_cache(encoded))
assert np.allclose(encoded, recorded["encoder"], atol=1e-4)
assert np.allclose(decoded, recorded["decoder"], atol=1e-4)
print(f"largest difference from PyTorch: {np.abs(decoded - recorded['decoder']).max():.1e}")

# %% [markdown]
# ## Exercises
#
# **1. Other mistakes.** Make two other mistakes in the small network, one after the other: replace every GELU by its
# tanh approximation (notebook 02), and compute all scores without the division by $\sqrt K$. Let `compare` find each
# mistake. Which layer is the first wrong one?

# %% tags=["exercise"]
first_wrong = ...  # names of the first wrong layers: [with the wrong GELU, with the wrong scores]

# %% jupyter={"source_hidden": true} tags=["check"]
notebooks.exercise(
    first_wrong,
    lambda names: "gelu" in names[0] and names[1].endswith("attn.scores"),
    "The name is `compare(recorded, wrong).first.name`.",
)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def gelu_tanh(x):
#     return (x * 0.5 * (1 + np.tanh(0.7978845608 * (x + 0.044715 * x**3)))).astype(np.float32)
#
# def unscaled(q, k):
#     return q @ k.swapaxes(-1, -2)
#
# first_wrong = []
# for name, function in (("gelu", gelu_tanh), ("scores", unscaled)):
#     with swap(**{name: function}), npwhisper.trace() as wrong:
#         small(small_mel, small_tokens)
#     print(name, "->", compare(recorded, wrong).first.name)
#     first_wrong.append(compare(recorded, wrong).first.name)
# ```
#
# `compare` finds both at the first layer that contains the mistake. OpenAI's code has no module for the scores,
# but its attention returns them beside its output, and `capture_torch` records them as well.
#
# </details>

# %% [markdown]
# **2. The residual stream.** Check that the output of the second encoder block is its input plus the outputs of its
# `attn` and `mlp`. (The input of the second block, `encoder.blocks.1`, is the output of the first.)

# %% tags=["exercise"]
with npwhisper.trace("encoder.blocks.*") as acts:
    model.embed_audio(mel)
added = ...  # what the second block added to the stream

# %% jupyter={"source_hidden": true} tags=["check"]
change = acts["encoder.blocks.1"] - acts["encoder.blocks.0"]
notebooks.exercise(added, lambda a: np.allclose(a, change, atol=1e-3))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# with npwhisper.trace("encoder.blocks.*") as acts:
#     model.embed_audio(mel)
# before, after = acts["encoder.blocks.0"], acts["encoder.blocks.1"]
# added = acts["encoder.blocks.1.attn"] + acts["encoder.blocks.1.mlp"]
# assert np.allclose(after - before, added, atol=1e-3)
# ```
#
# </details>

# %% [markdown]
# **3. Similar embeddings.** The last step of the decoder compares a vector with the embeddings of all tokens. Which
# ten embeddings are most similar (have the largest cosine) to that of " see"? Do these tokens sound alike?

# %% tags=["exercise"]
nearest = ...  # the ids of the ten most similar tokens, " see" itself first

# %% jupyter={"source_hidden": true} tags=["check"]
embeddings = model.weights["decoder.token_embedding.weight"]
unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
cosine = unit @ unit[model.tokenizer.encode(" see")[0]]
notebooks.exercise(nearest, lambda ids: list(ids) == np.argsort(-cosine)[:10].tolist())

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# embeddings = model.weights["decoder.token_embedding.weight"]
# unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
# (token,) = model.tokenizer.encode(" see")
# cosine = unit @ unit[token]
# nearest = np.argsort(-cosine)[:10]
# print([model.tokenizer.encoding.decode([int(i)]) for i in nearest])
# assert np.isclose(cosine[nearest[0]], 1, atol=1e-3)
# nearest = nearest.tolist()
# ```
#
# They are other forms of the word (" See", " seen", " seeing") and verbs with a related meaning (" find", " hear",
# " know"). " sea", which sounds the same, is not among them. Tokens with similar embeddings get similar scores from the
# same vector.
#
# </details>

# %% tags=["claim"]
close = {model.tokenizer.encoding.decode([int(i)]) for i in np.argsort(-cosine)[:10]}
assert close >= {" See", " seen", " seeing", " find", " hear", " know"}
assert " sea" not in close
