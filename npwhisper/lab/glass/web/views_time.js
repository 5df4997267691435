// Views: word times stage by stage, the decisions, and two runs side by side.
import { h, number, percent, s, seconds, visible } from "./dom.js";
import { melPicture, picture } from "./canvas.js";
import { about, current, label, set, state, stepsOf } from "./state.js";
import { axis, lane, length, sayWord, words } from "./sound.js";
import { openers } from "./views_sound.js";
import { openWindow } from "./main.js";

let timingHead = 0;

export function timesView() {
  const data = current();
  const timing = data.meta.timing;
  if (!timing?.frames) return [h("h2", {}, "Word times"), h("p", {}, "No word times were computed for this window: use word_timestamps=True.")];
  const heads = about().model.alignment_heads;
  const select = h("select", { id: "timing-head", "aria-label": "alignment head", "data-key": "timing-head", onchange: (event) => { timingHead = Number(event.target.value); set({}); } }, heads.map(([l, k], i) => h("option", { value: i, selected: i === timingHead }, `block ${l}, head ${k} ★`)));
  const head = Math.min(timingHead, heads.length - 1);
  return [
    h("h2", {}, "When was each word spoken, and how do we know?"),
    h("p", { class: "lead" }, "The decoder runs once more over the finished text. Some of its heads, the alignment heads, attend to the moment at which a token is spoken. Five stages turn their attention into times."),
    wordCard(data),
    h("h3", {}, "1 · The attention of ", select, `, one of ${heads.length} alignment heads`), strip(data, "softmax", head),
    h("h3", {}, "2 · Standardisation: mean 0 and variance 1 over the tokens in every frame"), strip(data, "standardise", head),
    h("h3", {}, "3 · Median filter over 7 frames: removes isolated peaks"), strip(data, "median_filter", head),
    h("h3", {}, "4 · The mean over all alignment heads, and 5 · the path found by dynamic time warping"), strip(data, "token_map", 0, true),
    h("h3", {}, "Word boundaries: where the path moves on to the next token"), bordersCard(data),
    openers("How it is computed", ["find_alignment", "standardise", "median_filter", "token_map", "dtw", "backtrace"]),
  ];
}

function strip(data, name, head, withPath = false) {
  const image = data.arrays[`timing/${name}`];
  const [rows, columns] = image.shape.slice(-2);
  const base = image.shape.length === 3 ? head * rows * columns : 0;
  const shown = name === "softmax" ? (level) => Math.sqrt(level / 255) * 255 : (level) => level;
  const canvas = picture(columns, rows, (x, y) => shown(image[base + y * columns + x]), { label: `${name}: tokens downwards, time to the right` });
  canvas.style.height = `${Math.max(90, Math.min(withPath ? 260 : 150, rows * (withPath ? 9 : 5)))}px`;
  const [low, high] = data.meta.timing.ranges[name];
  const row = currentRow(data);
  const mark = row < 0 ? null : h("div", { class: "rowmark", style: { top: `${(100 * row) / rows}%`, height: `${100 / rows}%` } });
  return [lane(h("div", { class: "stack" }, canvas, withPath ? pathLine(data, rows) : null, mark)), h("p", { class: "note", style: { margin: "2px 0" } }, `256 levels from ${number(low)} to ${number(high)}; the outline marks the row of this step's token${name === "softmax" ? "; colour shows the square root" : ""}`)];
}

function currentRow(data) {
  // the row of this step's token: the text tokens are in order, after the start sequence and <|notimestamps|>
  const { start } = data.meta.timing;
  if (data.wordOfStep[state.step] < 0) return -1;
  return start + 1 + data.wordOfStep.slice(0, state.step).filter((w) => w >= 0).length;
}

function pathLine(data, rows) {
  const path = data.arrays["timing/path"];
  const n = path.shape[1];
  const { frames, start } = data.meta.timing;
  const points = Array.from({ length: n }, (_, i) => `${path[n + i] + 0.5},${path[i] + start + 0.5}`).join(" ");
  return s("svg", { class: "over", viewBox: `0 0 ${frames} ${rows}`, preserveAspectRatio: "none", "aria-hidden": "true" }, s("polyline", { points, fill: "none", style: { stroke: "var(--card)" }, "stroke-width": 4, "vector-effect": "non-scaling-stroke" }), s("polyline", { points, fill: "none", style: { stroke: "var(--text)" }, "stroke-width": 2, "vector-effect": "non-scaling-stroke" }));
}

function wordCard(data) {
  const index = data.wordOfStep[state.step];
  const word = data.meta.words[index];
  if (!word) return h("div", { class: "card" }, "This step produced no word. Select a word below, or move the slider.");
  const from = word.raw.map(([text, start, end]) => `${visible(text)} ${start.toFixed(2)} to ${end.toFixed(2)}`).join(", ");
  const moved = word.raw.length && (Math.abs(word.raw[0][1] + data.meta.start - word.start) > 0.006 || Math.abs(word.raw.at(-1)[2] + data.meta.start - word.end) > 0.006);
  return h("div", { class: "card", id: "word-card" },
    h("b", {}, `“${word.word.trim()}” was said from `, h("span", { class: "num", "data-start": word.start }, seconds(word.start)), " to ", h("span", { class: "num", "data-end": word.end }, seconds(word.end))), " ",
    h("button", { onclick: () => sayWord(index) }, "▶ play"),
    h("p", { class: "note" }, `Times of the path, in seconds of this window: ${from}.${moved ? " The final times differ: punctuation was merged, or a word next to a pause was shortened." : " These are the final times."} Probability: ${number(word.probability)}.`));
}

function bordersCard(data) {
  const mel = melPicture(data);
  mel.style.height = "130px";
  const at = (t) => `${(100 * (t - data.meta.start)) / length()}%`;
  const lines = data.meta.words.map((word) => h("div", { style: { position: "absolute", top: 0, bottom: 0, left: at(word.start), borderLeft: "1.5px solid var(--text)" } }));
  return h("div", { class: "card" }, lane(h("div", { class: "stack" }, mel, lines), words()), axis(8));
}

// --- decisions ----------------------------------------------------------------------------------------------------------

export function decisionsView() {
  const data = current();
  const decision = data.meta.decision;
  return [
    h("h2", {}, "The decisions for this window"),
    decision ? attempts(data, decision) : h("p", {}, "This page was made from a trace, which has no decision log."),
    searchPart(data),
    h("h3", {}, "The windows of the recording"), windowsTable(),
    openers("How it is computed", ["greedy_search", "beam_search", "sample", "rank", "split_at_timestamps"]),
  ];
}

function attempts(data, decision) {
  const options = about().options;
  const rows = decision.attempts.map((attempt, i) => h("tr", { class: i === decision.attempts.length - 1 ? "chosen" : "" },
    ["temperature", "avg_logprob", "compression_ratio", "no_speech_prob"].map((name) => h("td", { class: "num", "data-value": attempt[name] }, name === "temperature" ? attempt[name] : number(attempt[name]))),
    h("td", { class: "checks" }, verdictOf(decision, i)), h("td", {}, attempt.text)));
  const silence = decision.skipped ? "treated as silence and skipped" : "treated as speech";
  return [
    h("div", { class: "scroll" }, h("table", { id: "attempts" }, h("tr", {}, ["temperature", "mean log p", "compression ratio", "p(no speech)", "checks", "text"].map((t) => h("th", {}, t))), rows)),
    h("p", { class: "note" }, `The window is decoded again at the next temperature if the mean log-probability is below ${options.logprob_threshold} or the compression ratio (zlib) is above ${options.compression_ratio_threshold}. Temperatures: ${options.temperature instanceof Array ? options.temperature.join(", ") : options.temperature}.`),
    h("p", {}, "Silence: the no-speech probability is ", h("b", { class: "num", id: "no-speech", "data-value": data.meta.no_speech }, number(data.meta.no_speech ?? NaN)), ` (silence if it is above ${options.no_speech_threshold} and the mean log-probability is low): ${silence}.`),
    h("p", {}, "Seek: the next window starts at ", h("b", { id: "next-start", "data-value": decision.next_start }, seconds(decision.next_start)), ` (${decision.reason}).`),
  ];
}

function verdictOf({ attempts: all, skipped }, i) {
  const { failed } = all[i];
  const last = i === all.length - 1;
  if (!failed.length) return "passed; accepted";
  const words = `failed: ${failed.join(", ")}`;
  if (!last) return `${words}; decoded again`;
  return skipped ? `${words}; skipped as silence` : `${words}; accepted as the last attempt`;
}

function searchPart(data) {
  const search = data.meta.search;
  if (!search) return null;
  if (search.nodes.length) return [h("h3", {}, `Beam search with ${search.beam_size} beams`), tree(data, search), hypotheses(data, search)];
  if (search.kind === "sampling" && search.hypotheses.length === 1) return h("p", {}, h("b", {}, "Search: "), `one sample at temperature ${search.temperature}. Every token was drawn at random according to its probability, so there is one path and no tree.`);
  if (search.hypotheses.length > 1) return [h("h3", {}, `${search.hypotheses.length} samples at temperature ${search.temperature}, of which the best is used`), hypotheses(data, search)];
  return h("p", {}, h("b", {}, "Search: "), "greedy. The most probable token was taken at every step, so there is one path and no tree; beam_size=5 gives one.");
}

function tree(data, search) {
  // one column per step; the beams of a step are sorted, best first
  const [wide, tall] = [118, 21];
  const onBest = new Set();
  for (let n = search.best; n >= 0; n = search.nodes[n][1]) onBest.add(n);
  const places = [];
  const filled = [];
  search.nodes.forEach(([step, , , , , fate], n) => {
    filled[step] = filled[step] ?? 0;
    if (fate === 2 && filled[step] >= 2 * search.beam_size) return;
    places[n] = { x: 40 + step * wide, y: 16 + filled[step]++ * tall };
  });
  const root = { x: 6, y: 16 };
  const lines = [];
  const labels = [];
  search.nodes.forEach(([step, parent, token, logprob, total, fate], n) => {
    if (!places[n]) return;
    const from = parent < 0 ? root : places[parent];
    const start = parent < 0 ? root.x + 18 : from.x + 66;
    const group = { class: fate === 2 ? "dropped" : "" };
    lines.push(s("line", { ...group, class: `${group.class} ${onBest.has(n) ? "best" : ""}`, x1: start, y1: from.y, x2: places[n].x - 4, y2: places[n].y }));
    const text = visible(label(data, token));
    labels.push(s("text", { ...group, "data-step": step, "data-token": token, "data-total": total, "data-fate": fate, "data-best": onBest.has(n) ? "" : null, onclick: () => set({ step }), class: `${group.class} ${fate === 1 ? "end" : ""}`, x: places[n].x, y: places[n].y + 4, style: onBest.has(n) ? { fontWeight: 700, fill: "var(--text)" } : {} },
      s("title", {}, `step ${step + 1}: log p ${number(logprob)}, sum ${number(total)}, ${["kept", "ended", "dropped"][fate]}`), (text.length > 9 ? text.slice(0, 8) + "…" : text) + (fate === 1 ? " ■" : "")));
  });
  const here = 34 + state.step * wide;
  const width = 60 + (Math.max(...search.nodes.map((n) => n[0])) + 1) * wide;
  const height = 24 + Math.max(...filled) * tall;
  const frame = s("rect", { class: "column-here", x: here, y: 1, width: 82, height: height - 2, rx: 5 });
  const box = h("div", { class: "scroll card", tabindex: "0", role: "group", "aria-label": "tree of beams, scrolls horizontally" }, s("svg", { class: "tree", viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": `tree of ${search.nodes.length} continuations; the chosen text: ${chosenPath(data, search)}` }, frame, lines, s("text", { x: 2, y: 20 }, "▸"), labels));
  requestAnimationFrame(() => (box.scrollLeft = here - box.clientWidth / 2)); // keep the selected step visible
  return [box, h("p", { class: "note" }, "Each column is a step, with the largest sum of log-probabilities on top; the outline marks the selected step. Bold with thick lines: the chosen text. ■: ended. Pale: dropped, because others had larger sums. Hover over a token for its numbers; click it to go to its step.")];
}

function chosenPath(data, search) {
  const tokens = [];
  for (let n = search.best; n >= 0; n = search.nodes[n][1]) tokens.unshift(label(data, search.nodes[n][2]));
  return tokens.join("");
}

function hypotheses(data, search) {
  const rows = search.hypotheses.map(([tokens, total], i) => h("tr", { class: i === 0 ? "chosen" : "" }, h("td", { class: "num" }, i + 1), h("td", { class: "num" }, number(total)), h("td", { class: "num" }, number(search.scores[i].result)), h("td", {}, tokens.map((t) => label(data, t)).join(""))));
  return h("div", { class: "scroll" }, h("table", { id: "hypotheses" }, h("tr", {}, ["rank", "Σ log p", about().options.length_penalty == null ? "per token" : "score", "text"].map((t) => h("th", {}, t))), rows));
}

function windowsTable() {
  const rows = about().overview.map((w, i) => h("tr", { class: i === state.window ? "chosen" : "" },
    h("td", {}, h("button", { "data-window": i, onclick: () => openWindow(i) }, `window ${i + 1}`)), h("td", { class: "num" }, `${seconds(w.start)} to ${seconds(w.end)}`), h("td", {}, w.text || "–")));
  return h("div", { class: "scroll" }, h("table", {}, rows));
}

// --- two runs -----------------------------------------------------------------------------------------------------------

export function compareView() {
  const difference = state.difference;
  if (!difference) return [h("h2", {}, "Two runs side by side"), h("p", {}, "This page has one run. To add a second one: npwhisper glass talk.flac --against base.en, or npwhisper.glass(run, path, against=other).")];
  const [a, b] = state.runs.map((run) => run.about);
  return [
    h("h2", {}, `Two runs: ${a.label} and ${b.label}`),
    firstDifference(difference, a, b),
    h("h3", {}, "The text, word by word"),
    h("div", { class: "columns" }, [0, 1].map((side) => h("div", { class: "card grow", "data-side": side }, h("b", {}, [a, b][side].label), h("p", {}, difference.words.flatMap((pair) => [h("span", { class: pair.same ? "same" : "changed", title: pair[side].map((w) => `${w.start.toFixed(2)} s`).join(", ") }, pair[side].map((w) => w.word).join("")), " "]))))),
    h("p", { class: "note" }, wordsThatDiffer(difference)),
    h("h3", {}, "Step by step, in this window"), stepsBeside(difference),
  ];
}

function wordsThatDiffer({ words: pieces }) {
  const n = pieces.filter((pair) => !pair.same).length;
  return `${n === 0 ? "All words are the same" : n === 1 ? "One place differs; it is marked and underlined" : `${n} places differ; they are marked and underlined`}. Hover over a word for its time.`;
}

function firstDifference(difference, a, b) {
  const { activation: first, token } = difference;
  const value = !first ? h("p", {}, "The two models have different shapes, so their values cannot be compared one by one.")
    : first.name ? h("p", {}, "First value that differs: ", h("b", { id: "first-activation", class: "num" }, first.name), `, relative difference ${number(first.by)}. `, h("button", { onclick: () => set({ box: first.name }) }, "open"), ` All ${first.equal} values before it agree.`)
    : h("p", {}, `All ${first.equal} sampled values of the first window agree.`);
  const step = token ? h("p", {}, "First token that differs: ", h("button", { id: "first-token", onclick: () => openWindow(token.window, token.step) }, `window ${token.window + 1}, step ${token.step + 1}`), ": ", h("span", { class: "tok" }, visible(token.texts[0])), ` in ${a.label}, `, h("span", { class: "tok" }, visible(token.texts[1])), ` in ${b.label}.`) : h("p", { id: "no-difference" }, "Both runs chose the same tokens throughout.");
  return h("div", { class: "card" }, value, step);
}

function stepsBeside(difference) {
  const both = state.runs.map((run) => run.windows[Math.min(state.window, run.windows.length - 1)]);
  if (both.some((data) => !data)) return h("p", { class: "note" }, "…");
  const n = Math.max(...both.map((data) => stepsOf(data).length));
  const rows = Array.from({ length: n }, (_, i) => {
    const cells = both.map((data) => stepsOf(data)[i]);
    const same = cells[0] && cells[1] && label(both[0], cells[0].chosen) === label(both[1], cells[1].chosen);
    const show = (step, data) => (step ? [h("td", {}, h("span", { class: "tok" }, visible(label(data, step.chosen)))), h("td", { class: "num" }, percent(Math.exp(step.logprob)))] : [h("td", {}, "–"), h("td", {}, "")]);
    return h("tr", { class: same ? "" : "changed" }, h("td", { class: "num" }, h("button", { onclick: () => set({ step: Math.min(i, stepsOf(current()).length - 1) }) }, i + 1)), show(cells[0], both[0]), show(cells[1], both[1]), h("td", {}, same ? "" : "differs"));
  });
  const [a, b] = state.runs.map((run) => run.about.label);
  return h("div", { class: "scroll" }, h("table", { id: "beside" }, h("tr", {}, ["step", a, "", b, "", ""].map((t) => h("th", {}, t))), rows));
}
