"""Classes that are torch's by nature: they can be imported, and say at first use what npwhisper has instead."""

from __future__ import annotations

from typing import Any


def elsewhere(name: str, advice: str) -> Any:
    """A class of openai-whisper that cannot be made here.

    >>> elsewhere("LayerNorm", "use npwhisper.model.layer_norm(x, w)")(384)
    Traceback (most recent call last):
        ...
    TypeError: LayerNorm is a torch module of openai-whisper: use npwhisper.model.layer_norm(x, w)
    """

    def refuse(self: object, *_args: Any, **_kwargs: Any) -> None:
        raise TypeError(f"{name} is a torch module of openai-whisper: {advice}")

    doc = f"A torch module of openai-whisper: {advice}."
    return type(name, (), {"__init__": refuse, "__init_subclass__": classmethod(refuse), "__doc__": doc})
