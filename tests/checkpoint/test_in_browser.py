"""The embedded weights beside a page: fetched once, into the place where the package looks for them."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from npwhisper.checkpoint import CheckpointError
from npwhisper.checkpoint.weights import embedded_path

ADDRESS = "../static/weights/tiny.en.safetensors"


class Request:
    """What a browser's XMLHttpRequest does, for one answer."""

    status, asked = 200, list[Any]()

    @classmethod
    def new(cls) -> Request:
        return cls()

    def open(self, method: str, url: str, is_asynchronous: bool) -> None:
        self.asked.append((method, url, is_asynchronous))

    def send(self) -> None:
        assert self.responseType == "arraybuffer"
        self.response = SimpleNamespace(to_file=lambda file: file.write(b"weights"))

    responseType = ""  # noqa: N815


@pytest.fixture
def browser(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A browser with a package without weights; returns its folder for them."""
    module = ModuleType("js")
    module.XMLHttpRequest = type("Once", (Request,), {"asked": []})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "js", module)
    monkeypatch.setenv("NPWHISPER_EMBEDDED_URL", ADDRESS)
    monkeypatch.setattr("npwhisper.checkpoint.weights.resources.files", lambda _: tmp_path / "npwhisper")
    (tmp_path / "npwhisper" / "assets").mkdir(parents=True)
    return tmp_path / "npwhisper" / "assets"


def test_the_weights_are_fetched_once(browser: Path) -> None:
    assert embedded_path() == embedded_path() == browser / "tiny.en.safetensors"
    assert embedded_path().read_bytes() == b"weights"
    assert sys.modules["js"].XMLHttpRequest.asked == [("GET", ADDRESS, False)]


def test_a_server_that_lacks_them_is_named(browser: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["js"].XMLHttpRequest, "status", 404)
    with pytest.raises(CheckpointError, match=f"{ADDRESS} gave status 404 instead of the weights: load the page again"):
        embedded_path()
    assert not list(browser.iterdir())


def test_an_interrupted_fetch_leaves_no_half_of_them(browser: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(file: Any) -> None:
        file.write(b"wei")
        raise MemoryError

    def send(request: Request) -> None:
        request.response = SimpleNamespace(to_file=half)

    monkeypatch.setattr(sys.modules["js"].XMLHttpRequest, "send", send)
    with pytest.raises(MemoryError):
        embedded_path()
    assert not list(browser.iterdir())
