"""What reads strangers' bytes: each target reads them as a whole program would, or raises the error it promises."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import cases
import numpy as np
from checkpoint_files import DIMS
from talkers import MULTILINGUAL, talker

from npwhisper.audio import AudioError, load_audio
from npwhisper.audio.plain import plain_blocks
from npwhisper.checkpoint import CheckpointError, read_checkpoint, to_float32
from npwhisper.checkpoint.weights import check_weights
from npwhisper.lab.grading.wire import WireError, unpack
from npwhisper.model import ModelDimensions
from npwhisper.transcription.journal import JournalError

SMALL = {**DIMS, "n_audio_state": 4, "n_text_state": 4, "n_audio_layer": 1, "n_text_layer": 1, "n_mels": 2}
SOUND = 0.1 * cases.random_array("a recording", 35 * 16000)
Target = Callable[[bytes], object]


def open_whole(path: Path) -> None:
    """All that happens between a file's name and a usable model."""
    checkpoint = read_checkpoint(path)
    check_weights(checkpoint.weights, ModelDimensions(**checkpoint.dims))
    for name, array in checkpoint.weights.items():
        assert np.isfinite(to_float32(array, name)).all(), name


def in_a_file(name: str, read: Callable[[Path], object], **others: object) -> Target:
    """A target that writes the bytes to a file, with others beside it, and reads the file or its folder."""

    def target(data: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, name)
            path.write_bytes(data)
            for other, content in others.items():
                Path(folder, other.replace("_json", ".json")).write_text(json.dumps(content))
            read(path if not others else path.parent)

    return target


def checked(sound: object) -> None:
    assert isinstance(sound, np.ndarray)
    assert sound.dtype == np.float32
    assert np.isfinite(sound).all()


def resumed(path: Path) -> None:
    """Open a journal and take the next window from it or from the network."""
    options = {"sample_len": 4, "temperature": 0.0, "language": "en"}
    stream = talker(MULTILINGUAL).iter_segments(SOUND, journal=path, resume=True, **options)
    next(stream, None)
    stream.close()


TARGETS: dict[str, tuple[Target, type[Exception]]] = {
    "checkpoint": (in_a_file("model", open_whole), CheckpointError),
    "ctranslate2": (in_a_file("model.bin", open_whole, config_json={"alignment_heads": [[0, 0]]}), CheckpointError),
    "mlx": (in_a_file("weights.npz", open_whole, config_json=SMALL), CheckpointError),
    "recording": (lambda data: checked(load_audio(data)), AudioError),
    "plain": (lambda data: checked(np.concatenate(list(plain_blocks(data, 16000)))), AudioError),
    "journal": (in_a_file("talk.journal", resumed), JournalError),
    "wire": (unpack, WireError),
}
CORPORA = {"plain": "recording"}  # targets that read the seeds of another


def run(name: str, data: bytes) -> None:
    """Give bytes to a target; every error but the promised one, in one line, passes through."""
    target, promised = TARGETS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            target(data)
        except promised as error:
            if "\n" in str(error):
                raise AssertionError(f"more than one line: {error!r}") from error
