"""Recording what a model of openai-whisper or transformers computes, under npwhisper's names."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeAlias

from npwhisper.checkpoint.names import openai_name
from npwhisper.tracing.seam import Activations, is_chosen

Keep: TypeAlias = Callable[[str, Any], None]  # record a torch tensor under a name

# Modules of transformers that `openai_name`, which knows weights, does not cover; its decoder ends before the logits
WHOLE = {"model": "", "model.decoder": "", "proj_out": "decoder.logits"}
WITHOUT_WEIGHTS = {None: "", "self_attn": ".attn", "encoder_attn": ".cross_attn", "activation_fn": ".mlp.gelu"}
BLOCK = re.compile(r"(encoder|decoder)\.layers\.(\d+)(?:\.(self_attn|encoder_attn|activation_fn))?")


def our_name(torch_name: str) -> str:
    """The name under which `trace` records a module of openai-whisper or transformers; empty if it does not.

    >>> our_name("model.decoder.layers.0.encoder_attn.q_proj"), our_name("encoder.blocks.3.mlp.1")
    ('decoder.blocks.0.cross_attn.query', 'encoder.blocks.3.mlp.gelu')
    """
    if torch_name in WHOLE:
        return WHOLE[torch_name]
    name = openai_name(f"{torch_name.removeprefix('model.')}.weight").removesuffix(".weight")
    if block := BLOCK.fullmatch(name):
        return f"{block[1]}.blocks.{block[2]}{WITHOUT_WEIGHTS[block[3]]}"
    return "" if name.endswith("positional_embedding") else re.sub(r"\bmlp\.1$", "mlp.gelu", name)


@contextmanager
def capture_torch(model: Any, *patterns: str) -> Iterator[Activations]:
    """Record what a torch model computes inside the `with` block, under npwhisper's names.

    Parameters
    ----------
    model : torch.nn.Module
        A ``Whisper`` of openai-whisper or a ``WhisperForConditionalGeneration`` of transformers.
    *patterns : str
        Globs over npwhisper's names, as for `trace`.

    Yields
    ------
    Activations
        What `trace` would give; float32.

    Notes
    -----
    openai-whisper's fused attention, which hides the scores, is switched off inside the block. With transformers,
    softmax is recorded if the model was made with ``attn_implementation="eager"``.

    Examples
    --------
    >>> theirs, ours = whisper.load_model("tiny.en"), npwhisper.load_model("tiny.en")  # doctest: +SKIP
    >>> with capture_torch(theirs) as reference, npwhisper.trace() as acts:  # doctest: +SKIP
    ...     theirs(torch.from_numpy(mel[None]), torch.tensor([[50257, 50362]]))
    ...     ours(mel, [[50257, 50362]])
    >>> print(compare(reference, acts))  # doctest: +SKIP
    """
    acts = Activations()

    def keep(name: str, tensor: Any) -> None:
        if tensor is not None and is_chosen(name, patterns):
            acts.record(name, tensor.detach().float().cpu().numpy().copy())

    modules = dict(model.named_modules())
    with ExitStack() as stack:
        for name, module in modules.items():
            parent = modules.get(name.rpartition(".")[0])
            for handle in _hooks(our_name(name), module, parent, keep, acts):
                stack.callback(handle.remove)
            if hasattr(type(module), "use_sdpa"):
                stack.enter_context(_without_fused_attention(type(module)))
        yield acts


@contextmanager
def _without_fused_attention(kind: Any) -> Iterator[None]:
    """Let openai-whisper's attention compute its scores, which `scaled_dot_product_attention` hides."""
    before, kind.use_sdpa = kind.use_sdpa, False
    try:
        yield
    finally:
        kind.use_sdpa = before


def in_float64(model: Any) -> Any:
    """Copy a torch model to float64, to capture it as the `judge` of `compare`.

    Parameters
    ----------
    model : torch.nn.Module
        A ``Whisper`` of openai-whisper or a ``WhisperForConditionalGeneration`` of transformers.

    Returns
    -------
    torch.nn.Module
        Takes mel spectrograms in float64. openai-whisper's layer norm casts to float32; in the copy it does not.

    Examples
    --------
    >>> with capture_torch(theirs) as reference, capture_torch(in_float64(theirs)) as judge:  # doctest: +SKIP
    ...     ...
    >>> compare(reference, acts, judge=judge)  # doctest: +SKIP
    """
    import torch

    double = copy.deepcopy(model).double()
    for module in double.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.__class__ = torch.nn.LayerNorm
    return double


def _hooks(name: str, module: Any, parent: Any, keep: Keep, acts: Activations) -> Iterator[Any]:
    """Register hooks on a module that `trace` has a name for."""
    if name:
        watch = _Watch(name, parent, keep, acts)
        yield module.register_forward_pre_hook(watch.before)
        yield module.register_forward_hook(watch.after)


class _Watch:
    """Keeps the output of one module, and values computed from it."""

    def __init__(self, name: str, parent: Any, keep: Keep, acts: Activations) -> None:
        self.name, self.parent, self.keep, self.acts = name, parent, keep, acts

    def before(self, module: Any, inputs: Any) -> None:
        """The input of the output projection is the result of attend."""
        self.acts.begin(self.name)
        if self.name.endswith("attn.out"):
            x, n_head = inputs[0], getattr(self.parent, "n_head", None) or self.parent.num_heads
            self.keep(f"{self.name.removesuffix('out')}attend", x.unflatten(-1, (n_head, -1)).transpose(1, 2))

    def after(self, module: Any, inputs: Any, output: Any) -> None:
        """Keep the output; attention also returns its scores or weights."""
        from torch.nn.functional import gelu

        name, extra = self.name, None
        if not hasattr(output, "detach"):
            output, extra = output[0], output[1] if len(output) > 1 else None
        if name.endswith("attn") and extra is not None:
            _keep_weights(name, module, extra, self.keep)
        self.keep(name, output)
        if name.startswith("encoder.conv"):
            self.keep("encoder.gelu", gelu(output))
        if name == "decoder":
            self.keep("decoder.logits", output)


def _keep_weights(name: str, module: Any, extra: Any, keep: Keep) -> None:
    """Keep the second output of attention: weights in transformers, scores in openai-whisper."""
    from torch.nn.functional import softmax

    is_weights = hasattr(module, "num_heads")
    keep(f"{name}.scores", None if is_weights else extra)
    keep(f"{name}.softmax", extra if is_weights else softmax(extra, dim=-1))
