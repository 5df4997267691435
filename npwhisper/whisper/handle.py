"""What users hold: `load_model` returns a `Whisper`, which encodes, decodes and transcribes."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from npwhisper import timing
from npwhisper.audio import FRAMES_PER_SECOND
from npwhisper.checkpoint.weights import EMBEDDED, load_weights
from npwhisper.compute.threads import IS_BROWSER
from npwhisper.decoding import DecodingResult
from npwhisper.decoding import window as decoding
from npwhisper.decoding.options import DecodingOptions, TranscribeOptions
from npwhisper.model import ModelDimensions, Network
from npwhisper.timing import WordTiming
from npwhisper.tokenizer import LANGUAGES, Tokenizer, get_tokenizer
from npwhisper.tracing.seam import Array, Weights
from npwhisper.transcription.batch import start_transcription
from npwhisper.transcription.output.transcript import Transcript
from npwhisper.transcription.output.writers import channel_mark, format_timestamp
from npwhisper.transcription.run import Transcription
from npwhisper.transcription.separate import SeparateChannels
from npwhisper.transcription.several import is_recording, is_several, name_of, transcribe_several
from npwhisper.transcription.windows import Segment
from npwhisper.whisper.torch_names import TorchModule, TorchNames

BAR = "{l_bar}{bar}| {n:.1f}/{total:.1f} s of audio [{elapsed}<{remaining}]"


class Whisper(TorchNames, Network):
    """A Whisper model: its `dims`, its `weights` and everything it can do.

    Make one with `load_model`. It holds no state: the same object can be used for any number of recordings, and by
    several threads at once.

    Attributes
    ----------
    dims : ModelDimensions
    weights : mapping from torch's names to read-only float32 arrays, or to `Int8Matrix`
    alignment_heads : list of (layer, head)
    is_multilingual : bool
    num_languages : int
    """

    def __init__(
        self,
        dims: ModelDimensions,
        weights: Weights | None = None,
        alignment_heads: Sequence[tuple[int, int]] | None = None,
    ) -> None:
        if weights is None:
            raise TypeError(
                "Whisper needs dimensions and weights, got no weights: "
                "use npwhisper.load_model(path) or npwhisper.Whisper(dims, state_dict)"
            )
        super().__init__(dims, weights, alignment_heads)

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer, for English transcription."""
        return get_tokenizer(self.is_multilingual, num_languages=self.num_languages, language="en", task="transcribe")

    @property
    def encoder(self) -> TorchModule:
        """See `npwhisper.model.Network.encoder`."""
        return TorchModule(super().encoder, "encoder")

    @property
    def decoder(self) -> TorchModule:
        """See `npwhisper.model.Network.decoder`."""
        return TorchModule(super().decoder, "decoder")

    def embed_audio(self, mel: Array) -> Array:
        """Encode log-mel windows.

        Parameters
        ----------
        mel : array, shape (n_mels, 3000) or (B, n_mels, 3000)

        Returns
        -------
        array of float32, shape (B, 1500, n_audio_state)

        Raises
        ------
        ValueError
            If the number of mel bins or frames is not the model's.
        """
        return super().embed_audio(mel)

    def logits(self, tokens: Array, audio_features: Array) -> Array:
        """Logits of the token after each of `tokens`.

        Parameters
        ----------
        tokens : array of int, shape (T,) or (B, T)
        audio_features : array, shape (1500, D) or (A, 1500, D)
            What `embed_audio` returned for one or more windows; every B / A rows of tokens share a window.

        Returns
        -------
        array of float32, shape (B, T, n_vocab)

        Raises
        ------
        ValueError
            If there are too many tokens or unknown ones, or B is not a multiple of A.
        """
        return super().logits(tokens, audio_features)

    def detect_language(
        self, mel: Any, tokenizer: Tokenizer | None = None, **options: Any
    ) -> tuple[Array, dict[str, float] | list[dict[str, float]]]:
        """See `npwhisper.detect_language`."""
        if not is_recording(mel):
            return decoding.detect_language(self, mel, tokenizer, **options)
        language, probs = Transcription(self, mel, TranscribeOptions.from_keywords(**options)).detect()
        tokenizer = tokenizer or get_tokenizer(True, num_languages=self.num_languages)
        return np.asarray(tokenizer.to_language_token(language)), probs

    def decode(
        self, mel: Array, options: DecodingOptions | None = None, **kwargs: Any
    ) -> DecodingResult | list[DecodingResult]:
        """See `npwhisper.decode`."""
        return decoding.decode(self, mel, options, **kwargs)

    def transcribe(self, audio: Any, *, verbose: bool | None = None, **options: Any) -> Any:
        """See `npwhisper.transcribe`."""
        if is_several(audio):
            return self._transcribe_several(audio, verbose, TranscribeOptions.from_keywords(**options))
        stream = self.iter_segments(audio, **options)
        segments = list(_shown(stream, verbose))
        return Transcript(text=stream.text, segments=segments, language=stream.language)

    def _transcribe_several(
        self, recordings: Sequence[Any], verbose: bool | None, options: TranscribeOptions
    ) -> list[Transcript]:
        found = list[Transcript]()

        def done(stream: Transcription | SeparateChannels, segments: list[Segment]) -> None:
            if verbose:
                lines = [f"\n{name_of(recordings[len(found)], len(found))}", *map(segment_line, segments)]
                print(*lines, sep="\n", flush=True)
            found.append(Transcript(text=stream.text, segments=segments, language=stream.language))

        transcribe_several(self, recordings, options, done)
        return found

    def iter_segments(self, audio: Any, **options: Any) -> Transcription | SeparateChannels:
        """See `npwhisper.iter_segments`."""
        return start_transcription(self, audio, TranscribeOptions.from_keywords(**options))

    def align(self, audio: Any, text: str | Sequence[int], **options: Any) -> list[WordTiming]:
        """See `npwhisper.align`."""
        return timing.align(audio, text, self, **options)

    def __repr__(self) -> str:
        d = self.dims
        layers = f"{d.n_audio_layer} + {d.n_text_layer} layers of {d.n_audio_state}"
        return f"<Whisper: {layers}, {d.n_mels} mels, {d.n_vocab} tokens, {self.num_languages} languages>"


def load_model(
    name: str | os.PathLike[str] | None = None,
    device: str | None = None,
    download_root: str | None = None,
    in_memory: bool = False,
    weights: str = "float32",
) -> Whisper:
    """Load a Whisper model.

    Parameters
    ----------
    name : str or path, optional
        A name from `available_models`, or the path of a checkpoint: ``.safetensors``, OpenAI's ``.pt``, a directory
        from Hugging Face, a whisper.cpp ``ggml`` file. Without one, ``tiny.en``, which comes with the package.
    device : str, optional
        Only "cpu": accepted for compatibility.
    download_root : str, optional
        Where official models are kept; by default ``~/.cache/whisper``, as openai-whisper does.
    in_memory : bool
        Copy float32 weights into memory. Otherwise they stay mapped in their file, which must not be changed while the
        model is in use; every process that uses the file shares its memory.
    weights : str
        "float32", or "int8" for matrices of 8-bit integers with a scale for every row and column: a quarter of the
        memory, nearly the same text, and somewhat slower, because NumPy has to unpack them before it can multiply.

    Returns
    -------
    Whisper

    Raises
    ------
    ValueError
        If the name is unknown, the device is not the CPU, or `weights` is something else.
    CheckpointError
        If the file is not a whole Whisper checkpoint.

    Examples
    --------
    >>> import npwhisper
    >>> model = npwhisper.load_model()
    >>> model.dims.n_vocab
    51864
    """
    if device is not None and str(device) != "cpu":
        raise ValueError(f"npwhisper computes on the CPU, got device {str(device)!r}: leave it out")
    dims, arrays, heads = load_weights(name, download_root, weights, in_memory)
    return Whisper(dims, arrays, heads)


@functools.lru_cache(maxsize=1)
def default_model() -> Whisper:
    """The embedded model, `tiny.en`, loaded once.

    >>> default_model() is default_model()
    True
    """
    return load_model(EMBEDDED)


def _model(model: Whisper | str | os.PathLike[str] | None) -> Whisper:
    if isinstance(model, Whisper):
        return model
    if model is None:
        return default_model()
    if isinstance(model, (str, os.PathLike)):
        return load_model(model)
    raise TypeError(f"model must be a Whisper, a name or a path, got {type(model).__name__}: use load_model()")


def transcribe(audio: Any, model: Any = None, *, verbose: bool | None = None, **options: Any) -> Any:
    """Transcribe a recording.

    Parameters
    ----------
    audio : str, path, file object, bytes or array; or a list of these
        A recording of any length, as `load_audio` takes it; an array is mono at 16 kHz. With `batch_size`, the windows
        of a list of recordings are decoded together.
    model : Whisper, or a name or path for `load_model`, optional
        By default the embedded `tiny.en`, the smallest of OpenAI's English models; "small.en" or "turbo" make fewer
        errors, and other languages need a multilingual model, such as "base".
    verbose : bool, optional
        True prints each segment as it comes (of a list, each recording), False shows a progress bar (of one), None is
        silent.
    **options
        Those of `TranscribeOptions` and `DecodingOptions`: ``language="de"``, ``beam_size=5``,
        ``word_timestamps=True``, ...

    Returns
    -------
    dict, or a list of one for each recording of a list
        ``text`` (str), ``language`` (str) and ``segments``: a list of dicts with ``id seek start end text tokens
        temperature avg_logprob compression_ratio no_speech_prob`` (and ``words``); times in seconds, `seek` in
        hundredths of a second. With ``channels="separate"``, also its ``channel`` and ``language``.

    Raises
    ------
    FileNotFoundError, IsADirectoryError, AudioError
        If there is no such recording, or it cannot be read.
    ValueError, TypeError
        If an option is out of range, or does not exist.

    Notes
    -----
    Radford et al. 2022, "Robust Speech Recognition via Large-Scale Weak Supervision", section 4.5.

    Examples
    --------
    >>> import npwhisper
    >>> npwhisper.transcribe(npwhisper.example())["text"][:31]
    ' And so my fellow Americans ask'
    """
    if isinstance(audio, Whisper):
        audio, model = model, audio  # openai-whisper's order
    return _model(model).transcribe(audio, verbose=verbose, **options)


def detect_language(
    model: Any, mel: Any = None, tokenizer: Tokenizer | None = None, **options: Any
) -> tuple[Array, dict[str, float] | list[dict[str, float]]]:
    """Detect which language is spoken.

    Parameters
    ----------
    model : Whisper
        A multilingual one. It may also come second, after a recording: ``detect_language("talk.mp3", "base")``.
    mel : array of shape (n_mels, 3000) or (B, n_mels, 3000); or a recording
        Log-mel windows, or what the encoder made of them: (1500, D) or (B, 1500, D). A recording is a path, a file
        object, bytes or samples of shape (samples,), as for `load_audio`.
    tokenizer : Tokenizer, optional
    **options
        For recordings, those of `TranscribeOptions` that say where to listen: ``language_detection_segments=4``,
        ``language_detection_threshold=0.5``, ``vad=True``, ``clip_timestamps="60"``, ``channel="left"``, ...

    Returns
    -------
    language_tokens : array of int, shape (B,), or a scalar for one window or a recording
        The token of the likeliest language.
    language_probs : dict of str to float, or a list of B of them
        The probability of every language by its code; of a recording, the average of the windows looked at.

    Raises
    ------
    ValueError
        If the model has no language tokens.
    FileNotFoundError, IsADirectoryError, AudioError
        If there is no such recording, or it cannot be read.

    Notes
    -----
    The network is asked which token follows ``<|startoftranscript|>``; Radford et al. 2022, section 2.3.

    Examples
    --------
    >>> import npwhisper
    >>> token, probs = npwhisper.detect_language("talk.mp3", "base")  # doctest: +SKIP
    >>> max(probs, key=probs.get)  # doctest: +SKIP
    'de'
    """
    if not isinstance(model, Network):
        model, mel = _model(mel), model
    return Whisper.detect_language(model, mel, tokenizer, **options)


def iter_segments(
    audio: Any, model: Whisper | str | os.PathLike[str] | None = None, **options: Any
) -> Transcription | SeparateChannels:
    """Transcribe lazily: an iterator that decodes the next window when its segments are asked for.

    Parameters
    ----------
    audio, model, **options
        As for `transcribe`.

    Returns
    -------
    Transcription or SeparateChannels
        Yields the segments that `transcribe` would list; its ``language``, ``duration`` and ``decisions`` tell more.
        With ``channels="separate"`` a `SeparateChannels`, which has the same attributes.

    Raises
    ------
    FileNotFoundError, IsADirectoryError, AudioError, ValueError, TypeError
        As `transcribe`, before the first segment.

    Examples
    --------
    >>> import npwhisper
    >>> for segment in npwhisper.iter_segments(npwhisper.example()):
    ...     print(segment["start"], segment["end"])
    0.0 7.74
    7.74 10.74
    """
    return _model(model).iter_segments(audio, **options)


def align(
    audio: Any, text: str | Sequence[int], model: Whisper | str | os.PathLike[str] | None = None, **options: Any
) -> list[WordTiming]:
    """Find when each word of a known text is said in a recording of at most 30 seconds.

    Parameters
    ----------
    audio, text, **options
        As for `npwhisper.timing.align`: a recording, what is said in it, ``language="de"``, ...
    model : Whisper, or a name or path for `load_model`, optional
        By default the embedded model.

    Returns
    -------
    list of WordTiming
        With ``word``, ``start`` and ``end`` in seconds, and ``probability``.

    Raises
    ------
    AlignmentError
        As there: the audio or the text is too long.

    Examples
    --------
    >>> import npwhisper
    >>> [timing.word for timing in npwhisper.align(npwhisper.example(), " And so my fellow Americans")]
    [' And', ' so', ' my', ' fellow', ' Americans']
    """
    return _model(model).align(audio, text, **options)


def _shown(stream: Transcription | SeparateChannels, verbose: bool | None) -> Iterator[Segment]:
    """Pass segments on, with the display that `verbose` asks for."""
    if verbose:
        if stream.model.is_multilingual and stream.options.decoding.language is None:
            print(f"Detected language: {', '.join(LANGUAGES[language].title() for language in stream.languages)}")
        for segment in stream:
            print(segment_line(segment), flush=True)
            yield segment
    elif verbose is False:
        yield from _with_bar(stream)
    else:
        yield from stream


def segment_line(segment: Segment) -> str:
    """One segment as a line.

    >>> segment_line({"start": 0.0, "end": 2.5, "text": " And so"})
    '[00:00.000 --> 00:02.500]  And so'
    """
    start, end = format_timestamp(segment["start"]), format_timestamp(segment["end"])
    return f"[{start} --> {end}] {channel_mark(segment).rstrip()}{segment['text']}"


def _with_bar(stream: Transcription | SeparateChannels) -> Iterator[Segment]:
    """Pass segments on beside a bar that counts seconds of audio."""
    from tqdm import tqdm

    if IS_BROWSER:
        tqdm.monitor_interval = 0  # tqdm's monitor thread cannot start there, and tqdm would warn
    with tqdm(total=round(stream.duration, 1), unit="s", bar_format=BAR) as bar:
        for segment in stream:
            bar.update(round(min(stream.seek / FRAMES_PER_SECOND, stream.duration), 1) - bar.n)
            yield segment
        bar.update(bar.total - bar.n)
