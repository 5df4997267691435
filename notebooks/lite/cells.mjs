// Run cells in the kernel of the browser's JupyterLab, but under Node: node cells.mjs SITE [simd] < cells.json
// With "simd", products are computed as in the plain page, not by NumPy.
// Reads [source, ...]; writes a line of JSON for each: {status, seconds (of processor time), stdout, stderr, error}.
import { readFileSync, readdirSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

const KERNEL = "@jupyterlite/pyodide-kernel-extension";
const OWN = /^(piplite|ipykernel|pyodide_kernel)-/; // JupyterLite's own wheels
const site = resolve(process.argv[2]);
const isSimd = process.argv[3] === "simd";
const simd = await import(pathToFileURL(`${site}/kernel.js`));
const read = (path) => readFileSync(`${site}/${path}`);

/** Python with all that the lab loads before the first cell. */
async function started() {
  const { loadPyodide } = await import(pathToFileURL(`${site}/static/pyodide/pyodide.mjs`));
  const settings = JSON.parse(read("lab/jupyter-lite.json"))["jupyter-config-data"].litePluginSettings;
  const { packages } = settings[`${KERNEL}:kernel`].loadPyodideOptions;
  const say = (text) => console.error(text);
  if (isSimd) simd.watchForMemory();
  const python = await loadPyodide({ indexURL: `${site}/static/pyodide/`, packages, stdout: say, stderr: say });
  const wheels = `lab/extensions/${KERNEL}/static/pypi`;
  for (const name of readdirSync(`${site}/${wheels}`).filter((name) => OWN.test(name))) {
    python.unpackArchive(new Uint8Array(read(`${wheels}/${name}`)), "wheel");
  }
  placeWeights(python);
  if (isSimd) await useKernel(python);
  return python;
}

/** Put the page's compiled kernel in the place of NumPy's products. */
async function useKernel(python) {
  const bytes = read("static/kernel/product.wasm").toString("base64");
  python.FS.writeFile("kernel.py", read("kernel.py"));
  python.globals.set("multiply", await simd.load(`data:application/wasm;base64,${bytes}`));
  python.runPython(`
import kernel
from npwhisper.compute import products

compiled = kernel.Kernel(multiply)
assert not kernel.fault(compiled)
products.use(compiled)
del kernel, products, compiled, multiply
`);
}

/** In a browser the package fetches them; under Node there is nothing to fetch from. */
function placeWeights(python) {
  const assets = python.runPython("import npwhisper; npwhisper.__path__[0]") + "/assets";
  python.FS.writeFile(`${assets}/tiny.en.safetensors`, new Uint8Array(read("static/weights/tiny.en.safetensors")));
}

/** Run one cell as the lab's kernel does. */
async function ran(kernel, streams, source) {
  const begin = process.cpuUsage(), said = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"]) {
    streams[name].publish_stream_callback = (_, text) => { said[name] += text; };
  }
  const result = await kernel.run(source);
  const { status, ename, evalue } = result.toJs({ dict_converter: Object.fromEntries });
  const error = status === "ok" ? "" : `${ename}: ${evalue}`;
  const { user, system } = process.cpuUsage(begin);
  return { status, seconds: (user + system) / 1e6, ...said, error };
}

const python = await started();
const module = python.pyimport("pyodide_kernel");
const streams = { stdout: module.stdout_stream, stderr: module.stderr_stream };
for (const source of JSON.parse(readFileSync(0))) {
  console.log(JSON.stringify(await ran(module.kernel_instance, streams, source)));
}
