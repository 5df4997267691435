"""The results of a corpus, summarised from its manifest."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from npwhisper.whisper.corpus.manifest import FILE, Entry, read_manifest
from npwhisper.whisper.corpus.recordings import CorpusError

COLUMNS = (
    *("path", "name", "status", "duration", "language", "words", "avg_logprob", "seconds", "error"),
    *("size", "modified", "sha256", "settings"),
)


def load_entries(manifest: str | os.PathLike[str]) -> list[Entry]:
    """Read the entries of a manifest, or of the output folder that contains one.

    Raises
    ------
    CorpusError
        If there is none.
    """
    path = Path(manifest) / FILE if Path(manifest).is_dir() else Path(manifest)
    if not path.exists():
        raise CorpusError(f"there is no manifest {str(path)!r}: name the output folder of `npwhisper corpus`")
    return list(read_manifest(path).values())


def report(entries: Iterable[Entry], most: int = 10, low: float = -1.0) -> str:
    """Describe a corpus: totals, languages, and the recordings that deserve a look.

    Parameters
    ----------
    entries : iterable of dict
        What `transcribe_corpus` or `load_entries` returned.
    most : int
        How many recordings a list names at most.
    low : float
        A recording whose mean log-probability is below it is listed as doubtful.

    Returns
    -------
    str

    Examples
    --------
    >>> print(report([{"path": "a.wav", "status": "failed", "error": "no sound", "seconds": 0.1}]))
    1 recording: 0 done, 1 failed
    0.0 seconds of audio in 0.1 seconds of computing
    <BLANKLINE>
    failed
      a.wav: no sound
    """
    entries = list(entries)
    done = [entry for entry in entries if entry["status"] == "done"]
    failed = [entry for entry in entries if entry["status"] == "failed"]
    doubtful = sorted((e for e in done if (e["avg_logprob"] or 0) < low), key=lambda e: e["avg_logprob"])
    slow = sorted((e for e in done if e["duration"]), key=_slowness, reverse=True)
    parts = [
        _totals(entries, done, failed),
        _section(
            "languages", [f"{language}: {n}" for language, n in Counter(e["language"] for e in done).most_common()]
        ),
        _section("failed", [f"{entry['path']}: {entry['error']}" for entry in failed], most),
        _section("transcribed with a warning", [line for entry in done for line in _warnings(entry)], most),
        _section(f"doubtful (mean log-probability below {low})", [_scored(entry) for entry in doubtful], most),
        _section("slowest (seconds per second of audio)", [f"{_slowness(e):.2f}  {e['path']}" for e in slow], most),
    ]
    return "\n\n".join(part for part in parts if part)


def _totals(entries: Sequence[Entry], done: Sequence[Entry], failed: Sequence[Entry]) -> str:
    audio, computing = sum(entry["duration"] for entry in done), sum(entry["seconds"] for entry in entries)
    plural = "recording" if len(entries) == 1 else "recordings"
    lines = [
        f"{len(entries)} {plural}: {len(done)} done, {len(failed)} failed",
        f"{_lasting(audio)} of audio in {_lasting(computing)} of computing",
    ]
    if audio and computing:
        lines[1] += f" (real-time factor {computing / audio:.3f} per process)"
    if done:
        lines.append(f"{sum(entry['words'] for entry in done)} words")
    return "\n".join(lines)


def _lasting(seconds: float) -> str:
    """A duration in the unit that suits it.

    >>> _lasting(9.0), _lasting(90.0), _lasting(9000.0)
    ('9.0 seconds', '1.5 minutes', '2.50 hours')
    """
    if seconds < 60:
        return f"{seconds:.1f} seconds"
    return f"{seconds / 60:.1f} minutes" if seconds < 3600 else f"{seconds / 3600:.2f} hours"


def _section(title: str, lines: Sequence[str], most: int | None = None) -> str:
    if not lines:
        return ""
    more = [f"and {len(lines) - most} more"] if most is not None and len(lines) > most else []
    return "\n".join([title, *(f"  {line}" for line in [*lines[:most], *more])])


def _slowness(entry: Entry) -> float:
    return float(entry["seconds"] / entry["duration"])


def _warnings(entry: Entry) -> list[str]:
    return [f"{entry['path']}: {warning}" for warning in entry.get("warnings", ())]


def _scored(entry: Entry) -> str:
    return f"{entry['avg_logprob']:.2f}  {entry['path']}"


def export(entries: Iterable[Entry], target: str | os.PathLike[str]) -> None:
    """Write the entries as a table.

    Parameters
    ----------
    entries : iterable of dict
    target : path
        ``.csv``, or ``.parquet`` if pyarrow is installed.

    Raises
    ------
    CorpusError
        If the ending is another one, or pyarrow is missing.
    """
    rows = [{column: entry.get(column) for column in COLUMNS} for entry in entries]
    ending = Path(target).suffix
    if ending == ".csv":
        with open(target, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
    elif ending == ".parquet":
        _write_parquet(rows, target)
    else:
        raise CorpusError(f"tables are written as .csv or .parquet, got {ending or 'no ending'!r}: use one of these")


def _write_parquet(rows: list[dict[str, Any]], target: str | os.PathLike[str]) -> None:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise CorpusError("Parquet needs pyarrow: pip install pyarrow, or write .csv") from error
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), os.fspath(target))
