"""Decoding one window of 30 seconds: from its features to its text.

A window's tokens are searched for (`search`) under rules that forbid some tokens (`rules`), and then scored:

    <|startofprev|> the prompt  <|startoftranscript|> language task  <|0.00|> text <|2.50|> ...  <|endoftext|>
    ^ given                     ^ start sequence                      ^ searched for

Source: openai-whisper's ``decoding.py``; Radford et al. 2022, section 2.3.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from npwhisper.checkpoint.mapped import require_unchanged
from npwhisper.compute.memory import return_freed_memory
from npwhisper.compute.threads import get_num_threads, using_threads
from npwhisper.decoding.batch import WindowDecoder, decode_together
from npwhisper.decoding.options import DecodingOptions, check_options
from npwhisper.decoding.rules import TIME_PRECISION, RuleContext
from npwhisper.decoding.search import Beam, Greedy, Hypothesis, Sampling, Search, rank
from npwhisper.decoding.translating import warn_of_translation
from npwhisper.model import Network
from npwhisper.model.layers import softmax
from npwhisper.tokenizer import Tokenizer, get_tokenizer
from npwhisper.tracing.finite import is_finite, not_finite_message
from npwhisper.tracing.seam import Array


@dataclass(frozen=True)
class DecodingResult:
    """The result of one window.

    Attributes
    ----------
    audio_features : array, shape (1500, D)
    language : str
        As given, or the code of the one that was detected.
    language_probs : dict of str to float, or None if the language was given
    tokens : list of int
        Including timestamps, without the end-of-text token.
    text : str
    avg_logprob : float
        Mean log-probability of the tokens and the end, in nats.
    no_speech_prob : float
        Probability that nothing is spoken; NaN if only the language was asked for.
    temperature : float
    compression_ratio : float
        Of the text, by zlib: above 2.4 the text is likely a loop.
    alternatives : list of (text, avg_logprob)
        All hypotheses of a beam search or of ``best_of``, from the chosen one to the worst.
    """

    audio_features: Array
    language: str
    language_probs: dict[str, float] | None = None
    tokens: list[int] = field(default_factory=list)
    text: str = ""
    avg_logprob: float = np.nan
    no_speech_prob: float = np.nan
    temperature: float = np.nan
    compression_ratio: float = np.nan
    alternatives: list[tuple[str, float]] = field(default_factory=list)


def compression_ratio(text: str) -> float:
    """How many times shorter zlib makes the text; a loop of words compresses well.

    >>> compression_ratio("and so " * 20) > 2.4 > compression_ratio("ask not what your country can do for you")
    True
    """
    data = text.encode("utf-8")
    return len(data) / len(zlib.compress(data))


@np.errstate(under="ignore")
def detect_language(
    model: Network, mel: Array, tokenizer: Tokenizer | None = None
) -> tuple[Array, dict[str, float] | list[dict[str, float]]]:
    """Detect the language of windows; `npwhisper.detect_language`, which also takes recordings, has the description.

    (M, 3000) or (B, M, 3000), or encoded (1500, D) or (B, 1500, D) -> tokens (B,), probabilities by language code

    Raises
    ------
    ValueError
        If the model has no language tokens.

    Examples
    --------
    >>> tokens, probs = detect_language(multilingual_model, mel)  # doctest: +SKIP
    >>> max(probs, key=probs.get)  # doctest: +SKIP
    'de'
    """
    require_languages(model)
    tokenizer = tokenizer or get_tokenizer(True, num_languages=model.num_languages)
    features = encode(model, mel)
    ids = list(tokenizer.all_language_tokens)
    probs = softmax(model.decoder(np.full((len(features), 1), tokenizer.sot), features)[:, 0, ids])
    tokens = np.asarray(ids)[probs.argmax(axis=1)]
    named = [dict(zip(tokenizer.all_language_codes, row.tolist(), strict=True)) for row in probs]
    return (tokens[0], named[0]) if np.ndim(mel) == 2 else (tokens, named)


def require_languages(model: Network) -> None:
    """Raise ValueError for a model that knows only English.

    >>> import npwhisper
    >>> require_languages(npwhisper.load_model())
    Traceback (most recent call last):
    ValueError: an English-only model has no language tokens: use a multilingual model, such as 'base'
    """
    if not model.is_multilingual:
        advice = "use a multilingual model, such as 'base'"
        raise ValueError(f"an English-only model has no language tokens: {advice}")


def likeliest_language(model: Network, mel: Array) -> str:
    """The code of the language spoken in one window, (n_mels, 3000) or encoded (1500, D)."""
    return language_of_windows(model, [mel])[0]


def language_of_windows(
    model: Network, windows: Iterable[Array], threshold: float | None = None
) -> tuple[str, dict[str, float]]:
    """The language of several windows of one recording: the likeliest on average.

    With a `threshold`, the windows after one whose likeliest language has at least this probability are not looked at,
    and that window decides.

    Returns
    -------
    str
        The code.
    dict of str to float
        The probabilities, averaged over the windows that were looked at.
    """
    found = list[dict[str, float]]()
    for window in windows:
        probs = detect_language(model, window)[1]
        assert isinstance(probs, dict)
        found.append(probs)
        if threshold is not None and max(probs.values()) >= threshold:
            found = [probs]
            break
    mean = {code: sum(probs[code] for probs in found) / len(found) for code in found[0]}
    return max(mean, key=mean.__getitem__), mean


def encode(model: Network, mel: Array) -> Array:
    """Encode windows, unless they are encoded already: (..., M, 3000) or (..., S, D) -> (B, S, D).

    Raises
    ------
    ValueError
        If there are no windows, if the shape does not fit the model, or if there are numbers that are not finite.
    CheckpointError
        If the file that the weights are mapped from was changed since it was loaded.

    Examples
    --------
    >>> import npwhisper
    >>> encode(npwhisper.load_model(), np.zeros((80, 3000), np.float32)).shape
    (1, 1500, 384)
    """
    require_unchanged(model.weights.values())
    mel, shape = np.asarray(mel), (model.dims.n_audio_ctx, model.dims.n_audio_state)
    if mel.dtype.kind not in "fiu":
        raise ValueError(f"a window must be an array of numbers, got {mel.dtype}: make it with log_mel_spectrogram")
    if mel.ndim > 2 and not len(mel):
        raise ValueError(f"a batch needs at least one window, got shape {mel.shape}: skip empty batches")
    if mel.shape[-2:] == shape:
        if not is_finite(mel):
            raise ValueError("the features hold NaN or infinity: check the encoder, if one of its layers was replaced")
        return np.asarray(mel, dtype=np.float32).reshape(-1, *shape)
    if not is_finite(mel):
        raise ValueError("the spectrogram holds NaN or infinity: check the audio that it was made from")
    if get_num_threads() == 1:  # other processes may need what the window before has freed; 2 % of tiny.en's time
        return_freed_memory()
    features = model.embed_audio(mel)
    return_freed_memory()
    if not is_finite(features):
        raise ValueError(not_finite_message(model.weights, lambda: model.embed_audio(mel)))
    return features


class DecodingTask:
    """Decoding windows with fixed options: `run` does the work.

    Parameters
    ----------
    model : Whisper
    options : DecodingOptions

    Raises
    ------
    ValueError
        If options exclude each other, are out of range or name no language of the model.

    Examples
    --------
    >>> import npwhisper
    >>> task = DecodingTask(npwhisper.load_model(), DecodingOptions(without_timestamps=True))
    >>> len(task.run(np.zeros((2, 80, 3000), np.float32)))
    2
    """

    def __init__(self, model: Network, options: DecodingOptions) -> None:
        check_options(options)
        self.model, self.options = model, options
        self.given_language = self._given_language()
        self.tokenizer = get_tokenizer(
            model.is_multilingual,
            num_languages=model.num_languages,
            language=options.language or "en",
            task=options.task if options.task != "lang_id" else "transcribe",
        )
        self.sot_sequence = self.tokenizer.sot_sequence
        if options.without_timestamps:
            self.sot_sequence = self.tokenizer.sot_sequence_including_notimestamps
        self.prompt, self.prefix = self._prompt(), self._prefix()
        self.sample_len = options.sample_len or model.dims.n_text_ctx // 2
        self.context = self._rule_context()

    @np.errstate(under="ignore")
    def run(self, mel: Array) -> list[DecodingResult]:
        """Decode windows (n_mels, 3000) or (B, n_mels, 3000), or encoded ones; one result for each."""
        with using_threads(None):
            return decode_together(self.model, [WindowDecoder(self, features) for features in encode(self.model, mel)])

    def _tokens(self, text: str | Sequence[int]) -> list[int]:
        return self.tokenizer.encode(" " + text.strip()) if isinstance(text, str) else [int(t) for t in text]

    def _prompt(self) -> list[int]:
        """The text before the window: its marker and at most half the text context."""
        given = self.options.prompt
        if given is None or not len(given):
            return []
        room = self.model.dims.n_text_ctx // 2 - 1
        return [self.tokenizer.sot_prev, *self._tokens(given)[-room:]]

    def _prefix(self) -> list[int]:
        """The beginning of the window's text; with timestamps it needs one before it."""
        given, context = self.options.prefix, self.model.dims.n_text_ctx // 2
        if given is None or not len(given):
            return []
        room = context - (self.options.sample_len or context)
        tokens = self._tokens(given)[-room if room > 0 else -context :]
        return tokens if self.options.without_timestamps else [self.tokenizer.timestamp_begin, *tokens]

    def _given_language(self) -> str | None:
        """The language that need not be detected, if there is one."""
        if self.options.task == "lang_id":
            require_languages(self.model)
            return None
        return self.options.language or (None if self.model.is_multilingual else "en")

    def initial_tokens(self, language: str) -> Array:
        """Prompt, start sequence and prefix: (T,)."""
        tokens = np.array([*self.prompt, *self.sot_sequence, *self.prefix])
        if self.model.is_multilingual and self.options.language is None:
            tokens[len(self.prompt) + 1] = self.tokenizer.to_language_token(language)
        return tokens

    def new_search(self, tokens: Array) -> Search:
        """The search that these options ask for, from `tokens` (T,) on."""
        options, eot = self.options, self.tokenizer.eot
        if options.beam_size is not None:
            return Beam(tokens, eot, options.beam_size, options.patience or 1.0)
        if options.temperature == 0:
            return Greedy(tokens, eot)
        rng = np.random.default_rng(options.seed)
        return Sampling(tokens, eot, float(options.temperature), options.best_of or 1, rng)

    def max_tokens(self, n_given: int) -> int:
        """How many tokens can be found after `n_given`: the last one need not be read again."""
        context = self.model.dims.n_text_ctx
        if n_given > context:
            raise ValueError(
                f"the text context holds {context} tokens, got {n_given} from prompt and prefix: shorten the prefix"
            )
        return min(self.sample_len, context - n_given + 1)

    def result(self, window: WindowDecoder) -> DecodingResult:
        """The result of a window that is done."""
        if self.options.task == "lang_id":
            return DecodingResult(window.features, str(window.language), window.language_probs)
        ranked = self._ranked(window.search.hypotheses())
        texts = [self.tokenizer.decode(hypothesis.tokens).strip() for hypothesis in ranked]
        scores = [hypothesis.sum_logprob / (len(hypothesis.tokens) + 1) for hypothesis in ranked]
        timestamp = [] if self.options.without_timestamps else self.prefix[:1]
        return DecodingResult(
            audio_features=window.features,
            language=str(window.language),
            language_probs=window.language_probs,
            tokens=timestamp + ranked[0].tokens,
            text=texts[0],
            avg_logprob=scores[0],
            no_speech_prob=window.no_speech_prob,
            temperature=float(self.options.temperature),
            compression_ratio=compression_ratio(texts[0]),
            alternatives=list(zip(texts, scores, strict=True)),
        )

    def _ranked(self, hypotheses: Sequence[Hypothesis]) -> list[Hypothesis]:
        """From the best to the worst, without those that the rules made impossible, unless all are."""
        ranked = [hypotheses[i] for i in rank(hypotheses, self.options.length_penalty)]
        return [hypothesis for hypothesis in ranked if np.isfinite(hypothesis.sum_logprob)] or ranked[:1]

    def _rule_context(self) -> RuleContext:
        """What the logit rules need to know of these options."""
        t, options = self.tokenizer, self.options
        limit = options.max_initial_timestamp
        return RuleContext(
            eot=t.eot,
            timestamp_begin=t.timestamp_begin,
            no_timestamps=t.no_timestamps,
            blank=[*t.encode(" "), t.eot] if options.suppress_blank else [],
            suppressed=self._suppressed(),
            without_timestamps=options.without_timestamps,
            max_initial_timestamp=round(limit / TIME_PRECISION) if limit else None,
            repetition_penalty=float(options.repetition_penalty),
            no_repeat_ngram_size=options.no_repeat_ngram_size,
            n_given=len(self.prefix),
        )

    def _suppressed(self) -> list[int]:
        """The ids of `suppress_tokens`, with those of the special tokens that are never text."""
        given, n_vocab, t = self.options.suppress_tokens, self.model.dims.n_vocab, self.tokenizer
        try:
            ids = {int(i) for i in ((given.split(",") if given else []) if isinstance(given, str) else given or [])}
        except ValueError as error:
            raise ValueError(f"suppress_tokens must be token ids, as in '-1,50', got {given!r}: {error}") from error
        if ids and not -1 <= min(ids) <= max(ids) < n_vocab:
            raise ValueError(f"suppress_tokens must be token ids from 0 to {n_vocab - 1}, or -1, got {given!r}")
        if not ids:
            return []
        noise = t.non_speech_tokens if -1 in ids else ()
        return sorted({*ids, *noise, t.transcribe, t.translate, t.sot, t.sot_prev, t.sot_lm, t.no_speech} - {-1})


def decode(
    model: Network, mel: Array, options: DecodingOptions | None = None, **kwargs: Any
) -> DecodingResult | list[DecodingResult]:
    """Decode windows of 30 seconds.

    Parameters
    ----------
    model : Whisper
    mel : array, shape (n_mels, 3000) or (B, n_mels, 3000)
        Log-mel spectrograms, or what the encoder made of them: (1500, D) or (B, 1500, D).
    options : DecodingOptions, optional
    **kwargs
        Single options, which replace those of `options`.

    Returns
    -------
    DecodingResult, or a list of B of them
        The windows of a batch have the results that each would have alone, with beams and samples too.

    Raises
    ------
    ValueError
        If options exclude each other or the shape does not fit the model.
    TypeError
        If an option does not exist.

    Warns
    -----
    UserWarning
        If `task` is ``"translate"`` and the model was not trained for it.

    Examples
    --------
    >>> import npwhisper
    >>> model = npwhisper.load_model()
    >>> mel = npwhisper.log_mel_spectrogram(npwhisper.pad_or_trim(npwhisper.load_audio(npwhisper.example())))
    >>> npwhisper.decode(model, mel, without_timestamps=True).temperature
    0.0
    """
    task = DecodingTask(model, replace(options or DecodingOptions(), **kwargs))
    warn_of_translation(model, task.options.task)
    results = task.run(mel)
    return results[0] if np.ndim(mel) == 2 else results
