"""The official models: their names, where to find them, and how to verify a file.

OpenAI published 12 files under 14 names. A download goes to a temporary file, is checked against its SHA-256 and only
then takes its name, so a file in the cache is always a whole one. The cache folder is openai-whisper's own, so what
that package has fetched is used as it is. Models of the Hugging Face hub (`org/name`) come through `huggingface_hub`.

Source: whisper/__init__.py (`_MODELS`, `_ALIGNMENT_HEADS`).
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from npwhisper.checkpoint.replacing import replacing

SERVER = "https://openaipublic.azureedge.net/main/whisper/models"
SHA256 = {
    "tiny.en": "d3dd57d32accea0b295c96e26691aa14d8822fac7d9d27d5dc00b4ca2826dd03",
    "tiny": "65147644a518d12f04e32d6f3b26facc3f8dd46e5390956a9424a650c0ce22b9",
    "base.en": "25a8566e1d0c1e2231d1c762132cd20e0f96a85d16145c3a00adf5d1ac670ead",
    "base": "ed3a0b6b1c0edf879ad9b11b1af5a0e6ab5db9205f891f668f8b0e6c6326e34e",
    "small.en": "f953ad0fd29cacd07d5a9eda5624af0f6bcf2258be67c92b79389873d91e0872",
    "small": "9ecf779972d90ba49c06d968637d720dd632c55bbf19d441fb42bf17a411e794",
    "medium.en": "d7440d1dc186f76616474e0ff0b3b6b879abc9d1a4926b7adfa41db2d497ab4f",
    "medium": "345ae4da62f9b3d59415adc60127b97c714f32e89e936602e85993674d08dcb1",
    "large-v1": "e4b87e7e0bf463eb8e6956e646f1e277e901512310def2c24bf0e11bd3c28e9a",
    "large-v2": "81f7c96c852ee8fc832187b0132e569d6c3065a3252ed18e56effd0b6a73e524",
    "large-v3": "e5b1a55b89c1367dacf97e3e19bfd829a01529dbfdeefa8caeb59b3f1b81dadb",
    "large-v3-turbo": "aff26ae408abcba5fbf8813c21e62b0941638c5f6eebfb145be0c9839262a19a",
}
HEADS = {
    "tiny.en": "1.0 2.0 2.5 3.0 3.1 3.2 3.3 3.4",
    "tiny": "2.2 3.0 3.2 3.3 3.4 3.5",
    "base.en": "3.3 4.7 5.1 5.5 5.7",
    "base": "3.1 4.2 4.3 4.7 5.1 5.2 5.4 5.6",
    "small.en": "6.6 7.0 7.3 7.8 8.2 8.5 8.7 9.0 9.4 9.8 9.10 10.0 10.1 10.2 10.3 10.6 10.11 11.2 11.4",
    "small": "5.3 5.9 8.0 8.4 8.7 8.8 9.0 9.7 9.9 10.5",
    "medium.en": "11.4 14.1 14.12 14.14 15.4 16.0 16.4 16.9 17.12 17.14 18.7 18.10 18.15 20.0 20.3 20.9 20.14 21.12",
    "medium": "13.15 15.4 15.15 16.1 20.0 23.4",
    "large-v1": "9.19 11.2 11.4 11.17 22.7 22.11 22.17 23.2 23.15",
    "large-v2": "10.12 13.17 16.11 16.12 16.13 17.15 17.16 18.4 18.11 18.19 19.11 21.2 21.3 22.3 22.9 22.12 23.5 23.7 "
    "23.13 25.5 26.1 26.12 27.15",
    "large-v3": "7.0 10.17 12.18 13.12 16.1 17.14 19.11 21.4 24.1 25.6",
    "large-v3-turbo": "2.4 2.11 3.3 3.6 3.11 3.14",
}
ALIASES = {"large": "large-v3", "turbo": "large-v3-turbo"}


def _with_aliases(table: dict[str, str]) -> dict[str, str]:
    return table | {alias: table[name] for alias, name in ALIASES.items()}


def _pairs(text: str) -> list[tuple[int, int]]:
    """
    >>> _pairs("3.11 4.0")
    [(3, 11), (4, 0)]
    """
    return [(int(layer), int(head)) for layer, head in (pair.split(".") for pair in text.split())]


OFFICIAL: dict[str, tuple[str, str]] = {
    name: (f"{SERVER}/{sha256}/{ALIASES.get(name, name)}.pt", sha256) for name, sha256 in _with_aliases(SHA256).items()
}
"""name -> (URL, SHA-256 of the file)"""
ALIGNMENT_HEADS: dict[str, list[tuple[int, int]]] = {name: _pairs(text) for name, text in _with_aliases(HEADS).items()}
"""name -> (layer, head) of the decoder's cross-attention heads that follow the audio in time"""

LARGEST = 4_000_000_000  # bytes; large-v3 has 3.1 billion
LONGEST = 12 * 3600  # seconds
STALLED = 30  # seconds without a byte
STALE = 3600  # seconds since a download last wrote
PART = re.compile(r"\.([\w.-]+\.pt\.)?[0-9a-f]{8,12}\.part")
FILE_ENDINGS = (".pt", ".pth", ".bin", ".ckpt", ".safetensors")
HUB_SETTINGS = ["config.json", "generation_config.json", "added_tokens.json", "tokenizer.json", "adapter_config.json"]
HUB_WEIGHTS = [
    ["model.safetensors", "model.safetensors.index.json", "model-?????-of-?????.safetensors"],
    ["pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-?????-of-?????.bin"],
    ["model.bin"],  # CTranslate2's, which faster-whisper uses
    ["weights.npz", "weights.safetensors"],  # MLX's
]


class DownloadError(OSError, RuntimeError):
    """A model that could not be fetched; the message says how to place it by hand."""


def available_models() -> list[str]:
    """Names of the official models.

    >>> available_models()[:4]
    ['tiny.en', 'tiny', 'base.en', 'base']
    """
    return list(OFFICIAL)


def fetch(name: str, download_root: str | os.PathLike[str] | None = None, progress: bool = True) -> Path:
    """The path of a model's file, downloaded if it is not there yet.

    Parameters
    ----------
    name
        One of `available_models()`, or `org/name` on the Hugging Face hub (needs the extra `hub`).
    download_root
        Folder to look in and to download to; default `$XDG_CACHE_HOME/whisper`, else `~/.cache/whisper`, which is
        openai-whisper's (for the hub, its own cache).
    progress
        Show a progress bar on standard error.

    Returns
    -------
    Path
        A file with the right SHA-256 (for the hub, a folder).

    Raises
    ------
    DownloadError
        If the name is unknown, or the file is not there and cannot be fetched, checked or stored.
    """
    if name in OFFICIAL:
        return _fetch_official(name, Path(download_root) if download_root else cache_folder(), progress)
    if is_hub_name(name):
        return _fetch_from_hub(name, download_root)
    raise DownloadError(
        f"no model is called {name!r}: use one of {', '.join(OFFICIAL)}, a hub name org/name, or a path"
    )


def is_hub_name(name: str) -> bool:
    """Whether a text is the name of a Hugging Face model, `org/name`, and not a path on this machine.

    >>> is_hub_name("openai/whisper-base.en"), is_hub_name("models/base.pt"), is_hub_name("base.en")
    (True, False, False)
    """
    org = name.split("/")[0]
    plain = re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", name) is not None
    return plain and not name.endswith(FILE_ENDINGS) and not Path(org).exists()


def cache_folder() -> Path:
    """openai-whisper's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "whisper"


def _fetch_official(name: str, folder: Path, progress: bool) -> Path:
    url, sha256 = OFFICIAL[name]
    path = folder / url.rsplit("/", 1)[1]
    try:
        if not _is_whole(path, sha256):
            _download(url, sha256, path, progress)
    except (OSError, ValueError) as error:  # requests' exceptions are OSErrors
        state = "has the wrong SHA-256" if path.exists() else "is not there"
        raise DownloadError(
            f"{path} {state}, and the download failed ({_in_words(error)}): "
            f"place {path.name} there by hand, from {url} (SHA-256 {sha256})"
        ) from error
    return path


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:300]}"


def _is_whole(path: Path, sha256: str) -> bool:
    if not path.is_file():
        return False
    return sha256_of(path) == sha256


def sha256_of(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file, of which a megabyte is in memory at a time."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _download(url: str, sha256: str, path: Path, progress: bool) -> None:
    """Download a file with pooch and move it into place once its SHA-256 is right.

    Why not `pooch.retrieve`: it reads the file again to hash it, does not sync it before the move, and gives its
    temporary file a name from which the leftovers of a killed download cannot be recognised (seen with 1.9.0).
    """
    try:
        import pooch
    except ModuleNotFoundError as error:
        raise OSError("pooch, which downloads, is not installed, as in a browser") from error
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale_parts(path.parent)
    with replacing(path) as file:
        target = _Bounded(file)
        try:
            pooch.HTTPDownloader(progressbar=progress, timeout=STALLED)(url, target, None)
        except BaseException:
            if progress and target.size:
                print(file=sys.stderr)  # pooch leaves the bar's line open
            raise
        if target.digest.hexdigest() != sha256:
            raise ValueError("the downloaded file has the wrong SHA-256: it was truncated or changed in transit")


class _Bounded:
    """A file that is written within bounds of size and time, with the SHA-256 of what was written."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.size, self.started = file, 0, time.monotonic()
        self.digest = hashlib.sha256()

    def write(self, block: bytes) -> int:
        self.size += len(block)
        if self.size > LARGEST:
            raise ValueError(f"more than {LARGEST} bytes came, more than any model has: the server is not OpenAI's")
        if time.monotonic() - self.started > LONGEST:
            raise ValueError(f"it took over {LONGEST // 3600} hours")
        self.digest.update(block)
        return self.file.write(block)

    def flush(self) -> None:
        self.file.flush()


def _remove_stale_parts(folder: Path) -> None:
    """Remove what killed downloads left behind; a download in progress has written to its file recently."""
    for part in folder.glob(".*.part"):
        with suppress(OSError):
            if PART.fullmatch(part.name) and time.time() - part.stat().st_mtime > STALE:
                part.unlink()


def _fetch_from_hub(name: str, download_root: str | os.PathLike[str] | None) -> Path:
    """The folder of a model of the hub, with the first kind of weights that it has."""
    cache = Path(download_root) if download_root else None
    for weights in HUB_WEIGHTS:
        folder = _snapshot(name, cache, HUB_SETTINGS + weights)
        is_adapter = (folder / "adapter_config.json").exists()  # the reader of the folder says what to do with it
        if is_adapter or any(list(folder.glob(pattern)) for pattern in weights):
            return folder
    raise DownloadError(
        f"{name} on the Hugging Face hub has no weights that can be read "
        f"({', '.join(patterns[0] for patterns in HUB_WEIGHTS)}): use another model"
    )


def _snapshot(name: str, cache: Path | None, patterns: list[str]) -> Path:
    """Fetch the files of a model that match; -> their folder."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise DownloadError(
            f"{name} is a model of the Hugging Face hub, which needs huggingface_hub: "
            "run `pip install npwhisper[hub]`, or give the path of a downloaded folder"
        ) from error
    try:
        return Path(snapshot_download(name, cache_dir=cache, allow_patterns=patterns))
    except (OSError, ValueError) as error:
        raise DownloadError(
            f"{name} could not be fetched from the Hugging Face hub ({_in_words(error)}): "
            "check the name and the network, or give the path of a downloaded folder"
        ) from error
