"""The command ``npwhisper glass AUDIO -o PAGE.html``."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from npwhisper.decoding.flags import (
    SUBTITLES,
    add_decoding,
    add_fallback,
    add_guards,
    add_sound,
    add_words,
    optional,
    temperatures,
)
from npwhisper.decoding.options import ROBUST
from npwhisper.lab.glass import glass, record
from npwhisper.whisper import load_model

PAGE = ("audio", "output", "model", "model_dir", "weights", "against", "title")
LEFT_OUT = {f"--{name}" for name in ("channels", "batch_size", *SUBTITLES)}  # one signal, one window at a time


class Given:
    """A group of flags without defaults: omitted options keep the defaults of `npwhisper.transcribe`."""

    def __init__(self, group: Any) -> None:
        self.group = group

    def add_argument(self, *names: str, **settings: Any) -> None:
        """Add a flag, unless a page does not support it."""
        if names[0] not in LEFT_OUT:
            self.group.add_argument(*names, **{**settings, "default": argparse.SUPPRESS})


def parser() -> argparse.ArgumentParser:
    """The arguments of the command."""
    p = argparse.ArgumentParser(
        prog="npwhisper glass",
        description="Write one HTML file that shows a transcription step by step. "
        "Defaults are those of npwhisper.transcribe (greedy search, temperature fallback), with word times on.",
    )
    _add_page(p)
    _add_models(p.add_argument_group("model"))
    add_sound(Given(p.add_argument_group("sound")))
    add_decoding(Given(p.add_argument_group("decoding")))
    add_fallback(Given(p.add_argument_group("when to decode a window again")))
    add_guards(Given(p.add_argument_group("silence and hallucinations")))
    add_words(Given(p.add_argument_group("words")))
    return p


def _add_page(p: argparse.ArgumentParser) -> None:
    p.add_argument("audio", metavar="AUDIO", help="a recording")
    p.add_argument("--output", "-o", metavar="PAGE.html", help="output file (default: the recording's name with .html)")
    p.add_argument("--title", help="the title of the page (default: the recording's name)")


def _add_models(group: Any) -> None:
    """The model, a second model, and how they run."""
    group.add_argument("--model", metavar="NAME", help="official name or path of a checkpoint (default: embedded)")
    group.add_argument("--against", metavar="NAME", help="a second model to compare with")
    group.add_argument("--model_dir", help="folder of downloaded models (default: ~/.cache/whisper)")
    group.add_argument(
        "--weights", default="float32", choices=["float32", "int8"], help="int8: a quarter of the memory"
    )
    Given(group).add_argument("--num_threads", "--threads", type=optional(int), help="CPU threads; 0: all")


def run(arguments: Sequence[str]) -> int:
    """Write the page and print where it is."""
    given = parser().parse_args(arguments)
    target = Path(given.output or f"{Path(given.audio).stem}.html")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {str(target.parent)!r} for {target.name!r}: create it first")
    options = search_options(given)
    other = given.against and record(
        given.audio, _load(given.against, given), title=given.title, label=_label(given.against), **options
    )
    run = glass(given.audio, target, _load(given.model, given), against=other, title=given.title, **options)
    size = os.path.getsize(target) / 1e6
    print(f"{target}: {run.duration:.1f} s in {len(run.windows)} window(s), {size:.1f} MB; open it in a browser")
    return 0


def search_options(given: argparse.Namespace) -> dict[str, Any]:
    """The options of `npwhisper.transcribe` that were given."""
    options = {name: value for name, value in vars(given).items() if name not in PAGE}
    if options.pop("robust", False):
        options = {**ROBUST, **options}
    increment = options.pop("temperature_increment_on_fallback", 0.2)
    if "temperature" in options or "temperature_increment_on_fallback" in vars(given):
        options["temperature"] = temperatures(options.get("temperature", 0.0), increment)
    return options


def _load(name: str | None, given: argparse.Namespace) -> Any:
    """The model with this name; without a name, the embedded one."""
    if name is None and given.weights == "float32":
        return None
    return load_model(name, download_root=given.model_dir, weights=given.weights)


def _label(name: str) -> str:
    """The label of a model's run."""
    return Path(name).stem if Path(name).exists() else name
