// Views: the overview, the sound, and the encoder.
import { h, number, percent, s, seconds, visible } from "./dom.js";
import { melPicture, picture } from "./canvas.js";
import { about, candidatesOf, current, label, set, state, stepsOf } from "./state.js";
import { axis, lane, length, waveform, words } from "./sound.js";
import { attentionLine } from "./attention.js";

export function overview() {
  const data = current();
  const { n_audio_layer: encoderLayers, n_text_layer: decoderLayers } = about().model.dims;
  const encoder = [];
  for (let i = encoderLayers - 1; i >= 0; i--) encoder.push(featureStage(data, i));
  const decoder = [];
  for (let i = decoderLayers - 1; i >= 0; i--) decoder.push(lensStage(data, i));
  return [
    h("h2", {}, "From sound to token"),
    h("p", { class: "lead" }, "Read from the bottom up. The encoder (left) turns 30 seconds of sound into 1500 vectors, once. The decoder (right) then writes one token per step and attends to the sound through cross-attention (middle). All numbers are from this run; click any part to open it. (Feature images: time to the right, blue below and orange above each feature's mean.)"),
    h("div", { class: "overview" },
      h("div", { class: "columns", style: { flexDirection: "column", gap: "8px", flexWrap: "nowrap" } },
        h("div", { class: "column-title sound" }, "ENCODER · once per window"),
        stage("sound", () => set({ view: "encoder", box: null }), h("b", {}, "norm: what the decoder attends to"), featurePicture(data, encoderLayers)),
        encoder,
        stage("sound", () => set({ view: "encoder", box: "encoder.conv2" }), h("b", {}, "two convolutions: from 3000 frames to 1500 positions")),
        stage("sound", () => set({ view: "sound", box: "mel" }), h("b", {}, "log-mel spectrogram"), melPicture(data)),
        stage("sound", () => set({ view: "sound", box: null }), h("b", {}, "sound"), waveform(data, 30)),
      ),
      h("div", { class: "columns", style: { flexDirection: "column", gap: "8px", flexWrap: "nowrap" } },
        h("div", { class: "column-title cross" }, `CROSS-ATTENTION · where step ${state.step + 1} attends`),
        Array.from({ length: decoderLayers }, (_, i) => crossStage(data, decoderLayers - 1 - i)),
        h("p", { class: "note" }, "The head with the largest weight in each block, over the spectrogram. ★ marks alignment heads, from which word times are computed."),
      ),
      h("div", { class: "columns", style: { flexDirection: "column", gap: "8px", flexWrap: "nowrap" } },
        h("div", { class: "column-title text" }, "DECODER · once per token"),
        chosenStage(data),
        decoder,
        stage("text", () => set({ view: "decoder", box: "decoder.token_embedding" }), h("b", {}, "embedding + position of the last token"), h("span", { class: "tok" }, lastFed(data))),
      ),
    ),
  ];
}

function stage(kind, open, ...children) {
  return h("button", { class: `stage ${kind}`, onclick: open }, children);
}

function lastFed(data) {
  const step = stepsOf(data)[state.step];
  return step ? visible(label(data, step.fed.at(-1))) : "–";
}

function featurePicture(data, i) {
  const image = data.arrays[`picture/${i}`];
  const [rows, columns] = image.shape;
  const shown = Math.max(1, Math.round((columns * length()) / 30));
  return picture(shown, rows, (x, y) => image[y * columns + x], { colours: "signed", label: `features ${data.meta.pictures[i].name}: time to the right` });
}

function featureStage(data, i) {
  return stage("sound", () => set({ view: "encoder", box: `encoder.blocks.${i}`, layer: i }), h("b", {}, `block ${i}: self-attention, mlp`), featurePicture(data, i));
}

function crossStage(data, layer) {
  const max = data.arrays["cross/max"];
  if (!max) return null;
  const [, layers, heads] = max.shape;
  const row = max.subarray((state.step * layers + layer) * heads, (state.step * layers + layer + 1) * heads);
  const head = row.indexOf(Math.max(...row));
  const starred = about().model.alignment_heads.some(([l, k]) => l === layer && k === head);
  const mel = melPicture(data);
  mel.style.height = "100%";
  return stage("cross", () => set({ view: "cross", layer, head, box: null }),
    h("span", { class: "row" }, h("b", {}, `block ${layer}, head ${head}${starred ? " ★" : ""}`), h("span", { class: "num" }, `max ${number(row[head])}`)),
    h("div", { class: "stack", style: { height: "48px" } }, mel, attentionLine(data, state.step, layer, head)));
}

function lensStage(data, i) {
  const { "lens/ids": ids, "lens/probs": probs, "lens/chosen": own } = data.arrays;
  if (!ids) return null;
  const depth = ids.shape[1];
  const at = (state.step * depth + i + 1) * 5;
  const chosen = own[state.step * depth + i + 1];
  const meter = h("i", { style: { width: `${(100 * chosen).toFixed(2)}%` } });
  return stage("text", () => set({ view: "decoder", box: `decoder.blocks.${i}`, layer: i }),
    h("span", { class: "row" }, h("b", {}, `block ${i}`), h("span", {}, "predicts ", h("span", { class: "tok" }, visible(label(data, ids[at]))), ` ${percent(probs[at])}`)),
    h("span", { class: "meter", title: `probability of the chosen token here: ${percent(chosen)}` }, meter));
}

function chosenStage(data) {
  const step = stepsOf(data)[state.step];
  if (!step) return h("p", { class: "note" }, "No text was decoded in this window.");
  const all = candidatesOf(data, state.step);
  const raw = all.reduce((a, b) => (b.logprobs[0] > a.logprobs[0] ? b : a));
  const changed = raw.id !== step.chosen;
  return stage("text big", () => set({ view: "tokens", box: null }),
    h("span", { class: "row" }, h("span", { class: "tok" }, visible(label(data, step.chosen))), h("span", { class: "num" }, percent(Math.exp(step.logprob)))),
    h("span", { class: "note" }, changed ? ["without the rules: ", h("span", { class: "tok" }, visible(label(data, raw.id))), ` ${percent(Math.exp(raw.logprobs[0]))}`] : "also the first choice without the rules"));
}

export function soundView() {
  const data = current();
  const mel = melPicture(data);
  mel.style.height = "260px";
  return [
    h("h2", {}, "The sound, and the input of the network"),
    h("p", { class: "lead" }, "One column every 10 ms: the logarithm of the power in each mel bin, low frequencies at the bottom. The network gets nothing else of the sound. Click a word to play it."),
    h("div", { class: "card" }, lane(waveform(data, 90), mel, words()), axis(10)),
    h("p", { class: "note" }, `${data.arrays.mel.shape[0]} bins × ${data.meta.mel.frames} frames, values from ${number(data.meta.mel.low)} to ${number(data.meta.mel.high)}, drawn in 256 levels. The window is padded to 30 s with zeros, which are not drawn.`),
    openers("How it is computed", ["mel", "stft", "mel_filters", "compress", "encoder.conv1"]),
    words_table(data),
  ];
}

export function openers(title, names) {
  return h("p", { class: "openers" }, h("b", {}, `${title}: `), names.map((name) => h("button", { "data-box": name, onclick: () => set({ box: name }) }, name)));
}

function words_table(data) {
  const rows = data.meta.words.map((word, i) => h("tr", { "data-word-row": i },
    h("td", {}, word.word.trim()), h("td", { class: "num", "data-start": word.start }, seconds(word.start)), h("td", { class: "num", "data-end": word.end }, seconds(word.end)), h("td", { class: "num" }, number(word.probability))));
  return h("details", {}, h("summary", {}, "Word times as a table"), h("table", {}, h("tr", {}, ["word", "start", "end", "probability"].map((t) => h("th", {}, t))), rows));
}

// --- the encoder ----------------------------------------------------------------------------------------------------

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

export function headGrid(layers, heads, layer, head, thumbnail, note, { square = false, stars = [] } = {}) {
  const starred = new Set(stars.map(String));
  const cells = [];
  for (let l = 0; l < layers; l++) {
    cells.push(h("div", { class: "side" }, `block ${l}`));
    for (let k = 0; k < heads; k++) {
      const star = starred.has(`${l},${k}`);
      cells.push(h("button", { class: `head${square ? " square" : ""}`, "data-key": `head${l}.${k}`, "data-head": `${l}.${k}`, "aria-pressed": String(l === layer && k === head), "aria-label": `block ${l}, head ${k}${star ? ", alignment head" : ""}`, onclick: () => set({ layer: l, head: k }) },
        thumbnail(l, k), h("small", {}, h("span", {}, `head ${k}`, star ? h("span", { class: "star", title: "alignment head" }, " ★") : null), h("span", {}, note(l, k)))));
    }
  }
  return h("div", { class: "heads", style: { gridTemplateColumns: `max-content repeat(${heads}, minmax(54px, 1fr))` } }, cells);
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
  const maps = data.arrays["encoder/maps"];
  const [, heads, side] = maps.shape;
  const total = about().model.dims.n_audio_ctx;
  const pool = Math.ceil(total / side);
  const audible = Math.max(2, Math.ceil((total * length()) / 30));
  const span = Math.max(8, Math.round(audible / zoom.factor));
  const from = (x) => Math.max(0, Math.min(audible - span, x));
  const [q0, k0] = [(zoom.query = from(zoom.query)), (zoom.key = from(zoom.key))];
  const base = (layer * heads + head) * side * side;
  const largest = data.arrays["encoder/largest"][layer * heads + head];
  const { threshold, largest: peak } = data.meta.peaks[layer];
  const exact = zoom.factor > 1 ? peaksOf(data, layer, head, { q0, k0, span, pool, side }) : null;
  const scaleTo = zoom.factor > 1 ? peak : largest;
  const level = (x, y) => {
    const square = Math.floor((q0 + y) / pool) * side + Math.floor((k0 + x) / pool);
    const mean = (maps[base + square] / 255) * largest;
    const value = exact ? (exact.weights.get(y * span + x) ?? rest(mean, exact.squares.get(square), pool * pool)) : mean;
    return stretched(Math.min(1, value / scaleTo) * 255);
  };
  const canvas = picture(span, span, level, { label: `block ${layer}, head ${head}; arrow keys move, plus and minus zoom` });
  canvas.style.aspectRatio = "1";
  canvas.style.cursor = "zoom-in";
  canvas.tabIndex = 0;
  canvas.dataset.key = "encoder-map";
  const change = (factor, q = zoom.query + span / 2, k = zoom.key + span / 2) => {
    zoom.factor = Math.max(1, Math.min(32, factor));
    const next = Math.max(8, Math.round(audible / zoom.factor));
    [zoom.query, zoom.key] = [Math.round(q - next / 2), Math.round(k - next / 2)];
    set({});
  };
  canvas.addEventListener("click", (event) => change(zoom.factor * 2, q0 + (event.offsetY / canvas.clientHeight) * span, k0 + (event.offsetX / canvas.clientWidth) * span));
  canvas.addEventListener("keydown", (event) => {
    const step = Math.max(1, Math.round(span / 4));
    const moves = { ArrowUp: [-step, 0], ArrowDown: [step, 0], ArrowLeft: [0, -step], ArrowRight: [0, step] };
    if (moves[event.key]) [zoom.query, zoom.key] = [q0 + moves[event.key][0], k0 + moves[event.key][1]];
    else if (event.key === "+" || event.key === "-") return change(zoom.factor * (event.key === "+" ? 2 : 0.5));
    else return;
    event.preventDefault();
    event.stopPropagation();
    set({});
  });
  const time = (position) => seconds(data.meta.start + position * 0.02);
  return [
    h("div", { class: "row", style: { display: "flex", justifyContent: "space-between", alignItems: "center" } },
      h("b", {}, `block ${layer}, head ${head}`),
      h("span", {}, h("button", { "data-key": "out", "aria-label": "zoom out", onclick: () => change(zoom.factor / 2) }, "−"), ` ${zoom.factor}× `, h("button", { "data-key": "in", "aria-label": "zoom in", onclick: () => change(zoom.factor * 2) }, "+"))),
    h("div", { class: "axis" }, h("span", {}, `attends to → ${time(k0)}`), h("span", {}, time(k0 + span))),
    canvas,
    h("div", { class: "axis" }, h("span", {}, `↑ position ${time(q0)} (top) to ${time(q0 + span)} (bottom)`)),
    h("p", { class: "note" }, zoom.factor > 1
      ? `Full resolution, 20 ms per cell, for weights of at least ${threshold} (8 bits of ${number(peak)}); smaller weights are drawn as the mean of the others in their ${pool} × ${pool} cells. Colour shows the square root of the weight.`
      : `Means over ${pool} × ${pool} positions, 8 bits of ${number(largest)}. Colour shows the square root of the weight. Click to zoom in.`),
  ];
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
