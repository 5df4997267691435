// View: the whole way from sound to token.
import { h, number, percent, visible } from "./dom.js";
import { melPicture, picture } from "./canvas.js";
import { about, candidatesOf, current, label, set, state, stepsOf } from "./state.js";
import { length, waveform } from "./sound.js";
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
