"""The command ``npwhisper glass AUDIO -o PAGE.html``."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from npwhisper.lab.glass import glass
from npwhisper.whisper import load_model

SEARCH = ("language", "temperature", "beam_size", "best_of", "initial_prompt", "task", "seed")


def parser() -> argparse.ArgumentParser:
    """The arguments of the command."""
    p = argparse.ArgumentParser(
        prog="npwhisper glass",
        description="Write one HTML file in which a transcription can be seen, stepped through and understood.",
    )
    p.add_argument("audio", metavar="AUDIO", help="a recording")
    p.add_argument("--output", "-o", metavar="PAGE.html", help="the file to write (the recording's name with .html)")
    p.add_argument("--model", metavar="NAME", help="an official name, or the path of a checkpoint (the embedded one)")
    p.add_argument("--against", metavar="NAME", help="a second model, shown beside the first")
    p.add_argument("--title", help="what the page is called (the recording's name)")
    p.add_argument("--task", choices=("transcribe", "translate"), help="translate: to English")
    p.add_argument("--language", help="a code or an English name; detected unless given")
    p.add_argument("--temperature", type=float, help="0 takes the likeliest, above it draws (0, then up to 1)")
    p.add_argument("--beam_size", type=int, help="beams at temperature 0 (greedy)")
    p.add_argument("--best_of", type=int, help="samples to choose from above temperature 0")
    p.add_argument("--seed", type=int, help="of drawing")
    p.add_argument("--initial_prompt", help="text before the first window: names, spelling, style")
    return p


def run(arguments: Sequence[str]) -> int:
    """Write the page and say where it is."""
    given = parser().parse_args(arguments)
    target = Path(given.output or f"{Path(given.audio).stem}.html")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {str(target.parent)!r} for {target.name!r}: make it first")
    options: dict[str, Any] = {name: getattr(given, name) for name in SEARCH if getattr(given, name) is not None}
    model = None if given.model is None else load_model(given.model)
    run = glass(given.audio, target, model, against=given.against, title=given.title, **options)
    size = os.path.getsize(target) / 1e6
    print(f"{target}: {run.duration:.1f} s in {len(run.windows)} window(s), {size:.1f} MB; open it in a browser")
    return 0
