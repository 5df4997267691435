"""The command ``npwhisper corpus INPUT... --output_dir OUT``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Any

from npwhisper.decoding.flags import (
    SUBTITLES,
    Help,
    add_transcribing,
    boolean,
    parsed,
    temperatures,
)
from npwhisper.transcription.output.writers import FORMATS
from npwhisper.whisper.corpus.forking import sharing_memory
from npwhisper.whisper.corpus.manifest import Entry
from npwhisper.whisper.corpus.run import transcribe_corpus
from npwhisper.whisper.messages import failure


def parser() -> argparse.ArgumentParser:
    """The arguments of the command."""
    p = argparse.ArgumentParser(
        prog="npwhisper corpus",
        usage="npwhisper corpus INPUT [INPUT ...] --output_dir OUT [options]",
        description="Transcribe many recordings, several at a time. Run it again to continue where it stopped. "
        "With --batch_size, all jobs share recordings of 15 minutes and more, and small files fill batches together.",
        formatter_class=Help,
    )
    p.add_argument("inputs", nargs="+", metavar="INPUT", help="files, folders, patterns, .list files; - reads a list")
    p.add_argument("--output_dir", "-o", required=True, help="folder for the transcripts and manifest.jsonl")
    p.add_argument("--output_format", "-f", nargs="+", default=["txt", "json"], choices=(*FORMATS, "all"))
    p.add_argument("--model", default="tiny.en", help="an official name, or the path of a checkpoint")
    p.add_argument("--jobs", "-j", type=int, help="processes; one for each processor unless given")
    p.add_argument("--threads", type=int, default=1, help="threads of each job")
    p.add_argument("--weights_cache", help="folder for the weights that all jobs share (~/.cache/npwhisper)")
    p.add_argument("--retry_failed", action="store_true", help="try recordings again that failed before")
    p.add_argument("--verbose", type=boolean, default=True, help="False: no progress bar")
    add_transcribing(p)
    return p


def run(arguments: Sequence[str]) -> int:
    """Transcribe the corpus and print a summary; 1 if a recording failed."""
    options = parsed(parser(), arguments)
    inputs, folder, model, verbose = (options.pop(name) for name in ("inputs", "output_dir", "model", "verbose"))
    options |= {"n_jobs": options.pop("jobs"), "num_threads": options.pop("threads")}
    options["subtitles"] = {name: value for name in SUBTITLES if (value := options.pop(name))}
    options["temperature"] = temperatures(options["temperature"], options.pop("temperature_increment_on_fallback"))
    with sharing_memory(), _Bar(verbose) as bar:
        entries = transcribe_corpus(inputs, folder, model, planned=bar.start, progress=bar.add, **options)
    return _summed_up(entries, bar.total, f"{folder}/manifest.jsonl")


def _summed_up(entries: Sequence[Entry], total: int, manifest: str) -> int:
    """Print the failures and the counts; 1 if a recording failed or was not done."""
    failed = [entry for entry in entries if entry["status"] == "failed"]
    for entry in failed:
        print(failure(entry["error"], repr(entry["path"])), file=sys.stderr)
    done = len(entries) - len(failed)
    print(f"{done} recording{'s' * (done != 1)} done, {len(failed)} failed: {manifest}")
    if len(entries) < total:
        print(f"{total - len(entries)} not done: run the same command again to continue", file=sys.stderr)
    return int(bool(failed) or len(entries) < total)


class _Bar:
    """A progress bar that counts recordings, hours of audio and seconds of computing per second of audio."""

    def __init__(self, is_shown: bool) -> None:
        self.is_shown = is_shown
        self.bar: Any = None
        self.audio, self.total, self.begin = 0.0, 0, time.perf_counter()

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def start(self, todo: int, total: int) -> None:
        """`todo` of `total` recordings are not done yet."""
        from tqdm import tqdm

        self.total, self.bar = total, tqdm(total=todo, unit="recording", disable=not (self.is_shown and todo))

    def add(self, entry: Entry) -> None:
        """Count a recording that is finished."""
        self.audio += entry.get("duration", 0.0)
        factor = (time.perf_counter() - self.begin) / self.audio if self.audio else 0.0
        self.bar.set_postfix_str(f"{self.audio / 3600:.2f} h of audio, real-time factor {factor:.3f}")
        self.bar.update()
