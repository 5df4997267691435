"""The glass box: one HTML file in which a whole transcription can be seen, stepped through and understood.

The way of the numbers: `recording` watches a run and keeps what is shown, `run` packs it window by window, `page`
writes the file, and the modules in ``web/`` draw it. Python decides what is recorded; the page only shows.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from npwhisper.checkpoint.replacing import replacing
from npwhisper.checkpoint.weights import EMBEDDED
from npwhisper.lab.glass.page import page, pieces
from npwhisper.lab.glass.run import Run, record, replay
from npwhisper.tracing.seam import Activations
from npwhisper.whisper import Whisper, default_model, load_model

__all__ = ["Run", "glass", "page", "record", "replay"]


def glass(
    source: Any,
    path: str | os.PathLike[str],
    model: Whisper | str | os.PathLike[str] | None = None,
    *,
    against: Run | Whisper | str | os.PathLike[str] | None = None,
    audio: Any = None,
    title: str | None = None,
    **options: Any,
) -> Run:
    """Write a page in which a transcription can be seen: one HTML file of the real numbers, to be opened from the disk.

    Parameters
    ----------
    source : path, bytes, array, Run or Activations
        A recording, which is transcribed; a `Run` that `npwhisper.lab.glass.record` returned; or what
        ``npwhisper.trace()`` recorded of a run of `model`.
    path : str or path
        The file to write.
    model : Whisper, or a name or path for `load_model`, optional
        By default the embedded model.
    against : Run, or a model like `model`, optional
        A second run, shown beside the first.
    audio : optional
        For a trace: its recording, so that the page can play it.
    title : str, optional
        By default the name of the recording.
    **options
        Those of `npwhisper.transcribe`; word times are on unless ``word_timestamps=False``.

    Returns
    -------
    Run
        What the page shows; its ``result`` is what `transcribe` returns. A notebook shows it as the page itself.

    Raises
    ------
    FileNotFoundError, AudioError, ValueError, TypeError
        As `npwhisper.transcribe`; TypeError for a source that holds no activations, as a transcript.

    Examples
    --------
    >>> import npwhisper, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = npwhisper.glass(npwhisper.example(), folder + "/talk.html")
    >>> len(run.windows)
    1

    Two runs side by side, the second with your own layer::

        mine = record("talk.flac", model, label="my softmax")   # inside `with npwhisper.swap(softmax=mine):`
        npwhisper.glass("talk.flac", "talk.html", model, against=mine)
    """
    runs = [_run(source, model, audio=audio, title=title, **options)]
    if against is not None:
        runs.append(_second(source, against, runs[0], options))
    with replacing(path) as file:
        file.writelines(piece.encode("utf-8") for piece in pieces(runs))
    return runs[0]


def _run(source: Any, model: Any, *, audio: Any, title: str | None, **options: Any) -> Run:
    """The run of a source, which is transcribed unless that was done already."""
    if isinstance(source, Run):
        return source
    if isinstance(source, dict):
        raise TypeError("a transcript holds no activations: pass the recording itself, or what `record` returned")
    handle = _model(model)
    label = _name(model)
    if isinstance(source, Activations):
        return replay(source, handle, audio, title=title or "trace", label=label, **options)
    return record(source, handle, title=title, label=label, **options)


def _second(source: Any, against: Any, first: Run, options: dict[str, Any]) -> Run:
    """The run to compare with; a model transcribes the same recording."""
    if isinstance(against, Run):
        run = against
    elif isinstance(source, (Run, Activations)):
        raise TypeError("a second model needs the recording: pass it as the source, or pass two runs")
    else:
        label = _name(against)
        run = record(source, _model(against), title=first.title, label=label, **options)
    if run.label == first.label:
        run.label = f"{run.label} (second)"
    return run


def _name(model: Any) -> str:
    """What a page calls a model."""
    if isinstance(model, Whisper):
        return f"{model.dims.n_audio_layer} + {model.dims.n_text_layer} blocks of {model.dims.n_text_state}"
    return EMBEDDED if model is None else (Path(model).stem if Path(model).exists() else str(model))


def _model(model: Whisper | str | os.PathLike[str] | None) -> Whisper:
    if isinstance(model, Whisper):
        return model
    return default_model() if model is None else load_model(model)
