"""Whether two transcripts are the same."""

from __future__ import annotations

from typing import Any

import pytest

SCORES = ("avg_logprob", "no_speech_prob")  # another number of rows rounds otherwise


def assert_equal(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert (a["text"], a["language"], len(a["segments"])) == (b["text"], b["language"], len(b["segments"]))
    for one, other in zip(a["segments"], b["segments"], strict=True):
        words, others = one.get("words", []), other.get("words", [])
        assert [w["word"] for w in words] == [w["word"] for w in others]
        same = {key for key in one if key not in (*SCORES, "words")}
        assert {key: one[key] for key in same} == {key: other[key] for key in same}
        for key in SCORES:
            assert one[key] == pytest.approx(other[key], abs=1e-4)
        for word, twin in zip(words, others, strict=True):
            assert (word["start"], word["end"]) == (twin["start"], twin["end"])
            assert word["probability"] == pytest.approx(twin["probability"], abs=1e-4)
