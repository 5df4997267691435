// Texts whose contrast with what is behind them is below 4.5 (WCAG 2.2, 1.4.3): [text, class, ratio].
() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (c) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = c; canvas.fillRect(0, 0, 1, 1); const d = canvas.getImageData(0, 0, 1, 1).data; return [d[0], d[1], d[2], d[3] / 255]; };
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4).reduce((s, v, i) => s + v * [0.2126, 0.7152, 0.0722][i], 0);
  const over = (a, b) => [0, 1, 2].map((i) => a[i] * a[3] + b[i] * (1 - a[3])).concat(1);
  const behind = (e) => { const c = e ? rgba(getComputedStyle(e).backgroundColor) : [255, 255, 255, 1]; return !e || c[3] === 1 ? c : over(c, behind(e.parentElement)); };
  const found = [];
  for (const e of document.querySelectorAll("#app *")) {
    if (!e.checkVisibility() || ![...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()) || e.closest("option, [disabled]")) continue;
    const style = getComputedStyle(e);
    const ground = e.closest(".node") ? rgba(getComputedStyle(e.closest(".node").querySelector("rect")).fill) : behind(e);
    const ink = over(rgba(e instanceof SVGElement ? style.fill : style.color), ground);
    const [a, b] = [light(ink), light(ground)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) found.push([e.textContent.slice(0, 30), e.className.baseVal ?? e.className, ratio.toFixed(2)]);
  }
  return found;
}
