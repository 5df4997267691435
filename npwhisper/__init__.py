"""npwhisper: OpenAI's Whisper in NumPy, to read, step through and trust.

Names are loaded when they are first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from npwhisper.audio import AudioError, AudioWarning, example, load_audio, log_mel_spectrogram, pad_or_trim
    from npwhisper.checkpoint.contents import CheckpointError
    from npwhisper.checkpoint.download import DownloadError
    from npwhisper.checkpoint.weights import available_models
    from npwhisper.compute.parallel import set_num_threads
    from npwhisper.decoding import DecodingResult, DecodingTask, decode
    from npwhisper.decoding.options import DecodingOptions, TranscribeOptions
    from npwhisper.lab.checking import check
    from npwhisper.lab.comparing import capture_torch, compare, first_difference, save_activations
    from npwhisper.lab.glass import glass
    from npwhisper.lab.plots import plot_alignment, plot_attention, plot_mel, plot_tokens
    from npwhisper.model import ModelDimensions
    from npwhisper.tracing.profiling import profile
    from npwhisper.tracing.seam import trace
    from npwhisper.tracing.swapping import swap
    from npwhisper.transcription.voice import find_speech
    from npwhisper.whisper import Whisper, align, detect_language, iter_segments, load_model, transcribe
    from npwhisper.whisper.corpus.run import transcribe_corpus

__version__ = "0.1.0"
__path__.append(f"{__path__[0]}/whisper/compat")  # openai-whisper's other modules, and our old ones

_HOME = {
    "audio": ("AudioError", "AudioWarning", "example", "load_audio", "log_mel_spectrogram", "pad_or_trim"),
    "whisper.corpus.run": ("transcribe_corpus",),
    "lab.checking": ("check",),
    "checkpoint.contents": ("CheckpointError",),
    "lab.comparing": ("capture_torch", "compare", "first_difference", "save_activations"),
    "decoding": ("DecodingResult", "DecodingTask", "decode"),
    "checkpoint.download": ("DownloadError",),
    "model": ("ModelDimensions",),
    "decoding.options": ("DecodingOptions", "TranscribeOptions"),
    "compute.parallel": ("set_num_threads",),
    "lab.glass": ("glass",),
    "lab.plots": ("plot_alignment", "plot_attention", "plot_mel", "plot_tokens"),
    "tracing.profiling": ("profile",),
    "tracing.swapping": ("swap",),
    "tracing.seam": ("trace",),
    "transcription.voice": ("find_speech",),
    "checkpoint.weights": ("available_models",),
    "whisper": ("Whisper", "align", "detect_language", "iter_segments", "load_model", "transcribe"),
    "official": ("_ALIGNMENT_HEADS", "_MODELS"),
}

_MODULES = ("audio", "decoding", "model", "normalizers", "timing", "tokenizer", "utils")  # there without an import
_UPSTREAM = {
    "npwhisper.audio": "npwhisper.upstream_audio",
    "npwhisper.decoding": "npwhisper.upstream_decoding",
    "npwhisper.model": "npwhisper.upstream_model",
    "npwhisper.timing": "npwhisper.upstream_timing",
}
"""Where the names are that openai-whisper's module has and ours does not need."""

__all__ = [
    "AudioError",
    "AudioWarning",
    "CheckpointError",
    "DecodingOptions",
    "DecodingResult",
    "DecodingTask",
    "DownloadError",
    "ModelDimensions",
    "TranscribeOptions",
    "Whisper",
    "align",
    "available_models",
    "capture_torch",
    "check",
    "compare",
    "decode",
    "detect_language",
    "example",
    "find_speech",
    "first_difference",
    "glass",
    "iter_segments",
    "load_audio",
    "load_model",
    "log_mel_spectrogram",
    "pad_or_trim",
    "plot_alignment",
    "plot_attention",
    "plot_mel",
    "plot_tokens",
    "profile",
    "save_activations",
    "set_num_threads",
    "swap",
    "trace",
    "transcribe",
    "transcribe_corpus",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"npwhisper.{name}")
    for module, names in _HOME.items():
        if name in names:
            value = globals()[name] = getattr(import_module(f"npwhisper.{module}"), name)
            return value
    raise AttributeError(f"module 'npwhisper' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, *_MODULES, "__version__"]


def lazily(package: str, *modules: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make the ``__getattr__`` and ``__dir__`` of a package that offers the public names of its `modules`."""

    def names() -> list[str]:
        return sorted({name for m in modules for name in vars(import_module(f"{package}.{m}")) if name[0] != "_"})

    def find(name: str) -> Any:
        if name == "__all__":
            return names()
        homes = [f"{package}.{m}" for m in modules] + [home for part, home in _UPSTREAM.items() if part == package]
        for module in () if name.startswith("_") else map(import_module, homes):
            if name in vars(module):
                return vars(module)[name]
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return find, names


def formerly(*modules: str) -> Callable[[str], Any]:
    """Make the ``__getattr__`` of a module some of whose names are in other `modules` now."""

    def find(name: str) -> Any:
        for module in () if name.startswith("_") else map(import_module, modules):
            if name in vars(module):
                return vars(module)[name]
        raise AttributeError(f"there is no {name!r} here, nor in {' or '.join(modules)}")

    return find
