"""The command line: ``npwhisper AUDIO...`` transcribes; `COMMANDS` lists what else the first word can be.

Flags and defaults are those of openai-whisper's ``whisper`` command, except that the model is the embedded one unless
another is named, and that the exit status is 1 if a file fails. Until the output files are written, finished windows
are kept in ``NAME.journal`` beside them.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import npwhisper
from npwhisper.compute import THREAD_VARIABLES
from npwhisper.decoding.flags import (
    FORMATS,
    SUBTITLES,
    Help,
    add_transcribing,
    boolean,
    optional,
    parsed,
    temperatures,
)
from npwhisper.decoding.options import EVERY_WINDOW
from npwhisper.whisper.inputs import expanded
from npwhisper.whisper.messages import discard_output, failure
from npwhisper.whisper.outputs import STDIN, Outputs

EXPECTED = (ValueError, TypeError, OSError, RuntimeError, ImportError, MemoryError)  # one line, no traceback
COMMANDS = {  # the first word of the arguments -> the module that runs it
    "autograder": "lab.course.autograder",
    "convert": "checkpoint.command",
    "corpus": "whisper.corpus.command",
    "glass": "lab.glass.command",
    "grade": "lab.course.command",
    "language": "whisper.language_command",
    "report": "whisper.corpus.report_command",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    0, 1 if anything failed, 2 for wrong usage, 130 for Ctrl-C, 141 if whoever read the output has ended (``| head``).
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # characters that the terminal cannot show are escaped
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: print(f"npwhisper: {message}", file=sys.stderr)
        try:
            return _run(arguments)
        except KeyboardInterrupt:
            print("npwhisper: stopped", file=sys.stderr)
            return 130
        except BrokenPipeError:
            discard_output()
            return 141


def _run(arguments: Sequence[str]) -> int:
    """Run a command; what it printed has been written when this returns, so that no error comes at the exit."""
    try:
        return _command(arguments[1:], COMMANDS[arguments[0]]) if _names_one(arguments) else _transcribe(arguments)
    finally:
        if sys.stdout is not None:
            sys.stdout.flush()


DESCRIPTION = (
    "Transcribe recordings. `npwhisper convert IN OUT` converts a checkpoint, `npwhisper glass AUDIO -o PAGE.html` "
    "writes a page that shows a transcription step by step, `npwhisper language AUDIO...` only detects the language, "
    "`npwhisper corpus INPUT... -o OUT` transcribes many recordings, `npwhisper report OUT` summarises them, "
    "`npwhisper grade FOLDER -a a1` grades the assignments of a class."
)


def parser() -> argparse.ArgumentParser:
    """The arguments of ``npwhisper AUDIO...``, grouped."""
    p = argparse.ArgumentParser(
        prog="npwhisper",
        usage="npwhisper AUDIO [AUDIO ...] [options]",
        description=DESCRIPTION,
        formatter_class=Help,
    )
    p.add_argument(
        "audio",
        nargs="+",
        metavar="AUDIO",
        help="recordings, folders or patterns: wav, flac, ogg, mp3; others if ffmpeg is installed; - is stdin",
    )
    p.add_argument("--version", action="version", version=f"npwhisper {npwhisper.__version__}")
    _add_model(p.add_argument_group("model"))
    _add_output(p.add_argument_group("output"))
    add_transcribing(p)
    return p


def _add_model(group: Any) -> None:
    group.add_argument("--model", default="tiny.en", help="an official name, or the path of a checkpoint")
    group.add_argument("--model_dir", help="where official models are kept (~/.cache/whisper unless given)")
    group.add_argument("--device", default="cpu", help="cpu")
    kinds = ["float32", "int8"]
    group.add_argument("--weights", default="float32", choices=kinds, help="int8 takes a quarter of the memory")
    group.add_argument("--threads", "--num_threads", type=optional(int), default=0, help="CPU threads; 0: all")
    group.add_argument("--fp16", type=boolean, default=True, help="ignored; everything is float32")


def _add_output(group: Any) -> None:
    place = group.add_mutually_exclusive_group()
    place.add_argument("--output_dir", "-o", default=".", help="folder for the output files")
    place.add_argument("--beside", action="store_true", help="write the files of each recording beside it")
    group.add_argument("--language_in_name", action="store_true", help="talk.de.srt instead of talk.srt")
    group.add_argument(
        "--output_format", "-f", default="all", choices=(*FORMATS, "all", "none"), help="none prints only"
    )
    group.add_argument("--resume", action="store_true", help="continue from the journal of an interrupted run")
    group.add_argument("--verbose", type=boolean, default=True, help="print segments as they come; False: a bar")


def _transcribe(arguments: Sequence[str]) -> int:
    options = parsed(parser(), arguments)
    outputs = _outputs(options)
    if threads := options.pop("threads"):
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))  # read when NumPy is first imported
        options["num_threads"] = threads
    try:
        options["temperature"] = temperatures(options["temperature"], options.pop("temperature_increment_on_fallback"))
        recordings = expanded(options.pop("audio"))
        outputs.settle(recordings)
        kind, name = options.pop("weights"), options.pop("model")
        model = npwhisper.load_model(name, options.pop("device"), options.pop("model_dir"), weights=kind)
        options["language"] = _language(options["language"], model)
    except EXPECTED as error:
        return _reported(error)
    return max([_one_file(name, model, outputs, options, len(recordings) > 1) for name in recordings])


def _outputs(options: dict[str, Any]) -> Outputs:
    """Take the options that concern the output files out of the others."""
    subtitles = {name: options.pop(name) for name in SUBTITLES}
    form, folder, beside, with_language = map(
        options.pop, ("output_format", "output_dir", "beside", "language_in_name")
    )
    return Outputs(form, None if beside else folder, with_language, subtitles)


def _reported(error: Exception) -> int:
    """Print an error as one line; -> the exit status."""
    path = getattr(error, "filename", None)
    print(failure(error, repr(path) if path else ""), file=sys.stderr)
    return 1


def _language(language: str | None, model: npwhisper.Whisper) -> str | None:
    """The code of the language asked for, if the model knows more than English."""
    from npwhisper.tokenizer import check_language

    if language is None:
        return None
    if model.is_multilingual:
        return language if language == EVERY_WINDOW else check_language(language, model.num_languages)
    if language != EVERY_WINDOW and check_language(language) != "en":
        print(f"npwhisper: the model is English-only: --language {language} is ignored", file=sys.stderr)
    return "en"


def _one_file(
    recording: str, model: npwhisper.Whisper, outputs: Outputs, options: dict[str, Any], is_one_of_many: bool
) -> int:
    """Transcribe one recording; a failure is one line and does not stop the others."""
    from npwhisper.transcription.locking import JournalLock

    journal = outputs.journal(recording)
    if is_one_of_many and options["verbose"]:
        print(f"\n{STDIN if recording == '-' else recording}", flush=True)
    try:
        with JournalLock(journal) if journal is not None else contextlib.nullcontext() as lock:
            _transcribe_into(recording, model, outputs, journal, {**options, "journal": lock})
    except BrokenPipeError:
        raise
    except Exception as error:
        if not isinstance(error, EXPECTED):
            traceback.print_exc()
        print(failure(error, repr(recording)), file=sys.stderr)
        return 1
    return 0


def _transcribe_into(
    recording: str, model: npwhisper.Whisper, outputs: Outputs, journal: Path | None, options: dict[str, Any]
) -> None:
    """Transcribe and write; the journal goes when the output files are on the disk."""
    before = outputs.existing(recording)
    try:
        result = model.transcribe(sys.stdin.buffer if recording == "-" else recording, **options)
        written = outputs.write(result, recording)
    except KeyboardInterrupt:
        if journal is not None:
            _write_part(journal, outputs, recording, bool(before))
        raise
    if journal is not None:
        journal.unlink(missing_ok=True)
    if written:
        print(f"npwhisper: wrote {', '.join(map(str, written))}", file=sys.stderr)


def _write_part(journal: Path, outputs: Outputs, recording: str, keep: bool) -> None:
    """Write output files of what was recognised so far, unless that would replace earlier ones."""
    from npwhisper.transcription.journal import read_journal
    from npwhisper.transcription.separate import in_order

    if (part := read_journal(journal)).state is None:
        return
    if keep:
        print(f"npwhisper: kept the earlier outputs of {recording!r}; --resume continues this run", file=sys.stderr)
        return
    segments = in_order(part.segments) if "channels" in part.state else part.segments
    text = "".join(segment["text"] for segment in segments)
    outputs.write({"text": text, "segments": segments, "language": part.state["language"]}, recording)
    print(f"npwhisper: wrote {recording!r} as far as it was transcribed; --resume continues it", file=sys.stderr)


def _names_one(arguments: Sequence[str]) -> bool:
    """Whether the first word is a command, and no file has that name."""
    return bool(arguments) and arguments[0] in COMMANDS and not os.path.isfile(arguments[0])


def _command(arguments: Sequence[str], module: str) -> int:
    """Run another command; an error is printed as one line."""
    try:
        return int(import_module(f"npwhisper.{module}").run(arguments))
    except BrokenPipeError:
        raise
    except EXPECTED as error:
        return _reported(error)


if __name__ == "__main__":
    sys.exit(main())
