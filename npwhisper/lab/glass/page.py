"""One HTML file: the inlined modules and style of ``web/``, and the packed data of one or two runs.

Browsers load ES modules only from a server, not from the disk, so the import and export statements are removed and the
modules are joined into one script, in the order of `MODULES`. The page's content security policy allows that script by
its hash, and nothing else: no other script and no request.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files
from typing import Any

from npwhisper.lab.glass.comparing import difference
from npwhisper.lab.glass.functions import describe_functions
from npwhisper.lab.glass.packing import pack
from npwhisper.lab.glass.run import Run

MODULES = (
    "dom.js", "colours.js", "canvas.js", "unpack.js", "state.js", "loading.js", "sound.js", "strip.js", "choices.js",
    "network.js", "cells.js", "panel.js", "grid.js", "attention.js", "view_overview.js", "view_sound.js",
    "view_encoder.js", "view_cross.js", "view_decoder.js", "view_tokens.js", "view_times.js", "view_decisions.js",
    "view_compare.js", "tour.js", "main.js",
)  # fmt: skip
IMPORT = re.compile(r"^import .*?;\n", re.MULTILINE)
EXPORT = re.compile(r"^export (?=async |function |const |let |class )", re.MULTILINE)


def page(runs: Sequence[Run]) -> str:
    """The page of one run, or of two side by side."""
    return "".join(pieces(runs))


def pieces(runs: Sequence[Run]) -> Iterator[str]:
    """Yield the page in pieces, so that it is never in memory twice."""
    style, script = _asset("style.css"), bundle()
    title = escape(f"{runs[0].title} · npwhisper glass")
    parts = {"policy": policy(style, script), "title": title, "style": style, "script": script}
    for i, text in enumerate(re.split(r"\{\{(\w+)\}\}", _asset("page.html"))):
        if text == "data":
            yield from _data(runs)
        else:
            yield parts[text] if i % 2 else text


def _data(runs: Sequence[Run]) -> Iterator[str]:
    """Yield one element per block: the data that all windows share, then the windows of each run."""
    named = [("about", pack({"runs": [_about(run) for run in runs], **_shared(runs)}, {}))]
    named += [(f"{i}-{n}", block) for i, run in enumerate(runs) for n, block in enumerate(run.windows)]
    for name, block in named:
        yield from (f'<script type="text/plain" id="data-{name}">', block, "</script>\n")


def bundle() -> str:
    """All modules as one script.

    >>> "import " in bundle().split("/")[0]
    False
    """
    script = "".join(EXPORT.sub("", IMPORT.sub("", _asset(name))) for name in MODULES) + "await start();\n"
    if "</script" in script.lower() or "<!--" in script:
        raise ValueError(
            "the modules hold '</script' or '<!--', which would end the script in the page: split the string"
        )
    return script


def policy(style: str, script: str) -> str:
    """The content security policy: this style, this script, the page's own audio, and nothing else."""
    return (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; media-src blob:; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def _asset(name: str) -> str:
    return (files("npwhisper.lab.glass") / "web" / name).read_text(encoding="utf-8")


def _about(run: Run) -> dict[str, Any]:
    names = ("title", "label", "model", "options", "duration", "overview")
    return {name: getattr(run, name) for name in names}


def _shared(runs: Sequence[Run]) -> dict[str, Any]:
    return {"functions": describe_functions(), "difference": difference(*runs) if len(runs) == 2 else None}
