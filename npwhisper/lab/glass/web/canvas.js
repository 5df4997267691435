// Images: a grid of 8-bit levels, one canvas pixel per cell, which CSS scales without smoothing.
import { h } from "./dom.js";
import { scale } from "./colours.js";

export function picture(width, height, level, { colours = "heat", label = "", className = "" } = {}) {
  const canvas = h("canvas", { width, height, class: `picture ${className}`, role: "img", "aria-label": label });
  const context = canvas.getContext("2d");
  const image = context.createImageData(Math.max(1, width), Math.max(1, height));
  const table = new Uint32Array(scale(colours).buffer);
  const pixels = new Uint32Array(image.data.buffer);
  for (let y = 0, i = 0; y < height; y++) for (let x = 0; x < width; x++, i++) pixels[i] = table[level(x, y) & 255];
  context.putImageData(image, 0, 0);
  return canvas;
}

export function melPicture(data, className = "") {
  const { mel } = data.arrays;
  const [bins, frames] = mel.shape;
  const label = "log-mel spectrogram: time to the right, frequency upwards";
  return picture(frames, bins, (x, y) => mel[(bins - 1 - y) * frames + x], { colours: "grey", label, className });
}
