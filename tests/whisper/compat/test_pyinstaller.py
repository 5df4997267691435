"""PyInstaller's hook names the folder of assets, with which a program transcribes where there is no Python."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from importlib import import_module, resources
from importlib.util import find_spec
from pathlib import Path

import pytest

import npwhisper
from npwhisper.whisper.compat.pyinstaller import hook_folders

ROOT = Path(__file__).parents[3]


def test_the_hook_adds_the_assets() -> None:
    (entry,) = re.findall(r'^hook-dirs = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    module, _, function = entry.partition(":")
    (folder,) = getattr(import_module(module), function)()
    hook = runpy.run_path(str(Path(folder, "hook-npwhisper.py")))
    ((source, target),) = hook["datas"]
    assert target == "npwhisper/assets"
    assert Path(source) == Path(str(resources.files("npwhisper"))) / "assets"
    assert (Path(source) / "gpt2.tiktoken").is_file()
    assert "npwhisper.whisper.compat.upstream_decoding" in hook["hiddenimports"]
    assert all(find_spec(name) for name in hook["hiddenimports"])


UNUSED = ("torch", "whisper", "transformers", "matplotlib", "IPython", "pytest", "huggingface_hub", "pandas")  # large
PROGRAM = """
import sys
import npwhisper
print(npwhisper.transcribe(sys.argv[1], temperature=0)["text"])
"""


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("PyInstaller"), reason="PyInstaller is not installed")
@pytest.mark.skipif(os.name == "nt", reason="the program's environment is emptied as on Unix")
def test_a_program_transcribes_where_there_is_no_python(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(PROGRAM)
    options = ["--noconfirm", "--log-level", "ERROR", "--additional-hooks-dir", *hook_folders(), "--paths", str(ROOT)]
    options += [f"--exclude-module={name}" for name in UNUSED]
    options += ["--add-data", f"{ROOT / 'weights' / 'tiny.en.safetensors'}:npwhisper/assets"]  # where the wheel has it
    command = [sys.executable, "-m", "PyInstaller", *options, "app.py"]
    built = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert built.returncode == 0, built.stderr
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    program = [str(tmp_path / "dist" / "app" / "app"), npwhisper.example()]
    run = subprocess.run(program, capture_output=True, text=True, cwd=elsewhere, env={"PATH": "/nowhere"})
    assert run.stdout.strip() == npwhisper.transcribe(npwhisper.example(), temperature=0)["text"].strip(), run.stderr
