"""A small site: visitors' browsers take Pyodide and its packages from Pyodide's own public servers."""

from __future__ import annotations

from typing import Any

SERVER = "https://cdn.jsdelivr.net/pyodide/v{version}/full/"


def address(runtime: str) -> str:
    """Where Pyodide publishes a version.

    >>> address("pyodide@314.0.7")
    'https://cdn.jsdelivr.net/pyodide/v314.0.7/full/'
    """
    return SERVER.format(version=runtime.partition("@")[2])


def there(package: dict[str, Any], runtime: str) -> dict[str, Any]:
    """An entry of the lock file whose wheel is fetched from Pyodide's server.

    >>> there({"file_name": "six-1.17.0-py2.py3-none-any.whl"}, "pyodide@314.0.7")
    {'file_name': 'https://cdn.jsdelivr.net/pyodide/v314.0.7/full/six-1.17.0-py2.py3-none-any.whl'}
    """
    return {**package, "file_name": address(runtime) + package["file_name"]}


def shim(runtime: str) -> str:
    """A `pyodide.mjs` that starts the public one with the lock file beside it, in which the wheels of this site are."""
    url = address(runtime)
    return f"""import {{ loadPyodide as load, version }} from "{url}pyodide.mjs";

export {{ version }};
export const loadPyodide = (options) =>
  load({{ ...options, indexURL: "{url}", lockFileURL: new URL("pyodide-lock.json", import.meta.url).href }});
"""
