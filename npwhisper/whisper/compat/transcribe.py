"""``from npwhisper.transcribe import cli, get_end, transcribe``, while ``npwhisper.transcribe(...)`` stays a function.

Importing a submodule binds it to its name in the package, where the function is: so this module can be called.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from npwhisper.whisper import transcribe
from npwhisper.whisper.compat.utils import get_end, get_start

__all__ = ["cli", "get_end", "get_start", "transcribe"]


def cli() -> int:
    """The command line, see ``npwhisper --help``."""
    from npwhisper.__main__ import main

    return main()


class _Callable(ModuleType):
    __call__ = staticmethod(transcribe)

    @property
    def __signature__(self) -> Any:
        from inspect import signature

        return signature(transcribe)


sys.modules[__name__].__class__ = _Callable
