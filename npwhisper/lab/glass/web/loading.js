// Unpacks the window that is shown, of each run.
import { blockText, unpack } from "./unpack.js";
import { prepare, set, state, stepsOf } from "./state.js";

export async function openWindow(index, step = 0) {
  await load(state.run, index);
  set({ window: index, step: Math.min(step, Math.max(0, stepsOf(state.runs[state.run].windows[index]).length - 1)), rival: null });
}

export async function openRun(index) {
  const window = Math.min(state.window, state.runs[index].about.overview.length - 1);
  await load(index, window);
  const { n_text_layer: layers, n_text_head: heads } = state.runs[index].about.model.dims;
  const step = Math.min(state.step, Math.max(0, stepsOf(state.runs[index].windows[window]).length - 1));
  set({ run: index, window, step, layer: Math.min(state.layer, layers - 1), head: Math.min(state.head, heads - 1), box: null, rival: null });
}

export async function load(run, window) {
  // keep one window of each run in memory
  const { windows } = state.runs[run];
  windows.forEach((_, i) => i !== window && (windows[i] = null));
  if (!windows[window]) windows[window] = await prepareRun(run, await unpack(blockText(`data-${run}-${window}`)));
  const other = 1 - run;
  if (state.runs[other]?.windows.length > window && !state.runs[other].windows[window]) {
    state.runs[other].windows.fill(null);
    state.runs[other].windows[window] = await prepareRun(other, await unpack(blockText(`data-${other}-${window}`)));
  }
}

async function prepareRun(run, data) {
  const before = state.run;
  state.run = run;
  prepare(data);
  state.run = before;
  return data;
}
