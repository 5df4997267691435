"""The page in a browser: opened from the disk in headless Chromium, it shows the trace's numbers and asks for nothing.

Needs Chromium (or Chrome) and the Python package playwright, which drives it; `.ci/run` has both.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import npwhisper
from npwhisper.decoding import DecodingOptions, DecodingTask, rules
from npwhisper.decoding.search import Beam
from npwhisper.lab.glass import Run, glass, record
from npwhisper.lab.glass.packing import unpack
from npwhisper.tracing.seam import Activations

pytestmark = pytest.mark.slow

JFK = Path(__file__).parents[1] / "data" / "jfk.flac"
CONTRAST = (Path(__file__).parent / "contrast.js").read_text(encoding="utf-8")
VIEWS = ("overview", "sound", "encoder", "cross", "decoder", "tokens", "times", "decisions")
CONTROLS = ("button", "slider", "combobox", "image", "tab")
OPEN_ALL = """() => [...document.querySelectorAll('#map [data-node]')].flatMap(({ dataset: { node } }) => {
  const event = () => new MouseEvent('click', { bubbles: true });
  const click = (selector) => document.querySelector(selector).dispatchEvent(event());
  const read = () => ['#box-name', '#formula', '#panel pre', '#panel table', '#panel .worked'].map(
    (part) => document.querySelector(part)?.textContent ?? '');
  click(`#map [data-node="${node}"]`);
  const inside = [...document.querySelectorAll('#panel [data-box]')].map((button) => button.dataset.box);
  return [read(), ...inside.map((box) => {
    click(`#map [data-node="${node}"]`);
    click(`#panel [data-box="${box}"]`);
    return read();
  })];
})"""
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class Watched:
    """A page with the list of everything that should not happen."""

    def __init__(self, page: Any, path: Path) -> None:
        self.page, self.faults, self.requests = page, list[str](), list[str]()
        page.on("console", lambda message: message.type in ("error", "warning") and self.faults.append(message.text))
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.set_default_timeout(120_000)  # milliseconds: a busy machine unpacks slowly
        page.goto(path.as_uri())
        page.wait_for_selector("#app[aria-busy=false]")

    def view(self, name: str) -> None:
        self.page.click(f'[data-view="{name}"]')

    def attribute(self, selector: str, name: str) -> str:
        value = self.page.get_attribute(selector, name)
        assert value is not None, f"{selector} has no {name}"
        return value

    def number(self, selector: str, name: str) -> float:
        """A number in an attribute, as it is: JavaScript writes -Infinity for what is forbidden."""
        return float(self.attribute(selector, name))

    def check(self) -> None:
        """No error on the console, and no request but for the file itself and the sound inside it."""
        assert self.faults == []
        assert [url for url in self.requests[1:] if not url.startswith("blob:")] == []


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright, which drives the browser, is missing")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("there is no Chromium here")
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=program, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def traced() -> tuple[Run, Activations]:
    with npwhisper.trace("decoder", "log_softmax", "decoder.blocks.*.cross_attn.softmax") as acts:
        run = record(JFK, npwhisper.load_model())
    return run, acts


@pytest.fixture
def shown(browser: Any, traced: tuple[Run, Activations], tmp_path: Path) -> Iterator[Watched]:
    glass(traced[0], tmp_path / "talk.html")
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    yield Watched(page, tmp_path / "talk.html")
    page.close()


def test_ten_random_steps_show_the_numbers_of_the_trace(shown: Watched, traced: tuple[Run, Activations]) -> None:
    acts = traced[1]
    finals = [value[0] for value in acts.all("log_softmax")]
    stages = _stages(traced)
    rng = np.random.default_rng(0)
    for step in rng.choice(len(finals), 10, replace=False).tolist():
        shown.page.click(f'[data-step="{step}"]')
        _check_candidates(shown, acts.all("decoder")[step][0, -1].astype(np.float64), finals[step])
        _check_rules(shown, stages[step])
        layer, head = int(rng.integers(4)), int(rng.integers(6))
        _check_attention(shown, acts.all(f"decoder.blocks.{layer}.cross_attn.softmax")[step][0, head, -1], layer, head)
    shown.check()


def _check_candidates(shown: Watched, logits: np.ndarray, final: np.ndarray) -> None:
    """The table of the best tokens against the logits (V,) and the log-probabilities after the rules (V,)."""
    shown.view("tokens")
    cells = "['before', 'final'].map(name => row.querySelector(`[data-${name}]`).title)"
    script = f"rows => rows.map(row => [row.dataset.token, ...{cells}])"
    rows = shown.page.eval_on_selector_all("#candidates tr[data-token]", script)
    before = np.exp(logits - logits.max())
    before /= before.sum()
    ids = [int(row[0]) for row in rows]
    assert ids[:15] == np.argsort(-before, kind="stable")[:15].tolist()
    for token, row in zip(ids, rows, strict=True):
        assert float(row[1]) == pytest.approx(before[token], rel=1e-4, abs=1e-12)
        assert float(row[-1]) == pytest.approx(float(np.exp(np.float64(final[token]))), rel=1e-5, abs=1e-12)


def _stages(traced: tuple[Run, Activations]) -> list[list[np.ndarray]]:
    """The logits (V,) of each step before the rules, and after each one, applied here one at a time."""
    model = npwhisper.load_model()
    context = DecodingTask(model, DecodingOptions(language="en", max_initial_timestamp=1.0)).context
    chosen = [step["chosen"] for step in unpack(traced[0].windows[0])[0]["steps"]]
    found = []
    for i in range(len(chosen)):
        stages = [traced[1].all("decoder")[i][:, -1]]
        for rule in rules.LOGIT_RULES:
            stages.append(rule(stages[-1], np.array([chosen[:i]], np.int64), context))
        found.append([logits[0] for logits in stages])
    return found


def _check_rules(shown: Watched, stages: list[np.ndarray]) -> None:
    """The table of the best tokens after each rule that changed something, and each rule's box."""
    for rule, before, after in zip(rules.LOGIT_RULES, stages, stages[1:], strict=False):
        script = "all => all.map(c => [c.closest('tr').dataset.token, c.title])"
        cells = shown.page.eval_on_selector_all(f'#candidates [data-after="{rule.__name__}"]', script)
        weights = np.exp(after.astype(np.float64) - after.max())
        for token, p in cells:
            assert float(p) == pytest.approx(weights[int(token)] / weights.sum(), rel=1e-4, abs=1e-12)
        assert bool(cells) == (before != after).any()
        shown.page.click(f'#rules [data-box="{rule.__name__}"]')
        changed = np.where(before != after, before, -np.inf) if (before != after).any() else before
        assert shown.number("#panel [data-logit]", "data-logit") == changed.max()
        assert shown.attribute("#panel [data-holds]", "data-holds") == str(bool((before != after).any())).lower()
        assert shown.number("#panel [data-recorded]", "data-recorded") == after[changed.argmax()]
        assert "✓ equal" in (shown.page.text_content("#panel .worked") or "")
    stamps = after[npwhisper.load_model().tokenizer.timestamp_begin :].astype(np.float64)
    if np.isfinite(stamps).any():
        assert shown.number("#panel [data-together]", "data-together") == pytest.approx(np.log(np.exp(stamps).sum()))
    shown.page.keyboard.press("Escape")


def _check_attention(shown: Watched, weights: np.ndarray, layer: int, head: int) -> None:
    shown.view("cross")
    shown.page.click(f'[data-head="{layer}.{head}"]')
    assert np.float32(shown.attribute("#attention-max", "data-value")) == weights.max()
    assert int(shown.attribute("#attention-at", "data-position")) == weights.argmax()


def test_words_have_the_times_of_the_result_and_a_click_lights_one(
    shown: Watched, traced: tuple[Run, Activations]
) -> None:
    words = [word for segment in traced[0].result["segments"] for word in segment["words"]]
    script = "all => all.map(w => [w.textContent, Number(w.dataset.start), Number(w.dataset.end)])"
    listed = shown.page.eval_on_selector_all("#sound .word", script)
    assert listed == [[word["word"].strip(), word["start"], word["end"]] for word in words]
    at = next(i for i, word in enumerate(words) if word["word"] == " country")
    shown.view("times")
    shown.page.click(f'#sound [data-word="{at}"]')
    assert shown.page.text_content('#sound .word[aria-current="true"]') == "country"
    assert float(shown.attribute("#word-card [data-start]", "data-start")) == words[at]["start"]
    assert "country" in (shown.page.text_content("#stepper output") or "")
    shown.check()


def test_slider_and_keys_move_through_steps_and_views(shown: Watched) -> None:
    page = shown.page
    page.fill("#step", "5")
    assert shown.attribute("#tokens [aria-current=step]", "data-step") == "5"
    page.keyboard.press("ArrowRight")
    assert shown.attribute("#tokens [aria-current=step]", "data-step") == "6"
    page.focus("#view")
    page.keyboard.press("ArrowLeft")
    assert shown.attribute("#tokens [aria-current=step]", "data-step") == "5"
    seen = set()
    for key in "12345678":
        page.keyboard.press(key)
        seen.add(page.text_content("#view h2"))
    assert len(seen) == 8
    before = page.text_content("#station")
    page.keyboard.press("]")
    assert page.text_content("#station") != before
    theme = page.get_attribute("html", "data-theme")
    page.keyboard.press("d")
    assert page.get_attribute("html", "data-theme") != theme
    shown.check()


def test_a_box_opens_and_closes_by_keyboard_alone(shown: Watched) -> None:
    """The focus goes into the box, and back to what opened it."""
    page, focused = shown.page, "document.activeElement.id || Object.values(document.activeElement.dataset).join()"
    page.keyboard.press("6")
    for opener, box in (
        ('#rules [data-box="suppress_tokens"]', "suppress_tokens"),
        ('#map [data-node="d1"]', "decoder.blocks.1"),
    ):
        page.focus(opener)
        page.keyboard.press("Enter")
        assert (page.evaluate(focused), page.text_content("#box-name")) == ("box-name", box)
        page.keyboard.press("ArrowRight")  # the step goes on, the box stays open
        assert page.evaluate(focused) == "box-name"
        page.keyboard.press("Escape")
        assert page.query_selector("#box-name") is None
        assert page.evaluate("q => document.activeElement === document.querySelector(q)", opener)
    assert len(_walk(shown)) > 80
    shown.check()


def _walk(shown: Watched) -> list[Any]:
    """Every control, by Tab: each can be seen, shows that it has the focus, and has a name."""
    script = """() => { const e = document.activeElement, box = e.getBoundingClientRect();
        return e === document.body ? null : [e.outerHTML.slice(0, 80), box.width > 0 && box.height > 0,
            e.matches('.node') || getComputedStyle(e).outlineStyle !== 'none',
            (e.ariaLabel || e.textContent || e.title).trim() !== '']; }"""
    shown.page.evaluate("document.activeElement.blur()")
    found = []
    for _ in range(300):
        shown.page.keyboard.press("Tab")
        control = shown.page.evaluate(script)
        if control is None:
            return found
        assert control[1:] == [True, True, True], control
        found.append(control)
    raise AssertionError("the focus never leaves the page")


def test_every_station_of_the_walk_opens(shown: Watched) -> None:
    nodes = shown.page.eval_on_selector_all("#map [data-node]", "all => all.map(n => n.dataset.node)")
    assert len(nodes) == 22
    for node in nodes:
        shown.page.click(f'#map [data-node="{node}"]')
        assert shown.page.get_attribute(f'#map [data-node="{node}"]', "aria-current") == "location", node
    shown.check()


def test_every_box_opens_with_formula_source_and_the_recorded_cell(
    shown: Watched, traced: tuple[Run, Activations]
) -> None:
    page = shown.page
    page.click('#map [data-node="d1"]')
    page.click('#panel [data-box="decoder.blocks.1.attn.softmax"]')
    assert "exp" in (page.text_content("#formula") or "")
    assert "def softmax" in (page.text_content("#panel pre") or "")
    assert "✓ equal" in (page.text_content("#panel .worked") or "")
    page.keyboard.press("Escape")
    assert page.query_selector("#box-name") is None
    shown.check()


def test_from_the_drawing_every_box_opens(shown: Watched, traced: tuple[Run, Activations]) -> None:
    """Formula, shapes, the source that ran, and one cell that gives the recorded number."""
    boxes = unpack(traced[0].windows[0])[0]["boxes"]
    chosen = ("rank", "log_softmax", "greedy_search", *(rule.__name__ for rule in rules.LOGIT_RULES))
    boxes |= {name: {"cell": {"recorded": ...} if name != "greedy_search" else {}} for name in chosen}
    opened = {name: parts for name, *parts in shown.page.evaluate(OPEN_ALL)}
    assert boxes.keys() <= opened.keys()
    for name, box in boxes.items():
        formula, source, shapes, worked = opened[name]
        assert worked, name
        assert len(formula) > 5, name
        assert "def " in source, name
        assert "symbolic" in shapes, name
        assert "thisrun→" in shapes.replace(" ", ""), name
        assert ("✓ equal" in worked) == ("recorded" in box["cell"]), name
    shown.check()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_stands_out_and_every_control_has_a_name(shown: Watched, theme: str) -> None:
    page = shown.page
    page.emulate_media(color_scheme=theme, reduced_motion="reduce")  # no colour on its way to another
    page.wait_for_selector(f'html[data-theme="{theme}"]')
    tree = page.context.new_cdp_session(page)
    for view in VIEWS:
        shown.view(view)
        assert page.evaluate(CONTRAST) == [], view
        nodes = tree.send("Accessibility.getFullAXTree")["nodes"]
        named = [(n["role"]["value"], n.get("name", {}).get("value", "")) for n in nodes if not n["ignored"]]
        controls = [(role, name) for role, name in named if role in CONTROLS]
        assert len(controls) > 50
        assert [role for role, name in controls if not name.strip()] == [], view
    shown.check()


@pytest.mark.parametrize("width", [390, 1280, 1920])
def test_no_view_is_wider_than_the_screen(shown: Watched, width: int) -> None:
    shown.page.set_viewport_size({"width": width, "height": 800})
    for view in VIEWS:
        shown.view(view)
        widths = "['html', '#view'].map(q => document.querySelector(q)).map(e => e.scrollWidth - e.clientWidth)"
        assert shown.page.evaluate(widths) == [0, 0], view


def test_the_four_questions_of_a_first_visit_are_answered(shown: Watched) -> None:
    page = shown.page
    shown.view("cross")  # which head follows the sound? The best one is shown first
    best = page.text_content("#best-head") or ""
    layer, head = shown.attribute('[data-head][aria-pressed="true"]', "data-head").split(".")
    assert best.startswith(f"block {layer}, head {head} (r = 0.9")
    page.click('[data-step="0"]')  # which rule forbade what at the first step?
    shown.view("tokens")
    assert int(shown.attribute('[data-rule="suppress_blank"] [data-forbidden]', "data-forbidden")) == 2
    assert "a window begins with a timestamp" in (page.text_content('[data-rule="apply_timestamp_rules"]') or "")
    page.click('#tokens [data-step]:has-text("country")')  # why "country", and not "county"?
    page.click('#candidates button:has-text("␣county")')
    assert float(shown.attribute("#why [data-difference]", "data-difference")) > 5
    shown.view("times")  # when was it said, and how do we know?
    assert "“country” was said from 6.02 s to 6.36 s" in (page.text_content("#word-card") or "")
    shown.check()


def test_it_prints_light_and_without_controls(shown: Watched) -> None:
    page = shown.page
    page.emulate_media(color_scheme="dark")
    page.wait_for_selector('html[data-theme="dark"]')  # the page hears of it a moment later
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.get_attribute("html", "data-theme") == "light"
    page.emulate_media(media="print")
    assert [page.is_visible(part) for part in ("#tabs", "#map", "#start-tour", "#view")] == [False, False, False, True]
    assert page.evaluate("document.querySelector('#view').scrollHeight <= document.querySelector('#view').clientHeight")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.get_attribute("html", "data-theme") == "dark"


def test_the_tour_has_eight_stops(shown: Watched) -> None:
    page = shown.page
    page.click("#start-tour")
    for stop in range(8):
        assert shown.attribute("#tour", "data-stop") == str(stop)
        assert page.query_selector(".spot") is not None, f"stop {stop} points at nothing"
        if stop < 7:
            page.click("#tour-next")
    page.keyboard.press("Escape")
    assert page.query_selector("#tour") is None
    shown.check()


def test_the_encoders_map_zooms_to_full_resolution(shown: Watched) -> None:
    shown.view("encoder")
    shown.page.click('[aria-label="zoom in"]')
    shown.page.click('[aria-label="zoom in"]')
    assert "Full resolution" in (shown.page.text_content("#view") or "")
    shown.check()


def test_two_runs_stand_side_by_side(browser: Any, traced: tuple[Run, Activations], tmp_path: Path) -> None:
    def relu(x: np.ndarray) -> np.ndarray:
        return np.maximum(x, 0)

    with npwhisper.swap({"encoder.blocks.2.mlp.gelu": relu}):
        mine = record(JFK, npwhisper.load_model(), label="my ReLU")
    glass(traced[0], tmp_path / "two.html", against=mine)
    shown = Watched(browser.new_page(), tmp_path / "two.html")
    shown.view("compare")
    assert shown.page.text_content("#first-activation") == "encoder.blocks.2.mlp.gelu"
    shown.page.click("#first-token")
    shown.page.select_option("#run", label="my ReLU")
    assert len(shown.page.query_selector_all("#beside tr.changed")) > 0
    shown.check()


def test_two_models_stand_side_by_side(browser: Any, traced: tuple[Run, Activations], tmp_path: Path) -> None:
    """The second one has three decoder blocks instead of four, and soon says something else."""
    whole = npwhisper.load_model()
    weights = {name: value for name, value in whole.weights.items() if not name.startswith("decoder.blocks.3.")}
    cut = npwhisper.Whisper(dataclasses.replace(whole.dims, n_text_layer=3), weights, [(1, 0), (2, 0)])
    other = record(JFK, cut, label="three blocks", temperature=0.0)
    glass(traced[0], tmp_path / "two.html", against=other)
    texts = [[step["chosen"] for step in unpack(run.windows[0])[0]["steps"]] for run in (traced[0], other)]
    first = next(i for i, pair in enumerate(zip(*texts, strict=False)) if pair[0] != pair[1])
    shown = Watched(browser.new_page(), tmp_path / "two.html")
    shown.view("compare")
    assert "different shapes" in (shown.page.text_content("#view") or "")
    shown.page.click("#first-token")
    assert shown.attribute("#tokens [aria-current=step]", "data-step") == str(first)
    rows = shown.page.eval_on_selector_all("#beside tr", "all => all.map(row => row.classList.contains('changed'))")[1:]
    assert rows.index(True) == first
    for side, run in enumerate((traced[0], other)):
        words = [word["word"] for segment in run.result["segments"] for word in segment["words"]]
        parts = shown.page.eval_on_selector_all(f'[data-side="{side}"] p span', "all => all.map(s => s.textContent)")
        assert "".join(parts) == "".join(words)
    changed = [shown.page.query_selector_all(f'[data-side="{side}"] p .changed') for side in (0, 1)]
    both = ["".join(part.text_content() or "" for part in side).split() for side in changed]
    assert both[0] != both[1]
    assert shown.page.text_content('[data-side="0"] p .same') == shown.page.text_content('[data-side="1"] p .same')
    shown.page.select_option("#run", label="three blocks")
    assert shown.page.query_selector('#map [data-node="d3"]') is None
    shown.check()


def test_fallback_and_silence_show_the_numbers_of_the_decision_log(browser: Any, tmp_path: Path) -> None:
    """Noise after speech: a text that fails is tried again, and a window without speech is skipped."""
    rng, log = np.random.default_rng(0), list[Any]()
    noise = 1e-3 * rng.standard_normal(64 * 16000).astype(np.float32)
    sound = np.concatenate([npwhisper.load_audio(JFK), noise])
    options: dict[str, Any] = {"temperature": (0.0, 0.4), "seed": 3, "logprob_threshold": -0.2}
    npwhisper.load_model().transcribe(sound, word_timestamps=True, on_decision=log.append, **options)
    assert max(len(decision.attempts) for decision in log) > 1
    assert any(decision.skipped for decision in log)
    glass(sound, tmp_path / "quiet.html", npwhisper.load_model(), title="noise", **options)
    shown = Watched(browser.new_page(), tmp_path / "quiet.html")
    shown.view("decisions")
    for i, decision in enumerate(log):
        shown.page.click(f'[data-window="{i}"]')
        shown.page.wait_for_function("at => document.querySelector('#window').selectedIndex === at", arg=i)
        values = shown.page.eval_on_selector_all(
            "#attempts [data-value]", "all => all.map(c => Number(c.dataset.value))"
        )
        assert values == [number for attempt in decision.attempts for number in attempt[:4]]
        checks = shown.page.eval_on_selector_all("#attempts .checks", "all => all.map(c => c.textContent)")
        for words, attempt in zip(checks, decision.attempts, strict=True):
            assert all(check in words for check in attempt.failed)
            assert ("passed" in words) == (not attempt.failed)
        assert shown.number("#no-speech", "data-value") == pytest.approx(decision.attempts[-1].no_speech_prob, rel=1e-5)
        assert shown.number("#next-start", "data-value") == decision.next_start
        silent = "treated as silence and skipped" in (shown.page.text_content("#view") or "")
        assert silent == decision.skipped
    shown.check()


def test_the_beams_of_the_page_are_those_of_the_search(browser: Any, tmp_path: Path) -> None:
    """The search is run again on the log-probabilities of a trace."""
    model, log = npwhisper.load_model(), list[Any]()
    with npwhisper.trace("log_softmax") as acts:
        run = record(JFK, model, beam_size=5)
    model.transcribe(JFK, beam_size=5, on_decision=log.append)
    glass(run, tmp_path / "beams.html")
    shown, beam = (
        Watched(browser.new_page(), tmp_path / "beams.html"),
        Beam(np.zeros(0, np.int64), model.tokenizer.eot, 5),
    )
    shown.view("decisions")
    script = "all => all.map(({ dataset: d }) => [d.step, d.token, d.total, d.fate].map(Number))"
    nodes = shown.page.eval_on_selector_all("svg.tree [data-total]", script)
    for step, logprobs in enumerate(acts.all("log_softmax")[: 1 + max(node[0] for node in nodes)]):
        beam.advance(logprobs)
        kept = [node for node in nodes if node[0] == step and node[3] == 0]
        assert [node[1] for node in kept] == beam.tokens[:, -1].tolist()
        np.testing.assert_allclose([node[2] for node in kept], beam.sums, atol=1e-9)
    found = max(beam.hypotheses(), key=lambda h: h.sum_logprob / max(1, len(h.tokens)))
    best = shown.page.eval_on_selector_all("svg.tree [data-best]", "all => all.map(node => Number(node.dataset.token))")
    assert sorted(best) == sorted([*found.tokens, model.tokenizer.eot])
    _check_sums(shown, found.sum_logprob, log[0].attempts[-1].avg_logprob)


def _check_sums(shown: Watched, total: float, mean: float) -> None:
    """The box of the search adds up to the sum of the text, and that of the ranking gives the mean of the log."""
    shown.page.click('#map [data-node="search"]')
    last = len(shown.page.query_selector_all("#tokens [data-step]")) - 1
    before = 0.0
    for step in (0, 1, 2, last):
        shown.page.click(f'[data-step="{step}"]')
        numbers = [shown.number(f"#panel [data-{name}]", f"data-{name}") for name in ("before", "logprob", "sum")]
        assert numbers[0] == pytest.approx(before, abs=1e-9) or step == last
        assert numbers[0] + numbers[1] == numbers[2]
        before = numbers[2]
    assert before == pytest.approx(total, abs=1e-9)
    shown.page.click('#panel [data-box="rank"]')
    assert shown.number("#panel [data-recorded]", "data-recorded") == mean
    assert "✓ equal" in (shown.page.text_content("#panel .worked") or "")
    shown.check()


def test_markup_in_names_and_tokens_is_shown_as_text(
    browser: Any, traced: tuple[Run, Activations], tmp_path: Path
) -> None:
    run = record(JFK, npwhisper.load_model(), title="</script><script>document.title='owned'</script>", beam_size=2)
    glass(run, tmp_path / "odd.html")
    shown = Watched(browser.new_page(), tmp_path / "odd.html")
    assert "</script>" in (shown.page.text_content("h1") or "")
    assert shown.page.title() != "owned"
    assert "<|startoftranscript|>" in (shown.page.text_content("#tokens") or "")
    shown.view("decisions")
    assert shown.page.query_selector("svg.tree") is not None
    shown.check()


def test_a_second_window_is_unpacked_when_it_is_chosen(browser: Any, tmp_path: Path) -> None:
    # the first window repeats itself, so its text is drawn; with this seed the second begins at 25.379999999999995 s
    run = record(np.tile(npwhisper.load_audio(JFK), 3), npwhisper.load_model(), title="three times", seed=5)
    glass(run, tmp_path / "long.html")
    shown = Watched(browser.new_page(), tmp_path / "long.html")
    shown.page.select_option("#window", index=1)
    starts = "() => [...document.querySelectorAll('#sound .word')].map((word) => Number(word.dataset.start))"
    words = [word["start"] for word in run.overview[1]["words"]]
    shown.page.wait_for_function(f"(first) => ({starts})()[0] === first", arg=words[0])
    assert shown.page.evaluate(starts) == words
    shown.check()
