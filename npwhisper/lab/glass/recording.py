"""Observing a transcription: every value is reduced to what the page shows as soon as it is computed.

A `Recorder` needs only the names and values that `npwhisper.trace` records, in order. It can watch a run as it goes
(`watching`), in memory that does not grow with the recording, or process a finished trace.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from npwhisper.lab.glass import encoder
from npwhisper.lab.glass.masks import Marks
from npwhisper.lab.glass.steps import Candidates, Step, candidates, make_step
from npwhisper.lab.glass.vocabulary import Embeddings, related_tokens
from npwhisper.model import Network
from npwhisper.tokenizer import Tokenizer
from npwhisper.tracing.seam import Array, Function, handling

RULES = (
    "penalize_repetition",
    "forbid_repeated_ngrams",
    "suppress_blank",
    "suppress_tokens",
    "apply_timestamp_rules",
)
TIMING = ("softmax", "standardise", "median_filter", "token_map", "dtw_cost", "dtw")
CELL_STEP = 2  # the decode step of the worked examples
SAMPLE = 64  # numbers kept of every value to compare two runs
ENCODER_BLOCK = re.compile(r"encoder\.blocks\.\d+")
SOFTMAX = re.compile(r"encoder\.blocks\.\d+\.attn\.softmax")


@dataclass
class Attempt:
    """One decoding of a window: its steps, and all values of the first few steps for the worked examples."""

    steps: list[Step] = field(default_factory=list)
    values: list[dict[str, Array]] = field(default_factory=list)
    no_speech: float = float("nan")


@dataclass
class Window:
    """Everything that is kept of one window of 30 seconds."""

    mel: Array
    power: Array | None  # power spectrum of the first window, the input of the mel filters
    pictures: list[tuple[str, Array, float]] = field(default_factory=list)
    norms: list[Array] = field(default_factory=list)
    maps: list[Array] = field(default_factory=list)
    peaks: list[dict[str, Any]] = field(default_factory=list)
    rows: dict[str, Array] = field(default_factory=dict)  # the encoder at one position, for the worked examples
    keys: dict[str, Array] = field(default_factory=dict)
    mask: Array | None = None  # of the last call with several tokens
    attempts: list[Attempt] = field(default_factory=list)
    n_attempts: int = 0
    timing: dict[str, Array] = field(default_factory=dict)
    samples: dict[str, Array] = field(default_factory=dict)


class Recorder:
    """Reduces recorded values to `windows`.

    Parameters
    ----------
    model : Network
        The model that runs; its embedding maps vectors back to tokens.
    tokenizer : Tokenizer
    finish : callable, optional
        Called with each `Window` when the next one begins, and by `end`.
    """

    def __init__(self, model: Network, tokenizer: Tokenizer, finish: Callable[[Window], None] = lambda _: None) -> None:
        self.model, self.tokenizer, self.finish = model, tokenizer, finish
        self.windows: list[Window] = []
        self._embeddings = Embeddings(model)
        self._positions = np.asarray(model.weights["decoder.positional_embedding"])
        self._related = related_tokens(tokenizer)
        self._marks = Marks(tokenizer.eot, tokenizer.timestamp_begin, tokenizer.no_timestamps)
        self._values: dict[str, Array] = {}
        self._stages: list[Array] = []
        self._n_windows = 0
        self._read = 0  # tokens in the cache
        self._attempt: Attempt | None = None
        self._open_step: tuple[dict[str, Array], Array, list[Array]] | None = None  # its chosen token is not known yet
        self._power: Array | None = None

    @property
    def window(self) -> Window:
        """The window being recorded."""
        return self.windows[-1]

    def end(self) -> None:
        """Finish the last window."""
        self._close_step()
        if self.windows:
            self.finish(self.windows.pop())

    def add(self, name: str, value: Array) -> None:
        """Process one value; values must come in the order of the computation."""
        if name == "stft":
            self._power = value if self._power is None else self._power  # of the first 30 seconds
        elif name == "mel":
            self._begin_window(value)
        elif self.windows:  # language detection precedes the first window
            self._add_inside(name, value)

    def _begin_window(self, mel: Array) -> None:
        self.end()
        self.windows.append(Window(mel, None if self._n_windows else self._power))
        self._attempt, self._values, self._n_windows = None, {}, self._n_windows + 1

    def _add_inside(self, name: str, value: Array) -> None:
        """Process a value of the window being recorded."""
        if name.startswith("encoder"):
            self._add_encoder(name, value)
        elif name.startswith("decoder"):
            self._add_decoder(name, value)
        elif name in RULES:
            self._stages.append(value)
        elif name == "log_softmax":
            self._end_step(value)
        elif name in TIMING and self._attempt is None and value.shape[0] > 1:
            self._add_timing(name, value)

    def _add_encoder(self, name: str, value: Array) -> None:
        window = self.window
        if SOFTMAX.fullmatch(name):
            side = encoder.side_of_maps(self.model.dims.n_audio_layer * self.model.dims.n_audio_head, value.shape[-1])
            window.maps.append(encoder.pooled(value[0], side))
            window.peaks.append(encoder.peaks(value[0]))
        if ENCODER_BLOCK.fullmatch(name):
            window.norms.append(encoder.norms(value[0]))
        if ENCODER_BLOCK.fullmatch(name) or name == "encoder":
            window.pictures.append((name, *encoder.picture(value[0])))
        self._keep_row(name, value)
        if not name.endswith(("scores", "softmax", "heads", "attend")):
            _sample(window.samples, name, value)

    def _add_timing(self, name: str, value: Array) -> None:
        """A stage of the word times, which are computed after the last attempt in one pass over its text."""
        if name == "softmax" and value.ndim == 3:
            self.window.timing = {"tokens": self._embeddings.tokens(self._values["decoder.token_embedding"])[0]}
        if "tokens" in self.window.timing:
            self.window.timing[name] = value

    def _keep_row(self, name: str, value: Array) -> None:
        """Keep one position of every encoder value; of attention, the first head."""
        rows, at = self.window.rows, self.model.dims.n_audio_ctx // 8
        if name == "encoder.conv1" or (name == "encoder.gelu" and name not in rows):
            rows[name] = value[0, :, 2 * at - 1 : 2 * at + 2].copy()  # the input of the second convolution
        elif name in ("encoder.conv2", "encoder.gelu"):
            rows[f"{name}.2"] = value[0, :, at].copy()
        elif name.endswith((".scores", ".softmax")):
            rows[name] = value[0, 0, at].copy()
        elif value.ndim == 3:
            rows[name] = value[0, at].copy()
            if name.endswith((".key", ".value")):
                width = value.shape[-1] // self.model.dims.n_audio_head
                self.window.keys[name] = value[0, :, :width].copy()

    def _add_decoder(self, name: str, value: Array) -> None:
        if name.endswith("cross_attn.key") and name.startswith("decoder.blocks.0."):
            self._close_step()
            self._attempt, self._values, self._read = None, {}, 0  # a new cache: decoding starts
        if name.endswith(("cross_attn.key", "cross_attn.value")):
            width = value.shape[-1] // self.model.dims.n_text_head
            self.window.keys[name] = value[0, :, :width].copy()
            _sample(self.window.samples, name, value)
        if name == "decoder.token_embedding":
            self._values, self._stages = {}, []
            self._read += value.shape[1]
        if name == "decoder.blocks.0.attn.causal_mask":
            self.window.mask = value
        self._values[name] = value

    def _end_step(self, logprobs: Array) -> None:
        """Every rule was applied; the step is reduced once the next one shows what was chosen."""
        values, logits = self._values, self._values["decoder"]
        values["length"] = np.array(self._read)
        fed = self._embeddings.tokens(values["decoder.token_embedding"])
        self._close_step(fed[:, -1])
        if self._attempt is None:
            self._attempt = Attempt(no_speech=_probability(logits[0, 0], self.tokenizer.no_speech))
            self.window.attempts = [self._attempt]  # earlier attempts are in the decision log
            self.window.n_attempts += 1
        self._open_step = values, fed, [logits[:, -1], *self._stages, logprobs]
        if len(self._attempt.values) <= CELL_STEP:
            self._attempt.values.append(values)
            for name, value in values.items():
                if name.endswith(("ln", "attn", "mlp", "decoder")):
                    _sample(self.window.samples, name, value)

    def _close_step(self, chosen: Array | None = None) -> None:
        """Reduce the open step, which continued with the `chosen` tokens (B,); None if it was the last one."""
        if self._open_step is None or self._attempt is None:
            return
        values, fed, stages = self._open_step
        ends = [[self.tokenizer.eot]] * len(fed)
        following = ends if chosen is None else chosen[:, None] if len(chosen) == len(fed) else [chosen] * len(fed)
        found = [self._candidates([stage[b] for stage in stages], np.asarray(following[b])) for b in range(len(fed))]
        step = make_step(values, fed, self.model.dims.n_text_layer, self._positions, found)
        self._attempt.steps.append(step)
        self._open_step = None

    def _candidates(self, stages: list[Array], chosen: Array) -> Candidates:
        """The candidates of a row; a rule that changed nothing shares the array of the previous stage."""
        for i in range(1, len(stages)):
            if i < len(stages) - 1 and np.array_equal(stages[i], stages[i - 1]):
                stages[i] = stages[i - 1]
        related = self._related(int(stages[-1].argmax()), stages[0])
        return candidates(stages, np.concatenate([related, chosen]), self._marks)


def _probability(logits: Array, token: int) -> float:
    weights = np.exp(logits - logits.max())
    return float(weights[token] / weights.sum())


def _sample(samples: dict[str, Array], name: str, value: Array) -> None:
    """Keep evenly spaced numbers of a value, the first time it is computed."""
    if name not in samples and value.size:
        flat = value.reshape(-1)
        samples[name] = flat[:: max(1, len(flat) // SAMPLE)][:SAMPLE].astype(np.float32)


@contextmanager
def watching(recorder: Recorder) -> Iterator[None]:
    """Pass the result of every layer called inside the `with` block to a recorder."""

    def watch(name: str, function: Function) -> Function:
        def watched(*args: Any, **kwargs: Any) -> Any:
            value = function(*args, **kwargs)
            if isinstance(value, np.ndarray):
                value.flags.writeable = False
                recorder.add(name, value)
            return value

        return watched

    with handling(watch):
        yield
