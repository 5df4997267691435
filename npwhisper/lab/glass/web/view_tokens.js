// View: how a token is chosen.
import { h, number, percent, s, visible } from "./dom.js";
import { RULES, candidatesOf, current, label, set, state, stepsOf } from "./state.js";
import { openers } from "./grid.js";

export function tokensView() {
  const data = current();
  const step = stepsOf(data)[state.step];
  if (!step) return h("p", {}, "No text was decoded in this window.");
  const all = candidatesOf(data, state.step);
  const before = [...all].sort((a, b) => b.logprobs[0] - a.logprobs[0]);
  const active = RULES.map((_, i) => i).filter((i) => step.forbidden[i] > 0 || all.some((c) => c.logprobs[i] !== c.logprobs[i + 1]));
  const rival = all.find((c) => c.id === state.rival) ?? all.find((c) => c.id !== step.chosen && Number.isFinite(c.logprobs.at(-1))) ?? before.find((c) => c.id !== step.chosen);
  return [
    h("h2", {}, `Step ${state.step + 1}: how `, h("span", { class: "tok" }, visible(label(data, step.chosen))), " was chosen"),
    h("div", { class: "card", id: "rules-card" }, h("h3", { style: { marginTop: 0 } }, "What the rules did"), rulesTable(data, step, all)),
    h("div", { class: "columns", style: { marginTop: "14px" } },
      h("div", { class: "card", id: "why", style: { flex: "1 1 430px" } }, h("h3", { style: { marginTop: 0 } }, "Why this token and not another"), rival ? why(data, step, all, rival) : null),
      h("div", { class: "card", style: { flex: "2 1 760px", minWidth: 0 } }, h("h3", { style: { marginTop: 0 } }, "The most probable tokens, before and after each rule"),
        h("p", { class: "note" }, "Click a row to compare its token with the chosen one. Tokens with a similar spelling are listed too, however improbable."),
        h("div", { class: "scroll" }, candidateTable(data, step, before, active, rival))),
    ),
    openers("How it is computed", ["decoder.logits", ...RULES, "log_softmax"]),
  ];
}

function rulesTable(data, step, all) {
  const rows = RULES.map((rule, i) => {
    const reasons = step.reasons[i];
    const best = all.reduce((a, b) => (b.logprobs[i + 1] > a.logprobs[i + 1] ? b : a));
    return h("tr", { "data-rule": rule, class: step.forbidden[i] ? "" : "same" },
      h("td", {}, h("button", { onclick: () => set({ box: rule }), "data-box": rule, style: { fontSize: "12.5px" } }, rule)),
      h("td", { class: "num", "data-forbidden": step.forbidden[i] }, step.forbidden[i] ? step.forbidden[i].toLocaleString("en") : "–"),
      h("td", {}, reasons.length ? reasons.map((reason) => h("div", {}, reason)) : h("span", { class: "same" }, "changed nothing")),
      h("td", {}, h("span", { class: "tok" }, visible(label(data, best.id)))));
  });
  return h("div", { class: "scroll" }, h("table", { id: "rules" }, h("tr", {}, ["rule", "forbidden", "why", "best token after it"].map((t) => h("th", {}, t))), rows));
}

function bar(p, kind) {
  return p > 0 ? h("div", { class: kind, style: { width: `${100 * p}%` } }) : null;
}

function candidateTable(data, step, before, active, rival) {
  const head = ["token", "before the rules", "", "after all rules", "", ...active.map((i) => `after ${RULES[i].replaceAll("_", " ")}`), "why forbidden"];
  const rows = before.map((c) => {
    const [raw, final] = [Math.exp(c.logprobs[0]), Math.exp(c.logprobs.at(-1))];
    const classes = ["pick", c.id === step.chosen ? "chosen" : "", final === 0 ? "forbidden" : "", c === rival ? "rival" : ""].join(" ");
    const choose = () => c.id !== step.chosen && set({ rival: c.id });
    return h("tr", { class: classes, "data-token": c.id, onclick: choose },
      h("td", {}, h("button", { class: "tok", style: { border: 0, padding: "0 4px" }, "data-key": `token${c.id}`, title: `token ${c.id}`, onclick: choose }, visible(label(data, c.id))), c.id === step.chosen ? " ← chosen" : ""),
      h("td", { class: "num", "data-before": raw, title: String(raw) }, percent(raw)), h("td", { style: { minWidth: "54px" } }, bar(raw, "bar before")),
      h("td", { class: "num", "data-final": final, title: String(final) }, percent(final)), h("td", { style: { minWidth: "54px" } }, bar(final, "bar")),
      active.map((i) => h("td", { class: "num", "data-after": RULES[i], title: String(Math.exp(c.logprobs[i + 1])) }, percent(Math.exp(c.logprobs[i + 1])))),
      h("td", { class: "note", style: { whiteSpace: "normal", minWidth: "180px" } }, c.why));
  });
  return h("table", { id: "candidates", class: "tight" }, h("tr", {}, head.map((t) => h("th", {}, t))), rows);
}

function why(data, step, all, rival) {
  const shares = Array.from(rival.shares);
  const total = shares.reduce((a, b) => a + b, 0);
  const layers = (shares.length - 2) / 3;
  const names = ["embedding", ...Array.from({ length: layers }, (_, l) => [`block ${l} self-attention`, `block ${l} cross-attention`, `block ${l} mlp`]).flat(), "bias of the norm"];
  const reach = Math.max(...shares.map(Math.abs)) || 1;
  const tall = 16;
  const bars = names.map((name, i) => [
    s("text", { x: 134, y: i * tall + 12, "text-anchor": "end" }, name),
    s("rect", { class: shares[i] >= 0 ? "plus" : "minus", x: shares[i] >= 0 ? 222 : 222 - (80 * -shares[i]) / reach, y: i * tall + 3, height: 10, width: (80 * Math.abs(shares[i])) / reach }),
    s("text", { x: 308, y: i * tall + 12, class: "strong", "text-anchor": "start" }, `${shares[i] >= 0 ? "+" : "−"}${Math.abs(shares[i]).toFixed(3)}`),
  ]);
  const select = h("select", { "aria-label": "compare with", "data-key": "rival", onchange: (event) => set({ rival: Number(event.target.value) }) }, all.filter((c) => c.id !== step.chosen).map((c) => h("option", { value: c.id, selected: c === rival }, `${visible(label(data, c.id))}  ${percent(Math.exp(c.logprobs[0]))}`)));
  return [
    h("p", {}, h("span", { class: "tok" }, visible(label(data, step.chosen))), " and not ", select),
    rival.why ? h("p", {}, h("b", {}, "A rule forbade it: "), rival.why, ".") : null,
    s("svg", { class: "chart", viewBox: `0 0 360 ${names.length * tall + 6}`, style: { width: "100%", maxWidth: "440px" }, role: "img", "aria-label": "what each part of the network adds to the difference of logits" }, s("line", { x1: 222, x2: 222, y1: 0, y2: names.length * tall, stroke: "currentColor", "stroke-width": 0.5 }), bars),
    h("p", {}, "Its logit is ", h("b", { class: "num", "data-difference": total }, `${total >= 0 ? "+" : "−"}${Math.abs(total).toFixed(3)}`), ` ${total >= 0 ? "higher" : "lower"}, so before the rules it is e`, h("sup", {}, total.toFixed(2)), ` = ${number(Math.exp(total))} times as probable.`),
    h("p", { class: "note" }, h("span", { style: { color: "var(--text)" } }, "■"), " to the right favours the chosen token, ", h("span", { style: { color: "var(--sound)" } }, "■"), " to the left the other one. The final norm is linear except for one division, so the terms of the residual stream sum exactly to this difference."),
  ];
}
