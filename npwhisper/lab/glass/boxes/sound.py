"""The boxes of the sound: one frequency of a frame, one mel filter, one number of the log-mel spectrogram."""

from __future__ import annotations

import numpy as np

from npwhisper.audio import HOP_LENGTH, N_FFT, SAMPLE_RATE, mel_filters
from npwhisper.audio.mel import hann, mel_edges
from npwhisper.lab.glass.boxes.layers import Boxes
from npwhisper.tracing.seam import Array

BIN = 10  # the frequency bin and the mel bin of the examples


def sound_boxes(boxes: Boxes, samples: Array | None, start: float) -> None:
    """The boxes from the samples to the spectrogram of a window that starts at `start` s.

    The power spectrum was recorded for the first 30 seconds only; later windows have only the filter.
    """
    _filter(boxes)
    power, place = boxes.window.power, 2 * boxes.at + round(start * SAMPLE_RATE / HOP_LENGTH)  # in the recording
    if power is None or place >= power.shape[1]:
        return
    _mel(boxes, power[:, place])
    first = HOP_LENGTH * place - N_FFT // 2
    if samples is not None and first >= 0 and first + N_FFT <= len(samples):
        cell = boxes.cells.power(samples[first : first + N_FFT] * hann(), BIN, power[BIN, place])
        shape = [len(power), boxes.window.mel.shape[1]]
        boxes.add("stft", "stft", shape, cell, f"frequency {BIN}, frame {place}")


def _filter(boxes: Boxes) -> None:
    """The largest weight of a mel filter."""
    n_mels = len(boxes.window.mel)
    filters, edges = mel_filters(n_mels), mel_edges(n_mels)
    best = int(filters[BIN].argmax())
    cell = boxes.cells.triangle(edges[BIN : BIN + 3], best, float(filters[BIN, best]))
    boxes.add("mel_filters", "mel_filters", list(filters.shape), cell, f"bin {BIN}, frequency {best}")


def _mel(boxes: Boxes, power: Array) -> None:
    """A mel filter times the power (201,) of a frame, on the scaled log axis."""
    mel, frame = boxes.window.mel, 2 * boxes.at
    cell = boxes.cells.dot(mel_filters(len(mel))[BIN], power, 0.0, ("filter", "power"))
    log = float(np.log10(max(cell["sum"], 1e-10)))
    cell |= {"kind": "mel", "recorded": float(mel[BIN, frame]), "log": log, "result": (log + 4.0) / 4.0}
    for name in ("mel", "compress"):
        boxes.add(name, "compress", list(mel.shape), cell, f"bin {BIN}, frame {frame}")
