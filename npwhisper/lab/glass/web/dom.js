// Creates elements. All text becomes text nodes, so a token such as "<script>" is displayed, never parsed.
const SVG = "http://www.w3.org/2000/svg";

export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function s(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") Object.assign(element.style, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(9).filter((c) => c !== null && c !== undefined && c !== false));
  return element;
}

export function activate(action) {
  // click, Enter and space, for elements that are not buttons
  return {
    onclick: action,
    onkeydown: (event) => {
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        action(event);
      }
    },
    tabindex: "0",
    role: "button",
  };
}

export function percent(p) {
  if (p <= 0) return "0";
  if (p >= 0.001) return (100 * p).toFixed(2) + " %";
  if (p >= 1e-6) return Number((100 * p).toPrecision(2)) + " %";
  return (100 * p).toExponential(1) + " %";
}

export function number(x) {
  if (!Number.isFinite(x)) return x === -Infinity ? "−∞" : "–";
  const size = Math.abs(x);
  if (size !== 0 && (size < 0.001 || size >= 1e5)) return x.toExponential(3);
  return x.toPrecision(5);
}

export function bytes(n) {
  return n < 1e4 ? `${n} B` : n < 1e6 ? `${(n / 1e3).toFixed(1)} kB` : `${(n / 1e6).toFixed(2)} MB`;
}

export function seconds(t) {
  return `${t.toFixed(2)} s`;
}

export function visible(text) {
  // make the whitespace of a token visible
  return text.replaceAll(" ", "␣").replaceAll("\n", "⏎").replaceAll("\t", "⇥") || "∅";
}

export function line(...parts) {
  return h("p", { class: "num", style: { overflowWrap: "anywhere" } }, ...parts);
}
