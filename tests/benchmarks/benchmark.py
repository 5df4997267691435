"""How fast is this beside openai-whisper, transformers and faster-whisper, on this machine, with the same weights?

    python tests/benchmarks/benchmark.py compare --out compare.json       # the engines that are installed
    python tests/benchmarks/benchmark.py scale --out scale.json           # ours: length, beams, batch, threads, size
    python tests/benchmarks/benchmark.py --table compare.json scale.json  # Markdown

The networks have official sizes and seeded random weights: their values do not matter for speed. Every engine has a
process of its own; all are asked in turn, again and again, and what is reported is the median of the ratios within a
round, so that slow moments of the machine hit all alike. The machine's own limits are asked in the same rounds.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import json
import multiprocessing
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[2] / place) for place in (".", "tests/support")]

import cases
import numpy as np

import npwhisper
from npwhisper.checkpoint.names import openai_name
from npwhisper.checkpoint.weights import in_memory
from npwhisper.compute import THREAD_VARIABLES
from npwhisper.compute.parallel import set_num_threads
from npwhisper.decoding import DecodingOptions, DecodingTask
from npwhisper.model import ModelDimensions, Network
from npwhisper.timing import find_alignment

EOT, PROMPT = 50257, [50258, 50259, 50359, 50363]  # start, English, transcribe, no timestamps
DISTURBED = 0.08  # part of the machine that others may use during a measurement before it is repeated
SHORT, LONG = 4, 36  # tokens: a step is the difference of the two, divided by what lies between
TEXT = " And so, my fellow Americans, ask not what your country can do for you; ask what you can do for your country."
MEASURES = ["log-mel", "encoder", "greedy step", "beam-5 step", "words", "transcribe"]
EMBEDDED = "tiny.en"  # with its real weights, so that it can transcribe


@functools.cache
def audio_of(seconds: float) -> Any:
    """The example, again and again."""
    samples = npwhisper.load_audio(npwhisper.example())
    return np.resize(samples, round(seconds * 16000))


def dimensions(size: str) -> ModelDimensions:
    return npwhisper.load_model().dims if size == EMBEDDED else cases.OFFICIAL[size]


def weights_of(size: str) -> dict[str, Any]:
    return dict(npwhisper.load_model().weights) if size == EMBEDDED else cases.random_weights(dimensions(size))


class Ours:
    """npwhisper; a `Network` cannot transcribe, so it becomes a `Whisper`."""

    kind = "float32"

    def __init__(self, size: str, threads: int) -> None:
        set_num_threads(threads)
        weights = {name: in_memory(name, array, self.kind) for name, array in weights_of(size).items()}
        self.model = npwhisper.Whisper(dimensions(size), weights)
        self.mel = npwhisper.log_mel_spectrogram(audio_of(30.0), dimensions(size).n_mels)
        self.features = self.model.embed_audio(self.mel)
        self.options = {"language": "en", "suppress_tokens": [EOT], "suppress_blank": False, "without_timestamps": True}

    def log_mel(self) -> float:
        return median(lambda: npwhisper.log_mel_spectrogram(audio_of(30.0)), 10)

    def encoder(self) -> None:
        self.model.embed_audio(self.mel)

    def generate(self, n: int, beams: int) -> None:
        options = DecodingOptions(sample_len=n, beam_size=beams if beams > 1 else None, **self.options)
        (result,) = DecodingTask(self.model, options).run(self.features)
        assert len(result.tokens) == n

    def words(self) -> None:
        tokenizer = self.model.tokenizer
        find_alignment(self.model, tokenizer, tokenizer.encode(TEXT), self.mel, 3000)

    def transcribe(self) -> None:
        self.model.transcribe(audio_of(60.0))


class OursInt8(Ours):
    kind = "int8"


class OpenAI:
    """openai-whisper, by its own decoding task."""

    def __init__(self, size: str, threads: int) -> None:
        import torch
        import whisper
        from whisper.model import ModelDimensions as TheirDimensions
        from whisper.model import Whisper

        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        self.whisper = whisper
        self.model = Whisper(TheirDimensions(**vars(dimensions(size)))).eval()
        self.model.load_state_dict({k: torch.tensor(v) for k, v in weights_of(size).items()}, strict=False)
        self.mel = whisper.log_mel_spectrogram(audio_of(30.0), dimensions(size).n_mels)
        self.features = self.model.encoder(self.mel[None])

    def log_mel(self) -> float:
        return median(lambda: self.whisper.log_mel_spectrogram(audio_of(30.0)), 10)

    def encoder(self) -> None:
        self.model.encoder(self.mel[None])

    def generate(self, n: int, beams: int) -> None:
        options = self.whisper.DecodingOptions(
            language="en", without_timestamps=True, sample_len=n, fp16=False, suppress_tokens=[EOT],
            suppress_blank=False, beam_size=beams if beams > 1 else None,
        )  # fmt: skip
        task = self.whisper.decoding.DecodingTask(self.model, options)
        task._get_audio_features = lambda mel: self.features
        assert len(task.run(self.mel[None])[0].tokens) == n

    def words(self) -> None:
        from whisper.timing import find_alignment as theirs

        tokenizer = self.whisper.tokenizer.get_tokenizer(self.model.is_multilingual, language="en", task="transcribe")
        theirs(self.model, tokenizer, tokenizer.encode(TEXT), self.mel, 3000)

    def transcribe(self) -> None:
        self.model.transcribe(audio_of(60.0), fp16=False)


def hugging_face(size: str) -> Any:
    """transformers' Whisper of the same dimensions and weights."""
    import torch
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    d = dimensions(size)
    config = WhisperConfig(
        vocab_size=d.n_vocab, num_mel_bins=d.n_mels, d_model=d.n_audio_state, max_source_positions=d.n_audio_ctx,
        encoder_layers=d.n_audio_layer, encoder_attention_heads=d.n_audio_head, encoder_ffn_dim=4 * d.n_audio_state,
        decoder_layers=d.n_text_layer, decoder_attention_heads=d.n_text_head, decoder_ffn_dim=4 * d.n_text_state,
        max_target_positions=d.n_text_ctx, bos_token_id=EOT, eos_token_id=EOT, pad_token_id=EOT,
        decoder_start_token_id=PROMPT[0], suppress_tokens=[], begin_suppress_tokens=[],
    )  # fmt: skip
    model, weights = WhisperForConditionalGeneration(config).eval(), weights_of(size)
    for name, parameter in model.model.named_parameters():
        parameter.data.copy_(torch.tensor(weights[openai_name(name)]))
    return model


class Transformers:
    """transformers, by its general `generate`."""

    def __init__(self, size: str, threads: int) -> None:
        import torch
        import transformers

        transformers.utils.logging.set_verbosity_error()
        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        self.model, self.prompt = hugging_face(size), torch.tensor([PROMPT])
        self.extract = transformers.WhisperFeatureExtractor(feature_size=dimensions(size).n_mels)
        self.mel = self.extract(audio_of(30.0), sampling_rate=16000, return_tensors="pt").input_features
        self.features = self.encoder()

    def log_mel(self) -> float:
        return median(lambda: self.extract(audio_of(30.0), sampling_rate=16000, return_tensors="pt"), 10)

    def encoder(self) -> Any:
        return self.model.model.encoder(self.mel)

    def generate(self, n: int, beams: int) -> None:
        from transformers import GenerationMixin
        from transformers.modeling_outputs import BaseModelOutput

        heard = BaseModelOutput(last_hidden_state=self.features.last_hidden_state)
        y = GenerationMixin.generate(
            self.model, encoder_outputs=heard, decoder_input_ids=self.prompt, min_new_tokens=n, max_new_tokens=n,
            num_beams=beams, do_sample=False, use_cache=True,
        )  # fmt: skip
        assert y.shape[-1] == len(PROMPT) + n


class FasterWhisper:
    """faster-whisper's engine, CTranslate2, on the weights of `hugging_face`."""

    kind = "float32"

    def __init__(self, size: str, threads: int) -> None:
        import ctranslate2
        from faster_whisper.feature_extractor import FeatureExtractor

        self.extract = FeatureExtractor(feature_size=dimensions(size).n_mels)
        self.view = ctranslate2.StorageView.from_array
        with tempfile.TemporaryDirectory() as folder:
            _convert(size, Path(folder), self.kind)
            self.model = ctranslate2.models.Whisper(
                f"{folder}/ct2", device="cpu", compute_type=self.kind, intra_threads=threads, inter_threads=1
            )
        self.mel = self.view(np.ascontiguousarray(self.extract(audio_of(30.0))[None, :, :3000], dtype=np.float32))
        self.features = self.model.encode(self.mel)

    def log_mel(self) -> float:
        return median(lambda: self.extract(audio_of(30.0)), 10)

    def encoder(self) -> None:
        self.model.encode(self.mel)

    def generate(self, n: int, beams: int) -> None:
        (result,) = self.model.generate(
            self.features, [PROMPT], beam_size=beams, max_length=2 * n, suppress_blank=False, suppress_tokens=[EOT]
        )
        assert len(result.sequences_ids[0]) == n


class FasterWhisperInt8(FasterWhisper):
    kind = "int8"


def _convert(size: str, folder: Path, kind: str) -> None:
    """Write the weights and a list of made-up words where CTranslate2's converter looks for them."""
    from ctranslate2.converters import TransformersConverter
    from tokenizers import Tokenizer, models

    hugging_face(size).save_pretrained(folder / "hf")
    named = {"<|endoftext|>": EOT, "<|startoftranscript|>": PROMPT[0], "<|en|>": PROMPT[1]}
    named |= {"<|transcribe|>": PROMPT[2], "<|notimestamps|>": PROMPT[3]}
    ids = set(named.values())
    vocabulary = named | {f"w{i}": i for i in range(dimensions(size).n_vocab) if i not in ids}
    Tokenizer(models.WordLevel(vocabulary, unk_token="w0")).save(str(folder / "hf" / "tokenizer.json"))
    words = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>", "unk_token": "w0"}
    (folder / "hf" / "tokenizer_config.json").write_text(json.dumps(words))
    TransformersConverter(str(folder / "hf")).convert(str(folder / "ct2"), quantization=kind)


class Limits:
    """What the machine can do at most: large products, reading memory."""

    def __init__(self, size: str, threads: int) -> None:
        d = dimensions(size).n_audio_state
        self.a, self.b = (np.ones(shape, dtype=np.float32) for shape in ((1500, d), (d, 4 * d)))
        self.c = np.empty((1500, 4 * d), dtype=np.float32)
        self.matrix, self.vector = np.ones((30000, 2048), dtype=np.float32), np.ones(2048, dtype=np.float32)

    def sgemm(self) -> float:
        """Seconds for one GFLOP."""
        seconds = min(_seconds(lambda: np.matmul(self.a, self.b, out=self.c)) for _ in range(10))
        return seconds / (2e-9 * self.a.size * self.b.shape[1])

    def memory(self) -> float:
        """Seconds for one GB."""
        return min(_seconds(lambda: self.matrix @ self.vector) for _ in range(5)) / (1e-9 * self.matrix.nbytes)


ENGINES: dict[str, tuple[type, str]] = {
    "npwhisper": (Ours, "numpy"),
    "npwhisper int8": (OursInt8, "numpy"),
    "openai-whisper": (OpenAI, "whisper"),
    "transformers": (Transformers, "transformers"),
    "faster-whisper": (FasterWhisper, "faster_whisper"),
    "faster-whisper int8": (FasterWhisperInt8, "faster_whisper"),
    "machine": (Limits, "numpy"),
}


def _seconds(function: Callable[[], Any]) -> float:
    """How long a call takes, or how long it says that it took."""
    begin = time.perf_counter()
    said = function()
    return said if isinstance(said, float) else time.perf_counter() - begin


def median(function: Callable[[], Any], times: int = 5) -> float:
    """Seconds of the median call, after one that warms up; for what takes only a few milliseconds, ask for ten."""
    function()
    return statistics.median(_seconds(function) for _ in range(times))


def serve(pipe: Any, engine: str, size: str, threads: int) -> None:
    """In a process of its own: make the engine, then answer (method, arguments) with seconds, until None comes."""
    made = ENGINES[engine][0](size, threads)
    pipe.send("ready")
    while (question := pipe.recv()) is not None:
        method, *arguments = question
        pipe.send(_disturbed_by_others(getattr(made, method), arguments) if hasattr(made, method) else None)


def _disturbed_by_others(method: Callable[..., Any], arguments: list[Any]) -> tuple[float, float]:
    """Seconds that a call takes, and the part of the machine that other processes used meanwhile."""
    begin, all_before, own_before = time.perf_counter(), busy(), time.process_time()
    seconds = _seconds(lambda: method(*arguments))
    others = busy() - all_before - (time.process_time() - own_before)
    return seconds, max(0.0, others) / (time.perf_counter() - begin) / (os.cpu_count() or 1)


class Peer:
    """An engine in its process."""

    patience = 2.0  # seconds to wait for a quiet machine before each question

    def __init__(self, engine: str, size: str, threads: int) -> None:
        for name in THREAD_VARIABLES:
            os.environ[name] = str(threads)
        self.disturbed: list[float] = []
        self.pipe, theirs = multiprocessing.Pipe()
        self.process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs, engine, size, threads))
        self.process.start()
        theirs.close()
        assert self.pipe.recv() == "ready"

    def ask(self, *question: Any) -> float | None:
        """Seconds of the least disturbed of up to three calls."""
        answers = []
        for _ in range(3):
            wait_for_quiet(self.patience)
            self.pipe.send(question)
            if (answer := self.pipe.recv()) is None:
                return None
            answers.append(answer)
            if answer[1] < DISTURBED:
                break
        seconds, disturbed = min(answers, key=lambda answer: answer[1])
        self.disturbed.append(round(disturbed, 3))
        return float(seconds)

    def measure(self, measure: str) -> float | None:
        if measure in ("greedy step", "beam-5 step"):
            beams = 1 if measure == "greedy step" else 5
            short, long = self.ask("generate", SHORT, beams), self.ask("generate", LONG, beams)
            return None if short is None or long is None else (long - short) / (LONG - SHORT)
        return self.ask(measure.replace("-", "_"))

    def close(self) -> None:
        self.pipe.send(None)
        self.process.join()


def busy() -> float:
    """Seconds that all processors have worked so far, where Linux tells it."""
    try:
        fields = [int(field) for field in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    except OSError:
        return 0.0
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def wait_for_quiet(limit: float) -> None:
    """Wait until nobody else computes, for at most `limit` seconds."""
    end = time.perf_counter() + limit
    while time.perf_counter() < end:
        before = busy()
        time.sleep(0.2)
        if busy() - before < 0.05:
            return


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of every engine, size and measure, round by round; written down as soon as they are known."""
    sizes, engines, measures = options.sizes, options.engines, options.measures
    threads, rounds = options.threads, options.rounds
    result: dict[str, Any] = {"machine": machine(), "rows": []}
    rows = result["rows"]
    for size in sizes:
        peers = {name: Peer(name, size, threads) for name in [*engines, "machine"]}
        for measure in measures:
            if (measure == "transcribe") != (size == EMBEDDED) or (measure == "log-mel" and size != sizes[0]):
                continue  # the spectrogram is the same for all sizes
            seconds: dict[str, list[float | None]] = {name: [] for name in [*engines, "sgemm", "memory"]}
            for _ in range(rounds + 1):  # the first one warms up
                for name in engines:
                    seconds[name].append(peers[name].measure(measure))
                for limit in ("sgemm", "memory"):
                    seconds[limit].append(peers["machine"].ask(limit))
            disturbed = {name: statistics.median(peer.disturbed or [0.0]) for name, peer in peers.items()}
            row = {"size": size, "measure": measure, "threads": threads, "disturbed": disturbed}
            rows.append(row | {"seconds": {name: values[1:] for name, values in seconds.items()}})
            for peer in peers.values():
                peer.disturbed.clear()
            print(*table_rows([rows[-1]]), sep="\n", flush=True)
            write(result, options.out)
        for peer in peers.values():
            peer.close()
    return result


def write(result: dict[str, Any], path: Path | None) -> None:
    if path is not None:
        path.write_text(json.dumps(result, indent=1))


def machine() -> dict[str, Any]:
    from importlib import metadata

    cpu = next((x.split(":")[1].strip() for x in _lines("/proc/cpuinfo") if x.startswith("model name")), "?")
    versions = {}
    for name in ("numpy", "torch", "openai-whisper", "transformers", "ctranslate2"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "none"
    from threadpoolctl import threadpool_info

    blas = [f"{x['internal_api']} {x['version']} {x.get('architecture')}" for x in threadpool_info()]
    return {"cpu": cpu or platform.processor(), "cores": os.cpu_count(), "blas": blas, "versions": versions}


def _lines(path: str) -> list[str]:
    return Path(path).read_text().split("\n") if Path(path).exists() else []


def encoder_gflop(size: str) -> float:
    """The multiplications and additions of one window's products."""
    d = dimensions(size)
    width, layers = d.n_audio_state, d.n_audio_layer
    convolutions = 2 * 3000 * 3 * d.n_mels * width + 2 * 1500 * 3 * width**2
    return 1e-9 * (convolutions + layers * (2 * 1500 * 12 * width**2 + 4 * 1500**2 * width))


def token_gb(size: str) -> float:
    """What one token reads: the decoder's weights, the vocabulary, and keys and values of the audio."""
    d = dimensions(size)
    return 4e-9 * (d.n_text_layer * (14 * d.n_text_state**2 + 3000 * d.n_text_state) + d.n_vocab * d.n_text_state)


def ratios(row: dict[str, Any], other: str, ours: str = "npwhisper") -> list[float]:
    pairs = zip(row["seconds"][ours], row["seconds"][other], strict=True)
    return sorted(a / b for a, b in pairs if a and b)


def table_rows(rows: list[dict[str, Any]]) -> list[str]:
    lines = []
    for row in rows:
        names = [name for name, values in row["seconds"].items() if name not in ("sgemm", "memory") and all(values)]
        cells = [f"{name} {1e3 * statistics.median(row['seconds'][name]):.1f} ms" for name in names]
        for name in names[1:]:
            if r := ratios(row, name):
                cells.append(f"/ {name} {statistics.median(r):.2f} ({r[0]:.2f}-{r[-1]:.2f})")
        if row["measure"] == "encoder":
            shares = ratios(row, "sgemm")
            cells.append(f"{100 * encoder_gflop(row['size']) / statistics.median(shares):.0f} % of sgemm")
        if row["measure"] == "greedy step":
            cells.append(f"{100 * token_gb(row['size']) / statistics.median(ratios(row, 'memory')):.0f} % of memory")
        lines.append(f"| {row['size']} | {row['measure']} | " + " | ".join(cells) + " |")
    return lines


def in_digits(ms: float) -> str:
    return f"{ms:.0f}" if ms >= 100 else f"{ms:.3g}"


def compare_table(result: dict[str, Any], torch: str = "openai-whisper") -> str:
    """Markdown: milliseconds of every engine, and ours divided by openai-whisper's with its spread."""
    rows = result["rows"]
    names = [n for n in ENGINES if any(n in row["seconds"] and any(row["seconds"][n]) for row in rows)]
    lines = ["| | " + " | ".join(names) + f" | ours / {torch} |", "|---" * (len(names) + 2) + "|"]
    for row in rows:
        cells = []
        for name in names:
            values = [1e3 * x for x in row["seconds"].get(name, []) if x]
            cells.append(in_digits(statistics.median(values)) if values else "")
        r = ratios(row, torch) if torch in row["seconds"] else []
        spread = f"**{statistics.median(r):.2f}** ({r[0]:.2f} to {r[-1]:.2f})" if r else ""
        lines.append(f"| {row['size']}, {row['measure']} | " + " | ".join(cells) + f" | {spread} |")
    return "\n".join(lines)


# How our own time and memory grow


def isolated(function: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a function in a new process, with its peak of memory in MB."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_with_memory, (function, arguments))


def _with_memory(function: Callable[..., Any], arguments: tuple[Any, ...]) -> dict[str, Any]:
    result = function(*arguments)
    return {**result, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def milliseconds(function: Callable[[], Any], times: int = 5) -> float:
    return 1e3 * median(function, times)


def step_ms(ours: Ours, long: int, beams: int) -> float:
    """Milliseconds of one step among `long` tokens."""
    few, many = (milliseconds(functools.partial(ours.generate, n, beams), 3) for n in (SHORT, long))
    return (many - few) / (long - SHORT)


def scale_size(size: str, threads: int) -> dict[str, Any]:
    ours = Ours(size, threads)
    step = step_ms(ours, 20, 1)
    weights = sum(array.nbytes for array in ours.model.weights.values()) / 1e6
    times = 1 if size.startswith("large") else 3
    return {"weights_mb": weights, "encoder_ms": milliseconds(ours.encoder, times), "token_ms": step}


def scale_beams(size: str, beams: int) -> dict[str, Any]:
    ours = Ours(size, 2)
    return {"step_ms": step_ms(ours, LONG, beams)}


def scale_batch(size: str, windows: int) -> dict[str, Any]:
    set_num_threads(2)
    model = Network(dimensions(size), weights_of(size))
    mel = np.stack([npwhisper.log_mel_spectrogram(audio_of(30.0))] * windows)
    features = model.embed_audio(mel)
    tokens = np.full((windows, 1), 1000)

    def steps() -> None:
        cache = model.start_cache(features)
        for _ in range(16):
            model.decoder(tokens, features, cache)

    ms = milliseconds(steps, 3) - milliseconds(lambda: model.start_cache(features), 3)
    return {"encoder_ms_per_window": milliseconds(lambda: model.embed_audio(mel), 3) / windows, "token_ms": ms / 16}


def scale_length(minutes: float) -> dict[str, Any]:
    model = npwhisper.load_model()
    seconds = _seconds(lambda: model.transcribe(audio_of(60 * minutes)))
    weights = sum(array.nbytes for array in model.weights.values()) / 1e6
    return {"seconds": seconds, "times_real_time": 60 * minutes / seconds, "weights_mb": weights}


SCALES: dict[str, tuple[Callable[..., Any], list[tuple[Any, ...]]]] = {
    "size and threads": (
        scale_size,
        [(s, n) for s in ("tiny", "base", "small", "medium.en", "large-v3") for n in (1, 2)],
    ),
    "beams": (scale_beams, [("base", n) for n in (1, 2, 5, 10)]),
    "windows at once": (scale_batch, [("base", n) for n in (1, 2, 4, 8)]),
    "minutes of audio": (scale_length, [(n,) for n in (0.5, 1, 2, 5, 10)]),
}


def scale(names: list[str]) -> dict[str, Any]:
    rows = []
    for name in names:
        function, cases_ = SCALES[name]
        for arguments in cases_:
            wait_for_quiet(Peer.patience)
            rows.append({"scale": name, "at": list(arguments), **isolated(function, *arguments)})
            print(json.dumps(rows[-1]), flush=True)
    return {"machine": machine(), "scales": rows}


def scale_table(result: dict[str, Any]) -> str:
    lines = []
    for name in SCALES:
        rows = [row for row in result["scales"] if row["scale"] == name]
        keys = [key for key in (rows[0] if rows else {}) if key not in ("scale", "at")]
        if rows:
            lines += ["", f"| {name} | " + " | ".join(key.replace("_", " ") for key in keys) + " |"]
            lines.append("|---" * (len(keys) + 1) + "|")
        for row in rows:
            at = ", ".join(str(part) for part in row["at"])
            lines.append(f"| {at} | " + " | ".join(f"{row[key]:.3g}" for key in keys) + " |")
    return "\n".join(lines[1:])


def installed() -> list[str]:
    names = [name for name, (_, module) in ENGINES.items() if importlib.util.find_spec(module)]
    return [name for name in names if name != "machine" and "int8" not in name]


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("compare", "scale"), default="compare")
    parser.add_argument("--sizes", nargs="+", default=["tiny", "base", "small", EMBEDDED])
    parser.add_argument("--engines", nargs="+", default=installed(), choices=[*ENGINES])
    parser.add_argument("--measures", nargs="+", default=MEASURES, choices=MEASURES)
    parser.add_argument("--scales", nargs="+", default=[*SCALES], choices=[*SCALES])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--patience", type=float, default=2.0, help="seconds to wait for a quiet machine each time")
    parser.add_argument("--out", type=Path, help="where to write the figures as JSON")
    parser.add_argument("--table", nargs="+", type=Path, help="only make Markdown of such files")
    options = parser.parse_args(arguments)
    if options.table:
        for path in options.table:
            result = json.loads(path.read_text())
            print(compare_table(result) if "rows" in result else scale_table(result))
        return
    Peer.patience = options.patience
    result = scale(options.scales) if options.what == "scale" else compare(options)
    write(result, options.out)
    print(compare_table(result) if "rows" in result else scale_table(result))


if __name__ == "__main__":
    main(sys.argv[1:])
