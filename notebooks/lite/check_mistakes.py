"""Do wrong things on the laboratory's page, in a headless Chromium: each gets a sentence, and the page goes on.

    python notebooks/lite/build.py --to FOLDER
    python notebooks/lite/check_mistakes.py FOLDER [--pictures FOLDER]

The microphone is refused; a text is opened as a sound and as a checkpoint; a checkpoint is cut short; a layer is wrong,
or never ends; the server goes away. After each the example must become the
same text as before. Needs what `check.py` needs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import check

ENDLESS = "def gelu(x):\n    while True:\n        pass\n"
LAYERS = {
    "syntax error": ("def gelu(x):\n    return x +\n", "line 2: SyntaxError"),
    "wrong name": ("def gelu(x):\n    return y\n", "line 2: NameError: name 'y' is not defined"),
    "wrong shape": ("def gelu(x):\n    return x[..., 1:]\n", "gelu returned an array of shape"),
    "no layer": ("x = 1\n", "the code defines no layer"),
}


def write_files(folder: Path, site: Path) -> dict[str, Path]:
    """Write a text, an empty file, and a checkpoint that is cut short."""
    weights = (site / "static" / "weights" / "tiny.en.safetensors").read_bytes()
    contents = {
        "notes.txt": b"no sound, no weights\n",
        "empty.wav": b"",
        "cut.safetensors": weights[:1_000_000],
    }
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    return {name: folder / name for name in contents}


def problem(page: Any, act: Callable[[], object]) -> str:
    """Do something that Python must refuse: what the page says of it."""
    page.evaluate("document.getElementById('problem').hidden = true")
    act()
    page.wait_for_selector("#problem:visible")
    return str(page.inner_text("#problem"))


def about_sound(page: Any, act: Callable[[], object]) -> str:
    """Do something with a sound that the page must refuse: what it says."""
    before = page.inner_text("#sound-about")
    act()
    page.wait_for_function(
        "before => document.getElementById('sound-about').textContent !== before", arg=before
    )
    return str(page.inner_text("#sound-about"))


def stopped(page: Any, start: Callable[[], object]) -> str:
    """Start what never ends, and stop it; what the page says, once Python has started again."""
    start()
    page.wait_for_timeout(3000)
    said = problem(page, lambda: page.click("#stop"))
    page.wait_for_selector("#loading", state="hidden")
    return said


def run_layer(page: Any, code: str) -> None:
    """Put code into the editor and run it."""
    page.fill("#code", code)
    page.click("#run-changed:enabled")


def run_cell(page: Any, code: str) -> None:
    """Run code as the first task of the first assignment."""
    page.select_option("#assignment", "a1_layers")
    page.locator("#tasks textarea").first.wait_for()
    task = page.locator("#tasks div:has(> textarea)").nth(1)
    task.locator("textarea").fill(code)
    task.locator("button").click()


def example(page: Any) -> str:
    """Choose the example and transcribe it; its text."""
    page.evaluate("document.getElementById('sound-about').textContent = ''")
    page.click("#example")
    page.wait_for_function(
        "document.getElementById('sound-about').textContent.startsWith('The example:')"
    )
    return check.transcribed(page)


def use(
    page: Any, files: dict[str, Path], pictures: Path | None
) -> tuple[dict[str, str], dict[str, str]]:
    """Do one wrong thing after the other; what the page said of each, and the example's text after each."""
    said, texts = dict[str, str](), {"before": example(page)}

    def note(name: str, sentence: str) -> None:
        said[name] = sentence
        check.picture(page, pictures, name.replace(" ", "-"))
        texts[name] = example(page)

    note("microphone refused", about_sound(page, lambda: page.click("#record")))
    for name in ("notes.txt", "empty.wav"):
        note(
            f"{name} as a sound",
            about_sound(page, lambda name=name: page.set_input_files("#file", files[name])),
        )
    for name in ("notes.txt", "cut.safetensors"):
        opened = problem(page, lambda name=name: page.set_input_files("#checkpoint", files[name]))
        note(f"{name} as a checkpoint", opened)
    for name, (code, _) in LAYERS.items():
        note(name, problem(page, lambda code=code: run_layer(page, code)))
    note("endless layer", stopped(page, lambda: run_layer(page, ENDLESS)))
    note("endless cell", stopped(page, lambda: run_cell(page, "while True:\n    pass")))
    return said, texts


def run(folder: Path, pictures: Path | None) -> dict[str, Any]:
    """Use the page wrongly, then without its server."""
    with (
        tempfile.TemporaryDirectory() as profile,
        check.browser_context(Path(profile), None) as context,
    ):
        with check.served(folder) as address:
            page, outside, errors = check.watched(context, urlsplit(address).netloc)
            check.visit(page, address)
            said, texts = use(page, write_files(Path(profile), folder), pictures)
        said["server gone"] = ""
        check.visit(page, address)
        texts["server gone"] = example(page)
    return {"said": said, "texts": texts, "outside": outside, "errors": errors}


def faults(found: dict[str, Any]) -> list[str]:
    """What is not as it should be."""
    expected = {name: sentence for name, (_, sentence) in LAYERS.items()} | {
        "microphone refused": "No recording: the microphone was refused: allow it for this page",
        "notes.txt as a sound": "notes.txt is no sound that this browser can decode",
        "empty.wav as a sound": "empty.wav is no sound that this browser can decode",
        "notes.txt as a checkpoint": "notes.txt: this is no checkpoint",
        "cut.safetensors as a checkpoint": "it is truncated or broken",
        "endless layer": "Stopped.",
        "endless cell": "Stopped.",
        "server gone": "",
    }
    said, texts = found["said"], found["texts"]
    wrong = [
        f"{name}: {said.get(name)!r} has not {text!r}"
        for name, text in expected.items()
        if text not in said[name]
    ]
    wrong += [
        f"{name}: more than a line: {text!r}" for name, text in said.items() if "\n" in text.strip()
    ]
    wrong += [
        f"after {name} the text was {text!r}"
        for name, text in texts.items()
        if text != texts["before"]
    ]
    wrong += [f"{kind}: {found[kind]}" for kind in ("outside", "errors") if found[kind]]
    return wrong if texts["before"] else [*wrong, "the example became nothing"]


def main() -> None:
    """The command line."""
    args = check.arguments(__doc__ or "")
    check.conclude(run(args.folder.resolve(), args.pictures), faults)


if __name__ == "__main__":
    main()
