"""When each word was said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npwhisper import lazily

if TYPE_CHECKING:
    from npwhisper.timing.punctuation import *
    from npwhisper.timing.spreading import *
    from npwhisper.timing.warping import *
    from npwhisper.timing.words import *

__getattr__, __dir__ = lazily(__name__, "warping", "punctuation", "words", "spreading")
