// Python, in a thread of its own. The page posts {id, ask, ...}; answers are {id, value} or {id, error}.
import * as kernel from "./kernel.js";
import { loadPyodide } from "./static/pyodide/pyodide.mjs";

const PACKAGES = ["numpy", "tiktoken", "tqdm", "npwhisper"];
const FOR_CELLS = ["scipy"]; // 14 MB that only assignments need: the browser resamples
const EMBEDDED = "tiny.en.safetensors";
const KERNEL = "static/kernel/product.wasm";
let python, laboratory;

/** Count the bytes of everything that is fetched, as they come. */
function countFetches(tell) {
  const plain = self.fetch.bind(self);
  self.fetch = async (...args) => {
    const response = await plain(...args);
    if (!response.body) return response;
    const count = new TransformStream({ transform: (piece, out) => { tell(piece.length); out.enqueue(piece); } });
    return new Response(response.body.pipeThrough(count), { status: response.status, headers: response.headers });
  };
}

async function start(files) {
  let loaded = 0;
  countFetches((n) => postMessage({ tell: "loaded", bytes: (loaded += n) }));
  const stage = (what) => postMessage({ tell: "stage", what });
  stage("Loading Python and NumPy");
  kernel.watchForMemory();
  python = await loadPyodide({ indexURL: new URL("static/pyodide/", location.href).href });
  await python.loadPackage(PACKAGES, { messageCallback: () => {} });
  stage("Loading the model");
  await placeEmbedded();
  stage("Starting");
  for (const name of ["kernel.py", "laboratory.py"]) python.FS.writeFile(name, await (await fetch(name)).text());
  laboratory = python.pyimport("laboratory");
  const about = ask("load");
  removeEmbedded();
  stage("Comparing the kernel with NumPy");
  return { about, sources: ask("sources"), products: await attach(files.includes(KERNEL)) };
}

/** Let the kernel compute the products, unless it cannot; then NumPy does, and the page shows why. */
async function attach(isBuilt) {
  try {
    if (!isBuilt) throw new Error("this page was built without it, for want of a compiler");
    return JSON.parse(ask("attach", await kernel.load(KERNEL)));
  } catch (error) {
    return { fault: error.message };
  }
}

/** The folder of the installed package where it looks for its embedded model. */
const assets = () => `${python.runPython("import npwhisper; npwhisper.__path__[0]")}/assets/${EMBEDDED}`;

/** Write the weights into Python's file system piece by piece: they are in memory once. */
async function placeEmbedded() {
  const response = await fetch(`static/weights/${EMBEDDED}`);
  const size = Number(response.headers.get("Content-Length"));
  const file = python.FS.open(assets(), "w+");
  if (size) python.FS.truncate(assets(), size);
  let at = 0;
  for await (const piece of pieces(response)) at += python.FS.write(file, piece, 0, piece.length, at);
  python.FS.close(file);
}

async function* pieces(response) {
  const reader = response.body.getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) yield part.value;
}

/** The float32 weights are in memory now: the file is not needed any more. */
const removeEmbedded = () => python.FS.unlink(assets());

/** Call a function of laboratory.py. */
function ask(name, ...args) {
  const { value, error } = JSON.parse(laboratory.answer(name, ...args));
  if (error) throw new Error(error);
  return value;
}

/** Samples as an array of NumPy, which the calls below take and give back. */
function withSamples(samples, use) {
  const proxy = python.toPy(samples);
  const array = python.pyimport("numpy").asarray(proxy);
  try {
    return use(array);
  } finally {
    array.destroy();
    proxy.destroy();
  }
}

const memory = () => ({ python: python._module.HEAPU8.length });

/** Own checkpoint: one file, or the files of a folder. */
async function open(files) {
  const folder = "/checkpoint";
  python.FS.mkdirTree(folder);
  for (const name of python.FS.readdir(folder).filter((n) => n[0] !== ".")) python.FS.unlink(`${folder}/${name}`);
  for (const file of files) python.FS.writeFile(`${folder}/${file.name}`, new Uint8Array(await file.arrayBuffer()));
  return ask("load", files.length === 1 ? `${folder}/${files[0].name}` : folder);
}

const answers = {
  start: ({ files }) => start(files),
  compute: ({ by }) => ask("compute", by),
  speeds: () => JSON.parse(ask("speeds")),
  transcribe: ({ id, samples, code }) => withSamples(samples, (array) => {
    const tell = (segment) => postMessage({ id, segment: JSON.parse(segment) });
    return { ...JSON.parse(ask("transcribe", array, code, tell)), memory: memory() };
  }),
  glass: ({ samples, code }) => withSamples(samples, (array) => ask("glass", array, code)),
  cell: async ({ assignment, source }) => {
    await python.loadPackage(FOR_CELLS, { messageCallback: () => {} });
    return JSON.parse(ask("run_cell", assignment, source));
  },
  open: ({ files }) => open(files),
};

self.onmessage = async ({ data }) => {
  try {
    postMessage({ id: data.id, value: await answers[data.ask](data) });
  } catch (error) {
    postMessage({ id: data.id, error: error.message });
  }
};
