// Draw: watch an image being denoised step by step, on a time line; or compare two panels that differ in one control.

import { ask, frames, get, post, stop } from "../api.js";
import * as address from "../address.js";
import { check, choice, number, switcher, text } from "../controls.js";
import { copyable, duration, formula, h, notice, put, short, typing, working } from "../dom.js";
import { paint, plot, tiles } from "../pixels.js";

export const title = "Draw";

const SHOWN = [["x", "x_t", "the noisy state"], ["x0", "x̂₀", "the clean image as the network predicts it"], ["eps", "ε̂", "the noise as the network predicts it"], ["change", "guidance", "how guidance and clipping change the predicted image"]];
const COMPARED = { seed: "seed", sampler: "sampler", steps: "steps", spacing: "spacing", guidance: "guidance scale", label: "class", text: "text" };

export async function show(root, studio) {
  const models = studio.state.runs.filter((run) => !run.broken && (run.kind === "diffusion" || run.run === false));
  if (!models.length) { await demo(root, studio); return; }
  const at = address.read();
  if (at.run && !models.some((one) => one.name === at.run)) notice(`There is no model ${at.run}; this is ${models[0].name}.`);
  const run = choice("Model", models.map((one) => one.name), { value: at.run ?? models[0].name, onchange: () => opened() });
  const side = h("form", { class: "card side fields", id: "draw-form", "aria-label": "What to draw", onsubmit: (event) => { event.preventDefault(); draw(); } });
  const right = h("div", { class: "stack" });
  put(root, h("div", { class: "layout result-first" }, side, right));

  let model = null, fields = {}, panels = [], drawing = false, following = new AbortController();
  const playing = { timer: 0 };
  const position = h("input", { type: "range", min: 0, max: 1, value: 1, step: 1, "aria-label": "Step", oninput: () => { halt(); scrubbed = true; seek(Number(position.value)); } });
  const where = h("output", {});
  const play = h("button", { type: "button", class: "quiet", onclick: toggle, title: "Space" }, "Play");
  const quantity = switcher("Show", SHOWN, { value: at.show ?? "x0", onchange: (key) => { address.write({ show: key === "x0" ? "" : key }); repaint(); } });
  const bar = h("progress", { class: "idle", max: 1, value: 0, "aria-label": "Drawing" });
  const board = h("div", { class: "panels" });
  const about = h("div", { class: "card" });
  const below = h("button", { type: "submit", form: "draw-form", class: "narrow" }, "Draw"); // shown on narrow screens, where the form is far below the image
  put(right, h("h1", { class: "out" }, "Draw"), h("div", { class: "card" }, board, bar, h("div", { class: "timeline" }, play, position, where), h("div", { class: "row apart end" }, quantity.box, below, h("small", {}, h("kbd", {}, "←"), " ", h("kbd", {}, "→"), " a step, ", h("kbd", {}, "Space"), " plays"))), about);

  const draw_ = h("button", { type: "submit" }, "Draw");
  const cancel = h("button", { type: "button", class: "quiet", hidden: true, onclick: () => end() }, "Stop");
  const end = () => panels.forEach((p) => p.job && p.state !== "over" && stop(p.job).catch((error) => notice(error.message)));

  async function opened() {
    halt();
    following.abort();
    if (model) { end(); address.write({ job: "", label: "" }); } // a job of the previous model, whose result will not be shown
    const mine = (following = new AbortController());
    panels = [];
    position.max = position.value = 1;
    where.textContent = "";
    address.write({ run: run.value() });
    if (!side.children.length || model) put(side, run.box, h("p", { class: "soft" }, "opening…"));
    if (!model) { put(board, panel("A").box); put(about, h("h2", {}, run.value()), h("p", { class: "soft" }, "opening…")); } // keep the layout while it loads
    try {
      const found = (await ask("describe", { run: run.value() })).header;
      if (mine.signal.aborted) return;
      model = found;
    } catch (error) {
      if (mine.signal.aborted) return;
      put(board);
      put(about);
      const name = run.value(), going = studio.state.runs.some((one) => one.name === name && ["going", "waiting"].includes(one.state));
      put(side, run.box, h("p", { class: going ? "soft" : "error" }, going ? "This model is being trained. You can draw from it as soon as it has a checkpoint; this page waits for that." : error.message));
      if (going) setTimeout(() => !mine.signal.aborted && opened(), 4000);
      return;
    }
    controls();
    panels = [panel("A")];
    compared();
    caption();
    if (at.job) { follow(at.job.split(",").map(Number)); at.job = ""; }
  }

  function controls() {
    const plan = model.plan, was = address.read();
    const keep = (name) => () => address.write({ [name]: fields[name].value() });
    const sampler = choice("Sampler", model.samplers.map((one) => [one.name, one.name === plan.sampler.name ? `${one.name} (recipe)` : one.name]), { value: was.sampler || plan.sampler.name, onchange: () => { keep("sampler")(); options(); } });
    fields = {
      n: number("Images", { value: was.n ?? 4, min: 1, max: model.shape.length === 3 ? 64 : 4000, step: 1, onchange: () => { keep("n")(); sized(); } }),
      seed: number("Seed", { value: was.seed ?? 0, step: 1, onchange: keep("seed") }),
      sampler,
      steps: number("Steps", { value: was.steps ?? "", min: 1, max: model.steps, step: 1, placeholder: `${plan.steps} (recipe)`, onchange: keep("steps") }),
      spacing: choice("Spacing", [["", "default of the sampler"], ...model.spacings], { value: was.spacing ?? "", onchange: keep("spacing") }),
      guidance: number("Guidance scale", { value: was.guidance ?? "", min: 0, max: 50, step: "any", placeholder: `${plan.guidance} (recipe)`, onchange: keep("guidance") }),
      label: choice("Class", [["", "all, in turn"], ...model.classes], { value: was.label ?? "", onchange: keep("label") }),
      text: text("Text, one prompt per line", { value: was.text ?? "", lines: 2, placeholder: "a red apple", onchange: keep("text") }),
      negative: text("Negative text", { value: was.negative ?? "", placeholder: "none", onchange: keep("negative") }),
      clip: choice("Clip to [−1, 1]", [["", `${plan.clip ? "yes" : "no"} (recipe)`], ["yes", "yes"], ["no", "no"]], { value: was.clip ?? "", onchange: keep("clip") }),
      low: number("Guide where noise / signal is above", { value: was.low ?? "", min: 0, placeholder: "everywhere", onchange: keep("low") }),
      high: number("and up to", { value: was.high ?? "", min: 0, placeholder: "everywhere", onchange: keep("high") }),
    };
    const locked = check("lock the seed", { value: was.locked !== "0", onchange: (on) => address.write({ locked: on ? "" : "0" }) });
    fields.locked = locked;
    const compare = choice("Compare, changing only", [["", "nothing"], ...Object.entries(COMPARED).filter(([key]) => (key !== "label" || model.classes.length) && (key !== "text" || model.text) && (key !== "guidance" || model.can_guide))], { value: was.compare ?? "", onchange: () => { address.write({ compare: compare.value(), b: "" }); compared(); } });
    fields.compare = compare;
    fields.b = h("div", {});
    const optional = h("div", { class: "fields" });
    fields.options = { box: optional, inputs: {} };
    put(side, run.box, model.text ? fields.text.box : null, model.classes.length ? fields.label.box : null,
      h("div", { class: "fields two" }, fields.n.box, fields.seed.box), h("div", { class: "row apart" }, locked.box, h("button", { type: "button", class: "quiet small", onclick: () => { if (!drawing) { another(); draw(); } } }, "Another seed")),
      fields.sampler.box, optional, h("div", { class: "fields two" }, fields.steps.box, model.can_guide ? fields.guidance.box : null), model.can_guide ? h("small", {}, "Guidance: 1 is off; a higher scale follows the condition more closely, with less variety.") : null,
      compare.box, fields.b,
      h("details", {}, h("summary", {}, "More"), h("div", { class: "fields" }, fields.spacing.box, model.latent ? null : fields.clip.box, model.can_guide ? [h("div", { class: "fields two" }, fields.low.box, fields.high.box), model.text ? fields.negative.box : null] : null)),
      h("div", { class: "row act" }, draw_, cancel));
    options();
    if (!model.can_guide && !model.text && quantity.value() === "change") quantity.set("x0");
    quantity.enable("change", model.can_guide || model.text);
  }

  function options() {
    const sampler = model.samplers.find((one) => one.name === fields.sampler.value());
    const own = model.plan.sampler.name === sampler.name ? model.plan.sampler : {};
    fields.options.inputs = {};
    put(fields.options.box, h("small", {}, formula(sampler.summary)), sampler.options.filter((one) => typeof one.default === "number" || one.default === null).map((one) => {
      const field = number(one.name, { value: "", placeholder: `${own[one.name] ?? one.default ?? "no limit"}`, onchange: () => address.write({ [`o.${one.name}`]: field.value() }) });
      field.set(address.read()[`o.${one.name}`] ?? "");
      fields.options.inputs[one.name] = field;
      return field.box;
    }));
  }

  function values() {
    const f = fields, given = { run: run.value(), n: f.n.value() || 4, seed: f.seed.value() || 0 };
    if (f.sampler.value() !== model.plan.sampler.name) given.sampler = f.sampler.value();
    const options = Object.fromEntries(Object.entries(f.options.inputs).map(([k, v]) => [k, v.value()]).filter(([, v]) => v !== ""));
    if (Object.keys(options).length) given.options = options;
    if (f.steps.value() !== "") given.steps = f.steps.value();
    if (f.spacing.value()) given.spacing = f.spacing.value();
    if (model.can_guide && f.guidance.value() !== "") given.guidance = f.guidance.value();
    if (model.classes.length && f.label.value()) given.label = f.label.value();
    if (model.text && f.text.value().trim()) given.text = f.text.value();
    if (model.text && f.negative.value().trim()) given.negative = f.negative.value();
    if (f.clip.value()) given.clip = f.clip.value() === "yes";
    if (f.low.value() !== "" || f.high.value() !== "") given.interval = [Number(f.low.value() || 0), Number(f.high.value() || 1e6)];
    return given;
  }

  function another() {
    fields.seed.set(Math.floor(Math.random() * 1e6));
    address.write({ seed: fields.seed.value() });
  }

  // The control in which the second panel differs.
  function compared() {
    const key = fields.compare.value();
    for (const p of panels.slice(1)) if (p.job && p.state !== "over") stop(p.job).catch(() => {});
    panels = [panels[0] ?? panel("A"), ...(key ? [panel("B")] : [])];
    put(board, panels.map((p) => p.box));
    sized();
    if (!key) { put(fields.b); return; }
    const label = `${COMPARED[key][0].toUpperCase()}${COMPARED[key].slice(1)} of B`, value = address.read().b ?? "";
    const keep = () => address.write({ b: fields.other.value() });
    fields.other = key === "sampler" ? choice(label, model.samplers.map((one) => one.name), { value: value || model.samplers.find((one) => one.name !== fields.sampler.value()).name, onchange: keep })
      : key === "spacing" ? choice(label, model.spacings, { value: value || "karras", onchange: keep })
      : key === "label" ? choice(label, model.classes, { value, onchange: keep })
      : key === "text" ? text(label, { value, lines: 2, onchange: keep })
      : number(label, { value: value || { seed: 1, steps: 10, guidance: 1 }[key], step: key === "guidance" ? "any" : 1, onchange: keep });
    put(fields.b, fields.other.box);
  }

  function panel(name) {
    const canvas = h("canvas", { width: 512, height: 512, "aria-label": `Result ${name}`, role: "img" });
    const empty = h("div", { class: "empty" }, "Press Draw.");
    const stage = h("div", { class: "stage" }, canvas, empty);
    const facts = h("div", { class: "facts" });
    const links = h("div", { class: "links" });
    return { name, canvas, empty, stage, facts, links, film: [], start: null, end: null, job: 0, state: "", decoded: new Map(), box: h("section", { class: "grow", "aria-label": `Panel ${name}` }, stage, facts, links) };
  }

  function sized() {
    const n = Math.max(1, Number(fields.n.value()) || 4), shape = model.shape;
    for (const p of panels) {
      if (shape.length === 3) { const grid = tiles(n); const ratio = (grid.columns * shape[2]) / (grid.rows * shape[1]); p.stage.style.aspectRatio = ratio; p.stage.style.maxWidth = `${Math.round(62 * ratio)}vh`; } else p.stage.style.aspectRatio = "1";
    }
  }

  async function draw() {
    if (drawing) return;
    drawing = true;
    halt();
    if (!fields.locked.value()) another();
    busy(true);
    sized();
    try {
      const given = values(), key = fields.compare.value();
      const all = [given];
      if (key) { const b = fields.other.value(); if (b === "") throw new Error(`Choose the ${COMPARED[key]} for B.`); all.push({ ...given, [key]: key === "text" || key === "label" || key === "sampler" || key === "spacing" ? b : Number(b) }); if (key === "sampler") delete all[1].options; }
      const jobs = [];
      for (const one of all) jobs.push((await post("/api/jobs/draw", one)).number);
      address.write({ job: jobs.join(",") });
      studio.refresh();
      await follow(jobs, true);
    } catch (error) {
      notice(error.message);
    } finally {
      drawing = false;
      busy(false);
    }
  }

  function busy(on) {
    working(on, [draw_, below], cancel);
    if (!on) bar.className = "idle";
  }

  // Follow jobs in their panels: jobs just started, or those in the address, which may be gone.
  async function follow(jobs, fresh = false) {
    const mine = following;
    busy(true);
    try {
      await Promise.all(panels.map((p, i) => (jobs[i] ? watch(p, jobs[i], mine) : null)));
    } catch (error) {
      if (mine.signal.aborted) return;
      panels.filter((p) => !p.start).forEach((p) => { p.empty.textContent = "Press Draw."; p.empty.hidden = false; });
      if (fresh) throw error;
      address.write({ job: "" });
    } finally {
      if (mine === following) busy(false);
    }
  }

  // Follow a job from its first frame on, whether it is running or done.
  async function watch(p, job, mine) {
    Object.assign(p, { job, film: [], start: null, end: null, over: null, state: "", decoded: new Map() });
    p.empty.textContent = "waiting…";
    p.empty.hidden = false;
    put(p.links);
    put(p.facts);
    scrubbed = false;
    let onward = true; // until the user plays or scrubs
    for await (const frame of frames(job, 0, mine.signal)) {
      const kind = frame.header.kind;
      if (kind === "start" && (!frame.header.plan || String(frame.header.shape) !== String(model.shape))) throw new Error("this result belongs to another model"); // job numbers start over with the studio
      if (kind === "start") { p.start = frame.header; position.max = Math.max(1, ...panels.map((q) => q.start?.total ?? 0)); p.empty.hidden = true; caption(); }
      else if (kind === "step") p.film.push(frame);
      else if (kind === "end") p.end = frame;
      else if (kind === "over") { p.state = "over"; p.over = frame.header; }
      if (kind === "step" || kind === "end") {
        bar.className = "";
        const done = p.end ? p.start.total : p.film.length;
        bar.value = (done + (p.end ? 1 : 0)) / (p.start.total + 1);
        onward = onward && !playing.timer && !scrubbed;
        if (onward) { position.value = p.end ? position.max : Math.round((done / p.start.total) * position.max) - 1; once(); }
      }
    }
    if (p.over?.state === "failed") { p.empty.textContent = p.over.words; p.empty.hidden = false; notice(p.over.words); return; }
    if (p.over?.state === "cancelled" && !p.film.length) { p.empty.textContent = "stopped"; p.empty.hidden = false; return; }
    seek(Number(position.value));
    if (p.end && model.shape.length === 3) put(p.links, taken(job, p.end.arrays.x.shape[0]));
    caption();
  }

  // Links to the PNG of all images, and of each one.
  function taken(job, n) {
    const one = (i) => h("a", { href: `/api/jobs/${job}/result.png?image=${i}`, download: "", "aria-label": `Download image ${i + 1}` }, i + 1);
    return [h("a", { href: `/api/jobs/${job}/result.png`, download: "" }, "Download PNG"), n > 1 ? h("details", {}, h("summary", {}, h("small", {}, "single images")), h("div", { class: "each" }, Array.from({ length: n }, (_, i) => one(i)))) : null];
  }

  let asked = false, scrubbed = false;
  function once() {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; seek(Number(position.value)); });
  }

  function seek(step) {
    for (const p of panels) p.at = p.start ? Math.round(step / position.max * p.start.total) : 0;
    repaint();
  }

  function repaint() {
    let key = quantity.value();
    for (const p of panels) {
      if (!p.start) continue;
      const last = p.end && p.at >= p.start.total;
      const frame = last ? p.end : p.film[Math.min(p.at, p.film.length - 1)];
      if (!frame) continue;
      let array = frame.arrays[last ? "x" : key] ?? frame.arrays.x0 ?? frame.arrays.x;
      if (last && key === "change") array = p.film.at(-1)?.arrays.change ?? array;
      if (!last && p.start.latent && key !== "eps" && key !== "change") array = decoded(p, frame.header.index)?.[key] ?? array;
      if (array) p.start.shape.length === 3 && array.shape.length === 4 ? paint(p.canvas, array, { columns: tiles(array.shape[0]).columns, signed: key === "change" }) : points(p, array);
      facts(p, frame, last);
    }
    const a = panels[0];
    where.textContent = a?.start ? `${a.end ? a.at : Math.min(a.at, a.film.length)} of ${a.start.total}` : "";
    position.setAttribute("aria-valuetext", where.textContent);
  }

  function points(p, array) {
    if (p.canvas.width !== 512) { p.canvas.width = 512; p.canvas.height = 512; }
    if (array.shape.length > 3 || (array.shape.length === 2 && array.shape[1] !== 2)) { p.empty.textContent = `states of shape ${p.start.shape.join(" × ")} cannot be shown as an image`; p.empty.hidden = false; return; }
    plot(p.canvas, array, { reach: 3, trail: p.film.slice(0, p.at + 1).map((one) => one.arrays.x.data) });
  }

  // Latents are decoded when they are shown.
  function decoded(p, index) {
    const known = p.decoded.get(index);
    if (known) return known.arrays;
    p.decoded.set(index, {});
    ask("decode", { latents: p.start.latents, index }).then((frame) => { p.decoded.set(index, frame); repaint(); }).catch(() => {});
    return undefined;
  }

  function facts(p, frame, last) {
    const head = frame.header, name = panels.length > 1 ? h("b", {}, `${p.name}  `) : null;
    if (last) {
      put(p.facts, name, h("span", {}, "done in ", h("b", {}, duration(p.over?.seconds ?? head.network_seconds))), h("span", {}, "network ", h("b", {}, duration(head.network_seconds))), h("span", {}, "network calls ", h("b", {}, head.calls)));
      return;
    }
    const mean = (a) => (a ? a.data.reduce((x, y) => x + y, 0) / a.data.length : null);
    put(p.facts, name, h("span", {}, "t ", h("b", {}, short(head.time))), h("span", {}, "log-SNR ", h("b", {}, head.log_snr === null ? (head.alpha > head.sigma ? "∞" : "−∞") : short(head.log_snr))), h("span", {}, "α ", h("b", {}, short(head.alpha))), h("span", {}, "σ ", h("b", {}, short(head.sigma))), h("span", { title: "root mean square of the score, the gradient of log q(x_t)" }, "score ", h("b", {}, short(mean(frame.arrays.score)))), frame.arrays.change_size ? h("span", {}, "guidance moves x̂₀ by ", h("b", {}, short(mean(frame.arrays.change_size)))) : null);
  }

  function caption() {
    const done = panels.filter((p) => p.start);
    const open = done.map((_, i) => about.querySelectorAll("details")[i]?.open ?? panels.length === 1);
    put(about, h("h2", {}, run.value()), h("p", { class: "soft" }, `${model.parameters.toLocaleString("en")} parameters, ${model.shape.join(" × ")}, schedule ${model.schedule.toLowerCase()}, predicts ${model.parameterization}${model.trained ? `, ${model.trained.toLocaleString("en")} steps of training` : ""}${model.latent ? ", on latents" : ""}${model.cascade ? ", a cascade" : ""}.`),
      model.beside ? h("p", { class: "soft" }, "This model is conditioned on an image. Here these come from its own data; use Edit to provide your own.") : null,
      done.map((p, i) => h("details", { open: open[i] }, h("summary", {}, panels.length > 1 ? `Reproduce ${p.name}` : "Reproduce it"), copyable(p.start.command, "command"), copyable(p.start.python, "Python"))),
      done.some((p) => p.start.every > 1) ? h("p", { class: "soft" }, `To save memory, only one step in ${Math.max(...done.map((p) => p.start.every))} is shown.`) : null);
  }

  function toggle() { scrubbed = true; playing.timer ? halt() : start(); }
  function start() {
    if (!panels[0]?.start) return;
    if (Number(position.value) >= Number(position.max)) position.value = 0;
    play.textContent = "Pause";
    const pace = Math.max(30, Math.min(200, 4000 / position.max));
    playing.timer = setInterval(() => { if (Number(position.value) >= Number(position.max)) return halt(); position.value = Number(position.value) + 1; seek(Number(position.value)); }, pace);
  }
  function halt() { clearInterval(playing.timer); playing.timer = 0; play.textContent = "Play"; }

  function keys(event) {
    if (typing(event) || event.altKey || event.ctrlKey || event.metaKey || /^(button|a|summary|pre)$/i.test(event.target.tagName) || event.target.type === "checkbox") return;
    const move = { ArrowLeft: -1, ArrowRight: 1, Home: -1e9, End: 1e9 }[event.key];
    if (event.key === " ") { event.preventDefault(); toggle(); }
    else if (move) { event.preventDefault(); halt(); scrubbed = true; position.value = Math.min(Number(position.max), Math.max(0, Number(position.value) + move)); seek(Number(position.value)); }
  }
  document.addEventListener("keydown", keys);
  addEventListener("theme", repaint);
  await opened();
  return () => { document.removeEventListener("keydown", keys); removeEventListener("theme", repaint); following.abort(); halt(); };
}

// No model yet: offer to train a first one.
async function demo(root, studio) {
  const button = h("button", { type: "button", onclick: async () => {
    button.disabled = true;
    try { await post("/api/train", { recipe: "digits", name: "digits", minutes: 1, settings: ["train.checkpoint_every=30", "train.sample_every=30"] }); await studio.refresh(); await studio.go("/train?run=digits"); } catch (error) { notice(error.message); button.disabled = false; }
  } }, "Train a first model");
  put(root, h("div", { class: "card" }, h("h1", {}, "No model has been trained yet"), h("p", {}, "One click trains a small model of handwritten digits for a minute on this machine. You can watch it learn, and draw from it before it is done."), h("div", { class: "row" }, button, h("a", { href: "/train" }, "or choose another recipe"))));
}
