# ruff: noqa: N999 (PyInstaller wants this name)
"""What a program made by PyInstaller must contain besides our code: the folder of assets."""

from __future__ import annotations

from pathlib import Path

datas = [(str(Path(__file__).parents[3] / "assets"), "npwhisper/assets")]
