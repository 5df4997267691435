// Builds the page: unpacks the first window, draws it, and handles the keys.
import { h } from "./dom.js";
import { isDark, startTheme } from "./colours.js";
import { blockText, unpack } from "./unpack.js";
import { about, current, onChange, set, state, stepsOf } from "./state.js";
import { drawMap, walk } from "./network.js";
import { drawSound, loadSound, toggle } from "./sound.js";
import { drawStrip, move } from "./strip.js";
import { drawPanel } from "./panel.js";
import { bestHead } from "./attention.js";
import { load, openRun, openWindow } from "./loading.js";
import { overview } from "./view_overview.js";
import { soundView } from "./view_sound.js";
import { encoderView } from "./view_encoder.js";
import { crossView } from "./view_cross.js";
import { decoderView } from "./view_decoder.js";
import { tokensView } from "./view_tokens.js";
import { timesView } from "./view_times.js";
import { decisionsView } from "./view_decisions.js";
import { compareView } from "./view_compare.js";
import { go, respot, tourStop } from "./tour.js";

const VIEWS = {
  overview: ["Overview", overview], sound: ["Sound", soundView], encoder: ["Encoder", encoderView], cross: ["Cross-attention", crossView],
  decoder: ["Decoder", decoderView], tokens: ["Tokens and rules", tokensView], times: ["Word times", timesView], decisions: ["Decisions", decisionsView], compare: ["Two runs", compareView],
};
const areas = {};

function build() {
  const app = document.getElementById("app");
  areas.header = h("header", {});
  areas.strip = h("section", { id: "strip", "aria-label": "tokens and steps" });
  areas.map = h("nav", { id: "map", "aria-label": "map of the network" });
  areas.tabs = h("div", { id: "tabs", role: "tablist", "aria-label": "views" });
  areas.view = h("section", { id: "view", role: "tabpanel", tabindex: "-1" });
  areas.panel = h("aside", { id: "panel", "aria-label": "open box" });
  areas.sound = h("section", { id: "sound", "aria-label": "sound" });
  app.replaceChildren(areas.header, areas.strip, areas.map, h("main", { id: "main" }, areas.tabs, areas.view), areas.panel, areas.sound);
}

function drawHeader() {
  const run = about();
  const { dims, parameters } = run.model;
  const n = run.overview.length;
  const chooseRun = state.runs.length > 1 ? h("select", { id: "run", "aria-label": "run", onchange: (event) => openRun(Number(event.target.value)) }, state.runs.map((r, i) => h("option", { value: i, selected: i === state.run }, r.about.label))) : null;
  const chooseWindow = n > 1 ? h("select", { id: "window", "aria-label": "window", onchange: (event) => openWindow(Number(event.target.value)) }, run.overview.map((w, i) => h("option", { value: i, selected: i === state.window }, `window ${i + 1} of ${n}: ${w.start.toFixed(0)} to ${w.end.toFixed(0)} s`))) : null;
  return [
    h("h1", {}, h("b", {}, "glass"), ` · ${run.title}`),
    h("span", { class: "about" }, `${run.duration.toFixed(1)} s · ${dims.n_audio_layer} + ${dims.n_text_layer} blocks, ${dims.n_text_head} heads, ${dims.n_text_state} wide, ${(parameters / 1e6).toFixed(0)} million parameters`),
    chooseRun, chooseWindow,
    h("button", { id: "start-tour", onclick: () => go(0) }, "Guided tour"),
    h("button", { id: "theme", "aria-label": "light or dark theme", title: "light or dark theme", onclick: switchTheme }, isDark() ? "☀ light" : "☾ dark"),
    h("button", { id: "help", "aria-label": "keys and colours", onclick: help }, "?"),
  ];
}

function switchTheme() {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  draw();
}

function help() {
  const keys = [["← →", "previous or next step"], ["[ ]", "previous or next part of the network"], ["space", "play or pause"], ["1 … 9", "select a view"], ["t", "guided tour"], ["d", "light or dark theme"], ["Escape", "close the box or end the tour"]];
  const dialog = h("dialog", { "aria-label": "keys and colours" },
    h("h2", {}, "Keys"), h("table", {}, keys.map(([key, what]) => h("tr", {}, h("td", {}, h("kbd", {}, key)), h("td", {}, what)))),
    h("h2", {}, "Colours and numbers"),
    h("p", {}, "Blue is sound and encoder; orange with thick lines is text and decoder; green with dashed lines is cross-attention, which connects them; yellow is where you are. The more orange a token, the lower its probability; below 50 % it is also underlined. Without colour, feature images show the distance from the mean but not its sign; bars point right or up for positive numbers, left or down for negative ones."),
    h("p", {}, "Images are quantised to 256 levels; printed numbers are the 32-bit floats of the run. Everything was recorded in Python: this page does not run the model, and it makes no network requests."),
    h("form", { method: "dialog" }, h("button", {}, "close")));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

function drawTabs() {
  return Object.entries(VIEWS).map(([name, [title]], i) => (name === "compare" && state.runs.length < 2 ? null : h("button", { role: "tab", id: `tab-${name}`, "aria-controls": "view", "data-view": name, "aria-selected": String(state.view === name), title: `key ${i + 1}`, onclick: () => set({ view: name, box: null }) }, title))).filter(Boolean);
}

function placeOf(element) {
  // a selector that finds the focused control again after redrawing: its id, or its data attribute within its area
  const area = element?.closest?.("#app > *");
  if (!area || element === area) return null;
  if (element.id) return `#${element.id}`;
  const name = ["key", "node", "box", "window", "word", "view"].find((key) => element.dataset?.[key] !== undefined);
  return name ? `${area.id ? `#${area.id}` : "header"} [data-${name}="${CSS.escape(element.dataset[name])}"]` : null;
}

let shown = "";
let opener = null; // the control that opened the box; closing the box returns the focus to it
let opened = null;

function refocus(place, wasInPanel) {
  const box = state.box === opened ? undefined : state.box;
  opened = state.box;
  if (box && !wasInPanel) opener = place;
  const target = box ? "#box-name" : box === null && wasInPanel ? opener : place;
  if (target) document.querySelector(target)?.focus({ preventScroll: true });
}

function draw() {
  const place = placeOf(document.activeElement);
  const wasInPanel = areas.panel.contains(document.activeElement);
  areas.header.replaceChildren(...drawHeader().filter(Boolean));
  areas.strip.replaceChildren(...drawStrip());
  areas.map.replaceChildren(...drawMap());
  areas.tabs.replaceChildren(...drawTabs());
  const what = `${state.view} ${state.window} ${state.run}`;
  const top = what === shown ? areas.view.scrollTop : 0;
  shown = what;
  areas.view.setAttribute("aria-labelledby", `tab-${state.view}`);
  fillIn(areas.view, VIEWS[state.view][1]());
  areas.view.scrollTop = top;
  fillIn(areas.panel, drawPanel());
  areas.panel.classList.toggle("open", state.box !== null);
  areas.sound.replaceChildren(...drawSound());
  refocus(place, wasInPanel);
  document.querySelector('#tokens [aria-current="step"]')?.scrollIntoView({ block: "nearest" });
  respot();
}

function fillIn(element, content) {
  element.replaceChildren(...[content].flat(9).filter((part) => part !== null && part !== undefined && part !== false));
}

function onKey(event) {
  const inField = event.target.closest("select, input:not([type=range]), textarea, pre, dialog");
  if (inField || event.ctrlKey || event.metaKey || event.altKey) return;
  const isSlider = event.target.matches("input[type=range]");
  const isControl = event.target.closest("button, [role=button]");
  const actions = { "[": () => walk(-1), "]": () => walk(1), t: () => go(0), d: switchTheme, Escape: () => (tourStop() >= 0 ? go(-1) : set({ box: null })) };
  if (!isSlider) Object.assign(actions, { ArrowLeft: () => move(-1), ArrowRight: () => move(1) });
  if (!isControl) actions[" "] = toggle;
  const number = Number(event.key);
  const name = Object.keys(VIEWS)[number - 1];
  if (number >= 1 && name && (name !== "compare" || state.runs.length > 1)) actions[event.key] = () => set({ view: name, box: null });
  if (!actions[event.key]) return;
  event.preventDefault();
  actions[event.key]();
}

export async function start() {
  const theme = startTheme();
  const { meta } = await unpack(blockText("data-about"));
  state.functions = meta.functions;
  state.difference = meta.difference;
  state.runs = meta.runs.map((run) => ({ about: run, windows: new Array(run.overview.length).fill(null) }));
  await load(0, 0);
  build();
  onChange((change) => {
    if (change.run !== undefined || change.window !== undefined) loadSound();
    draw();
  });
  loadSound();
  set({ step: Math.min(1, Math.max(0, stepsOf(current()).length - 1)), ...bestHead(current()) });
  document.addEventListener("keydown", onKey);
  addEventListener("beforeprint", () => isDark() && (switchTheme(), addEventListener("afterprint", switchTheme, { once: true }))); // print in the light theme
  theme.wish.addEventListener("change", () => (theme.follow(), draw()));
  document.getElementById("app").setAttribute("aria-busy", "false");
}
