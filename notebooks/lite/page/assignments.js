// Assignments in the page: the cells of a notebook, each in an editor, checked by Python, handed in as a notebook.
import { paragraphs } from "./prose.js";
import { ask } from "./python.js";

export const NAMES = {
  a1_layers: "1 · Layers", a2_attention: "2 · Attention", a3_cache: "3 · The KV cache", a4_search: "4 · Search",
  a5_audio: "5 · Audio and alignment",
};

export const FILES = Object.keys(NAMES).map((name) => `assignments/${name}.ipynb`);

let notebook = null, name = "", editors = [];

const textOf = (cell) => [cell.source].flat().join("");
const isTask = (cell) => cell.cell_type === "code" && textOf(cell).includes("raise NotImplementedError");
const key = () => `npwhisper ${name}`;

/** Show an assignment, with what was written before in this browser; `busily` runs what Python needs time for. */
export async function show(chosen, place, busily) {
  name = chosen;
  notebook = await (await fetch(`assignments/${name}.ipynb`)).json();
  const written = JSON.parse(localStorage.getItem(key()) ?? "{}");
  place.replaceChildren();
  editors = [];
  notebook.cells.forEach((cell, i) => {
    if (cell.metadata.tags?.includes("install")) return;
    place.append(cell.cell_type === "code" ? editor(cell, i, written[i], busily) : prose(cell));
  });
}

function prose(cell) {
  const text = document.createElement("div"), [first, ...rest] = textOf(cell).split("\n");
  const heading = document.createElement("h3"), body = document.createElement("div");
  heading.textContent = first.replace(/^#+ /, "").replaceAll("`", "");
  body.className = "text";
  body.append(...paragraphs(rest.join("\n")));
  text.className = "task";
  text.append(heading, body);
  return text;
}

function editor(cell, i, written, busily) {
  const box = document.createElement("div"), code = document.createElement("textarea");
  const button = document.createElement("button"), result = document.createElement("pre");
  code.value = written ?? textOf(cell);
  code.rows = Math.min(24, code.value.split("\n").length + 1);
  code.spellcheck = false;
  code.setAttribute("aria-label", `Code of cell ${i + 1}`);
  code.oninput = keep;
  button.textContent = isTask(cell) ? "Check" : "Run";
  button.type = "button";
  result.hidden = true;
  const own = { i, cell, code, result, passed: null };
  button.onclick = () => busily(() => run(own));
  editors.push(own);
  box.append(code, button, result);
  return box;
}

function keep() {
  localStorage.setItem(key(), JSON.stringify(Object.fromEntries(editors.map(({ i, code }) => [i, code.value]))));
}

/** Run a cell, and first those before it that were not run: a notebook is read from the top. */
async function run(own) {
  for (const earlier of editors) {
    if (earlier === own) break;
    if (!earlier.hasRun && !isUnwritten(earlier)) await runOne(earlier);
  }
  return runOne(own);
}

const isUnwritten = ({ cell, code }) => isTask(cell) && code.value === textOf(cell);

/** Python has started again: no cell has run there. */
export const forgetRuns = () => editors.forEach((own) => { own.hasRun = false; });

async function runOne(own) {
  const { text, passed } = await ask("cell", { assignment: name, source: own.code.value });
  own.hasRun = true;
  own.passed = passed;
  own.result.hidden = !text;
  own.result.textContent = text;
  own.result.className = passed === null ? "" : passed ? "right" : "wrong";
  return passed;
}

/** Run all cells; how many of the tasks are right. */
export async function checkAll() {
  for (const own of editors) await runOne(own);
  const tasks = editors.filter(({ cell }) => isTask(cell));
  return { right: tasks.filter(({ passed }) => passed).length, all: tasks.length };
}

/** The student's file: the notebook with the code of the editors, without outputs. */
export function handIn() {
  const cells = notebook.cells.map((cell, i) => {
    const own = editors.find((e) => e.i === i);
    return own ? { ...cell, source: own.code.value, outputs: [], execution_count: null } : cell;
  });
  return { file: `${name}.ipynb`, text: `${JSON.stringify({ ...notebook, cells }, null, 1)}\n` };
}
