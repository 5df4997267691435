"""One model, many threads; processes after a fork; the same input always gives the same bits."""

from __future__ import annotations

import hashlib
import mmap
import multiprocessing
import os
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cases
import numpy as np
import pytest
from talkers import ENGLISH, MULTILINGUAL, talker

from npwhisper.checkpoint.weights import convert, embedded_path, load_weights
from npwhisper.compute.parallel import get_num_threads, set_num_threads
from npwhisper.tracing.seam import trace
from npwhisper.transcription.output.writers import to_json

ROOT = Path(__file__).parents[2]
SOUNDS = [0.1 * cases.random_array(f"sound {i}", (3 + i) * 16000) for i in range(4)]
OPTIONS: list[dict[str, Any]] = [
    {"temperature": 0},
    {"temperature": 0, "beam_size": 2},
    {"temperature": (0.0, 0.6), "seed": 1},
    {"temperature": 0, "word_timestamps": True, "language": "de"},
]


def heard(i: int) -> str:
    """One of four transcriptions, as text to compare."""
    model = talker(MULTILINGUAL if i % 2 else ENGLISH)
    options = OPTIONS[i % 4] if i % 2 else {k: v for k, v in OPTIONS[i % 4].items() if k != "language"}
    return to_json(model.transcribe(SOUNDS[i % 4], sample_len=8, **options))


@pytest.fixture
def two_threads() -> Any:
    before = get_num_threads()
    set_num_threads(2)
    yield
    set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_eight_threads_hear_what_one_hears() -> None:
    alone = [heard(i) for i in range(4)]
    assert len(set(alone)) == 4
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(heard, range(8)))
    assert together == alone * 2


def test_a_failing_thread_disturbs_no_other() -> None:
    alone = heard(1)

    def fail(_: int) -> None:
        with pytest.raises(ValueError, match="holds NaN"):
            talker(MULTILINGUAL).transcribe(np.full(9, np.nan))

    with ThreadPoolExecutor(4) as pool:
        failing, hearing = pool.map(fail, range(4)), pool.map(heard, [1] * 3)
        assert list(hearing) == [alone] * 3
        assert list(failing) == [None] * 4


def test_a_trace_sees_its_own_thread_only() -> None:
    with trace("encoder") as acts, ThreadPoolExecutor(2) as pool:
        list(pool.map(heard, range(2)))
        assert list(acts) == []
        talker(ENGLISH).embed_audio(np.zeros((80, 3000), np.float32))
    assert len(acts.all("encoder")) == 1


@pytest.mark.usefixtures("two_threads")
def test_the_same_input_gives_the_same_bits() -> None:
    mel = 0.5 * cases.random_array("mel", 80, 3000)
    first = talker(ENGLISH).embed_audio(mel)
    for _ in range(3):
        np.testing.assert_array_equal(talker(ENGLISH).embed_audio(mel), first)
    assert heard(2) == heard(2)


@pytest.mark.slow
def test_sampling_is_as_random_as_its_seed() -> None:
    def drawn(seed: int | None) -> str:
        return talker(ENGLISH).transcribe(SOUNDS[0], temperature=1.0, seed=seed, sample_len=8)["text"]

    assert drawn(1) == drawn(1) != drawn(2)
    assert len({drawn(None) for _ in range(4)}) > 1


@pytest.mark.parametrize("n_threads", [pytest.param("1", marks=pytest.mark.slow), "2"])
def test_another_process_gives_the_same_bits(n_threads: str) -> None:
    code = (
        "import hashlib, cases, numpy as np; from talkers import *;"
        "y = talker(ENGLISH).embed_audio(0.5 * cases.random_array('mel', 80, 3000));"
        "print(hashlib.sha256(y.tobytes()).hexdigest())"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support")]),
        "OMP_NUM_THREADS": n_threads,
        "OPENBLAS_NUM_THREADS": n_threads,
    }
    command = [sys.executable, "-c", code]
    runs = [subprocess.run(command, env=environment, capture_output=True, text=True, check=True) for _ in range(2)]
    assert runs[0].stdout == runs[1].stdout
    assert len(runs[0].stdout.strip()) == 2 * hashlib.sha256().digest_size


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork")
@pytest.mark.usefixtures("two_threads")
def test_a_fork_after_use_hears_the_same() -> None:
    expected = [heard(i) for i in range(2)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of threads
        with multiprocessing.get_context("fork").Pool(2) as pool:
            assert pool.map_async(heard, range(2)).get(timeout=120) == expected
    assert [heard(i) for i in range(2)] == expected, "and the parent goes on"


@pytest.mark.slow
def test_threads_do_not_pile_up() -> None:
    heard(0)
    before = threading.active_count()
    for i in range(6):
        heard(i)
    assert threading.active_count() <= max(before, get_num_threads() + before)


@pytest.mark.parametrize(("variable", "expected"), [("1", 1), ("", None), ("0", None), ("many", None)])
def test_omp_num_threads_is_honoured(monkeypatch: pytest.MonkeyPatch, variable: str, expected: int | None) -> None:
    monkeypatch.setattr("npwhisper.compute.threads._threads", [])
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    processors = get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", variable)
    assert get_num_threads() == (expected or processors) >= 1


def test_num_threads_is_an_option_of_one_transcription() -> None:
    before, during = get_num_threads(), list[int]()
    options: dict[str, Any] = {"num_threads": before + 1, "temperature": 0, "sample_len": 2}
    talker(ENGLISH).transcribe(SOUNDS[0], on_decision=lambda _: during.append(get_num_threads()), **options)
    assert during
    assert set(during) == {before + 1}
    assert get_num_threads() == before


def test_the_threads_of_one_transcription_are_not_those_of_another_at_the_same_time() -> None:
    both_compute = threading.Barrier(2, timeout=120)

    def seen_with(n_threads: int) -> set[int]:
        seen = set[int]()

        def look(_: Any) -> None:
            both_compute.wait()
            seen.add(get_num_threads())
            both_compute.wait()

        talker(ENGLISH).transcribe(SOUNDS[0], on_decision=look, num_threads=n_threads, temperature=0, sample_len=2)
        return seen

    before = get_num_threads()
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(seen_with, (2, 3))) == [{2}, {3}]
    assert get_num_threads() == before


def test_linux_is_not_asked_at_every_product_how_many_processors_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[int]()

    def one_processor() -> int:
        asked.append(1)
        return 1

    monkeypatch.setattr("npwhisper.compute.threads._threads", [])
    monkeypatch.setattr("npwhisper.compute.threads.processors", one_processor)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    talker(ENGLISH).transcribe(SOUNDS[0], temperature=0, sample_len=9)
    assert 1 <= len(asked) <= 5  # when it starts, and for each segment


def test_importing_allocates_no_arrays() -> None:
    code = (
        "import tracemalloc, numpy as np; tracemalloc.start(); import npwhisper.whisper.handle, npwhisper.lab.checking;"
        "arrays = tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain);"
        "taken = tracemalloc.take_snapshot().filter_traces([arrays]).traces; print(sum(t.size for t in taken))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert int(run.stdout) < 100_000


@pytest.mark.slow
def test_processes_share_the_pages_of_a_float32_file(tmp_path: Path) -> None:
    convert(embedded_path(), tmp_path / "model.safetensors", "float32")
    for name, array in load_weights(tmp_path / "model.safetensors").weights.items():
        owner: Any = array
        while isinstance(owner, (np.ndarray, memoryview)):
            owner = owner.base if isinstance(owner, np.ndarray) else owner.obj
        assert isinstance(owner, mmap.mmap), f"{name} was copied"


ATEXIT = """
import atexit, numpy as np
from npwhisper.compute.threads import set_num_threads
from npwhisper.model.layers import gelu
set_num_threads(3)
x = np.ones((400, 30), np.float32)
atexit.register(lambda: print("done", gelu(x).shape))
"""
THREAD = """
import threading, time, numpy as np
from npwhisper.compute.threads import set_num_threads
from npwhisper.model.layers import gelu
set_num_threads(3)
x = np.ones((400, 30), np.float32)
threading.Thread(target=lambda: time.sleep(0.3) or print("done", gelu(x).shape)).start()
"""


@pytest.mark.slow
@pytest.mark.parametrize("code", [ATEXIT, THREAD], ids=["atexit", "thread"])
def test_the_interpreters_end_loses_no_work(code: str) -> None:
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert (run.stdout, run.stderr) == ("done (400, 30)\n", "")


BUSY_FORK = """
import os, signal, threading, numpy as np
from npwhisper.compute.threads import set_num_threads
from npwhisper.model.layers import gelu
set_num_threads(2)
x = np.ones((300, 30), np.float32)
def busy():
    while True: gelu(x)
threading.Thread(target=busy, daemon=True).start()
for i in range(40):
    if not (pid := os.fork()):
        signal.alarm(100); gelu(x); os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0, "a child hangs"
os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_fork_while_another_thread_computes_does_not_hang() -> None:
    command = [sys.executable, "-W", "ignore", "-c", BUSY_FORK]
    assert subprocess.run(command, cwd=ROOT, timeout=300).returncode == 0
