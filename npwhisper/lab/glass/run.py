"""A recorded run: a transcription and everything its page shows, packed window by window."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from npwhisper.audio import N_SAMPLES, SAMPLE_RATE, load_audio
from npwhisper.decoding.options import TranscribeOptions
from npwhisper.lab.glass.recording import Recorder, watching
from npwhisper.lab.glass.windows import Packer
from npwhisper.model import Network
from npwhisper.tracing.seam import Activations, Array
from npwhisper.whisper import Whisper, default_model

LOADING = ("channel", "audio_track", "max_duration")  # options of `load_audio`


@dataclass
class Run:
    """A recorded transcription; a notebook displays it as its page.

    Attributes
    ----------
    title, label : str
        The name of the recording, and the name of this run in a comparison.
    result : dict
        What `npwhisper.transcribe` returns.
    windows : list of str
        One packed block for each window (`npwhisper.lab.glass.packing`).
    overview : list of dict
        Start, end, text and words of each window.
    samples : dict
        A sample of every value of the first window, for finding the first difference between two runs.
    """

    title: str
    label: str
    model: dict[str, Any]
    options: dict[str, Any]
    duration: float
    result: dict[str, Any]
    windows: list[str]
    overview: list[dict[str, Any]]
    samples: dict[str, Array]

    def _repr_html_(self) -> str:
        from npwhisper.lab.glass.page import page

        style = "width:100%;height:760px;border:1px solid #8888"
        return f'<iframe sandbox="allow-scripts" style="{style}" srcdoc="{escape(page([self]))}"></iframe>'


def record(
    audio: Any, model: Whisper | None = None, *, title: str | None = None, label: str | None = None, **options: Any
) -> Run:
    """Transcribe a recording and keep everything its page shows.

    Parameters
    ----------
    audio : str, path, file object, bytes or array
        As for `npwhisper.transcribe`.
    model : Whisper, optional
        Default: the embedded model.
    title, label : str, optional
        The name of the recording, and the name of this run in a comparison.
    **options
        As for `npwhisper.transcribe`; word times are on unless ``word_timestamps=False``.

    Returns
    -------
    Run

    Notes
    -----
    Swapped layers are recorded as they run: inside ``with npwhisper.swap(gelu=mine):`` the run is that of your layer.
    """
    model = default_model() if model is None else model
    given = _checked(TranscribeOptions.from_keywords(**{"word_timestamps": True, **options}))
    samples = load_audio(audio, **{name: getattr(given, name) for name in LOADING})
    packer = Packer(model, given, samples, len(samples) / SAMPLE_RATE)
    recorder, segments = Recorder(model, model.tokenizer, packer.finish), packer.segments
    options |= {"word_timestamps": given.word_timestamps, "on_decision": packer.decisions.append}
    options |= dict.fromkeys(LOADING)  # already applied
    with watching(recorder):
        stream = model.iter_segments(samples, **options)
        for segment in stream:
            segments.append(segment)  # one by one: packing a window reads them
        recorder.end()
    title = title or (Path(audio).name if isinstance(audio, (str, Path)) else "recording")
    result = {"text": stream.text, "segments": segments, "language": stream.language}
    return _run(packer, title, label, result)


def _checked(options: TranscribeOptions) -> TranscribeOptions:
    """Reject options that a page cannot show."""
    if options.batch_size is not None and options.batch_size > 1:
        raise ValueError(
            f"a page shows windows decoded one after the other, got batch_size={options.batch_size}: leave it out"
        )
    if options.channels == "separate":
        raise ValueError("a page shows one channel, or all mixed, got channels='separate': select one with channel=")
    return options


def _run(packer: Packer, title: str, label: str | None, result: dict[str, Any]) -> Run:
    """The packed windows as a run; its option ``temperature`` lists the fallback temperatures."""
    options = {**packer.options.identity(), "temperature": packer.options.temperatures()}
    return Run(
        title, label or "this run", describe_model(packer.model), options,
        packer.duration, result, packer.blocks, packer.overview, packer.first,
    )  # fmt: skip


def replay(
    acts: Activations,
    model: Whisper,
    audio: Any = None,
    *,
    title: str = "trace",
    label: str | None = None,
    **options: Any,
) -> Run:
    """Build a run from a trace; it has no decision log.

    Parameters
    ----------
    acts : Activations
        Recorded by ``npwhisper.trace()`` without patterns, around `transcribe` or `decode`.
    model : Whisper
        The model that was traced.
    audio : optional
        The recording, so that the page can play it.
    **options
        The options of the traced run.
    """
    given = TranscribeOptions.from_keywords(**options)
    samples = None if audio is None else load_audio(audio)
    packer = Packer(model, given, samples, (N_SAMPLES if samples is None else len(samples)) / SAMPLE_RATE)
    recorder = Recorder(model, model.tokenizer, packer.finish)
    for name, value in acts.records:
        recorder.add(name, value)
    recorder.end()
    if not packer.blocks:
        raise ValueError("the trace holds no window: record everything (`trace()` without patterns) around transcribe")
    return _run(packer, title, label, {})


def describe_model(model: Network) -> dict[str, Any]:
    """The dimensions, the alignment heads and the number of parameters."""
    count = sum(int(np.prod(w.shape)) for w in model.weights.values())
    heads = [list(pair) for pair in model.alignment_heads]
    return {"dims": dict(vars(model.dims)), "alignment_heads": heads, "parameters": count}
