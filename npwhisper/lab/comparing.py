"""Compare npwhisper with torch, layer by layer: which layer is the first to differ?

`trace` records what npwhisper computes, and `capture_torch` what a model of openai-whisper or transformers computes,
under the same names. `compare` walks both in the order of execution; a layer is finished before the block around it, so
the first difference is the innermost.

The names are those of openai-whisper's modules, with one exception: ``mlp.1``, a module without weights, is called
``mlp.gelu`` here. Functions that are not modules in torch are recorded too. From torch, they are captured as input or
output of a module, or computed from one:

    encoder.gelu                          GELU of conv1 and conv2          from their outputs
    attn.split_heads, attn.merge_heads    split and merged heads           not captured
    attn.causal_mask                      mask of later positions          not captured
    attn.scores, attn.softmax             query times key, and weights     second output of attn
    attn.attend                           weighted mean of the values      input of attn.out
    decoder.logits                        the same as decoder              output of decoder
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from npwhisper.checkpoint.names import openai_name
from npwhisper.tracing.seam import Activations, Array, is_chosen
from npwhisper.tracing.tables import html_table, text_table

Source: TypeAlias = Activations | Mapping[str, Array | Sequence[Array]] | str | os.PathLike[str]
"""Recorded values: from `trace` or `capture_torch`, a mapping from names, or a file of `save_activations`."""

Keep: TypeAlias = Callable[[str, Any], None]  # record a torch tensor under a name

TOLERANCE = 1e-4  # relative to the largest value
HEADER = ["layer", "calls", "shape", "largest error", "of the largest", ""]

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


# Capturing


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
                stack.callback(setattr, type(module), "use_sdpa", type(module).use_sdpa)
                type(module).use_sdpa = False
        yield acts


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


def save_activations(acts: Activations, file: str | os.PathLike[str]) -> None:
    """Write recorded values, in order, to an ``.npz`` file that can be read without torch.

    Parameters
    ----------
    acts : Activations
        From `trace` or `capture_torch`.
    file : path or binary file object

    Examples
    --------
    >>> import io
    >>> file, acts = io.BytesIO(), Activations()
    >>> acts.record("mlp", np.ones(2, np.float32))
    >>> save_activations(acts, file)
    >>> _ = file.seek(0)
    >>> load_activations(file)["mlp"]
    array([1., 1.], dtype=float32)
    """
    arrays: dict[str, Any] = {f"{i:06d} {name}": value for i, (name, value) in enumerate(acts.records)}
    np.savez_compressed(file, **arrays)


def load_activations(source: Any) -> Activations:
    """Read a file of `save_activations`, or any ``.npz`` whose arrays have the names of `trace`."""
    with np.load(source) as arrays:
        return _activations({key: arrays[key] for key in arrays})


def _activations(source: Source) -> Activations:
    if isinstance(source, Activations):
        return source
    if not isinstance(source, Mapping):
        return load_activations(source)
    acts = Activations()
    for key, values in source.items():
        name = key.partition(" ")[2] or key
        acts.begin(name)
        for value in [values] if isinstance(values, np.ndarray) else values:
            acts.record(name, np.array(value))
    return acts


# Comparing


class Difference(NamedTuple):
    """One value compared with its reference.

    `call` counts the calls of this name; `error` is relative to the largest value; `unchecked` lists the layers since
    the last equal one that the reference lacks.
    """

    name: str
    call: int
    shape: tuple[int, ...]
    expected_shape: tuple[int, ...]
    largest: float
    error: float
    is_wrong: bool
    unchecked: tuple[str, ...] = ()

    def __str__(self) -> str:
        what = f"the largest error is {self.largest:.2g}, {self.error:.1g} of the largest value"
        if self.shape != self.expected_shape:
            what = f"its shape is {self.shape} instead of {self.expected_shape}"
        suspects = f" (or in {', '.join(self.unchecked)}, which the reference lacks)" if self.unchecked else ""
        return f"the first difference is in {self.name}{suspects}, call {self.call}: {what}"


class Comparison(NamedTuple):
    """The result of `compare`, in the order of execution; true if nothing differs."""

    differences: list[Difference]
    only_in_reference: list[str]

    @property
    def first(self) -> Difference | None:
        """The first value that differs by more than the tolerance."""
        return next((difference for difference in self.differences if difference.is_wrong), None)

    def __bool__(self) -> bool:
        return bool(self.differences) and self.first is None

    def __str__(self) -> str:
        return f"{text_table(HEADER, self._rows())}\n{self._verdict()}"

    def _verdict(self) -> str:
        if not self.differences:
            return "nothing was compared: no name appears in both"
        return str(self.first or f"all {len(self.differences)} values are equal within the tolerance")

    def _rows(self) -> list[list[str]]:
        """One row per name: the worst of its calls."""
        by_name: dict[str, list[Difference]] = {}
        for difference in self.differences:
            by_name.setdefault(difference.name, []).append(difference)
        return [_row(name, calls, self.first) for name, calls in by_name.items()]

    def _repr_html_(self) -> str:
        return html_table(HEADER, self._rows(), self._verdict())


def _row(name: str, calls: list[Difference], first: Difference | None) -> list[str]:
    worst = max(calls, key=lambda difference: (difference.is_wrong, difference.error))
    mark = "equal" if not worst.is_wrong else "first difference" if first and first.name == name else "differs"
    return [name, str(len(calls)), str(worst.shape), f"{worst.largest:.1e}", f"{worst.error:.1e}", mark]


def compare(
    reference: Source, acts: Source, tolerance: float = TOLERANCE, *, judge: Source | None = None
) -> Comparison:
    """Compare two sets of recorded values, in the order in which the second was computed.

    Parameters
    ----------
    reference, acts : Activations, mapping of names to arrays (or lists of them), or path of an ``.npz`` file
        The expected values, and the values to check.
    tolerance : float
        The error allowed, relative to the largest value of the reference.
    judge : as `reference`, optional
        The reference's network in float64 (`in_float64`). A value that differs from the reference by more than the
        tolerance counts as rounding, and as equal, if it is within the tolerance of the judge's value, or if its error
        is less than eight times that of the reference.

    Returns
    -------
    Comparison
        True if nothing differs. Prints as a table; its ``first`` is the first difference.

    Notes
    -----
    Scores that the reference has masked (-inf) are not compared. `decode` computes logits only where it needs them,
    so that in its first step the shapes of ``decoder.ln`` and ``decoder`` differ from torch's.

    Rounding grows in some recordings: with `base`, right code exceeded 1e-4 in 14 of 200 beside torch's float32, by up
    to 6.2e-4, and was at most 4.9 times as far from float64 as torch is where it was farther than 1e-4. So the judge
    calls none of them wrong (``tests/benchmarks/rounding.py``). Without one, ``tolerance=1e-3`` lets rounding pass,
    and with it the smallest mistakes: another `eps`, or the tanh approximation of GELU.

    Examples
    --------
    >>> ones = np.ones(3, np.float32)
    >>> print(compare({"a": ones, "b": ones}, {"a": ones, "b": 2 * ones}))
    layer  calls  shape  largest error  of the largest
    a          1   (3,)        0.0e+00         0.0e+00             equal
    b          1   (3,)        1.0e+00         1.0e+00  first difference
    the first difference is in b, call 0: the largest error is 1, 1 of the largest value
    """
    expected, found = _activations(reference), _activations(acts)
    exact = _activations({} if judge is None else judge)
    differences: list[Difference] = []
    unchecked: list[str] = []
    for name, call, value in _calls(found):
        wanted, true = _value(expected, name, call), _value(exact, name, call)
        if wanted is None:
            unchecked.append(name)
            continue
        difference = _difference(name, call, value, wanted, tolerance)
        if difference.is_wrong and true is not None:
            difference = difference._replace(is_wrong=not _is_rounding(name, value, wanted, true, tolerance))
        differences.append(difference._replace(unchecked=tuple(dict.fromkeys(unchecked))))
        unchecked = unchecked if difference.is_wrong else []
    return Comparison(differences, [name for name in expected if name not in found])


def _calls(acts: Activations) -> Iterator[tuple[str, int, Array]]:
    """Yield every record with the number of its call; the first value of a name is call 0."""
    counts: dict[str, int] = {}
    for name, value in acts.records:
        counts[name] = counts.get(name, -1) + 1
        yield name, counts[name], value


def _value(acts: Activations, name: str, call: int) -> Array | None:
    return acts.all(name)[call] if name in acts and call < len(acts.all(name)) else None


def first_difference(reference: Source, acts: Source, tolerance: float = TOLERANCE) -> Difference | None:
    """Find the first value that differs from its reference.

    Parameters
    ----------
    reference, acts, tolerance
        As for `compare`.

    Returns
    -------
    Difference or None
        None if nothing differs.

    Examples
    --------
    >>> print(first_difference({"mlp": np.zeros(2)}, {"mlp": np.zeros(3)}))
    the first difference is in mlp, call 0: its shape is (3,) instead of (2,)
    """
    return compare(reference, acts, tolerance).first


def _is_rounding(name: str, value: Array, expected: Array, exact: Array, tolerance: float) -> bool:
    """Whether a value is within the tolerance of the exact one, or within eight times the reference's error."""
    mine, theirs = (_difference(name, 0, x, exact, tolerance).error for x in (value, expected))
    return value.shape == expected.shape == exact.shape and np.isfinite(mine) and mine <= max(tolerance, 8.0 * theirs)


def _difference(name: str, call: int, value: Array, expected: Array, tolerance: float) -> Difference:
    if value.shape != expected.shape:
        return Difference(name, call, value.shape, expected.shape, np.inf, np.inf, True)
    seen = expected != -np.inf if name.endswith("scores") else np.ones(expected.shape, dtype=bool)
    with np.errstate(invalid="ignore"):
        apart = np.where((value == expected) | (np.isnan(value) & np.isnan(expected)), 0.0, np.abs(value - expected))
    largest = float(np.nan_to_num(apart[seen], nan=np.inf).max(initial=0.0))
    scale = float(np.abs(expected[np.isfinite(expected)]).max(initial=0.0))
    error = largest / scale if scale else largest
    return Difference(name, call, value.shape, expected.shape, largest, error, not error <= tolerance)
