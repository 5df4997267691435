"""PyInstaller's hook names the folder of assets; that a program made with it transcribes was tried by hand."""

from __future__ import annotations

import re
import runpy
from importlib import import_module, resources
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_hook_adds_the_assets() -> None:
    (entry,) = re.findall(r'^hook-dirs = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    module, _, function = entry.partition(":")
    (folder,) = getattr(import_module(module), function)()
    ((source, target),) = runpy.run_path(str(Path(folder, "hook-npwhisper.py")))["datas"]
    assert target == "npwhisper/assets"
    assert Path(source) == Path(str(resources.files("npwhisper"))) / "assets"
    assert (Path(source) / "gpt2.tiktoken").is_file()
