// View: word times, stage by stage.
import { h, number, s, seconds, visible } from "./dom.js";
import { melPicture, picture } from "./canvas.js";
import { about, current, set, state } from "./state.js";
import { axis, lane, length, sayWord, words } from "./sound.js";
import { openers } from "./grid.js";

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
