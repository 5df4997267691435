"""JupyterLab in the browser (JupyterLite), with all walkthroughs and assignments: the folder `lab/` of the site.

It runs the same Pyodide as the plain page, from the same files, and takes the weights from the page's place too.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from files import run, write

HERE = Path(__file__).resolve().parent
TOOLS = ("jupyterlite-core==0.8.6", "jupyterlite-pyodide-kernel==0.8.6", "jupyter-server")
PRELOADED = ("micropip", "comm", "ipython", "jedi", "matplotlib", "scipy", "npwhisper")
KERNEL = "@jupyterlite/pyodide-kernel-extension:kernel"
WORKER = "lab/extensions/@jupyterlite/pyodide-kernel-extension/static/"  # where the kernel runs
LINK = """\
    <a id="lab" href="lab/lab/index.html?path=00_tour.ipynb">All notebooks, in JupyterLab</a>
"""
ICON = '<link rel="icon" href="favicon.ico">'  # by JupyterLite's script it comes late, after /favicon.ico
SPEC = {"display_name": "Python (Pyodide)", "language": "python", "name": "python"}


def add(to: Path, notebooks: Path, cache: Path, weights: str, is_offline: bool) -> None:
    """Build the lab into the folder of a site.

    Parameters
    ----------
    to : Path
        The site. Its `static/pyodide` must have the packages of `PRELOADED`.
    notebooks : Path
        The folder of the walkthroughs, with `assignments` in it.
    cache : Path
        Where JupyterLite is installed.
    weights : str
        The address of the embedded weights, from the site's folder.
    is_offline : bool
        If true, `%pip install` finds nothing instead of asking PyPI.
    """
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder)
        write(source / "jupyter-lite.json", as_json(configuration(weights, is_offline)))
        write(source / "overrides.json", as_json(OVERRIDES))
        copy_notebooks(notebooks, source / "contents")
        options = ("--lite-dir", folder, "--contents", str(source / "contents"), "--apps", "lab", "--no-sourcemaps",
                   "--no-unused-shared-packages", "--settings-overrides", str(source / "overrides.json"))  # fmt: skip
        run(
            str(jupyter(cache)),
            "lite",
            "build",
            *options,
            "--output-dir",
            str(to / "lab"),
            cwd=source,
        )
    share_cache(to / "lab" / "service-worker.js")
    insert(to / "lab" / "lab" / "index.html", ICON, before="</head>")
    insert(to / "index.html", LINK, before="  </header>\n")


OVERRIDES: dict[str, Any] = {
    "@jupyterlab/apputils-extension:themes": {
        "adaptive-theme": True
    },  # light or dark as the system
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
}


def as_json(value: Any) -> bytes:
    """JSON, as bytes."""
    return json.dumps(value, indent=1).encode()


def jupyter(cache: Path) -> Path:
    """The command of a JupyterLite, in an environment of its own that is made once."""
    place = cache / TOOLS[0].replace("==", "-")
    command = place / ("Scripts" if sys.platform == "win32" else "bin") / "jupyter"
    if not (place / "installed").exists():
        run(sys.executable, "-m", "venv", "--clear", str(place))
        run(str(command.with_name("python")), "-m", "pip", "install", "--quiet", *TOOLS)
        write(place / "installed", b"")
    return command


def configuration(weights: str, is_offline: bool) -> dict[str, Any]:
    """What JupyterLite is told: where Python is, what to load into it, and where the weights are."""
    up = "../" * WORKER.count("/")
    kernel = {
        "pyodideUrl": "./../static/pyodide/pyodide.mjs",
        "disablePyPIFallback": is_offline,
        "loadPyodideOptions": {
            "packages": list(PRELOADED),
            "env": {"NPWHISPER_EMBEDDED_URL": up + weights},
        },
    }
    data = {"appName": "npwhisper", "litePluginSettings": {KERNEL: kernel}}
    return {"jupyter-lite-schema-version": 0, "jupyter-config-data": data}


def copy_notebooks(folder: Path, to: Path) -> None:
    """Copy all notebooks, for the kernel that is there."""
    for path in (*folder.glob("[0-9][0-9]_*.ipynb"), *folder.glob("assignments/a[0-9]_*.ipynb")):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        notebook["metadata"]["kernelspec"] = SPEC
        write(to / path.relative_to(folder), as_json(notebook))


def share_cache(worker: Path) -> None:
    """Let the lab's service worker take Python and the weights from where the plain page keeps them."""
    write(worker, (HERE / "shared_cache.js").read_bytes() + worker.read_bytes())


def insert(page: Path, what: str, before: str) -> None:
    """Insert text into a page, before a text that stands there once."""
    text = page.read_text(encoding="utf-8")
    if text.count(before) != 1:
        raise SystemExit(f"{page} has {text.count(before)} times {before.strip()}: expected one")
    write(page, text.replace(before, what + before).encode())
