"""Sound to picture: an audio file becomes samples, frames, a spectrum, and the log-mel spectrogram Whisper looks at.

Read top to bottom: decode and mix to mono; resample to 16 kHz; cut into frames of 25 ms, one every 10 ms; take the
power of each frequency; sum frequencies into mel bins, which are spaced as the ear hears; take the logarithm.
Upstream: ``whisper/audio.py``; paper: section 2.2.
"""

from __future__ import annotations

import errno
import functools
import io
import itertools
import math
import os
from collections.abc import Callable, Iterator
from importlib import resources
from typing import Any, BinaryIO, TypeAlias, TypeVar

import numpy as np

from npwhisper.audio.mel_array import MelArray
from npwhisper.compute.blocks import blocked
from npwhisper.compute.threads import limit_blas
from npwhisper.tracing.seam import Array, layer

SAMPLE_RATE = 16000  # samples in a second
N_FFT = 400  # samples in a frame: 25 ms
HOP_LENGTH = 160  # samples from one frame to the next: 10 ms
CHUNK_LENGTH = 30  # seconds in a window, the piece of sound the encoder takes
N_SAMPLES = CHUNK_LENGTH * SAMPLE_RATE  # 480000 samples in a window
N_FRAMES = N_SAMPLES // HOP_LENGTH  # 3000 frames in a window
N_SAMPLES_PER_TOKEN = HOP_LENGTH * 2  # the encoder's second convolution has stride 2
FRAMES_PER_SECOND = SAMPLE_RATE // HOP_LENGTH  # 100
TOKENS_PER_SECOND = SAMPLE_RATE // N_SAMPLES_PER_TOKEN  # 50: one audio position, or one time stamp step, is 20 ms

READ_BLOCK = 1 << 18  # samples handled at a time: a long file never stands in memory with all its channels
PIECE = 1 << 12  # samples decoded at a time: as much is lost where a file is damaged
LOUDEST = 100.0  # full scale is 1; beyond this the samples are integers that nobody scaled
SLOWEST, FASTEST = 1_000, 768_000  # sampling rates accepted, in Hz

T = TypeVar("T")
Blocks: TypeAlias = Iterator[Array]
AudioInput: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Array


class AudioError(ValueError):
    """This cannot be read as sound; the message says why and what to do."""


class AudioWarning(UserWarning):
    """A recording is truncated or damaged; what can be read of it is used."""


# From a file to samples


def load_audio(file: AudioInput, sr: int = SAMPLE_RATE) -> Array:
    """Read sound as mono float32 samples between -1 and 1.

    Wav, flac, ogg, mp3 and the rest of libsndfile's formats need nothing else installed; what it cannot read (m4a, aac,
    mp4, webm) is given to ``ffmpeg`` if that is on the PATH. Channels are averaged.

    Parameters
    ----------
    file : str, PathLike, bytes-like, binary file object or array
        A path; the contents of a file; an object whose ``read()`` gives them; or samples already at rate `sr`, of shape
        (samples,), (samples, channels) or (channels, samples), the smaller axis being the channels. Arrays of int8,
        int16 and int32 are divided by their full scale, uint8 is centred first, floats are taken as they are.
    sr : int
        Samples per second of the result.

    Returns
    -------
    Array, shape (samples,), float32
        A 16-bit mono file at rate `sr` gives exactly its integers divided by 32768.

    Raises
    ------
    FileNotFoundError, IsADirectoryError
        There is no such file.
    AudioError
        It is not audio, has no samples, holds NaN or Inf, or has an absurd sampling rate.

    Notes
    -----
    Upstream's function of this name runs ffmpeg on every file and rounds to 16 bits after resampling. Ours resamples
    with the same low-pass filter and does not round, so other rates agree to about one part in 10,000 of full scale
    (less well at the last sample).

    Examples
    --------
    >>> load_audio(np.array([-32768, 0, 16384], np.int16))
    array([-1. ,  0. ,  0.5], dtype=float32)
    """
    _check_rate(sr, "the wanted result")
    if not _is_encoded(file):
        return _mono(as_samples(file))
    return open_blocks(file, sr, lambda blocks: np.concatenate(list(blocks)))[0]


def _is_encoded(audio: Any) -> bool:
    """Whether this is a file, by whatever handle, and not samples."""
    return isinstance(audio, (str, os.PathLike, bytes, bytearray, memoryview)) or hasattr(audio, "read")


def _locate(file: Any) -> str | bytes:
    """Return the path of a regular file, or else the contents of what was given."""
    if isinstance(file, (str, os.PathLike)):
        source = _existing(os.fsdecode(file))
    else:
        contents = file if isinstance(file, (bytes, bytearray, memoryview)) else file.read()
        if isinstance(contents, str):
            raise AudioError("the file object gives text, not bytes; open it with mode 'rb'")
        source = bytes(contents)
    if not (os.path.getsize(source) if isinstance(source, str) else len(source)):
        raise AudioError(f"{_name(source)} is empty (0 bytes); was it copied or downloaded completely?")
    return source


def _existing(path: str) -> str | bytes:
    """Return the path if a regular file is there; read a pipe or a device, which cannot be rewound, at once."""
    if os.path.isdir(path):
        raise IsADirectoryError(
            errno.EISDIR, "an audio file was wanted, but this is a directory; name a file in it", path
        )
    if not os.path.exists(path):
        where = f"there is no such audio file (looked from {os.getcwd()!r}); check the spelling"
        raise FileNotFoundError(errno.ENOENT, where, path)
    if path.lower().endswith(".raw"):
        advice = "read it with numpy.fromfile and give the array"
        raise AudioError(f"{path!r} holds bare samples, and nothing in it tells their type and rate; {advice}")
    if os.path.isfile(path):
        return path
    with open(path, "rb") as pipe:
        return pipe.read()


def open_blocks(file: AudioInput, sr: int, use: Callable[[Blocks], T]) -> tuple[T, Callable[[], Blocks]]:
    """Let `use` consume a recording as a stream: blocks of mono samples at rate `sr`, read by libsndfile or ffmpeg.

    Returns what `use` returned, and a function that starts the same stream anew.
    """
    import soundfile

    if not _is_encoded(file):
        samples = _mono(as_samples(file))
        return use(blocks_of(samples)), functools.partial(blocks_of, samples)
    source = _locate(file)

    read: Callable[[], Blocks] = functools.partial(_soundfile_blocks, source, sr)
    try:
        return use(read()), read
    except soundfile.SoundFileError as error:
        reason = getattr(error, "error_string", str(error)).rstrip(".")
    read = functools.partial(_ffmpeg_blocks, source, sr, f"{_name(source)} cannot be read: libsndfile says {reason!r}")
    return use(read()), read


def _soundfile_blocks(source: str | bytes, sr: int) -> Blocks:
    """Decode, average the channels and resample block by block."""
    import soundfile

    # opened here, because soundfile itself refuses names that are not UTF-8
    with open(source, "rb") if isinstance(source, str) else io.BytesIO(source) as stream:
        with soundfile.SoundFile(stream) as sound:
            rate, n_announced = sound.samplerate, _announced(sound)
        _check_rate(rate, _name(source))
        mono = (piece.mean(axis=1, dtype=np.float32) for piece in _pieces(stream, _name(source), n_announced))
        yield from resample_blocks(_checked_blocks(_joined(mono), source), rate, sr)


def _pieces(stream: BinaryIO, name: str, n_announced: int) -> Blocks:
    """Decode in pieces of (samples, channels); silence stands for those that are damaged, and a warning tells of them.

    libsndfile cannot go on after damage, so the file is opened again and decoded from a place behind it.
    """
    import soundfile

    at, gap, n_read, failure, sound = 0, 0, 0, None, None
    while sound is None or at + gap < sound.frames:
        stream.seek(0)
        with soundfile.SoundFile(stream) as sound:
            sound.seekable = lambda: False  # soundfile would seek after every read, at which mp3 stumbles
            try:
                if gap:
                    sound.seek(at + gap)
                while len(piece := sound.read(PIECE, dtype="float32", always_2d=True)):
                    if gap:
                        yield np.zeros((gap, sound.channels), np.float32)
                    yield piece
                    at, gap, n_read = at + gap + len(piece), 0, n_read + len(piece)
                break
            except soundfile.SoundFileError as error:
                if not n_read:
                    raise
                gap, failure = max(PIECE, 2 * gap), failure or error
    _warn_of_missing(n_announced, n_read, sound.samplerate, name, failure)


def _joined(pieces: Blocks) -> Blocks:
    """Join pieces to blocks of a handy size."""
    held, n_held = list[Array](), 0
    for piece in pieces:
        held.append(piece)
        n_held += len(piece)
        if n_held >= READ_BLOCK:
            yield np.concatenate(held)
            held, n_held = [], 0
    if held:
        yield np.concatenate(held)


def _announced(sound: Any) -> int:
    """How many samples the header tells of.

    Of uncompressed files, libsndfile gives what there is, and tells in its log what the header said. 0 if that is a
    number of those that programs put there which do not know yet.
    """
    import re

    sizes = re.search(r"(?:data|SSND|Data Size) *: (\d+) \(should be (\d+)\)", sound.extra_info)
    announced, found = (int(size) for size in sizes.groups()) if sizes else (1, 1)
    return int(sound.frames) * announced // max(found, 1) if announced < 0x7FFF0000 else 0


def _warn_of_missing(n_announced: int, n_read: int, rate: int, name: str, failure: Exception | None) -> None:
    """Warn if decoding failed, or more than a second and a hundredth of what the header tells of is missing."""
    import warnings

    if failure or n_announced - n_read > max(rate, n_announced // 100):
        seconds = f"{n_read / rate:.1f} of {max(n_announced, n_read) / rate:.1f} seconds"
        reason = f" (libsndfile says {getattr(failure, 'error_string', str(failure)).rstrip('.')!r})" if failure else ""
        message = f"{name} is truncated or damaged{reason}: {seconds} can be read and are used; is the file complete?"
        warnings.warn(message, AudioWarning, stacklevel=2)


def _checked_blocks(blocks: Blocks, source: str | bytes) -> Blocks:
    """Pass on blocks of finite samples; there must be at least one."""
    block = None
    for block in blocks:
        yield _check_samples(block, _name(source))
    if block is None:
        _check_samples(np.empty(0, np.float32), _name(source))


def _ffmpeg_blocks(source: str | bytes, sr: int, complaint: str) -> Blocks:
    """Let ffmpeg decode, mix and resample to 16-bit integers, as upstream does with every file."""
    import shutil
    import tempfile

    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        raise AudioError(
            f"{complaint}, and ffmpeg, which reads many more formats (m4a, aac, mp4, webm), is not on the PATH; "
            "install ffmpeg, or convert the file to wav, flac, ogg or mp3"
        )
    with tempfile.TemporaryDirectory() as folder:
        data = _run([ffmpeg, *_ffmpeg_arguments(_as_path(source, folder), sr)], complaint)
        yield from _checked_blocks((np.frombuffer(d, "<i2").astype(np.float32) / 32768.0 for d in data), source)


def _run(command: list[str], complaint: str) -> Iterator[bytes]:
    """What a program writes, in pieces; AudioError with its last message if it fails."""
    import subprocess
    import tempfile

    with (
        tempfile.TemporaryFile() as messages,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=messages) as process,
    ):
        assert process.stdout is not None
        while data := process.stdout.read(2 * READ_BLOCK):
            yield data
        if process.wait():
            messages.seek(0)
            reason = messages.read().decode(errors="replace").strip().rpartition("\n")[2]
            raise AudioError(f"{complaint} and ffmpeg says {reason!r}; is it an audio file, and is it complete?")


def _as_path(source: str | bytes, folder: str) -> str:
    """The source as a file: mp4 keeps its index at the end, so a pipe would not do."""
    if isinstance(source, str):
        return source
    path = os.path.join(folder, "audio")
    with open(path, "wb") as file:
        file.write(source)
    return path


def _ffmpeg_arguments(path: str, sr: int) -> list[str]:
    # "file:" and the whitelist: neither a name nor a playlist in the file may make ffmpeg open a network address.
    reading = ["-nostdin", "-loglevel", "error", "-protocol_whitelist", "file,pipe", "-i", f"file:{path}"]
    return [*reading, "-f", "s16le", "-acodec", "pcm_s16le", "-ac", "1", "-ar", str(sr), "pipe:1"]


def _name(source: str | bytes) -> str:
    """Name a source in a message; `repr` also shows names that are not UTF-8."""
    return repr(source) if isinstance(source, str) else f"the audio given as {len(source)} bytes"


def _check_rate(rate: int, name: str) -> None:
    """Refuse sampling rates at which nobody records sound."""
    if not SLOWEST <= rate <= FASTEST:
        raise AudioError(f"{name} has a sampling rate of {rate} Hz, but {SLOWEST} to {FASTEST} Hz are accepted")


def as_samples(array: Any) -> Array:
    """Any array of sound as float32 of the same shape, integers divided by their full scale.

    >>> as_samples(np.array([0, 128, 192], np.uint8))
    array([-1. ,  0. ,  0.5], dtype=float32)
    """
    array = np.asarray(array)
    if array.ndim not in (1, 2):
        raise AudioError(f"samples of shape {array.shape} were given; (samples,) or (samples, channels) is wanted")
    if array.dtype == np.uint8:
        array = (array.astype(np.float32) - 128.0) / 128.0
    elif array.dtype.kind == "i" and array.itemsize <= 4:
        array = array.astype(np.float32) / 2.0 ** (8 * array.itemsize - 1)
    elif array.dtype.kind != "f":
        raise AudioError(
            f"samples of type {array.dtype} were given; give float32 between -1 and 1, int16, int32 or uint8"
        )
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes Inf, and is refused with the rest
        return _check_samples(array.astype(np.float32, copy=False), "the array")


def _check_samples(samples: Array, name: str) -> Array:
    """Return the samples if they are some, finite, and scaled to about one."""
    if not samples.size:
        raise AudioError(f"{name} holds no samples; at least one is wanted")
    peak = max(float(samples.max()), -float(samples.min()))
    if not math.isfinite(peak):
        raise AudioError(f"{name} holds NaN or Inf; replace them first, for example with numpy.nan_to_num")
    if peak > LOUDEST:
        raise AudioError(f"{name} reaches {peak:g}, but sound lies between -1 and 1; divide 16-bit samples by 32768")
    return samples


def _mono(samples: Array) -> Array:
    """Average the channels: (samples, channels) or (channels, samples) -> (samples,)."""
    if samples.ndim == 1:
        return samples
    mixed: Array = samples.mean(axis=0 if samples.shape[0] < samples.shape[1] else 1, dtype=np.float32)
    return mixed


def resample(samples: Array, rate: int, sr: int) -> Array:
    """Change the sampling rate, keeping what lies below half of both rates and timing to the sample.

    (samples,) -> (ceil(samples * sr / rate),)

    >>> resample(np.ones(441, np.float32), 44100, 16000).shape
    (160,)
    """
    return np.concatenate(list(resample_blocks(iter([samples]), rate, sr)))


def resample_blocks(blocks: Blocks, rate: int, sr: int) -> Blocks:
    """Change the sampling rate of a stream; every block is computed with its neighbours in view.

    The low-pass filter is the one ffmpeg uses by default: 32 periods of the lower rate under a Kaiser window, falling
    to one half at 0.97 of the new limit. What lies above the limit would otherwise come back as a false low tone.
    """
    if rate == sr:
        yield from blocks
        return
    from fractions import Fraction

    from scipy.signal import firwin, resample_poly

    ratio = Fraction(sr, rate).limit_denominator(100_000)  # exact below 100 kHz; above, odd rates would cost gigabytes
    up, down = ratio.numerator, ratio.denominator
    low_pass = firwin(32 * max(up, down) + 1, min(0.97 / down, 1.0 / up), window=("kaiser", 9.0)).astype(np.float32)
    margin = -(-16 * max(up, down) // (up * down)) * down  # half the filter, in samples: whole steps of the ratio
    size = -(-READ_BLOCK // down) * down
    for piece, wanted in _overlapping(blocks, size, margin):
        first = margin * up // down
        yield resample_poly(piece, up, down, window=low_pass)[first : first - (-wanted * up // down)]


def _overlapping(blocks: Blocks, size: int, margin: int) -> Iterator[tuple[Array, int]]:
    """Cut a stream into pieces of `size` samples with `margin` more on both sides, zeros beyond the ends.

    Yields each piece and how many of its samples, after the first margin, are its own.
    """
    held = np.zeros(margin, np.float32)
    for block in blocks:
        held = np.concatenate([held, block])
        while len(held) >= size + 2 * margin:
            yield held[: size + 2 * margin], size
            held = held[size:]
    while (rest := len(held) - margin) > 0:
        own = min(rest, size)
        yield pad_or_trim(held, own + 2 * margin), own
        held = held[own:]


# From samples to frames and their spectrum


def pad_or_trim(array: Array, length: int = N_SAMPLES, *, axis: int = -1) -> Array:
    """Make one axis exactly `length` long: cut its end off, or put zeros there.

    Parameters
    ----------
    array : Array
        Samples (480000 of them are a window) or a log-mel spectrogram (3000 frames are).
    length : int
        The length wanted.
    axis : int
        The axis that is made so long.

    Returns
    -------
    Array
        The array itself or a view into it when nothing had to be added.

    Examples
    --------
    >>> pad_or_trim(np.ones((2, 3)), 4)
    array([[1., 1., 1., 0.],
           [1., 1., 1., 0.]])
    >>> pad_or_trim(np.ones((2, 3)), 1, axis=0)
    array([[1., 1., 1.]])
    """
    missing = length - array.shape[axis]
    if missing > 0:
        widths = [(0, 0)] * array.ndim
        widths[axis] = (0, missing)
        return np.pad(array, widths).view(type(array))
    keep = [slice(None)] * array.ndim
    keep[axis] = slice(length)
    return array[tuple(keep)]


def hann() -> Array:
    """The bell that fades each frame in and out, periodic: it would start again at sample 400.

    () -> (400,)

    Computed in float32 like torch's, since quiet frequencies beside loud ones show the window's rounding.
    """
    phase = np.arange(N_FFT, dtype=np.float32) * (2.0 * math.pi / N_FFT)
    bell: Array = 0.5 - 0.5 * np.cos(phase)
    return bell


@layer
def stft(samples: Array) -> Array:
    """Power of each frequency (0, 40, ... 8000 Hz) in each frame: the short-time Fourier transform, squared.

    (400 + 160 (F - 1),) -> (201, F)

    >>> tone = np.sin(2 * np.pi * 1000 * np.arange(720, dtype=np.float32) / SAMPLE_RATE)
    >>> stft(tone).shape, stft(tone).argmax(axis=0) * SAMPLE_RATE / N_FFT
    ((201, 3), array([1000., 1000., 1000.]))
    """
    frames = np.lib.stride_tricks.sliding_window_view(samples, N_FFT)[::HOP_LENGTH]  # a view: nothing is copied
    return _power(frames, hann()).T


@blocked(rows=96)
def _power(frames: Array, bell: Array) -> Array:
    """Transform each frame by itself: (F, 400), (400,) -> (F, 201)."""
    spectrum = np.fft.rfft(frames * bell)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    return power.astype(np.float32, copy=False)  # NumPy before 2.0 transforms in float64


# From frequencies to mel bins


def hz_to_mel(hz: Array) -> Array:
    """Pitch as heard, after Slaney: 15 mels up to 1000 Hz in equal steps, then 27 mels for each factor of 6.4.

    >>> hz_to_mel(np.array([0.0, 500.0, 1000.0, 6400.0]))
    array([ 0. ,  7.5, 15. , 42. ])
    """
    above = 15.0 + 27.0 * np.log(np.maximum(hz, 1000.0) / 1000.0) / math.log(6.4)
    return np.where(hz < 1000.0, hz * 3.0 / 200.0, above)


def mel_to_hz(mel: Array) -> Array:
    """The way back.

    >>> mel_to_hz(np.array([0.0, 7.5, 15.0, 42.0]))
    array([   0.,  500., 1000., 6400.])
    """
    above = 1000.0 * np.exp((mel - 15.0) * math.log(6.4) / 27.0)
    return np.where(mel < 15.0, mel * 200.0 / 3.0, above)


def mel_edges(n_mels: int) -> Array:
    """Frequencies in equal steps of pitch up to 8000 Hz: a mel bin rises from one to the next and falls to the third.

    () -> (n_mels + 2,)

    >>> mel_edges(1)[[0, -1]].round(6)
    array([   0., 8000.])
    """
    return mel_to_hz(np.linspace(0.0, hz_to_mel(np.array(SAMPLE_RATE / 2.0)), n_mels + 2))


@layer
@functools.cache
def mel_filters(n_mels: int) -> Array:
    """Weights that sum frequencies into mel bins: overlapping triangles, equally wide in mels, each of area one in Hz.

    Parameters
    ----------
    n_mels : int
        Number of bins. Whisper has 80, and 128 from large-v3 on.

    Returns
    -------
    Array, shape (n_mels, 201), float32, read-only
        Within 4e-9 of the table that upstream ships.

    Raises
    ------
    AudioError
        If `n_mels` is not positive.

    Examples
    --------
    >>> mel_filters(80).shape, mel_filters(80).dtype
    ((80, 201), dtype('float32'))
    """
    if n_mels < 1:
        raise AudioError(f"n_mels must be positive (Whisper's models have 80 or 128), not {n_mels}")
    edges = mel_edges(n_mels)[:, None]
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    hz = np.fft.rfftfreq(N_FFT, 1.0 / SAMPLE_RATE)
    triangles = np.maximum(0.0, np.minimum((hz - left) / (centre - left), (right - hz) / (right - centre)))
    filters: Array = (triangles * 2.0 / (right - left)).astype(np.float32)
    filters.flags.writeable = False
    return filters


@layer(name="mel")
def log_mel_spectrogram(audio: AudioInput, n_mels: int = 80, padding: int = 0, device: Any = None) -> Array:
    """Turn sound into what the encoder reads: the logarithm of the power in each mel bin, every 10 ms.

    Parameters
    ----------
    audio : array, path, bytes or file object
        Samples at 16 kHz of shape (samples,), or a batch (B, samples); anything else goes through `load_audio`.
    n_mels : int
        Number of mel bins the model wants (``dims.n_mels``): 80 or 128.
    padding : int
        Number of zero samples appended first.
    device : optional
        None or "cpu", for compatibility with upstream.

    Returns
    -------
    MelArray, shape (n_mels, frames) or (B, n_mels, frames), float32
        An array that also knows ``.to(device)``, ``.numpy()``, ``.permute()`` and ``.unsqueeze()``.
        ``frames = (samples + padding) // 160``. The loudest value is at most 2 above the quietest: everything more
        than 80 dB below the file's maximum is raised to there.

    Raises
    ------
    AudioError
        If the audio cannot be read or `n_mels` is not positive.
    ValueError
        If another device than the CPU is asked for.

    Notes
    -----
    Upstream takes the maximum of a whole batch, so that a loud recording changes its neighbours. Here each item has its
    own, and a batch equals its items one by one. Upstream fails on fewer than 201 samples; here zeros follow them.

    Examples
    --------
    >>> log_mel_spectrogram(np.zeros(SAMPLE_RATE, np.float32)).shape
    (80, 100)
    """
    if device is not None and str(device) != "cpu":
        raise ValueError(
            f"device {device!s} was asked for, but npwhisper computes on the CPU; use 'cpu' or leave it out"
        )
    filters = mel_filters(n_mels)
    samples = load_audio(audio) if _is_encoded(audio) else as_samples(audio)
    if samples.ndim == 2:
        return np.stack([_log_mel(item, filters, padding) for item in samples]).view(MelArray)
    return _log_mel(samples, filters, padding).view(MelArray)


def _log_mel(samples: Array, filters: Array, padding: int) -> Array:
    """The log-mel spectrogram of one recording: (samples,) -> (M, F)."""
    n_frames = (len(samples) + padding) // HOP_LENGTH
    blocks = list(mel_blocks(blocks_of(samples), filters, padding))
    log_mel = np.concatenate([np.empty((len(filters), 0), np.float32), *blocks], axis=1)[:, :n_frames]
    return compress(log_mel, float(log_mel.max(initial=-10.0)))


def blocks_of(samples: Array) -> Blocks:
    """Samples that are in memory, as a stream."""
    return (samples[i : i + READ_BLOCK] for i in range(0, len(samples), READ_BLOCK))


def mel_blocks(blocks: Blocks, filters: Array, padding: int) -> Iterator[Array]:
    """The logarithm of the power in each mel bin, 3000 frames at a time, for a stream of samples and `padding` zeros.

    Only one window's spectrum is in memory at a time: (M, 3000), ..., the rest
    """
    for samples in _windows(_centred(blocks, padding)):
        with limit_blas(1):  # the same bits whatever other threads do meanwhile
            power = filters @ stft(samples)
        yield np.log10(np.maximum(power, 1e-10))


def _centred(blocks: Blocks, padding: int) -> Blocks:
    """Append zeros, then mirror 200 samples at both ends: frame i is centred on sample 160 i."""
    reach = N_FFT // 2 + 1  # a mirror of 200 samples needs 201
    held, is_first = np.empty(0, np.float32), True
    for block in itertools.chain(blocks, [np.zeros(max(padding, 0), np.float32), None]):
        held = pad_or_trim(held, max(len(held), reach)) if block is None else np.concatenate([held, block])
        if len(held) >= reach:
            yield from [held[reach - 1 : 0 : -1]] if is_first else []
            yield held[:-reach]
            held, is_first = held[-reach:], False
    yield np.concatenate([held, held[-2::-1]])


def _windows(blocks: Blocks) -> Blocks:
    """Cut a centred stream into the samples of 3000 frames each; the last frame of all is dropped, as upstream does."""
    held, step = np.empty(0, np.float32), N_FRAMES * HOP_LENGTH
    for block in blocks:
        held = np.concatenate([held, block])
        while len(held) >= step + N_FFT:
            yield held[: step - HOP_LENGTH + N_FFT]
            held = held[step:]
    if n_frames := max(0, len(held) - N_FFT) // HOP_LENGTH:
        yield held[: (n_frames - 1) * HOP_LENGTH + N_FFT]


def compress(log_mel: Array, loudest: float) -> Array:
    """Keep the 8 decades below the loudest value of all, and bring speech near 0: (M, F) -> (M, F)."""
    return (np.maximum(log_mel, loudest - 8.0) + 4.0) / 4.0


def example() -> str:
    """Path of the recording that comes with the package: eleven seconds of John F. Kennedy's inaugural address.

    Returns
    -------
    str

    Examples
    --------
    >>> load_audio(example()).shape
    (176000,)

    Notes
    -----
    20 January 1961, public domain as a work of the United States government; 16 kHz, mono.
    """
    return str(resources.files("npwhisper") / "assets" / "example.flac")
