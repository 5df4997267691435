"""What users hold: a `Whisper` from `load_model`, whole folders of recordings, and openai-whisper's other names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npwhisper import lazily

if TYPE_CHECKING:
    from npwhisper.whisper.handle import *

__getattr__, __dir__ = lazily(__name__, "handle")
