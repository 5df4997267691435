"""Open the laboratory in a headless Chromium and use it: every figure that is printed was measured in that run.

    python notebooks/lite/build.py --to FOLDER
    python notebooks/lite/check.py FOLDER [--pictures FOLDER]

The example must become the very tokens that it becomes natively, and no request may go anywhere but to this computer.
Needs npwhisper, playwright, and a Chromium that is on the path. Takes about two minutes on an idle machine.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

FIRST, WARM, MOST_MEMORY = (
    60,
    20,
    700,
)  # seconds, seconds, MB: what the laboratory promises on an idle machine
WAIT = 240_000  # ms
IDENTITY = "def gelu(x):\n    return x * normal_cdf(x)\n"
BLIND = "def gelu(x):\n    return np.maximum(x, 0)\n"
SOFTMAX = '''def softmax(x):
    """x (..., N) -> (..., N)"""
    y = np.exp(x - x.max(axis=-1, keepdims=True))
    return y / y.sum(axis=-1, keepdims=True)


check(softmax)'''
SOLUTION = (
    "from npwhisper.lab.exercises import solution\n\n{task} = solution('{task}')\ncheck({task})"
)


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A file server that writes no log."""

    def log_message(self, *args: Any) -> None:
        pass


@contextlib.contextmanager
def served(folder: Path, handler: type[Quiet] = Quiet) -> Iterator[str]:
    """Serve a folder on this computer only; gives its address."""
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(handler, directory=str(folder))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://localhost:{server.server_port}/"
    finally:
        server.shutdown()


def write_example(path: Path) -> Path:
    """Write the example as a WAV file, which is somebody's own file, and what the microphone hears."""
    import npwhisper

    samples = npwhisper.load_audio(npwhisper.example())
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


@contextlib.contextmanager
def browser_context(profile: Path, heard: Path | None) -> Iterator[Any]:
    """A Chromium with a profile of its own, in which a second visit finds what the first one kept.

    Its microphone hears the WAV file `heard`; without one, the page may not use it.
    """
    from playwright.sync_api import sync_playwright

    path = (
        shutil.which("chromium")
        or shutil.which("google-chrome")
        or sys.exit("there is no Chromium: install one")
    )
    options = [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--use-fake-device-for-media-stream",
    ]
    if heard is not None:
        options += [
            "--use-fake-ui-for-media-stream",
            f"--use-file-for-fake-audio-capture={heard}%noloop",
        ]
    with sync_playwright() as playwright:
        launch = playwright.chromium.launch_persistent_context
        context = launch(str(profile), executable_path=path, args=options, color_scheme="light")
        context.set_default_timeout(WAIT)
        yield context
        context.close()


def watched(context: Any, host: str) -> tuple[Any, list[str], list[str]]:
    """A new page, and what it will have done wrong: requests elsewhere, errors."""
    outside, errors = list[str](), list[str]()
    page = context.new_page()
    context.on("request", lambda r: outside.append(r.url) if is_outside(r.url, host) else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda m: errors.append(complaint(m)) if m.type == "error" else None)
    return page, outside, errors


def complaint(message: Any) -> str:
    """An error of the console with its place: of a file that is missing, the address."""
    return f"{message.text} ({message.location['url']})"


def is_outside(url: str, host: str) -> bool:
    """Whether a request leaves this computer; data: and blob: do not.

    >>> is_outside("http://localhost:8000/a", "localhost:8000"), is_outside("https://example.org", "localhost:8000")
    (False, True)
    """
    parts = urlsplit(url)
    return parts.scheme not in ("data", "blob", "about") and parts.netloc != host


def memory_of_renderers(profile: Path) -> float:
    """The resident memory, in MB, of the largest process of this Chromium that renders pages."""
    sizes = [0.0]
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            command = (status.parent / "cmdline").read_bytes().decode(errors="replace")
            if "--type=renderer" in command and str(profile) in family(status.parent):
                sizes.append(float(status.read_text().partition("VmRSS:")[2].split()[0]) / 1000)
    return max(sizes)


def processor_seconds(profile: Path) -> float:
    """The processor time that this Chromium has taken so far: other work on the machine does not lengthen it."""
    ticks = 0
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(profile) in family(process):
                user, system = (process / "stat").read_text().rpartition(")")[2].split()[11:13]
                ticks += int(user) + int(system)
    return ticks / os.sysconf("SC_CLK_TCK")


def family(process: Path) -> str:
    """The command lines of a process and of all that started it."""
    found = ""
    while (process / "cmdline").exists() and process.name != "1":
        found += (process / "cmdline").read_bytes().decode(errors="replace")
        process = process.parent / (process / "stat").read_text().rpartition(")")[2].split()[1]
    return found


def visit(page: Any, address: str) -> dict[str, float]:
    """Open the page, choose the example, transcribe it; the seconds until Python is ready, and until the text is."""
    start = time.perf_counter()
    page.goto(address)
    page.click("#example")
    page.wait_for_selector("#transcribe:enabled")
    ready = time.perf_counter() - start
    page.click("#transcribe")
    page.wait_for_function("document.getElementById('figures').textContent")
    return {"ready": ready, "first": time.perf_counter() - start}


def native_tokens() -> list[int]:
    """What the example becomes outside of a browser."""
    import npwhisper

    segments = npwhisper.transcribe(npwhisper.example())["segments"]
    return [token for segment in segments for token in segment["tokens"]]


def run_changed(page: Any, code: str) -> tuple[str, str]:
    """Run with a layer of one's own: what the page says of it, and the words that it marks."""
    page.fill("#code", code)
    page.click("#run-changed")
    done = "document.getElementById('changes').textContent || !document.getElementById('problem').hidden"
    page.wait_for_function(done)
    if page.is_visible("#problem"):
        return page.inner_text("#problem"), ""
    return page.inner_text("#changes"), " ".join(page.locator("#changed mark").all_inner_texts())


def transcribed(page: Any) -> str:
    """Transcribe the sound that was chosen; the text."""
    page.evaluate("document.getElementById('figures').textContent = ''")
    page.click("#transcribe:enabled")
    page.wait_for_function("document.getElementById('figures').textContent")
    return str(page.evaluate("laboratory.first.text")).strip()


def use_products(page: Any) -> dict[str, Any]:
    """Measure all products, transcribe with NumPy's, and go back to the kernel; what came of it."""
    page.click("#measure:enabled")
    page.wait_for_selector("#speeds:visible")
    found = {"speeds": page.inner_text("#speeds tbody").splitlines()}
    tokens = page.evaluate("laboratory.first.tokens")
    page.check("input[value=numpy]", force=True)
    transcribed(page)
    found["figures"] = page.inner_text("#figures")
    found["tokens equal"] = page.evaluate("laboratory.first.tokens") == tokens
    page.check("input[value=simd]:enabled", force=True)
    return found


def use_own(page: Any, sound: Path, weights: Path) -> dict[str, Any]:
    """Record from the microphone; open a sound file and a checkpoint of one's own; what became of them."""
    page.click("#record")
    page.wait_for_selector("#record[aria-pressed=true]")
    page.wait_for_timeout(11_500)
    page.click("#record")
    page.wait_for_selector("#record[aria-pressed=false]")
    page.wait_for_function(
        "document.getElementById('sound-about').textContent.startsWith('Your recording:')"
    )
    found = {"recorded": (page.inner_text("#sound-about"), transcribed(page))}
    page.set_input_files("#checkpoint", str(weights))
    page.wait_for_function("document.getElementById('model').textContent.startsWith('own')")
    page.set_input_files("#file", str(sound))
    page.wait_for_function(
        "document.getElementById('sound-about').textContent.startsWith('example.wav:')"
    )
    found["file"] = (page.inner_text("#sound-about"), transcribed(page))
    found["checkpoint"] = page.inner_text("#model")
    return found


def use(page: Any, pictures: Path | None) -> dict[str, Any]:
    """Change a layer, open the glass box, solve a task; what came of it."""
    found: dict[str, Any] = {}
    found["same layer"] = run_changed(page, IDENTITY)
    found["broken code"] = run_changed(page, "def gelu(x):\n    return x +\n")
    found["other layer"] = run_changed(page, BLIND)
    picture(page, pictures, "changed")
    page.click("#theme")  # the system is light
    page.click("#glass")
    page.wait_for_selector("#glass-box:visible")
    glass = page.frame_locator("#glass-box")
    glass.locator("#tokens .token").first.wait_for()
    found["glass"] = glass.locator("html").get_attribute("data-theme")
    picture(page, pictures, "glass")
    page.select_option("#assignment", "a1_layers")
    softmax = page.locator("#tasks textarea")
    softmax.first.wait_for()
    found["raw formulas"] = [
        text
        for text in page.locator(".task .text").all_inner_texts()
        if "$" in text or "\\" in text
    ]
    found["formulas"] = page.locator(".task math").count()
    index = next(i for i in range(softmax.count()) if "def softmax" in softmax.nth(i).input_value())
    softmax.nth(index).fill(SOFTMAX)
    page.click("#check-all")
    page.wait_for_function("document.getElementById('score').textContent")
    found["score"] = page.inner_text("#score")
    with page.expect_download() as download:
        page.click("#hand-in")
    found["graded"] = graded(download.value, "a1")
    picture(page, pictures, "assignment")
    return found


def graded(download: Any, assignment: str) -> dict[str, int]:
    """Hand in what was downloaded, and grade it as an instructor does: the points of each task that has any."""
    with tempfile.TemporaryDirectory() as folder:
        file, table = Path(folder) / download.suggested_filename, Path(folder) / "all.json"
        download.save_as(file)
        options = ("--assignment", assignment, "--student", "visitor", "--json", str(table))
        command = [sys.executable, "-m", "npwhisper", "grade", *options, str(file)]
        subprocess.run(command, check=True, capture_output=True)
        (student,) = json.loads(table.read_text(encoding="utf-8"))["students"]
    return {mark["task"]: mark["points"] for mark in student["marks"] if mark["points"]}


def use_solutions(page: Any) -> str:
    """Solve an assignment by the package's own functions; what its last cell, where they work together, says."""
    page.select_option("#assignment", "a3_cache")
    page.wait_for_function("document.querySelector('#tasks textarea').value.includes('KeyValues')")
    for box in page.locator("#tasks textarea").all():
        if task := re.search(r"raise NotImplementedError\n\n\ncheck\((\w+)\)$", box.input_value()):
            box.fill(SOLUTION.format(task=task[1]))
    page.evaluate("document.getElementById('score').textContent = ''")
    page.click("#check-all")
    page.wait_for_function("document.getElementById('score').textContent")
    return f"{page.inner_text('#score')}: {page.locator('#tasks pre').last.inner_text()}"


def picture(page: Any, pictures: Path | None, name: str) -> None:
    """Screenshots: light, dark, and as wide as a phone."""
    if pictures is None:
        return
    for kind, width in {"light": 1100, "dark": 1100, "phone": 390}.items():
        page.set_viewport_size({"width": width, "height": 900})
        if (page.get_attribute("html", "data-theme") == "dark") != (kind == "dark"):
            page.click("#theme")
        page.screenshot(path=pictures / f"{name}-{kind}.png", full_page=True)
    page.set_viewport_size({"width": 1100, "height": 900})


def cold_and_warm(folder: Path) -> dict[str, dict[str, float]]:
    """Visit with a new profile, and again with what it kept: seconds, seconds of processors, and memory in MB."""
    found = dict[str, dict[str, float]]()
    with served(folder) as address, tempfile.TemporaryDirectory() as profile:
        for name in ("cold", "warm"):
            with browser_context(Path(profile), None) as context:
                found[name] = visit(context.new_page(), address)
                found[name]["processor"] = processor_seconds(Path(profile))
                found[name]["memory"] = memory_of_renderers(Path(profile))
                found[name]["load average"] = os.getloadavg()[0]
    return found


def check(folder: Path, pictures: Path | None) -> dict[str, Any]:
    """Visit twice, use everything once, and hold the results against what they should be."""
    with served(folder) as address, tempfile.TemporaryDirectory() as profile:
        host, found = urlsplit(address).netloc, dict[str, Any]()
        sound, own = write_example(Path(profile) / "example.wav"), Path(profile) / "own.safetensors"
        shutil.copy(folder / "static" / "weights" / "tiny.en.safetensors", own)
        with browser_context(Path(profile), sound) as context:
            page, outside, errors = watched(context, host)
            found["cold"] = visit(page, address)
            found["tokens equal"] = page.evaluate("laboratory.first.tokens") == native_tokens()
            found["figures"] = page.inner_text("#figures")
            found["memory"] = {
                "renderer": memory_of_renderers(Path(profile)),
                "python": page.inner_text("#memory"),
            }
            found["gflops"] = [page.inner_text(f"#gflops-{by}") for by in ("numpy", "simd")]
            picture(page, pictures, "text")
            found["text"] = page.evaluate("laboratory.first.text").strip()
            found |= use_own(page, sound, own)
            found["memory"]["renderer, with an own checkpoint"] = memory_of_renderers(Path(profile))
            picture(page, pictures, "own")
            if not page.is_visible("#no-kernel"):
                found["products"] = use_products(page)
            found |= use(page, pictures)
            found["solved"] = use_solutions(page)
            found["memory"]["renderer, after all"] = memory_of_renderers(Path(profile))
        with browser_context(Path(profile), sound) as context:
            page, more, _ = watched(context, host)
            found["warm"] = visit(page, address)
        found["load average"] = os.getloadavg()
        return {**found, "outside": outside + more, "errors": errors}


def faults(found: dict[str, Any]) -> list[str]:
    """What is not as it should be; times depend on the machine, and are only reported."""
    wanted = {
        "the tokens are not those of native Python": found["tokens equal"],
        f"requests went elsewhere: {found['outside']}": not found["outside"],
        f"errors were logged: {found['errors']}": not found["errors"],
        "the same layer changed a word": "not a word changed" in found["same layer"][0],
        "broken code was not named": "SyntaxError" in found["broken code"][0],
        "another layer was not called": "was called" in found["other layer"][0],
        "the kernel was not used": "by SIMD" in found["figures"],
        "NumPy's tokens are not the kernel's": found.get("products", {}).get("tokens equal", False),
        f"the recording became {found['recorded']}": "what you can do for your country"
        in found["recorded"][1],
        f"the own file became {found['file']}": found["file"]
        == ("example.wav: 11.0 s", found["text"]),
        "the own checkpoint was not opened": found["checkpoint"].startswith(
            "own.safetensors: <Whisper"
        ),
        f"formulas are shown raw: {found['raw formulas']}": found["formulas"]
        and not found["raw formulas"],
        f"the glass box is {found['glass']} in a dark page": found["glass"] == "dark",
        "the solved task was not counted": found["score"].startswith("1 of 8"),
        f"of the file handed in these tasks got points: {found['graded']}": found["graded"]
        == {"softmax": 2},
        f"a solved assignment said {found['solved']}": found["solved"].startswith("5 of 5")
        and "what you can do for your country" in found["solved"],
    }
    return [fault for fault, is_right in wanted.items() if not is_right]


def arguments(about: str, **numbers: str) -> argparse.Namespace:
    """The command line of a check that `about` describes: a site's folder, one for pictures, which is made, numbers."""
    summary, _, more = about.partition("\n\n")
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=summary, epilog=more, formatter_class=form)
    parser.add_argument("folder", type=Path, help="what build.py made")
    parser.add_argument("--pictures", type=Path, help="where screenshots are written")
    for name, what in numbers.items():
        parser.add_argument(f"--{name}", type=int, metavar="N", help=what)
    args = parser.parse_args()
    if args.pictures:
        args.pictures.mkdir(parents=True, exist_ok=True)
    return args


def conclude(found: dict[str, Any], faults: Callable[[dict[str, Any]], list[str]]) -> None:
    """Print what a check found, and end with what is wrong with it."""
    print(json.dumps(found, indent=1, ensure_ascii=False))
    if wrong := faults(found):
        sys.exit("\n".join(wrong))


def main() -> None:
    """The command line."""
    args = arguments(
        __doc__ or "", visits="only visit N times, cold and warm, and print what it took"
    )
    for _ in range(args.visits or 0):
        print(json.dumps(cold_and_warm(args.folder.resolve())), flush=True)
    if args.visits:
        return
    found = check(args.folder.resolve(), args.pictures)
    promises = {"first": (found["cold"]["first"], FIRST), "warm": (found["warm"]["first"], WARM)}
    promises["memory"] = (found["memory"]["renderer"], MOST_MEMORY)
    for name, (got, most) in promises.items():
        print(f"{name}: {got:.1f}, promised {most}{'' if got <= most else ' (NOT KEPT)'}")
    conclude(found, faults)


if __name__ == "__main__":
    main()
