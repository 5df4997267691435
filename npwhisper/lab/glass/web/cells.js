// Worked examples: one number of a box, recomputed in Python; the page prints the calculation.
import { h, line, number, s, seconds, visible } from "./dom.js";
import { label } from "./state.js";
import { logSoftmax, meanLogprob, rule, sum } from "./choices.js";

const KINDS = { dot, mel: dot, norm, softmax, gelu, add, lookup, median, mean, standardised, dtw, path, power, triangle, time, split, mask, rule, sum, log_softmax: logSoftmax, mean_logprob: meanLogprob };

export function cell(data, c) {
  const make = KINDS[c.kind];
  return h("div", { class: "card worked", "data-kind": c.kind }, make(data, c), c.recorded === undefined ? null : verdict(c));
}

function verdict(c) {
  const [computed, recorded] = [c.result, c.recorded].map(printed);
  const agrees = Array.isArray(c.result) || c.result === null || c.recorded === null ? computed === recorded : Math.abs(c.result - c.recorded) <= 1e-3 * Math.max(1, Math.abs(c.recorded));
  return h(
    "p",
    { class: "cell-result" },
    `computed ${computed} · recorded `, h("b", { "data-recorded": c.recorded ?? "-Infinity", title: String(c.recorded ?? "−∞") }, recorded), " ",
    h("span", { class: agrees ? "check" : "differs" }, agrees ? "✓ equal" : "✗ different: this layer was swapped"),
  );
}

function printed(x) {
  // a number, an index, or null for minus infinity
  return Array.isArray(x) ? `(${x.join(", ")})` : number(x ?? -Infinity);
}

function dot(data, c) {
  const [a, b] = [data.arrays[c.a], data.arrays[c.b]];
  const products = Array.from(a, (x, i) => x * b[i]);
  const order = products.map((_, i) => i).sort((i, j) => Math.abs(products[j]) - Math.abs(products[i]));
  const rows = order.slice(0, 6).map((i) => h("tr", {}, [i, number(a[i]), number(b[i]), number(products[i])].map((x) => h("td", { class: "num" }, x))));
  const head = ["i", c.labels[0], c.labels[1], "product"].map((x) => h("th", { class: "num" }, x));
  let end = [c.scale !== 1 ? ` · ${number(c.scale)} (1/√K)` : "", c.bias ? `${added(c.bias)} (bias)` : ""].join("");
  if (end) end += ` = ${number(c.result)}`;
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
  return [row(data, c.x, c.at), line(`x[${c.at}] = ${number(c.value)}; mean ${number(c.mean)}, variance ${number(c.variance)} of ${data.arrays[c.x].length} features`), line(`(${number(c.value)} − ${number(c.mean)}) / √(${number(c.variance)} + 0.00001) · ${number(c.gamma)}${added(c.beta)} = ${number(c.result)}`)];
}

function softmax(data, c) {
  return [row(data, c.x, c.at), line(`score ${number(c.value)}, the largest ${number(c.largest)}`), line(`exp(${number(c.value)} − ${number(c.largest)}) / Σ exp = ${number(Math.exp(c.value - c.largest))} / ${number(c.total)} = ${number(c.result)}`)];
}

function gelu(data, c) {
  return line(`${number(c.x)} · Φ(${number(c.x)}) = ${number(c.x)} · ${number(c.phi)} = ${number(c.result)}`);
}

function add(data, c) {
  const terms = c.terms.map((t, i) => `${i ? added(t.value) : number(t.value)} (${t.label})`);
  return line(terms.join(""), ` = ${number(c.result)}`);
}

function added(x) {
  // a term of a sum after the first
  return x < 0 ? ` − ${number(-x)}` : ` + ${number(x)}`;
}

function lookup(data, c) {
  return [row(data, c.x, -1), line(`row ${c.row} of the table, the token ${visible(label(data, c.row))}: ${Array.from(data.arrays[c.x].slice(0, 4), number).join(", ")}, …`)];
}

function median(data, c) {
  return line(`the median of ${[...data.arrays[c.x]].sort((a, b) => a - b).map(number).join(", ")} = ${number(c.result)}`);
}

function mean(data, c) {
  return line(`the mean over ${data.arrays[c.x].length} heads of ${Array.from(data.arrays[c.x], number).join(", ")} = ${number(c.result)}`);
}

function standardised(data, c) {
  return [row(data, c.x, c.at), line(`(${number(c.value)} − ${number(c.mean)}) / ${number(c.std)} = ${number(c.result)}`)];
}

function dtw(data, c) {
  return line(`own ${number(c.own)} + min(diagonal ${number(c.corner)}, above ${number(c.above)}, left ${number(c.left)}) = ${number(c.result)}`);
}

function path(data, c) {
  return line(`diagonal ${number(c.corner)}, above ${number(c.above)}, left ${number(c.left)}: backtracking goes diagonally or up only if that is strictly cheapest, otherwise left; here to row and frame (${c.result.join(", ")})`);
}

function power(data, c) {
  return [h("p", { class: "note" }, `the ${data.arrays[c.x].length} samples of the frame, times the Hann window:`), row(data, c.x, -1), line(`Σ x·cos = ${number(c.real)}, −Σ x·sin = ${number(c.imaginary)} at ${c.at} cycles per frame`), line(`${number(c.real)}² + ${number(c.imaginary)}² = ${number(c.result)}`)];
}

function triangle(data, c) {
  return [line(`frequency ${c.at} is ${number(c.hz)} Hz; the filter rises from ${number(c.left)} to ${number(c.centre)} Hz and falls to ${number(c.right)} Hz`), line(`min((f − left) / (centre − left), (right − f) / (right − centre)) · 2 / (right − left) = ${number(c.result)}`)];
}

function time(data, c) {
  return line(`the path enters the rows of “${c.word.trim()}” at frame ${c.frame}: ${seconds(c.offset)} + ${c.frame} · 0.02 s = ${seconds(c.result)}`);
}

function mask(data, c) {
  if (c.queries === 1) return line(`one query, at position ${c.keys - 1} of ${c.keys}: no position is later, so no mask is needed`);
  const before = c.keys - c.queries;
  return [line(`${c.queries} queries, ${c.keys} keys, so query ${c.row} is at position ${c.row}${before ? ` + ${before} = ${c.row + before}` : ""}`), line(`0 for the ${c.seen} positions from 0 to ${c.row + before}, −∞ from ${c.column} on: ${c.column} > ${c.row + before}`)];
}

function split(data, c) {
  return [line(`${label(data, c.token)} is token ${c.token}: ${seconds(c.offset)} + (${c.token} − ${c.begin}) · 0.02 s = ${seconds(c.result)}`), c.recorded === undefined ? h("p", { class: "note" }, `The word times then moved the end to ${seconds(c.end)}.`) : null];
}
