"""Sound: files, sampling rates and the log-mel spectrogram."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npwhisper import lazily

if TYPE_CHECKING:
    from npwhisper.audio.files import *
    from npwhisper.audio.mel import *
    from npwhisper.audio.resampling import *
    from npwhisper.audio.samples import *
    from npwhisper.audio.streaming import *
    from npwhisper.audio.units import *

__getattr__, __dir__ = lazily(__name__, "units", "samples", "resampling", "files", "mel", "streaming")
