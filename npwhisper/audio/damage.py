"""What is missing from a recording, in words."""

from __future__ import annotations

import warnings

from npwhisper.audio.units import AudioWarning

TOLERATED = 0.1  # seconds that may be missing without a warning: containers and encoders round


def warn_of_missing(name: str, rate: int, n_read: int, n_announced: int, damage: str | None) -> None:
    """Warn if the decoder found damage, or if more than a tenth of a second of what was announced is missing."""
    if damage or n_announced - n_read > TOLERATED * rate:
        seconds = f"{n_read / rate:.1f} of {max(n_announced, n_read) / rate:.1f} seconds"
        reason = f" ({damage})" if damage else ""
        message = f"{name} is truncated or damaged{reason}: {seconds} can be read and are used; is the file complete?"
        warnings.warn(message, AudioWarning, stacklevel=2)
