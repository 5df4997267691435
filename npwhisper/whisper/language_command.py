"""The command ``npwhisper language FILE...``: only which language is spoken, without a transcription."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from npwhisper.decoding.flags import Help, add_channel, add_detection
from npwhisper.whisper.inputs import expanded
from npwhisper.whisper.messages import failure

FAILURES = (ValueError, OSError, RuntimeError, MemoryError)  # of one recording, which do not stop the others


def parser() -> argparse.ArgumentParser:
    """The arguments of the command."""
    p = argparse.ArgumentParser(
        prog="npwhisper language",
        usage="npwhisper language AUDIO [AUDIO ...] [options]",
        description="Detect the language spoken: one line for each recording, with the likeliest languages.",
        formatter_class=Help,
    )
    p.add_argument("audio", nargs="+", metavar="AUDIO", help="recordings, folders or patterns; - is stdin")
    p.add_argument("--model", default="base", help="the name of a multilingual model, or the path of a checkpoint")
    p.add_argument("--model_dir", help="where official models are kept (~/.cache/whisper unless given)")
    p.add_argument("--top", type=int, default=3, help="how many languages to print")
    p.add_argument("--vad", action="store_true", help="skip the parts without speech")
    p.add_argument("--clip_timestamps", default="0", help="seconds start,end,start,end,... to listen to")
    add_detection(p)
    add_channel(p)
    return p


def run(arguments: Sequence[str]) -> int:
    """Print the languages of each recording; 1 if one failed."""
    options = vars(parser().parse_args(arguments))
    names, top = options.pop("audio"), options.pop("top")
    if top < 1:
        raise ValueError(f"--top must be at least 1, got {top}")
    recordings = expanded(names)
    from npwhisper.decoding import require_languages
    from npwhisper.whisper import load_model

    model = load_model(options.pop("model"), download_root=options.pop("model_dir"))
    require_languages(model)
    return max([_one(model, name, top, options) for name in recordings])


def _one(model: Any, name: str, top: int, options: dict[str, Any]) -> int:
    """Print the line of one recording, or of its failure."""
    try:
        _, probs = model.detect_language(sys.stdin.buffer if name == "-" else name, **options)
    except FAILURES as error:
        print(failure(error, repr(name)), file=sys.stderr)
        return 1
    print(f"{name}: {languages_line(probs, top)}", flush=True)
    return 0


def languages_line(probs: dict[str, float], top: int) -> str:
    """The likeliest languages, each with its probability.

    >>> languages_line({"en": 0.0312, "de": 0.9654, "nl": 0.0034}, 2)
    'German (de) 0.965, English (en) 0.031'
    """
    from npwhisper.tokenizer import LANGUAGES

    likeliest = sorted(probs, key=probs.__getitem__, reverse=True)[:top]
    return ", ".join(f"{LANGUAGES[code].title()} ({code}) {probs[code]:.3f}" for code in likeliest)
