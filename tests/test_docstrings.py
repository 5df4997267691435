"""Public functions say what they take, return and raise, and show it in an example that runs."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest

import npwhisper

PACKAGES = {  # each with the modules whose names it offers
    "audio": ("units", "samples", "resampling", "files", "mel", "streaming"),
    "checkpoint": ("contents", "heads", "numbers", "reading", "writing"),
    "decoding": ("options", "rules", "search", "batch", "window"),
    "model": ("layers", "attention", "cache", "blocks", "network"),
    "timing": ("warping", "punctuation", "words", "spreading"),
    "tracing": ("scope", "seam", "swapping", "tables", "profiling"),
    "transcription": ("windows", "hallucination", "voice", "journal", "run"),
    "whisper": ("handle", "compat.utils"),
}
OF_LAYERS = {  # made of layers, whose examples they would repeat with weights for each
    "self_attention", "cross_attention", "mlp", "encoder_block", "decoder_block", "encoder", "decoder", "start_cache",
}  # fmt: skip
INSIDE = {  # parts of a run, which need a model at work or a file that is broken
    "checked_dims", "checked_heads", "converted", "decode_together", "language_of_windows", "language_probabilities",
    "likeliest_language", "require_finite", "run_once", "stored", "stored_dtype",
}  # fmt: skip


def own(function: Any) -> Any:
    """What is decorated; of the module that can be called, which another test may have imported, the function."""
    return inspect.unwrap(function.__call__ if inspect.ismodule(function) else function)


def public() -> dict[str, Any]:
    """The functions that npwhisper itself offers."""
    found = {name: getattr(npwhisper, name) for name in npwhisper.__all__}
    return {name: own(value) for name, value in found.items() if callable(value) and not inspect.isclass(value)}


def exported() -> Iterator[Any]:
    """The functions that are defined in the modules of the packages."""
    for package, modules in PACKAGES.items():
        for module in (import_module(f"npwhisper.{package}.{name}") for name in modules):
            for name, value in vars(module).items():
                is_here = getattr(value, "__module__", "") == module.__name__
                if is_here and name[0] != "_" and callable(value) and not inspect.isclass(value):
                    yield own(value)


def sections(function: Any) -> set[str]:
    return set(re.findall(r"^(\w+)\n-+$", inspect.getdoc(function) or "", re.MULTILINE))


def raises(function: Any) -> bool:
    return re.search(r"^\s+raise \w", inspect.getsource(function), re.MULTILINE) is not None


@pytest.mark.parametrize("name", sorted(public()))
def test_public_functions_are_described_in_full(name: str) -> None:
    function = public()[name]
    wanted = {"Examples"}
    wanted |= {"Parameters"} if inspect.signature(function).parameters else set()
    wanted |= {"Raises"} if raises(function) else set()
    given = sections(function)
    assert wanted <= given, f"{name} lacks {wanted - given}"
    is_empty = str(inspect.signature(function).return_annotation) == "None"
    assert is_empty or given & {"Returns", "Yields"}, f"{name} does not say what it returns"


@pytest.mark.parametrize("function", [*exported()], ids=lambda function: f"{function.__module__}.{function.__name__}")
def test_exported_functions_have_an_example_and_name_their_errors(function: Any) -> None:
    text = inspect.getdoc(function) or ""
    assert ">>> " in text or function.__name__ in OF_LAYERS | INSIDE
    assert not raises(function) or re.search("Error|[Rr]aise", text)


def test_the_lists_of_packages_are_those_that_are_exported() -> None:
    for package in ("audio", "decoding", "model", "timing", "tracing", "transcription"):
        source = inspect.getsource(import_module(f"npwhisper.{package}"))
        offered = re.search(r"= lazily\(__name__, (.*)\)", source)
        assert offered, package
        assert tuple(re.findall(r"\"(\w+)\"", offered[1])) == PACKAGES[package]


def test_the_exceptions_exist_and_are_needed() -> None:
    without = {function.__name__ for function in exported() if ">>> " not in (inspect.getdoc(function) or "")}
    assert without == OF_LAYERS | INSIDE
