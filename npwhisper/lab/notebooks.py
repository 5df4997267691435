"""Shared by the notebooks: a plot style, recordings and small data, an audio player, and the check of an exercise.

Everything ships with the package, so that a notebook runs in an empty folder::

    from npwhisper.lab import notebooks

    notebooks.use_style()
    notebooks.play(notebooks.path("sonnet.flac"))
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from importlib import import_module, resources
from pathlib import Path
from typing import Any

import numpy as np

from npwhisper.tracing.seam import Array

NOT_YET = "Not answered yet: replace `...` by your answer, run that cell, then this one."


def path(name: str) -> str:
    """The path of a file of the notebooks.

    Parameters
    ----------
    name : str

    Returns
    -------
    str

    Raises
    ------
    FileNotFoundError
        If the package has no such file.

    Examples
    --------
    >>> path("sonnet.flac").endswith("sonnet.flac")
    True
    """
    folder = Path(str(resources.files("npwhisper") / "assets" / "notebooks"))
    if not (folder / name).is_file():
        raise FileNotFoundError(
            f"there is no {name!r} for the notebooks, only {sorted(f.name for f in folder.iterdir())}"
        )
    return str(folder / name)


def use_style() -> None:
    """Use the plot style of the notebooks, which is readable on light and dark pages and in print."""
    import matplotlib.pyplot as plt

    plt.style.use(path("notebook.mplstyle"))
    if "inline" in plt.get_backend():
        _keep_transparent(plt)


def _keep_transparent(plt: Any) -> None:
    """Make only the PNG transparent: JupyterLab shows transparent figures of the inline backend on white."""
    plt.rcParams["figure.facecolor"] = "white"
    import_module("matplotlib_inline.backend_inline").set_matplotlib_formats("png", facecolor="none")


class Player:
    """A sound that a notebook displays as a player; made by `play`."""

    def __init__(self, data: bytes, kind: str) -> None:
        self.data, self.kind = data, kind

    def __repr__(self) -> str:
        return f"a sound of {len(self.data) / 1000:.0f} kB ({self.kind})"

    def _repr_html_(self) -> str:
        source = f"data:audio/{self.kind};base64,{base64.b64encode(self.data).decode()}"
        return f'<audio controls src="{source}"></audio>'


def play(sound: str | Array, rate: int = 16000) -> Player:
    """Make an audio player that also works in an untrusted notebook, where JupyterLab removes IPython's.

    Parameters
    ----------
    sound : path or array, shape (samples,)
        Arrays are normalised to full scale.
    rate : int
        Sample rate of an array.

    Returns
    -------
    Player
        Displayed by a notebook.

    Examples
    --------
    >>> play(np.sin(np.arange(16000.0)))._repr_html_()[:43]
    '<audio controls src="data:audio/flac;base64'
    """
    if isinstance(sound, (str, Path)):
        return Player(Path(sound).read_bytes(), Path(sound).suffix[1:])
    loudest = max(float(np.abs(sound).max(initial=0.0)), 1e-9)
    loud = 0.99 * np.asarray(sound) / loudest
    try:
        return Player(_flac(loud, rate), "flac")
    except ModuleNotFoundError:  # soundfile is missing in a browser
        return Player(_wav(loud, rate), "wav")


def _flac(sound: Array, rate: int) -> bytes:
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, sound, rate, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def _wav(sound: Array, rate: int) -> bytes:
    from scipy.io import wavfile

    file = io.BytesIO()
    wavfile.write(file, rate, np.round(32767 * sound).astype(np.int16))
    return file.getvalue()


def exercise(answer: Any, is_right: Callable[[Any], Any], hint: str = "") -> None:
    """Check the answer to an exercise of the notebooks.

    Parameters
    ----------
    answer : object
        ``...``, alone or in a list, means not answered yet.
    is_right : function
        Takes the answer; returns whether it is right.
    hint : str
        Added to the error if the answer is wrong.

    Raises
    ------
    AssertionError
        If the answer is wrong.

    Examples
    --------
    >>> exercise(..., lambda x: x == 4)
    Not answered yet: replace `...` by your answer, run that cell, then this one.
    >>> exercise(2 + 2, lambda x: x == 4)
    Right.
    """
    if answer is ... or (isinstance(answer, (list, tuple)) and any(part is ... for part in answer)):
        print(NOT_YET)
        return
    if not is_right(answer):
        raise AssertionError(f"not right yet. {hint}".strip())
    print("Right.")
