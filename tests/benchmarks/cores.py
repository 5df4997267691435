"""How does time fall with the number of threads, and who should share which work: BLAS's own threads or our pool?

    python tests/benchmarks/cores.py --out cores.json --minutes 9                  # everything
    python tests/benchmarks/cores.py engines --threads 2 --sizes tiny              # ours and openai-whisper
    python tests/benchmarks/cores.py candidates --threads 1 2                      # single computations

Needs NumPy and threadpoolctl only; openai-whisper is compared where it and torch can be imported (``--peers FOLDER``
names a folder that holds packages). Weights are random, of official sizes. Engines have processes of their own and take
turns; what is printed are medians. Sizes and threads that do not fit the minutes are left out, and the output says so.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import json
import multiprocessing
import os
import statistics
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[2] / place) for place in (".", "tests/benchmarks", "tests/support")]

import benchmark
import numpy as np

from npwhisper.compute import products
from npwhisper.compute.threads import blas_libraries, limit_blas, run, set_num_threads
from npwhisper.model import layers
from npwhisper.tracing.seam import Array

MEASURES = {"log-mel": ("log_mel",), "encoder": ("encoder",), "step": ("generate", 1), "beam-5 step": ("generate", 5)}
SHORT, LONG = 4, 36  # tokens: a step is the difference of the two, divided by what lies between
MEMORY = 160 << 20  # bytes of weights among which a measurement goes round, so that they come from memory


@functools.cache
def noise(seconds: float) -> Array:
    """Where no audio library is installed, any sound will do."""
    return np.random.default_rng(0).standard_normal(round(seconds * 16000)).astype(np.float32) * np.float32(0.1)


# Whole engines


def without_numba() -> None:
    """openai-whisper imports numba for word times, which are not measured here."""
    if importlib.util.find_spec("numba") is None:
        sys.modules["numba"] = types.ModuleType("numba")
        sys.modules["numba"].jit = lambda *_, **__: lambda function: function  # type: ignore[attr-defined]


def serve(pipe: Any, engine: str, size: str) -> None:
    """Answer (threads, method, arguments) with seconds, until None comes."""
    benchmark.audio_of = noise
    without_numba()
    made = benchmark.ENGINES[engine][0](size, os.cpu_count() or 1)
    pipe.send("ready")
    while (question := pipe.recv()) is not None:
        n, method, *arguments = question
        _set_threads(engine, n)
        pipe.send(benchmark._seconds(functools.partial(getattr(made, method), *arguments)))


def _set_threads(engine: str, n: int) -> None:
    if engine == "openai-whisper":
        import torch

        torch.set_num_threads(n)
    else:
        set_num_threads(n)


class Peer:
    """An engine in a process of its own."""

    def __init__(self, engine: str, size: str) -> None:
        self.pipe, theirs = multiprocessing.Pipe()
        self.process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs, engine, size))
        self.process.start()
        theirs.close()
        assert self.pipe.recv() == "ready"

    def ask(self, *question: Any) -> float:
        self.pipe.send(question)
        return float(self.pipe.recv())

    def measure(self, n: int, measure: str) -> float:
        method, *beams = MEASURES[measure]
        if method != "generate":
            return self.ask(n, method)
        short, long = (self.ask(n, method, tokens, *beams) for tokens in (SHORT, LONG))
        return (long - short) / (LONG - SHORT)

    def close(self) -> None:
        self.pipe.send(None)
        self.process.join()


def engines(options: argparse.Namespace, end: float) -> Iterator[dict[str, Any]]:
    """Milliseconds of every engine, by size, measure and number of threads."""
    names = [name for name in options.engines if importlib.util.find_spec(benchmark.ENGINES[name][1])]
    for size in options.sizes:
        peers = {name: Peer(name, size) for name in names}
        for measure in [m for m in MEASURES if m != "log-mel" or size == options.sizes[0]]:
            for n, rounds in measured(peers, measure, options, end).items():
                row = {"size": size, "threads": n, "measure": measure, "rounds": rounds}
                print(_engine_line(row) if rounds else f"{row}: no time", flush=True)
                yield row
        for peer in peers.values():
            peer.close()


def measured(
    peers: dict[str, Peer], measure: str, options: argparse.Namespace, end: float
) -> dict[int, list[dict[str, float]]]:
    """Rounds in which all numbers of threads and all engines take turns, so that a slow moment slows them all."""
    found: dict[int, list[dict[str, float]]] = {n: [] for n in options.threads}
    for turn in range(options.rounds + 1):
        for n in options.threads:
            if time.monotonic() < end:
                row = {name: 1e3 * peer.measure(n, measure) for name, peer in peers.items()}
                if turn:  # the first warms up
                    found[n].append(row)
    return found


def _engine_line(row: dict[str, Any]) -> str:
    rounds = row["rounds"]
    ours, *others = rounds[0]
    text = f"{row['size']:6} {row['measure']:12} {row['threads']:2} threads"
    for name in rounds[0]:
        text += f"  {name} {statistics.median(r[name] for r in rounds):8.2f} ms"
    for name in others:
        ratios = sorted(r[ours] / r[name] for r in rounds)
        text += f"  / {name} {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    return text


# Single computations


def blas(n: int) -> None:
    """Give BLAS `n` threads."""
    for library in blas_libraries():
        library.set_num_threads(n)


def shared(function: Callable[[slice], None], n: int, count: int) -> None:
    """Compute `count` equal slices of `n` on our pool."""
    run(function, [slice(n * i // count, n * (i + 1) // count) for i in range(count)])


def product_ways(x: Array, n_threads: int) -> dict[str, Callable[[Array], Any]]:
    """Ways to multiply few rows with a matrix: (rows, D_in) -> functions of (D_out, D_in)."""
    rows = len(x)

    def pieces(weight: Array, count: int) -> None:
        y = np.empty((rows, len(weight)), dtype=np.float32)

        def work(part: slice) -> None:
            y[:, part] = products._inner(x, weight[part])

        shared(work, len(weight), count)

    def native(weight: Array) -> None:
        blas(n_threads)
        np.matmul(weight, x[0]) if rows == 1 else np.matmul(x, weight.T)

    def turned(weight: Array) -> None:
        blas(n_threads)
        np.matmul(weight, x.T)

    ways: dict[str, Callable[[Array], Any]] = {
        "now": lambda weight: products.inner(x, weight),
        "alone": lambda weight: products._inner(x, weight),
        "BLAS": native,
        "pool, a piece a thread": lambda weight: pieces(weight, n_threads),
    }
    return ways if rows == 1 else {**ways, "BLAS, W x": turned}


def many_rows_ways(x: Array, n_threads: int) -> dict[str, Callable[[Array], Any]]:
    """Ways to multiply the encoder's 1500 positions with a matrix."""

    def native(weight: Array) -> None:
        blas(n_threads)
        np.matmul(x, weight.T)

    def rows_of(weight: Array) -> None:
        y = np.empty((len(x), len(weight)), dtype=np.float32)
        shared(lambda part: np.matmul(x[part], weight.T, out=y[part]), len(x), n_threads)

    return {
        "now": lambda weight: layers.linear(x, {"weight": weight}),
        "BLAS": native,
        "pool, a piece a thread": rows_of,
    }


def quickest(function: Callable[[Array], Any], weights: list[Array], budget: float = 0.05) -> float:
    """Milliseconds of the median call, going round the weights."""
    times, end, i = list[float](), time.perf_counter() + budget, 0
    for weight in weights[:3]:
        function(weight)
    while len(times) < 5 or (time.perf_counter() < end and len(times) < 200):
        begin = time.perf_counter()
        function(weights[i % len(weights)])
        times.append(time.perf_counter() - begin)
        i += 1
    return 1e3 * statistics.median(times)


def copies(shape: tuple[int, int]) -> list[Array]:
    """Equal matrices, together larger than the caches."""
    first = np.random.default_rng(1).standard_normal(shape, dtype=np.float32)
    return [first, *(first.copy() for _ in range(min(200, MEMORY // first.nbytes)))]


SHAPES = [  # (D_out, D_in)
    (384, 384), (1536, 384), (384, 1536), (512, 512), (2048, 512), (512, 2048), (768, 768), (3072, 768), (768, 3072),
    (51865, 384), (51865, 512), (51865, 768),
]  # fmt: skip


def candidates(options: argparse.Namespace, end: float) -> Iterator[dict[str, Any]]:
    """Milliseconds of every way of computing a thing, by what it is and by the number of threads."""
    for shape in SHAPES:
        weights = copies(shape)
        for rows in (1, 5, 16, 40, *([1500] if shape[0] < 50000 else [])):
            x = np.random.default_rng(2).standard_normal((rows, shape[1]), dtype=np.float32)
            ways = many_rows_ways if rows == 1500 else product_ways
            yield from _compared(f"{shape[1]} -> {shape[0]}, {rows} rows", x, weights, ways, options, end)
    for heads in (6, 8, 12):
        name, zeros = f"attention, {heads} heads", np.zeros((1, heads, 1500, 64), np.float32)
        q = np.random.default_rng(3).standard_normal(zeros.shape).astype(np.float32)
        yield from _compared(name, q, [q], attention_ways, options, end)
    for width in (384, 1536, 768, 3072):
        x = np.random.default_rng(4).standard_normal((1500, width), dtype=np.float32)
        for name, function in (("gelu", layers.gelu), ("layer norm", _norm)):
            ways = functools.partial(elementwise_ways, function)
            yield from _compared(f"{name}, 1500 x {width}", x, [x], ways, options, end)
    yield from _compared("stft of 30 s", noise(30.0), [noise(30.0)], stft_ways, options, end)
    for width in (384, 768):
        x = np.random.default_rng(5).standard_normal((1500, width), dtype=np.float32)
        yield from _compared(f"mlp, 1500 x {width}", x, [x], functools.partial(mlp_ways, width), options, end)


def _norm(x: Array) -> Array:
    ones = np.ones(x.shape[1], np.float32)
    return layers.layer_norm(x, {"weight": ones, "bias": ones})


def attention_ways(q: Array, n_threads: int) -> dict[str, Callable[[Array], Any]]:
    """Attention of the encoder: heads and queries on the pool, or whole products on BLAS's threads."""
    from npwhisper.model.attention import attend

    def native(k: Array) -> None:
        blas(n_threads)
        z = np.matmul(q * 0.125, k.swapaxes(2, 3))
        shared(lambda part: _softmax_into(z[:, :, part]), 1500, n_threads)
        blas(n_threads)
        np.matmul(z, k)

    def one_head_a_piece(k: Array, parts: int) -> None:
        y = np.empty_like(q)

        def work(piece: tuple[int, slice]) -> None:
            h, part = piece
            z = np.matmul(q[0, h, part] * 0.125, k[0, h].T)
            _softmax_into(z)
            y[0, h, part] = np.matmul(z, k[0, h])

        cuts = [slice(1500 * i // parts, 1500 * (i + 1) // parts) for i in range(parts)]
        run(work, [(h, cut) for h in range(q.shape[1]) for cut in cuts])

    return {
        "now": lambda k: attend(q, k, k),
        "BLAS": native,
        "pool, 2 pieces a head": lambda k: one_head_a_piece(k, 2),
        "pool, 4 pieces a head": lambda k: one_head_a_piece(k, 4),
        "pool, 8 pieces a head": lambda k: one_head_a_piece(k, 8),
    }


def _softmax_into(z: Array) -> None:
    z -= z.max(axis=-1, keepdims=True)
    np.exp(z, out=z)
    z *= 1.0 / np.vecdot(z, np.ones(z.shape[-1], np.float32))[..., None]


def elementwise_ways(function: Any, x: Array, n_threads: int) -> dict[str, Callable[[Array], Any]]:
    """GELU and layer norm: the cuts of now, or others on at most so many threads."""
    raw = function.__wrapped__.__wrapped__ if function is layers.gelu else function
    y = np.empty_like(x)

    def in_pieces(_: Array, count: int) -> None:
        def work(part: slice) -> None:
            y[part] = raw(x[part])

        shared(work, len(x), count)

    ways: dict[str, Callable[[Array], Any]] = {"now": lambda _: function(x)}
    return ways | {f"pool, {k} pieces a thread": lambda _, k=k: in_pieces(_, k * n_threads) for k in (1, 2, 4)}


def stft_ways(samples: Array, n_threads: int) -> dict[str, Callable[[Array], Any]]:
    """The short-time Fourier transform with its blocks of 96 frames, or with others."""
    from npwhisper.audio import mel

    frames = np.lib.stride_tricks.sliding_window_view(np.pad(samples, 200), 400)[::160][:3000]

    def in_pieces(count: int) -> None:
        y = np.empty((len(frames), 201), np.float32)

        def work(part: slice) -> None:
            y[part] = mel._power.__wrapped__.__wrapped__(frames[part], mel.hann())

        shared(work, len(frames), count)

    def filtered(_: Array) -> None:
        blas(n_threads)
        np.matmul(mel.mel_filters(80), spectrum.T)

    spectrum = np.ones((3000, 201), np.float32)
    return {
        "now": lambda _: mel.stft(samples),
        "pool, a piece a thread": lambda _: in_pieces(n_threads),
        "pool, 4 pieces a thread": lambda _: in_pieces(4 * n_threads),
        "whole log-mel": lambda _: mel.log_mel_spectrogram(samples),
        "mel filters, BLAS": filtered,
    }


def mlp_ways(width: int, x: Array, n_threads: int) -> dict[str, Callable[[Array], Any]]:
    """The encoder's mlp: rows on the pool, or products on BLAS's threads with GELU on the pool between them."""
    from npwhisper.model import mlp

    random = np.random.default_rng(6).standard_normal
    w = {
        "0": {"weight": random((4 * width, width), np.float32)},
        "2": {"weight": random((width, 4 * width), np.float32)},
    }
    raw = layers.gelu.__wrapped__.__wrapped__

    def native(_: Array) -> None:
        blas(n_threads)
        h = np.matmul(x, w["0"]["weight"].T)
        y = np.empty_like(h)

        def work(part: slice) -> None:
            y[part] = raw(h[part])

        shared(work, len(x), n_threads)
        blas(n_threads)
        np.matmul(y, w["2"]["weight"].T)

    return {"now": lambda _: mlp(x, w), "BLAS and pool": native}


def _compared(
    name: str, x: Array, weights: list[Array], ways: Callable[..., Any], options: argparse.Namespace, end: float
) -> Iterator[dict[str, Any]]:
    for n in options.threads:
        if time.monotonic() > end:
            yield {"what": name, "threads": n, "left out": "no time"}
            continue
        set_num_threads(n)
        with limit_blas(1):  # nothing shares unless it says so
            found = {way: quickest(function, weights) for way, function in ways(x, n).items()}
        blas(1)
        text = "  ".join(f"{way} {ms:.3f}" for way, ms in found.items())
        print(f"{name}  {n} threads, ms:  {text}", flush=True)
        yield {"what": name, "threads": n, "ms": found}


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", help="engines, candidates; both if none is named")
    cores = os.cpu_count() or 1
    parser.add_argument("--threads", nargs="+", type=int, default=[n for n in (1, 2, 4, 8, 16, 32) if n <= cores])
    parser.add_argument("--sizes", nargs="+", default=["tiny", "base", "small"])
    parser.add_argument("--engines", nargs="+", default=["npwhisper", "openai-whisper"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=9.0, help="when to stop, counted from the start")
    parser.add_argument("--peers", type=Path, help="a folder with packages that are not installed")
    parser.add_argument("--out", type=Path, help="where to write the figures as JSON")
    options = parser.parse_args(arguments)
    if options.peers:
        sys.path.append(str(options.peers.resolve()))
        os.environ["PYTHONPATH"] = os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(options.peers.resolve())])
    begin, what = time.monotonic(), options.what or ["engines", "candidates"]
    share = {"engines": 0.62 if len(what) > 1 else 0.97, "candidates": 0.97}
    result: dict[str, Any] = {"machine": benchmark.machine(), "threads wanted": options.threads}
    print(json.dumps(result), flush=True)
    for name in what:
        rows = result[name] = []
        for row in {"engines": engines, "candidates": candidates}[name](
            options, begin + 60 * options.minutes * share[name]
        ):
            rows.append(row)
            if options.out:
                options.out.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
