// A box, opened: formula, shapes, source, and one cell computed with the numbers of this run.
import { h, number, s, visible } from "./dom.js";
import { about, current, label, set, state } from "./state.js";

export function drawPanel() {
  const name = state.box;
  if (!name) return [];
  const data = current();
  const box = data.meta.boxes?.[name];
  const functionName = box?.function ?? name.split(".").at(-1);
  const entry = FUNCTIONS()[functionName] ?? FUNCTIONS()[aliases[functionName]];
  return [
    h("button", { class: "close", "aria-label": "close this box", title: "Escape", onclick: () => set({ box: null }) }, "✕"),
    h("h2", { id: "box-name" }, name),
    entry ? h("p", {}, entry.says) : null,
    entry ? h("div", { class: "formula", id: "formula" }, entry.formula) : null,
    h("h3", {}, "Shapes"),
    shapes(entry, box),
    box ? [h("h3", {}, "One cell, computed"), h("p", { class: "note" }, `At ${box.where}.`), cell(data, box.cell)] : null,
    parts(data, name),
    entry ? [h("h3", {}, "Source"), h("p", { class: "note" }, entry.file), h("pre", { tabindex: "0", "aria-label": `source of ${functionName}` }, entry.source)] : null,
  ];
}

const aliases = { mel: "compress", attn: "self_attention", cross_attn: "cross_attention", kv_cache: "KeyValues" };

function FUNCTIONS() {
  return state.functions;
}

function shapes(entry, box) {
  const rows = [];
  if (entry) rows.push(["in letters", entry.shapes]);
  if (box) rows.push(["here", `→ (${box.output.join(", ")})`]);
  for (const [name, shape] of Object.entries(box?.weights ?? {})) rows.push([name, `(${shape.join(", ")})`]);
  const { n_audio_state: d, n_audio_head: heads, n_vocab: v } = about().model.dims;
  return [
    h("table", {}, rows.map(([key, value]) => h("tr", {}, h("td", {}, key), h("td", { class: "num", style: { textAlign: "left" } }, value)))),
    h("p", { class: "note" }, `B windows or beams, T text positions, S audio positions (1500), D = ${d} wide, H = ${heads} heads, K = ${d / heads}, V = ${v} tokens`),
  ];
}

function parts(data, name) {
  // what the box is made of, or belongs to
  const names = Object.keys(data.meta.boxes ?? {});
  const inside = names.filter((other) => other.startsWith(name + "."));
  const open = (other) => h("button", { onclick: () => set({ box: other }), "data-box": other, style: { margin: "2px", fontSize: "12.5px" } }, other.slice(common(name, other)));
  const around = names.filter((other) => name.startsWith(other + ".")).slice(-1);
  const related = RELATED[name] ?? [];
  return [
    around.length ? h("p", {}, "part of ", around.map((other) => h("button", { onclick: () => set({ box: other }), "data-box": other }, other))) : null,
    inside.length ? [h("h3", {}, "Inside"), h("div", {}, inside.map(open))] : null,
    related.length ? [h("h3", {}, "See too"), h("div", {}, related.map((other) => h("button", { onclick: () => set({ box: other }), "data-box": other, style: { margin: "2px" } }, other)))] : null,
  ];
}

function common(name, other) {
  return other.startsWith(name + ".") ? name.length + 1 : 0;
}

const RULE_NAMES = ["penalize_repetition", "forbid_repeated_ngrams", "suppress_blank", "suppress_tokens", "apply_timestamp_rules", "log_softmax"];
const RELATED = {
  mel: ["stft", "mel_filters"],
  "encoder.conv1": ["encoder.gelu"],
  "encoder.conv2": ["encoder.gelu"],
  "decoder.logits": ["log_softmax"],
  apply_timestamp_rules: RULE_NAMES.filter((name) => name !== "apply_timestamp_rules"),
  beam_search: ["greedy_search", "sample", "rank", "cut_at_timestamps"],
  find_alignment: ["standardise", "median_filter", "token_map", "dtw", "backtrace"],
  cross_attention: ["attend", "scores", "softmax", "start_cache"],
  KeyValues: ["start_cache", "causal_mask", "self_attention"],
};

// --- the worked examples ------------------------------------------------------------------------------------------

function cell(data, c) {
  const make = { dot, mel: dot, norm, softmax, gelu, add, lookup, median, mean, standardised, dtw }[c.kind];
  return h("div", { class: "card worked", "data-kind": c.kind }, make(data, c), c.recorded === undefined ? null : verdict(c));
}

function verdict(c) {
  const agrees = Math.abs(c.result - c.recorded) <= 1e-3 * Math.max(1, Math.abs(c.recorded));
  return h(
    "p",
    { class: "cell-result" },
    `computed ${number(c.result)} · recorded `, h("b", { "data-recorded": c.recorded, title: String(c.recorded) }, number(c.recorded)), " ",
    h("span", { class: agrees ? "check" : "differs" }, agrees ? "✓ the same" : "✗ not the same: this layer was replaced"),
  );
}

function line(...parts) {
  return h("p", { class: "num", style: { overflowWrap: "anywhere" } }, ...parts);
}

function dot(data, c) {
  const [a, b] = [data.arrays[c.a], data.arrays[c.b]];
  const products = Array.from(a, (x, i) => x * b[i]);
  const order = products.map((_, i) => i).sort((i, j) => Math.abs(products[j]) - Math.abs(products[i]));
  const rows = order.slice(0, 6).map((i) => h("tr", {}, [i, number(a[i]), number(b[i]), number(products[i])].map((x) => h("td", { class: "num" }, x))));
  const head = ["i", c.labels[0], c.labels[1], "product"].map((x) => h("th", { class: "num" }, x));
  let end = [c.scale !== 1 ? ` · ${number(c.scale)} (1/√K)` : "", c.bias ? ` + bias ${number(c.bias)}` : "", ` = ${number(c.result)}`].join("");
  if (c.kind === "mel") end = ` → log₁₀ = ${number(c.log)} → (… + 4) / 4 = ${number(c.result)}`;
  return [
    h("p", { class: "note" }, `the ${a.length} products, and their running sum; the six largest:`), running(products),
    h("div", { class: "scroll" }, h("table", {}, h("tr", {}, head), rows)),
    line(`Σ of ${a.length} products = ${number(c.sum)}`, end),
  ];
}

function running(products) {
  const sums = [];
  products.reduce((sum, x) => (sums.push(sum + x), sum + x), 0);
  const reach = Math.max(...products.map(Math.abs), ...sums.map(Math.abs)) || 1;
  const y = (v) => 40 - (v / reach) * 36;
  const w = 320 / products.length;
  const bars = products.map((v, i) => s("rect", { class: v > 0 ? "plus" : "minus", x: i * w, width: Math.max(w, 0.6), y: Math.min(y(v), 40), height: Math.abs(y(v) - 40) }));
  const path = sums.map((v, i) => `${(i + 0.5) * w},${y(v).toFixed(2)}`).join(" ");
  const sumLine = s("polyline", { points: path, fill: "none", style: { stroke: "var(--mark)" }, "stroke-width": 2 });
  return s("svg", { class: "chart", viewBox: "0 0 320 80", style: { width: "100%" }, role: "img", "aria-label": "products and their running sum" }, bars, s("line", { x1: 0, x2: 320, y1: 40, y2: 40, stroke: "currentColor", "stroke-width": 0.4 }), sumLine);
}

function row(data, name, at) {
  const x = data.arrays[name];
  const reach = Math.max(...Array.from(x, Math.abs)) || 1;
  const w = 320 / x.length;
  const bars = Array.from(x, (v, i) => s("rect", { class: i === at ? "kept" : v > 0 ? "plus" : "minus", x: i * w, width: Math.max(w, i === at ? 2 : 0.5), y: 30 - Math.max(0, (v / reach) * 28), height: Math.abs((v / reach) * 28), style: i === at ? { fill: "var(--mark)" } : {} }));
  return s("svg", { class: "chart", viewBox: "0 0 320 60", style: { width: "100%" }, role: "img", "aria-label": `a row of ${x.length} numbers` }, bars);
}

function norm(data, c) {
  return [row(data, c.x, c.at), line(`x[${c.at}] = ${number(c.value)}; mean ${number(c.mean)}, variance ${number(c.variance)} of ${data.arrays[c.x].length} features`), line(`(${number(c.value)} − ${number(c.mean)}) / √(${number(c.variance)} + 0.00001) · ${number(c.gamma)} + ${number(c.beta)} = ${number(c.result)}`)];
}

function softmax(data, c) {
  return [row(data, c.x, c.at), line(`score ${number(c.value)}, the largest ${number(c.largest)}`), line(`exp(${number(c.value)} − ${number(c.largest)}) / Σ exp = ${number(Math.exp(c.value - c.largest))} / ${number(c.total)} = ${number(c.result)}`)];
}

function gelu(data, c) {
  return line(`${number(c.x)} · Φ(${number(c.x)}) = ${number(c.x)} · ${number(c.phi)} = ${number(c.result)}`);
}

function add(data, c) {
  return line(c.terms.map((t) => `${number(t.value)} (${t.label})`).join(" + "), ` = ${number(c.result)}`);
}

function lookup(data, c) {
  return [row(data, c.x, -1), line(`row ${c.row} of the table, the token ${visible(label(data, c.row))}: ${Array.from(data.arrays[c.x].slice(0, 4), number).join(", ")}, …`)];
}

function median(data, c) {
  return line(`the middle one of ${[...data.arrays[c.x]].sort((a, b) => a - b).map(number).join(", ")} = ${number(c.result)}`);
}

function mean(data, c) {
  return line(`the mean over ${data.arrays[c.x].length} heads of ${Array.from(data.arrays[c.x], number).join(", ")} = ${number(c.result)}`);
}

function standardised(data, c) {
  return [row(data, c.x, c.at), line(`(${number(c.value)} − ${number(c.mean)}) / ${number(c.std)} = ${number(c.result)}`)];
}

function dtw(data, c) {
  return line(`own ${number(c.own)} + min(corner ${number(c.corner)}, above ${number(c.above)}, left ${number(c.left)}) = ${number(c.result)}`);
}
