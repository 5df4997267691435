"""A spectrogram with the tensor methods that code for openai-whisper calls on it."""

from __future__ import annotations

from typing import Any

import numpy as np

from npwhisper.tracing.seam import Array


class MelArray(np.ndarray):
    """A log-mel spectrogram: an array, with the few names of a torch tensor that scripts for openai-whisper use.

    >>> mel = np.zeros((80, 3000), np.float32).view(MelArray)
    >>> mel.to("cpu").unsqueeze(0).permute(0, 2, 1).shape
    (1, 3000, 80)
    """

    def to(self, *args: Any, **_kwargs: Any) -> MelArray:
        """The array itself: it is on the CPU, in float32. Another device is a ValueError."""
        for device in args:
            if str(device).startswith(("cuda", "mps", "xpu")):
                raise ValueError(f"npwhisper computes on the CPU, got device {str(device)!r}: use 'cpu'")
        return self

    def cpu(self) -> MelArray:
        """The array itself."""
        return self

    def half(self) -> MelArray:
        """The array itself: everything is computed in float32."""
        return self

    def float(self) -> MelArray:
        """The array itself."""
        return self

    def detach(self) -> MelArray:
        """The array itself."""
        return self

    def numpy(self) -> Array:
        """The same data as a plain array."""
        return np.asarray(self)

    def permute(self, *axes: int) -> MelArray:
        """`transpose`."""
        return self.transpose(*axes)

    def unsqueeze(self, axis: int) -> MelArray:
        """A further axis of length 1."""
        return np.expand_dims(self, axis).view(MelArray)
