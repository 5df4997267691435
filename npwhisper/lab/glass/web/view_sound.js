// View: the sound, and the input of the network.
import { h, number, seconds } from "./dom.js";
import { melPicture } from "./canvas.js";
import { current } from "./state.js";
import { axis, lane, waveform, words } from "./sound.js";
import { openers } from "./grid.js";

export function soundView() {
  const data = current();
  const mel = melPicture(data);
  mel.style.height = "260px";
  return [
    h("h2", {}, "The sound, and the input of the network"),
    h("p", { class: "lead" }, "One column every 10 ms: the logarithm of the power in each mel bin, low frequencies at the bottom. The network gets nothing else of the sound. Click a word to play it."),
    h("div", { class: "card" }, lane(waveform(data, 90), mel, words()), axis(10)),
    h("p", { class: "note" }, `${data.arrays.mel.shape[0]} bins × ${data.meta.mel.frames} frames, values from ${number(data.meta.mel.low)} to ${number(data.meta.mel.high)}, drawn in 256 levels. The window is padded to 30 s with zeros, which are not drawn.`),
    openers("How it is computed", ["mel", "stft", "mel_filters", "compress", "encoder.conv1"]),
    words_table(data),
  ];
}

function words_table(data) {
  const rows = data.meta.words.map((word, i) => h("tr", { "data-word-row": i },
    h("td", {}, word.word.trim()), h("td", { class: "num", "data-start": word.start }, seconds(word.start)), h("td", { class: "num", "data-end": word.end }, seconds(word.end)), h("td", { class: "num" }, number(word.probability))));
  return h("details", {}, h("summary", {}, "Word times as a table"), h("table", {}, h("tr", {}, ["word", "start", "end", "probability"].map((t) => h("th", {}, t))), rows));
}
