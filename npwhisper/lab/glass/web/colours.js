// Colour scales that are safe for colour blindness: lightness is monotonic in heat and grey; signed runs from blue to
// orange, without red and green. The theme selects the set.
const SCALES = {
  light: {
    heat: ["#ffffff", "#edf8b1", "#7fcdbb", "#2c7fb8", "#253494", "#081d58"],
    grey: ["#fbfaf7", "#d9d8d4", "#a3a3a1", "#63666a", "#23272e"],
    signed: ["#2166ac", "#92c5de", "#f7f7f7", "#f4a582", "#b2540a"],
  },
  dark: {
    heat: ["#11151c", "#3b1f70", "#8c2981", "#de4968", "#fe9f6d", "#fcfdbf"],
    grey: ["#0d1016", "#252c37", "#4d5866", "#8d98a5", "#e3e7ea"],
    signed: ["#6cb6ff", "#285a86", "#151a22", "#94531d", "#ffab5e"],
  },
};
const tables = new Map();

export function isDark() {
  return document.documentElement.dataset.theme === "dark";
}

export function startTheme() {
  const wish = matchMedia("(prefers-color-scheme: dark)");
  const follow = () => (document.documentElement.dataset.theme = wish.matches ? "dark" : "light");
  if (!document.documentElement.dataset.theme) follow(); // an embedding page may have set it
  return { follow, wish };
}

export function scale(name) {
  // 256 colours as bytes
  const key = `${name} ${isDark()}`;
  if (!tables.has(key)) tables.set(key, interpolated(SCALES[isDark() ? "dark" : "light"][name]));
  return tables.get(key);
}

function interpolated(stops) {
  const rgb = stops.map((c) => [1, 3, 5].map((i) => parseInt(c.slice(i, i + 2), 16)));
  const table = new Uint8ClampedArray(256 * 4);
  for (let i = 0; i < 256; i++) {
    const x = (i / 255) * (rgb.length - 1);
    const k = Math.min(Math.floor(x), rgb.length - 2);
    for (let c = 0; c < 3; c++) table[4 * i + c] = rgb[k][c] + (x - k) * (rgb[k + 1][c] - rgb[k][c]);
    table[4 * i + 3] = 255;
  }
  return table;
}

export function css(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
