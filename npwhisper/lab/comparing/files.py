"""Recorded values as ``.npz`` files, and in every form that `compare` takes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from npwhisper.tracing.seam import Activations, Array

Source: TypeAlias = Activations | Mapping[str, Array | Sequence[Array]] | str | os.PathLike[str]
"""Recorded values: from `trace` or `capture_torch`, a mapping from names, or a file of `save_activations`."""


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
        return activations({key: arrays[key] for key in arrays})


def activations(source: Source) -> Activations:
    """Recorded values of any form as `Activations`."""
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
