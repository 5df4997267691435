"""Code that attacks the machine, past the rules: outside a sandbox it reads, writes, connects and kills, inside not."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from npwhisper.__main__ import main
from npwhisper.lab.grading import sandbox
from npwhisper.lab.grading.grader import Grader, Verdict
from npwhisper.lab.grading.worker import PROCESSES

pytestmark = pytest.mark.slow
needs_bubblewrap = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")

RIGHT = """
def embedding(tokens, w):
    return w["weight"][tokens]
"""
ENDLESS = "def gelu(x):\n    while True: pass\n"
ABORTING = "def softmax(x):\n    import os; os.abort()\n"
ATTACK = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)

def embedding(tokens, w):
    raise ValueError(attack())
"""
READ = """
def attack():
    fd = libc.open({path!r}.encode(), 0)
    if fd < 0:
        return "no such file"
    text = ctypes.create_string_buffer(100)
    libc.read(fd, text, 99)
    return text.value.decode()
"""
WRITE = """
def attack():
    fd = libc.open({path!r}.encode(), os.O_WRONLY)
    libc.write(fd, b"forged", 6)
    return "tried"
"""
CONNECT = """
def attack():
    address = (2).to_bytes(2, "little") + ({port}).to_bytes(2, "big") + bytes([127, 0, 0, 1]) + bytes(8)
    return "connected" if libc.connect(libc.socket(2, 1, 0), address, 16) == 0 else "not connected"
"""
ENVIRONMENT = """
def attack():
    return os.environ.get("PRIVATE_WORD", "no such variable")
"""
KILL = """
def attack():
    return "killed" if libc.kill({pid}, 9) == 0 else "no such process"
"""
LINGER = """
def attack():
    if libc.fork() == 0:
        libc.setsid()
        libc.sleep(2)
        fd = libc.open({path!r}.encode(), os.O_WRONLY)
        libc.write(fd, b"later!", 6)
        os._exit(0)
    return "tried"
"""
FORK = """
def attack():
    for count in range(300):
        child = libc.fork()
        if child == 0:
            libc.sleep(5)
            os._exit(0)
        if child < 0:
            break
    return f"started {{count}} processes"
"""
EAT = """
import numpy as np
def attack():
    parts = [np.ones(2**25) for _ in range(40)]
    return "ate 10 GB"
"""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PRIVATE_WORD", "sesame")


@pytest.fixture
def private(tmp_path: Path) -> Path:
    (tmp_path / "others").mkdir()
    path = tmp_path / "others" / "answers.txt"
    path.write_text("sesame")
    return path


def ran(source: str, is_sandboxed: bool, **values: object) -> Verdict:
    """What becomes of a file that the rules have let through."""
    Path("mine.py").write_text(ATTACK + source.format(**values))
    return Grader(Path("mine.py"), 10, memory=2**30, is_sandboxed=is_sandboxed).run("embedding")


@needs_bubblewrap
def test_right_code_is_right_in_a_sandbox_and_wrong_code_ends_as_outside() -> None:
    sandbox.check_sandbox()
    Path("mine.py").write_text(
        RIGHT + "def gelu(x):\n    while True: pass\ndef softmax(x):\n    import os; os.abort()\n"
    )
    grader = Grader(Path("mine.py"), 1, is_sandboxed=True)
    assert grader.run("embedding") == Grader(Path("mine.py"), 1).run("embedding")
    assert grader.run("embedding").status == "right"
    assert grader.run("gelu").status == "too slow"
    assert grader.run("softmax").report == "softmax ended the whole process (SIGABRT)"
    assert grader.run("linear").status == "missing"


@needs_bubblewrap
def test_it_cannot_read_files_or_the_environment(private: Path) -> None:
    assert "sesame" in ran(READ, False, path=str(private)).report
    assert "no such file" in ran(READ, True, path=str(private)).report
    assert "sesame" in ran(ENVIRONMENT, False).report
    assert "no such variable" in ran(ENVIRONMENT, True).report
    assert "no such file" in ran(READ, True, path=f"/proc/{os.getpid()}/environ").report


@needs_bubblewrap
def test_it_cannot_write_files(private: Path) -> None:
    library = Path(sandbox.__file__).parent / "rules.py"
    before = library.read_bytes()
    assert "tried" in ran(WRITE, True, path=str(private)).report
    assert "tried" in ran(WRITE, True, path=str(library)).report
    assert "tried" in ran(WRITE, True, path=str(Path("mine.py").absolute())).report
    assert (private.read_text(), library.read_bytes()) == ("sesame", before)
    assert Path("mine.py").read_text().startswith("\nimport ctypes")
    ran(WRITE, False, path=str(private))
    assert private.read_text() == "forged"


@pytest.fixture
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_accept, args=(server,), daemon=True).start()
        yield server.getsockname()[1]


def _accept(server: socket.socket) -> None:
    try:
        while True:
            server.accept()[0].close()
    except OSError:
        return


@needs_bubblewrap
def test_it_has_no_network(port: int) -> None:
    assert ": connected" in ran(CONNECT, False, port=port).report
    assert "not connected" in ran(CONNECT, True, port=port).report


@needs_bubblewrap
def test_it_cannot_kill_other_processes_and_leaves_none(private: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as other:
        assert "no such process" in ran(KILL, True, pid=other.pid).report
        assert other.poll() is None
        assert "killed" in ran(KILL, False, pid=other.pid).report
        assert other.wait(120) == -9
    assert "tried" in ran(LINGER, True, path=str(private)).report
    threading.Event().wait(3)
    assert private.read_text() == "sesame"
    assert "tried" in ran(LINGER, False, path=str(private)).report
    until = time.monotonic() + 120
    while private.read_text() != "later!":
        assert time.monotonic() < until
        threading.Event().wait(0.1)


@needs_bubblewrap
def test_it_cannot_eat_memory() -> None:
    assert "MemoryError" in ran(EAT, True).report


@needs_bubblewrap
@pytest.mark.skipif(os.geteuid() == 0, reason="Linux does not limit the number of root's processes")
def test_it_cannot_start_processes_without_end() -> None:
    counts = [int(count) for count in re.findall(r"started (\d+)", ran(FORK, True).report)]
    assert 0 < max(counts) < PROCESSES


@needs_bubblewrap
def test_one_file_is_graded_in_a_sandbox(tmp_path: Path) -> None:
    Path("alice.py").write_text(RIGHT)
    is_installed = bool(entry_points(group="pytest11", name="npwhisper_grading"))  # then pytest loads it by itself
    plugin = [] if is_installed else ["-p", "npwhisper.lab.grading"]
    arguments = [*plugin, "--layers", "alice.py", "--task-sandbox", "--rootdir", ".", "-m", "a1"]
    environment = {**os.environ, "PYTHONPATH": str(sandbox.PACKAGE.parent)}
    command = [sys.executable, "-m", "pytest", *arguments]
    graded = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert "total: 1 of 14 points" in graded.stdout, graded.stdout + graded.stderr


@needs_bubblewrap
def test_a_class_is_graded_in_sandboxes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "Zoë Müller.py").write_text(RIGHT, encoding="utf-8")
    assert main(["grade", "class", "-a", "a1", "--tasks", "embedding", "--sandbox"]) == 0
    assert capsys.readouterr().out.split("\n")[0].split() == ["Zoë", "Müller", "1/1"]


def test_without_bubblewrap_the_option_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit):
        main(["grade", ".", "-a", "a1", "--sandbox"])
    assert "--sandbox: a sandbox needs bubblewrap" in capsys.readouterr().err
    (tmp_path / "bwrap").write_text("#!/bin/sh\necho 'no namespaces' >&2; exit 1\n")
    (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(SystemExit):
        main(["grade", ".", "-a", "a1", "--sandbox"])
    assert "bubblewrap cannot make a sandbox here: no namespaces" in capsys.readouterr().err
