// Painting with a brush: over an image, the area that a model should draw; or on black, lines for it to follow.

import { slider } from "./controls.js";
import { h, typing } from "./dom.js";

const MOST_UNDO = 40, LARGEST = 1024, LEAST_SHOWN = 640;

// { box, load(picture, width, height, shape), blob(ink, ground), empty(), keys(event) }; `onchange` after every stroke.
export function brush({ onchange, label = "Mask", width: share = 8 } = {}) {
  const view = h("canvas", { class: "picture", tabIndex: 0, role: "img", "aria-label": `${label}: arrows move the brush, Space paints, Shift and arrows paint a line` });
  view.style.touchAction = "none";
  view.style.cursor = "crosshair";
  let picture = null, mask = new Uint8Array(1), width = 1, height = 1, scale = 1, crop = [0, 0, 1, 1];
  let undo = [], last = null, at = null, erasing = false, asked = false;
  const tint = h("canvas", {});
  const size = slider("Brush", { value: share, min: 1, max: 50, step: 1, show: (v) => `${v} %`, oninput: () => paint() });
  const radius = () => Math.max(0.5, (size.value() / 100) * Math.min(width, height) / 2);
  const tool = (text, what, title) => h("button", { type: "button", class: "quiet small", title, onclick: what }, text);
  const erase = tool("Erase", () => { erasing = !erasing; shown(); }, "E");
  const back = tool("Undo", () => restore(), "Ctrl+Z");
  const tools = h("div", { class: "row" }, erase, back, tool("Clear", () => change(() => mask.fill(0))), tool("Invert", () => change(() => mask.forEach((v, i) => (mask[i] = v ? 0 : 1)))));
  const box = h("div", { class: "fields" }, view, size.box, tools, h("small", {}, h("kbd", {}, "["), " ", h("kbd", {}, "]"), " size, ", h("kbd", {}, "E"), " erases, ", h("kbd", {}, "Ctrl+Z"), " undoes; when the image has the focus, arrows move the brush and ", h("kbd", {}, "Space"), " paints"));

  function shown() {
    erase.setAttribute("aria-pressed", String(erasing));
    erase.textContent = erasing ? "Erasing" : "Erase";
    back.disabled = !undo.length;
    paint();
  }

  // `picture` is a canvas or null (black). `shape` is the model's [C, H, W]; other proportions are cropped to the middle.
  function load(given, wide, high, shape) {
    const k = Math.min(1, LARGEST / Math.max(wide, high));
    picture = given;
    width = Math.max(1, Math.round(wide * k));
    height = Math.max(1, Math.round(high * k));
    mask = new Uint8Array(width * height);
    undo = [];
    at = null;
    scale = Math.max(1, Math.ceil(LEAST_SHOWN / Math.max(width, height)));
    view.width = width * scale;
    view.height = height * scale;
    tint.width = width;
    tint.height = height;
    const ratio = shape[2] / shape[1], w = Math.min(width, height * ratio), ht = Math.min(height, width / ratio);
    crop = [(width - w) / 2, (height - ht) / 2, w, ht];
    shown();
  }

  function change(what) {
    keep();
    what();
    shown();
    onchange?.();
  }

  function keep() {
    undo.push(mask.slice());
    if (undo.length > MOST_UNDO) undo.shift();
  }

  function restore() {
    if (!undo.length) return;
    mask = undo.pop();
    shown();
    onchange?.();
  }

  // Set all pixels whose centres the brush covers along a line; at least the one under the pointer.
  function line([x0, y0], [x1, y1], value) {
    const r = radius(), dx = x1 - x0, dy = y1 - y0, length = dx * dx + dy * dy;
    for (let y = Math.max(0, Math.floor(Math.min(y0, y1) - r)); y <= Math.min(height - 1, Math.ceil(Math.max(y0, y1) + r)); y++) {
      for (let x = Math.max(0, Math.floor(Math.min(x0, x1) - r)); x <= Math.min(width - 1, Math.ceil(Math.max(x0, x1) + r)); x++) {
        const px = x + 0.5, py = y + 0.5;
        const t = length ? Math.min(1, Math.max(0, ((px - x0) * dx + (py - y0) * dy) / length)) : 0;
        if ((px - x0 - t * dx) ** 2 + (py - y0 - t * dy) ** 2 <= r * r) mask[y * width + x] = value;
      }
    }
    const x = Math.floor(x1), y = Math.floor(y1);
    if (x >= 0 && y >= 0 && x < width && y < height) mask[y * width + x] = value;
  }

  function paint() {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; redraw(); });
  }

  function redraw() {
    const context = view.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.fillStyle = "#000";
    context.fillRect(0, 0, view.width, view.height);
    if (picture) context.drawImage(picture, 0, 0, view.width, view.height);
    const layer = tint.getContext("2d"), pixels = layer.createImageData(width, height), ink = picture ? [225, 50, 160, 175] : [255, 255, 255, 255];
    for (let i = 0; i < mask.length; i++) if (mask[i]) pixels.data.set(ink, 4 * i);
    layer.putImageData(pixels, 0, 0);
    context.drawImage(tint, 0, 0, view.width, view.height);
    const [x, y, w, ht] = crop.map((v) => v * scale);
    context.fillStyle = "rgb(0 0 0 / .55)";
    for (const part of [[0, 0, view.width, y], [0, y + ht, view.width, view.height], [0, y, x, ht], [x + w, y, view.width, ht]]) context.fillRect(...part);
    if (at) {
      context.lineWidth = 2 * Math.max(1, view.width / 640);
      for (const [colour, more] of [["#000", context.lineWidth], ["#fff", 0]]) {
        context.strokeStyle = colour;
        context.beginPath();
        context.arc(at[0] * scale, at[1] * scale, radius() * scale + more, 0, 2 * Math.PI);
        context.stroke();
      }
    }
  }

  function place(event) {
    const box = view.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * width, ((event.clientY - box.top) / box.height) * height];
  }
  const wiping = (event) => (erasing || event.button === 2 || event.buttons & 34 ? 0 : 1); // the right button, or a pen's eraser
  view.addEventListener("contextmenu", (event) => event.preventDefault());
  view.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    view.focus({ preventScroll: true });
    try { view.setPointerCapture(event.pointerId); } catch { /* the pointer is gone already */ }
    keep();
    at = last = place(event);
    line(last, last, wiping(event));
    shown();
  });
  view.addEventListener("pointermove", (event) => {
    for (const one of event.getCoalescedEvents?.() ?? [event]) {
      at = place(one);
      if (last) { line(last, at, wiping(event)); last = at; }
    }
    paint();
  });
  const lift = () => { if (last) { last = null; onchange?.(); } };
  view.addEventListener("pointerup", lift);
  view.addEventListener("pointercancel", lift);
  view.addEventListener("pointerleave", () => { if (!last) { at = null; paint(); } });
  view.addEventListener("blur", () => { if (!last) { at = null; paint(); } });
  view.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!way && event.key !== " " && event.key !== "Enter") return;
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const from = at ?? [crop[0] + crop[2] / 2, crop[1] + crop[3] / 2];
    at = way ? [Math.min(width - 0.5, Math.max(0.5, from[0] + way[0] * Math.max(1, radius()))), Math.min(height - 0.5, Math.max(0.5, from[1] + way[1] * Math.max(1, radius())))] : from;
    if (!way || event.shiftKey) change(() => line(from, at, erasing ? 0 : 1));
    else paint();
  });

  // Keys of the whole page, while the brush is shown.
  function keys(event) {
    if (typing(event)) return;
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z") { event.preventDefault(); restore(); }
    else if (event.ctrlKey || event.metaKey || event.altKey) return;
    else if (event.key === "[" || event.key === "]") { size.set(Math.min(50, Math.max(1, Math.round(size.value() * (event.key === "]" ? 1.25 : 0.8) + (event.key === "]" ? 0.5 : -0.5))))); paint(); }
    else if (event.key.toLowerCase() === "e") { erasing = !erasing; shown(); }
  }

  // The painted pixels as a PNG: `ink` on `ground`, gray values.
  function blob(ink = 0, ground = 255) {
    const sheet = h("canvas", { width, height }), context = sheet.getContext("2d"), pixels = context.createImageData(width, height);
    for (let i = 0; i < mask.length; i++) { const v = mask[i] ? ink : ground; pixels.data.set([v, v, v, 255], 4 * i); }
    context.putImageData(pixels, 0, 0);
    return new Promise((resolve) => sheet.toBlob(resolve, "image/png"));
  }

  return { box, load, blob, keys, empty: () => !mask.includes(1) };
}
