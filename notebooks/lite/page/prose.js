// The text of a notebook's cell as elements: paragraphs, `code`, **bold**, and the formulas that the assignments use, as MathML.
const MATHML = new DOMParser().parseFromString("<math></math>", "text/html").body.firstChild.namespaceURI;
const SIGNS = { "\\sum": "∑", "\\mu": "μ", "\\sigma": "σ", "\\varepsilon": "ε", "\\alpha": "α", "\\pi": "π", "\\dots": "…" };
const NAMES = new Set(["\\sin", "\\cos", "\\ln"]);
const INLINE = /(\$\$[^$]+\$\$|\$[^$]+\$|`[^`]+`|\*\*[^*]+\*\*)/;

/** Paragraphs; lists, tables and code keep their lines. */
export function paragraphs(text) {
  return text.trim().split(/\n\s*\n/).map((part) => {
    const keepsLines = /^(```|[-*|>] |\d+\. |\s{4})/m.test(part), paragraph = document.createElement("p");
    paragraph.className = keepsLines ? "lines" : "";
    paragraph.append(...(keepsLines ? part : part.replaceAll("\n", " ")).split(INLINE).map(inline));
    return paragraph;
  });
}

function inline(part) {
  if (!INLINE.test(part)) return part;
  if (part.startsWith("$$")) return math(part.slice(2, -2), true);
  if (part.startsWith("$")) return math(part.slice(1, -1), false);
  const element = document.createElement(part[0] === "`" ? "code" : "b");
  element.textContent = part[0] === "`" ? part.slice(1, -1) : part.slice(2, -2);
  return element;
}

/** TeX -> MathML: fractions, roots, indices, powers, Greek letters, names. */
export function math(tex, isBlock) {
  const tokens = tex.match(/\\[a-zA-Z]+|\\.|\S/g) ?? [], root = node("math", ...row(tokens));
  if (isBlock) root.setAttribute("display", "block");
  return root;
}

function node(tag, ...children) {
  const element = document.createElementNS(MATHML, tag);
  element.append(...children);
  return element;
}

/** Everything up to the end or to a closing brace. */
function row(tokens) {
  const parts = [];
  while (tokens.length && tokens[0] !== "}") {
    const base = /\d/.test(tokens[0]) ? number(tokens) : atom(tokens);
    parts.push(scripts(base, tokens));
  }
  return parts;
}

function number(tokens) {
  let digits = "";
  while (tokens.length && /[\d.]/.test(tokens[0])) digits += tokens.shift();
  return node("mn", digits);
}

function scripts(base, tokens) {
  const found = {};
  while (tokens[0] === "_" || tokens[0] === "^") found[tokens.shift()] = atom(tokens);
  if (found._ && found["^"]) return node(base.textContent === "∑" ? "munderover" : "msubsup", base, found._, found["^"]);
  if (found._) return node(base.textContent === "∑" ? "munder" : "msub", base, found._);
  return found["^"] ? node("msup", base, found["^"]) : base;
}

function atom(tokens) {
  const token = tokens.shift();
  if (token === "{") {
    const inside = node("mrow", ...row(tokens));
    tokens.shift();
    return inside;
  }
  if (token === "\\frac") return node("mfrac", atom(tokens), atom(tokens));
  if (token === "\\sqrt") return node("msqrt", atom(tokens));
  if (token === "\\mathrm") return node("mi", atom(tokens).textContent);
  if (token === "\\left" || token === "\\right") return node("mo", tokens.shift());
  if (token === "\\,") return node("mtext", "\u2009");
  if (NAMES.has(token)) return node("mi", token.slice(1));
  if (token in SIGNS) return node(token === "\\sum" ? "mo" : "mi", SIGNS[token]);
  return node(/\d/.test(token) ? "mn" : /[a-zA-Z]/.test(token) ? "mi" : "mo", token === "-" ? "−" : token);
}
