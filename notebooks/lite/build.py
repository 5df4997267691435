"""Build the laboratory that runs in a browser: static files, served by any web server.

    python notebooks/lite/build.py --to FOLDER
    python -m http.server --directory FOLDER --bind localhost 8000

The browser runs Python itself (Pyodide: CPython and NumPy compiled to WebAssembly). Its parts come from npm and PyPI
and are kept in a cache, so that a second build downloads nothing. Everything is copied into FOLDER: the page and the
JupyterLab beside it ask no other server for anything (except with --cdn). Needs Python 3.10+ with pip, npm,
and for the fast kernel clang and lld.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import cdn
import lab
from compiling import compile_kernel
from files import digest, megabytes, run, write

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RUNTIME = "pyodide@314.0.7"  # npm: CPython for the browser, without any package
BUNDLE = (
    "open-webui==0.12.4"  # PyPI: carries Pyodide's own builds of NumPy, SciPy, tiktoken and others
)
INSIDE = "open_webui/frontend/pyodide/"  # where, in that wheel
RUNTIME_FILES = ("pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "python_stdlib.zip")
OTHERS = (
    "comm==0.2.3",
)  # wheels of pure Python that Pyodide does not list, and what needs them runs there
NEEDED = ("scipy", "tiktoken", "tqdm", "npwhisper")  # what the page loads, with all that these need
WEIGHTS = "npwhisper/assets/tiny.en.safetensors"

Lock = dict[str, Any]


def default_cache() -> Path:
    """Where downloads are kept, as the XDG specification says."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "npwhisper-lite"


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
        name = todo.pop().replace("_", "-")
        if name not in packages:
            raise SystemExit(f"{name} is needed and is in no lock file: add it to OTHERS")
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


def unpack_runtime(cache: Path, folder: Path) -> None:
    """Write Pyodide's own files."""
    with tarfile.open(runtime_archive(cache)) as archive:
        for name in RUNTIME_FILES:
            write(folder / name, _member(archive, name))


def runtime_lock(cache: Path) -> Lock:
    """The lock file of Pyodide's runtime: every package that was built for it, and where it is."""
    with tarfile.open(runtime_archive(cache)) as archive:
        lock: Lock = json.loads(_member(archive, "pyodide-lock.json"))
    return lock


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(f"package/{name}")
    assert file is not None
    return file.read()


def unpack_packages(cache: Path, folder: Path, wanted: Iterable[str]) -> Lock:
    """Write the wheels that are needed and not ours, and return the lock file's entries for them."""
    with zipfile.ZipFile(wheel_of(cache, BUNDLE)) as bundle:
        known: Lock = json.loads(bundle.read(f"{INSIDE}pyodide-lock.json"))["packages"]
        entries = {name: known[name] for name in closure(with_others(known), wanted)}
        for name, package in entries.items():
            if INSIDE + package["file_name"] in bundle.namelist():
                write(folder / package["file_name"], bundle.read(INSIDE + package["file_name"]))
                verify(folder / package["file_name"], package["sha256"], cache)
            else:
                entries[name] = pure(cache, folder, package)
    return entries


def with_others(known: Lock) -> Lock:
    """The packages of a lock file with those that Pyodide does not list; tiktoken without what it downloads with."""
    known["tiktoken"]["depends"] = ["regex"]  # our vocabularies are in the package
    for requirement in OTHERS:
        name, _, version = requirement.partition("==")
        known[name] = {
            "name": name,
            "version": version,
            "file_name": "",
            "imports": [name],
            "depends": [],
        }
    return known


def pure(cache: Path, folder: Path, package: Lock) -> Lock:
    """Write a wheel of pure Python from PyPI, of the version that a lock file names, and return its entry."""
    wheel = wheel_of(cache, f"{package['name'].lower()}=={package['version']}")
    shutil.copy(wheel, folder)
    return entry(wheel, package["imports"], package["depends"])


def verify(path: Path, sha256: str, cache: Path) -> None:
    """Stop if a file is not what the lock file says."""
    if digest(path) != sha256:
        raise SystemExit(
            f"{path.name} is not what the lock file says: empty {cache} and build again"
        )


def unpack_own(folder: Path) -> Lock:
    """Write the wheel of this checkout and, apart from it, its weights; return the lock file's entry."""
    wheel = own_wheel(folder)
    write(folder.parent / "weights" / Path(WEIGHTS).name, without(wheel, WEIGHTS))
    return entry(wheel, ["npwhisper"], ["numpy", "tiktoken", "tqdm"])  # scipy when it is needed


def copy_page(to: Path) -> None:
    """Write the plain page, with its example and the assignments."""
    shutil.copytree(HERE / "page", to, dirs_exist_ok=True)
    shutil.copy(ROOT / WEIGHTS.replace("tiny.en.safetensors", "example.flac"), to / "static")
    for source in sorted((HERE.parent / "assignments").glob("a[0-9]_*.ipynb")):
        write(to / "assignments" / source.name, source.read_bytes())


def seal(to: Path, sizes: Mapping[str, int]) -> None:
    """Give the service workers a name for this very build, and the page what it will load with the sizes in bytes."""
    files = {str(path.relative_to(to)): path for path in sorted(to.rglob("*")) if path.is_file()}
    every = "".join(name + digest(path) for name, path in files.items())
    version = hashlib.sha256(every.encode()).hexdigest()[:16]
    write(to / "files.json", json.dumps({"version": version, "sizes": sizes}, indent=1).encode())
    for worker in (to / "sw.js", to / "lab" / "service-worker.js"):
        if worker.exists():
            text = worker.read_text(encoding="utf-8").replace("VERSION_OF_THE_BUILD", version)
            write(worker, text.encode())


def loaded_by_page(to: Path, packages: Lock) -> dict[str, int]:
    """What the page loads of `static`, with sizes: not the packages that only JupyterLab needs."""
    needed = set(closure(packages, NEEDED))
    others = {package["file_name"] for name, package in packages.items() if name not in needed}
    paths = sorted(p for p in (to / "static").rglob("*") if p.is_file() and p.name not in others)
    return {str(path.relative_to(to)): path.stat().st_size for path in paths}


def assemble(to: Path, cache: Path, is_plain: bool, is_from_cdn: bool) -> Lock:
    """Write Python, its packages and their lock file into `static/pyodide`; returns the lock file."""
    pyodide, lock = to / "static" / "pyodide", runtime_lock(cache)
    pyodide.mkdir(parents=True)
    wanted = [
        name for name in (*NEEDED, *(() if is_plain else lab.PRELOADED)) if name != "npwhisper"
    ]
    if is_from_cdn:
        listed = with_others(lock["packages"])
        here = {name for name, package in listed.items() if not package["file_name"]}
        packages = {name: pure(cache, pyodide, listed[name]) if name in here else cdn.there(listed[name], RUNTIME)
                    for name in closure(listed, wanted)}  # fmt: skip
        write(pyodide / "pyodide.mjs", cdn.shim(RUNTIME).encode())
    else:
        unpack_runtime(cache, pyodide)
        packages = unpack_packages(cache, pyodide, wanted)
    lock["packages"] = packages | {"npwhisper": unpack_own(pyodide)}
    write(pyodide / "pyodide-lock.json", json.dumps(lock, indent=1).encode())
    return lock


def build(to: Path, cache: Path, is_plain: bool = False, is_from_cdn: bool = False) -> None:
    """Put the whole site together in a folder, from nothing."""
    cache.mkdir(parents=True, exist_ok=True)
    if to.exists() and any(to.iterdir()) and not (to / "files.json").exists():
        raise SystemExit(f"{to} is not empty and was not made by this command: give another folder")
    shutil.rmtree(to, ignore_errors=True)
    write(
        to / "files.json", b"{}"
    )  # from now on the folder is known as ours, even if this is interrupted
    lock = assemble(to, cache, is_plain, is_from_cdn)
    copy_page(to)
    if reason := compile_kernel(to / "static" / "kernel"):
        print(f"No kernel: {reason}")
    if not is_plain:
        lab.add(to, HERE.parent, cache, f"static/weights/{Path(WEIGHTS).name}", not is_from_cdn)
    seal(to, loaded_by_page(to, lock["packages"]))


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
    parser.add_argument("--plain", action="store_true", help="the page only, without JupyterLab")
    parser.add_argument(
        "--cdn",
        action="store_true",
        help="visitors' browsers take Pyodide from its public servers: a small site",
    )
    args = parser.parse_args()
    build(args.to.resolve(), args.cache, args.plain, args.cdn)
    print(
        f"{args.to}: {megabytes(args.to):.1f} MB; serve it with: python -m http.server --directory {args.to}"
    )


if __name__ == "__main__":
    main()
