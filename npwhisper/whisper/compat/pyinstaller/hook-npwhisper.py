# ruff: noqa: N999 (PyInstaller wants this name)
"""What a program made by PyInstaller must contain besides what it finds: assets, and modules that we import by name."""

from __future__ import annotations

from pathlib import Path

compat = Path(__file__).parents[1]
datas = [(str(compat.parents[1] / "assets"), "npwhisper/assets")]
hiddenimports = [f"npwhisper.whisper.compat.{path.stem}" for path in sorted(compat.glob("*.py"))]
