"""How long does a talk take, from file to text, with real weights, beside the engines that people use?

    python tests/benchmarks/talk.py --weights FOLDER --minutes 4 --rounds 2 --out talk.json

FOLDER holds ``tiny.en.safetensors`` and ``base.safetensors``, and for faster-whisper ``tiny.en-ct2`` and ``base-ct2``.
The talk is speech of the tests, over and over. Every engine has a process of its own, loads the model before the clock
starts, and takes its turn in every round; memory is the peak of the process. whisper.cpp reads a ggml file of 16-bit
floats written from the same weights. An engine that is not installed, or fails, is named with the reason.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import functools
import json
import multiprocessing
import os
import resource
import statistics
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[2] / place) for place in (".", "tests/benchmarks", "tests/support")]

import benchmark
import numpy as np
from checkpoint_files import ggml_tensor

import npwhisper
from npwhisper.compute import THREAD_VARIABLES

DATA = Path(__file__).parents[1] / "data"
SETTINGS = ["greedy", "beam 5", "batch 8", "batch 8, beam 5"]
Engine = Callable[[Path, str, int], Callable[[Any, str], str]]


@functools.cache
def talk(minutes: float) -> Any:
    """Speech of several speakers, cut to length: float32 at 16 kHz."""
    parts = [npwhisper.load_audio(DATA / name) for name in ("sonnet.flac", "jfk.flac", "austen_0870.flac")]
    return np.resize(np.concatenate(parts), round(minutes * 60 * 16000))


def ours(folder: Path, size: str, threads: int, kind: str = "float32") -> Callable[[Any, str], str]:
    model = npwhisper.load_model(folder / f"{size}.safetensors", weights=kind)
    given = {"temperature": 0, "language": "en", "num_threads": threads}
    return lambda audio, setting: str(
        model.transcribe(audio, batch_size=batch_of(setting), beam_size=beams_of(setting), **given)["text"]
    )


def batch_of(setting: str) -> int | None:
    return 8 if setting.startswith("batch 8") else None


def beams_of(setting: str) -> int | None:
    return 5 if setting.endswith("beam 5") else None


def openai(folder: Path, size: str, threads: int) -> Callable[[Any, str], str]:
    import torch
    import whisper

    torch.set_num_threads(threads)
    source = npwhisper.load_model(folder / f"{size}.safetensors")
    model = whisper.model.Whisper(whisper.model.ModelDimensions(**vars(source.dims))).eval()
    model.load_state_dict({name: torch.tensor(np.asarray(w)) for name, w in source.weights.items()}, strict=False)
    return lambda audio, setting: str(
        model.transcribe(audio, fp16=False, temperature=0, language="en", beam_size=beams_of(setting))["text"]
    )


def faster(folder: Path, size: str, threads: int, kind: str = "float32") -> Callable[[Any, str], str]:
    from faster_whisper import BatchedInferencePipeline, WhisperModel

    model = WhisperModel(str(folder / f"{size}-ct2"), device="cpu", compute_type=kind, cpu_threads=threads)
    batched = BatchedInferencePipeline(model)

    def run(audio: Any, setting: str) -> str:
        given = {"language": "en", "temperature": 0, "beam_size": beams_of(setting) or 1}
        if batch_of(setting):
            return "".join(
                s.text for s in batched.transcribe(audio, batch_size=8, without_timestamps=False, **given)[0]
            )
        return "".join(s.text for s in model.transcribe(audio, **given)[0])

    return run


def whisper_cpp(folder: Path, size: str, threads: int) -> Callable[[Any, str], str]:
    from pywhispercpp.model import Model

    source = npwhisper.load_model(folder / f"{size}.safetensors")
    path = Path(tempfile.mkdtemp()) / f"ggml-{size}.bin"
    path.write_bytes(as_ggml(source))
    made = {}

    def run(audio: Any, setting: str) -> str:
        if setting not in made:
            beam = {"beam_search": {"beam_size": 5, "patience": -1.0}} if beams_of(setting) else {}
            strategy = 1 if beam else 0
            options = {"n_threads": threads, "print_progress": False, "print_realtime": False, "temperature_inc": 0.0}
            made[setting] = Model(str(path), params_sampling_strategy=strategy, language="en", **options, **beam)
        return "".join(segment.text for segment in made[setting].transcribe(audio))

    return run


def as_ggml(model: npwhisper.Whisper) -> bytes:
    """The weights as whisper.cpp reads them: matrices in 16 bits, all else in 32."""
    import whisper

    d = model.dims
    shape = [d.n_vocab, d.n_audio_ctx, d.n_audio_state, d.n_audio_head, d.n_audio_layer, d.n_text_ctx, d.n_text_state]
    out = [struct.pack("<12i", 0x67676D6C, *shape, d.n_text_head, d.n_text_layer, d.n_mels, 1)]
    filters = npwhisper.audio.mel_filters(d.n_mels)
    out += [struct.pack("<2i", *filters.shape), filters.tobytes()]
    name = "multilingual" if model.is_multilingual else "gpt2"
    lines = (Path(whisper.__file__).parent / f"assets/{name}.tiktoken").read_text().split("\n")
    words = [base64.b64decode(line.split()[0]) for line in lines if line]
    out += [struct.pack("<i", len(words)), *(struct.pack("<i", len(word)) + word for word in words)]
    for name, weight in model.weights.items():
        array = np.asarray(weight, np.float32)
        if name in ("encoder.conv1.bias", "encoder.conv2.bias"):
            array = array[:, None]
        is_half = array.ndim > 1 and "positional" not in name and not name.endswith("bias")
        numbers = array.astype(np.float16 if is_half else np.float32)
        out.append(ggml_tensor(name, int(is_half), numbers.shape, numbers.tobytes()))
    return b"".join(out)


def transformers(folder: Path, size: str, threads: int) -> Callable[[Any, str], str]:
    import torch
    from transformers import WhisperFeatureExtractor

    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    source = npwhisper.load_model(folder / f"{size}.safetensors")
    benchmark.dimensions = lambda _: source.dims
    benchmark.weights_of = lambda _: {name: np.asarray(w) for name, w in source.weights.items()}
    model, extract = benchmark.hugging_face(size), WhisperFeatureExtractor(feature_size=source.dims.n_mels)
    prompt = [*source.tokenizer.sot_sequence, source.tokenizer.no_timestamps]

    def run(audio: Any, setting: str) -> str:
        from transformers import GenerationMixin

        windows = [audio[i : i + 480000] for i in range(0, len(audio), 480000)]
        step = batch_of(setting) or 1
        text = ""
        for i in range(0, len(windows), step):
            batch = windows[i : i + step]
            mel = extract(batch, sampling_rate=16000, return_tensors="pt").input_features
            heard = model.model.encoder(mel)
            tokens = GenerationMixin.generate(
                model, encoder_outputs=heard, decoder_input_ids=torch.tensor([prompt] * len(batch)), do_sample=False,
                max_new_tokens=220, num_beams=beams_of(setting) or 1, eos_token_id=source.tokenizer.eot,
                pad_token_id=source.tokenizer.eot,
            )  # fmt: skip
            text += "".join(
                source.tokenizer.decode([t for t in row if t < source.tokenizer.eot]) for row in tokens.tolist()
            )
        return text

    return run


ENGINES: dict[str, tuple[Engine, list[str]]] = {  # and what each can do
    "npwhisper": (ours, SETTINGS),
    "npwhisper int8": (functools.partial(ours, kind="int8"), ["greedy"]),
    "openai-whisper": (openai, ["greedy", "beam 5"]),
    "faster-whisper": (faster, SETTINGS),
    "faster-whisper int8": (functools.partial(faster, kind="int8"), SETTINGS),
    "whisper.cpp f16": (whisper_cpp, ["greedy", "beam 5"]),
    "transformers, windows cut at 30 s": (transformers, SETTINGS),
}


def serve(pipe: Any, engine: str, options: argparse.Namespace, size: str) -> None:
    """Answer settings with (seconds, words, peak MB), until None comes."""
    run, warm = None, set[str]()
    with contextlib.redirect_stdout(sys.stderr):
        while (setting := pipe.recv()) is not None:
            try:
                run = run or ENGINES[engine][0](options.weights, size, options.threads)
                if setting not in warm:
                    run(talk(0.1), setting)
                    warm.add(setting)
                begin = time.perf_counter()
                text = run(talk(options.minutes), setting)
                seconds = time.perf_counter() - begin
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
                pipe.send({"seconds": seconds, "words": len(text.split()), "peak_mb": round(peak)})
            except Exception as error:
                pipe.send({"failed": f"{type(error).__name__}: {error}"[:300]})


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """All rounds of all engines; written down as soon as they are known."""
    rows, end = list[dict[str, Any]](), time.monotonic() + 60 * options.limit
    for size in options.sizes:
        pipes = {name: started(name, options, size) for name in options.engines}
        for setting, turn in [(setting, turn) for setting in options.settings for turn in range(options.rounds)]:
            for name in [n for n in options.engines if setting in ENGINES[n][1]]:
                row: dict[str, Any] = {"size": size, "setting": setting, "engine": name, "round": turn}
                if time.monotonic() > end:
                    row["failed"] = "no time left"
                else:
                    pipes[name].send(setting)
                    row |= pipes[name].recv()
                print(json.dumps(row), flush=True)
                rows.append(row)
            if options.out:
                options.out.write_text(json.dumps({"machine": benchmark.machine(), "rows": rows}, indent=1))
        for pipe in pipes.values():
            pipe.send(None)
    return rows


def started(name: str, options: argparse.Namespace, size: str) -> Any:
    for variable in THREAD_VARIABLES:
        os.environ[variable] = str(options.threads)
    pipe, theirs = multiprocessing.Pipe()
    multiprocessing.get_context("spawn").Process(target=serve, args=(theirs, name, options, size), daemon=True).start()
    return pipe


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: median seconds, ours divided by each within a round, words and memory."""
    lines = ["| | engine | seconds | ours / theirs | words | MB |", "|---|---|---|---|---|---|"]
    for size, setting, name in dict.fromkeys((row["size"], row["setting"], row["engine"]) for row in rows):
        same = [row for row in rows if (row["size"], row["setting"]) == (size, setting) and "seconds" in row]
        found = {row["round"]: row for row in same if row["engine"] == name}
        mine = {row["round"]: row["seconds"] for row in same if row["engine"] == "npwhisper"}
        if not found:
            continue
        ratios = sorted(mine[i] / row["seconds"] for i, row in found.items() if i in mine)
        ratio = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})" if ratios else ""
        seconds = statistics.median(row["seconds"] for row in found.values())
        last = list(found.values())[-1]
        lines.append(f"| {size}, {setting} | {name} | {seconds:.1f} | {ratio} | {last['words']} | {last['peak_mb']} |")
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True, help="the folder with the weights")
    parser.add_argument("--sizes", nargs="+", default=["tiny.en", "base"])
    parser.add_argument("--engines", nargs="+", default=[*ENGINES], choices=[*ENGINES])
    parser.add_argument("--settings", nargs="+", default=SETTINGS, choices=SETTINGS)
    parser.add_argument("--minutes", type=float, default=4.0, help="of speech")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--limit", type=float, default=60.0, help="minutes after which nothing new is started")
    parser.add_argument("--out", type=Path, help="where to write the figures as JSON")
    options = parser.parse_args(arguments)
    print(table(measure(options)))


if __name__ == "__main__":
    main(sys.argv[1:])
