// The page's side of the worker: every question is a promise.
const worker = new Worker("worker.js", { type: "module" });
const waiting = new Map();
let last = 0;

/** Ask the worker; `onSegment` gets what comes before the answer. */
export function ask(question, message = {}, onSegment = () => {}) {
  return new Promise((resolve, reject) => {
    waiting.set(++last, { resolve, reject, onSegment });
    worker.postMessage({ id: last, ask: question, ...message });
  });
}

/** Call `told(message)` for what the worker says unasked. */
export function listen(told) {
  worker.onmessage = ({ data }) => {
    const asked = waiting.get(data.id);
    if (!asked) return told(data);
    if (data.segment) return asked.onSegment(data.segment);
    waiting.delete(data.id);
    return "error" in data ? asked.reject(new Error(data.error)) : asked.resolve(data.value);
  };
  worker.onerror = (event) => told({ tell: "failed", what: event.message || "the worker cannot start" });
}
