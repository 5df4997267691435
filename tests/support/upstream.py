"""openai-whisper beside ours: the same weights in both, and what it means that their results are equal."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import cases
import numpy as np
import pytest
from talkers import talker
from tolerances import PROBABILITY

import npwhisper
from npwhisper import ModelDimensions, Whisper
from npwhisper.tracing.seam import Array

WARNINGS = [
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),  # theirs forgets to close it
    pytest.mark.filterwarnings("ignore:.*parallel=True.*"),  # numba, of their dtw
    pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning"),  # their argsort of a tensor
    pytest.mark.filterwarnings("ignore:Word-level timestamps on translations"),
    pytest.mark.filterwarnings("ignore:an English-only model transcribes"),  # theirs does so, too
]


class Draw(NamedTuple):
    """One sampled token, and the token that a little more or less would have given."""

    distance: float  # of probability, to the edge between the two
    tokens: tuple[int, int]
    logprobs: tuple[float, float]


WORD_TIME = 0.02 + 1e-6  # seconds
NEAR = 1e-6  # of probability: a draw as near to the edge between two tokens falls on either side by rounding
DRAWS: list[Draw] = []  # of the last call
NEAR_TIES: list[str] = []  # for the end of pytest's output
LARGE_V3_AS_TINY = ModelDimensions(128, 1500, 384, 6, 4, 51866, 448, 384, 6, 4)


def weights_folder() -> Path:
    """Where `weights/make.py --to FOLDER tiny.en base` was told to write; a test without it is skipped."""
    if "NPWHISPER_WEIGHTS" not in os.environ:
        pytest.skip("NPWHISPER_WEIGHTS names no folder made by weights/make.py --to FOLDER tiny.en base")
    return Path(os.environ["NPWHISPER_WEIGHTS"])


@cache
def models(name: str) -> tuple[Whisper, Any]:
    """One of ours, and openai-whisper's with the same weights and alignment heads."""
    import torch
    import whisper

    made: dict[str, Callable[[], Whisper]] = {
        "tiny.en": npwhisper.load_model,
        "base": lambda: npwhisper.load_model(weights_folder() / "base.safetensors"),
        "99": lambda: talker(cases.TINY, seed=0),
        "100": lambda: talker(LARGE_V3_AS_TINY, seed=1),
    }
    ours = made[name]()
    theirs = whisper.model.Whisper(whisper.ModelDimensions(**vars(ours.dims))).eval()
    theirs.load_state_dict({key: torch.from_numpy(np.array(value)) for key, value in ours.weights.items()})
    heads = torch.zeros(ours.dims.n_text_layer, ours.dims.n_text_head, dtype=torch.bool)
    heads[tuple(zip(*ours.alignment_heads, strict=True))] = True
    theirs.register_buffer("alignment_heads", heads.to_sparse(), persistent=False)
    ours.embed_audio = remembering(ours.embed_audio)  # type: ignore[method-assign]
    theirs.encoder.forward = remembering(theirs.encoder.forward)
    return ours, theirs


def remembering(encoder: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """An encoder that computes the same window only once, to save time."""
    known: dict[bytes, Any] = {}

    def encode(mel: Any) -> Any:
        key = np.asarray(mel).tobytes()
        known[key] = known[key] if key in known else encoder(mel)
        return known[key]

    return encode


def draw(heights: Array, point: float) -> Draw:
    """What is to be known of a draw at `point` from the cumulative probabilities `heights`."""
    token = int((heights <= point).sum())
    edges = [heights[token - 1] if token else -np.inf, heights[token]]
    is_above = bool(edges[1] - point < point - edges[0])
    edge = edges[is_above]
    other = int((heights <= edge).sum()) if is_above else int((heights < edge).sum())
    other = min(other, len(heights) - 1)
    with np.errstate(divide="ignore"):
        logprobs = np.log(np.diff(heights, prepend=0.0)[[token, other]] / heights[-1])
    return Draw(float(abs(edge - point)), (token, other), (float(logprobs[0]), float(logprobs[1])))


@contextmanager
def near_ties(what: str, found: Any, expected: Any) -> Iterator[None]:
    """Let results differ if, and only if, the first token that differs was drawn on the edge between the two tokens.

    pytest's last lines then say so, with both scores.
    """
    try:
        yield
    except AssertionError:
        at, pair = first_difference(tokens_of(found), tokens_of(expected))
        ties = [tie for tie in DRAWS if tie.distance <= NEAR and set(tie.tokens) == set(pair)]
        if not ties:
            raise
        (token, other), (score, other_score) = ties[0].tokens, ties[0].logprobs
        NEAR_TIES.append(
            f"{what}: token {at} is {pair[0]} here and {pair[1]} in openai-whisper, whose draw fell "
            f"{ties[0].distance:.0e} from the edge between {token} (log-probability {score:.6f}) "
            f"and {other} ({other_score:.6f})"
        )


def tokens_of(result: Any) -> list[int]:
    """The tokens of a transcription or of a window's result."""
    if isinstance(result, dict):
        return [token for segment in result["segments"] for token in segment["tokens"]]
    return list(result.tokens)


def first_difference(found: list[int], expected: list[int]) -> tuple[int, tuple[int, int]]:
    """Where two texts part, and the two tokens there; -1 stands for the end of the shorter text."""
    pairs = list(zip_longest(found, expected, fillvalue=-1))
    return next(((i, pair) for i, pair in enumerate(pairs) if pair[0] != pair[1]), (-1, (-1, -1)))


def label(value: Any) -> str:
    """The name of a case in pytest's output."""
    if isinstance(value, dict):
        return ",".join(f"{key}={str(item)[:12]}" for key, item in value.items()) or "default"
    return str(value)


def assert_results_equal(found: dict[str, Any], expected: dict[str, Any], duration: float) -> None:
    """Tokens, text and seek equal; times equal after ours are cut at the recording's end; scores within 1e-3."""
    assert (found["text"], found["language"]) == (expected["text"], expected["language"])
    assert len(found["segments"]) == len(expected["segments"])
    for segment, wanted in zip(found["segments"], expected["segments"], strict=True):
        assert segment.keys() == wanted.keys()
        for name in ("id", "seek", "text", "tokens", "temperature"):
            assert segment[name] == wanted[name], name
        for name in ("avg_logprob", "no_speech_prob", "compression_ratio"):
            assert segment[name] == pytest.approx(wanted[name], abs=PROBABILITY), name
        tolerance = WORD_TIME if "words" in wanted else 0.0  # words move the segment's ends to theirs
        for name in ("start", "end"):
            assert segment[name] == pytest.approx(min(wanted[name], duration), abs=tolerance), name
        assert_words_equal(segment.get("words", []), wanted.get("words", []), duration)


def assert_words_equal(found: list[dict[str, Any]], expected: list[dict[str, Any]], duration: float) -> None:
    """The same words, times within a position of the encoder (0.02 s), probabilities within 1e-3."""
    assert [word["word"] for word in found] == [word["word"] for word in expected]
    for word, wanted in zip(found, expected, strict=True):
        for name in ("start", "end"):
            assert word[name] == pytest.approx(min(wanted[name], duration), abs=WORD_TIME), (name, word, wanted)
        assert word["probability"] == pytest.approx(wanted["probability"], abs=PROBABILITY)
