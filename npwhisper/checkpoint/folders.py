"""Folders: which format of model one contains, and what to advise if it contains something else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from npwhisper.checkpoint.contents import CheckpointError
from npwhisper.checkpoint.settings import read_json

SAVE = "WhisperForConditionalGeneration.from_pretrained(FOLDER{}).save_pretrained(NEW)"
CONTENTS = {  # what lies in a folder that cannot be opened -> what it is, and what to do
    "flax_model.msgpack": f"the folder has only Flax weights: convert them with {SAVE.format(', from_flax=True')}",
    "tf_model.h5": f"the folder has only TensorFlow weights: convert them with {SAVE.format(', from_tf=True')}",
    "*.onnx": "the folder contains ONNX graphs: open the checkpoint that they were exported from",
    "onnx/*.onnx": "the folder contains ONNX graphs: open the checkpoint that they were exported from",
    "openvino_*.xml": "the folder contains an OpenVINO model: open the checkpoint that it was exported from",
    "*.mlmodelc": "the folder contains a Core ML model: open the checkpoint that it was exported from",
    "*.gguf": "the folder contains a GGUF file: use whisper.cpp's ggml-*.bin, or the original checkpoint",
    "*.pt": "the folder contains a .pt file: give the path of that file",
    "ggml-*.bin": "the folder contains a ggml file: give the path of that file",
    "*.safetensors": "the folder contains a safetensors file but no config.json: give the path of that file",
}


def require_openable(folder: Path) -> None:
    """Raise a `CheckpointError` that says what a folder without a model is, and what to do."""
    if (folder / "adapter_config.json").exists():
        base = _base_model(folder)
        raise CheckpointError(
            f"the folder contains a LoRA adapter of {base}, not a model: merge the two with peft "
            "(merge_and_unload(), then save_pretrained), and open the merged folder"
        )
    if (folder / "config.json").exists():
        return
    steps = sorted(path.name for path in folder.glob("checkpoint-*") if (path / "config.json").exists())
    if steps:
        raise CheckpointError(
            f"the folder is the output of a training run: open one of its checkpoints, such as {steps[-1]!r}"
        )
    raise CheckpointError(advice(folder) or "the folder has no readable config.json: download the whole folder")


def advice(folder: Path) -> str:
    """What the files of a folder without readable weights are, or an empty text."""
    return next((text for pattern, text in CONTENTS.items() if next(folder.glob(pattern), None)), "")


def _base_model(folder: Path) -> str:
    try:
        settings: dict[str, Any] = read_json(folder / "adapter_config.json")
    except CheckpointError:
        return "another model"
    base = settings.get("base_model_name_or_path")
    return repr(base[:80]) if isinstance(base, str) and base else "another model"
