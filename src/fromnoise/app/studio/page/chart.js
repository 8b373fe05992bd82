// Line charts in SVG: several series over one axis, a legend, and the values under the pointer.

import { formula, h, put, s, short } from "./dom.js";

const RIGHT = 14, TOP = 10, BOTTOM = 34, MOST_NAMED = 8;

// series: [{ name, x: [], y: [], points, only, dashed, faint: bool }]
// options: { title, x, y: axis labels, logX, logY, height, mark: x, legend: false, empty: words, formulas: whether names have indices }
export function chart(options = {}) {
  const height = options.height ?? 240, title = options.title ?? options.y ?? "Chart";
  const lines = s("g", {}), over = s("g", {});
  const picture = s("svg", { class: "chart", height, role: "img", "aria-label": title }, lines, over);
  const legend = h("div", { class: "legend" }), tip = h("div", { class: "tip", hidden: true });
  const box = h("figure", { class: "chart-box" }, options.title ? h("figcaption", {}, options.title) : null, h("div", { class: "chart-area" }, picture, tip), options.legend === false ? null : legend);
  const fx = options.logX ? log : same, fy = options.logY ? log : same;
  let shown = [], mark = options.mark, hidden = new Set(), left = 52, width = 220, xs = [0, 1], pointer = null;
  const watch = new ResizeObserver(() => (box.isConnected ? draw() : watch.disconnect())); // or it would keep the page in memory
  watch.observe(box);

  const series = () => shown.filter((one) => !hidden.has(one.name));
  const px = (v) => left + ((fx(v) - xs[0]) / (xs[1] - xs[0])) * (width - left - RIGHT);

  function draw() {
    width = Math.max(220, box.clientWidth);
    picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
    picture.setAttribute("width", width);
    const seen = series(), found = seen.flatMap((one) => ends(one.y.map(fy)));
    if (!found.length) {
      lines.replaceChildren(s("text", { class: "none", x: width / 2, y: height / 2, "text-anchor": "middle" }, options.empty ?? "nothing yet"));
      over.replaceChildren();
      return;
    }
    xs = range(seen.flatMap((one) => ends(one.x.map(fx))));
    const ys = padded(range(found)), marks = ticks(ys, options.logY, Math.max(3, Math.floor(height / 50)));
    const across = ticks(xs, options.logX, Math.max(3, Math.floor(width / 110))), words = [labels(marks), labels(across)];
    left = Math.max(34, 12 + 6.4 * Math.max(...words[0].map((text) => text.length)));
    const py = (v) => height - BOTTOM - ((fy(v) - ys[0]) / (ys[1] - ys[0])) * (height - TOP - BOTTOM);
    const parts = [];
    for (const [i, v] of across.entries()) parts.push(s("line", { class: "grid", x1: px(v), x2: px(v), y1: TOP, y2: height - BOTTOM }), s("text", { class: "tick", x: px(v), y: height - BOTTOM + 15, "text-anchor": px(v) > width - RIGHT - 16 ? "end" : "middle" }, words[1][i]));
    for (const [i, v] of marks.entries()) parts.push(s("line", { class: "grid", x1: left, x2: width - RIGHT, y1: py(v), y2: py(v) }), s("text", { class: "tick", x: left - 6, y: py(v) + 4, "text-anchor": "end" }, words[0][i]));
    parts.push(s("text", { class: "axis", x: (left + width - RIGHT) / 2, y: height - 4, "text-anchor": "middle" }, indexed(options.x ?? "")));
    if (options.y && options.title) parts.push(s("text", { class: "axis", x: left, y: TOP - 1, "text-anchor": "start" }, indexed(options.y)));
    shown.forEach((one, k) => {
      if (hidden.has(one.name)) return;
      const places = [];
      for (let i = 0; i < one.x.length; i++) if (one.y[i] !== null && Number.isFinite(fy(one.y[i])) && Number.isFinite(fx(one.x[i]))) places.push([px(one.x[i]), py(one.y[i])]);
      if (one.points) places.forEach(([x, y]) => parts.push(s("circle", { class: `c${k % 8} dot`, cx: x, cy: y, r: 3 })));
      if (!one.only) parts.push(s("path", { class: `c${k % 8} line${one.dashed ? " dashed" : ""}${one.faint ? " faint" : ""}`, d: places.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("") }));
    });
    lines.replaceChildren(...parts);
    hover();
  }

  // Draw what moves with the pointer or a slider, without redrawing the lines.
  function hover() {
    const upright = (x) => s("line", { class: "mark", x1: x, x2: x, y1: TOP, y2: height - BOTTOM });
    const seen = series(), parts = [];
    if (mark !== undefined && Number.isFinite(px(mark)) && seen.length) parts.push(upright(px(mark)));
    tip.hidden = pointer === null || !seen.some((one) => one.x.length);
    if (!tip.hidden) {
      const value = xs[0] + ((pointer - left) / (width - left - RIGHT)) * (xs[1] - xs[0]);
      const near = seen.map((one) => [one, nearest(one, value, fx)]).filter(([one, i]) => i >= 0 && Math.abs(fx(one.x[i]) - value) < 0.03 * (xs[1] - xs[0])); // skip lines that end before it
      if (!near.length) tip.hidden = true;
      else {
        parts.push(upright(pointer));
        put(tip, h("div", {}, `${options.x ?? "x"} ${short(near[0][0].x[near[0][1]], 5)}`), options.legend === false ? null : near.slice(0, MOST_NAMED).map(([one, i]) => h("div", {}, swatch(shown.indexOf(one)), `${near.length > 1 ? `${one.name}  ` : ""}${short(one.y[i], 4)}`)));
        tip.style[pointer > width / 2 ? "right" : "left"] = `${pointer > width / 2 ? width - pointer + 10 : pointer + 10}px`;
        tip.style[pointer > width / 2 ? "left" : "right"] = "auto";
      }
    }
    over.replaceChildren(...parts);
  }

  const swatch = (k) => h("i", { class: `c${k % 8} swatch` });
  let named = "";
  function names() {
    const now = JSON.stringify(shown.map((one) => one.name));
    if (now === named) return; // so that the focus stays
    named = now;
    put(legend, shown.length > 1 ? shown.map((one, k) => h("button", { type: "button", class: "legend-name", "aria-pressed": String(!hidden.has(one.name)), title: "show or hide", onclick: (event) => {
      hidden.has(one.name) ? hidden.delete(one.name) : hidden.add(one.name);
      event.currentTarget.setAttribute("aria-pressed", String(!hidden.has(one.name)));
      draw();
    } }, swatch(k), options.formulas ? formula(one.name) : one.name)) : []);
  }

  function told() { // for screen readers
    const ways = series().slice(0, MOST_NAMED).map((one) => { const good = [...one.y].filter((v) => v !== null && Number.isFinite(v)); return good.length ? `${one.name} from ${short(good[0])} to ${short(good.at(-1))}` : ""; }).filter(Boolean);
    picture.setAttribute("aria-label", [title, options.x ? `over ${options.x}` : "", ...ways].filter(Boolean).join(", "));
  }

  picture.addEventListener("pointermove", (event) => {
    pointer = Math.min(Math.max(event.clientX - picture.getBoundingClientRect().left, left), width - RIGHT);
    hover();
  });
  picture.addEventListener("pointerleave", () => { pointer = null; hover(); });
  return {
    box,
    set(series, at = undefined) { shown = series; mark = at ?? mark; names(); if (box.isConnected) { watch.observe(box); draw(); } told(); },
    mark(at) { mark = at; hover(); },
  };
}

const same = (v) => v;
const log = (v) => (v > 0 ? Math.log10(v) : NaN);

// "x_t" with its index below the line.
function indexed(text) {
  return text.split(/_(\w+)/).map((part, i) => (i % 2 ? s("tspan", { dy: 3, "font-size": "75%" }, part) : i ? s("tspan", { dy: -3 }, part || "\u200b") : part));
}

function ends(values) {
  let least = Infinity, most = -Infinity;
  for (const v of values) if (v !== null && Number.isFinite(v)) { if (v < least) least = v; if (v > most) most = v; }
  return least <= most ? [least, most] : [];
}

function range(values) {
  const found = ends(values);
  if (!found.length) return [0, 1];
  return found[0] === found[1] ? [found[0] - 0.5, found[1] + 0.5] : found;
}

const padded = ([a, b]) => [a - (b - a) * 0.04, b + (b - a) * 0.04];

function nearest(one, value, fx) {
  let best = -1, least = Infinity;
  for (let i = 0; i < one.x.length; i++) {
    const d = Math.abs(fx(one.x[i]) - value);
    if (one.y[i] !== null && d < least) { least = d; best = i; }
  }
  return best;
}

// Round numbers within a range. A logarithmic range is given by exponents and gets powers of ten, or 1, 2 and 5 times them.
function ticks([a, b], logarithmic, count) {
  if (!logarithmic) return even(a, b, count);
  const powers = [], finer = [], every = Math.max(1, Math.ceil((b - a) / count));
  for (let k = Math.ceil(a / every) * every; k <= b; k += every) powers.push(10 ** k);
  for (let k = Math.floor(a); k <= b; k++) for (const v of [1, 2, 5]) if (Math.log10(v * 10 ** k) >= a && Math.log10(v * 10 ** k) <= b) finer.push(v * 10 ** k);
  if (finer.length >= 2 && finer.length <= count + 1) return finer;
  return powers.length >= 2 ? powers : even(10 ** a, 10 ** b, count).filter((v) => v > 0);
}

// With enough digits to tell them apart.
function labels(values) {
  const texts = [3, 4, 5, 6].map((digits) => values.map((v) => short(v, digits)));
  return texts.find((all) => new Set(all).size === all.length) ?? texts[0];
}

function even(a, b, count) {
  const rough = (b - a) / count, power = 10 ** Math.floor(Math.log10(rough));
  let step = [1, 2, 5, 10].map((k) => k * power).find((k) => k >= rough * (1 - 1e-9));
  if (Math.floor(b / step + 1e-9) - Math.ceil(a / step - 1e-9) < 1) step /= 2;
  const found = [];
  for (let k = Math.ceil(a / step - 1e-9); k * step <= b + step * 1e-9; k++) found.push(k * step);
  return found;
}
