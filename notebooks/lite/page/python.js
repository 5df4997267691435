// The page's side of the worker: every question is a promise.
const waiting = new Map();
let last = 0, worker;

/** Ask the worker; `onSegment` gets what comes before the answer. */
export function ask(question, message = {}, onSegment = () => {}) {
  return new Promise((resolve, reject) => {
    waiting.set(++last, { resolve, reject, onSegment });
    worker.postMessage({ id: last, ask: question, ...message });
  });
}

/** Start the worker, or start it again whatever it does; `told(message)` is called for what it says unasked. */
export function begin(told) {
  worker?.terminate();
  for (const { reject } of waiting.values()) reject(new Error("Stopped. Python starts again, as when the page was opened."));
  waiting.clear();
  worker = new Worker("worker.js", { type: "module" });
  worker.onmessage = ({ data }) => {
    const asked = waiting.get(data.id);
    if (!asked) return told(data);
    if (data.segment) return asked.onSegment(data.segment);
    waiting.delete(data.id);
    return "error" in data ? asked.reject(new Error(data.error)) : asked.resolve(data.value);
  };
  worker.onerror = (event) => told({ tell: "failed", what: event.message || "the worker cannot start" });
}
