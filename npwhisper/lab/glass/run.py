"""One recorded run: a transcription with everything that a page shows of it, packed window by window."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from npwhisper.audio import HOP_LENGTH, N_SAMPLES, SAMPLE_RATE, TOKENS_PER_SECOND, load_audio
from npwhisper.audio.wav import wav_bytes
from npwhisper.decoding import DecodingTask
from npwhisper.decoding.options import TranscribeOptions
from npwhisper.lab.glass import hearing, lens, words
from npwhisper.lab.glass.boxes import Boxes
from npwhisper.lab.glass.masks import normalised, worked
from npwhisper.lab.glass.packing import levels, pack
from npwhisper.lab.glass.recording import RULES, Recorder, Window, watching
from npwhisper.lab.glass.searching import (
    Found,
    follow_beams,
    follow_rows,
    logprob_of,
    mean_logprob,
    running_sums,
    scored,
)
from npwhisper.lab.glass.why import reasons, rule_reasons
from npwhisper.model import Network
from npwhisper.tokenizer import get_tokenizer
from npwhisper.tracing.seam import Activations, Array
from npwhisper.whisper import Whisper

ATTENTION_BYTES = 4_000_000  # for the cross-attention of all steps of a window
OUTLINE = 1200  # columns of the waveform of a window


@dataclass
class Run:
    """A recorded transcription; a notebook shows it as its page.

    Attributes
    ----------
    title, label : str
        What was transcribed, and how the run is called beside another.
    result : dict
        What `npwhisper.transcribe` returns.
    windows : list of str
        One packed block for each window (`npwhisper.lab.glass.packing`).
    overview : list of dict
        For each window its times and its text.
    samples : dict
        A few numbers of every value of the first window, to find the first difference between two runs.
    """

    title: str
    label: str
    model: dict[str, Any]
    options: dict[str, Any]
    duration: float = 0.0
    result: dict[str, Any] = field(default_factory=dict)
    windows: list[str] = field(default_factory=list)
    overview: list[dict[str, Any]] = field(default_factory=list)
    samples: dict[str, Array] = field(default_factory=dict)

    def _repr_html_(self) -> str:
        from html import escape

        from npwhisper.lab.glass.page import page

        style = "width:100%;height:760px;border:1px solid #8888"
        return f'<iframe sandbox="allow-scripts" style="{style}" srcdoc="{escape(page([self]))}"></iframe>'


class Packing:
    """Turns the windows of a recorder into packed blocks as they are finished."""

    def __init__(self, run: Run, model: Network, options: TranscribeOptions, samples: Array | None) -> None:
        self.run, self.model, self.options, self.samples = run, model, options, samples
        self.segments: list[dict[str, Any]] = []
        self.decisions: list[Any] = []
        self.embeddings = np.asarray(model.weights["decoder.token_embedding.weight"])

    def finish(self, window: Window) -> None:
        """Pack one window; its segments and its decision are the last ones."""
        decision = self.decisions[-1] if self.decisions else None
        start = decision.start if decision else 0.0
        end = decision.end if decision else min(self.run.duration or 30.0, 30.0)
        mine = [s for s in self.segments if s["seek"] == round(start * SAMPLE_RATE / HOP_LENGTH)]
        meta: dict[str, Any] = {"start": start, "end": end, "decision": _plain(decision), "segments": _plain(mine)}
        arrays: dict[str, Array] = {}
        for part in (self._sound, self._hearing, self._decoding, self._words):
            part(meta, arrays, window)
        self.run.windows.append(pack(meta, arrays))
        text = "".join(s["text"] for s in mine)
        self.run.overview.append({"start": start, "end": end, "text": text, "words": meta["words"]})
        if not self.run.samples:
            self.run.samples = window.samples

    def _sound(self, meta: dict[str, Any], arrays: dict[str, Array], window: Window) -> None:
        mel = window.mel
        low, high = float(mel.min()), float(mel.max())
        n_audio = round((meta["end"] - meta["start"]) * SAMPLE_RATE / HOP_LENGTH)
        arrays["mel"] = levels(mel[:, :n_audio] - low, max(high - low, 1e-12))
        meta["mel"] = {"low": low, "high": high, "frames": n_audio}
        if self.samples is None:
            return
        first, last = (round(meta[key] * SAMPLE_RATE) for key in ("start", "end"))
        piece = self.samples[first:last]
        arrays["sound"] = np.frombuffer(_encoded(piece), np.uint8)
        bins = np.array_split(np.abs(piece), min(OUTLINE, max(1, len(piece))))
        loud = np.array([part.max() if len(part) else 0.0 for part in bins], np.float32)
        arrays["outline"] = levels(loud, float(loud.max()) or 1.0)

    def _hearing(self, meta: dict[str, Any], arrays: dict[str, Array], window: Window) -> None:
        meta["pictures"] = []
        for i, (name, image, largest) in enumerate(window.pictures):
            arrays[f"picture/{i}"] = image
            meta["pictures"].append({"name": name, "largest": largest})
        arrays["encoder/norms"] = np.stack(window.norms)
        maps = np.stack(window.maps)
        largest = maps.max(axis=(-1, -2))
        arrays["encoder/maps"] = levels(maps, largest[..., None, None])
        arrays["encoder/largest"] = largest.astype(np.float32)
        for i, peaks in enumerate(window.peaks):
            for key in ("counts", "keys", "values"):
                arrays[f"peaks/{i}/{key}"] = peaks[key]
        meta["peaks"] = [{k: p[k] for k in ("threshold", "largest")} for p in window.peaks]

    def _decoding(self, meta: dict[str, Any], arrays: dict[str, Array], window: Window) -> None:
        if not window.attempts:
            return
        decision, attempt = self.decisions[-1] if self.decisions else None, window.attempts[-1]
        temperature = decision.attempts[-1].temperature if decision else 0.0
        task = self._task(decision.language if decision else "en", temperature)
        found, options = self._follow(attempt.steps, task), task.options
        steps = attempt.steps[: len(found.tokens)]
        chosen = np.array(found.tokens)
        n_layers = self.model.dims.n_text_layer
        recorded = decision.attempts[-1].avg_logprob if decision else None
        meta["search"] = _search_meta(found, options) | {
            "scores": _plain(scored(found, options.length_penalty)),
            "mean": _plain(mean_logprob(found, recorded)),
        }
        meta["no_speech"] = attempt.no_speech
        meta["n_attempts"] = window.n_attempts
        meta["steps"] = [self._step(i, steps, found, task) for i in range(len(steps))]
        for step, cell in zip(meta["steps"], running_sums([s["logprob"] for s in meta["steps"]]), strict=True):
            step["sum"] = cell
        rows = list(zip(steps, found.rows, strict=True))
        parts = np.stack([step.parts[b] for step, b in rows])
        arrays["residual"] = hearing.norms(np.cumsum(parts, axis=1))
        arrays["parts"] = hearing.norms(parts)
        ends = [step.candidates[b] for step, b in rows]
        arrays |= lens.logit_lens(self.model, parts, self.embeddings, chosen, ends)
        self._candidates(arrays, steps, found, parts)
        _attention(meta, arrays, rows, n_layers)
        boxes = Boxes(self.model, window, found.rows)
        boxes.sound(self.samples, meta["start"])
        boxes.encoder()
        boxes.decoder(attempt)
        boxes.timing()
        meta["boxes"] = boxes.boxes
        arrays |= boxes.cells.arrays
        meta["labels"] = self._labels(meta, arrays)

    def _task(self, language: str, temperature: float) -> DecodingTask:
        """How the window was decoded, as far as rules and search are concerned."""
        options = self.options.for_temperature(temperature)
        return DecodingTask(self.model, replace(options, language=language))

    def _follow(self, steps: Sequence[Any], task: DecodingTask) -> Found:
        options, eot = task.options, task.tokenizer.eot
        if options.beam_size is not None:
            return follow_beams(steps, eot, options.beam_size, options.patience or 1.0, options.length_penalty)
        room = min(task.sample_len, self.model.dims.n_text_ctx - steps[0].fed.shape[1] + 1)
        is_cut = len(steps) >= room or options.temperature == 0  # greedily the likeliest token was taken, end or not
        return follow_rows(steps, eot, is_cut, options.length_penalty)

    def _step(self, i: int, steps: Sequence[Any], found: Found, task: DecodingTask) -> dict[str, Any]:
        """What one step tells in words and numbers."""
        step, row, token = steps[i], found.rows[i], found.tokens[i]
        candidates = step.candidates[row]
        sampled = [*task.prefix, *found.tokens[:i]]
        why = reasons(RULES, candidates, sampled, task.context, self.model.dims.n_vocab)
        forbidden = -np.diff(candidates.allowed[: len(RULES) + 1])
        return {
            "fed": step.fed[row].tolist(),
            "length": step.length,
            "rows": len(step.fed),
            "row": row,
            "chosen": token,
            "logprob": max(logprob_of(candidates, token), -1e9),
            "forbidden": forbidden.tolist(),
            "why": why,
            "reasons": rule_reasons(forbidden.tolist(), why, sampled, task.context, self.model.dims.n_vocab),
            "worked": _plain(worked(candidates.masked, sampled, task.context, self.model.dims.n_vocab)),
            "normalised": _plain(normalised(candidates.masked)),
        }

    def _candidates(self, arrays: dict[str, Array], steps: Sequence[Any], found: Found, parts: Array) -> None:
        """The candidates of all steps, one after the other; `candidate/at` tells where each step begins."""
        chosen = [step.candidates[b] for step, b in zip(steps, found.rows, strict=True)]
        arrays["candidate/ids"] = np.concatenate([c.ids for c in chosen]).astype(np.int32)
        arrays["candidate/logprobs"] = np.concatenate([c.logprobs.T for c in chosen]).astype(np.float32)
        arrays["candidate/at"] = np.cumsum([0, *(len(c.ids) for c in chosen)]).astype(np.int32)
        shares = [
            lens.contributions(self.model, p, self.embeddings, token, c.ids)
            for p, token, c in zip(parts, found.tokens, chosen, strict=True)
        ]
        arrays["candidate/shares"] = np.concatenate(shares)

    def _words(self, meta: dict[str, Any], arrays: dict[str, Array], window: Window) -> None:
        language = meta["decision"]["language"] if meta["decision"] else "en"
        model = self.model
        tokenizer = get_tokenizer(
            model.is_multilingual, num_languages=model.num_languages, language=language, task="transcribe"
        )
        raw = words.raw_words(window, tokenizer, TOKENS_PER_SECOND)
        offset = meta["start"]
        final = [w for s in meta["segments"] for w in s.get("words", [])]
        if not final and not meta["segments"]:
            final = [w | {"start": offset + w["start"], "end": offset + w["end"]} for w in raw]
        meta["words"] = words.join_words(raw, final)
        if "boxes" in meta:
            meta["boxes"] |= words.time_box(meta["words"], offset, window) | words.split_box(
                meta["segments"], tokenizer
            )
        meta["timing"], stages = words.stages(window)
        arrays |= stages
        if "labels" in meta and meta["timing"]:
            meta["labels"] |= {str(t): self._label(t) for t in meta["timing"]["tokens"]}

    def _labels(self, meta: dict[str, Any], arrays: dict[str, Array]) -> dict[str, str]:
        """The texts of all tokens that the window names."""
        ids = {*arrays["candidate/ids"].tolist(), *np.unique(arrays["lens/ids"]).tolist()}
        for step in meta["steps"]:
            ids |= {*step["fed"], step["chosen"]}
            ids |= {cell["token"] for cell in (*step["worked"], step["normalised"])}
            race = step["worked"][-1].get("race", {})
            ids |= {race[key] for key in ("stamp", "rival") if race.get(key) is not None}
        ids |= {node[2] for node in meta["search"]["nodes"]}
        ids |= {token for text, _ in meta["search"]["hypotheses"] for token in text}
        return {str(i): self._label(i) for i in sorted(ids)}

    def _label(self, token: int) -> str:
        tokenizer = get_tokenizer(self.model.is_multilingual, num_languages=self.model.num_languages)
        return tokenizer.decode_with_timestamps([token])


def _attention(meta: dict[str, Any], arrays: dict[str, Array], rows: Sequence[Any], n_layers: int) -> None:
    """Cross- and self-attention of the chosen rows; positions are pooled where there are too many heads."""
    cross = np.stack([step.cross[b] for step, b in rows])
    per_cell = -(-cross.size // ATTENTION_BYTES)
    meta["positions_per_column"] = per_cell
    if per_cell > 1:
        cross = np.maximum.reduceat(cross, np.arange(0, cross.shape[-1], per_cell), axis=-1)
    arrays["cross/levels"] = cross
    arrays["cross/max"] = np.stack([step.cross_max[b] for step, b in rows]).astype(np.float32)
    arrays["cross/at"] = np.stack([step.cross_at[b] for step, b in rows])
    arrays["self/levels"] = np.concatenate([step.own[b].ravel() for step, b in rows])
    arrays["self/max"] = np.stack([step.own_max[b] for step, b in rows]).astype(np.float32)
    meta["follows"] = _follows(arrays["cross/at"])


def _follows(at: Array) -> list[list[float]]:
    """How far the places of the largest attention go along with the steps: Pearson's r of every head, (N, L, H)."""
    steps = np.arange(len(at), dtype=np.float64)[:, None, None] - (len(at) - 1) / 2
    places = at - at.mean(axis=0, dtype=np.float64)
    size = np.sqrt((steps**2).sum() * (places**2).sum(axis=0))
    r = (steps * places).sum(axis=0) / np.where(size > 0, size, 1.0)
    return [[round(float(x), 4) for x in row] for row in r]


def _search_meta(found: Found, options: Any) -> dict[str, Any]:
    kind = "beam search" if options.beam_size else "greedy" if options.temperature == 0 else "sampling"
    nodes = [[n.step, n.parent, n.token, n.logprob, n.total, n.fate] for n in found.nodes if np.isfinite(n.total)]
    hypotheses = [[text, max(total, -1e9)] for text, total in found.hypotheses]
    return {
        "kind": kind, "beam_size": options.beam_size, "patience": options.patience, "best_of": options.best_of,
        "temperature": float(options.temperature), "nodes": nodes, "best": found.best, "hypotheses": hypotheses,
    }  # fmt: skip


def _encoded(samples: Array) -> bytes:
    """The sound in 16 bits, which browsers play: FLAC, or WAV where there is no libsndfile."""
    samples, file = np.clip(samples, -1, 1), io.BytesIO()
    try:
        import soundfile
    except ModuleNotFoundError:  # in a browser
        return wav_bytes(samples)
    soundfile.write(file, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def _plain(value: Any) -> Any:
    """Numbers, texts, lists and dicts for JSON; what is not finite becomes None."""
    if hasattr(value, "_asdict"):
        return _plain(value._asdict())
    if hasattr(value, "__dataclass_fields__"):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (bool, int, str)) or value is None:
        return value
    if isinstance(value, (float, np.floating, np.integer)):
        return float(value) if np.isfinite(value) else None
    return str(value)


def _options(options: TranscribeOptions) -> dict[str, Any]:
    """The options of a run; its temperatures are those to try."""
    return _plain({**options.identity(), "temperature": options.temperatures()})


def describe_model(model: Network) -> dict[str, Any]:
    """The dimensions, the alignment heads and the number of weights."""
    count = sum(int(np.prod(w.shape)) for w in model.weights.values())
    heads = [list(pair) for pair in model.alignment_heads]
    return {"dims": dict(vars(model.dims)), "alignment_heads": heads, "parameters": count}


def record(
    audio: Any, model: Whisper | None = None, *, title: str | None = None, label: str | None = None, **options: Any
) -> Run:
    """Transcribe a recording and keep what its page shows.

    Parameters
    ----------
    audio : str, path, file object, bytes or array
        What `npwhisper.transcribe` takes.
    model : Whisper, optional
        By default the embedded model.
    title, label : str, optional
        What the page calls the recording, and this run beside another.
    **options
        Those of `npwhisper.transcribe`; word times are on unless ``word_timestamps=False``.

    Returns
    -------
    Run

    Notes
    -----
    Layers that are swapped while this runs are recorded as they are then: inside ``with npwhisper.swap(gelu=mine):``
    it is the run of a student's layer.
    """
    from npwhisper.whisper import default_model

    model = default_model() if model is None else model
    given = TranscribeOptions.from_keywords(**{"word_timestamps": True, **options})
    if given.batch_size is not None and given.batch_size > 1:
        raise ValueError(
            f"a page shows windows that are decoded one after the other, got batch_size={given.batch_size}"
        )
    if given.channels == "separate":
        raise ValueError("a page shows one channel, or all mixed, got channels='separate': choose one with channel=")
    title = title or (Path(audio).name if isinstance(audio, (str, Path)) else "recording")
    chosen: dict[str, Any] = {name: getattr(given, name) for name in ("channel", "audio_track", "max_duration")}
    samples, options = load_audio(audio, **chosen), {**options, **dict.fromkeys(chosen)}
    run = Run(title, label or "this run", describe_model(model), _options(given), len(samples) / SAMPLE_RATE)
    packing = Packing(run, model, given, samples)
    recorder = Recorder(model, model.tokenizer, packing.finish)
    given_too = {"word_timestamps": True, **options, "on_decision": packing.decisions.append}
    with watching(recorder):
        stream = model.iter_segments(samples, **given_too)
        for segment in stream:
            packing.segments.append(segment)
        recorder.end()
    run.result = {"text": stream.text, "segments": packing.segments, "language": stream.language}
    return run


def replay(
    acts: Activations,
    model: Whisper,
    audio: Any = None,
    *,
    title: str = "trace",
    label: str | None = None,
    **options: Any,
) -> Run:
    """The run that a trace holds: everything that its values tell, without a decision log.

    Parameters
    ----------
    acts : Activations
        Recorded by ``npwhisper.trace()`` without patterns, around `transcribe` or `decode`.
    model : Whisper
        The one that ran.
    audio : optional
        The recording, for the player.
    **options
        As given to that run.
    """
    given = TranscribeOptions.from_keywords(**options)
    samples = None if audio is None else load_audio(audio)
    seconds = N_SAMPLES / SAMPLE_RATE if samples is None else len(samples) / SAMPLE_RATE
    run = Run(title, label or "this run", describe_model(model), _options(given), seconds)
    packing = Packing(run, model, given, samples)
    recorder = Recorder(model, model.tokenizer, packing.finish)
    for name, value in acts.records:
        recorder.see(name, value)
    recorder.end()
    if not run.windows:
        raise ValueError("the trace holds no window: record everything (`trace()` without patterns) around transcribe")
    return run
