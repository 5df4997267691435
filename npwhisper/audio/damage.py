"""What is missing from a recording, in words."""

from __future__ import annotations

import warnings

from npwhisper.audio.units import AudioWarning

TOLERATED = 0.1  # seconds that may be missing without a warning: containers and encoders round


def warn_of_missing(name: str, read: float, announced: float, damage: str | None) -> None:
    """Warn if there is damage, or if more than a tenth of a second of the seconds announced is missing."""
    if damage or announced - read > TOLERATED:
        known = f" of {announced:.1f}" if announced - read > TOLERATED else ""
        seconds = f"{read:.1f}{known} seconds"
        reason = f" ({damage})" if damage else ""
        message = f"{name} is truncated or damaged{reason}: {seconds} can be read and are used; is the file complete?"
        warnings.warn(message, AudioWarning, stacklevel=2)
