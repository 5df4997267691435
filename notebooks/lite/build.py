"""Build the laboratory that runs in a browser: static files, served by any web server.

    python notebooks/lite/build.py --to FOLDER
    python -m http.server --directory FOLDER --bind localhost 8000

The browser runs Python itself (Pyodide: CPython and NumPy compiled to WebAssembly). Its parts come from npm and PyPI
and are kept in a cache, so that a second build downloads nothing. Everything is copied into FOLDER: the page asks no
other server for anything. Needs Python 3.10+ with pip, and npm.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RUNTIME = "pyodide@314.0.7"  # npm: CPython for the browser, without any package
BUNDLE = (
    "open-webui==0.12.4"  # PyPI: carries Pyodide's own builds of NumPy, SciPy, tiktoken and others
)
INSIDE = "open_webui/frontend/pyodide/"  # where, in that wheel
RUNTIME_FILES = ("pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "python_stdlib.zip")
PURE = ("tqdm==4.67.3",)  # wheels of pure Python, which run there as they are
NEEDED = ("scipy", "tiktoken", "tqdm", "npwhisper")  # what the page loads, with all that these need
WEIGHTS = "npwhisper/assets/tiny.en.safetensors"

Lock = dict[str, Any]


def default_cache() -> Path:
    """Where downloads are kept, as the XDG specification says."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "npwhisper-lite"


def run(*command: str, cwd: Path | None = None) -> None:
    """Run a command; what it says is shown only if it fails."""
    try:
        subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise SystemExit(f"{command[0]} was not found: install it") from None
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"{' '.join(command)} failed:\n{error.stdout}{error.stderr}") from None


def pip_download(cache: Path, *requirements: str, python: str = "3.12") -> None:
    """Download wheels for a version of Python, without what they depend on."""
    options = (
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
        "--python-version",
        python,
        "--dest",
        str(cache),
    )
    run(sys.executable, "-m", "pip", "download", *options, *requirements)


def cached(cache: Path, pattern: str) -> Path | None:
    """The file in the cache whose name matches, if there is one."""
    return next(iter(sorted(cache.glob(pattern))), None)


def runtime_archive(cache: Path) -> Path:
    """Pyodide's package from npm: a .tgz."""
    pattern = f"{RUNTIME.replace('@', '-')}.tgz"
    if cached(cache, pattern) is None:
        run("npm", "pack", "--silent", RUNTIME, cwd=cache)
    return _found(cache, pattern)


def wheel_of(cache: Path, requirement: str) -> Path:
    """A wheel from PyPI that is for no machine in particular."""
    pattern = f"{requirement.replace('-', '_').replace('==', '-')}-*-none-any.whl"
    if cached(cache, pattern) is None:
        pip_download(cache, requirement)
    return _found(cache, pattern)


def _found(cache: Path, pattern: str) -> Path:
    path = cached(cache, pattern)
    if path is None:
        raise SystemExit(
            f"the download left no {pattern} in {cache}: empty that folder and build again"
        )
    return path


def own_wheel(folder: Path) -> Path:
    """The wheel of this checkout, made in `folder`."""
    run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        str(folder),
        str(ROOT),
    )
    return _found(folder, "npwhisper-*.whl")


def without(wheel: Path, name: str) -> bytes:
    """Take a file out of a wheel, which is written anew, and return what was in it."""
    light = wheel.with_suffix(".light")
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(light, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            data = old.read(entry)
            if entry.filename.endswith(".dist-info/RECORD"):
                data = b"".join(
                    line
                    for line in data.splitlines(True)
                    if not line.startswith(f"{name},".encode())
                )
            if entry.filename != name:
                new.writestr(entry, data)
        taken = old.read(name)
    light.replace(wheel)
    return taken


def closure(packages: Mapping[str, Any], wanted: Iterable[str]) -> list[str]:
    """The names of the wanted packages and of all that they need, sorted.

    >>> closure({"a": {"depends": ["b"]}, "b": {"depends": []}, "c": {"depends": []}}, ["a"])
    ['a', 'b']
    """
    found, todo = set[str](), list(wanted)
    while todo:
        name = todo.pop()
        if name not in packages:
            raise SystemExit(
                f"{name} is needed and is in no lock file: add it to PURE, or another package that has it"
            )
        if name not in found:
            found.add(name)
            todo += packages[name]["depends"]
    return sorted(found)


def entry(wheel: Path, imports: Iterable[str], depends: Iterable[str]) -> Lock:
    """What Pyodide's lock file says of a wheel of ours."""
    name, version = wheel.name.split("-")[:2]
    return {
        "name": name.replace("_", "-"), "version": version, "file_name": wheel.name, "install_dir": "site",
        "sha256": digest(wheel), "package_type": "package", "imports": list(imports), "depends": list(depends),
        "unvendored_tests": False,
    }  # fmt: skip


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def unpack_runtime(cache: Path, folder: Path) -> Lock:
    """Write Pyodide's own files, and return its lock file."""
    with tarfile.open(runtime_archive(cache)) as archive:
        for name in RUNTIME_FILES:
            _write(folder / name, _member(archive, name))
        lock: Lock = json.loads(_member(archive, "pyodide-lock.json"))
    return lock


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(f"package/{name}")
    assert file is not None
    return file.read()


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def unpack_packages(cache: Path, folder: Path, wanted: Iterable[str]) -> Lock:
    """Write the wheels that are needed, ours among them, and return the lock file's entries for them."""
    wheel = own_wheel(folder)
    _write(folder.parent / "weights" / Path(WEIGHTS).name, without(wheel, WEIGHTS))
    with zipfile.ZipFile(wheel_of(cache, BUNDLE)) as bundle:
        known: Lock = json.loads(bundle.read(f"{INSIDE}pyodide-lock.json"))["packages"]
        known["tiktoken"]["depends"] = [
            "regex"
        ]  # requests is for downloading vocabularies: ours are in the package
        for path in [
            Path(shutil.copy(wheel_of(cache, requirement), folder)) for requirement in PURE
        ]:
            name = path.name.partition("-")[0]
            known[name] = entry(path, [name], [])
        known["npwhisper"] = entry(wheel, ["npwhisper"], ["numpy", "scipy", "tiktoken", "tqdm"])
        names = closure(known, wanted)
        for name in names:
            if not (folder / known[name]["file_name"]).exists():
                _write(
                    folder / known[name]["file_name"],
                    bundle.read(INSIDE + known[name]["file_name"]),
                )
    for name in names:
        if digest(folder / known[name]["file_name"]) != known[name]["sha256"]:
            file = known[name]["file_name"]
            raise SystemExit(
                f"{file} is not what the lock file says: empty {cache} and build again"
            )
    return {name: known[name] for name in names}


def write_page(to: Path) -> None:
    """The plain page; its service worker gets the names of all files, with their sizes, and a name of their version."""
    shutil.copytree(HERE / "page", to, dirs_exist_ok=True)
    shutil.copy(ROOT / WEIGHTS.replace("tiny.en.safetensors", "example.flac"), to / "static")
    for source in sorted((HERE.parent / "assignments").glob("a[0-9]_*.ipynb")):
        _write(to / "assignments" / source.name, source.read_bytes())
    files = {str(path.relative_to(to)): path for path in sorted(to.rglob("*")) if path.is_file()}
    version = hashlib.sha256(
        "".join(name + digest(path) for name, path in files.items()).encode()
    ).hexdigest()[:16]
    sizes = {
        name: path.stat().st_size for name, path in files.items() if name.startswith("static/")
    }
    _write(to / "files.json", json.dumps({"version": version, "sizes": sizes}, indent=1).encode())
    worker = (to / "sw.js").read_text(encoding="utf-8").replace("VERSION_OF_THE_BUILD", version)
    _write(to / "sw.js", worker.encode())


def build(to: Path, cache: Path) -> None:
    """Assemble everything in a folder, from nothing."""
    cache.mkdir(parents=True, exist_ok=True)
    if to.exists() and any(to.iterdir()) and not (to / "files.json").exists():
        raise SystemExit(f"{to} is not empty and was not made by this command: give another folder")
    shutil.rmtree(to, ignore_errors=True)
    pyodide = to / "static" / "pyodide"
    pyodide.mkdir(parents=True)
    lock = unpack_runtime(cache, pyodide)
    lock["packages"] = unpack_packages(cache, pyodide, NEEDED)
    _write(pyodide / "pyodide-lock.json", json.dumps(lock, indent=1).encode())
    write_page(to)


def megabytes(folder: Path) -> float:
    """How large all files of a folder are together, in 10^6 bytes."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def main() -> None:
    """The command line."""
    about, _, more = (__doc__ or "").partition("\n\n")
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=about, epilog=more, formatter_class=form)
    parser.add_argument(
        "--to", type=Path, required=True, metavar="FOLDER", help="where; it is emptied first"
    )
    parser.add_argument(
        "--cache", type=Path, default=default_cache(), help="where downloads are kept (%(default)s)"
    )
    args = parser.parse_args()
    build(args.to.resolve(), args.cache)
    print(
        f"{args.to}: {megabytes(args.to):.1f} MB; serve it with: python -m http.server --directory {args.to}"
    )


if __name__ == "__main__":
    main()
