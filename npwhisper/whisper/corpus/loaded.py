"""What every process of a corpus needs in memory. Importing this loads it: that is the purpose of the module.

The process that the others are forked from imports it, so the pages that nobody writes to exist once.
"""

from __future__ import annotations

import gc
import os

from npwhisper.compute.threads import blas_libraries
from npwhisper.tokenizer import get_encoding
from npwhisper.whisper.corpus import work  # noqa: F401
from npwhisper.whisper.corpus.forking import VOCABULARY


def _load() -> None:
    import soundfile  # noqa: F401
    from joblib.externals.loky import process_executor  # noqa: F401

    get_encoding(os.environ.get(VOCABULARY, "gpt2"))
    blas_libraries()
    gc.collect()
    gc.freeze()  # the collector writes into what it looks at, which would copy the pages


_load()
