// Look inside: the forward process, schedules, errors and variances by level, the bound, the plane, samplers compared.

import { ask } from "../api.js";
import * as address from "../address.js";
import { chart } from "../chart.js";
import { check, choice, number, slider, switcher } from "../controls.js";
import { formula, h, notice, put, short, typing } from "../dom.js";
import { paint } from "../pixels.js";
import { runner } from "../running.js";

export const title = "Look inside";

const VIEWS = [["forward", "Forward process"], ["schedules", "Schedules"], ["levels", "Errors and variances"], ["bound", "The bound"], ["plane", "In the plane"], ["walks", "Samplers compared"]];
const OWN = ["n", "steps", "seed", "level", "show", "names", "spacing", "own", "shape", "seconds", "sampler", "exact"]; // address fields that belong to single views
const SHOW = { forward, schedules, levels, bound, plane, walks };

export async function show(root, studio) {
  const models = studio.state.runs.filter((run) => !run.broken && (run.kind === "diffusion" || run.run === false)).map((run) => run.name);
  const at = address.read();
  const view = switcher("Look at", VIEWS, { value: SHOW[at.view] ? at.view : models.length ? "forward" : "plane", onchange: (key) => { address.write({ view: key, ...Object.fromEntries(OWN.map((name) => [name, ""])) }); open(); } });
  if (at.run && !models.includes(at.run)) notice(models.length ? `There is no model ${at.run}; this is ${models[0]}.` : `There is no model ${at.run}.`);
  const run = choice("Model", models, { value: at.run ?? models[0], onchange: () => { address.write({ run: run.value() }); open(); } });
  const body = h("div", { class: "stack" });
  let leave = () => {};
  function open() {
    leave();
    const key = view.value(), needs = key !== "plane" && key !== "schedules";
    run.box.hidden = !models.length || key === "plane";
    if (needs && !models.length) { put(body, h("div", { class: "card" }, h("p", {}, "This needs a trained model. ", h("a", { href: "/train" }, "Train one"), ", or look at the schedules and the plane, which need no model."))); leave = () => {}; return; }
    leave = SHOW[key](body, models.length ? run.value() : "", studio) ?? (() => {});
  }
  put(root, h("h1", { class: "out" }, "Look inside"), h("div", { class: "card" }, h("div", { class: "row apart end" }, view.box, h("div", {}, run.box))), body);
  open();
  return () => leave();
}

function forward(root, run) {
  let levels = [], clean = null;
  const noisy = h("canvas", { class: "picture", width: 112, height: 28, role: "img", "aria-label": "noisy images" }), guess = h("canvas", { class: "picture", width: 112, height: 28, role: "img", "aria-label": "predicted clean images" });
  const facts = h("div", { class: "facts" });
  const seed = number("Seed", { step: 1, ...address.kept("seed", 0, () => job.again()) });
  const at = slider("Noise level", { value: Number(address.read().level ?? 0), min: 0, max: 40, step: 1, show: () => "", oninput: moved });
  const error = chart({ title: "Error of the prediction", x: "log-SNR", logY: true, height: 230 });
  const job = runner("Look", "forward", { values: () => ({ run, n: 4, seed: seed.value() || 0 }), heard: ({ header, arrays }) => {
    if (header.kind === "start") { clean = arrays.x; levels = []; at.limit(header.total - 1); return; }
    levels[header.index] = { header, arrays };
    if (header.index === at.value() || header.index === 0) turn(at.value());
    if (header.index % 8 === 0 || header.index > 38) curve();
  } });
  function curve() {
    const known = levels.filter((one) => one?.arrays.error && one.header.log_snr !== null);
    error.set([{ name: "x̂₀ − x₀, root mean square", x: known.map((one) => one.header.log_snr), y: known.map((one) => mean(one.arrays.error.data)) }], levels[at.value()]?.header.log_snr ?? undefined);
  }
  function moved(i) {
    address.write({ level: i || "" });
    turn(i);
  }
  function turn(i) {
    const one = levels[i] ?? levels[levels.length - 1];
    if (!one) return;
    paint(noisy, one.arrays.x, { columns: one.arrays.x.shape[0] });
    paint(guess, one.arrays.x0 ?? clean, { columns: (one.arrays.x0 ?? clean).shape[0] });
    const { time, alpha, sigma, log_snr } = one.header;
    at.input.setAttribute("aria-valuetext", `log-SNR ${short(log_snr)}`);
    put(facts, h("span", {}, "t ", h("b", {}, short(time))), h("span", {}, "α ", h("b", {}, short(alpha))), h("span", {}, "σ ", h("b", {}, short(sigma))), h("span", {}, "log-SNR ", h("b", {}, log_snr === null ? (alpha > sigma ? "∞" : "−∞") : short(log_snr))), one.arrays.error ? h("span", {}, "error ", h("b", {}, short(mean(one.arrays.error.data)))) : null);
    error.mark(log_snr ?? undefined);
  }
  const keys = arrows(at, moved);
  put(root, h("div", { class: "card" }, h("h2", {}, "The forward process and one network call"), h("p", { class: "soft" }, formula("Above: images of the run's data with noise added, x_t = α x₀ + σ ε, with the same ε at every level. Below: the network's prediction for each in a single call, E[x₀ | x_t]. Where little of the image is left, it is the average of all possible images.")), h("div", { class: "row end" }, h("div", {}, seed.box), job.box)),
    h("div", { class: "card beside" }, h("div", { class: "strips" }, h("div", {}, formula("x_t")), noisy, h("div", {}, "x̂₀"), guess), h("div", {}, at.box, facts, error.box)));
  job.start();
  return () => { job.close(); keys(); };
}

function schedules(root, run) {
  const at = address.read();
  let chosen = new Set((at.names ?? "linear,cosine,rectified").split(",").filter(Boolean)), known = null;
  const steps = slider("Steps", { value: Number(at.steps ?? 20), min: 2, max: 100, step: 1, oninput: later });
  const spacing = choice("Spacing", ["uniform"], { onchange: later });
  const names = h("div", { class: "row" }), own = check(run ? `schedule of ${run}` : "", { value: at.own === "1", onchange: later });
  const snr = chart({ title: "log-SNR", x: "share of time", height: 230 }), alpha = chart({ title: "Signal, α", x: "share of time", height: 200 }), sigma = chart({ title: "Noise, σ", x: "share of time", height: 200 }), sizes = chart({ title: "Size of each step in log-SNR", x: "step", height: 230 });
  let waiting = 0;
  let closed = false, asked = 0;
  function later() { clearTimeout(waiting); waiting = setTimeout(load, 60); }
  async function load() {
    const mine = ++asked;
    address.write({ own: own.value(), names: [...chosen].join(","), steps: steps.value(), spacing: spacing.value() === "uniform" ? "" : spacing.value() });
    try {
      const { header, arrays } = await ask("schedules", { names: [...chosen], run: own.value() ? run : "", steps: steps.value(), spacing: (known ? spacing.value() : at.spacing) || "uniform" });
      if (closed || mine !== asked) return;
      if (!known) { known = header.known.filter((name) => name !== "chain" && name !== "learned"); spacing.fill(header.spacings); if (at.spacing) { spacing.set(at.spacing); address.write({ spacing: spacing.value() === "uniform" ? "" : spacing.value() }); } put(names, known.map((name) => check(name, { value: chosen.has(name), onchange: (on) => { on ? chosen.add(name) : chosen.delete(name); later(); } }).box), run ? own.box : null); }
      const series = (key) => header.names.map((name, i) => ({ name, x: [...arrays[`${i}.time`].data], y: [...arrays[`${i}.${key}`].data] }));
      snr.set(series("log_snr")); alpha.set(series("alpha")); sigma.set(series("sigma"));
      sizes.set(header.names.map((name, i) => { const v = [...arrays[`${i}.steps`].data]; return { name, x: v.slice(1).map((_, k) => k + 1), y: v.slice(1).map((value, k) => Math.abs(value - v[k])), points: v.length < 40 }; }));
    } catch (error) { if (!closed) notice(error.message); }
  }
  put(root, h("div", { class: "card" }, h("h2", {}, "Schedules compared"), h("p", { class: "soft" }, "A schedule says how much signal, α, and noise, σ, there is at each time. For the network only their ratio matters: log-SNR = log(α²/σ²). Schedules that reach the same log-SNR differ only in where they spend their steps; the second figure shows this."), h("div", { class: "fields" }, names, h("div", { class: "fields two" }, steps.box, spacing.box))), h("div", { class: "card charts" }, snr.box, sizes.box, alpha.box, sigma.box));
  load();
  return () => { closed = true; clearTimeout(waiting); };
}

function levels(root, run) {
  let found = [];
  const n = number("Images", { min: 1, max: 256, step: 1, ...address.kept("n", 32) }), steps = number("Levels", { min: 2, max: 1000, step: 1, ...address.kept("steps", 50) });
  const errors = chart({ title: "Errors on the run's own data", x: "log-SNR", logY: true, height: 260 }), fraction = chart({ title: "Where the reverse variance lies: 0 is β̃, 1 is β", x: "t", height: 260 });
  const learned = h("p", { class: "soft" });
  const job = runner("Measure", "levels", { values: () => ({ run, n: n.value() || 32, steps: steps.value() || 50 }), heard: ({ header }) => {
    if (header.kind === "start") { found = []; learned.textContent = header.learned ? "This model has a learned variance: its fraction is drawn beside the optimal one." : `This model's variance is fixed (${header.variance.replaceAll("_", " ")}); the optimal one is drawn.`; return; }
    found.push(header);
    if (found.length % 4 && found.length < Number(steps.value()) - 1) return;
    const snr = found.filter((one) => one.log_snr !== null);
    errors.set([{ name: "|ε̂ − ε|² / D", x: snr.map((o) => o.log_snr), y: snr.map((o) => o.eps_error) }, { name: "|x̂₀ − x₀|² / D", x: snr.map((o) => o.log_snr), y: snr.map((o) => o.x0_error) }]);
    const some = (key) => found.filter((one) => one[key] !== undefined);
    fraction.set([{ name: "optimal (Analytic-DPM)", x: some("optimal").map((o) => o.time), y: some("optimal").map((o) => o.optimal) }, ...(some("fraction").length ? [{ name: "learned", x: some("fraction").map((o) => o.time), y: some("fraction").map((o) => o.fraction) }] : [])]);
  } });
  put(root, h("div", { class: "card" }, h("h2", {}, "Errors and variances at each level"), h("p", { class: "soft" }, "At low noise the noise is hard to predict, and at high noise the image is, so the two errors cross. The variance of a reverse step lies between β̃, which is right if the image is known, and β, which is right if it is pure noise. With many small steps the choice hardly matters; with few it does."), learned, h("div", { class: "row end" }, h("div", {}, n.box), h("div", {}, steps.box), job.box)), h("div", { class: "card charts" }, errors.box, fraction.box));
  job.start();
  return () => job.close();
}

function bound(root, run) {
  const n = number("Images", { min: 2, max: 256, step: 1, ...address.kept("n", 8) }), steps = number("Steps of the chain", { min: 2, max: 4000, step: 1, ...address.kept("steps", 100) });
  const terms = chart({ title: "Terms of the bound, bits per dimension", x: "t", formulas: true, logX: true, logY: true, height: 300 }), words = h("div", {});
  const job = runner("Compute", "bound", { values: () => ({ run, n: n.value() || 8, steps: steps.value() || 100 }), total: (header, all) => (header.done ?? 0) / all, heard: ({ header }) => {
    if (header.kind === "start") put(words, h("small", {}, header.command));
    if (header.kind !== "end") return;
    const sum = header.steps.reduce((a, b) => a + b, 0);
    terms.set([{ name: "L_t", x: header.times, y: header.steps, points: header.times.length < 60 }, { name: "L_0, the decoder", x: [1], y: [header.decoder], points: true, only: true }, { name: "L_T, the prior", x: [Math.max(...header.times)], y: [header.prior], points: true, only: true }]);
    put(words, h("table", {}, h("tbody", {}, [["L_T, the prior", header.prior, "what is left of the image at the noisiest level"], ["L_t, sum of the steps", sum, "the cost of the denoising steps"], ["L_0, the decoder", header.decoder, "from the cleanest level to 256 gray values"], ["Total", header.bits_per_dim, `± ${short(header.standard_error)} over ${header.n} images`]].map(([name, value, why], i) => h("tr", { class: i === 3 ? "sum" : "" }, h("th", { scope: "row" }, formula(name)), h("td", { class: "n" }, h("b", {}, short(value, 4))), h("td", { class: "soft" }, why))))));
  } });
  put(root, h("div", { class: "card" }, h("h2", {}, "The bound, term by term"), h("p", { class: "soft" }, formula("−log p(x₀) is at most L_T + Σ L_t + L_0. Nearly all of it lies in the few cleanest steps. L_simple gives them little weight, so it leads to better images but worse likelihoods. A shorter chain has a looser bound.")), h("div", { class: "row end" }, h("div", {}, n.box), h("div", {}, steps.box), job.box)), h("div", { class: "card" }, terms.box, words));
  job.start();
  return () => job.close();
}

function plane(root) {
  const at = address.read();
  let points = [], data = null, steps = [], grid = null, reach = 3, timer = 0, loss = [];
  const shape = switcher("Distribution", [["moons", "two moons"], ["ring", "ring"], ["spiral", "spiral"], ["grid", "grid"], ["sketch", "sketch your own"]], { value: at.shape ?? "moons", onchange: (key) => { address.write({ shape: key }); hint.hidden = wipe.hidden = key !== "sketch"; forget(); } });
  const forget = () => { stop(); steps = []; data = null; put(facts); redraw(); };
  const seconds = number("Seconds of training", { min: 0.5, max: 120, ...address.kept("seconds", 6) });
  const exact = check("the exact denoiser instead of a trained network", { value: at.exact === "1", onchange: (on) => address.write({ exact: on }) });
  const sampler = choice("Sampler", [["ddim", "DDIM: follows the ODE"], ["ancestral", "DDPM: with noise"], ["heun", "Heun, second order"], ["euler-maruyama", "Euler-Maruyama: the SDE"]], address.kept("sampler", "ddim"));
  const field = check("score field", { value: true, onchange: () => redraw() }), trails = check("trails", { value: true, onchange: () => redraw() });
  const canvas = h("canvas", { width: 640, height: 640, role: "img", "aria-label": "Particles and the score field" });
  const hint = h("p", { class: "soft", hidden: shape.value() !== "sketch" }, "Draw with the mouse, a pen or a finger: every stroke scatters points.");
  const wipe = h("button", { type: "button", class: "quiet small", hidden: shape.value() !== "sketch", onclick: () => { points = []; forget(); } }, "Clear");
  const pick = slider("Time", { value: 0, min: 0, max: 1, step: 1, show: () => "", oninput: () => { stop(); redraw(); } });
  const play = h("button", { type: "button", class: "quiet", onclick: () => (timer ? stop() : start()) }, "Play");
  const facts = h("div", { class: "facts" });
  const curve = chart({ title: "Training loss", x: "step", logY: true, height: 150 });
  const job = runner("Train, then sample", "plane", {
    values: () => {
      if (shape.value() === "sketch" && !points.length) throw new Error("Draw some points first.");
      return { shape: shape.value(), seconds: Number(seconds.value() || 6), exact: exact.value(), sampler: sampler.value(), ...(shape.value() === "sketch" ? { points } : {}) };
    },
    total: (header) => (header.kind === "training" ? header.share * 0.7 : header.kind === "step" ? 0.7 + 0.3 * (header.index / header.total) : 1),
    heard: ({ header, arrays }) => {
      if (header.kind === "start") { data = arrays.data; reach = header.reach; steps = []; loss = []; stop(); }
      else if (header.kind === "training") { loss.push(header); curve.set([{ name: "loss", x: loss.map((o) => o.step), y: loss.map((o) => o.loss) }]); }
      else if (header.kind === "step") steps.push({ header, arrays });
      else if (header.kind === "end") { steps.push({ header: { ...header, last: true }, arrays }); grid = arrays.grid; pick.limit(steps.length - 1); pick.set(0); start(); }
      redraw();
    } });
  const start = () => { if (!steps.length) return; if (pick.value() >= steps.length - 1) pick.set(0); play.textContent = "Pause"; timer = setInterval(() => { if (pick.value() >= steps.length - 1) return stop(); pick.set(pick.value() + 1); redraw(); }, 70); };
  const stop = () => { clearInterval(timer); timer = 0; play.textContent = "Play"; };

  function redraw() {
    const c = canvas.getContext("2d"), style = getComputedStyle(canvas), size = canvas.width, px = (v) => ((v / reach + 1) / 2) * size, py = (v) => ((1 - v / reach) / 2) * size;
    c.clearRect(0, 0, size, size);
    c.fillStyle = style.getPropertyValue("--faint");
    const cloud = data ? data.data : points.flat();
    for (let i = 0; i < cloud.length; i += 2) c.fillRect(px(cloud[i]) - 1, py(cloud[i + 1]) - 1, 2, 2);
    const i = Math.min(pick.value(), steps.length - 1), one = steps[i];
    if (!one) return;
    if (field.value() && one.arrays.score && grid) {
      c.strokeStyle = style.getPropertyValue("--c2");
      c.globalAlpha = 0.75;
      const arrow = size / 22 * 0.75, sigma = one.header.sigma ?? 1;
      for (let k = 0; k < grid.shape[0]; k++) {
        const sx = one.arrays.score.data[2 * k] * sigma, sy = one.arrays.score.data[2 * k + 1] * sigma, length = Math.hypot(sx, sy) || 1, shown = (Math.tanh(length / 1.5) * arrow) / length;
        const x = px(grid.data[2 * k]), y = py(grid.data[2 * k + 1]), ex = x + sx * shown, ey = y - sy * shown;
        c.beginPath(); c.moveTo(x, y); c.lineTo(ex, ey); c.stroke();
        c.fillStyle = style.getPropertyValue("--c2"); c.fillRect(ex - 1.5, ey - 1.5, 3, 3);
      }
      c.globalAlpha = 1;
    }
    if (trails.value()) {
      c.strokeStyle = style.getPropertyValue("--c1");
      c.globalAlpha = 0.35;
      for (let p = 0; p < 120; p++) { c.beginPath(); for (let k = 0; k <= i; k++) { const x = steps[k].arrays.x.data; c[k ? "lineTo" : "moveTo"](px(x[2 * p]), py(x[2 * p + 1])); } c.stroke(); }
      c.globalAlpha = 1;
    }
    c.fillStyle = style.getPropertyValue("--c0");
    const x = one.arrays.x;
    for (let p = 0; p < x.shape[0]; p++) { c.beginPath(); c.arc(px(x.data[2 * p]), py(x.data[2 * p + 1]), 2.4, 0, 7); c.fill(); }
    const h_ = one.header;
    let apart = null;
    if (one.arrays.score && one.arrays.exact) { let a = 0, b = 0; for (let k = 0; k < one.arrays.score.data.length; k++) { a += (one.arrays.score.data[k] - one.arrays.exact.data[k]) ** 2; b += one.arrays.exact.data[k] ** 2; } apart = Math.sqrt(a / b); }
    put(facts, h_.last ? h("span", {}, "samples") : [h("span", {}, "t ", h("b", {}, short(h_.time))), h("span", {}, "log-SNR ", h("b", {}, short(h_.log_snr))), h("span", { title: "root mean square difference on the grid, relative to the exact score" }, "the network's score differs by ", h("b", {}, `${short(100 * apart, 2)} %`), " from the exact one")]);
  }
  let sketching = false;
  const scatter = (event) => {
    const box = canvas.getBoundingClientRect(), x = ((event.clientX - box.left) / box.width) * 2 * reach - reach, y = reach - ((event.clientY - box.top) / box.height) * 2 * reach;
    for (let k = 0; k < 6 && points.length < 4000; k++) { const angle = Math.random() * 6.28, r = 0.12 * Math.sqrt(Math.random()); points.push([x + r * Math.cos(angle), y + r * Math.sin(angle)].map((v) => Math.max(-reach, Math.min(reach, v)))); }
    redraw();
  };
  canvas.addEventListener("pointerdown", (event) => { if (shape.value() !== "sketch") return; if (data) forget(); sketching = true; canvas.setPointerCapture(event.pointerId); scatter(event); });
  canvas.addEventListener("pointermove", (event) => sketching && scatter(event));
  canvas.addEventListener("pointerup", () => (sketching = false));
  canvas.style.touchAction = "none";
  const keys = arrows(pick, redraw, () => (timer ? stop() : start()));
  put(root, h("div", { class: "layout" },
    h("div", { class: "card side fields" }, h("h2", {}, "A distribution in the plane"), h("p", { class: "soft" }, formula("Image models do this in thousands of dimensions; in two dimensions you can watch. Gray: the data. Green: the score, σ ∇ log q(x_t), which points to where data is likely. Blue: particles moving from noise to data.")), shape.box, hint, h("div", {}, wipe), seconds.box, sampler.box, exact.box, field.box, trails.box, job.box, curve.box),
    h("div", { class: "card" }, h("div", { class: "stage" }, canvas), h("div", { class: "timeline" }, play, h("div", { class: "grow" }, pick.box)), h("div", { class: "row apart" }, facts, h("small", {}, h("kbd", {}, "←"), " ", h("kbd", {}, "→"), " a step, ", h("kbd", {}, "Space"), " plays")))));
  redraw();
  addEventListener("theme", redraw);
  return () => { removeEventListener("theme", redraw); job.close(); stop(); keys(); };
}

function walks(root, run) {
  const n = number("Images", { min: 1, max: 4, step: 1, ...address.kept("n", 2) }), steps = number("Steps", { min: 2, max: 1000, step: 1, ...address.kept("steps", 30) }), seed = number("Seed", { step: 1, ...address.kept("seed", 0) });
  let found = [];
  const show = switcher("Show", [["x0", "x̂₀"], ["x", "x_t"]], { value: address.read().show === "x" ? "x" : "x0", onchange: (key) => { address.write({ show: key === "x0" ? "" : key }); draw(); } }), out = h("div", {});
  const job = runner("Sample", "walks", { values: () => ({ run, n: n.value() || 2, steps: steps.value() || 30, seed: seed.value() || 0 }), heard: (frame) => { if (frame.header.kind === "start") found = []; else found.push(frame); draw(); } });
  function draw() {
    put(out, found.map(({ header, arrays }) => {
      const strip = arrays[show.value()], [count, k, c, height, width] = strip.shape, plane_ = c * height * width, end = arrays.end;
      const small = end.shape[2] === height, row = new Uint8Array(count * (k + (small ? 1 : 0)) * plane_);
      for (let i = 0; i < count; i++) { row.set(strip.data.subarray(i * k * plane_, (i + 1) * k * plane_), i * (k + (small ? 1 : 0)) * plane_); if (small) row.set(end.data.subarray(i * plane_, (i + 1) * plane_), (i * (k + 1) + k) * plane_); }
      const canvas = h("canvas", { class: "picture", role: "img", "aria-label": header.name });
      paint(canvas, { data: row, shape: [count * (k + (small ? 1 : 0)), c, height, width] }, { columns: k + (small ? 1 : 0) });
      return h("section", {}, h("h3", {}, header.name, " ", h("small", {}, `${header.sampler}, ${header.calls} network calls`)), canvas);
    }));
  }
  put(root, h("div", { class: "card" }, h("h2", {}, "One network, sampled as DDPM, as NCSN and as an ODE"), h("p", { class: "soft" }, "The score and the predicted noise are equivalent, score = −ε̂/σ, so one checkpoint serves all samplers. Each row runs from noise on the left to the sample on the right, at the same noise levels where the samplers share them. DDPM and NCSN add noise at each step; DDIM and the ODE add none and end at nearly the same image."), h("div", { class: "row end" }, h("div", {}, n.box), h("div", {}, steps.box), h("div", {}, seed.box), job.box)), h("div", { class: "card" }, show.box, out));
  job.start();
  return () => job.close();
}

const mean = (a) => a.reduce((x, y) => x + y, 0) / a.length;

// The arrow keys move a slider regardless of the focus, and the space bar calls `space`.
function arrows(field, moved, space = undefined) {
  const hear = (event) => {
    if (typing(event) || event.altKey || event.ctrlKey || event.metaKey || event.target === field.input) return;
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step && !/^(select|button)$/i.test(event.target.tagName) && event.target.type !== "radio") { event.preventDefault(); field.set(Math.max(0, Math.min(Number(field.input.max), field.value() + step))); moved(field.value()); }
    if (event.key === " " && space && !/^(button|a|summary|input)$/i.test(event.target.tagName)) { event.preventDefault(); space(); }
  };
  document.addEventListener("keydown", hear);
  return () => document.removeEventListener("keydown", hear);
}
