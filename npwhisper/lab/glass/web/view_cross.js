// View: cross-attention, every layer and head over the spectrogram.
import { h, number, seconds, visible } from "./dom.js";
import { melPicture, picture } from "./canvas.js";
import { about, current, label, set, state, stepsOf } from "./state.js";
import { axis, lane, length, words } from "./sound.js";
import { attentionLine, bestHead, exactMax, rowOf, visibleColumns } from "./attention.js";
import { headGrid, openers } from "./grid.js";

export function crossView() {
  const data = current();
  const { n_text_layer: layers, n_text_head: heads } = about().model.dims;
  const steps = stepsOf(data);
  if (!steps.length) return h("p", {}, "No text was decoded in this window.");
  const [layer, head] = [Math.min(state.layer, layers - 1), Math.min(state.head, heads - 1)];
  const follows = data.meta.follows;
  const best = bestHead(data);
  const starred = about().model.alignment_heads.some(([l, k]) => l === layer && k === head);
  return [
    h("h2", {}, "Cross-attention: which part of the audio each step attends to"),
    h("p", { class: "lead" }, "Each small image is one head: one row per step, time to the right. A head that follows the audio shows a diagonal from top left to bottom right. ★ marks the alignment heads, from which word times are computed; r is the correlation between the step and the position of the largest weight."),
    h("p", {}, "Follows the audio best: ", h("button", { id: "best-head", onclick: () => set(best) }, `block ${best.layer}, head ${best.head} (r = ${follows[best.layer][best.head].toFixed(3)})`)),
    large(data, layer, head, starred),
    headGrid(layers, heads, layer, head, (l, k) => h("div", { class: "stack" }, matrix(data, l, k), rowMark(steps.length)), (l, k) => `r ${follows[l][k].toFixed(2)}`, { stars: about().model.alignment_heads }),
    h("p", { class: "note" }, `Weights are quantised to 256 levels of the maximum of their row${data.meta.positions_per_column > 1 ? `, and the largest of every ${data.meta.positions_per_column} positions is drawn` : ""}; printed maxima are exact. Positions after the end of the sound are not drawn.`),
    openers("How it is computed", [`decoder.blocks.${layer}.cross_attn`, `decoder.blocks.${layer}.cross_attn.scores`, `decoder.blocks.${layer}.cross_attn.softmax`, `decoder.blocks.${layer}.cross_attn.attend`]),
  ];
}

function large(data, layer, head, starred) {
  const steps = stepsOf(data);
  const { value, position } = exactMax(data, state.step, layer, head);
  const mel = melPicture(data);
  const wide = matrix(data, layer, head);
  wide.style.height = `${Math.max(90, Math.min(220, steps.length * 7))}px`;
  const rows = h("div", { class: "lane stack", id: "matrix", style: { marginTop: "8px" } }, wide, rowMark(steps.length));
  rows.addEventListener("click", (event) => {
    const box = wide.getBoundingClientRect();
    set({ step: Math.max(0, Math.min(steps.length - 1, Math.floor(((event.clientY - box.top) / box.height) * steps.length))) });
  });
  return h("div", { class: "card" },
    h("p", {}, h("b", {}, `block ${layer}, head ${head}${starred ? " ★" : ""}`), ` at step ${state.step + 1}, which chose `, h("span", { class: "tok" }, visible(label(data, steps[state.step].chosen))),
      ": the largest weight is ", h("b", { id: "attention-max", class: "num", "data-value": value, title: String(value) }, number(value)), " at ", h("b", { id: "attention-at", "data-position": position }, seconds(data.meta.start + position * 0.02)),
      position * 0.02 > length() ? " (in the padding after the sound)" : ""),
    h("div", { class: "lane" }, lane(h("div", { class: "stack", style: { height: "120px" } }, mel, attentionLine(data, state.step, layer, head)), words())),
    axis(8), rows, h("p", { class: "note" }, `Top: this step over the spectrogram. Bottom: all ${steps.length} steps; click a row to go to its step.`));
}

function matrix(data, layer, head, className = "") {
  // all steps of one head: one row per step, each with its own colour scale
  const n = visibleColumns(data);
  const steps = stepsOf(data).length;
  const rows = Array.from({ length: steps }, (_, i) => rowOf(data, i, layer, head));
  return picture(n, steps, (x, y) => rows[y][x], { label: `block ${layer}, head ${head}: steps downwards, time to the right`, className });
}

function rowMark(steps) {
  return h("div", { class: "rowmark", style: { top: `${(100 * state.step) / steps}%`, height: `${100 / steps}%` } });
}
