"""Sound: files, sampling rates and the log-mel spectrogram."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npwhisper import lazily

if TYPE_CHECKING:
    from npwhisper.audio.sound import *
    from npwhisper.audio.streaming import *

__getattr__, __dir__ = lazily(__name__, "sound", "streaming")
