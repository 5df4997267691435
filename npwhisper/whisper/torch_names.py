"""The torch methods that scripts for openai-whisper call on a model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from npwhisper.checkpoint.heads import alignment_heads_from_base85

HOOKS = (
    "layers are functions here, not modules with hooks: npwhisper.trace('decoder.blocks.*.cross_attn*') records what "
    "they compute, npwhisper.swap replaces them"
)


class Device(str):
    """``"cpu"``, with the attributes of a torch device."""

    type = "cpu"


class TorchModule:
    """The encoder or decoder of a model: a function here, which says so when it is used as a torch module."""

    def __init__(self, function: Any, name: str) -> None:
        self._function, self._name, self.__doc__ = function, name, function.__doc__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"model.{self._name}.{name}: {HOOKS}")


class TorchNames:
    """Names of a torch module, for `npwhisper.Whisper`."""

    weights: Any
    dims: Any

    @property
    def device(self) -> Device:
        """Always ``"cpu"``."""
        return Device("cpu")

    @property
    def dtype(self) -> str:
        """Always ``"float32"``."""
        return "float32"

    def to(self, device: Any = "cpu", *_args: Any, **_kwargs: Any) -> Any:
        """The model itself; a device that is not the CPU is a ValueError."""
        if str(device).startswith(("cuda", "mps", "xpu")):
            raise ValueError(f"npwhisper computes on the CPU, got device {str(device)!r}: use 'cpu'")
        return self

    def eval(self) -> Any:
        """The model itself: it only infers."""
        return self

    def half(self) -> Any:
        """The model itself: everything is computed in float32."""
        return self

    float = cpu = eval

    def cuda(self, *_args: Any) -> Any:
        """Always a ValueError."""
        return self.to("cuda")

    def parameters(self) -> Iterator[Any]:
        """The weights that were learnt, without their names: all but the encoder's sinusoids, a buffer in torch."""
        return (weight for name, weight in self.weights.items() if name != "encoder.positional_embedding")

    def state_dict(self) -> dict[str, Any]:
        """The weights by torch's names."""
        return dict(self.weights)

    def load_state_dict(self, *_args: Any, **_kwargs: Any) -> Any:
        """Always a TypeError: weights are read-only here."""
        raise TypeError("the weights of a model do not change: npwhisper.Whisper(dims, state_dict) makes a new one")

    def set_alignment_heads(self, dump: bytes) -> None:
        """Choose the cross-attention heads that word timestamps are made from, in openai-whisper's base85 form."""
        self.alignment_heads = alignment_heads_from_base85(dump, self.dims.n_text_layer, self.dims.n_text_head)

    def install_kv_cache_hooks(self, *_args: Any) -> Any:
        """Always a TypeError: the cache is a value here, see ``model.start_cache``."""
        raise TypeError(
            f"{HOOKS}; the cache of keys and values is a value: cache = model.start_cache(audio_features), then "
            "model.decoder(tokens, audio_features, cache)"
        )
