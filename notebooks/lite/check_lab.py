"""Use the site's JupyterLab in a headless Chromium: solve a task, check it, transcribe; all from this computer only.

    python notebooks/lite/build.py --to FOLDER
    python notebooks/lite/check_lab.py FOLDER [--pictures FOLDER]

The plain page is opened first: what it has loaded, the weights among it, the lab must not load again. Needs npwhisper,
playwright, and a Chromium that is on the path.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import check

import npwhisper

WAIT = 600_000  # ms; a busy machine takes minutes for a transcription
HEAVY = "/static/"  # Python, packages and weights, which the page and the lab share
RIGHT = """def linear(x, w):
    y = x @ w["weight"].T
    return y + w["bias"] if "bias" in w else y


check(linear)"""
WRONG = RIGHT.replace('y + w["bias"] if "bias" in w else y', "y")
SPEECH = 'npwhisper.transcribe(npwhisper.example())["text"]'
served_bytes = Counter[str]()


class Counting(check.Quiet):
    """A file server that counts what it sends."""

    def copyfile(self, source: Any, outputfile: Any) -> None:
        """Send a file."""
        served_bytes[urlsplit(self.path).path] += (
            Path(self.translate_path(self.path)).stat().st_size
        )
        super().copyfile(source, outputfile)


def open_lab(page: Any, address: str, notebook: str) -> None:
    """Open a notebook and wait until its kernel has started."""
    page.goto(f"{address}lab/lab/index.html?path={notebook}")
    page.wait_for_selector(".jp-NotebookPanel .jp-CodeCell")
    page.locator(".jp-NotebookPanel .jp-Cell").first.click()


def run_cell(page: Any, has: str, source: str | None = None) -> str:
    """Run the first cell of code that has a text, perhaps with another source; what it put out."""
    cell = page.locator(".jp-NotebookPanel .jp-CodeCell").filter(has_text=has).first
    prompt = cell.locator(".jp-InputArea-prompt").element_handle()
    before, handle = prompt.inner_text(), cell.element_handle()
    cell.locator(".cm-content").click()
    if source is not None:
        page.keyboard.press("Control+A")
        page.keyboard.insert_text(source)
    page.keyboard.press("Control+Enter")
    has_run = "([cell, before]) => !cell.textContent.includes('*') && cell.textContent.trim() !== before.trim()"
    page.wait_for_function(has_run, arg=[prompt, before])
    outputs = handle.query_selector(".jp-OutputArea")
    return outputs.inner_text() if outputs else ""


def use(page: Any, address: str, pictures: Path | None) -> dict[str, Any]:
    """Solve the first task of the first assignment, wrongly and rightly, and transcribe in the same notebook."""
    found, start = dict[str, Any](), time.perf_counter()
    open_lab(page, address, "assignments/a1_layers.ipynb")
    run_cell(page, "from npwhisper import check")
    found["seconds until the first cell has run"] = time.perf_counter() - start
    found["wrong"] = run_cell(page, "def linear", WRONG)
    found["right"] = run_cell(page, "def linear", RIGHT)
    shot(page, pictures, "lab")
    found["graded"] = check.graded(download(page), "a1")
    found["text"] = run_cell(page, "from npwhisper import check", f"import npwhisper\n{SPEECH}")
    return found


def download(page: Any) -> Any:
    """Download the notebook by JupyterLab's menu."""
    page.get_by_role("menuitem", name="File", exact=True).click()
    with page.expect_download() as downloaded:
        page.get_by_role("menuitem", name="Download", exact=True).click()
    return downloaded.value


def shot(page: Any, pictures: Path | None, name: str) -> None:
    """Screenshots, light and dark: the lab follows the system."""
    for theme in ("dark", "light") if pictures else ():
        page.emulate_media(color_scheme=theme)
        is_light = str(theme == "light").lower()
        page.wait_for_selector(f"body[data-jp-theme-light={is_light}]", state="attached")
        page.wait_for_timeout(1500)
        page.screenshot(path=pictures / f"{name}-{theme}.png")


def load_page(page: Any, address: str) -> None:
    """Open the plain page, wait until it is ready, and see that it leads to the lab."""
    page.goto(address)
    page.wait_for_selector("#loading", state="hidden")
    page.wait_for_selector("a#lab")


def run(folder: Path, pictures: Path | None) -> dict[str, Any]:
    """Open the page, then the lab in the same browser; what came of it."""
    served_bytes.clear()
    with contextlib.ExitStack() as stack:
        address = stack.enter_context(check.served(folder, Counting))
        profile = stack.enter_context(tempfile.TemporaryDirectory())
        context = stack.enter_context(
            check.browser_context(Path(profile), Path(npwhisper.example()))
        )
        context.set_default_timeout(WAIT)
        page, outside, errors = check.watched(context, urlsplit(address).netloc)
        load_page(page, address)
        by_page = served_bytes.total()
        page.set_viewport_size({"width": 1300, "height": 900})
        found = use(page, address, pictures)
    twice = [
        path
        for path, size in served_bytes.items()
        if HEAVY in path and size > (folder / path[1:]).stat().st_size
    ]
    found |= {
        "MB of the page": by_page / 1e6,
        "MB more of the lab": (served_bytes.total() - by_page) / 1e6,
    }
    return {**found, "loaded twice": twice, "outside": outside, "errors": errors}


def faults(found: dict[str, Any]) -> list[str]:
    """What is not as it should be."""
    text = npwhisper.transcribe(npwhisper.example())["text"]
    wanted = {
        f"the text is not {text!r}": text in found["text"],
        "a right answer was not accepted": "10 of 10 cases right" in found["right"],
        "a wrong answer was accepted": "10 of 10" not in found["wrong"]
        and "bias" in found["wrong"],
        f"of the file handed in these tasks got points: {found['graded']}": found["graded"]
        == {"linear": 1},
        f"requests went elsewhere: {found['outside']}": not found["outside"],
        f"loaded twice: {found['loaded twice']}": not found["loaded twice"],
        f"errors were logged: {found['errors']}": not found["errors"],
    }
    return [fault for fault, is_right in wanted.items() if not is_right]


def main() -> None:
    """The command line."""
    args = check.arguments(__doc__ or "")
    check.conclude(run(args.folder.resolve(), args.pictures), faults)


if __name__ == "__main__":
    main()
