// Worked examples of the rules, the normalisation and the search, at the selected step.
import { h, line, number, visible } from "./dom.js";
import { RULES, about, label, state, stepsOf } from "./state.js";

export const SEARCHES = { greedy: "greedy_search", "beam search": "beam_search", sampling: "sample" };

export function boxOfStep(data, name) {
  const step = stepsOf(data)[state.step];
  if (!step) return undefined;
  const { search } = data.meta;
  const shape = [step.rows, about().model.dims.n_vocab];
  const where = `step ${state.step + 1}${step.rows > 1 ? `, row ${step.row}` : ""}`;
  if (RULES.includes(name)) return { function: name, output: shape, cell: step.worked[RULES.indexOf(name)], where };
  if (name === "log_softmax") return { function: name, output: shape, cell: step.normalised, where };
  if (name === SEARCHES[search.kind]) return { function: name, output: [step.rows], cell: { ...step.sum, chosen: step.chosen }, where };
  if (name === "rank") return { function: name, output: [search.scores.length], cell: search.mean, where: "the end of the text" };
  return undefined;
}

function named(data, token) {
  return h("span", { class: "tok" }, visible(label(data, token)));
}

const logit = (x) => number(x ?? -Infinity);

export function rule(data, c) {
  const masked = c.result === null;
  const after = masked ? `${logit(c.before)} + (−∞) = −∞` : c.holds ? `${logit(c.before)} becomes ${logit(c.result)}` : `${logit(c.before)} + 0 = ${logit(c.result)}`;
  const kind = c.result === c.before ? "the most probable token; the rule changed none" : "the most probable token that the rule changed";
  return [
    line(named(data, c.token), ` (${kind}): logit before `, h("b", { "data-logit": c.before }, logit(c.before))),
    line("condition: ", c.condition, " ", h("b", { "data-holds": String(c.holds) }, c.holds ? "→ true" : "→ false")),
    line(`logit after: ${after}`),
    c.race ? race(data, c.race) : null,
  ];
}

function race(data, r) {
  const together = h("b", { "data-together": r.together ?? "-Infinity" }, logit(r.together));
  const first = r.allowed ? line(`log Σ exp of the ${r.allowed.toLocaleString("en")} allowed timestamps = `, together, ", of which ", named(data, r.stamp), ` is the most probable: ${logit(r.stamp_logit)}`) : line("no timestamp is allowed here");
  const rival = r.rival === null ? line("no other token is allowed") : line("the best other token: ", named(data, r.rival), " ", h("b", { "data-rival": r.rival_logit ?? "-Infinity" }, logit(r.rival_logit)), `, which is ${r.wins ? "lower: a timestamp must follow" : "not lower: either may follow"}`);
  return [h("h3", {}, "The timestamps together against the best other token"), first, r.allowed ? rival : null];
}

export function logSoftmax(data, c) {
  return [line(named(data, c.token), ` after the rules: logit ${number(c.before)}, log Σ exp of all allowed tokens ${number(c.log_total)}`), line(`log p = ${number(c.before)} − ${number(c.log_total)} = ${number(c.result)}`)];
}

export function sum(data, c) {
  const { kind } = data.meta.search;
  return [
    line("Σ log p so far ", h("b", { "data-before": c.before }, number(c.before)), " + log p of ", named(data, c.chosen), " ", h("b", { "data-logprob": c.logprob }, number(c.logprob)), " = ", h("b", { "data-sum": c.result }, number(c.result))),
    kind === "beam search" ? rivals(data) : h("p", { class: "note" }, kind === "greedy" ? "The token with the largest log p is taken." : "The token was drawn with probability proportional to p ^ (1 / temperature)."),
  ];
}

function rivals(data) {
  const { nodes, beam_size: size } = data.meta.search;
  const here = nodes.filter(([step]) => step === state.step).slice(0, size + 3);
  const rows = here.map(([, parent, token, logprob, total, fate]) => h("tr", { class: fate === 2 ? "same" : "" }, [h("td", {}, named(data, token)), ...[parent < 0 ? 0 : nodes[parent][4], logprob, total].map((x) => h("td", { class: "num" }, number(x))), h("td", {}, ["kept", "ended", "dropped"][fate])]));
  return [h("p", { class: "note" }, `The best continuations of all beams at this step; ${size} are kept:`), h("div", { class: "scroll" }, h("table", { class: "tight", id: "rivals" }, h("tr", {}, ["token", "parent's Σ", "log p", "Σ", ""].map((t) => h("th", {}, t))), rows))];
}

export function meanLogprob(data, c) {
  const rows = data.meta.search.scores.map((one, i) => h("tr", { class: i ? "" : "chosen" }, [i + 1, number(one.sum), one.length, number(one.divisor), number(one.result)].map((x) => h("td", { class: "num" }, x))));
  const penalty = about().options.length_penalty;
  const divisor = penalty === null || penalty === undefined ? "the number of tokens" : `((5 + tokens) / 6) ^ ${penalty}`;
  return [
    h("p", { class: "note" }, `Hypotheses are ranked by their sum divided by ${divisor}; the highest score wins.`),
    h("div", { class: "scroll" }, h("table", { class: "tight", id: "scores" }, h("tr", {}, ["rank", "Σ log p", "tokens", "divided by", "score"].map((t) => h("th", { class: "num" }, t))), rows)),
    line(`The decision log has the mean over the tokens and the end-of-text token: ${number(c.sum)} / (${c.length} + 1) = ${number(c.result)}`),
  ];
}
