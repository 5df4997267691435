"""openai-whisper's flags, for every command that transcribes.

Nothing here imports NumPy: the number of threads has to be known before that.
Source: ``cli`` in openai-whisper's ``transcribe.py``.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from typing import Any

from npwhisper.decoding.options import APPENDED, MOST_TEMPERATURES, PREPENDED, ROBUST

FORMATS = ("txt", "vtt", "srt", "tsv", "json")  # of output files
SUBTITLES = ("highlight_words", "max_line_width", "max_line_count", "max_words_per_line")  # they need word times


def boolean(text: str) -> bool:
    """True or False, in any case."""
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"expected True or False, got {text!r}")
    return text.lower() == "true"


def optional(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    """A converter that also takes the word None."""

    def convert(text: str) -> Any:
        return None if text == "None" else kind(text)

    convert.__name__ = kind.__name__
    return convert


def language(text: str) -> str | None:
    """A language; None and auto detect it."""
    return None if text.lower() in ("none", "auto") else text


def channel(text: str) -> str | int | None:
    """A channel's name or number; None is all of them."""
    return int(text) if text.isdecimal() and text.isascii() else None if text == "None" else text


class Help(argparse.ArgumentDefaultsHelpFormatter):
    """Help that names a default only where there is one, and no flag twice."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, "") else super()._get_help_string(action)

    def _get_default_metavar_foroptional(self, action: argparse.Action) -> str:
        return "VALUE"


def add_transcribing(p: argparse.ArgumentParser) -> None:
    """All options of `transcribe` and of the writers, in groups."""
    add_sound(p.add_argument_group("sound"))
    add_decoding(p.add_argument_group("decoding"))
    add_fallback(p.add_argument_group("when to decode a window again"))
    add_guards(p.add_argument_group("silence and hallucinations"))
    add_words(p.add_argument_group("words and subtitles (with --word_timestamps True)"))


def add_sound(group: Any) -> None:
    """What of a recording is read."""
    kinds = ["mix", "separate"]
    group.add_argument("--channels", default="mix", choices=kinds, help="separate: each by itself, one speaker on each")
    add_channel(group)
    group.add_argument("--max_duration", type=optional(float), help="seconds; a longer recording is refused")


def add_channel(group: Any) -> None:
    """Which channel of which sound track is read."""
    group.add_argument("--channel", type=channel, help="only this one: left, right, centre or a number from 0")
    group.add_argument("--audio_track", type=optional(int), help="which audio track of a film, a number from 0")


def add_decoding(group: Any) -> None:
    """How a window is decoded."""
    group.add_argument(
        "--task", default="transcribe", choices=("transcribe", "translate"), help="translate: to English"
    )
    group.add_argument("--language", "--lang", type=language, help="a code or an English name; detected unless given")
    add_detection(group)
    add_search(group)
    add_context(group)
    group.add_argument("--batch_size", type=optional(int), help="decode this many windows at once, cut at pauses")
    group.add_argument("--clip_timestamps", default="0", help="seconds start,end,start,end,... to transcribe")


def add_search(group: Any) -> None:
    """Which tokens are chosen: sampling, beam search, and what they may not be."""
    number, count = optional(float), optional(int)
    group.add_argument("--temperature", type=float, default=0.0, help="0: the likeliest token; above 0: sampling")
    group.add_argument("--seed", type=count, default=0, help="random seed of sampling; None: a new one every time")
    group.add_argument("--best_of", type=count, default=5, help="samples to choose from above temperature 0")
    group.add_argument("--beam_size", type=count, default=5, help="beams at temperature 0; None: greedy")
    group.add_argument("--patience", type=number, help="wait for this many times beam_size finished texts")
    group.add_argument("--length_penalty", type=number, help="exponent, 0 to 1; None: mean log-probability")
    signs = "token ids to suppress; -1: symbols that are not spoken; None: none"
    group.add_argument("--suppress_tokens", type=optional(str), default="-1", help=signs)
    group.add_argument("--repetition_penalty", type=float, default=1.0, help="above 1: make repetition less likely")
    never = "never repeat this many tokens in a row; 0: off"
    group.add_argument("--no_repeat_ngram_size", type=int, default=0, help=never)


def add_context(group: Any) -> None:
    """What a window is conditioned on."""
    group.add_argument("--initial_prompt", help="text before the first window: names, spelling, style")
    group.add_argument("--carry_initial_prompt", type=boolean, default=False, help="give it to every window")
    group.add_argument("--hotwords", help="words to expect, given to every window")
    before = "give each window the text before it"
    group.add_argument("--condition_on_previous_text", type=boolean, default=True, help=before)


def add_detection(group: Any) -> None:
    """In which windows the language is detected."""
    group.add_argument("--language_detection_segments", type=int, default=1, help="windows to detect the language in")
    sure = "stop at a window with a language at least this probable, 0 to 1"
    group.add_argument("--language_detection_threshold", type=optional(float), help=sure)


def add_fallback(group: Any) -> None:
    """When to try again at a higher temperature, and what is silence."""
    number = optional(float)
    group.add_argument(
        "--temperature_increment_on_fallback", type=number, default=0.2, help="added for each further attempt"
    )
    group.add_argument("--compression_ratio_threshold", type=number, default=2.4, help="above it, a text is repetitive")
    group.add_argument("--logprob_threshold", type=number, default=-1.0, help="below it, a text is unreliable")
    group.add_argument(
        "--no_speech_threshold", type=number, default=0.6, help="above it, an unreliable text is silence"
    )


def add_guards(group: Any) -> None:
    """Against hallucinations."""
    preset = ", ".join(f"--{name}" if value is True else f"--{name} {value}" for name, value in ROBUST.items())
    group.add_argument("--vad", action="store_true", help="skip the parts without speech")
    group.add_argument("--robust", action="store_true", help=f"shorthand for {preset}; options given explicitly win")


def add_words(group: Any) -> None:
    """Word timestamps and subtitles."""
    count = optional(int)
    group.add_argument("--word_timestamps", type=boolean, default=False, help="find when each word is spoken")
    group.add_argument("--spread_words", type=boolean, default=False, help="give words without duration one")
    group.add_argument("--prepend_punctuations", default=PREPENDED, help="punctuation joined to the next word")
    group.add_argument("--append_punctuations", default=APPENDED, help="punctuation joined to the word before")
    group.add_argument("--highlight_words", type=boolean, default=False, help="underline each word as it is spoken")
    group.add_argument("--max_line_width", type=count, help="characters in a line of subtitles")
    group.add_argument("--max_line_count", type=count, help="lines in a subtitle")
    group.add_argument("--max_words_per_line", type=count, help="words in a line, without --max_line_width")
    group.add_argument(
        "--hallucination_silence_threshold", type=optional(float), help="skip longer silences around hallucinations"
    )


def parsed(p: argparse.ArgumentParser, arguments: Sequence[str]) -> dict[str, Any]:
    """Everything that can be given, with defaults: those of `ROBUST` under --robust."""
    options = p.parse_args(arguments)
    if options.robust:
        p.set_defaults(**ROBUST)
        options = p.parse_args(arguments)
    for name in SUBTITLES:
        if getattr(options, name) and not options.word_timestamps:
            p.error(f"--{name} needs --word_timestamps True")
    return vars(options)


def temperatures(temperature: float, increment: float | None) -> list[float]:
    """Temperatures from the given one to 1, as upstream's command makes them."""
    import numpy as np

    least = 1 / (MOST_TEMPERATURES - 1)
    if increment and not least <= increment < math.inf:
        raise ValueError(f"--temperature_increment_on_fallback must be at least {least:.3f}, or None, got {increment}")
    if not increment or not 0 <= temperature <= 1:  # other values are refused with the other options
        return [temperature]
    return [float(t) for t in np.arange(temperature, 1.0 + 1e-6, increment)] or [temperature]
