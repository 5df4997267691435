"""Whole recordings, window by window."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npwhisper import lazily

if TYPE_CHECKING:
    from npwhisper.transcription.hallucination import *
    from npwhisper.transcription.journal import *
    from npwhisper.transcription.run import *
    from npwhisper.transcription.voice import *
    from npwhisper.transcription.windows import *

__getattr__, __dir__ = lazily(__name__, "windows", "hallucination", "voice", "journal", "run")
