"""Decoding several windows side by side: each at its own position of its own text, all in one run of the network.

A `WindowDecoder` is one window between its features and its result: it says which tokens the network reads next, and
takes the logits. `run_once` runs the network for all windows. Windows that read the same number of tokens share a run,
in which the weights are read once. While layers are traced, swapped or profiled, every window has a run of its own, so
that names and shapes are those of one window.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from npwhisper.compute.memory import return_freed_memory
from npwhisper.decoding.joined import JoinedCache
from npwhisper.decoding.rules import LOGIT_RULES
from npwhisper.model import Network
from npwhisper.model.cache import Cache
from npwhisper.model.layers import log_softmax, softmax
from npwhisper.tracing.finite import not_finite_message
from npwhisper.tracing.seam import Array, is_handled

if TYPE_CHECKING:
    from npwhisper.decoding.window import DecodingResult, DecodingTask


class WindowDecoder:
    """One window between its features and its result.

    Parameters
    ----------
    task : DecodingTask
    features : array, shape (S, D)
        What the encoder made of the window.
    cache : Cache, optional
        Of these features, if there is one already.

    Attributes
    ----------
    done : bool
        Whether `result` can be asked for.
    """

    def __init__(self, task: DecodingTask, features: Array, cache: Cache | None = None) -> None:
        self.task, self.features, self.model = task, features, task.model
        self.cache = cache.emptied() if cache is not None else self._start_cache()
        self.language = task.given_language
        self.language_probs: dict[str, float] | None = None
        self.no_speech_prob = np.nan
        self.done = False
        self._is_read = False  # whether the network has read the initial tokens
        if self.language is not None:
            self._start_search()

    def _start_cache(self) -> Cache:
        """The keys and values of the audio, without the memory that their making leaves behind."""
        cache = self.model.start_cache(self.features[None])
        return_freed_memory()
        return cache

    def _start_search(self) -> None:
        assert self.language is not None
        tokens = self.task.initial_tokens(self.language)
        self.search = self.task.new_search(tokens)
        self._remaining = self.task.max_tokens(len(tokens))

    @property
    def rows(self) -> int:
        """How many rows of tokens the network reads for this window."""
        return 1 if self.language is None else len(self.search.tokens)

    @property
    def at(self) -> tuple[int, ...]:
        """The positions of the next tokens whose logits are needed."""
        if self.language is None:
            return (0,)
        return (-1,) if self._is_read else (len(self.task.prompt), -1)

    def next_tokens(self) -> Array:
        """The tokens that the network reads next: (rows, T)."""
        if self.language is None:
            return np.array([[self.task.tokenizer.sot]])
        return self.search.tokens[:, self.cache.length :]

    def take(self, logits: Array) -> None:
        """Continue with the logits at the positions `at`: (rows, len(at), V)."""
        if self.language is None:
            self._take_language(logits[:, 0])
            return
        if not self._is_read:
            self.no_speech_prob = float(softmax(logits[:, 0])[0, self.task.tokenizer.no_speech])
        n_given = len(self.task.prompt) + len(self.task.sot_sequence)
        logprobs = self._under_rules(logits[:, -1], self.search.tokens[:, n_given:])
        parents = self.search.advance(logprobs)
        self._is_read, self._remaining = True, self._remaining - 1
        self.done = self.search.closed or self._remaining <= 0
        if not self.done:
            self.cache.reorder(parents)

    def _take_language(self, logits: Array) -> None:
        (self.language_probs,) = language_probabilities(self.task, logits)
        self.language = max(self.language_probs, key=self.language_probs.__getitem__)
        if self.task.options.task == "lang_id":
            self.done = True
        else:
            self.cache = self.cache.emptied()
            self._start_search()

    def _under_rules(self, logits: Array, sampled: Array) -> Array:
        """Log-probabilities of the tokens that the rules allow; where they allow none, the text ends.

        (B, V), (B, T) -> (B, V)
        """
        for rule in LOGIT_RULES:
            logits = rule(logits, sampled, self.task.context)
        best = logits.max(axis=-1)
        if np.isnan(best).any():
            raise ValueError(self._nan_message())
        if np.isneginf(best).any():
            logits = logits.copy()
            logits[np.isneginf(best), self.task.context.eot] = 0.0
        return log_softmax(logits)

    def _nan_message(self) -> str:
        return not_finite_message(
            self.model.weights, lambda: self.model.decoder(self.search.tokens, self.features[None])
        )

    def result(self) -> DecodingResult:
        """The text that was found, with its scores."""
        return self.task.result(self)


def language_probabilities(task: DecodingTask, logits: Array) -> list[dict[str, float]]:
    """The probability of every language by its code, from the logits after the start token: (B, V) -> B dicts."""
    tokenizer = task.tokenizer
    probs = softmax(logits[:, list(tokenizer.all_language_tokens)])
    return [dict(zip(tokenizer.all_language_codes, row.tolist(), strict=True)) for row in probs]


def run_once(model: Network, windows: Sequence[WindowDecoder]) -> None:
    """Run the network once for every window that is not done; those that read the same number of tokens share a run."""
    waiting = [window for window in windows if not window.done]
    if is_handled():
        for window in waiting:
            _run_together(model, [window])
        return
    for _, group in groupby(sorted(waiting, key=_kind_of_run), key=_kind_of_run):
        _run_together(model, list(group))


def _kind_of_run(window: WindowDecoder) -> tuple[int, tuple[int, ...]]:
    return window.next_tokens().shape[1], window.at


def _run_together(model: Network, windows: Sequence[WindowDecoder]) -> None:
    tokens = np.concatenate([window.next_tokens() for window in windows])
    cache = windows[0].cache if len(windows) == 1 else JoinedCache([window.cache for window in windows])
    for window in windows:
        window.cache.fit(window.rows)
    logits = model.decoder(tokens, windows[0].features, cache, windows[0].at)
    ends = np.cumsum([window.rows for window in windows])[:-1]
    for window, part in zip(windows, np.split(logits, ends), strict=True):
        window.take(part)


def decode_together(model: Network, windows: Sequence[WindowDecoder]) -> list[DecodingResult]:
    """Run the windows until all are done."""
    while any(not window.done for window in windows):
        run_once(model, windows)
    return [window.result() for window in windows]
