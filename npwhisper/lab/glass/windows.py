"""One window as a block of the page: its recorded values, reduced to metadata and arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from npwhisper.audio import HOP_LENGTH, SAMPLE_RATE
from npwhisper.decoding.options import TranscribeOptions
from npwhisper.lab.glass import sound, words
from npwhisper.lab.glass.boxes import network_boxes, split_box, time_box
from npwhisper.lab.glass.decoded import Decoded, labels
from npwhisper.lab.glass.packing import Part, levels, pack
from npwhisper.lab.glass.recording import Window
from npwhisper.model import Network
from npwhisper.tokenizer import Tokenizer, get_tokenizer
from npwhisper.tracing.seam import Array


class Packer:
    """Packs the windows of a run as they are finished.

    Parameters
    ----------
    model : Network
    options : TranscribeOptions
    samples : array or None
        The recording; None for a trace without audio.
    duration : float
        Duration of the recording in seconds.
    """

    def __init__(self, model: Network, options: TranscribeOptions, samples: Array | None, duration: float) -> None:
        self.model, self.options, self.samples, self.duration = model, options, samples, duration
        self.segments: list[dict[str, Any]] = []  # appended to by the transcription
        self.decisions: list[Any] = []
        self.blocks: list[str] = []
        self.overview: list[dict[str, Any]] = []
        self.first: dict[str, Array] = {}

    def finish(self, window: Window) -> None:
        """Pack a window; its segments and its decision are the most recent ones."""
        decision = self.decisions[-1] if self.decisions else None
        start, end = (decision.start, decision.end) if decision else (0.0, min(self.duration or 30.0, 30.0))
        segments = [s for s in self.segments if s["seek"] == round(start * SAMPLE_RATE / HOP_LENGTH)]
        meta: dict[str, Any] = {"start": start, "end": end, "decision": decision, "segments": segments}
        arrays: dict[str, Array] = {}
        for part in (self._sound, self._encoder, self._words, self._text):
            more, new = part(meta, window)
            meta |= more
            arrays |= new
        self.blocks.append(pack(meta, arrays))
        text = "".join(s["text"] for s in segments)
        self.overview.append({"start": start, "end": end, "text": text, "words": meta["words"]})
        self.first = self.first or window.samples

    def _sound(self, meta: dict[str, Any], window: Window) -> Part:
        about, arrays = sound.spectrogram(window.mel, meta["end"] - meta["start"])
        if self.samples is not None:
            first, last = (round(meta[key] * SAMPLE_RATE) for key in ("start", "end"))
            arrays |= sound.waveform(self.samples[first:last])
        return about, arrays

    def _encoder(self, meta: dict[str, Any], window: Window) -> Part:
        """Features as images, norms of the residual stream, and self-attention: pooled maps and large weights."""
        maps = np.stack(window.maps)
        largest = maps.max(axis=(-1, -2))
        arrays = {f"picture/{i}": image for i, (_, image, _) in enumerate(window.pictures)}
        arrays |= {"encoder/norms": np.stack(window.norms), "encoder/largest": largest.astype(np.float32)}
        arrays["encoder/maps"] = levels(maps, largest[..., None, None])
        for i, peaks in enumerate(window.peaks):
            arrays |= {f"peaks/{i}/{key}": peaks[key] for key in ("counts", "keys", "values")}
        about = [{key: peaks[key] for key in ("threshold", "largest")} for peaks in window.peaks]
        pictures = [{"name": name, "largest": largest} for name, _, largest in window.pictures]
        return {"pictures": pictures, "peaks": about}, arrays

    def _words(self, meta: dict[str, Any], window: Window) -> Part:
        """The final words, and the stages that compute their times."""
        raw = words.raw_words(window, self._tokenizer(meta))
        final = [w for s in meta["segments"] for w in s.get("words", [])]
        if not final and not meta["segments"]:
            offset = meta["start"]
            final = [w | {"start": offset + w["start"], "end": offset + w["end"]} for w in raw]
        timing, arrays = words.stages(window)
        return {"words": words.join_words(raw, final), "timing": timing}, arrays

    def _tokenizer(self, meta: dict[str, Any]) -> Tokenizer:
        language = meta["decision"].language if meta["decision"] else "en"
        model = self.model
        return get_tokenizer(
            model.is_multilingual, num_languages=model.num_languages, language=language, task="transcribe"
        )

    def _text(self, meta: dict[str, Any], window: Window) -> Part:
        """The chosen text step by step, and a worked example of every layer."""
        if not window.attempts:
            return {}, {}
        text = Decoded(self.model, self.options, window, meta["decision"])
        more, arrays = text.part()
        more["labels"] |= labels(self.model, meta["timing"].get("tokens", []))
        boxes, cells = network_boxes(self.model, window, text.found.rows, self.samples, meta["start"])
        boxes |= time_box(meta["words"], meta["start"], window)
        boxes |= split_box(meta["segments"], self._tokenizer(meta))
        return more | {"boxes": boxes}, arrays | cells
