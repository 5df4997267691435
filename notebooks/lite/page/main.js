// The page: a sound becomes text, a layer is changed, words that changed are marked.
import * as assignments from "./assignments.js";
import { ask, begin } from "./python.js";
import * as sound from "./sound.js";
import { compared, split } from "./words.js";

const at = (id) => document.getElementById(id);
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
const state = { samples: null, isReady: false, isBusy: false, first: null, sources: {}, recorder: null };

const EMBEDDED = "tiny.en, which comes with the page";

window.laboratory = state; // for the curious, at the console

/* theme */
function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  at("theme").textContent = theme === "dark" ? "Light" : "Dark";
  if (state.samples) sound.draw(at("wave"), state.samples);
}
setTheme(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
at("theme").onclick = () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");

/* loading */
async function keepFiles() {
  if (!("serviceWorker" in navigator)) return; // not from localhost nor by https: it works, and loads again next time
  try {
    await navigator.serviceWorker.register("sw.js");
    if (!navigator.serviceWorker.controller) {
      await new Promise((resolve) => { navigator.serviceWorker.oncontrollerchange = resolve; setTimeout(resolve, 3000); });
    }
  } catch (error) {
    console.warn(`nothing will be cached: ${error.message}`);
  }
}

async function start() {
  state.isReady = false;
  at("loading").hidden = false;
  const { sizes } = await (await fetch("files.json")).json();
  const total = Object.entries(sizes).filter(([name]) => !/example|scipy|product\.c|\.m?js$/.test(name)).reduce((sum, [, n]) => sum + n, 0);
  begin((message) => tell(message, total));
  const { about, sources, products } = await ask("start", { files: Object.keys(sizes) });
  state.sources = sources;
  showProducts(products);
  at("model").textContent = `tiny.en: ${about}`;
  at("layer").replaceChildren(...Object.keys(sources).map((name) => new Option(name, name)));
  showLayer();
  at("loading").hidden = true;
  state.isReady = true;
  update();
  const later = [...Object.keys(sizes), ...assignments.FILES];
  navigator.serviceWorker?.controller?.postMessage(later); // what may be wanted without a network
}

function tell(message, total) {
  if (message.tell === "stage") at("loading-what").textContent = message.what;
  if (message.tell === "failed") fail(message.what);
  if (message.tell === "loaded") {
    at("loading-bar").value = Math.min(1, message.bytes / total);
    at("loading-size").textContent = `${megabytes(Math.min(message.bytes, total))} of ${megabytes(total)}`;
  }
}

function fail(what) {
  at("loading").hidden = false;
  at("loading-what").textContent = `Python could not start: ${what}`;
}

function update() {
  const can = state.isReady && !state.isBusy;
  for (const id of ["transcribe", "run-changed", "glass"]) at(id).disabled = !can || !state.samples;
  at("measure").disabled = !can || at("products").hidden;
  at("products").disabled = !can;
  at("checkpoint").disabled = !can;
  for (const id of ["check-all", "hand-in"]) at(id).disabled = !can || !at("assignment").value;
  at("busy").hidden = !state.isBusy;
}

/** Do something that Python needs time for, one thing at a time; `what` tells what is going on. */
async function busily(what, work) {
  if (!state.isReady || state.isBusy) return null;
  state.isBusy = true;
  at("state").textContent = what;
  at("problem").hidden = true;
  update();
  try {
    return await work();
  } catch (error) {
    at("problem").textContent = error.message;
    at("problem").hidden = false;
    return null;
  } finally {
    state.isBusy = false;
    update();
  }
}

/** Python computes in one go and hears nothing meanwhile: what stops it is a new one. */
at("stop").onclick = () => {
  assignments.forgetRuns();
  start().catch((error) => fail(error.message));
};

/* 1 · the sound */
async function take(blob, about) {
  try {
    state.samples = await sound.decoded(await blob.arrayBuffer());
  } catch {
    at("sound-about").textContent = `${about} is no sound that this browser can decode: try wav, mp3, m4a, ogg or flac.`;
    return;
  }
  state.first = null;
  at("sound-about").textContent = `${about}: ${sound.seconds(state.samples).toFixed(1)} s`;
  at("wave").hidden = at("player").hidden = false;
  sound.draw(at("wave"), state.samples);
  at("player").src = URL.createObjectURL(blob);
  for (const id of ["segments", "changed"]) at(id).replaceChildren();
  for (const id of ["figures", "changes"]) at(id).textContent = "";
  update();
}

at("example").onclick = async () => take(await (await fetch("static/example.flac")).blob(), "The example");
at("file").onchange = ({ target }) => target.files[0] && take(target.files[0], target.files[0].name);
at("record").onclick = async () => {
  const button = at("record");
  if (state.recorder) {
    const blob = await state.recorder.stop();
    state.recorder = null;
    button.textContent = "Record";
    button.setAttribute("aria-pressed", "false");
    return take(blob, "Your recording");
  }
  try {
    state.recorder = await sound.recording();
    button.textContent = "Stop";
    button.setAttribute("aria-pressed", "true");
  } catch (error) {
    at("sound-about").textContent = `No recording: ${error.message}`;
  }
  return null;
};

/* 2 · its text */
const clock = (s) => `${Math.floor(s / 60)}:${(s % 60).toFixed(1).padStart(4, "0")}`;

function line(segment, ...content) {
  const item = document.createElement("li"), time = document.createElement("time"), text = document.createElement("span");
  time.textContent = `${clock(segment.start)}–${clock(segment.end)}`;
  text.append(...content);
  item.append(time, text);
  return item;
}

async function transcribe(code, onSegment) {
  const segments = [];
  const figures = await ask("transcribe", { samples: state.samples, code }, (segment) => {
    segments.push(segment);
    onSegment(segment);
  });
  return { ...figures, segments, text: segments.map((s) => s.text).join("") };
}

at("transcribe").onclick = () => busily("Transcribing", async () => {
  at("segments").replaceChildren();
  state.first = await transcribe("", (segment) => at("segments").append(line(segment, segment.text)));
  const { seconds: took, tokens, memory } = state.first;
  const speed = (sound.seconds(state.samples) / took).toFixed(2);
  at("figures").textContent = `${took.toFixed(1)} s, ${tokens.length} tokens, ${speed} × real time${by()}`;
  at("memory").textContent = `Python's memory: ${megabytes(memory.python)}`;
});

/* 3 · a changed layer */
function showLayer() {
  at("code").value = state.sources[at("layer").value] ?? "";
  at("code").rows = Math.max(6, Math.min(24, at("code").value.split("\n").length + 1));
}
at("layer").onchange = at("reset").onclick = showLayer;
at("code").onkeydown = (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  at("run-changed").click();
};

function marked(words, goneAtEnd) {
  const parts = words.flatMap(({ word, isNew, gone }) => [...struck(gone), isNew ? named("mark", word) : word, " "]);
  return [...parts, ...struck(goneAtEnd)];
}
const struck = (words) => (words.length ? [named("del", words.join(" ")), " "] : []);

function named(tag, text) {
  const element = document.createElement(tag);
  element.textContent = text;
  return element;
}

at("run-changed").onclick = () => busily("Transcribing with your layer", async () => {
  at("changed").replaceChildren();
  at("changes").textContent = "";
  if (!state.first) state.first = await transcribe("", (segment) => at("segments").append(line(segment, segment.text)));
  const second = await transcribe(at("code").value, (segment) => at("changed").append(line(segment, segment.text)));
  const { words, goneAtEnd } = compared(split(state.first.text), split(second.text));
  const whole = { start: second.segments[0]?.start ?? 0, end: second.segments.at(-1)?.end ?? 0 };
  at("changed").replaceChildren(line(whole, ...marked(words, goneAtEnd)));
  const added = words.filter(({ isNew }) => isNew).length;
  const gone = words.reduce((sum, word) => sum + word.gone.length, goneAtEnd.length);
  const same = added || gone ? `${added} new words, ${gone} gone` : "not a word changed";
  at("changes").textContent = `Your layer was called ${second.calls} times in ${second.seconds.toFixed(1)} s: ${same}.`;
});

/* 4 · the glass box */
at("glass").onclick = () => busily("Building the glass box", async () => {
  const html = await ask("glass", { samples: state.samples, code: "" });
  const url = URL.createObjectURL(new Blob([html], { type: "text/html" }));
  const { theme } = document.documentElement.dataset; // the glass box alone would follow the system
  at("glass-box").srcdoc = html.replace("<html ", `<html data-theme="${theme}" `);
  for (const id of ["glass-tab", "glass-save"]) at(id).href = url;
  for (const id of ["glass-box", "glass-tab", "glass-save"]) at(id).hidden = false;
});

/* 5 · assignments */
at("assignment").append(...Object.entries(assignments.NAMES).map(([file, title]) => new Option(title, file)));
at("assignment").onchange = async ({ target }) => {
  if (target.value) await assignments.show(target.value, at("tasks"), (work) => busily("Running your code", work));
  update();
};
at("check-all").onclick = () => busily("Checking", async () => {
  const { right, all } = await assignments.checkAll();
  at("score").textContent = `${right} of ${all} tasks right`;
});
at("hand-in").onclick = () => {
  const { file, text } = assignments.handIn(), link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = file;
  link.click();
};

/* 6 · the kernel */
const rate = (gflops) => `${gflops.toFixed(gflops < 10 ? 1 : 0)} GFLOP/s`;
const by = () => (at("products").hidden ? "" : `, products by ${chosen() === "simd" ? "SIMD" : "NumPy"}`);
const chosen = () => document.querySelector("input[name=products]:checked").value;

/** The switch, if there is a kernel, with what was measured at start; else why there is none. */
function showProducts({ fault, numpy, simd }) {
  at("products").hidden = Boolean(fault);
  at("no-kernel").hidden = !fault;
  at("no-kernel").textContent = `NumPy computes the products, not the SIMD kernel: ${fault}.`;
  if (fault) return;
  at("gflops-numpy").textContent = rate(numpy);
  at("gflops-simd").textContent = rate(simd);
  document.querySelector("input[name=products][value=simd]").checked = true;
}
at("products").onchange = () => busily("Changing the products", () => ask("compute", { by: chosen() }));

at("measure").onclick = () => busily("Measuring", async () => {
  const rows = (await ask("speeds")).map(({ name, shape, numpy, simd }) => {
    const row = document.createElement("tr"), head = named("th", name);
    head.scope = "row";
    row.append(head, ...[shape.join(" × "), numpy.toFixed(1), simd.toFixed(1), `${(simd / numpy).toFixed(0)} ×`].map((text) => named("td", text)));
    return row;
  });
  at("speeds").tBodies[0].replaceChildren(...rows);
  at("speeds").hidden = false;
});
document.querySelector("details:has(#source)").ontoggle = async () => {
  at("source").textContent ||= await (await fetch("static/kernel/product.c")).text();
};

/* the machine */
at("checkpoint").onchange = ({ target }) => busily("Opening the checkpoint", async () => {
  const files = [...target.files];
  target.value = ""; // so that the same file can be chosen again
  at("model").textContent = EMBEDDED;
  at("model").textContent = `${files.map((file) => file.name).join(", ")}: ${await ask("open", { files })}`;
  state.first = null;
});

keepFiles().then(start).catch((error) => fail(error.message));
