// Line charts in SVG: several series over one axis, a legend, and the values under the pointer.

import { h, s, put, short } from "./dom.js";

const RIGHT = 14, TOP = 10, BOTTOM = 34;

// series: [{ name, x: [], y: [], points: bool, dashed: bool }]; options: { x, y: axis labels, logX, logY, height, mark: x }
export function chart(options = {}) {
  const height = options.height ?? 240;
  const picture = s("svg", { class: "chart", height, role: "img", "aria-label": options.title ?? options.y ?? "chart" });
  const legend = h("div", { class: "legend" });
  const box = h("figure", { class: "chart-box" }, options.title ? h("figcaption", {}, options.title) : null, picture, legend);
  let shown = [], mark = options.mark, hidden = new Set(), LEFT = 52;
  const redraw = () => draw();
  new ResizeObserver(redraw).observe(box);

  function draw(pointer = undefined) {
    const width = Math.max(220, box.clientWidth);
    picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
    picture.setAttribute("width", width);
    const series = shown.filter((one) => !hidden.has(one.name));
    const fx = options.logX ? log : same, fy = options.logY ? log : same;
    const xs = range(series.flatMap((one) => ends(one.x.map(fx)))), ys = padded(range(series.flatMap((one) => ends(one.y.map(fy)))));
    const marks = ticks(ys, options.logY, 5);
    LEFT = Math.max(34, 12 + 6.4 * Math.max(...marks.map((v) => short(v).length)));
    const px = (v) => LEFT + ((fx(v) - xs[0]) / (xs[1] - xs[0])) * (width - LEFT - RIGHT);
    const py = (v) => height - BOTTOM - ((fy(v) - ys[0]) / (ys[1] - ys[0])) * (height - TOP - BOTTOM);
    const parts = [];
    for (const v of ticks(xs, options.logX, Math.max(3, Math.floor(width / 110)))) parts.push(s("line", { class: "grid", x1: px(v), x2: px(v), y1: TOP, y2: height - BOTTOM }), s("text", { class: "tick", x: px(v), y: height - BOTTOM + 15, "text-anchor": px(v) > width - RIGHT - 16 ? "end" : "middle" }, short(v)));
    for (const v of marks) parts.push(s("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: py(v), y2: py(v) }), s("text", { class: "tick", x: LEFT - 6, y: py(v) + 4, "text-anchor": "end" }, short(v)));
    parts.push(s("text", { class: "axis", x: (LEFT + width - RIGHT) / 2, y: height - 3, "text-anchor": "middle" }, options.x ?? ""));
    if (options.y && options.title) parts.push(s("text", { class: "axis", x: LEFT, y: TOP - 1, "text-anchor": "start" }, options.y));
    shown.forEach((one, k) => {
      if (hidden.has(one.name)) return;
      const at = [];
      for (let i = 0; i < one.x.length; i++) if (one.y[i] !== null && Number.isFinite(fy(one.y[i])) && Number.isFinite(fx(one.x[i]))) at.push([px(one.x[i]), py(one.y[i])]);
      if (one.points) at.forEach(([x, y]) => parts.push(s("circle", { class: `c${k % 8} dot`, cx: x, cy: y, r: 3 })));
      if (!one.only) parts.push(s("path", { class: `c${k % 8} line${one.dashed ? " dashed" : ""}${one.faint ? " faint" : ""}`, d: at.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("") }));
    });
    if (mark !== undefined && Number.isFinite(px(mark))) parts.push(s("line", { class: "mark", x1: px(mark), x2: px(mark), y1: TOP, y2: height - BOTTOM }));
    if (pointer !== undefined && series.length) {
      const value = xs[0] + ((pointer - LEFT) / (width - LEFT - RIGHT)) * (xs[1] - xs[0]);
      parts.push(s("line", { class: "mark", x1: pointer, x2: pointer, y1: TOP, y2: height - BOTTOM }));
      names(series.map((one) => [one, nearest(one, value, fx)]));
    } else names();
    picture.replaceChildren(...parts);
  }

  function names(values = undefined) {
    const text = new Map((values ?? []).map(([one, i]) => [one.name, i === -1 ? "" : `  ${short(one.y[i], 4)}`]));
    const at = values?.length && values[0][1] !== -1 ? `${options.x ?? "x"} ${short(values[0][0].x[values[0][1]], 5)}` : "";
    put(legend, shown.length > 1 || values ? shown.map((one, k) => h("button", { type: "button", class: `legend-name${hidden.has(one.name) ? " off" : ""}`, onclick: () => { hidden.has(one.name) ? hidden.delete(one.name) : hidden.add(one.name); draw(); } }, h("i", { class: `c${k % 8} swatch` }), one.name + (text.get(one.name) ?? ""))) : [], h("span", { class: "at" }, at));
  }

  picture.addEventListener("pointermove", (event) => {
    const x = event.clientX - picture.getBoundingClientRect().left;
    draw(Math.min(Math.max(x, LEFT), picture.clientWidth - RIGHT));
  });
  picture.addEventListener("pointerleave", redraw);
  return { box, set(series, at = undefined) { shown = series; mark = at ?? mark; draw(); }, mark(at) { mark = at; draw(); } };
}

const same = (v) => v;
const log = (v) => (v > 0 ? Math.log10(v) : NaN);

function ends(values) {
  const good = values.filter((v) => v !== null && Number.isFinite(v));
  return good.length ? [good.reduce((a, b) => Math.min(a, b)), good.reduce((a, b) => Math.max(a, b))] : [];
}

function range(values) {
  const found = ends(values);
  if (!found.length) return [0, 1];
  return found[0] === found[1] ? [found[0] - 0.5, found[1] + 0.5] : found;
}

const padded = ([a, b]) => [a - (b - a) * 0.04, b + (b - a) * 0.04];

function nearest(one, value, fx) {
  let best = -1, least = Infinity;
  one.x.forEach((x, i) => { const d = Math.abs(fx(x) - value); if (one.y[i] !== null && d < least) { least = d; best = i; } });
  return best;
}

function ticks([a, b], logarithmic, count) {
  if (logarithmic) {
    const found = [], every = Math.max(1, Math.ceil((b - a) / count));
    for (let k = Math.ceil(a); k <= b; k += every) found.push(10 ** k);
    if (found.length > 1) return found;
    return [10 ** a, 10 ** ((a + b) / 2), 10 ** b].map((v) => Number(v.toPrecision(2)));
  }
  const rough = (b - a) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((k) => k * power).find((k) => k >= rough);
  const found = [];
  for (let k = Math.ceil(a / step); k * step <= b + step * 1e-9; k++) found.push(k * step);
  return found;
}
