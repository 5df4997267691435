// View: the self-attention of the encoder, and the norm of its residual stream.
import { h, number, seconds } from "./dom.js";
import { picture } from "./canvas.js";
import { about, current, set, state } from "./state.js";
import { length } from "./sound.js";
import { headGrid, openers } from "./grid.js";

const zoom = { factor: 1, query: 0, key: 0 };

export function encoderView() {
  const data = current();
  const { n_audio_layer: layers, n_audio_head: heads } = about().model.dims;
  const layer = Math.min(state.layer, layers - 1);
  const head = Math.min(state.head, heads - 1);
  return [
    h("h2", {}, "The encoder: self-attention over the sound"),
    h("p", { class: "lead" }, "Each map shows how much every position of the sound (rows, 20 ms each) attends to every other (columns). Many heads attend to nearby positions: the diagonal. Select a head, and zoom in to full resolution."),
    h("div", { class: "columns" },
      h("div", { class: "grow" }, headGrid(layers, heads, layer, head, (l, k) => encoderThumbnail(data, l, k), () => "", { square: true })),
      h("div", { class: "card large-map" }, encoderLarge(data, layer, head)),
    ),
    h("h3", {}, "The residual stream: the norm of each position's vector after each block"),
    normsPicture(data),
    openers("Inside this block", [`encoder.blocks.${layer}`, `encoder.blocks.${layer}.attn.scores`, `encoder.blocks.${layer}.attn.softmax`, `encoder.blocks.${layer}.mlp.0`]),
  ];
}

function encoderThumbnail(data, layer, head) {
  const maps = data.arrays["encoder/maps"];
  const [, heads, side] = maps.shape;
  const n = Math.max(2, Math.ceil((side * length()) / 30));
  const base = (layer * heads + head) * side * side;
  return picture(n, n, (x, y) => stretched(maps[base + y * side + x]), { label: `self-attention of block ${layer}, head ${head}` });
}

function stretched(level) {
  return Math.sqrt(level / 255) * 255; // makes small weights visible, as the note below the image says
}

function encoderLarge(data, layer, head) {
  const part = visiblePart(data);
  const canvas = picture(part.span, part.span, levelOf(data, layer, head, part), { label: `block ${layer}, head ${head}; arrow keys move, plus and minus zoom` });
  Object.assign(canvas.style, { aspectRatio: "1", cursor: "zoom-in" });
  canvas.tabIndex = 0;
  canvas.dataset.key = "encoder-map";
  canvas.addEventListener("click", (event) => zoomTo(zoom.factor * 2, part, part.q0 + (event.offsetY / canvas.clientHeight) * part.span, part.k0 + (event.offsetX / canvas.clientWidth) * part.span));
  canvas.addEventListener("keydown", (event) => onMapKey(event, part));
  const time = (position) => seconds(data.meta.start + position * 0.02);
  return [
    h("div", { class: "row", style: { display: "flex", justifyContent: "space-between", alignItems: "center" } },
      h("b", {}, `block ${layer}, head ${head}`),
      h("span", {}, h("button", { "data-key": "out", "aria-label": "zoom out", onclick: () => zoomTo(zoom.factor / 2, part) }, "−"), ` ${zoom.factor}× `, h("button", { "data-key": "in", "aria-label": "zoom in", onclick: () => zoomTo(zoom.factor * 2, part) }, "+"))),
    h("div", { class: "axis" }, h("span", {}, `attends to → ${time(part.k0)}`), h("span", {}, time(part.k0 + part.span))),
    canvas,
    h("div", { class: "axis" }, h("span", {}, `↑ position ${time(part.q0)} (top) to ${time(part.q0 + part.span)} (bottom)`)),
    h("p", { class: "note" }, mapNote(data, layer, head, part.pool)),
  ];
}

function visiblePart(data) {
  // the square of positions that is drawn, and how many of them one cell of the pooled map holds
  const [, , side] = data.arrays["encoder/maps"].shape;
  const total = about().model.dims.n_audio_ctx;
  const audible = Math.max(2, Math.ceil((total * length()) / 30));
  const span = Math.max(8, Math.round(audible / zoom.factor));
  const from = (x) => Math.max(0, Math.min(audible - span, x));
  const [q0, k0] = [(zoom.query = from(zoom.query)), (zoom.key = from(zoom.key))];
  return { audible, span, q0, k0, side, pool: Math.ceil(total / side) };
}

function levelOf(data, layer, head, part) {
  // the colour of a cell: the mean of its square; zoomed in, its own weight if that is large
  const { span, q0, k0, side, pool } = part;
  const maps = data.arrays["encoder/maps"];
  const map = layer * maps.shape[1] + head;
  const largest = data.arrays["encoder/largest"][map];
  const exact = zoom.factor > 1 ? peaksOf(data, layer, head, part) : null;
  const scaleTo = exact ? data.meta.peaks[layer].largest : largest;
  return (x, y) => {
    const square = Math.floor((q0 + y) / pool) * side + Math.floor((k0 + x) / pool);
    const mean = (maps[map * side * side + square] / 255) * largest;
    const value = exact ? (exact.weights.get(y * span + x) ?? rest(mean, exact.squares.get(square), pool * pool)) : mean;
    return stretched(Math.min(1, value / scaleTo) * 255);
  };
}

function zoomTo(factor, { audible, span }, q = zoom.query + span / 2, k = zoom.key + span / 2) {
  // around the position (q, k)
  zoom.factor = Math.max(1, Math.min(32, factor));
  const next = Math.max(8, Math.round(audible / zoom.factor));
  [zoom.query, zoom.key] = [Math.round(q - next / 2), Math.round(k - next / 2)];
  set({});
}

function onMapKey(event, part) {
  const step = Math.max(1, Math.round(part.span / 4));
  const moves = { ArrowUp: [-step, 0], ArrowDown: [step, 0], ArrowLeft: [0, -step], ArrowRight: [0, step] };
  if (moves[event.key]) [zoom.query, zoom.key] = [part.q0 + moves[event.key][0], part.k0 + moves[event.key][1]];
  else if (event.key === "+" || event.key === "-") return zoomTo(zoom.factor * (event.key === "+" ? 2 : 0.5), part);
  else return;
  event.preventDefault();
  event.stopPropagation();
  set({});
}

function mapNote(data, layer, head, pool) {
  const { threshold, largest: peak } = data.meta.peaks[layer];
  const largest = data.arrays["encoder/largest"][layer * data.arrays["encoder/maps"].shape[1] + head];
  return zoom.factor > 1
    ? `Full resolution, 20 ms per cell, for weights of at least ${threshold} (8 bits of ${number(peak)}); smaller weights are drawn as the mean of the others in their ${pool} × ${pool} cells. Colour shows the square root of the weight.`
    : `Means over ${pool} × ${pool} positions, 8 bits of ${number(largest)}. Colour shows the square root of the weight. Click to zoom in.`;
}

function rest(mean, square, cells) {
  // the mean of a square without its large weights, which are drawn separately
  return square ? Math.max(0, mean * cells - square.sum) / Math.max(1, cells - square.n) : mean;
}

function peaksOf(data, layer, head, { q0, k0, span, pool, side }) {
  // the large weights in the visible part by cell, and their sum and number in each square of the pooled map
  const [counts, keys, values] = ["counts", "keys", "values"].map((n) => data.arrays[`peaks/${layer}/${n}`]);
  const total = counts.shape[1];
  const { largest } = data.meta.peaks[layer];
  const [from, to] = [Math.floor(q0 / pool) * pool, Math.min(total, Math.ceil((q0 + span) / pool) * pool)];
  let at = 0;
  for (let i = 0; i < head * total + from; i++) at += counts[i];
  const found = { weights: new Map(), squares: new Map() };
  for (let q = from; q < to; q++) {
    for (let n = counts[head * total + q]; n > 0; n--, at++) {
      const weight = (values[at] / 255) * largest;
      const key = Math.floor(q / pool) * side + Math.floor(keys[at] / pool);
      const square = found.squares.get(key) ?? { sum: 0, n: 0 };
      found.squares.set(key, { sum: square.sum + weight, n: square.n + 1 });
      const [y, x] = [q - q0, keys[at] - k0];
      if (y >= 0 && y < span && x >= 0 && x < span) found.weights.set(y * span + x, weight);
    }
  }
  return found;
}

function normsPicture(data) {
  const norms = data.arrays["encoder/norms"];
  const [layers, total] = norms.shape;
  const n = Math.max(2, Math.ceil((total * length()) / 30));
  const [smallest, largest] = [Math.min(...norms), Math.max(...norms)].map(Math.log);
  const rows = [];
  for (let l = layers - 1; l >= 0; l--) {
    const strip = picture(n, 1, (x) => ((Math.log(norms[l * total + x]) - smallest) / (largest - smallest || 1)) * 255, { label: `norms after block ${l}` });
    strip.style.height = "18px";
    const mean = norms.subarray(l * total, l * total + n).reduce((a, b) => a + b, 0) / n;
    rows.push(h("div", { class: "side note" }, `block ${l}`), strip, h("div", { class: "num note" }, `mean ${number(mean)}`));
  }
  return [h("div", { class: "heads", style: { gridTemplateColumns: "max-content 1fr max-content" } }, rows), h("p", { class: "note" }, `Strong lines are single positions with large norms. Colour shows the logarithm of the norm, from ${number(Math.exp(smallest))} to ${number(Math.exp(largest))}.`)];
}
