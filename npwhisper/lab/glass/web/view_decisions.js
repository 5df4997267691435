// View: the decisions for a window, and its search.
import { h, number, s, seconds, visible } from "./dom.js";
import { about, current, label, set, state } from "./state.js";
import { openers } from "./grid.js";
import { openWindow } from "./loading.js";

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

const [WIDE, TALL] = [118, 21]; // of a node of the tree, in pixels

function tree(data, search) {
  // one column per step; the beams of a step are sorted, best first
  const places = placesOf(search);
  const best = bestPath(search);
  const drawn = search.nodes.map((_, n) => n).filter((n) => places[n]);
  const lines = drawn.map((n) => treeLine(search.nodes[n], places, n, best.includes(n)));
  const labels = drawn.map((n) => treeLabel(data, search.nodes[n], places[n], best.includes(n)));
  const width = 60 + (Math.max(...search.nodes.map((node) => node[0])) + 1) * WIDE;
  const height = 8 + Math.max(...drawn.map((n) => places[n].y)) + TALL;
  const here = 34 + state.step * WIDE;
  const frame = s("rect", { class: "column-here", x: here, y: 1, width: 82, height: height - 2, rx: 5 });
  const text = best.map((n) => label(data, search.nodes[n][2])).join("");
  const drawing = s("svg", { class: "tree", viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": `tree of ${search.nodes.length} continuations; the chosen text: ${text}` }, frame, lines, s("text", { x: 2, y: 20 }, "▸"), labels);
  const box = h("div", { class: "scroll card", tabindex: "0", role: "group", "aria-label": "tree of beams, scrolls horizontally" }, drawing);
  requestAnimationFrame(() => (box.scrollLeft = here - box.clientWidth / 2)); // keep the selected step visible
  return [box, h("p", { class: "note" }, "Each column is a step, with the largest sum of log-probabilities on top; the outline marks the selected step. Bold with thick lines: the chosen text. ■: ended. Pale: dropped, because others had larger sums. Hover over a token for its numbers; click it to go to its step.")];
}

function placesOf(search) {
  // where each node is drawn; of the dropped ones only as many as fit
  const places = [];
  const filled = [];
  search.nodes.forEach(([step, , , , , fate], n) => {
    filled[step] = filled[step] ?? 0;
    if (fate === 2 && filled[step] >= 2 * search.beam_size) return;
    places[n] = { x: 40 + step * WIDE, y: 16 + filled[step]++ * TALL };
  });
  return places;
}

function bestPath(search) {
  // the nodes of the chosen text
  const path = [];
  for (let n = search.best; n >= 0; n = search.nodes[n][1]) path.unshift(n);
  return path;
}

function treeLine([, parent, , , , fate], places, n, isBest) {
  const start = parent < 0 ? { x: 24, y: 16 } : { x: places[parent].x + 66, y: places[parent].y };
  return s("line", { class: `${fate === 2 ? "dropped" : ""} ${isBest ? "best" : ""}`, x1: start.x, y1: start.y, x2: places[n].x - 4, y2: places[n].y });
}

function treeLabel(data, [step, , token, logprob, total, fate], { x, y }, isBest) {
  const text = visible(label(data, token));
  const numbers = `step ${step + 1}: log p ${number(logprob)}, sum ${number(total)}, ${["kept", "ended", "dropped"][fate]}`;
  return s("text", { "data-step": step, "data-token": token, "data-total": total, "data-fate": fate, "data-best": isBest ? "" : null, onclick: () => set({ step }), class: `${fate === 2 ? "dropped" : ""} ${fate === 1 ? "end" : ""}`, x, y: y + 4, style: isBest ? { fontWeight: 700, fill: "var(--text)" } : {} },
    s("title", {}, numbers), (text.length > 9 ? text.slice(0, 8) + "…" : text) + (fate === 1 ? " ■" : ""));
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
