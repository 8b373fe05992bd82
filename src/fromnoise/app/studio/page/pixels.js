// Images [N, C, H, W] of bytes on a canvas, one tile per image, without smoothing.

import { h } from "./dom.js";

// `count` images, starting at number k.
export function slice({ data, shape }, k, count = 1) {
  const size = shape[1] * shape[2] * shape[3];
  return { data: data.subarray(k * size, (k + count) * size), shape: [count, ...shape.slice(1)] };
}

// Images on a new canvas with a label.
export function picture(array, label, options = {}) {
  const canvas = h("canvas", { class: "picture", role: "img", "aria-label": label });
  paint(canvas, array, { gap: 0, ...options });
  return canvas;
}

// Image k as a canvas with unchanged pixels, including opacity.
export function canvasOf(array, k = 0) {
  const { data, shape: [, c, height, width] } = slice(array, k), plane = height * width;
  const canvas = h("canvas", { width, height }), context = canvas.getContext("2d"), pixels = context.createImageData(width, height);
  for (let i = 0; i < plane; i++) {
    const colour = c >= 3;
    pixels.data.set([data[i], data[colour ? i + plane : i], data[colour ? i + 2 * plane : i], c === 4 ? data[i + 3 * plane] : 255], 4 * i);
  }
  context.putImageData(pixels, 0, 0);
  return canvas;
}

export const blobOf = (canvas) => new Promise((resolve) => canvas.toBlob(resolve, "image/png"));

export function tiles(n, wide = undefined) {
  const columns = wide ?? Math.ceil(Math.sqrt(n));
  return { columns, rows: Math.ceil(n / columns) };
}

// Draw images; with `signed`, 128 is white, less is blue and more is red.
export function paint(canvas, { data, shape }, { columns, signed = false, gap = 1 } = {}) {
  const [n, c, height, width] = shape;
  const grid = tiles(n, columns);
  const w = grid.columns * (width + gap) - gap, ht = grid.rows * (height + gap) - gap;
  if (canvas.width !== w || canvas.height !== ht) { canvas.width = w; canvas.height = ht; }
  const context = canvas.getContext("2d");
  const picture = context.createImageData(w, ht);
  const out = picture.data, plane = height * width;
  for (let i = 0; i < n; i++) {
    const top = Math.floor(i / grid.columns) * (height + gap), left = (i % grid.columns) * (width + gap);
    for (let y = 0; y < height; y++) {
      let to = ((top + y) * w + left) * 4, from = i * c * plane + y * width;
      for (let x = 0; x < width; x++, to += 4, from++) {
        let r = data[from], g = c >= 3 ? data[from + plane] : r, b = c >= 3 ? data[from + 2 * plane] : r;
        if (signed && c === 1) {
          const d = r - 128, size = Math.min(255, Math.abs(d) * 2);
          r = d > 0 ? 255 : 255 - size; g = 255 - size; b = d > 0 ? 255 - size : 255;
        }
        if (c === 4) { // transparent images on a gray checkerboard
          const a = data[from + 3 * plane] / 255, under = ((x >> 2) + (y >> 2)) % 2 ? 255 : 204;
          r = r * a + under * (1 - a); g = g * a + under * (1 - a); b = b * a + under * (1 - a);
        }
        out[to] = r; out[to + 1] = g; out[to + 2] = b; out[to + 3] = 255;
      }
    }
  }
  context.putImageData(picture, 0, 0);
}

// Points [N, 2], or signals [N, C, L] as lines, on a canvas; `reach` is the largest number shown.
export function plot(canvas, { data, shape }, { reach = 3, trail = undefined } = {}) {
  const size = canvas.width, context = canvas.getContext("2d");
  const style = getComputedStyle(canvas);
  context.clearRect(0, 0, size, canvas.height);
  context.strokeStyle = style.getPropertyValue("--line");
  context.strokeRect(0.5, 0.5, size - 1, canvas.height - 1);
  const px = (v) => (v / reach + 1) * size / 2, py = (v) => (1 - v / reach) * canvas.height / 2;
  if (shape.length === 2) {
    if (trail) {
      context.strokeStyle = style.getPropertyValue("--faint");
      context.beginPath();
      for (let i = 0; i < Math.min(shape[0], 200); i++) trail.forEach((step, k) => context[k ? "lineTo" : "moveTo"](px(step[2 * i]), py(step[2 * i + 1])));
      context.stroke();
    }
    context.fillStyle = style.getPropertyValue("--accent");
    for (let i = 0; i < shape[0]; i++) context.fillRect(px(data[i * shape[1]]) - 1, py(data[i * shape[1] + 1]) - 1, 2.5, 2.5);
    return;
  }
  const length = shape[shape.length - 1], lines = data.length / length;
  context.strokeStyle = style.getPropertyValue("--accent");
  context.globalAlpha = Math.max(0.15, 1 / lines);
  for (let i = 0; i < lines; i++) {
    context.beginPath();
    for (let k = 0; k < length; k++) context[k ? "lineTo" : "moveTo"](k * size / (length - 1), py(data[i * length + k]));
    context.stroke();
  }
  context.globalAlpha = 1;
}
