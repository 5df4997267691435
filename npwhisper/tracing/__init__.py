"""The seam: every layer can be recorded, replaced or timed by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npwhisper import lazily

if TYPE_CHECKING:
    from npwhisper.tracing.profiling import *
    from npwhisper.tracing.scope import *
    from npwhisper.tracing.seam import *
    from npwhisper.tracing.swapping import *
    from npwhisper.tracing.tables import *

__getattr__, __dir__ = lazily(__name__, "scope", "seam", "swapping", "tables", "profiling")
