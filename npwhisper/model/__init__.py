"""The network: layers, attention, the cache, encoder and decoder; README.md beside this file draws it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npwhisper import lazily

if TYPE_CHECKING:
    from npwhisper.model.attention import *
    from npwhisper.model.blocks import *
    from npwhisper.model.cache import *
    from npwhisper.model.layers import *
    from npwhisper.model.network import *

__getattr__, __dir__ = lazily(__name__, "layers", "attention", "cache", "blocks", "network")
