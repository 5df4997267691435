// The state of the page. Everything drawn follows from it and from the packed numbers.
export const state = {
  runs: [], // { about, windows: [unpacked data or null] }
  run: 0,
  window: 0,
  step: 0,
  layer: 0,
  head: 0,
  view: "overview",
  box: null, // the name of the open box
  rival: null, // the candidate to compare with the chosen token
};
export const RULES = ["penalize_repetition", "forbid_repeated_ngrams", "suppress_blank", "suppress_tokens", "apply_timestamp_rules"]; // in the order in which they are applied
const listeners = [];

export function onChange(listener) {
  listeners.push(listener);
}

export function set(change) {
  Object.assign(state, change);
  for (const listener of listeners) listener(change);
}

export function current() {
  return state.runs[state.run].windows[state.window];
}

export function about() {
  return state.runs[state.run].about;
}

export function stepsOf(data) {
  return data.meta.steps ?? [];
}

export function label(data, token) {
  return data.meta.labels[token] ?? `#${token}`;
}

export function candidatesOf(data, step) {
  // the candidates of one step: [{ id, logprobs: [before, after each rule ..., final], why, shares }]
  const { "candidate/at": at, "candidate/ids": ids, "candidate/logprobs": all, "candidate/shares": shares } = data.arrays;
  const [n, m] = [all.shape[1], shares.shape[1]];
  const found = [];
  for (let i = at[step]; i < at[step + 1]; i++) {
    const why = data.meta.steps[step].why[i - at[step]];
    found.push({ id: ids[i], logprobs: all.subarray(i * n, (i + 1) * n), why, shares: shares.subarray(i * m, (i + 1) * m) });
  }
  return found;
}

export function wordOfStep(data, step) {
  return data.wordOfStep[step] ?? -1;
}

export function prepare(data) {
  // map steps to words: the tokens of the words are those of the steps, in order
  const owners = data.meta.words.flatMap((word, i) => word.tokens.map((token) => [token, i]));
  let k = 0;
  data.wordOfStep = stepsOf(data).map(({ chosen }) => (k < owners.length && owners[k][0] === chosen ? owners[k++][1] : -1));
  data.selfAt = [0];
  const { n_text_layer: layers, n_text_head: heads } = about().model.dims;
  for (const { length } of stepsOf(data)) data.selfAt.push(data.selfAt.at(-1) + layers * heads * length);
  return data;
}
