"""An autograder for Gradescope: a folder, and the zip to upload."""

from __future__ import annotations

import secrets
import shutil
import zipfile
from pathlib import Path

import npwhisper
from npwhisper.lab.course.marking import Options

SETUP = """#!/usr/bin/env bash
# Runs once, when Gradescope builds the image.
set -euo pipefail
apt-get update
apt-get install -y --no-install-recommends python3 python3-venv
python3 -m venv /opt/npwhisper
wheels=(/autograder/source/*.whl)
if [ -e "${wheels[0]}" ]; then package="${wheels[0]}"; else package="npwhisper==VERSION"; fi
/opt/npwhisper/bin/pip install --no-cache-dir "$package"
"""
RUN = """#!/usr/bin/env bash
# Runs for every submission, as root. The student's code runs as the user `nobody`, who can neither read the secret
# nor write the results.
set -u
root=${AUTOGRADER:-/autograder}
npwhisper=${NPWHISPER:-/opt/npwhisper/bin/npwhisper}
results=$root/results/results.json
chmod -R go-rwx "$root/source" "$root/results"
cd "$root/results"
"$npwhisper" grade "$root/submission" --metadata "$root/submission_metadata.json" --assignment ASSIGNMENT \\
    --secret-file "$root/source/secret.txt" --user nobody OPTIONS--gradescope "$results"
if [ ! -s "$results" ]; then
    printf '{"score": 0, "output": "The autograder failed. Your instructor sees why."}\\n' > "$results"
fi
"""


def write_gradescope(folder: Path, options: Options, wheel: Path | None = None) -> list[Path]:
    """Write the folder, and the zip next to it.

    Parameters
    ----------
    folder : Path
        A new folder, or one written by this function before, whose secret is kept.
    options : Options
    wheel : Path, optional
        A wheel of npwhisper for the image. Default: the running version is installed from PyPI.
    """
    folder.mkdir(parents=True, exist_ok=True)
    secret = folder / "secret.txt"
    if options.secret or not secret.exists():
        secret.write_text(f"{options.secret or secrets.token_hex(16)}\n", encoding="utf-8")
    secret.chmod(0o600)
    run = RUN.replace("ASSIGNMENT", options.assignment).replace("OPTIONS", _flags(options))
    for name, text in {"setup.sh": SETUP.replace("VERSION", npwhisper.__version__), "run_autograder": run}.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
        (folder / name).chmod(0o755)
    if wheel is not None:
        shutil.copy(wheel, folder / wheel.name)
    return [folder, _zipped(folder)]


def _flags(options: Options) -> str:
    partial = "--partial " if options.partial else ""
    return f"{partial}--seconds {options.seconds:g} --start-seconds {options.start:g} --memory {options.memory:g} "


def _zipped(folder: Path) -> Path:
    """The files of the folder, at the root of a zip."""
    target = folder.with_name(f"{folder.name}.zip")
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, path.name)
    return target
