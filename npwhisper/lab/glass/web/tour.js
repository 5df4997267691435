// A guided tour of eight stops for first-time visitors.
import { h } from "./dom.js";
import { bestHead } from "./attention.js";
import { about, current, set, stepsOf } from "./state.js";

const STOPS = [
  { title: "Welcome", view: "overview", spot: "#map", text: "This page shows one real transcription in every detail. Whisper has two halves: an encoder, which turns sound into vectors (left, blue), and a decoder, which writes text (right, orange). The map is always here; the yellow box marks where you are. Click any box to open it." },
  { title: "The sound", view: "sound", box: null, spot: "#sound", text: "Everything begins with sound. Press play, or click a word, and the cursor moves over the waveform, the spectrogram and the words. The log-mel spectrogram, 100 frames per second, is the network's only input." },
  { title: "The encoder", view: "encoder", box: null, spot: "#view .heads", text: "In each block, every position (20 ms of sound) attends to all others: self-attention. A diagonal means that positions attend to their neighbours. After the last block, each vector describes what is said around its position. The encoder runs once per 30-second window." },
  { title: "Steps", view: "overview", box: null, step: 1, spot: "#stepper", text: "The decoder writes one token per step. Move the slider, or use the arrow keys ← and →. The strip above it shows the tokens: the more orange, the less certain the network was." },
  { title: "Where each step attends", view: "cross", box: null, follow: true, spot: "#view .card", side: "left", text: "Through cross-attention, each step attends to the sound. Some heads (★) attend exactly where the next word is spoken: from step to step, their attention moves down a diagonal. Word times are computed from these heads." },
  { title: "The choice", view: "tokens", box: null, step: 0, spot: "#rules-card", side: "left", text: "The network assigns a logit to each of {tokens} tokens. Then rules forbid some of them: at the first step, everything except timestamps. The table shows what each rule forbade, and why; below it are the probabilities before and after. Open a rule to see it applied to one token." },
  { title: "When was it said?", view: "times", box: null, word: true, spot: "#word-card", side: "left", text: "Word times are computed from the attention of the ★ heads in five stages: attention, standardisation, median filter, mean, and path. Words begin and end where the path moves on to the next token." },
  { title: "Open a box", view: "decoder", box: "decoder.blocks.0.attn.softmax", spot: "#panel", side: "left", text: "Every box shows its formula, its shapes, its source code, and one number recomputed from those of this run, so that you can check it. Now explore the rest: ▶ below the map goes from sound to token, one part at a time." },
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
  // the view was redrawn: restore the outline
  if (stop >= 0) document.querySelector(STOPS[stop].spot)?.classList.add("spot");
}
