// Shared by the views: a grid of all heads, and buttons that open boxes.
import { h } from "./dom.js";
import { set } from "./state.js";

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

export function openers(title, names) {
  return h("p", { class: "openers" }, h("b", {}, `${title}: `), names.map((name) => h("button", { "data-box": name, onclick: () => set({ box: name }) }, name)));
}
