// A guided tour of eight stops for a first-time visitor.
import { h } from "./dom.js";
import { bestHead } from "./attention.js";
import { about, current, set, stepsOf } from "./state.js";

const STOPS = [
  { title: "Welcome", view: "overview", spot: "#map", text: "This page is one real transcription, taken apart. Whisper has two halves: an encoder, which turns sound into vectors (left, blue), and a decoder, which writes text (right, orange). The map stays here; the yellow box is where you are. Every box opens." },
  { title: "The sound", view: "sound", box: null, spot: "#sound", text: "Everything begins with sound. Press play, or a word, and the cursor runs over the waveform, the spectrogram and the words. The spectrogram, 100 columns a second, is all that the network gets." },
  { title: "The encoder", view: "encoder", box: null, spot: "#view .heads", text: "In each block every position, 20 ms of sound, attends to all others: self-attention. A diagonal means that positions attend to their neighbours. After the last block each vector describes what is said around its position. This happens once for 30 seconds." },
  { title: "Steps", view: "overview", box: null, step: 1, spot: "#stepper", text: "The decoder writes one token a step. Move the slider, or use the arrow keys ← and →. The strip above it shows the tokens: the more orange, the less sure the network was." },
  { title: "Where it looks", view: "cross", box: null, follow: true, spot: "#view .card", side: "left", text: "Through cross-attention a step attends to the sound. Some heads (★) attend just where the next word is said: from step to step, their attention runs down a diagonal. Those heads give the word times." },
  { title: "The choice", view: "tokens", box: null, step: 0, spot: "#rules-card", side: "left", text: "The network gives every one of {tokens} tokens a number. Then rules forbid some: at the first step, everything but a timestamp. The table tells which rule forbade what, and why; below it are the probabilities before and after. Open a rule to see it at work on one token." },
  { title: "When was it said?", view: "times", box: null, word: true, spot: "#word-card", side: "left", text: "From the attention of the ★ heads come the word times, in five stages: attention, standardised, median, mean, and the path. The borders of the words are where the path goes on to the next token." },
  { title: "Open a box", view: "decoder", box: "decoder.blocks.0.attn.softmax", spot: "#panel", side: "left", text: "Every box shows its formula, its shapes, the source that really ran, and one number computed again from this run, so that you can check it. Now it is yours: walk from sound to token with ▶ under the map." },
];
let stop = -1;

export function tourStop() {
  return stop;
}

export function go(to) {
  document.querySelectorAll(".spot").forEach((element) => element.classList.remove("spot"));
  stop = to < 0 || to >= STOPS.length ? -1 : to;
  if (stop < 0) {
    document.getElementById("tour")?.remove();
    document.getElementById("start-tour")?.focus();
    return;
  }
  const { view, box = null, step, follow, word } = STOPS[stop];
  const change = { view, box };
  const data = current();
  if (step !== undefined) change.step = Math.min(step, Math.max(0, stepsOf(data).length - 1));
  if (word) change.step = Math.max(0, data.wordOfStep.findIndex((w) => w >= 0));
  if (follow) Object.assign(change, bestHead(data));
  set(change);
  show();
}

function show() {
  const { title, text, spot, side } = STOPS[stop];
  document.querySelector(spot)?.classList.add("spot");
  document.getElementById("tour")?.remove();
  const last = stop === STOPS.length - 1;
  const box = h(
    "div",
    { id: "tour", class: side ?? null, role: "dialog", "aria-label": `guided tour, stop ${stop + 1} of ${STOPS.length}`, "data-stop": stop },
    h("h2", {}, title),
    h("p", {}, text.replace("{tokens}", about().model.dims.n_vocab.toLocaleString("en"))),
    h("footer", {}, h("button", { onclick: () => go(stop - 1), disabled: stop === 0 }, "◀ back"), h("span", { class: "note" }, `${stop + 1} of ${STOPS.length}`), h("span", {}, h("button", { onclick: () => go(-1) }, last ? "done" : "end"), " ", last ? null : h("button", { id: "tour-next", onclick: () => go(stop + 1), "aria-pressed": "true" }, "next ▶"))),
  );
  document.body.append(box);
  (document.getElementById("tour-next") ?? box.querySelector("button:not([disabled])")).focus({ preventScroll: true });
}

export function respot() {
  // the view was drawn anew: put the frame back
  if (stop >= 0) document.querySelector(STOPS[stop].spot)?.classList.add("spot");
}
