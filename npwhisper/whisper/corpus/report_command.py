"""The command ``npwhisper report OUT``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from npwhisper.whisper.corpus.report import export, load_entries, report


def run(arguments: Sequence[str]) -> int:
    """Describe a corpus, and write its table if asked to."""
    p = argparse.ArgumentParser(prog="npwhisper report", description="Summarise the results of a corpus.")
    p.add_argument("manifest", help="the output folder of `npwhisper corpus`, or its manifest.jsonl")
    p.add_argument("--most", type=int, default=10, help="recordings in each list, at most (default: 10)")
    p.add_argument("--low", type=float, default=-1.0, help="mean log-probability below which a transcript is doubtful")
    p.add_argument("--export", metavar="TABLE", help="also write all entries as .csv, or .parquet (needs pyarrow)")
    given = p.parse_args(arguments)
    entries = load_entries(given.manifest)
    print(report(entries, given.most, given.low))
    if given.export:
        export(entries, given.export)
    return 0
