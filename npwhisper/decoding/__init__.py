"""From audio features to tokens: options, rules, search, one window of 30 seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npwhisper import lazily

if TYPE_CHECKING:
    from npwhisper.decoding.batch import *
    from npwhisper.decoding.options import *
    from npwhisper.decoding.rules import *
    from npwhisper.decoding.search import *
    from npwhisper.decoding.window import *

__getattr__, __dir__ = lazily(__name__, "options", "rules", "search", "batch", "window")
