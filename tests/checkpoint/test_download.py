"""Downloads from a server on this machine: a file in the cache is always a whole one, whatever happens on the way."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import types
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import checkpoint_files as files
import numpy as np
import pytest

import npwhisper
from npwhisper.checkpoint import CheckpointError, download
from npwhisper.checkpoint.download import ALIGNMENT_HEADS, OFFICIAL, DownloadError, available_models, fetch

# After an error, pooch leaves the connection to the garbage collector; the fixture `offer` collects it.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


WHOLE_DIMS = {**files.DIMS, "n_vocab": 51865}
WHOLE = files.random_weights(dims=WHOLE_DIMS)


class Handler(BaseHTTPRequestHandler):
    """/whole/..., /other/..., /cut/..., /error/..., /slow/...: what the server does with the request."""

    def do_GET(self) -> None:
        self.server.requests.append(self.path)  # type: ignore[attr-defined]
        what = self.path.split("/")[1]
        if what == "error":
            self.send_error(503)
            return
        body = CONTENT[::-1] if what == "other" else CONTENT
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        half = len(body) // 2
        self.wfile.write(body[:half])
        if what != "cut":
            time.sleep(0.3 if what == "slow" else 0)
            with contextlib.suppress(ConnectionError):  # who asked may be gone
                self.wfile.write(body[half:])

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the tests' output quiet."""


@pytest.fixture(scope="module")
def server() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.requests = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def offer(server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Put "tiny" on the server, to be sent in some way; the list of requests so far is given back."""
    monkeypatch.setenv("NO_PROXY", "*")

    def put(how: str) -> list[str]:
        url = f"http://127.0.0.1:{server.server_port}/{how}/{SHA256}/tiny.pt"
        monkeypatch.setitem(OFFICIAL, "tiny", (url, SHA256))
        server.requests.clear()  # type: ignore[attr-defined]
        return server.requests  # type: ignore[attr-defined, no-any-return]

    yield put
    gc.collect()


@pytest.mark.parametrize("progress", [True, False])
def test_a_download_is_kept_and_found_again(
    offer: Any, tmp_path: Path, progress: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    requests = offer("whole")
    path = fetch("tiny", tmp_path / "new" / "folder", progress)
    assert path == tmp_path / "new" / "folder" / "tiny.pt"
    assert path.read_bytes() == CONTENT
    assert fetch("tiny", tmp_path / "new" / "folder", progress) == path
    assert len(requests) == 1
    assert [entry.name for entry in path.parent.iterdir()] == ["tiny.pt"]
    out, err = capsys.readouterr()
    assert out == ""
    assert ("100%" in err) == progress


def test_the_file_of_openai_whispers_cache_is_used(offer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = offer("error")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "whisper").mkdir()
    (tmp_path / "whisper" / "tiny.pt").write_bytes(CONTENT)
    assert fetch("tiny") == tmp_path / "whisper" / "tiny.pt"
    assert requests == []


def test_the_default_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert download.cache_folder() == Path.home() / ".cache" / "whisper"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert download.cache_folder() == Path.home() / ".cache" / "whisper"


def test_a_broken_file_in_the_cache_is_replaced(offer: Any, tmp_path: Path) -> None:
    offer("whole")
    (tmp_path / "tiny.pt").write_bytes(CONTENT[:-1])
    assert fetch("tiny", tmp_path, progress=False).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("how", "reason"), [("other", "wrong SHA-256"), ("cut", "Connection|IncompleteRead"), ("error", "503")]
)
@pytest.mark.parametrize("before", [None, CONTENT[:99]])
def test_a_failed_download_leaves_nothing_behind(
    offer: Any, tmp_path: Path, how: str, reason: str, before: bytes | None
) -> None:
    offer(how)
    if before is not None:
        (tmp_path / "tiny.pt").write_bytes(before)
    with pytest.raises(DownloadError, match=reason) as error:
        fetch("tiny", tmp_path, progress=False)
    for said in (str(tmp_path / "tiny.pt"), SHA256, f"/{how}/{SHA256}/tiny.pt", "by hand"):
        assert said in str(error.value)
    assert ("has the wrong SHA-256, and" in str(error.value)) == (before is not None)
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == ({"tiny.pt": before} if before else {})


@pytest.mark.parametrize(
    ("name", "bound", "reason"),
    [("LARGEST", 1000, "more than 1000 bytes came"), ("LONGEST", -1, "it took over -1 hours")],
)
def test_downloads_are_bounded(
    offer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, bound: int, reason: str
) -> None:
    offer("whole")
    monkeypatch.setattr(download, name, bound)
    with pytest.raises(DownloadError, match=f"the download failed .ValueError: {reason}.*place tiny.pt there by hand"):
        fetch("tiny", tmp_path, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_stalls_is_given_up(offer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer("slow")
    monkeypatch.setattr(download, "STALLED", 0.05)
    with pytest.raises(DownloadError, match="timed out"):
        fetch("tiny", tmp_path, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_what_killed_downloads_left_is_removed(offer: Any, tmp_path: Path) -> None:
    offer("whole")
    kept = [".0123456789ab.part", ".note.part", "other.part", ".0123456789ab.pt"]
    stale = [".ba9876543210.part", ".tiny.pt.01234567.part"]
    for name in (*kept, *stale):
        (tmp_path / name).write_bytes(b"x")
    for name in (*stale, *kept[1:]):
        os.utime(tmp_path / name, (0, time.time() - 2 * download.STALE))
    fetch("tiny", tmp_path, progress=False)
    assert {path.name for path in tmp_path.iterdir()} == {*kept, "tiny.pt"}


def test_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setitem(OFFICIAL, "tiny", ("http://127.0.0.1:9/x/tiny.pt", SHA256))  # nobody listens there
    with pytest.raises(DownloadError, match=r"tiny\.pt is not there, and the download failed .*place tiny\.pt there"):
        fetch("tiny", tmp_path, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_cannot_be_written(offer: Any, tmp_path: Path) -> None:
    requests = offer("whole")
    (tmp_path / "file").touch()
    with pytest.raises(DownloadError, match=r"NotADirectoryError|FileExistsError"):
        fetch("tiny", tmp_path / "file" / "cache", progress=False)
    assert requests == []


def test_a_read_only_cache(offer: Any, tmp_path: Path) -> None:
    offer("whole")
    tmp_path.chmod(0o555)
    if os.access(tmp_path, os.W_OK):
        pytest.skip("the superuser may write anywhere")
    try:
        with pytest.raises(DownloadError, match="PermissionError"):
            fetch("tiny", tmp_path, progress=False)
    finally:
        tmp_path.chmod(0o755)


def test_a_whole_file_in_a_read_only_cache_is_used(offer: Any, tmp_path: Path) -> None:
    offer("error")
    (tmp_path / "tiny.pt").write_bytes(CONTENT)
    (tmp_path / "tiny.pt").chmod(0o444)
    tmp_path.chmod(0o555)
    try:
        assert fetch("tiny", tmp_path, progress=False) == tmp_path / "tiny.pt"
    finally:
        tmp_path.chmod(0o755)


@pytest.mark.slow
def test_two_processes_at_once(offer: Any, tmp_path: Path) -> None:
    requests = offer("slow")
    script = (
        "import sys; from npwhisper.checkpoint import download; "
        "download.OFFICIAL['tiny'] = (sys.argv[1], sys.argv[2]); "
        "print(download.fetch('tiny', sys.argv[3], progress=False))"
    )
    command = [sys.executable, "-c", script, *OFFICIAL["tiny"], str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(Path(download.__file__).parents[1])}
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(2)]
    assert [process.communicate(timeout=300)[0].strip() for process in both] == [str(tmp_path / "tiny.pt")] * 2
    assert [process.returncode for process in both] == [0, 0]
    assert len(requests) in (1, 2)
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == {"tiny.pt": CONTENT}


# --- the table -------------------------------------------------------------------------------------------------------


def test_the_table_is_consistent() -> None:
    assert len(available_models()) == len(OFFICIAL) == len(ALIGNMENT_HEADS) == 14
    for name, (url, sha256) in OFFICIAL.items():
        assert url.split("/")[-2] == sha256
        assert len(bytes.fromhex(sha256)) == 32
        assert url.endswith(f"/{ {'large': 'large-v3', 'turbo': 'large-v3-turbo'}.get(name, name) }.pt")
        assert ALIGNMENT_HEADS[name] == sorted(set(ALIGNMENT_HEADS[name]))
    assert len({sha256 for _, sha256 in OFFICIAL.values()}) == 12
    assert [len(ALIGNMENT_HEADS[name]) for name in ("tiny.en", "small.en", "large-v2", "turbo")] == [8, 19, 23, 6]


@pytest.mark.parametrize("name", ["tinny", "", "a/b/c", "../b", "/b", "models/my.pt", "npwhisper/", "here/there"])
def test_an_unknown_name_lists_the_known(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    with pytest.raises(DownloadError, match=r"no model is called .* tiny\.en, .* turbo, .*path"):
        fetch(name)


# --- the Hugging Face hub --------------------------------------------------------------------------------------------


def fake_hub(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    files: list[str],
    error: Exception | None = None,
    repository: Path | None = None,
) -> list[Any]:
    """A `huggingface_hub` with one repository, of empty files or a folder's; the list of calls is given back."""
    from fnmatch import fnmatch

    calls: list[Any] = []

    def snapshot_download(repo_id: str, *, cache_dir: Any, allow_patterns: list[str]) -> str:
        calls.append((repo_id, cache_dir))
        if error:
            raise error
        for name in files:
            if any(fnmatch(name, pattern) for pattern in allow_patterns):
                shutil.copy(repository / name, folder / name) if repository else (folder / name).touch()
        return str(folder)

    module = types.SimpleNamespace(snapshot_download=snapshot_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)  # type: ignore[arg-type]
    return calls


@pytest.mark.parametrize(
    ("offered", "fetched"),
    [
        (
            ["config.json", "generation_config.json", "model.safetensors", "pytorch_model.bin", "flax_model.msgpack"],
            {"config.json", "generation_config.json", "model.safetensors"},
        ),
        (
            [
                "config.json",
                "model.safetensors.index.json",
                "model-00001-of-00002.safetensors",
                "model.fp32-1.safetensors",
            ],
            {"config.json", "model.safetensors.index.json", "model-00001-of-00002.safetensors"},
        ),
        (["config.json", "pytorch_model.bin", "tf_model.h5"], {"config.json", "pytorch_model.bin"}),
    ],
)
def test_only_what_is_needed_is_fetched_from_the_hub(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, offered: list[str], fetched: set[str]
) -> None:
    calls = fake_hub(monkeypatch, tmp_path, offered)
    assert fetch("org/name", "cache") == tmp_path
    assert {entry.name for entry in tmp_path.iterdir()} == fetched
    assert calls[0] == ("org/name", Path("cache"))


REPOSITORIES = {
    "Systran/faster-whisper-base": (
        {"model.bin": lambda: files.ct2(files.ct2_variables(WHOLE)), "config.json": {"alignment_heads": [[1, 0]]}},
        {"tokenizer.json": {}, "vocabulary.txt": [], "README.md": []},
    ),
    "mlx-community/whisper-base-mlx": (
        {
            "weights.npz": lambda: files.npz(
                files.mlx_weights(weights=WHOLE) | {"alignment_heads": np.array([[1, 0]])}
            ),
            "config.json": {**WHOLE_DIMS, "model_type": "whisper"},
        },
        {"README.md": []},
    ),
    "openai/whisper-base": (
        {
            "model.safetensors": lambda: files.safetensors({files.hf_name(n): a for n, a in WHOLE.items()}),
            "config.json": {**files.HF_CONFIG, "vocab_size": 51865},
            "generation_config.json": {"alignment_heads": [[1, 0]], "no_timestamps_token_id": 50363},
        },
        {"tf_model.h5": [], "pytorch_model.bin": [], "flax_model.msgpack": []},
    ),
}


@pytest.mark.parametrize("name", REPOSITORIES)
def test_every_form_on_the_hub_becomes_a_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    needed, others = REPOSITORIES[name]
    (tmp_path / "repository").mkdir()
    for file, content in {**needed, **others}.items():
        data = content() if callable(content) else json.dumps(content).encode()
        (tmp_path / "repository" / file).write_bytes(data)
    calls = fake_hub(monkeypatch, tmp_path, list({**needed, **others}), repository=tmp_path / "repository")
    model = npwhisper.load_model(name, download_root=str(tmp_path / "cache"))
    assert {call[:2] for call in calls} == {(name, tmp_path / "cache")}
    assert vars(model.dims) == WHOLE_DIMS
    assert model.alignment_heads == [(1, 0)]
    assert model.is_multilingual
    for tensor, array in WHOLE.items():
        if tensor != "encoder.positional_embedding":  # MLX leaves it out
            np.testing.assert_array_equal(model.weights[tensor], array.astype(np.float32))
    fetched = {path.name for path in tmp_path.iterdir() if path.is_file()}
    assert fetched == {*needed, *({"tokenizer.json"} & others.keys())}


def test_an_adapter_on_the_hub_is_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "repository").mkdir()
    settings = {"peft_type": "LORA", "base_model_name_or_path": "openai/whisper-base"}
    (tmp_path / "repository" / "adapter_config.json").write_text(json.dumps(settings))
    fake_hub(monkeypatch, tmp_path, ["adapter_config.json"], repository=tmp_path / "repository")
    with pytest.raises(CheckpointError, match=r"LoRA adapter of 'openai/whisper-base', not a model: merge"):
        npwhisper.load_model("org/adapter")


def test_a_hub_model_without_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_hub(monkeypatch, tmp_path, ["config.json", "model.onnx"])
    with pytest.raises(DownloadError, match=r"org/name .* has no weights that can be read"):
        fetch("org/name")


@pytest.mark.parametrize("error", [ConnectionError("no route"), ValueError("bad name")])
def test_the_hub_out_of_reach(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception) -> None:
    fake_hub(monkeypatch, tmp_path, [], error)
    with pytest.raises(DownloadError, match=f"org/name could not be fetched .*{error}.*the network"):
        fetch("org/name")


def test_the_extra_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # type: ignore[arg-type]
    with pytest.raises(DownloadError, match=r"pip install npwhisper\[hub\]"):
        fetch("org/name")


def test_the_command_line_says_in_one_line_that_there_is_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from npwhisper.__main__ import main

    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setitem(OFFICIAL, "tiny", ("http://127.0.0.1:9/x/tiny.pt", SHA256))
    for arguments in (["convert", "tiny", str(tmp_path / "a.pt")], ["a.wav", "--model", "tiny", "-f", "none"]):
        assert main(arguments) == 1
        err = capsys.readouterr().err
        assert err.count("\n") == 1, err
        assert "place tiny.pt there by hand" in err


# --- a server that misbehaves ----------------------------------------------------------------------------------------


class Misbehaving(BaseHTTPRequestHandler):
    """/HOW/...: what is wrong with the answer."""

    def do_GET(self) -> None:
        how = self.path.split("/")[1]
        with contextlib.suppress(ConnectionError):  # who asked may be gone
            getattr(self, how)()

    def endless(self) -> None:
        """Bytes that never end, with no length told."""
        self.answer(200)
        while True:
            self.wfile.write(bytes(1 << 16))

    def dripping(self) -> None:
        """Half a kilobyte at a time, each soon enough not to stall."""
        self.answer(200, **{"Content-Length": "200000"})
        for _ in range(400):
            self.wfile.write(bytes(500))
            time.sleep(0.02)

    def elsewhere(self) -> None:
        self.answer(302, Location="file:///etc/hostname")

    def round(self) -> None:
        self.answer(302, Location=self.path)

    def gone(self) -> None:
        self.answer(404)

    def short(self) -> None:
        """The length that was told, but other bytes."""
        self.answer(200, **{"Content-Length": "9"})
        self.wfile.write(b"not tiny.")

    def silent(self) -> None:
        """No answer at all."""

    def garbage(self) -> None:
        self.wfile.write(b"\x80\x02 this is no HTTP\r\n\r\n")

    def answer(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the tests' output quiet."""


REASONS = {
    "endless": "more than 300000 bytes came, more than any model has",
    "dripping": "it took over 0.0 hours",
    "elsewhere": "InvalidSchema",
    "round": "TooManyRedirects",
    "gone": "404 Client Error",
    "short": "the downloaded file has the wrong SHA-256",
    "silent": "ConnectionError",
    "garbage": "ConnectionError",
}


@pytest.mark.parametrize("how", REASONS)
def test_every_failure_is_one_line_and_leaves_nothing(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from npwhisper.__main__ import main

    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(download, "LARGEST", 300_000)
    monkeypatch.setattr(download, "LONGEST", 0.2 if how == "dripping" else 60)
    with ThreadingHTTPServer(("127.0.0.1", 0), Misbehaving) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        monkeypatch.setitem(OFFICIAL, "tiny", (f"http://127.0.0.1:{server.server_port}/{how}/tiny.pt", SHA256))
        status = main(["a.wav", "--model", "tiny", "--model_dir", str(tmp_path / "cache"), "-f", "none"])
        gc.collect()  # the connection, which pooch leaves open
        server.shutdown()
        thread.join()
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("npwhisper: "))
    assert status == 1
    assert REASONS[how] in line
    assert "place tiny.pt there by hand" in line
    assert list((tmp_path / "cache").iterdir()) == []
