"""openai-whisper's text normalizers, for word error rates: those of the package whisper-normalizer."""

try:
    from whisper_normalizer.basic import BasicTextNormalizer
    from whisper_normalizer.english import EnglishTextNormalizer
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "npwhisper.normalizers needs the package whisper-normalizer: pip install 'npwhisper[normalizers]'"
    ) from error

__all__ = ["BasicTextNormalizer", "EnglishTextNormalizer"]
