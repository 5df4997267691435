"""npwhisper: OpenAI's Whisper in NumPy, to read, step through and trust.

Names are loaded when they are first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from npwhisper.audio import AudioError, AudioWarning, example, load_audio, log_mel_spectrogram, pad_or_trim
    from npwhisper.checking import check
    from npwhisper.checkpoint.contents import CheckpointError
    from npwhisper.comparing import capture_torch, compare, first_difference, save_activations
    from npwhisper.decoding import DecodingResult, DecodingTask, decode, detect_language
    from npwhisper.download import DownloadError
    from npwhisper.model import ModelDimensions
    from npwhisper.options import DecodingOptions, TranscribeOptions
    from npwhisper.parallel import set_num_threads
    from npwhisper.plots import plot_alignment, plot_attention, plot_mel, plot_tokens
    from npwhisper.profiling import profile
    from npwhisper.swapping import swap
    from npwhisper.tracing import trace
    from npwhisper.voice import find_speech
    from npwhisper.weights import available_models
    from npwhisper.whisper import Whisper, align, iter_segments, load_model, transcribe

__version__ = "0.1.0"

_HOME = {
    "audio": ("AudioError", "AudioWarning", "example", "load_audio", "log_mel_spectrogram", "pad_or_trim"),
    "checking": ("check",),
    "checkpoint.contents": ("CheckpointError",),
    "comparing": ("capture_torch", "compare", "first_difference", "save_activations"),
    "decoding": ("DecodingResult", "DecodingTask", "decode", "detect_language"),
    "download": ("DownloadError",),
    "model": ("ModelDimensions",),
    "options": ("DecodingOptions", "TranscribeOptions"),
    "parallel": ("set_num_threads",),
    "plots": ("plot_alignment", "plot_attention", "plot_mel", "plot_tokens"),
    "profiling": ("profile",),
    "swapping": ("swap",),
    "tracing": ("trace",),
    "voice": ("find_speech",),
    "weights": ("available_models",),
    "whisper": ("Whisper", "align", "iter_segments", "load_model", "transcribe"),
}

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
]


def __getattr__(name: str) -> Any:
    for module, names in _HOME.items():
        if name in names:
            value = globals()[name] = getattr(import_module(f"npwhisper.{module}"), name)
            return value
    raise AttributeError(f"module 'npwhisper' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
