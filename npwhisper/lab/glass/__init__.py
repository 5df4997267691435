"""The glass box: one HTML file that shows a whole transcription, step by step.

Data flow: `recording` observes a run and keeps what the page shows, `windows` packs it window by window, `page` writes
the file, and the modules in ``web/`` draw it. Python decides what is recorded; the page only displays it.
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
    """Write one self-contained HTML file that shows a transcription step by step, with the numbers of the run.

    Parameters
    ----------
    source : path, bytes, array, Run or Activations
        A recording, which is transcribed; a `Run` returned by `npwhisper.lab.glass.record`; or the activations that
        ``npwhisper.trace()`` recorded while `model` ran.
    path : str or path
        The file to write.
    model : Whisper, or a name or path for `load_model`, optional
        Default: the embedded model.
    against : Run or model, optional
        A second run, or a second model to transcribe the same recording with, shown beside the first.
    audio : optional
        For a trace: the recording, so that the page can play it.
    title : str, optional
        Default: the name of the recording.
    **options
        As for `npwhisper.transcribe`; word times are on unless ``word_timestamps=False``.

    Returns
    -------
    Run
        What the page shows; its ``result`` is what `transcribe` returns. In a notebook it is displayed as the page.

    Raises
    ------
    FileNotFoundError, AudioError, ValueError, TypeError
        As for `npwhisper.transcribe`; TypeError if the source holds no activations, such as a transcript.

    Examples
    --------
    >>> import npwhisper, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = npwhisper.glass(npwhisper.example(), folder + "/talk.html")
    >>> len(run.windows)
    1

    Compare with a run that uses your own layer::

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
    """The run of a source; a recording is transcribed."""
    if isinstance(source, Run):
        return source
    if isinstance(source, dict):
        raise TypeError("a transcript holds no activations: pass the recording, or a Run returned by `record`")
    handle = _model(model)
    label = _name(model)
    if isinstance(source, Activations):
        return replay(source, handle, audio, title=title or "trace", label=label, **options)
    return record(source, handle, title=title, label=label, **options)


def _second(source: Any, against: Any, first: Run, options: dict[str, Any]) -> Run:
    """The second run; a model transcribes the same recording."""
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
    """The label of a model's run."""
    if isinstance(model, Whisper):
        return f"{model.dims.n_audio_layer} + {model.dims.n_text_layer} blocks of {model.dims.n_text_state}"
    return EMBEDDED if model is None else (Path(model).stem if Path(model).exists() else str(model))


def _model(model: Whisper | str | os.PathLike[str] | None) -> Whisper:
    if isinstance(model, Whisper):
        return model
    return default_model() if model is None else load_model(model)
