"""What is missing from a recording, in words."""

from __future__ import annotations

import warnings

from npwhisper.audio.units import AudioWarning


def warn_of_missing(n_announced: int, n_read: int, rate: int, name: str, failure: Exception | None) -> None:
    """Warn if decoding failed, or more than a second and a hundredth of what the header tells of is missing."""
    if failure or n_announced - n_read > max(rate, n_announced // 100):
        seconds = f"{n_read / rate:.1f} of {max(n_announced, n_read) / rate:.1f} seconds"
        reason = f" (libsndfile says {getattr(failure, 'error_string', str(failure)).rstrip('.')!r})" if failure else ""
        message = f"{name} is truncated or damaged{reason}: {seconds} can be read and are used; is the file complete?"
        warnings.warn(message, AudioWarning, stacklevel=2)
