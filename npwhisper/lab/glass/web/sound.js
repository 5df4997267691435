// The sound at the bottom: player, waveform, spectrogram and words under one cursor.
import { h, s, seconds } from "./dom.js";
import { melPicture } from "./canvas.js";
import { current, set, state, stepsOf } from "./state.js";

const audio = new Audio();
let stopAt = Infinity;
let loaded = null;
const cursors = new Set();

export function loadSound() {
  const { sound } = current().arrays;
  if (loaded === sound) return;
  loaded = sound;
  audio.pause();
  if (audio.src) URL.revokeObjectURL(audio.src);
  if (sound) audio.src = URL.createObjectURL(new Blob([sound]) /* FLAC or WAV: the browser detects which */);
  else audio.removeAttribute("src");
}

export function play(from, to = Infinity) {
  if (!loaded) return;
  stopAt = to;
  audio.currentTime = from;
  audio.play().catch(() => {}); // a browser may refuse to play before the first click
  follow();
}

export function toggle() {
  if (!audio.paused) audio.pause();
  else play(audio.currentTime >= length() - 0.05 ? 0 : audio.currentTime);
}

export function length() {
  const { start, end } = current().meta;
  return Math.max(end - start, 0.01);
}

function follow() {
  if (audio.currentTime >= stopAt) {
    audio.pause();
    stopAt = Infinity;
  }
  moveCursors(audio.currentTime);
  if (!audio.paused) requestAnimationFrame(follow);
}

function moveCursors(time) {
  const at = `${(100 * Math.min(time / length(), 1)).toFixed(3)}%`;
  for (const cursor of cursors) {
    if (!cursor.isConnected) cursors.delete(cursor);
    else cursor.style.left = at;
  }
  const clock = document.getElementById("clock");
  if (clock) clock.textContent = seconds(current().meta.start + time);
  const now = current().meta.start + time;
  for (const word of document.querySelectorAll("#sound .word")) {
    const isNow = !audio.paused && Number(word.dataset.start) <= now && now < Number(word.dataset.end);
    word.classList.toggle("playing", isNow);
  }
}

audio.addEventListener("pause", () => document.getElementById("play")?.setAttribute("aria-pressed", "false"));
audio.addEventListener("play", () => document.getElementById("play")?.setAttribute("aria-pressed", "true"));

export function sayWord(index, data = current()) {
  // play a word, and go to the step that produced it
  const word = data.meta.words[index];
  const step = stepsOf(data).findIndex((_, i) => data.wordOfStep[i] === index);
  if (step >= 0) set({ step });
  play(word.start - data.meta.start, word.end - data.meta.start);
}

export function cursor() {
  const line = h("div", { class: "cursor", style: { left: "0%" } });
  cursors.add(line);
  return line;
}

export function words(data = current()) {
  const { start, words: all } = data.meta;
  const place = (t) => `${((100 * (t - start)) / length()).toFixed(3)}%`;
  const chosen = data.wordOfStep[state.step];
  return h(
    "div",
    { class: "words", role: "group", "aria-label": "words; press one to play it" },
    all.map((word, i) =>
      h(
        "button",
        {
          class: "word", "data-word": i, "data-start": word.start, "data-end": word.end, "data-key": `word${i}`,
          "aria-current": i === chosen ? "true" : null,
          title: `${word.word.trim()}: ${seconds(word.start)} to ${seconds(word.end)}, probability ${word.probability.toFixed(3)}`,
          style: { left: place(word.start), width: `calc(${place(start + word.end - word.start)} - 1px)` },
          onclick: () => sayWord(i, data),
        },
        word.word.trim(),
      ),
    ).map((button, i) => (button.style.setProperty("--doubt", 1 - all[i].probability), button)),
  );
}

export function waveform(data = current(), height = 34) {
  const { outline } = data.arrays;
  if (!outline) return h("p", { class: "note" }, "The trace has no audio.");
  const top = Array.from(outline, (v, i) => `${i},${(50 - (v / 255) * 48).toFixed(1)}`);
  const bottom = Array.from(outline, (v, i) => `${i},${(50 + (v / 255) * 48).toFixed(1)}`).reverse();
  const shape = s("polygon", { class: "wave", points: [...top, ...bottom].join(" ") });
  return s("svg", { viewBox: `0 0 ${outline.length} 100`, preserveAspectRatio: "none", style: { width: "100%", height: `${height}px`, display: "block" }, role: "img", "aria-label": "waveform" }, shape);
}

export function lane(...children) {
  // a strip of time; a click plays from that time
  const strip = h("div", { class: "lane", onclick: (event) => {
    if (event.target.closest("button")) return;
    const box = strip.getBoundingClientRect();
    play(((event.clientX - box.left) / box.width) * length());
  } }, children, cursor());
  return strip;
}

export function axis(n = 6) {
  const { start } = current().meta;
  return h("div", { class: "axis", "aria-hidden": "true" }, Array.from({ length: n + 1 }, (_, i) => h("span", {}, seconds(start + (length() * i) / n))));
}

export function drawSound() {
  const mel = melPicture(current());
  mel.style.height = "34px";
  const strip = lane(waveform(), mel, words());
  const button = h("button", { id: "play", "aria-pressed": "false", "aria-label": "play or pause", disabled: !loaded, title: "space: play, pause", onclick: toggle }, "▶ play");
  const clock = h("div", { id: "clock", class: "num" }, seconds(current().meta.start));
  return [h("div", {}, button, clock), h("div", {}, strip, axis(8))];
}
