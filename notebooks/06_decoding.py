# %% [markdown]
# # 06 · Decoding: choosing words
#
# **What you will build** · Greedy search, sampling, and a picture of beam search as a tree; and a log that
# shows, token by token, which token the network ranked first, how many tokens each rule forbade, and which
# token was chosen.
#
# **What you need** · Notebooks 00 (logits, tokens) and 04 (the cache). You should know what the logarithm of a
# probability is.
#
# **Which file this explains** · `npwhisper/decoding/`

# %% jupyter={"source_hidden": true} tags=["install"]
# On Colab, install the package; elsewhere this cell does nothing.
import importlib.util
import subprocess
import sys

if "google.colab" in sys.modules and importlib.util.find_spec("npwhisper") is None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "npwhisper[notebooks]"]
    subprocess.run(command, check=True)

# %%
import itertools

import matplotlib.pyplot as plt
import numpy as np

import npwhisper
from npwhisper import plot_tokens
from npwhisper.decoding import search
from npwhisper.lab import notebooks
from npwhisper.model import layers

notebooks.use_style()
model = npwhisper.load_model()
tokenizer = model.tokenizer
mel = npwhisper.log_mel_spectrogram(
    npwhisper.pad_or_trim(npwhisper.load_audio(npwhisper.example())), model.dims.n_mels
)
features = model.embed_audio(mel)
start = np.array([tokenizer.sot_sequence_including_notimestamps])


def words(tokens):
    return [tokenizer.encoding.decode([int(token)]) for token in tokens]


# %% [markdown]
# ## A search needs only a step function
#
# The decoder gives a probability for every possible next token. A *search* decides which token to take. It calls
# a function `step(tokens, parents)`: `tokens` has one row for each candidate text, and the function returns the
# log-probabilities of the next token for each row (`parents` is explained below). Nothing in the search depends
# on a network, so we begin with a small table instead. It defines a language of four words:

# %%
names = ["(end)", "the", "a", "dog", "barks"]
table = np.array(  # row: the word before; column: the next word
    [
        [0.00, 0.40, 0.60, 0.00, 0.00],  # at the beginning of the sentence
        [0.05, 0.00, 0.00, 0.90, 0.05],  # the
        [0.30, 0.10, 0.00, 0.30, 0.30],  # a
        [0.10, 0.00, 0.00, 0.00, 0.90],  # dog
        [0.95, 0.00, 0.00, 0.00, 0.05],  # barks
    ]
)


def table_step(tokens, parents):
    return np.log(np.maximum(table[tokens[:, -1]], 1e-9))


def show(hypothesis):
    sentence = " ".join(names[token] for token in hypothesis.tokens)
    return f"{sentence:14} probability {np.exp(hypothesis.sum_logprob):.3f}"


begin = np.array([[0]])
greedy = search.greedy_search(table_step, begin, eot=0, max_tokens=5)[0][0]
beam = search.beam_search(table_step, begin, eot=0, max_tokens=5, beam_size=2)[0]
print("greedy:", show(greedy))
for hypothesis in beam:
    print("beam:  ", show(hypothesis))

# %% [markdown]
# Greedy search always takes the most probable next word. It begins with "a", which is more probable than "the",
# and cannot undo that choice. Beam search keeps the two most probable beginnings and finds a more probable
# sentence. Is it the most probable of *all* sentences? There are few sentences of up to four words, so we can try
# them all.

# %% tags=["claim"]
assert show(greedy).startswith("a ")
assert max(beam, key=lambda h: h.sum_logprob).tokens == [1, 3, 4]

# %%
best = 0.0
for length in range(1, 5):
    for sentence in itertools.product(range(1, 5), repeat=length):
        path = (0, *sentence, 0)
        best = max(best, np.prod([table[a, b] for a, b in itertools.pairwise(path)]))
print(f"the most probable of all sentences has probability {best:.3f}")
assert np.isclose(np.exp(max(h.sum_logprob for h in beam)), best)

# %% [markdown]
# ## The network as a step function
#
# Now the network takes the place of the table. Between two steps a search may drop, copy or reorder rows, and the
# cache must be reordered in the same way. That is what `parents` is for: row i continues row `parents[i]` of the
# previous call. On the first call `parents` is `None`.


# %%
def network_step():
    cache = model.start_cache(features)

    def step(tokens, parents):
        if parents is not None:
            cache.reorder(parents)
        logits = model.decoder(tokens[:, cache.length :], features, cache, at=[-1])
        return layers.log_softmax(logits[:, -1])

    return step


greedy = search.greedy_search(network_step(), start, tokenizer.eot, max_tokens=100)[0][0]
print(f"{tokenizer.decode(greedy.tokens)!r}, log-probability {greedy.sum_logprob:.2f}")

# %% [markdown]
# What probability did the network give each of these tokens?

# %%
logits = model.logits(np.array([[*start[0], *greedy.tokens]]), features)[0, start.shape[1] - 1 :]
probabilities = layers.softmax(logits)
chosen = [*greedy.tokens, tokenizer.eot]
sure = probabilities[np.arange(len(chosen)), chosen]

# %%
fig, ax = plt.subplots(figsize=(8, 2.8))
plot_tokens(words(chosen), sure, ax=ax)
ax.set_title("the probability of each token that greedy search chose")
plt.show()

# %% [markdown]
# ## Sampling: temperature
#
# Instead of taking the most probable token, we can draw one at random according to the probabilities. Before
# that, the logits are divided by a *temperature*: below 1 the probable tokens become even more probable, and
# at 1 the probabilities stay as they are. Here is the step with the least probable choice:

# %%
unsure = int(sure.argmin())
candidates = np.argsort(-logits[unsure])[:8]

# %% jupyter={"source_hidden": true}
fig, ax = plt.subplots(figsize=(8, 2.6))
for i, temperature in enumerate((0.2, 0.6, 1.0)):
    spread = layers.softmax(logits[unsure] / temperature)[candidates]
    ax.bar(np.arange(8) + 0.27 * (i - 1), spread, width=0.25, label=f"temperature {temperature}")
ax.set_xticks(range(8), words(candidates))
ax.set(
    ylabel="probability", xlabel="candidate", title=f"after {tokenizer.decode(chosen[:unsure])!r}"
)
ax.legend()
plt.show()

# %% [markdown]
# Three texts drawn at each temperature, with the sum of their log-probabilities:

# %%
rng = np.random.default_rng(
    0
)  # `sample` takes one generator for each row of `start`, which has one
for temperature in (0.2, 0.6, 1.0):
    drawn = search.sample(
        network_step(), start, tokenizer.eot, 60, temperature, n_samples=3, rngs=[rng]
    )[0]
    for hypothesis in drawn:
        print(
            f"{temperature:.1f}  {hypothesis.sum_logprob:7.2f}  {tokenizer.decode(hypothesis.tokens)}"
        )

# %% [markdown]
# ## Beam search as a tree
#
# Beam search with k beams extends each of its k texts by every possible token and keeps the k most probable
# results. A text that ends with the end-of-text token is finished and leaves the beam. To draw this as a tree, we
# record the calls of `step`: each call is one level, each row is a branch that was kept, and `parents` are the
# edges.


# %% jupyter={"source_hidden": true}
def watched(step, history):
    def step_and_remember(tokens, parents):
        history.append((tokens, np.zeros(len(tokens), int) if parents is None else parents))
        return step(tokens, parents)

    return step_and_remember


def draw_tree(history, winner, n_given, ax, first=1, last=12):
    """The branches that were kept at each step; those of the winner in orange, with thick lines."""
    for level, (tokens, parents) in list(enumerate(history))[first:last]:
        for row, parent in enumerate(parents):
            written = tokens[row, n_given:].tolist()
            won = written == winner[: len(written)]
            if level > first:
                twig = (
                    {"color": "#C85200", "linewidth": 2.5}
                    if won
                    else {"color": "#7b7b7b", "linewidth": 1}
                )
                ax.plot([level - 1, level], [parent, row], **twig)
            ax.text(
                level, row, words(written[-1:])[0].strip() or "·", ha="center", va="center", fontsize="small",
                bbox={"boxstyle": "round", "facecolor": "#FFBC79" if won else "white", "edgecolor": "#7b7b7b"},
            )  # fmt: skip
    ax.set(
        xlabel="step",
        ylabel="rank (0 is the most probable)",
        yticks=range(max(len(parents) for _, parents in history)),
    )
    ax.invert_yaxis()
    ax.margins(0.06, 0.15)


history = []
hypotheses = search.beam_search(
    watched(network_step(), history), start, tokenizer.eot, max_tokens=100, beam_size=4
)[0]
best = hypotheses[search.rank(hypotheses)[0]]

fig, ax = plt.subplots(figsize=(8.6, 3.4))
draw_tree(history, best.tokens, start.shape[1], ax)
ax.set_title("beam search with four beams: orange leads to the best text")
plt.show()
for i in search.rank(hypotheses):
    print(f"{hypotheses[i].sum_logprob:7.2f}  {tokenizer.decode(hypotheses[i].tokens)}")

# %% [markdown]
# A branch ends where all its continuations are less probable than those of the other branches. Where the orange
# path leaves rank 0, another text was more probable for a while. Greedy search keeps only one text and has
# nothing to compare it with.

# %% tags=["claim"]
shown = history[1:12]
assert any(len(set(parents)) < len(rows) for rows, parents in shown[1:]), "a branch ends"
ranks = [
    row
    for rows, _ in shown
    for row, texts in enumerate(rows[:, start.shape[1] :].tolist())
    if texts == best.tokens[: len(texts)]
]
assert len(set(ranks)) > 1, "the orange path changes its rank"

# %% [markdown]
# In the library, `beam_size` is an option of `decode`. A `DecodingTask` holds the options and can be used for many
# windows. This time timestamps are requested, so the texts differ from those above:

# %%
options = npwhisper.DecodingOptions(beam_size=5)
result = npwhisper.DecodingTask(model, options).run(mel[None])[0]
print(result.text)
for text, score in result.alternatives:
    print(f"{score:7.3f} per token  {text}")

# %% [markdown]
# (The same text may be listed twice: the timestamps differ.)
#
# Does beam search help? Kennedy's sentence is easy: greedy search finds the same words. Here is half a sentence
# by Jane Austen, read by a LibriVox volunteer. Listen first.


# %% tags=["claim"]
def letters(text):
    return "".join(filter(str.isalpha, text.lower()))


assert letters(result.text) == letters(model.decode(mel).text)
assert len({text for text, _ in result.alternatives}) < len(result.alternatives)

# %%
reader = npwhisper.load_audio(notebooks.path("austen_0880.flac"))
reader_mel = npwhisper.log_mel_spectrogram(npwhisper.pad_or_trim(reader), model.dims.n_mels)
for beam_size in (None, 5):
    found = npwhisper.decode(model, reader_mel, without_timestamps=True, beam_size=beam_size)
    print(f"{found.avg_logprob:.3f} per token, beam_size={beam_size}: {found.text}")
notebooks.play(notebooks.path("austen_0880.flac"))

# %% tags=["claim"]
austen = [
    npwhisper.decode(model, reader_mel, without_timestamps=True, beam_size=n) for n in (None, 5)
]
assert austen[0].text == "He was not an old-sposed young man."
assert austen[1].text == "He was not an ill-disposed young man."
assert austen[1].avg_logprob > austen[0].avg_logprob

# %% [markdown]
# Greedy search writes "old" for "ill", because "old" is the more probable token at that step, and then continues
# with "-sposed". With five beams "ill" is kept until "-disposed" follows, and the whole sentence turns out to be
# more probable.
#
# `best_of` draws several independent samples and keeps the best. It cannot be combined with beam search, and the
# error message says so:

# %%
try:
    npwhisper.DecodingTask(
        model, npwhisper.DecodingOptions(beam_size=5, temperature=0.0, best_of=5)
    )
except ValueError as error:
    print(str(error).split(";")[0])

# %% [markdown]
# ## Rules: which tokens are forbidden
#
# Between the network and the search stand a few rules. Each forbids tokens by setting their logits to
# minus infinity:
#
# - `suppress_blank`: the text may not begin with a space or with the end-of-text token;
# - `suppress_tokens`: no symbols that nobody speaks (brackets, notes of music), and no control tokens;
# - `apply_timestamp_rules`, when timestamps are requested: timestamps come in pairs around text, they never
#   decrease, and the first is at most one second.
#
# Rules can be traced like layers, so one run gives a log of all decisions. For each step it lists the network's
# first choice, the token that was chosen, and how many tokens each rule forbade. A star marks the steps at
# which the rules changed the choice.

# %%
rules = ["suppress_blank", "suppress_tokens", "apply_timestamp_rules"]
with npwhisper.trace("decoder.logits", *rules) as acts:
    result = model.decode(mel)

best_raw, best_allowed = [], []
print(f"{'':44}tokens forbidden by suppress_")
print("step        first choice              chosen   blank  tokens  timestamp rules")
for i, raw in enumerate(acts.all("decoder.logits")):
    before, log = raw[0, -1], []
    for rule in rules:
        after = acts.all(rule)[i][0]
        log.append(f"{np.isfinite(before).sum() - np.isfinite(after).sum():8}")
        before = after
    best_raw.append(int(raw[0, -1].argmax()))
    best_allowed.append(int(before.argmax()))
    mark = " " if best_raw[-1] == best_allowed[-1] else "*"
    print(
        f"{i:4}  {words(best_raw[-1:])[0]:>18} {mark}{words(best_allowed[-1:])[0]:>18} {''.join(log)}"
    )
assert [token for token in best_allowed if token != tokenizer.eot] == result.tokens

# %% [markdown]
# One timestamp rule needs an explanation. The probability that *some* timestamp comes next is spread over many
# timestamp tokens. So if all timestamps together are more probable than the best text token, the next token
# must be a timestamp, even if each single one is less probable than that text token. Step 15 above is such
# a case: the network's first choice was a comma, but together the timestamps were more probable.

# %% tags=["claim"]
assert words([best_raw[15]]) == [","]
assert best_allowed[15] >= tokenizer.timestamp_begin
without_rule = layers.softmax(acts.all("suppress_tokens")[15])[0]
assert without_rule[tokenizer.timestamp_begin :].sum() > without_rule[best_raw[15]]

# %%
stamps, text = [], []
for after_suppression in acts.all("suppress_tokens"):
    probability = layers.softmax(after_suppression)[0]
    stamps.append(probability[tokenizer.timestamp_begin :].sum())
    text.append(probability[: tokenizer.timestamp_begin].max())

# %% jupyter={"source_hidden": true}
fig, ax = plt.subplots(figsize=(8, 3))
ax.plot(stamps, "o-", label="all timestamps together")
ax.plot(text, "s--", label="best text token")
ax.set_xticks(
    range(len(best_allowed)), words(best_allowed), rotation=45, ha="right", fontsize="small"
)
ax.set(ylabel="probability", xlabel="token chosen at each step", ylim=(0, 1.05))
ax.legend(loc=(0.12, 0.22))
plt.show()

# %% [markdown]
# ## Fallback: when a text looks wrong
#
# `transcribe` decodes one window of 30 s after another. If a text is too improbable (mean log-probability below
# -1), or so repetitive that zlib compresses it well (compression ratio above 2.4), the window is decoded again at
# higher temperatures: 0.2, 0.4, ... 1.0. The stream's `decisions` record what happened in each window. Here is
# Kennedy's sentence with more and more noise:


# %%
def tell(audio, **options):
    """Transcribe, print the text and every attempt, and return the decisions."""
    stream = model.iter_segments(audio, seed=0, **options)
    print(f"text: {''.join(segment['text'] for segment in stream)!r}")
    for decision in stream.decisions:
        for attempt in decision.attempts:
            why = f"failed: {', '.join(attempt.failed)}" if attempt.failed else "accepted"
            print(
                f"  temperature {attempt.temperature:.1f}: mean log-probability "
                f"{attempt.avg_logprob:5.2f}, compression {attempt.compression_ratio:5.2f}, "
                f"no speech {attempt.no_speech_prob:.2f}: {why}"
            )
        print(f"  {decision.start:.0f} to {decision.end:.0f} s: {decision.reason}")
    return stream.decisions


speech = npwhisper.load_audio(npwhisper.example())
noise = np.random.default_rng(0).standard_normal(len(speech)).astype(np.float32) * speech.std()
noisy = {}
for decibels in (0, -5, -8, -12):
    print(f"\nspeech at {decibels} dB relative to the noise")
    noisy[decibels] = tell(speech + noise * 10 ** (-decibels / 20))

# %% [markdown]
# With as much noise as speech (0 dB), most words are still right. At -5 dB the first text is too improbable, and
# one drawn at temperature 0.2 is accepted, though it is wrong. At -8 dB the greedy text is a *repetition loop*: its
# compression ratio of 17 reveals it, while its mean log-probability is higher than that of the text at 0 dB.
# At -12 dB four attempts fail. The probability of "no speech" is above 0.6, and the fourth text is improbable as
# well. Such a window is taken for silence, and there are no further attempts.

# %% tags=["claim"]
(clear,), (first, second), (loop, after), failures = (
    noisy[decibels][0].attempts for decibels in (0, -5, -8, -12)
)
heard = "".join(s["text"] for s in model.iter_segments(speech + noise, seed=0)).lower()
assert (
    sum(
        word in heard
        for word in ("fellow", "americans", "ask", "what", "your", "country", "can", "do")
    )
    >= 5
)
assert first.failed == ("avg_logprob",)
assert (second.temperature, second.failed) == (0.2, ())
assert (loop.temperature, loop.failed) == (0.0, ("compression_ratio",))
assert round(loop.compression_ratio) == 17
assert loop.avg_logprob > clear.avg_logprob
assert len(failures) == 4
assert all(attempt.failed for attempt in failures)
assert [attempt.failed for attempt in failures] == 3 * [("compression_ratio",)] + [("avg_logprob",)]
assert all(attempt.no_speech_prob > 0.6 for attempt in failures)
assert noisy[-12][0].reason == "the window was taken for silence"

# %% [markdown]
# ## Hallucination: text where nobody speaks
#
# What does Whisper write for thirty seconds of zeros?

# %%
silence = np.zeros(30 * 16000, np.float32)
(invention,) = tell(silence)

# %% [markdown]
# The network invents the word "you". Text that nobody spoke is called a *hallucination*, and this one is well known.
# The probability of "no speech" is 0.95, but a window is dropped only if its text is improbable as well: its mean
# log-probability must be below `logprob_threshold`, which is -1 by default. Here it is above. openai-whisper
# writes this word, and npwhisper does the same, because its results should be equal. Three options prevent it:
#
# - `vad=True` looks for speech in the spectrogram before it decodes (*voice activity detection*);
# - `robust=True` does the same, does not condition a window on the text before it, and never repeats ten tokens
#   (with either option each segment has `flags` that say why it may be a hallucination);
# - a higher `logprob_threshold` drops the improbable text.

# %% tags=["claim"]
invented = model.transcribe(silence)
assert invented["text"].strip() == "you"
assert round(invention.attempts[0].no_speech_prob, 2) == 0.95
assert -1 < invented["segments"][0]["avg_logprob"] < -0.5
for guard in ({"vad": True}, {"robust": True}, {"logprob_threshold": -0.5}):
    assert model.transcribe(silence, **guard)["text"] == "", guard

# %%
_ = tell(silence, vad=True)
_ = tell(silence, robust=True)
_ = tell(silence, logprob_threshold=-0.5)

# %% [markdown]
# ## The equality
#
# Our step function, used by the library's searches, gives the same tokens as `decode`, greedy and with beams.
# (Timestamps and rules are switched off, because our step function has none.)

# %%
plain = npwhisper.DecodingOptions(
    without_timestamps=True, suppress_tokens=None, suppress_blank=False, sample_len=100
)
assert npwhisper.decode(model, features[0], plain).tokens == greedy.tokens

found = npwhisper.decode(model, features[0], plain, beam_size=4)
assert found.tokens == best.tokens
assert np.isclose(found.avg_logprob, best.sum_logprob / (len(best.tokens) + 1), atol=1e-4)
print("the same:", found.text)

# %% [markdown]
# ## Exercises
#
# **1. Greedy search by hand.** Write `my_greedy(step, tokens, eot, max_tokens)` without the library's search.
# `tokens` has shape (1, T). Return the list of new tokens, without `eot`.


# %% tags=["exercise"]
def my_greedy(step, tokens, eot, max_tokens):
    return ...


# %% jupyter={"source_hidden": true} tags=["check"]
notebooks.exercise(
    my_greedy(network_step(), start, tokenizer.eot, 100), lambda t: t == greedy.tokens
)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def my_greedy(step, tokens, eot, max_tokens):
#     parents, text = None, []
#     while len(text) < max_tokens:
#         token = int(step(tokens, parents)[0].argmax())
#         if token == eot:
#             break
#         text.append(token)
#         tokens, parents = np.append(tokens, [[token]], axis=1), np.array([0])
#     return text
#
# assert my_greedy(network_step(), start, tokenizer.eot, 100) == greedy.tokens
# ```
#
# </details>

# %% [markdown]
# **2. Long or short?** Every token makes the sum of log-probabilities smaller, so the sum favours short
# texts. `rank` therefore divides it by the number of tokens. Find the hypothesis in `hypotheses` with the largest
# sum. Is it the one that `rank` puts first? When would the two differ?

# %% tags=["exercise"]
by_sum = ...  # the hypothesis with the largest sum

# %% jupyter={"source_hidden": true} tags=["check"]
largest = max(hypothesis.sum_logprob for hypothesis in hypotheses)
notebooks.exercise(by_sum, lambda hypothesis: hypothesis.sum_logprob == largest)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# by_sum = max(hypotheses, key=lambda hypothesis: hypothesis.sum_logprob)
# print("by sum:      ", tokenizer.decode(by_sum.tokens))
# print("by mean:     ", tokenizer.decode(best.tokens))
# assert by_sum.sum_logprob >= best.sum_logprob
# ```
#
# They differ when a longer text is a little less probable as a whole, but more probable per token.
#
# </details>

# %% [markdown]
# **3. Without the letter e.** Decode `mel` with all tokens forbidden whose text contains an e or an E (option
# `suppress_tokens`, a list of token ids). What does the network write instead? (Georges Perec wrote a novel of
# 300 pages without that letter.)

# %% tags=["exercise"]
lipogram = ...  # the result of `npwhisper.decode` if every token with an e is forbidden

# %% jupyter={"source_hidden": true} tags=["check"]
notebooks.exercise(
    lipogram,
    lambda result: len(result.text) > 20 and "e" not in result.text.lower(),
    "Go through all ids below `tokenizer.eot`; `words([token])[0]` is the text of a token.",
)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# with_e = [token for token in range(tokenizer.eot) if "e" in words([token])[0].lower()]
# lipogram = npwhisper.decode(model, mel, without_timestamps=True, suppress_tokens=with_e)
# print(lipogram.text)
# assert "e" not in lipogram.text.lower()
# ```
#
# </details>
