"""Reading a recording as a stream of mono blocks, whatever it is given as: a path, bytes, a file object, samples."""

from __future__ import annotations

import errno
import functools
import os
import re
from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any, TypeVar

import numpy as np

from npwhisper.audio.ffmpeg import ffmpeg_blocks, ffmpeg_channels
from npwhisper.audio.libsndfile import said, soundfile_blocks, soundfile_channels
from npwhisper.audio.mixing import EVERYTHING, Channel, Chosen, check_channel, check_track
from npwhisper.audio.plain import plain_blocks, plain_channels
from npwhisper.audio.recorded import unpacked
from npwhisper.audio.samples import as_samples, blocks_of, to_mono
from npwhisper.audio.units import SAMPLE_RATE, AudioError, AudioInput, Blocks, check_rate, name_of
from npwhisper.tracing.seam import Array

T = TypeVar("T")


def load_audio(
    file: AudioInput,
    sr: int = SAMPLE_RATE,
    *,
    channel: str | int | None = None,
    audio_track: int | None = None,
    max_duration: float | None = None,
) -> Array:
    """Read sound as mono float32 samples between -1 and 1.

    Wav, flac, ogg, mp3 and the rest of libsndfile's formats need nothing else installed; what it cannot read (m4a,
    aac, mp4, webm) is given to ``ffmpeg`` if that is on the PATH. Stereo is averaged; in surround sound the centre,
    where speech is, counts most and the low-frequency channel not at all, as with ffmpeg. The channels of an array are
    averaged, because an array does not name them.

    Parameters
    ----------
    file : str, PathLike, bytes-like, binary file object or array
        A path; the contents of a file; an object whose ``read()`` gives them; or samples already at rate `sr`, of shape
        (samples,), (samples, channels) or (channels, samples), the smaller axis being the channels. Arrays of int8,
        int16 and int32 are divided by their full scale, uint8 is centred first, floats are taken as they are. Also a
        dict of Hugging Face's ``datasets`` (``{"array", "sampling_rate"}``), or torchcodec's ``AudioDecoder``.
    sr : int
        Samples per second of the result.
    channel : str or int, optional
        Only this channel: "left", "right", "centre" (of surround sound), or its number from 0 on. Where two speakers
        were recorded on one channel each, transcribe them separately (``transcribe(..., channels="separate")``).
    audio_track : int, optional
        Of a container with several sound tracks (languages, comments, one microphone each), its number from 0 on. By
        default the one that ffmpeg considers the best, with a warning that lists all of them.
    max_duration : float, optional
        Refuse a file that lasts longer, in seconds; nothing beyond is read. A small file can claim many hours.

    Returns
    -------
    Array, shape (samples,), float32
        A 16-bit mono file at rate `sr` gives exactly its integers divided by 32768.

    Raises
    ------
    FileNotFoundError, IsADirectoryError
        There is no such file.
    AudioError
        It is not audio, has no samples, holds NaN or Inf, has an absurd sampling rate, no such channel or track, or
        is longer than `max_duration`.

    Notes
    -----
    Upstream's function of this name runs ffmpeg on every file and rounds to 16 bits after resampling. Ours resamples by
    ffmpeg's rule and does not round: the samples agree within 2 parts in 10,000 of full scale up to 192 kHz (1 in
    10,000 up to 48 kHz), up to both ends. Codecs differ more: two decoders of Opus need not agree.

    A file that was truncated is read as far as it goes, with a warning. Some truncation cannot be seen, because the
    file states no length and what is left of it ends like a whole one: WAV, RF64, CAF, Wave 64, AU, AIFF and SPHERE
    from a pipe cut between two samples; streams of frames (AC-3, DTS, MP2, GSM, ADTS) between two frames; Ogg between
    two pages; MPEG's transport and program streams, and AVI and FLV from a pipe, between two packets, chunks or tags.
    NUT, SWF, MLP and SoX's own format are examined by ffmpeg alone, which says little.

    Examples
    --------
    >>> load_audio(np.array([-32768, 0, 16384], np.int16))
    array([-1. ,  0. ,  0.5], dtype=float32)
    """
    check_rate(sr, "the result")
    chosen, file = checked_choice(channel, audio_track), unpacked(file, sr)
    if not is_encoded(file):
        return to_mono(as_samples(file), channel)
    return open_blocks(file, sr, lambda blocks: np.concatenate(list(limited(blocks, max_duration, sr))), chosen)[0]


def limited(blocks: Blocks, seconds: float | None, sr: int = SAMPLE_RATE) -> Blocks:
    """The same blocks; AudioError once they last longer than `seconds`, whatever the header says.

    >>> list(limited(iter([np.zeros(16000)]), seconds=0.5))
    Traceback (most recent call last):
    npwhisper.audio.units.AudioError: the recording is longer than max_duration, 0.5 seconds: raise it, or cut the file
    """
    n_samples = 0
    for block in blocks:
        n_samples += len(block)
        if seconds is not None and n_samples > seconds * sr:
            raise AudioError(
                f"the recording is longer than max_duration, {seconds:g} seconds: raise it, or cut the file"
            )
        yield block


def is_encoded(audio: Any) -> bool:
    """Whether this is a file (a path, bytes or a file object) rather than samples.

    >>> is_encoded("talk.mp3"), is_encoded(np.zeros(9))
    (True, False)
    """
    return isinstance(audio, (str, os.PathLike, bytes, bytearray, memoryview)) or hasattr(audio, "read")


def is_container(audio: Any) -> bool:
    """Whether this is a recording of another library, see `unpacked`.

    >>> is_container({"array": np.zeros(9), "sampling_rate": 16000}), is_container("talk.mp3")
    (True, False)
    """
    return isinstance(audio, Mapping) or hasattr(audio, "get_all_samples")


def checked_choice(channel: Channel, audio_track: int | None) -> Chosen:
    """Check the choice of a channel and a sound track.

    >>> checked_choice("left", None)
    Chosen(channel='left', track=None)
    """
    check_channel(channel)
    check_track(audio_track)
    return Chosen(channel, audio_track)


def open_blocks(
    file: AudioInput, sr: int, use: Callable[[Blocks], T], chosen: Chosen = EVERYTHING
) -> tuple[T, Callable[[], Blocks]]:
    """Let `use` consume a recording as a stream: blocks of mono samples at rate `sr`, read by libsndfile or ffmpeg.

    Returns what `use` returned, and a function that restarts the same stream.

    >>> n_samples, again = open_blocks(example(), 16000, lambda blocks: sum(map(len, blocks)))
    >>> n_samples, sum(map(len, again()))
    (176000, 176000)
    """
    file = unpacked(file, sr)
    if not is_encoded(file):
        samples = to_mono(as_samples(file), chosen.channel)
        return use(blocks_of(samples)), functools.partial(blocks_of, samples)
    source = located(file)
    readers = (
        functools.partial(plain_blocks, source, sr, chosen.channel),
        functools.partial(soundfile_blocks, source, sr, chosen.channel),
        lambda complaint: functools.partial(ffmpeg_blocks, source, sr, complaint, chosen),
    )
    return _first_of(source, chosen, readers, lambda read: (use(read()), read))


def count_channels(file: AudioInput, audio_track: int | None = None) -> int:
    """The number of channels of a recording; for joined recordings, the largest.

    >>> count_channels(example()), count_channels(np.zeros((2, 16000)))
    (1, 2)
    """
    file = unpacked(file)
    if not is_encoded(file):
        samples = as_samples(file)
        return 1 if samples.ndim == 1 else min(samples.shape)
    source, chosen = located(file), Chosen(track=audio_track)
    readers = (
        functools.partial(plain_channels, source),
        functools.partial(soundfile_channels, source),
        lambda complaint: functools.partial(ffmpeg_channels, source, complaint, chosen),
    )
    return _first_of(source, chosen, readers, lambda count: count())


def _first_of(source: str | bytes, chosen: Chosen, readers: Any, use: Callable[[Callable[[], Any]], T]) -> T:
    """Use libsndfile's reader, or ffmpeg's, given the complaint, if libsndfile cannot read this or reads one track.

    Where there is no libsndfile, as in a browser, ours reads WAV and FLAC.
    """
    by_plain, by_soundfile, by_ffmpeg = readers
    try:
        import soundfile
    except ModuleNotFoundError:
        return use(by_plain)
    complaint = f"sound track {chosen.track} of {name_of(source)} cannot be read: libsndfile reads only one track"
    if not chosen.track:
        try:
            return use(by_soundfile)
        except soundfile.SoundFileError as error:
            complaint = f"{name_of(source)} cannot be read: libsndfile says {said(error)!r}"
    return use(by_ffmpeg(complaint))


def located(file: AudioInput) -> Any:
    """A source that can be read repeatedly: the path of a regular file, the contents of any other, or samples.

    >>> located(example()).endswith("example.flac")
    True
    """
    file = unpacked(file)
    return _locate(file) if is_encoded(file) else file


def _locate(file: Any) -> str | bytes:
    """Return the path of a regular file, or else the contents of what was given."""
    if isinstance(file, (str, os.PathLike)):
        source = _existing(os.fsdecode(file))
    else:
        contents = file if isinstance(file, (bytes, bytearray, memoryview)) else file.read()
        if isinstance(contents, str):
            raise AudioError("the file object yields text, not bytes; open it with mode 'rb'")
        source = bytes(contents)
    if not (os.path.getsize(source) if isinstance(source, str) else len(source)):
        raise AudioError(f"{name_of(source)} is empty (0 bytes); was it copied or downloaded completely?")
    return source


def _existing(path: str) -> str | bytes:
    """Return the path if a regular file is there; read a pipe or a device, which cannot be rewound, at once."""
    if os.path.isdir(path):
        raise IsADirectoryError(errno.EISDIR, "expected an audio file, got a directory; name a file in it", path)
    if not os.path.exists(path) and re.match(r"[a-z][a-z0-9+.-]+://", path, re.IGNORECASE):
        advice = "download it first (a browser, curl, or yt-dlp for videos) and give the path of the file"
        raise FileNotFoundError(errno.ENOENT, f"this is a URL, but npwhisper reads files: {advice}", path)
    if not os.path.exists(path):
        where = f"there is no such audio file (looked from {os.getcwd()!r}); check the spelling"
        raise FileNotFoundError(errno.ENOENT, where, path)
    if path.lower().endswith(".raw"):
        advice = "read it with numpy.fromfile and give the array"
        raise AudioError(f"{path!r} holds raw samples without their type and sampling rate; {advice}")
    if os.path.isfile(path):
        return path
    with open(path, "rb") as pipe:
        return pipe.read()


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
