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
