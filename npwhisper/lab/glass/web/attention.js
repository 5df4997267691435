// Cross-attention at one step: the weights of a head, drawn over the spectrogram, and the head that follows the audio best.
import { s } from "./dom.js";
import { length } from "./sound.js";

export function visibleColumns(data) {
  const columns = data.arrays["cross/levels"].shape[3];
  return Math.max(2, Math.min(columns, Math.ceil((columns * length()) / 30)));
}

export function rowOf(data, step, layer, head) {
  const levels = data.arrays["cross/levels"];
  const [, layers, heads, columns] = levels.shape;
  const at = ((step * layers + layer) * heads + head) * columns;
  return levels.subarray(at, at + columns);
}

export function exactMax(data, step, layer, head) {
  const max = data.arrays["cross/max"];
  const at = (step * max.shape[1] + layer) * max.shape[2] + head;
  return { value: max[at], position: data.arrays["cross/at"][at] };
}

export function attentionLine(data, step, layer, head) {
  const n = visibleColumns(data);
  const row = rowOf(data, step, layer, head).subarray(0, n);
  const points = Array.from(row, (v, i) => `${i + 0.5},${(100 - (v / 255) * 94).toFixed(1)}`);
  return s("svg", { class: "over", viewBox: `0 0 ${n} 100`, preserveAspectRatio: "none", "aria-hidden": "true" }, s("polygon", { class: "attention-line", points: `0,100 ${points.join(" ")} ${n},100` }));
}

export function bestHead(data) {
  // the head whose largest weight follows the steps best
  const all = (data.meta.follows ?? [[0]]).flatMap((row, layer) => row.map((r, head) => ({ r, layer, head })));
  const { layer, head } = all.reduce((a, b) => (b.r > a.r ? b : a));
  return { layer, head };
}
