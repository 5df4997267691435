// View: two runs side by side.
import { h, number, percent, visible } from "./dom.js";
import { current, label, set, state, stepsOf } from "./state.js";
import { openWindow } from "./loading.js";

export function compareView() {
  const difference = state.difference;
  if (!difference) return [h("h2", {}, "Two runs side by side"), h("p", {}, "This page has one run. To add a second one: npwhisper glass talk.flac --against base.en, or npwhisper.glass(run, path, against=other).")];
  const [a, b] = state.runs.map((run) => run.about);
  return [
    h("h2", {}, `Two runs: ${a.label} and ${b.label}`),
    firstDifference(difference, a, b),
    h("h3", {}, "The text, word by word"),
    h("div", { class: "columns" }, [0, 1].map((side) => h("div", { class: "card grow", "data-side": side }, h("b", {}, [a, b][side].label), h("p", {}, difference.words.flatMap((pair) => [h("span", { class: pair.same ? "same" : "changed", title: pair[side].map((w) => `${w.start.toFixed(2)} s`).join(", ") }, pair[side].map((w) => w.word).join("")), " "]))))),
    h("p", { class: "note" }, wordsThatDiffer(difference)),
    h("h3", {}, "Step by step, in this window"), stepsBeside(difference),
  ];
}

function wordsThatDiffer({ words: pieces }) {
  const n = pieces.filter((pair) => !pair.same).length;
  return `${n === 0 ? "All words are the same" : n === 1 ? "One place differs; it is marked and underlined" : `${n} places differ; they are marked and underlined`}. Hover over a word for its time.`;
}

function firstDifference(difference, a, b) {
  const { activation: first, token } = difference;
  const value = !first ? h("p", {}, "The two models have different shapes, so their values cannot be compared one by one.")
    : first.name ? h("p", {}, "First value that differs: ", h("b", { id: "first-activation", class: "num" }, first.name), `, relative difference ${number(first.by)}. `, h("button", { onclick: () => set({ box: first.name }) }, "open"), ` All ${first.equal} values before it agree.`)
    : h("p", {}, `All ${first.equal} sampled values of the first window agree.`);
  const step = token ? h("p", {}, "First token that differs: ", h("button", { id: "first-token", onclick: () => openWindow(token.window, token.step) }, `window ${token.window + 1}, step ${token.step + 1}`), ": ", h("span", { class: "tok" }, visible(token.texts[0])), ` in ${a.label}, `, h("span", { class: "tok" }, visible(token.texts[1])), ` in ${b.label}.`) : h("p", { id: "no-difference" }, "Both runs chose the same tokens throughout.");
  return h("div", { class: "card" }, value, step);
}

function stepsBeside(difference) {
  const both = state.runs.map((run) => run.windows[Math.min(state.window, run.windows.length - 1)]);
  if (both.some((data) => !data)) return h("p", { class: "note" }, "…");
  const n = Math.max(...both.map((data) => stepsOf(data).length));
  const rows = Array.from({ length: n }, (_, i) => {
    const cells = both.map((data) => stepsOf(data)[i]);
    const same = cells[0] && cells[1] && label(both[0], cells[0].chosen) === label(both[1], cells[1].chosen);
    const show = (step, data) => (step ? [h("td", {}, h("span", { class: "tok" }, visible(label(data, step.chosen)))), h("td", { class: "num" }, percent(Math.exp(step.logprob)))] : [h("td", {}, "–"), h("td", {}, "")]);
    return h("tr", { class: same ? "" : "changed" }, h("td", { class: "num" }, h("button", { onclick: () => set({ step: Math.min(i, stepsOf(current()).length - 1) }) }, i + 1)), show(cells[0], both[0]), show(cells[1], both[1]), h("td", {}, same ? "" : "differs"));
  });
  const [a, b] = state.runs.map((run) => run.about.label);
  return h("div", { class: "scroll" }, h("table", { id: "beside" }, h("tr", {}, ["step", a, "", b, "", ""].map((t) => h("th", {}, t))), rows));
}
