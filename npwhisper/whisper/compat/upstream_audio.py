"""Names of openai-whisper's ``audio.py`` that ours does not need."""

from npwhisper.whisper.compat.utils import exact_div

__all__ = ["exact_div"]
