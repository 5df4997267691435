"""The glass box in Python: what is recorded is what the run computed, and the page holds nothing that could act."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from talkers import ENGLISH, talker

import npwhisper
from npwhisper.decoding import DecodingOptions, DecodingTask, rules
from npwhisper.decoding.search import Beam
from npwhisper.lab.glass import Run, page, record, replay
from npwhisper.lab.glass.boxes.cells import Cells
from npwhisper.lab.glass.command import parser, search_options
from npwhisper.lab.glass.command import run as command
from npwhisper.lab.glass.comparing import difference
from npwhisper.lab.glass.encoder import peaks, pooled
from npwhisper.lab.glass.packing import levels, pack, unpack
from npwhisper.lab.glass.page import MODULES, bundle
from npwhisper.model.layers import layer_norm, linear
from npwhisper.tracing.seam import Activations

JFK = Path(__file__).parents[1] / "data" / "jfk.flac"
WATCHED = (
    "decoder", "log_softmax", "decoder.blocks.*.cross_attn.softmax", "encoder.blocks.0.attn.softmax", "token_map",
    "dtw", *(f"decoder.blocks.{layer}" for layer in range(4)),
    "decoder.blocks.0.attn.causal_mask", "decoder.blocks.0.cross_attn.key",
)  # fmt: skip


@pytest.fixture(scope="module")
def recorded() -> tuple[Run, Activations]:
    """A greedy run with word times, and a trace of the same run."""
    with npwhisper.trace(*WATCHED) as acts:
        run = record(JFK, npwhisper.load_model())
    return run, acts


@pytest.fixture(scope="module")
def opened(recorded: tuple[Run, Activations]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    return unpack(recorded[0].windows[0])


def steps_of(acts: Activations) -> list[np.ndarray]:
    """The decoder's logits at each step of the search: those of the pass for the word times come last."""
    return [value[:, -1] for value in acts.all("decoder")][: len(acts.all("log_softmax"))]


def test_the_recorded_run_is_the_run(recorded: tuple[Run, Activations], model: npwhisper.Whisper) -> None:
    assert recorded[0].result == npwhisper.transcribe(JFK, model, word_timestamps=True)


@pytest.mark.slow
def test_the_recorded_run_is_the_run_when_it_draws(model: npwhisper.Whisper) -> None:
    """Above temperature 0 tokens are drawn: with one seed, the same ones."""
    sound, options = npwhisper.load_audio(JFK), {"temperature": (0.0, 0.4), "logprob_threshold": 0.0, "seed": 3}
    alone = model.transcribe(sound, word_timestamps=True, **options)
    assert alone["segments"][0]["temperature"] == 0.4
    assert record(sound, model, **options).result == alone


def test_candidates_are_the_likeliest_tokens_with_their_probabilities(
    recorded: tuple[Run, Activations], opened: tuple[dict[str, Any], dict[str, np.ndarray]]
) -> None:
    arrays, acts = opened[1], recorded[1]
    at, ids, kept = (arrays[f"candidate/{name}"] for name in ("at", "ids", "logprobs"))
    for i, (logits, final) in enumerate(zip(steps_of(acts), acts.all("log_softmax"), strict=True)):
        mine = slice(at[i], at[i + 1])
        before = logits[0].astype(np.float64)
        before = before - before.max() - np.log(np.exp(before - before.max()).sum())
        assert set(np.argsort(-before)[:20]) <= set(ids[mine].tolist())
        np.testing.assert_allclose(kept[mine, 0], before[ids[mine]], atol=1e-4)
        np.testing.assert_array_equal(kept[mine, -1], final[0, ids[mine]])


def test_the_chosen_tokens_are_those_of_the_result(
    recorded: tuple[Run, Activations], opened: tuple[dict[str, Any], dict[str, np.ndarray]], model: npwhisper.Whisper
) -> None:
    chosen = [step["chosen"] for step in opened[0]["steps"]]
    said = [token for segment in recorded[0].result["segments"] for token in segment["tokens"]]
    assert chosen == [*said, model.tokenizer.eot]


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"beam_size": 3, "length_penalty": 0.6}, marks=pytest.mark.slow),
        {"temperature": 0.6, "best_of": 4, "seed": 5},  # the best sample holds a token that is not among the likeliest
        pytest.param({"temperature": 0.8, "seed": 3}, marks=pytest.mark.slow),
    ],
)
def test_other_searches_are_followed_to_their_text(options: dict[str, Any], model: npwhisper.Whisper) -> None:
    run = record(JFK, model, word_timestamps=False, **options)
    meta = unpack(run.windows[0])[0]
    text = [step["chosen"] for step in meta["steps"] if step["chosen"] < model.tokenizer.eot]
    said = [t for s in run.result["segments"] for t in s["tokens"] if t < model.tokenizer.eot]
    assert text[: len(said)] == said != []
    best = meta["search"]["hypotheses"][0]
    mean = best[1] / (len(best[0]) + 1)
    assert mean == pytest.approx(run.result["segments"][0]["avg_logprob"], abs=1e-9)
    assert meta["search"]["mean"]["recorded"] == run.result["segments"][0]["avg_logprob"]
    assert meta["steps"][-1]["sum"]["result"] == pytest.approx(best[1], abs=1e-9)
    assert bool(meta["search"]["nodes"]) == ("beam_size" in options)


def test_attention_is_kept_with_exact_maxima_and_in_256_levels(
    recorded: tuple[Run, Activations], opened: tuple[dict[str, Any], dict[str, np.ndarray]]
) -> None:
    arrays, acts = opened[1], recorded[1]
    n_steps, n_layers, n_heads, _ = arrays["cross/levels"].shape
    for layer in range(n_layers):
        all_of_it = acts.all(f"decoder.blocks.{layer}.cross_attn.softmax")[:n_steps]
        for step, weights in enumerate(all_of_it):
            row = weights[0, :, -1]
            np.testing.assert_array_equal(arrays["cross/max"][step, layer], row.max(axis=-1))
            np.testing.assert_array_equal(arrays["cross/at"][step, layer], row.argmax(axis=-1))
            largest = arrays["cross/max"][step, layer][:, None]
            shown = arrays["cross/levels"][step, layer] / np.float32(255) * largest
            assert (np.abs(shown - row) <= largest / 509).all()
    assert n_heads == 6


def test_words_and_path_are_those_of_the_run(
    recorded: tuple[Run, Activations], opened: tuple[dict[str, Any], dict[str, np.ndarray]]
) -> None:
    words = [word for segment in recorded[0].result["segments"] for word in segment["words"]]
    shown = opened[0]["words"]
    assert [(w["word"], w["start"], w["end"]) for w in shown] == [(w["word"], w["start"], w["end"]) for w in words]
    assert all(w["tokens"] for w in shown)
    np.testing.assert_array_equal(opened[1]["timing/path"], recorded[1]["dtw"])


def test_every_worked_example_gives_the_recorded_number(
    opened: tuple[dict[str, Any], dict[str, np.ndarray]],
) -> None:
    boxes = opened[0]["boxes"]
    assert len(boxes) > 120
    others = {
        "stft",
        "mel_filters",
        "compress",
        "KeyValues",
        "start_cache",
        "causal_mask",
        "dtw",
        "backtrace",
        "find_alignment",
        "split_at_timestamps",
    }
    assert others <= boxes.keys()
    for name, box in boxes.items():
        cell = box["cell"]
        if cell.get("recorded", 0.0) is None:
            assert cell["result"] is None, name  # -inf
        elif "recorded" in cell:
            assert cell["result"] == pytest.approx(cell["recorded"], rel=1e-3, abs=1e-4), name


def test_the_mask_hides_what_is_later_and_the_audio_is_kept_once(
    recorded: tuple[Run, Activations], opened: tuple[dict[str, Any], dict[str, np.ndarray]]
) -> None:
    boxes, mask = opened[0]["boxes"], recorded[1]["decoder.blocks.0.attn.causal_mask"]
    cell, n = boxes["causal_mask"]["cell"], len(mask)
    assert boxes["causal_mask"]["output"] == [n, n]
    assert (cell["queries"], cell["keys"], cell["column"], cell["seen"]) == (n, n, cell["row"] + 1, cell["row"] + 1)
    assert 0 < cell["row"] < n - 1
    assert cell["recorded"] is None  # which stands for -inf
    assert np.isneginf(mask[cell["row"], cell["column"]])
    audio = boxes["start_cache"]
    assert audio["output"] == [4, 2, 1, 6, 1500, 64]
    keys = recorded[1].all("decoder.blocks.0.cross_attn.key")[0]
    assert audio["cell"]["recorded"] == keys[0, 1500 // 8, 3]


def test_a_mask_that_hides_nothing_is_seen_as_another_one() -> None:
    cell = Cells().mask(np.zeros((3, 5), np.float32), 1)
    assert (cell["row"], cell["column"], cell["seen"]) == (1, 4, 5)
    assert (cell["result"], cell["recorded"]) == (None, 0.0)


def softmax_of(logits: np.ndarray) -> np.ndarray:
    """Logits (V,) as log-probabilities, in float64."""
    x = logits.astype(np.float64)
    return x - x.max() - np.log(np.exp(x - x.max()).sum())


def test_each_rule_is_worked_out_as_it_acts_alone() -> None:
    _check_rules(
        talker(ENGLISH), {"repetition_penalty": 1.05, "no_repeat_ngram_size": 1, "sample_len": 12, "temperature": 0}
    )


@pytest.mark.slow
def test_each_rule_is_worked_out_as_it_acts_alone_on_the_embedded_model(model: npwhisper.Whisper) -> None:
    _check_rules(model, {"repetition_penalty": 1.05, "no_repeat_ngram_size": 2})


def _check_rules(model: npwhisper.Whisper, options: dict[str, Any]) -> None:
    """The rules are applied here one at a time, to the logits of a trace."""
    with npwhisper.trace("decoder") as acts:
        run = record(JFK, model, word_timestamps=False, **options)
    context = DecodingTask(model, DecodingOptions(language="en", max_initial_timestamp=1.0, **options)).context
    meta, arrays = unpack(run.windows[0])
    at, acted = arrays["candidate/at"], dict.fromkeys(rules.LOGIT_RULES, 0)
    for i, step in enumerate(meta["steps"]):
        sampled = np.array([[s["chosen"] for s in meta["steps"][:i]]], np.int64)
        ids, kept = (arrays[f"candidate/{name}"][at[i] : at[i + 1]] for name in ("ids", "logprobs"))
        logits = acts.all("decoder")[i][:, -1]
        for k, rule in enumerate(rules.LOGIT_RULES):
            before, logits = logits, rule(logits, sampled, context)
            np.testing.assert_allclose(kept[:, k + 1], softmax_of(logits[0])[ids], atol=1e-4)
            _check_rule(step["worked"][k], before[0], logits[0])
            acted[rule] += not np.array_equal(before, logits)
        _check_race(step["worked"][-1]["race"], before[0], logits[0], sampled[0], context)
        assert step["normalised"]["result"] == pytest.approx(softmax_of(logits[0]).max(), abs=1e-5)
    assert min(acted.values()) > 0


def _check_rule(cell: dict[str, Any], before: np.ndarray, after: np.ndarray) -> None:
    """The likeliest token that the rule changed, or the likeliest of all; -inf is None in the page."""
    changed = np.where(before != after, before, -np.inf)
    assert cell["token"] == (changed if (before != after).any() else before).argmax()
    assert cell["holds"] == (before != after).any()
    assert cell["before"] == before[cell["token"]]
    result, recorded = (-np.inf if cell[name] is None else cell[name] for name in ("result", "recorded"))
    assert recorded == after[cell["token"]]
    assert result == pytest.approx(recorded, rel=1e-6)


def _check_race(
    race: dict[str, Any], before: np.ndarray, after: np.ndarray, sampled: np.ndarray, context: rules.RuleContext
) -> None:
    """All timestamps together, and the best other token after the other clauses of the rule."""
    row, begin = before.copy(), context.timestamp_begin
    row[context.no_timestamps] = -np.inf
    if len(sampled):
        rules._pair_timestamps(row, sampled, context)
    else:
        rules._begin_with_timestamp(row, context)
    stamps = row[begin:][np.isfinite(row[begin:])].astype(np.float64)
    assert race["allowed"] == len(stamps)
    together, rival = (-np.inf if race[name] is None else race[name] for name in ("together", "rival_logit"))
    assert together == pytest.approx(np.log(np.exp(stamps).sum()) if len(stamps) else -np.inf, abs=1e-6)
    assert rival == row[:begin].max()
    assert race["wins"] == (len(stamps) > 0 and bool(np.isneginf(after[:begin]).all()))


@pytest.mark.slow
def test_the_tree_of_beams_is_that_of_the_search(model: npwhisper.Whisper) -> None:
    """The search itself is run again on the log-probabilities of a trace."""
    with npwhisper.trace("log_softmax") as acts:
        run = record(JFK, model, beam_size=5, word_timestamps=False)
    search, beam = unpack(run.windows[0])[0]["search"], Beam(np.zeros(0, np.int64), model.tokenizer.eot, 5)
    for step, logprobs in enumerate(acts.all("log_softmax")):
        beam.advance(logprobs)
        mine = [node for node in search["nodes"] if node[0] == step and node[5] == 0]
        assert [node[2] for node in mine] == beam.tokens[:, -1].tolist()
        np.testing.assert_allclose([node[4] for node in mine], beam.sums, atol=1e-9)
        parents = [search["nodes"][node[1]][4] if node[1] >= 0 else 0.0 for node in mine]
        np.testing.assert_allclose([node[4] for node in mine], np.add(parents, [node[3] for node in mine]), atol=1e-9)
    found = sorted(beam.hypotheses(), key=lambda h: -h.sum_logprob / max(1, len(h.tokens)))
    assert [tokens for tokens, _ in search["hypotheses"]] == [h.tokens for h in found]
    assert [one["result"] for one in search["scores"]] == [h.sum_logprob / max(1, len(h.tokens)) for h in found]


def test_the_cell_of_time_warping_is_the_cost_of_the_cheapest_path(
    recorded: tuple[Run, Activations], opened: tuple[dict[str, Any], dict[str, np.ndarray]]
) -> None:
    start, box = opened[0]["timing"]["start"], opened[0]["boxes"]["dtw"]
    x = -recorded[1]["token_map"][start:-1].astype(np.float64)
    cost = np.full((x.shape[0] + 1, x.shape[1] + 1), np.inf)
    cost[0, 0] = 0.0
    for i, j in np.ndindex(*x.shape):
        cost[i + 1, j + 1] = x[i, j] + min(cost[i, j], cost[i, j + 1], cost[i + 1, j])
    i, j = map(int, re.findall(r"\d+", box["where"]))
    assert box["cell"]["own"] == x[i, j]
    for name, place in (("recorded", (1, 1)), ("corner", (0, 0)), ("above", (0, 1)), ("left", (1, 0))):
        assert box["cell"][name] == pytest.approx(cost[i + place[0], j + place[1]], rel=1e-9), name


def test_the_parts_of_the_stream_add_up_to_the_difference_of_logits(
    recorded: tuple[Run, Activations], opened: tuple[dict[str, Any], dict[str, np.ndarray]]
) -> None:
    arrays = opened[1]
    at, ids = arrays["candidate/at"], arrays["candidate/ids"]
    for i, logits in enumerate(steps_of(recorded[1])):
        mine = slice(at[i], at[i + 1])
        wanted = logits[0, opened[0]["steps"][i]["chosen"]] - logits[0, ids[mine]]
        np.testing.assert_allclose(arrays["candidate/shares"][mine].sum(axis=1), wanted, atol=2e-3)


def test_the_lens_is_the_end_of_the_network_after_every_block(
    recorded: tuple[Run, Activations], opened: tuple[dict[str, Any], dict[str, np.ndarray]], model: npwhisper.Whisper
) -> None:
    """After the last block it is what the network itself said."""
    arrays, decoder = opened[1], model.scope["decoder"]
    streams = [recorded[1].all(f"decoder.blocks.{layer}") for layer in range(model.dims.n_text_layer)]
    for i, step in enumerate(opened[0]["steps"]):
        for depth, stream in enumerate(streams, 1):
            logits = linear(layer_norm(stream[i][0, -1], decoder["ln"]), _unbiased(decoder["token_embedding"]))
            logprobs, own = softmax_of(logits), step["chosen"]
            ids = arrays["lens/ids"][i, depth]
            np.testing.assert_allclose(np.exp(logprobs[ids]), arrays["lens/probs"][i, depth], atol=1e-4)
            np.testing.assert_allclose(logprobs[ids], np.sort(logprobs)[:-6:-1], atol=1e-4)
            assert arrays["lens/chosen"][i, depth] == pytest.approx(np.exp(logprobs[own]), abs=1e-4)
            likelier = [np.count_nonzero(logprobs > logprobs[own] + by) for by in (1e-3, -1e-3)]
            assert likelier[0] <= arrays["lens/rank"][i, depth] <= likelier[1]
    for shown, rank, logits, step in zip(
        arrays["lens/ids"], arrays["lens/rank"], steps_of(recorded[1]), opened[0]["steps"], strict=True
    ):
        assert shown[-1].tolist() == np.argsort(-logits[0], kind="stable")[:5].tolist()
        assert rank[-1] == np.count_nonzero(logits[0] > logits[0, step["chosen"]])


def _unbiased(embedding: Any) -> dict[str, np.ndarray]:
    return {"weight": embedding["weight"], "bias": np.zeros(len(embedding["weight"]), np.float32)}


def test_the_first_step_says_which_rule_forbade_what(opened: tuple[dict[str, Any], dict[str, np.ndarray]]) -> None:
    first = opened[0]["steps"][0]
    assert first["forbidden"][:2] == [0, 0]
    assert first["forbidden"][2] == 2  # the space and the end of the text
    assert any("begins with a timestamp" in reason for reason in first["reasons"][4])


def test_pooled_maps_are_means_and_peaks_are_the_large_weights(
    recorded: tuple[Run, Activations], opened: tuple[dict[str, Any], dict[str, np.ndarray]]
) -> None:
    weights = recorded[1]["encoder.blocks.0.attn.softmax"][0]
    means = weights.reshape(6, 150, 10, 150, 10).mean(axis=(2, 4))
    np.testing.assert_allclose(pooled(weights, 150), means, atol=1e-6)
    found = peaks(weights)
    mask = weights >= found["threshold"]
    np.testing.assert_array_equal(found["counts"], mask.sum(axis=-1))
    np.testing.assert_array_equal(opened[1]["peaks/0/keys"], np.nonzero(mask)[2])


@pytest.mark.slow
def test_a_trace_gives_the_same_page_as_watching(model: npwhisper.Whisper) -> None:
    sound = npwhisper.load_audio(JFK)[: 3 * 16000]
    watched = record(sound, model)
    with npwhisper.trace() as acts:
        model.transcribe(sound, word_timestamps=True)
    run = replay(acts, model, sound)
    (meta, arrays), (wanted, exact) = unpack(run.windows[0]), unpack(watched.windows[0])
    assert [s["chosen"] for s in meta["steps"]] == [s["chosen"] for s in wanted["steps"]]
    np.testing.assert_array_equal(arrays["cross/levels"], exact["cross/levels"])
    np.testing.assert_array_equal(arrays["candidate/logprobs"], exact["candidate/logprobs"])


@pytest.mark.slow
def test_a_swapped_layer_is_the_first_difference() -> None:
    options: dict[str, Any] = {"temperature": 0, "sample_len": 12}
    _check_difference(record(JFK, talker(ENGLISH), **options), "encoder.blocks.0.mlp.gelu", talker(ENGLISH), options)


@pytest.mark.slow
def test_a_swapped_layer_of_the_embedded_model_is_the_first_difference(
    recorded: tuple[Run, Activations], model: npwhisper.Whisper
) -> None:
    _check_difference(recorded[0], "encoder.blocks.2.mlp.gelu", model, {})


def _check_difference(first: Run, name: str, model: npwhisper.Whisper, options: dict[str, Any]) -> None:
    def relu(x: np.ndarray) -> np.ndarray:
        return np.maximum(x, 0)

    with npwhisper.swap({name: relu}):
        mine = record(JFK, model, label="ReLU", **options)
    found = difference(first, mine)
    assert found["activation"]["name"] == name
    assert found["token"]["step"] >= 0
    assert difference(first, first)["token"] is None


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [{"vad": True}, {"initial_prompt": "A speech", "without_timestamps": True}, {"word_timestamps": False}],
)
def test_other_options_and_8_bit_weights_have_a_page_too(options: dict[str, Any], tmp_path: Path) -> None:
    model = npwhisper.load_model(weights="int8")
    run = npwhisper.glass(JFK, tmp_path / "a.html", model, **options)
    chosen = [step["chosen"] for step in unpack(run.windows[0])[0]["steps"]]
    text = [token for token in chosen if token < model.tokenizer.eot]
    said = [t for s in run.result["segments"] if s["seek"] == 0 for t in s["tokens"] if t < model.tokenizer.eot]
    assert len(said) > 15
    assert text[: len(said)] == said  # what follows the last closing timestamp is left to the next window
    assert (tmp_path / "a.html").stat().st_size > 1e6


@pytest.mark.slow
def test_silence_has_a_page(tmp_path: Path) -> None:
    skipped: dict[str, Any] = {"temperature": 0, "no_speech_threshold": 0.0, "logprob_threshold": None}
    run = npwhisper.glass(np.zeros(16000, np.float32), tmp_path / "a.html", talker(ENGLISH), **skipped)
    assert run.result["segments"] == []
    assert len(run.windows) == 1


@pytest.mark.slow
def test_a_longer_recording_has_a_block_for_each_window(model: npwhisper.Whisper) -> None:
    sound = np.tile(npwhisper.load_audio(JFK), 3)  # 33 s: two windows
    run = record(sound, model, seed=0)
    assert len(run.windows) == len(run.overview) >= 2
    assert run.overview[1]["start"] > 0
    metas = [unpack(block)[0] for block in run.windows]
    assert [meta["decision"]["start"] for meta in metas] == [w["start"] for w in run.overview]
    assert max(map(len, run.windows)) < 5e6  # of 30 seconds, as it stands in the page


def test_packing_round_trips_and_refuses_what_a_browser_has_no_array_for() -> None:
    arrays = {"a": np.arange(5, dtype=np.uint8), "b": np.ones((2, 3), np.float32), "c": np.array([[7]], np.int32)}
    meta, back = unpack(pack({"x": "é"}, arrays))
    assert meta == {"x": "é"}
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array)
    with pytest.raises(TypeError, match="float64"):
        pack({}, {"a": np.ones(2)})
    assert levels(np.zeros(2), 0.0).tolist() == [0, 0]


def test_the_page_is_one_file_that_asks_for_nothing(recorded: tuple[Run, Activations]) -> None:
    recorded[0].title = "<script>alert(1)</script> & co"
    text = page([recorded[0]])
    assert "<script>alert" not in text
    assert "default-src 'none'" in text
    assert not re.search(r"(src|href)=[\"']?http", text)
    assert len(text) < 5e6
    assert len(re.findall(r"<script type=\"module\">", text)) == 1


def test_the_modules_share_one_scope_without_a_clash() -> None:
    names = re.findall(r"^(?:async )?(?:function|const|let|class) (\w+)", bundle(), re.MULTILINE)
    assert len(names) == len(set(names))
    assert "innerHTML" not in bundle()
    assert {path.name for path in (Path(npwhisper.__file__).parent / "lab/glass/web").glob("*.js")} == set(MODULES)


def test_wrong_sources_get_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="holds no activations"):
        npwhisper.glass({"text": ""}, tmp_path / "a.html")
    with pytest.raises(ValueError, match="one after the other, got batch_size=2"):
        npwhisper.glass(JFK, tmp_path / "a.html", batch_size=2)
    with pytest.raises(ValueError, match="the trace holds no window"):
        npwhisper.glass(Activations(), tmp_path / "a.html")
    assert not list(tmp_path.iterdir())


def test_the_command_passes_on_only_what_is_given() -> None:
    assert search_options(parser().parse_args(["a.wav"])) == {}
    given = ["--channel", "left", "--audio_track", "1", "--beam_size", "None", "--robust", "--vad", "--lang", "en"]
    assert search_options(parser().parse_args(["a.wav", *given])) == {
        "channel": "left", "audio_track": 1, "beam_size": None, "vad": True, "language": "en",
        "condition_on_previous_text": False, "no_repeat_ngram_size": 10,
    }  # fmt: skip
    steps = ["--temperature", "0.5", "--temperature_increment_on_fallback", "0.25"]
    assert search_options(parser().parse_args(["a.wav", *steps])) == {"temperature": [0.5, 0.75, 1.0]}
    with pytest.raises(SystemExit):
        parser().parse_args(["a.wav", "--channels", "separate"])  # a page shows one sound


@pytest.mark.slow
def test_the_command_writes_a_page_of_one_channel(
    tmp_path: Path, talker_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import soundfile

    sound = npwhisper.load_audio(JFK)[:32000]
    soundfile.write(tmp_path / "two.wav", np.stack([np.zeros_like(sound), sound], axis=1), 16000)
    options = ["-o", str(tmp_path / "two.html"), "--channel", "right", "--word_timestamps", "False", "--threads", "1"]
    quick = ["--model", str(talker_file), "--beam_size", "None", "--temperature_increment_on_fallback", "None"]
    assert command([str(tmp_path / "two.wav"), *options, *quick]) == 0
    assert "2.0 s in 1 window(s)" in capsys.readouterr().out
    assert (tmp_path / "two.html").stat().st_size < 5e6
