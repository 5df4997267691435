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


def within_sample(n_bytes: int, width: int, is_padded: bool = False) -> str | None:
    """The damage of a chunk of sound that ends within one of its samples, each of which has `width` bytes.

    If an odd number of bytes is padded, one more is no damage.

    >>> [within_sample(n_bytes, 3, is_padded=True) for n_bytes in (6, 7, 10)]
    [None, 'it ends within a sample', None]
    """
    cut = n_bytes % max(width, 1)
    is_padding = is_padded and cut == 1 and (n_bytes - 1) % 2
    return "it ends within a sample" if cut and not is_padding else None
