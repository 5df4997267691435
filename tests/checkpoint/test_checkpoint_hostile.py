"""Broken and malicious files are refused with a sentence: nothing runs, nothing is written, little is allocated."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import hostile
import hostile_folders
import numpy as np
import pytest
from checkpoint_files import (
    DIMS,
    HF_CONFIG,
    ct2,
    ct2_integers,
    ct2_variables,
    ggml,
    hf_name,
    mlx_weights,
    npz,
    official_legacy,
    official_zip,
    random_weights,
    safetensors,
    zip_form,
)
from hypothesis import given, settings
from hypothesis import strategies as st

import npwhisper
from npwhisper.checkpoint import CheckpointError, read_checkpoint, to_float32
from npwhisper.checkpoint.weights import check_weights, convert
from npwhisper.model import ModelDimensions

MEGABYTE = 2**20
REACHES_THE_WRITER = [name for name in hostile.CASES if name.startswith("weights:")]


def open_whole(path: Path) -> dict[str, np.ndarray]:
    """All that happens between a file's name and a usable model."""
    checkpoint = read_checkpoint(path)
    check_weights(checkpoint.weights, ModelDimensions(**checkpoint.dims))
    return {name: to_float32(array, name) for name, array in checkpoint.weights.items()}


@contextlib.contextmanager
def refused(
    folder: Path, data: bytes | dict[str, bytes] | Callable[[Path], object], message: str = ""
) -> Iterator[Path]:
    """The file or folder `model` is refused, in little memory and time; nothing is started and nothing written."""
    if isinstance(data, bytes):
        (folder / "model").write_bytes(data)
    elif callable(data):
        data(folder / "model")
    else:
        hostile_folders.write(folder / "model", data)
    before = sorted(folder.rglob("*"))
    hostile.FIRED.clear()
    tracemalloc.start()
    started = time.perf_counter()
    with mock.patch.object(os, "system", hostile.fire), pytest.raises(CheckpointError) as error:
        yield folder / "model"
    seconds, (_, peak) = time.perf_counter() - started, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (seconds < 20, peak < 50 * MEGABYTE) == (True, True), (seconds, peak)
    assert hostile.FIRED == []
    assert sorted(folder.rglob("*")) == before
    assert re.search(message, str(error.value)), str(error.value)
    assert len(str(error.value)) < 4000


def test_the_corpus_is_large() -> None:
    assert len(hostile.CASES) >= 400
    assert len([name for name in hostile_folders.CASES if "CTranslate2" in name or "MLX" in name]) >= 100


@pytest.mark.parametrize("name", hostile.CASES)
def test_hostile_files(name: str, tmp_path: Path) -> None:
    make, message = hostile.CASES[name]
    with refused(tmp_path, make(), message) as path:
        open_whole(path)


@pytest.mark.parametrize("name", hostile_folders.CASES)
def test_hostile_folders(name: str, tmp_path: Path) -> None:
    make, message = hostile_folders.CASES[name]
    with refused(tmp_path, make(), message) as path:
        open_whole(path)


@pytest.mark.parametrize("name", hostile_folders.NO_FILES)
def test_pipes_and_devices_are_not_read(name: str, tmp_path: Path) -> None:
    with refused(tmp_path, hostile_folders.NO_FILES[name]) as path:
        open_whole(path)


@pytest.mark.parametrize("name", [*REACHES_THE_WRITER, "calls os.system", "dims: negative", "safetensors: overlapping"])
def test_nothing_is_written_when_reading_fails(name: str, tmp_path: Path) -> None:
    with refused(tmp_path, hostile.CASES[name][0]()) as path:
        convert(path, tmp_path / "other.safetensors")


@pytest.mark.parametrize("form", hostile.WHOLE)
def test_the_files_that_were_spoiled_are_sound(form: str, tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(hostile.WHOLE[form])
    assert open_whole(tmp_path / "model").keys() == hostile.WEIGHTS.keys()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="forks, and reads the peak of memory in Linux's unit")
@pytest.mark.parametrize(("megabytes", "kept"), [(1000, True), (1, False)])
def test_every_hostile_file_stays_under_the_caps(megabytes: int, kept: bool) -> None:
    script = Path(hostile.__file__).with_name("capped.py")
    places = os.pathsep.join([str(Path(npwhisper.__file__).parents[1]), str(script.parent)])
    command = [sys.executable, str(script), str(megabytes), "10"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": places}, timeout=300
    )
    count = len(hostile.CASES) + len(hostile_folders.CASES) + len(hostile_folders.NO_FILES)
    assert (done.stdout == f"{count} files\n") == kept, done.stdout


def test_a_program_without_end_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("npwhisper.checkpoint.unpickle.MOST_STEPS", 1000)
    with refused(tmp_path, zip_form(b"\x80\x02" + b"N0" * 600 + b"}.", {}), "more than 1000 steps") as path:
        open_whole(path)


@pytest.mark.parametrize("name", ["", "missing.pt"])
def test_no_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(CheckpointError, match=r"no readable config\.json|no file"):
        open_whole(tmp_path / "folder" / name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="no file"):
        open_whole(tmp_path / "model.pt")


# --- bytes flipped at random -----------------------------------------------------------------------------------------

SMALL = {**DIMS, "n_audio_state": 4, "n_text_state": 4, "n_audio_layer": 1, "n_text_layer": 1, "n_mels": 2}
SMALL_WEIGHTS = random_weights(dims=SMALL)
SMALL_VARIABLES = ct2_variables(SMALL_WEIGHTS) | {"encoder/num_heads": np.array(1, np.int16)}
DIMS_TEXT = str(SMALL).replace("'", '"')
SEEDS = {
    "zip": official_zip(SMALL_WEIGHTS, SMALL),
    "deflated": official_zip(SMALL_WEIGHTS, SMALL, compression=8),
    "legacy": official_legacy(SMALL_WEIGHTS, SMALL),
    "safetensors": safetensors(SMALL_WEIGHTS, {"dims": DIMS_TEXT, "alignment_heads": "[[0, 0]]"}),
    "ggml": ggml(SMALL_WEIGHTS, dims=SMALL),
    "CTranslate2": ct2(SMALL_VARIABLES),
    "CTranslate2, 8 bits": ct2(ct2_integers(SMALL_VARIABLES, "int8", rows=True)),
    "MLX": npz(mlx_weights(weights=SMALL_WEIGHTS)),
    "MLX, compressed": npz(mlx_weights(weights=SMALL_WEIGHTS), np.savez_compressed),
    "MLX, safetensors": safetensors(mlx_weights(weights=SMALL_WEIGHTS)),
    "Hugging Face": safetensors({hf_name(name): array for name, array in SMALL_WEIGHTS.items()}),
}
HF_SMALL = {**HF_CONFIG, "d_model": 4, "encoder_layers": 1, "decoder_layers": 1, "num_mel_bins": 2}
FOLDERS: dict[str, tuple[str, dict[str, Any]]] = {  # what the weights are called in the folder, and its config.json
    "CTranslate2": ("model.bin", {"alignment_heads": [[0, 0]]}),
    "CTranslate2, 8 bits": ("model.bin", {"alignment_heads": [[0, 0]]}),
    "MLX": ("weights.npz", SMALL),
    "MLX, compressed": ("weights.npz", SMALL),
    "MLX, safetensors": ("weights.safetensors", SMALL),
    "Hugging Face": ("model.safetensors", HF_SMALL),
}
FLIPS = st.lists(st.tuples(st.integers(0, 2**20), st.integers(1, 255)), min_size=1, max_size=6)


@pytest.mark.slow
@pytest.mark.parametrize("form", SEEDS)
@given(flips=FLIPS)
@settings(max_examples=100, deadline=None, derandomize=True, database=None)
def test_flipped_bytes_give_a_model_or_a_sentence(
    form: str, flips: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = bytearray(SEEDS[form])
    for place, change in flips:
        data[place % len(data)] ^= change
    path = placed(tmp_path_factory.getbasetemp() / "flipped", form, bytes(data))
    with contextlib.suppress(CheckpointError):
        assert all(np.isfinite(array).all() for array in open_whole(path).values())


def placed(folder: Path, form: str, data: bytes, config: bytes | None = None) -> Path:
    """The path of a file of some form, or of a folder that contains it and a config.json."""
    folder = folder / form
    folder.mkdir(parents=True, exist_ok=True)
    name, settings = FOLDERS.get(form, ("model", None))
    (folder / name).write_bytes(data)
    if settings is None:
        return folder / name
    (folder / "config.json").write_bytes(json.dumps(settings).encode() if config is None else config)
    return folder


@pytest.mark.parametrize("form", SEEDS)
def test_the_files_that_are_changed_are_sound(form: str, tmp_path: Path) -> None:
    assert open_whole(placed(tmp_path, form, SEEDS[form])).keys() == SMALL_WEIGHTS.keys()


@pytest.mark.slow
@pytest.mark.parametrize("form", SEEDS)
def test_thousands_of_mutations_give_a_model_or_a_sentence(form: str, tmp_path: Path) -> None:
    """2,000 of each form, over 20,000 in all; NPWHISPER_MUTATIONS asks for more."""
    random = np.random.default_rng(len(form))
    for i in range(int(os.environ.get("NPWHISPER_MUTATIONS", "2000"))):
        config = json.dumps(FOLDERS[form][1]).encode() if form in FOLDERS else b""
        is_config = bool(config) and i % 5 == 0
        data = SEEDS[form] if is_config else mutated(SEEDS[form], random)
        path = placed(tmp_path, form, data, mutated(config, random) if is_config else None)
        with contextlib.suppress(CheckpointError):
            open_whole(path)


def mutated(data: bytes, random: np.random.Generator) -> bytes:
    """A file in which bytes were changed (mostly near its ends, where the structure is), removed or repeated."""
    changed = bytearray(data)
    for _ in range(random.integers(1, 5)):
        size, length = len(changed), int(random.integers(1, 40))
        at = int(
            random.choice(
                [random.integers(size), random.integers(min(size, 4000)), size - 1 - random.integers(min(size, 4000))]
            )
        )
        piece = bytes(changed[at : at + length])
        change = random.integers(5)
        if change == 0:
            del changed[at : at + length]
        elif change == 1:
            changed[at:at] = piece
        elif change == 2:
            changed[at : at + length] = random.bytes(len(piece))
        elif change == 3:
            changed[at : at + len(piece)] = random.choice([b"\0", b"\xff", b"\x7f", b"\x80"]) * len(piece)
        else:
            changed[at] ^= 1 << int(random.integers(8))
        if not changed:
            break
    return bytes(changed)
