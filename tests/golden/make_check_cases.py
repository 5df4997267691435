"""Make `npwhisper/assets/reference_cases.npz`, what `npwhisper.check` compares a student's functions with.

Run it where torch, openai-whisper and transformers are installed: ``tests/golden/make_check_cases.py``. Each array is
called ``layer/case/argument``; ``expected`` is what torch, openai-whisper or transformers make of the arguments.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
import whisper
from transformers import audio_utils
from transformers.generation import logits_process
from whisper import audio, decoding, timing, utils
from whisper import model as networks

TARGET = Path(__file__).parents[2] / "npwhisper" / "assets" / "reference_cases.npz"
B, T, S, D, H, K, V, M, F_MEL = 2, 5, 7, 12, 3, 4, 17, 6, 14
ARRAYS: dict[str, Any] = {}

torch.manual_seed(6)


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape)


def case(layer: str, label: str, expected: Any, /, **arguments: Any) -> None:
    for name, value in {**arguments, "expected": expected}.items():
        if isinstance(value, dict):
            for key, array in value.items():
                ARRAYS[f"{layer}/{label}/{name}.{key}"] = array.detach().numpy().copy()
        else:
            value = value.detach().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
            ARRAYS[f"{layer}/{label}/{name}"] = np.array(value)


def randomised(module: torch.nn.Module) -> torch.nn.Module:
    for name, parameter in module.named_parameters():
        scale = 0.2 if parameter.ndim == 1 else 1.2 * parameter[0].numel() ** -0.5
        offset = 1.0 if "ln" in name.split(".")[-2:][0] and name.endswith("weight") else 0.0
        parameter.data = offset + scale * torch.randn_like(parameter)
    return module.eval()


def state(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value for name, value in module.state_dict().items() if name != "mask"}


def make_layers() -> None:
    for label, (d_in, d_out, bias) in {"wide": (D, V, True), "square": (D, D, True), "no bias": (D, S, False)}.items():
        module = randomised(torch.nn.Linear(d_in, d_out, bias))
        x = normal(B, T, d_in)
        case("linear", label, module(x), x=x, w=state(module))
    for label, stride in {"stride 1": 1, "stride 2": 2}.items():
        module = randomised(torch.nn.Conv1d(M, D, 3, stride, 1))
        x = normal(B, M, F_MEL)
        case("conv1d", label, module(x), x=x, w=state(module), stride=stride)
    norm = torch.nn.LayerNorm(D)
    norm.weight.data, norm.bias.data = 1 + 0.3 * normal(D), 0.3 * normal(D)
    for label, x in {"ordinary": 1 + 2 * normal(B, T, D), "nearly constant": 0.001 * normal(B, T, D)}.items():
        case("layer_norm", label, norm(x), x=x, w=state(norm))
    module = randomised(torch.nn.Embedding(V, D))
    tokens = torch.randint(0, V, (B, T))
    case("embedding", "tokens", module(tokens), tokens=tokens, w=state(module))
    x = torch.cat([torch.linspace(-6, 6, 29), normal(6)]).reshape(5, 7)
    case("gelu", "ordinary", F.gelu(x), x=x)
    # As far apart as one maximum for all rows cannot bear: exp(-120) is 0 in float32. Not farther, since the numbers
    # themselves are then too coarse for x - logsumexp(x), which is right.
    ordinary, far = 2 * normal(B, T, V), normal(B, T, V) + 120 * (torch.arange(T)[:, None] % 2) - 60
    masked = ordinary.masked_fill(torch.rand(B, T, V) < 0.3, -np.inf)
    for label, x in {"ordinary": ordinary, "large": 100 * ordinary, "rows far apart": far, "masked": masked}.items():
        case("softmax", label, x.softmax(-1), x=x)
        case("log_softmax", label, x.log_softmax(-1), x=x)
    for length, channels in ((11, 6), (7, 12)):
        table = networks.sinusoids(length, channels)
        case("sinusoids", f"{length} x {channels}", table, length=length, channels=channels)


def make_attention() -> None:
    x = normal(B, T, D)
    case("split_heads", "heads", x.view(B, T, H, K).permute(0, 2, 1, 3), x=x, n_head=H)
    case("merge_heads", "heads", x, x=x.view(B, T, H, K).permute(0, 2, 1, 3).contiguous())
    for n_query, n_key in ((5, 5), (3, 7), (1, 4)):
        mask = torch.full((n_key, n_key), -np.inf).triu_(1)[n_key - n_query :]
        case("causal_mask", f"{n_query} of {n_key}", mask, n_query=n_query, n_key=n_key)
    q, k, v = normal(B, H, T, K), normal(B, H, S, K), normal(B, H, S, K)
    case("scores", "cross", q @ k.transpose(-1, -2) / K**0.5, q=q, k=k)
    case("attend", "all", F.scaled_dot_product_attention(q, k, v), q=q, k=k, v=v)
    mask = torch.full((T, S), -np.inf).triu_(1 + S - T)
    case("attend", "masked", F.scaled_dot_product_attention(q, k, v, mask), q=q, k=k, v=v, mask=mask)
    q, k, v = normal(B, H, T, K), normal(B, H, T, K), normal(B, H, T, K)
    case("attend", "as many keys", F.scaled_dot_product_attention(q, k, v), q=q, k=k, v=v)


def heads(x: torch.Tensor) -> torch.Tensor:
    return x.view(*x.shape[:2], H, K).permute(0, 2, 1, 3).contiguous()


def make_blocks() -> None:
    attention = randomised(networks.MultiHeadAttention(D, H))
    mask = torch.full((T, T), -np.inf).triu_(1)
    x, audio_features = normal(B, T, D), normal(B, S, D)
    case("self_attention", "encoder", attention(x)[0], x=x, w=state(attention), n_head=H)
    case("self_attention", "decoder, step by step", attention(x, mask=mask)[0], x=x, w=state(attention), n_head=H)
    k, v = heads(attention.key(audio_features)), heads(attention.value(audio_features))
    expected = attention(x, audio_features)[0]
    case("cross_attention", "step by step", expected, x=x, w=state(attention), n_head=H, k=k, v=v)
    beams = normal(3 * B, 1, D)
    expected = attention(beams, audio_features.repeat_interleave(3, dim=0))[0]
    case("cross_attention", "three beams a window", expected, x=beams, w=state(attention), n_head=H, k=k, v=v)
    block = randomised(networks.ResidualAttentionBlock(D, H, cross_attention=False))
    case("mlp", "positions", block.mlp(x), x=x, w=state(block.mlp))
    case("encoder_block", "positions", block(x), x=x, w=state(block), n_head=H)
    block = randomised(networks.ResidualAttentionBlock(D, H, cross_attention=True))
    k, v = heads(block.cross_attn.key(audio_features)), heads(block.cross_attn.value(audio_features))
    expected = block(x, audio_features, mask)
    case("decoder_block", "step by step", expected, x=x, w=state(block), n_head=H, k=k, v=v)


def make_stacks() -> None:
    encoder = randomised(networks.AudioEncoder(M, S, D, H, 2))
    mel = normal(B, M, F_MEL)
    case("encoder", "mel", encoder(mel), mel=mel, w=state(encoder), n_head=H)
    decoder = randomised(networks.TextDecoder(V, 9, D, H, 2))
    tokens, audio_features = torch.randint(0, V, (B, T)), normal(B, S, D)
    expected = decoder(tokens, audio_features)
    arguments = {"tokens": tokens, "w": state(decoder), "n_head": H, "audio_features": audio_features}
    case("decoder", "step by step", expected, **arguments)
    x = normal(B, T, D)
    expected = x @ decoder.token_embedding.weight.T
    case("logits", "positions", expected, x=x, weight=decoder.token_embedding.weight)
    crossed = [f(audio_features) for b in decoder.blocks for f in (b.cross_attn.key, b.cross_attn.value)]
    expected = torch.stack([heads(y) for y in crossed])
    case("start_cache", "audio", expected, audio_features=audio_features, w=state(decoder), n_head=H, capacity=9)


def make_cache() -> None:
    k, v = normal(B, H, T, K), normal(B, H, T, K)
    case("append", "3, 1 and 1 positions", torch.stack([k, v]), k=k, v=v)
    k, v = normal(3, H, T, K), normal(3, H, T, K)
    parents = torch.tensor([2, 0, 0])
    case("reorder", "as many rows", torch.stack([k[parents], v[parents]]), k=k, v=v, parents=parents)
    parents = torch.tensor([1, 2, 0, 0])
    case("reorder", "more rows", torch.stack([k[parents], v[parents]]), k=k, v=v, parents=parents)


EOT, NO_TIMESTAMPS, BEGIN, BLANK = 11, 14, 15, 4
N_IDS = BEGIN + 12
TOKENIZER = SimpleNamespace(
    eot=EOT, no_timestamps=NO_TIMESTAMPS, timestamp_begin=BEGIN, encode=lambda text: [BLANK] if text == " " else []
)


def make_rules() -> None:
    given = 2  # tokens before the sampled ones
    rules: dict[str, Callable[[], Any]] = {
        "suppress_blank": lambda: decoding.SuppressBlank(TOKENIZER, given),
        "suppress_tokens": lambda: decoding.SuppressTokens([1, 7, 12]),
        "apply_timestamp_rules": lambda: decoding.ApplyTimestampRules(TOKENIZER, given, 6),
    }
    histories = {
        "at the start": [],
        "after the first timestamp": [[16], [18]],
        "after text": [[16, 3], [18, 9]],
        "after a closing timestamp": [[16, 3, 19], [15, 5, 20]],
        "after an opening timestamp": [[16, 3, 19, 19], [15, 5, 20, 21]],
        "text again": [[16, 3, 19, 19, 2], [15, 5, 20, 21, 2]],
    }
    for layer, rule in rules.items():
        for label, history in histories.items():
            sampled = np.array(history, dtype=np.int64).reshape(2, -1)
            logits = 2 * normal(2, N_IDS)
            logits[1, 3] += 9  # a text token that outweighs all timestamps
            expected = logits.clone()
            tokens = torch.cat([torch.full((2, given), 12), torch.from_numpy(sampled)], dim=1)
            rule().apply(expected, tokens)
            case(layer, label, expected, logits=logits, sampled=sampled)
    sampled = torch.tensor([[3, 5, 3, 5, 3], [7, 7, 2, 7, 7]])
    logits = normal(2, N_IDS)
    processor = logits_process.RepetitionPenaltyLogitsProcessor(1.5)
    case("penalize_repetition", "text", processor(sampled, logits.clone()), logits=logits, sampled=sampled)
    processor = logits_process.NoRepeatNGramLogitsProcessor(2)
    case("forbid_repeated_ngrams", "text", processor(sampled, logits.clone()), logits=logits, sampled=sampled)


def searched(table: torch.Tensor, first: list[list[int]], decoder: Any, max_tokens: int) -> list[list[Any]]:
    """Drive one of openai-whisper's token decoders over a table of second order."""
    group = getattr(decoder, "beam_size", 1)
    tokens = torch.tensor(first).repeat_interleave(group, dim=0)
    sums = torch.zeros(len(tokens))
    for _ in range(max_tokens):
        tokens, done = decoder.update(tokens, table[tokens[:, -2], tokens[:, -1]].clone(), sums)
        if done:
            break
    found, scores = decoder.finalize(tokens.reshape(len(first), group, -1), sums.reshape(len(first), group))
    begin = len(first[0])
    result = []
    for row, row_scores in zip(found, scores, strict=True):
        texts = [t.tolist()[begin:] for t in row]
        texts = [t[: t.index(0)] if 0 in t else t for t in texts]
        result.append(sorted(zip(row_scores, texts, strict=True), reverse=True))
    return result


def table_of(found: list[list[Any]], width: int) -> np.ndarray[Any, Any]:
    """Hypotheses as numbers: the sum, then the tokens, filled up with -1."""
    rows = [[[float(s), *t, *[-1] * (width - len(t))] for s, t in row] for row in found]
    return np.array(rows, dtype=np.float64)


def make_searches() -> None:
    n, first, steps = 7, [[2, 3], [4, 1]], 6
    for seed in range(50):  # until no two sums are so near each other that rounding decides
        generator = torch.Generator().manual_seed(seed)
        table = (1.5 * torch.randn(n, n, n, generator=generator)).log_softmax(-1)
        greedy = searched(table, first, decoding.GreedyDecoder(0.0, 0), steps)
        beams = searched(table, first, decoding.BeamSearchDecoder(3, 0, FakeInference(), 1.0), steps)
        lengths = [[len(t) for row in found for _, t in row] for found in (greedy, beams)]
        if all(0 < min(n) < 3 and max(n) == steps for n in lengths) and beams[0][0][1] != greedy[0][0][1]:
            break
    arguments = {"table": table.numpy(), "first": first, "eot": 0, "max_tokens": steps}
    case("greedy_search", "two rows", table_of(greedy, steps), **arguments)
    case("beam_search", "two rows, three beams", table_of(beams, steps), **arguments, beam_size=3)
    lengths, sums = [4, 9, 2], [-3.0, -5.5, -2.0]
    best = decoding.MaximumLikelihoodRanker(None).rank([[torch.zeros(n) for n in lengths]], [sums])[0]
    order = sorted(range(3), key=lambda i: -sums[i] / lengths[i])
    assert order[0] == best
    case("rank", "by length", order, lengths=lengths, sums=sums)
    for label, text in {"loop": "and so " * 20, "speech": "ask not what your country can do for you"}.items():
        case("compression_ratio", label, utils.compression_ratio(text), text=text)


class FakeInference:
    def rearrange_kv_cache(self, source_indices: list[int]) -> None: ...


def make_audio() -> None:
    samples = (0.3 * torch.sin(torch.arange(4000) * 0.35) + 0.1 * torch.randn(4000)).float()
    window = torch.hann_window(400)
    case("hann", "400 samples", window)
    samples[1500:2500] = 0
    cut = samples[: 400 + 160 * 5]
    expected = torch.stft(cut, 400, 160, window=window, center=False, return_complex=True).abs() ** 2
    case("stft", "six frames", expected, samples=cut)
    hz = np.array([0.0, 440.0, 999.0, 1000.0, 3000.0, 8000.0])
    mels = audio_utils.hertz_to_mel(hz, mel_scale="slaney")
    case("hz_to_mel", "across 1000 Hz", mels, hz=hz)
    case("mel_to_hz", "across 1000 Hz", audio_utils.mel_to_hertz(mels, mel_scale="slaney"), mel=mels)
    for n_mels in (80, 128):
        case("mel_filters", f"{n_mels} bins", audio.mel_filters("cpu", n_mels), n_mels=n_mels)
        expected = audio.log_mel_spectrogram(samples, n_mels)
        case("log_mel_spectrogram", f"{n_mels} bins", expected, audio=samples, n_mels=n_mels)
    for label, length in {"longer": 9, "shorter": 4}.items():
        x = normal(3, 6)
        case("pad_or_trim", label, audio.pad_or_trim(x, length), array=x, length=length)


def make_alignment() -> None:
    x = normal(H, T, 13)
    for width in (3, 7):
        expected = timing.median_filter(x, width)
        case("median_filter", f"width {width}", expected, x=x, filter_width=width)
    weights = x.softmax(-1)
    std, mean = torch.std_mean(weights, dim=-2, keepdim=True, unbiased=False)
    case("standardise", "weights", (weights - mean) / std, weights=weights)
    expected = timing.median_filter((weights - mean) / std, 7).mean(axis=0)
    case("token_map", "heads", expected, scores=x, medfilt_width=7)
    for n, m in ((5, 9), (6, 4)):
        costs = normal(n, m).double().numpy()
        total = cumulative(costs)
        path = timing.dtw_cpu(costs)
        label = f"{n} tokens, {m} frames"
        case("dtw_cost", label, total, x=costs)
        case("backtrace", label, path, cost=total)
        case("dtw", label, path, x=costs)


def cumulative(costs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The cost of the cheapest path to every cell, cell by cell (there are no ties here)."""
    total = np.full((costs.shape[0] + 1, costs.shape[1] + 1), np.inf)
    total[0, 0] = 0
    for i, row in enumerate(costs):
        for j, value in enumerate(row):
            total[i + 1, j + 1] = value + min(total[i, j], total[i, j + 1], total[i + 1, j])
    return total[1:, 1:]


def make_shapes() -> None:
    """The same functions of arrays with one axis to four, and texts that are not ASCII."""
    for shape in ((D,), (S, D), (2, 3, S, D)):
        label, x = f"{len(shape)} axes", 2 * normal(*shape)
        module = randomised(torch.nn.Linear(D, V))
        case("linear", label, module(x), x=x, w=state(module))
        norm = torch.nn.LayerNorm(D)
        norm.weight.data, norm.bias.data = 1 + 0.3 * normal(D), 0.3 * normal(D)
        case("layer_norm", label, norm(x), x=x, w=state(norm))
        case("gelu", label, F.gelu(x), x=x)
        case("softmax", label, x.softmax(-1), x=x)
        case("log_softmax", label, x.log_softmax(-1), x=x)
    for shape in ((11,), (4, 11), (2, 3, 4, 11)):
        x = normal(*shape)
        case("median_filter", f"{len(shape)} axes", timing.median_filter(x, 5), x=x, filter_width=5)
    for label, text in {"accents": "déjà vu à Noël, ", "Japanese": "お問い合わせは", "Russian": "да, да, "}.items():
        case("compression_ratio", label, utils.compression_ratio(text * 9), text=text * 9)


def main() -> None:
    versions = {name: importlib.metadata.version(name) for name in ("torch", "openai-whisper", "transformers")}
    with torch.no_grad(), networks.disable_sdpa():
        for make in (
            make_layers, make_attention, make_blocks, make_stacks, make_cache,
            make_rules, make_searches, make_audio, make_alignment, make_shapes,
        ):  # fmt: skip
            make()
    made_by = ", ".join(f"{name} {version}" for name, version in versions.items())
    np.savez_compressed(TARGET, made_by=np.array(made_by), **ARRAYS)
    cases = {key.rpartition("/")[0] for key in ARRAYS}
    print(f"{len(cases)} cases, {TARGET.stat().st_size / 1000:.0f} kB, {made_by}, {whisper.__version__}")


if __name__ == "__main__":
    main()
