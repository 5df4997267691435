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
LEFT_OUT = {f"--{name}" for name in ("channels", "batch_size", *SUBTITLES)}  # one sound, one window at a time


class Given:
    """A group of flags without defaults: what is not given is left to `npwhisper.transcribe`."""

    def __init__(self, group: Any) -> None:
        self.group = group

    def add_argument(self, *names: str, **settings: Any) -> None:
        """Add a flag, unless it does not fit a page."""
        if names[0] not in LEFT_OUT:
            self.group.add_argument(*names, **{**settings, "default": argparse.SUPPRESS})


def parser() -> argparse.ArgumentParser:
    """The arguments of the command."""
    p = argparse.ArgumentParser(
        prog="npwhisper glass",
        description="Write one HTML file that shows a transcription step by step. "
        "Whatever is not given is as in npwhisper.transcribe: greedy search, other temperatures if that fails; "
        "word times are on.",
    )
    _add_page(p)
    _add_models(p.add_argument_group("model"))
    add_sound(Given(p.add_argument_group("sound")))
    add_decoding(Given(p.add_argument_group("decoding")))
    add_fallback(Given(p.add_argument_group("when to decode a window again")))
    add_guards(Given(p.add_argument_group("silence and imagined text")))
    add_words(Given(p.add_argument_group("words")))
    return p


def _add_page(p: argparse.ArgumentParser) -> None:
    p.add_argument("audio", metavar="AUDIO", help="a recording")
    p.add_argument("--output", "-o", metavar="PAGE.html", help="the file to write (the recording's name with .html)")
    p.add_argument("--title", help="what the page is called (the recording's name)")


def _add_models(group: Any) -> None:
    """The model, a second one, and what they need."""
    group.add_argument("--model", metavar="NAME", help="an official name, or the path of a checkpoint (embedded)")
    group.add_argument("--against", metavar="NAME", help="a second model, shown beside the first")
    group.add_argument("--model_dir", help="where official models are kept (~/.cache/whisper unless given)")
    group.add_argument("--weights", default="float32", choices=["float32", "int8"], help="int8: a quarter of memory")
    Given(group).add_argument("--num_threads", "--threads", type=optional(int), help="CPU threads; 0: all")


def run(arguments: Sequence[str]) -> int:
    """Write the page and say where it is."""
    given = parser().parse_args(arguments)
    target = Path(given.output or f"{Path(given.audio).stem}.html")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {str(target.parent)!r} for {target.name!r}: make it first")
    options = search_options(given)
    other = given.against and record(
        given.audio, _load(given.against, given), title=given.title, label=_label(given.against), **options
    )
    run = glass(given.audio, target, _load(given.model, given), against=other, title=given.title, **options)
    size = os.path.getsize(target) / 1e6
    print(f"{target}: {run.duration:.1f} s in {len(run.windows)} window(s), {size:.1f} MB; open it in a browser")
    return 0


def search_options(given: argparse.Namespace) -> dict[str, Any]:
    """What was given of the options of `npwhisper.transcribe`."""
    options = {name: value for name, value in vars(given).items() if name not in PAGE}
    if options.pop("robust", False):
        options = {**ROBUST, **options}
    increment = options.pop("temperature_increment_on_fallback", 0.2)
    if "temperature" in options or "temperature_increment_on_fallback" in vars(given):
        options["temperature"] = temperatures(options.get("temperature", 0.0), increment)
    return options


def _load(name: str | None, given: argparse.Namespace) -> Any:
    """A model that was named; without a name the embedded one."""
    if name is None and given.weights == "float32":
        return None
    return load_model(name, download_root=given.model_dir, weights=given.weights)


def _label(name: str) -> str:
    """What the page calls a model."""
    return Path(name).stem if Path(name).exists() else name
