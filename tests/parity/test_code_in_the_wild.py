"""Code as people write it for openai-whisper runs on npwhisper after changing only the import, with the same results.

Each usage is a script; it runs once as it stands and once with ``whisper`` exchanged for ``npwhisper`` in its import
lines, on the same checkpoints. What it leaves in `result` must be equal. Where torch's modules are meant
(`TORCHS_OWN`), ours must raise, with the sentence that `notebooks/notes/differences.md` documents.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import cases
import numpy as np
import pytest
import upstream
from tolerances import PROBABILITY

from npwhisper.checkpoint.weights import convert
from npwhisper.tracing.seam import Array

torch = pytest.importorskip("torch")
pytest.importorskip("whisper")
pytestmark = upstream.WARNINGS

DIFFERENCES = Path(__file__).parents[2] / "notebooks/notes/differences.md"

USAGES = {
    "transcribe": """
import whisper

model = whisper.load_model(ENGLISH)
result = model.transcribe(AUDIO, fp16=False, language="en", temperature=0)
result = [result["text"].strip(), result["language"], [(s["start"], s["end"], s["tokens"]) for s in result["segments"]]]
""",
    "decode one window": """
import whisper

model = whisper.load_model(ENGLISH)
audio = whisper.pad_or_trim(whisper.load_audio(WAVE))
mel = whisper.log_mel_spectrogram(audio, n_mels=model.dims.n_mels).to(model.device)
options = whisper.DecodingOptions(language="en", without_timestamps=True, fp16=False)
decoded = whisper.decode(model, mel, options)
result = [decoded.text, decoded.tokens, decoded.avg_logprob, decoded.no_speech_prob, decoded.compression_ratio]
""",
    "detect the language": """
import whisper

model = whisper.load_model(MULTILINGUAL)
mel = whisper.log_mel_spectrogram(whisper.pad_or_trim(whisper.load_audio(WAVE))).to(model.device)
_, probs = model.detect_language(mel)
best = max(probs, key=probs.get)
result = [best, whisper.tokenizer.LANGUAGES[best], probs[best], len(probs)]
""",
    "write subtitles": """
import os
import whisper
from whisper.utils import get_writer

model = whisper.load_model(ENGLISH)
model.set_alignment_heads(whisper._ALIGNMENT_HEADS["tiny.en"])
spoken = model.transcribe(AUDIO, word_timestamps=True, fp16=False, temperature=0)
for kind in ("srt", "vtt", "txt", "tsv"):
    options = {"max_line_width": 30, "max_line_count": 1, "highlight_words": kind == "vtt"}
    get_writer(kind, str(OUT))(spoken, AUDIO, options)
result = [open(OUT / name, encoding="utf-8").read() for name in sorted(os.listdir(OUT))]
""",
    "write to a file of one's own": """
import io
import whisper
from whisper.utils import WriteSRT, WriteVTT, format_timestamp

spoken = whisper.load_model(ENGLISH).transcribe(AUDIO, fp16=False, temperature=0)
result = []
options = dict(max_line_width=None, max_line_count=None, highlight_words=False)
for Writer in (WriteSRT, WriteVTT):
    file = io.StringIO()
    Writer(str(OUT)).write_result(spoken, file=file, options=options)
    result.append(file.getvalue())
result += [format_timestamp(s["end"], always_include_hours=True, decimal_marker=",") for s in spoken["segments"]]
""",
    "count wrong words": """
import jiwer
import whisper
from whisper.normalizers import BasicTextNormalizer, EnglishTextNormalizer

clean = EnglishTextNormalizer()
said = "And so, my fellow Americans: ask not what your country can do for you -- ask what you can do for your country."
heard = whisper.transcribe(whisper.load_model(ENGLISH), AUDIO, fp16=False, temperature=0)["text"]
result = [clean(heard), jiwer.wer(clean(said), clean(heard)), jiwer.wer(said, heard), BasicTextNormalizer()(heard)]
result += [clean("Mr. O'Neill's got twenty-one colours, won't he?"), BasicTextNormalizer(True, True)("Äpfel, höher!")]
""",
    "tokens": """
from whisper.tokenizer import LANGUAGES, TO_LANGUAGE_CODE, get_tokenizer

tokenizer = get_tokenizer(multilingual=True, language="de", task="translate")
tokens = tokenizer.encode(" Zwölf Boxkämpfer jagen Viktor.")
result = [tokens, tokenizer.decode(tokens), tokenizer.sot_sequence, tokenizer.split_to_word_tokens(tokens)]
result += [tokenizer.decode_with_timestamps([tokenizer.timestamp_begin, *tokens, tokenizer.timestamp_begin + 50])]
result += [tokenizer.eot, tokenizer.sot, tokenizer.no_speech, tokenizer.non_speech_tokens, len(LANGUAGES)]
result += [sorted(tokenizer.all_language_codes), TO_LANGUAGE_CODE["castilian"], tokenizer.encoding.n_vocab]
""",
    "features of the encoder": """
import whisper
from whisper.audio import CHUNK_LENGTH, HOP_LENGTH, N_FRAMES, N_SAMPLES, SAMPLE_RATE

model = whisper.load_model(ENGLISH).eval()
audio = whisper.load_audio(WAVE)
features = []
for start in range(0, len(audio), N_SAMPLES // 5):
    mel = whisper.log_mel_spectrogram(whisper.pad_or_trim(audio[start : start + N_SAMPLES // 5]))
    mel = whisper.pad_or_trim(mel, N_FRAMES).unsqueeze(0).to(model.device)
    features.append(NUMPY(model.embed_audio(mel))[0, :8])
result = [*features, NUMPY(model.encoder(mel))[0, -8:], CHUNK_LENGTH, HOP_LENGTH, SAMPLE_RATE, mel.shape[-1]]
""",
    "the command line": """
import sys
from whisper.transcribe import cli

sys.argv = ["whisper", AUDIO, "--model", ENGLISH, "--output_dir", str(OUT), "--output_format", "srt"]
sys.argv += ["--language", "en", "--fp16", "False", "--temperature", "0", "--beam_size", "2", "--device", "cpu"]
cli()
(file,) = OUT.iterdir()
result = [file.name, file.read_text(encoding="utf-8")]
""",
    "load, move and count": """
import numpy as np
import whisper

model = whisper.load_model(ENGLISH, device="cpu", download_root=str(OUT)).half().float().eval().to("cpu")
count = sum(np.prod(p.shape) for p in model.parameters())
result = [f"{'multilingual' if model.is_multilingual else 'English-only'}, {count:,} parameters", str(model.device)]
result += [vars(model.dims), model.num_languages, sorted(whisper._MODELS), "turbo" in whisper.available_models()]
""",
    "times of words, heads chosen": """
import whisper
from whisper.transcribe import get_end

model = whisper.load_model(ENGLISH)
model.set_alignment_heads(whisper._ALIGNMENT_HEADS["tiny.en"])
spoken = whisper.transcribe(model, whisper.load_audio(AUDIO), fp16=False, temperature=0, word_timestamps=True)
words = [word for segment in spoken["segments"] for word in segment["words"]]
result = [[w["word"] for w in words], NUMPY([(w["start"], w["end"]) for w in words])]
result += [[w["probability"] for w in words], get_end(spoken["segments"])]
""",
    "align a known text": """
import whisper
from whisper.timing import find_alignment
from whisper.tokenizer import get_tokenizer

model = whisper.load_model(ENGLISH)
model.set_alignment_heads(whisper._ALIGNMENT_HEADS["tiny.en"])
tokenizer = get_tokenizer(model.is_multilingual, language="en", task="transcribe")
mel = whisper.pad_or_trim(whisper.log_mel_spectrogram(whisper.load_audio(AUDIO)), 3000).to(model.device)
words = find_alignment(model, tokenizer, tokenizer.encode(" And so my fellow Americans"), mel, 1100)
result = [[w.word for w in words], NUMPY([(w.start, w.end) for w in words]), [w.tokens for w in words]]
""",
    "sound from a microphone": """
import numpy as np
import whisper

rate, recorded = 16000, (whisper.load_audio(WAVE) * 32768).astype(np.int16)
model = whisper.load_model(ENGLISH)
audio = recorded.astype(np.float32) / 32768.0
options = dict(initial_prompt="President Kennedy", condition_on_previous_text=False, beam_size=2, temperature=0.0)
spoken = model.transcribe(audio, fp16=False, **options)
result = [spoken["text"], spoken["language"], [s["avg_logprob"] for s in spoken["segments"]]]
""",
}

TORCHS_OWN = {
    "hooks on cross-attention": """
import whisper

model = whisper.load_model(ENGLISH)
seen = []
for block in model.decoder.blocks:
    block.cross_attn.register_forward_hook(lambda module, inputs, outputs: seen.append(outputs[-1]))
""",
    "hooks for the cache": """
import whisper

cache, hooks = whisper.load_model(ENGLISH).install_kv_cache_hooks()
""",
    "a network from dimensions": """
import whisper

dims = whisper.load_model(ENGLISH).dims
model = whisper.Whisper(whisper.ModelDimensions(**vars(dims)))
""",
    "loading weights into a model": """
import whisper

model = whisper.load_model(ENGLISH)
model.load_state_dict(model.state_dict())
""",
    "a custom layer": """
from whisper.model import MultiHeadAttention

attention = MultiHeadAttention(384, 6)
""",
    "a custom token decoder": """
from whisper.decoding import GreedyDecoder

decoder = GreedyDecoder(temperature=0.0, eot=50256)
""",
}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """OpenAI's weights as the `.pt` that both open."""
    folder, names = tmp_path_factory.mktemp("checkpoints"), {"ENGLISH": "tiny.en", "MULTILINGUAL": "base"}
    for name in names.values():
        convert(upstream.weights_folder() / f"{name}.safetensors", folder / f"{name}.pt")
    return {key: str(folder / f"{name}.pt") for key, name in names.items()}


def run(code: str, package: str, checkpoints: dict[str, str], folder: Path) -> Any:
    """Run a script with `package` in its import lines; what it left in ``result``."""
    adapted = re.sub(r"^(from|import) whisper\b", rf"\1 {package}", code, flags=re.MULTILINE)
    if package != "whisper":
        adapted = re.sub(rf"^import {package}$", f"import {package} as whisper", adapted, flags=re.MULTILINE)
    (out := folder / package).mkdir()
    recording = cases.recordings()["jfk"]
    names = {**checkpoints, "AUDIO": str(recording), "WAVE": sixteen(folder), "OUT": out, "NUMPY": numbers}
    with torch.no_grad():
        exec(compile(adapted, f"<{package}>", "exec"), names)
    return names.get("result")


def sixteen(folder: Path) -> str:
    """The recording at 16 kHz, which neither engine resamples: only then features can be compared closely."""
    import soundfile

    from npwhisper import load_audio

    path = folder / "sixteen.wav"
    soundfile.write(path, load_audio(cases.recordings()["jfk"]), 16000, subtype="PCM_16")
    return str(path)


def numbers(values: Any) -> Array:
    """An array of our own, of theirs, or of a list."""
    return np.asarray(values.detach() if hasattr(values, "detach") else values)


def assert_equal(found: Any, expected: Any, place: str = "result") -> None:
    """Equal, but for numbers: scores within 1e-3, arrays within 1e-3 or, of times, 0.02 s."""
    if isinstance(expected, (list, tuple)):
        assert len(found) == len(expected), place
        for i, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert_equal(one, other, f"{place}[{i}]")
    elif isinstance(expected, np.ndarray):
        is_times = expected.dtype == np.float64 and expected.ndim == 2
        np.testing.assert_allclose(found, expected, rtol=0, atol=upstream.WORD_TIME if is_times else PROBABILITY)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, abs=PROBABILITY), place
    else:
        assert found == expected, place


@pytest.mark.parametrize("usage", USAGES)
def test_only_the_import_changes(usage: str, checkpoints: dict[str, str], tmp_path: Path) -> None:
    found, expected = (run(USAGES[usage], name, checkpoints, tmp_path) for name in ("npwhisper", "whisper"))
    assert expected
    assert_equal(found, expected)


@pytest.mark.parametrize("usage", TORCHS_OWN)
def test_what_is_torchs_is_refused_as_documented(usage: str, checkpoints: dict[str, str], tmp_path: Path) -> None:
    run(TORCHS_OWN[usage], "whisper", checkpoints, tmp_path)
    with pytest.raises((AttributeError, TypeError)) as refused:
        run(TORCHS_OWN[usage], "npwhisper", checkpoints, tmp_path)
    rows = [row for row in DIFFERENCES.read_text(encoding="utf-8").splitlines() if row.startswith(f"| {usage} |")]
    (sentence,) = [row.split("`")[-2] for row in rows]
    assert sentence == str(refused.value)


def test_there_are_ten_usages_and_more() -> None:
    assert len(USAGES) >= 10
    for code in (*USAGES.values(), *TORCHS_OWN.values()):
        assert re.search(r"^(from|import) whisper\b", code, flags=re.MULTILINE)
