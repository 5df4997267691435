// The map: a drawing of the whole network, always visible. Each node is a station on the way from sound to token.
import { activate, h, s } from "./dom.js";
import { about, current, set, state } from "./state.js";
import { SEARCHES } from "./choices.js";

export function stations() {
  // in order: the label, the view and the box of each station
  const { n_audio_layer: encoderLayers, n_text_layer: decoderLayers } = about().model.dims;
  const block = (side, i) => `${side}.blocks.${i}`;
  return [
    { id: "sound", label: "sound", view: "sound", box: null, kind: "sound" },
    { id: "mel", label: "log-mel", view: "sound", box: "mel", kind: "sound" },
    { id: "conv1", label: "conv 1, GELU", view: "encoder", box: "encoder.conv1", kind: "sound" },
    { id: "conv2", label: "conv 2, GELU", view: "encoder", box: "encoder.conv2", kind: "sound" },
    ...range(encoderLayers, (i) => ({ id: `e${i}`, label: `block ${i}`, view: "encoder", box: block("encoder", i), layer: i, kind: "sound" })),
    { id: "ln_post", label: "norm", view: "encoder", box: "encoder.ln_post", kind: "sound" },
    { id: "tokens", label: "tokens so far", view: "decoder", box: null, kind: "text" },
    { id: "embedding", label: "embedding", view: "decoder", box: "decoder.token_embedding", kind: "text" },
    ...range(decoderLayers, (i) => ({ id: `d${i}`, label: `block ${i}`, view: "decoder", box: block("decoder", i), layer: i, kind: "text" })),
    { id: "ln", label: "norm", view: "decoder", box: "decoder.ln", kind: "text" },
    { id: "logits", label: "logits", view: "tokens", box: "decoder.logits", kind: "text" },
    { id: "rules", label: "rules", view: "tokens", box: "apply_timestamp_rules", kind: "text" },
    { id: "search", label: "search", view: "decisions", box: SEARCHES[current().meta.search?.kind] ?? "greedy_search", kind: "text" },
    { id: "token", label: "next token", view: "tokens", box: null, kind: "text" },
    { id: "cross", label: "cross-attention", view: "cross", box: `${block("decoder", Math.min(state.layer, decoderLayers - 1))}.cross_attn`, kind: "cross" },
    { id: "times", label: "word times", view: "times", box: "find_alignment", kind: "cross" },
  ];
}

function range(n, make) {
  return Array.from({ length: n }, (_, i) => make(i));
}

const SIDES = { sound: "encoder", text: "decoder", cross: "between" };
let visited = "sound";

export function station() {
  const all = stations();
  const fits = (node) => node.view === state.view && (node.box === state.box || (!node.box && !state.box));
  const here = all.find((node) => node.id === visited && fits(node)) ?? (state.box ? all.find(fits) : blockOfView(all) ?? all.find(fits));
  return here ?? all.find((node) => state.box && node.box && state.box.startsWith(node.box + ".")) ?? all.find((node) => node.id === visited && node.view === state.view) ?? all.find((node) => node.view === state.view) ?? null;
}

function blockOfView(all) {
  const side = { encoder: "e", decoder: "d" }[state.view];
  return side && all.find((node) => node.id === `${side}${state.layer}`);
}

export function visit(node) {
  visited = node.id;
  const layer = node.layer ?? Math.min(state.layer, about().model.dims.n_text_layer - 1);
  set({ view: node.view, box: node.box, layer });
}

export function walk(direction) {
  const all = stations();
  const at = all.findIndex((node) => node.id === station()?.id);
  visit(all[(at + direction + all.length) % all.length]);
}

export function drawMap() {
  const here = station();
  const back = h("button", { title: "previous part: [", "aria-label": "previous part of the network", onclick: () => walk(-1) }, "◀");
  const on = h("button", { title: "next part: ]", "aria-label": "next part of the network", onclick: () => walk(1) }, "▶");
  return [
    drawing(here),
    h("div", { class: "here-now" }, "You are at: ", h("b", {}, here ? `${SIDES[here.kind]} · ${here.label}` : state.view)),
    h("div", { class: "walk" }, back, h("span", {}, "from sound to token"), on, h("span", { id: "station", class: "hidden-text", role: "status" }, here ? `${SIDES[here.kind]}: ${here.label}` : state.view)),
  ];
}

function drawing(here) {
  const all = stations();
  const left = all.filter((node) => node.kind === "sound");
  const right = all.filter((node) => node.kind === "text");
  const height = 400;
  const places = new Map();
  for (const [column, x] of [[left, 3], [right, 151]]) {
    const gap = (height - 34) / column.length;
    column.forEach((node, i) => places.set(node.id, { x, y: height - 6 - (i + 1) * gap, w: 86, h: Math.min(22, gap - 4) }));
  }
  const [low, high] = [places.get("e0"), places.get("ln")];
  places.set("cross", { x: 97, y: (low.y + high.y) / 2 + 8, w: 46, h: 40 });
  places.set("times", { x: 97, y: 30, w: 46, h: 34 });
  const wires = [...chain(left, places), ...chain(right, places), ...crossings(right, places)];
  return s(
    "svg",
    { viewBox: `0 0 240 ${height}`, role: "group", "aria-label": "the network; every part can be opened" },
    s("text", { x: 46, y: 12, class: "caption" }, "ENCODER"),
    s("text", { x: 194, y: 12, class: "caption" }, "DECODER"),
    wires,
    all.map((node) => drawNode(node, places.get(node.id), node.id === here?.id)),
  );
}

function chain(column, places) {
  return column.slice(1).map((node, i) => {
    const [a, b] = [places.get(column[i].id), places.get(node.id)];
    return s("path", { class: "wire", d: `M${a.x + a.w / 2} ${a.y} V${b.y + b.h}` });
  });
}

function crossings(right, places) {
  const from = places.get("ln_post");
  const hub = places.get("cross");
  const between = (from.x + from.w + hub.x) / 2; // clear of the word times, which this wire does not connect to
  const into = s("path", { class: "wire cross", d: `M${from.x + from.w} ${from.y + from.h / 2} H${between} V${hub.y + hub.h / 2} H${hub.x}` });
  const out = right.filter((node) => /^d\d+$/.test(node.id)).map((node) => {
    const to = places.get(node.id);
    return s("path", { class: "wire cross", d: `M${hub.x + hub.w} ${hub.y + hub.h / 2} C${hub.x + hub.w + 8} ${hub.y + hub.h / 2} ${to.x - 10} ${to.y + to.h / 2} ${to.x} ${to.y + to.h / 2}` });
  });
  const up = s("path", { class: "wire cross", d: `M${hub.x + 30} ${hub.y} V${places.get("times").y + places.get("times").h}` });
  return [into, ...out, up];
}

function drawNode(node, { x, y, w, h: tall }, isHere) {
  const words = node.kind === "cross" ? { cross: ["cross-", "attention"], times: ["word", "times"] }[node.id] : [node.label];
  const lines = words.map((word, i) => s("text", { x: x + w / 2, y: y + tall / 2 + (i - (words.length - 1) / 2) * 12, style: words.length > 1 ? { fontSize: "8.6px" } : {} }, word));
  const group = { class: `node ${node.kind}${isHere ? " here" : ""}`, "data-node": node.id, "aria-label": `${SIDES[node.kind]}: ${node.label}`, "aria-current": isHere ? "location" : null };
  return s("g", { ...group, ...activate(() => visit(node)) }, s("rect", { x, y, width: w, height: tall, rx: 5 }), lines);
}
