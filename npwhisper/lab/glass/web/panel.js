// The open box: formula, shapes, source code, and one number recomputed from those of this run.
import { h } from "./dom.js";
import { RULES, about, current, set, state } from "./state.js";
import { cell } from "./cells.js";
import { boxOfStep } from "./choices.js";

export function drawPanel() {
  const name = state.box;
  if (!name) return [];
  const data = current();
  const box = data.meta.boxes?.[name] ?? boxOfStep(data, name);
  const functionName = box?.function ?? name.split(".").at(-1);
  const entry = FUNCTIONS()[functionName] ?? FUNCTIONS()[aliases[functionName]];
  return [
    h("button", { class: "close", "aria-label": "close this box", title: "Escape", onclick: () => set({ box: null }) }, "✕"),
    h("h2", { id: "box-name", tabindex: "-1" }, name),
    entry ? h("p", {}, entry.says) : null,
    entry ? h("div", { class: "formula", id: "formula" }, entry.formula) : null,
    h("h3", {}, "Shapes"),
    shapes(entry, box),
    box ? [h("h3", {}, "One number, recomputed"), h("p", { class: "note" }, `At ${box.where}.`), cell(data, box.cell)] : null,
    parts(data, name),
    entry ? [h("h3", {}, "Source"), h("p", { class: "note" }, entry.file), h("pre", { tabindex: "0", "aria-label": `source of ${functionName}` }, entry.source)] : null,
  ];
}

const aliases = { mel: "compress" };

function FUNCTIONS() {
  return state.functions;
}

function shapes(entry, box) {
  const rows = [];
  if (entry) rows.push(["symbolic", entry.shapes]);
  if (box) rows.push(["this run", `→ (${box.output.join(", ")})`]);
  for (const [name, shape] of Object.entries(box?.weights ?? {})) rows.push([name, `(${shape.join(", ")})`]);
  const { n_audio_state: d, n_audio_head: heads, n_vocab: v } = about().model.dims;
  return [
    h("table", {}, rows.map(([key, value]) => h("tr", {}, h("td", {}, key), h("td", { class: "num", style: { textAlign: "left", whiteSpace: "normal" } }, value)))),
    h("p", { class: "note" }, `B windows or beams, T text positions, S audio positions (1500), model width D = ${d}, heads H = ${heads}, head width K = ${d / heads}, vocabulary V = ${v}`),
  ];
}

function parts(data, name) {
  // the parts of the box, and what it is part of
  const names = Object.keys(data.meta.boxes ?? {});
  const inside = names.filter((other) => other.startsWith(name + "."));
  const open = (other) => h("button", { onclick: () => set({ box: other }), "data-box": other, style: { margin: "2px", fontSize: "12.5px" } }, other.slice(common(name, other)));
  const around = names.filter((other) => name.startsWith(other + ".")).slice(-1);
  const related = RELATED[name] ?? (/^decoder\.blocks\.\d+$/.test(name) ? ["KeyValues", "causal_mask", "start_cache"] : []);
  return [
    around.length ? h("p", {}, "part of ", around.map((other) => h("button", { onclick: () => set({ box: other }), "data-box": other }, other))) : null,
    inside.length ? [h("h3", {}, "Inside"), h("div", {}, inside.map(open))] : null,
    related.length ? [h("h3", {}, "See also"), h("div", {}, related.map((other) => h("button", { onclick: () => set({ box: other }), "data-box": other, style: { margin: "2px" } }, other)))] : null,
  ];
}

function common(name, other) {
  return other.startsWith(name + ".") ? name.length + 1 : 0;
}

const RELATED = {
  mel: ["stft", "mel_filters", "compress"],
  "encoder.conv1": ["encoder.gelu"],
  "encoder.conv2": ["encoder.gelu"],
  "decoder.logits": ["log_softmax"],
  apply_timestamp_rules: [...RULES.slice(0, -1), "log_softmax"],
  greedy_search: ["beam_search", "sample", "rank", "split_at_timestamps"],
  beam_search: ["greedy_search", "sample", "rank", "split_at_timestamps"],
  sample: ["greedy_search", "beam_search", "rank", "split_at_timestamps"],
  find_alignment: ["standardise", "median_filter", "token_map", "dtw", "backtrace"],
};
