// The tokens of the window, coloured by confidence, and the slider over the decode steps.
import { h, percent, seconds, visible } from "./dom.js";
import { current, label, set, state, stepsOf, wordOfStep } from "./state.js";

export function drawStrip() {
  const data = current();
  const steps = stepsOf(data);
  const given = steps.length ? steps[0].fed.map((id) => h("span", { class: "token control", title: "part of the prompt" }, label(data, id))) : [];
  return [
    h("div", { id: "tokens", role: "group", "aria-label": "tokens of this window, coloured by uncertainty" }, given, steps.map((step, i) => token(data, step, i))),
    h("div", { id: "stepper" }, stepper(steps), summary(data, steps)),
  ];
}

function token(data, step, i) {
  const text = label(data, step.chosen);
  const p = Math.exp(step.logprob);
  const classes = ["token", i > state.step ? "later" : "", p < 0.5 ? "doubtful" : "", text.startsWith("<|") ? "control" : ""];
  const button = h(
    "button",
    { class: classes.join(" "), "data-step": i, "data-key": `step${i}`, "aria-current": i === state.step ? "step" : null, title: `step ${i + 1}: ${visible(text)}, ${percent(p)}`, onclick: () => set({ step: i, rival: null }) },
    text,
  );
  button.style.setProperty("--doubt", 1 - p);
  return button;
}

function stepper(steps) {
  const go = (by) => () => move(by);
  return [
    h("button", { "aria-label": "previous step", title: "left arrow", onclick: go(-1), "data-key": "back" }, "◀"),
    h("input", {
      id: "step", type: "range", min: 0, max: Math.max(0, steps.length - 1), value: state.step, "aria-label": "decode step", "data-key": "slider",
      oninput: (event) => set({ step: Number(event.target.value), rival: null }),
    }),
    h("button", { "aria-label": "next step", title: "right arrow", onclick: go(1), "data-key": "on" }, "▶"),
  ];
}

export function move(by) {
  const last = stepsOf(current()).length - 1;
  set({ step: Math.max(0, Math.min(last, state.step + by)), rival: null });
}

function summary(data, steps) {
  const step = steps[state.step];
  if (!step) return h("output", {}, "no text was decoded in this window");
  const word = data.meta.words[wordOfStep(data, state.step)];
  const when = word ? `, spoken at ${seconds(word.start)}` : "";
  return h("output", { for: "step", role: "status" }, `step ${state.step + 1} of ${steps.length}: `, h("b", {}, visible(label(data, step.chosen))), ` ${percent(Math.exp(step.logprob))}${when}`);
}
