"""Names of openai-whisper's ``timing.py`` that ours does not need."""

from typing import Any

from npwhisper.timing import dtw as dtw_cpu

__all__ = ["dtw_cpu", "dtw_cuda"]


def dtw_cuda(*_args: Any, **_kwargs: Any) -> None:
    """Not here: npwhisper computes on the CPU."""
    raise TypeError("dtw_cuda needs a GPU and torch: npwhisper computes on the CPU, use npwhisper.timing.dtw(x)")
