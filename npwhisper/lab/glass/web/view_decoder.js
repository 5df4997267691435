// View: inside the decoder, at one step.
import { bytes, h, number, percent, s, visible } from "./dom.js";
import { picture } from "./canvas.js";
import { about, current, label, state, stepsOf } from "./state.js";
import { headGrid, openers } from "./grid.js";

export function decoderView() {
  const data = current();
  if (!stepsOf(data).length) return h("p", {}, "No text was decoded in this window.");
  const { n_text_layer: layers, n_text_head: heads } = about().model.dims;
  const [layer, head] = [Math.min(state.layer, layers - 1), Math.min(state.head, heads - 1)];
  return [
    h("h2", {}, `Inside the decoder, step ${state.step + 1}`),
    h("div", { class: "columns" },
      h("div", { class: "grow card", style: { flex: "2 1 696px" } }, h("h3", { style: { marginTop: 0 } }, "The prediction after each block (logit lens)"), lens(data)),
      h("div", { class: "card side-card" }, h("h3", { style: { marginTop: 0 } }, "The norm of the residual stream"), residual(data)),
    ),
    h("div", { class: "columns", style: { marginTop: "14px" } },
      h("div", { class: "card", style: { width: "min(640px, 100%)" } }, h("h3", { style: { marginTop: 0 } }, "The KV cache"), cache(data)),
      h("div", { class: "grow card" }, h("h3", { style: { marginTop: 0 } }, `Self-attention: block ${layer}, head ${head}`), selfLarge(data, layer, head)),
    ),
    h("h3", {}, "Self-attention of every head: steps downwards, token positions to the right"),
    headGrid(layers, heads, layer, head, (l, k) => selfMatrix(data, l, k), () => ""),
    openers("Inside this block", [`decoder.blocks.${layer}`, `decoder.blocks.${layer}.attn.scores`, `decoder.blocks.${layer}.mlp.gelu`, "KeyValues"]),
  ];
}

function lens(data) {
  const { "lens/ids": ids, "lens/probs": probs, "lens/chosen": own, "lens/rank": rank } = data.arrays;
  const depth = ids.shape[1];
  const chosen = stepsOf(data)[state.step].chosen;
  const rows = [];
  for (let d = depth - 1; d >= 0; d--) {
    const at = state.step * depth + d;
    const best = [0, 1, 2].map((i) => h("td", { "data-lens": ids[5 * at + i] }, h("span", { class: `tok${ids[5 * at + i] === chosen ? " changed" : ""}` }, visible(label(data, ids[5 * at + i]))), h("span", { class: "note below" }, percent(probs[5 * at + i]))));
    rows.push(h("tr", {}, h("td", {}, d ? `block ${d - 1}` : "embedding"), best, h("td", { class: "num" }, percent(own[at])), h("td", { class: "num" }, rank[at] + 1)));
  }
  return [
    h("div", { class: "scroll" }, h("table", { class: "tight" }, h("tr", {}, ["after", "first", "second", "third", "chosen token", "its rank"].map((t) => h("th", {}, t))), rows)),
    h("p", { class: "note" }, "The final norm and the embedding, applied to the residual stream at the last position as if the network ended there. Before any rule; the top row is the network's actual prediction."),
  ];
}

function residual(data) {
  const { residual: total, parts } = data.arrays;
  const n = total.shape[1];
  const layers = (n - 1) / 3;
  const names = ["embedding", ...Array.from({ length: layers }, (_, l) => [`${l} self`, `${l} cross`, `${l} mlp`]).flat()];
  const [a, b] = [total, parts].map((x) => x.subarray(state.step * n, (state.step + 1) * n));
  const reach = Math.max(...a, ...b);
  const tall = 15;
  const bars = names.map((name, i) => [
    s("text", { x: 66, y: i * tall + 11, "text-anchor": "end" }, name),
    s("rect", { x: 72, y: i * tall + 2, height: 5, width: (190 * a[i]) / reach, style: { fill: "var(--text)" } }),
    s("rect", { x: 72, y: i * tall + 8, height: 4, width: (190 * b[i]) / reach, class: "hollow" }),
    s("text", { x: 78 + (190 * Math.max(a[i], b[i])) / reach, y: i * tall + 11, class: "strong" }, number(a[i])),
  ]);
  return [
    s("svg", { class: "chart", viewBox: `0 0 330 ${names.length * tall + 4}`, style: { width: "100%", maxWidth: "560px" }, role: "img", "aria-label": "norm of the residual stream after each part" }, bars),
    h("p", { class: "note" }, h("span", { style: { color: "var(--text)" } }, "■"), " norm of the residual stream after each part (printed), ", h("span", { style: { color: "var(--sound)" } }, "□"), " norm of what the part added."),
  ];
}

function cache(data) {
  const step = stepsOf(data)[state.step];
  const { n_text_layer: layers, n_text_head: heads, n_text_state: d, n_audio_ctx: audio, n_text_ctx: room } = about().model.dims;
  const k = d / heads;
  const text = 2 * layers * step.rows * step.length * d * 4;
  const sound = 2 * layers * audio * d * 4;
  const added = step.fed.length;
  const shown = Math.max(stepsOf(data).at(-1).length, 12);
  const w = 480 / shown;
  const cells = Array.from({ length: shown }, (_, i) => s("rect", { x: i * w, y: 0, width: w, height: 26, class: i < step.length - added ? "old" : i < step.length ? "new" : "free" }));
  return [
    h("p", { class: "note" }, "Keys and values of the text so far, one column per token; this step adds those in full colour."),
    s("svg", { class: "cache", viewBox: "0 0 480 26", style: { width: "100%" }, role: "img", "aria-label": `${step.length} positions, ${added} of them new` }, cells),
    h("table", { class: "tight", style: { marginTop: "8px" } },
      h("tr", {}, ["", "shape of k and of v, in each block", "total size", "computed"].map((t) => h("th", {}, t))),
      h("tr", { id: "cache-text" }, h("td", {}, "text"), h("td", { class: "num" }, `(${step.rows}, ${heads}, ${step.length}, ${k})`), h("td", { class: "num" }, bytes(text)), h("td", {}, `+${added} position${added > 1 ? "s" : ""} at this step`)),
      h("tr", { id: "cache-audio" }, h("td", {}, "audio"), h("td", { class: "num" }, `(1, ${heads}, ${audio}, ${k})`), h("td", { class: "num" }, bytes(sound)), h("td", {}, "once, before step 1")),
    ),
    h("p", { class: "note" }, `2 (k and v) × ${layers} blocks × rows × positions × ${d} × 4 bytes; at most ${room} positions. Without the cache, step ${state.step + 1} would compute ${step.length} positions instead of ${added}.`),
  ];
}

function selfRow(data, step, layer, head) {
  const { n_text_head: heads } = about().model.dims;
  const { length } = stepsOf(data)[step];
  const at = data.selfAt[step] + (layer * heads + head) * length;
  return data.arrays["self/levels"].subarray(at, at + length);
}

function selfMatrix(data, layer, head) {
  const steps = stepsOf(data);
  const rows = steps.map((_, i) => selfRow(data, i, layer, head));
  const wide = steps.at(-1).length;
  return picture(wide, steps.length, (x, y) => (x < rows[y].length ? rows[y][x] : 0), { label: `self-attention, block ${layer}, head ${head}` });
}

function selfLarge(data, layer, head) {
  const steps = stepsOf(data);
  const row = selfRow(data, state.step, layer, head);
  const { n_text_layer: layers, n_text_head: heads } = about().model.dims;
  const max = data.arrays["self/max"][(state.step * layers + layer) * heads + head];
  const tokens = steps.slice(0, state.step + 1).flatMap((step) => step.fed);
  const spans = Array.from(row, (v, i) => {
    const weight = v / 255;
    const span = h("span", { class: "token", title: `weight ${number(weight * max)}` }, label(data, tokens[i]));
    span.style.setProperty("--doubt", weight);
    return span;
  });
  return [
    h("p", { class: "note" }, "How strongly the last token attends to each earlier token and to itself: the more orange, the larger the weight. The largest weight is ", h("b", { id: "self-max", "data-value": max }, number(max)), "."),
    h("div", { style: { display: "flex", flexWrap: "wrap", gap: "3px", marginBottom: "8px" } }, spans),
  ];
}
