"""The report of a corpus and its tables."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from npwhisper.whisper.corpus.manifest import Manifest
from npwhisper.whisper.corpus.recordings import CorpusError
from npwhisper.whisper.corpus.report import export, load_entries, report


def done(name: str, **changes: Any) -> dict[str, Any]:
    entry = {"path": f"{name}.wav", "name": name, "status": "done", "duration": 60.0, "language": "de", "words": 100}
    return {**entry, "avg_logprob": -0.3, "seconds": 6.0, **changes}


ENTRIES = [
    done("good"),
    done("slow", seconds=90.0),
    done("doubtful", avg_logprob=-1.5, language="cy"),
    done("silent", words=0, avg_logprob=None, warnings=["the end is missing"]),
    {"path": "x.wav", "name": "x", "status": "failed", "seconds": 0.0, "error": "no sound"},
]


def test_the_report_names_what_deserves_a_look() -> None:
    assert report(ENTRIES, most=1).splitlines() == [
        "5 recordings: 4 done, 1 failed",
        "4.0 minutes of audio in 1.8 minutes of computing (real-time factor 0.450 per process)",
        "300 words",
        "",
        "languages",
        "  de: 3",
        "  cy: 1",
        "",
        "failed",
        "  x.wav: no sound",
        "",
        "transcribed with a warning",
        "  silent.wav: the end is missing",
        "",
        "doubtful (mean log-probability below -1.0)",
        "  -1.50  doubtful.wav",
        "",
        "slowest (seconds per second of audio)",
        "  1.50  slow.wav",
        "  and 3 more",
    ]


def test_the_table_has_a_row_for_each_recording(tmp_path: Path) -> None:
    export(ENTRIES, tmp_path / "table.csv")
    with open(tmp_path / "table.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["done"] * 4 + ["failed"]
    assert rows[1]["seconds"] == "90.0"
    assert rows[4]["error"] == "no sound"


def test_parquet_holds_the_same(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    export(ENTRIES, tmp_path / "table.parquet")
    rows = parquet.read_table(tmp_path / "table.parquet").to_pylist()
    assert [row["avg_logprob"] for row in rows] == [-0.3, -0.3, -1.5, None, None]


def test_other_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"'\.xlsx'"):
        export(ENTRIES, tmp_path / "table.xlsx")


def test_entries_are_read_from_a_manifest_or_its_folder(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="there is no manifest"):
        load_entries(tmp_path)
    manifest = Manifest(tmp_path)
    for entry in ENTRIES:
        manifest.add(entry)
    assert load_entries(tmp_path) == load_entries(tmp_path / "manifest.jsonl") == ENTRIES
