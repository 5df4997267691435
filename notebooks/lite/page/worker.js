// Python, in a thread of its own. The page posts {id, ask, ...}; answers are {id, value} or {id, error}.
import * as kernel from "./kernel.js";
import { loadPyodide } from "./static/pyodide/pyodide.mjs";

const PACKAGES = ["numpy", "tiktoken", "tqdm", "npwhisper"];
const FOR_CELLS = ["scipy"]; // 14 MB that only assignments need: the browser resamples
const WEIGHTS = new URL("static/weights/tiny.en.safetensors", location.href).href;
const KERNEL = "static/kernel/product.wasm";
let python, laboratory, embedded;

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
  python = await loadPyodide({ indexURL: new URL("static/pyodide/", location.href).href, env: { NPWHISPER_EMBEDDED_URL: WEIGHTS } });
  await python.loadPackage(PACKAGES, { messageCallback: () => {} });
  stage("Loading the model");
  embedded = `${python.runPython("import npwhisper; npwhisper.__path__[0]")}/assets/tiny.en.safetensors`;
  const weights = await fetch(WEIGHTS);
  await place(embedded, weights.body, Number(weights.headers.get("Content-Length")));
  stage("Starting");
  for (const name of ["kernel.py", "laboratory.py"]) python.FS.writeFile(name, await (await fetch(name)).text());
  laboratory = python.pyimport("laboratory");
  const about = ask("about");
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

/** Write a stream into Python's file system piece by piece: it is in memory once. */
async function place(path, stream, size) {
  const file = python.FS.open(path, "w+");
  if (size) python.FS.truncate(path, size);
  let at = 0;
  for await (const piece of pieces(stream)) at += python.FS.write(file, piece, 0, piece.length, at);
  python.FS.close(file);
}

async function* pieces(stream) {
  const reader = stream.getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) yield part.value;
}

/** The float32 weights are in memory: their file goes. The embedded one comes from the browser's cache if Python wants it again. */
function remove(path) {
  if (!python.FS.analyzePath(path).exists) return;
  const bytes = python.FS.lookupPath(path).node.contents?.buffer;
  python.FS.unlink(path);
  bytes?.transfer?.(0); // given back now, not when garbage is collected
}

/** Call a function of laboratory.py. */
function ask(name, ...args) {
  const { value, error } = JSON.parse(laboratory.answer(name, ...args));
  remove(embedded);
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
  const folder = "/checkpoint", paths = files.map((file) => `${folder}/${file.name}`);
  python.FS.mkdirTree(folder);
  try {
    for (const [i, file] of files.entries()) await place(paths[i], file.stream(), file.size);
    return ask("load", files.length === 1 ? paths[0] : folder);
  } finally {
    paths.forEach(remove);
  }
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
