"""Compile the page's kernel, `kernel/product.c`, to WebAssembly."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).parent / "kernel" / "product.c"
COMMAND = ("clang", "--target=wasm32", "-msimd128", "-O3", "-nostdlib", "-fno-builtin", "-fvisibility=hidden",
           "-Wl,--no-entry,--import-memory,--export=multiply,--strip-all")  # fmt: skip


def compile_kernel(folder: Path) -> str:
    """Write the kernel and its source into a folder; returns why there is only the source, or nothing.

    Needs clang and its linker for WebAssembly (Debian's packages clang and lld).
    """
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(SOURCE, folder)
    try:
        to = folder / SOURCE.with_suffix(".wasm").name
        subprocess.run(
            [*COMMAND, str(SOURCE), "-o", str(to)], check=True, capture_output=True, text=True
        )
    except FileNotFoundError:
        return "clang was not found: the page computes with NumPy only (Debian's packages are clang and lld)"
    except subprocess.CalledProcessError as error:
        reason = (error.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return f"clang could not compile the kernel, so the page computes with NumPy only: {reason}"
    return ""
