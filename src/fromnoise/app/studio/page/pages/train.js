// Train: choose a recipe and images, see what was read, start; watch the loss, the samples and the time left.

import { ask, get, post, send } from "../api.js";
import * as address from "../address.js";
import { chart } from "../chart.js";
import { choice, dropped, number, slider, switcher, text } from "../controls.js";
import { duration, h, notice, put, short } from "../dom.js";
import { paint } from "../pixels.js";

export const title = "Train";

const RANGES = [["loss_clean", "almost clean (log-SNR above 4)"], ["loss_clear", "0 to 4"], ["loss_noisy", "−4 to 0"], ["loss_noise", "almost noise (below −4)"]];
const FIRST = ["digits", "images", "emoji", "digits-flow", "emoji-text"];

export async function show(root, studio) {
  const at = address.read();
  const form = h("div", { class: "card fields" }), runs = h("div", { class: "card" }), detail = h("div", {});
  put(root, h("div", { class: "layout" }, h("div", { class: "side" }, form), h("div", {}, runs, detail)));
  const leave = [];
  begin(form, studio, (name) => choose(name));

  let chosen = at.run ?? "", compared = new Set((at.with ?? "").split(",").filter(Boolean)), shown = null;
  function choose(name) {
    chosen = name;
    address.write({ run: name, with: [...compared].filter((one) => one !== name).join(",") });
    shown?.close();
    shown = name ? followed(detail, name, [...compared].filter((one) => one !== name), studio, form) : null;
    if (!name) put(detail);
    table(studio.state);
  }

  function table(state) {
    const trained = state.runs.filter((run) => run.run);
    if (!trained.length) { put(runs, h("h2", {}, "Runs"), h("p", { class: "soft" }, "None yet. What you start appears here.")); return; }
    put(runs, h("h2", {}, "Runs"), h("div", { class: "scroll" }, h("table", {}, h("thead", {}, h("tr", {}, ["Run", "", "Recipe", "Steps", "Loss", "Images/s", "Left", "Compare"].map((name, i) => h("th", { class: i > 2 && i < 7 ? "n" : "" }, name)))),
      h("tbody", {}, trained.map((run) => h("tr", { class: run.name === chosen ? "chosen" : "" },
        h("td", {}, h("button", { type: "button", class: "link", onclick: () => choose(run.name) }, run.name)),
        h("td", {}, badge(run)),
        h("td", {}, run.broken ? h("span", { class: "error", title: run.broken }, "damaged") : run.recipe),
        h("td", { class: "n" }, run.progress ? run.progress.step.toLocaleString("en") : "–"),
        h("td", { class: "n" }, run.progress ? short(run.progress.loss) : "–"),
        h("td", { class: "n" }, run.progress ? short(run.progress.images_per_second, 2) : "–"),
        h("td", { class: "n" }, run.state === "going" ? duration(left(run)) : "–"),
        h("td", {}, h("input", { type: "checkbox", "aria-label": `Compare ${run.name}`, checked: compared.has(run.name), disabled: run.name === chosen || !run.progress, onchange: (e) => { e.target.checked ? compared.add(run.name) : compared.delete(run.name); if (chosen) choose(chosen); } }))))))));
  }
  let last = "";
  const update = (state) => { const now = JSON.stringify(state.runs); if (now === last) return; last = now; if (!runs.contains(document.activeElement) || document.activeElement.tagName !== "INPUT") table(state); shown?.state(state.runs.find((run) => run.name === chosen)); };
  leave.push(studio.onstate(update));
  const known = studio.state.runs.filter((run) => run.run);
  choose(known.some((run) => run.name === chosen) || chosen ? chosen : (known.find((run) => run.state === "going") ?? known[0])?.name ?? "");
  return () => { leave.forEach((f) => f()); shown?.close(); };
}

export function badge(run) {
  const words = { going: "training", waiting: "waiting", pausing: "stopping…", paused: "paused", stopped: "stopped", failed: "failed", ended: "", elsewhere: "training elsewhere" };
  return run.state && words[run.state] ? h("span", { class: `badge ${run.state === "elsewhere" ? "going" : run.state}` }, words[run.state]) : null;
}

// Seconds until the run has what it was to have.
function left(run) {
  const p = run.progress;
  if (!p) return NaN;
  if (run.minutes) return Math.max(0, run.minutes * 60 - p.seconds);
  return run.steps && p.step ? Math.max(0, (p.seconds / p.step) * (run.steps - p.step)) : NaN;
}

const share = (run) => (run?.progress ? Math.min(1, run.minutes ? run.progress.seconds / (60 * run.minutes) : run.steps ? run.progress.step / run.steps : 0) : 0);

// The form that starts a run.
function begin(form, studio, started) {
  const start = studio.start, names = start.recipes.map((one) => one.name);
  const order = [...FIRST.filter((name) => names.includes(name)), ...names.filter((name) => !FIRST.includes(name))];
  const recipe = choice("Recipe", order, { value: "digits", onchange: chose });
  const about = h("p", { class: "soft" });
  const source = switcher("Images", [["own", "the recipe's"], ["named", "a data set"], ["mine", "my own"]], { value: "own", onchange: sourced });
  const named = choice("Data set", start.data.map((one) => one.name), { onchange: survey });
  const folders = choice("Folder", start.folders, { onchange: survey });
  const place = h("div", { class: "fields" }), seen = h("div", {});
  const name = text("Name of the run", { value: "" });
  const minutes = number("Minutes", { min: 0, placeholder: "as the recipe says" });
  const seed = number("Seed", { value: 0, step: 1 });
  const hold = number("Share of images held out", { min: 0, max: 0.5, placeholder: "none", hint: "for a held-out loss" });
  const settings = text("Settings, one a line", { lines: 3, placeholder: "train.lr=1e-3\nnetwork.channels=64", hint: "any key of config.yaml" });
  const model = choice("Steers the model of", []), teacher = choice("Learns from", []), init = choice("Starts from the weights of", []);
  const needs = h("div", { class: "fields" });
  const button = h("button", { type: "submit" }, "Start training");
  let known = null, set = "", sending = false;

  async function chose() {
    about.textContent = start.recipes.find((one) => one.name === recipe.value()).summary;
    try { known = await get(`/api/recipes/${recipe.value()}`); } catch (error) { notice(error.message); return; }
    minutes.input.placeholder = known.minutes ? `${known.minutes} (recipe)` : known.steps ? `${known.steps.toLocaleString("en")} steps (recipe)` : "how long?";
    if (!name.touched) name.set(free(recipe.value()));
    const models = studio.state.runs.filter((run) => !run.broken && (run.kind === "diffusion" || run.run === false)).map((run) => run.name);
    model.fill(models.map((one) => [one, one])); teacher.fill(models.map((one) => [one, one])); init.fill([["", "none: it starts fresh"], ...models]);
    put(needs, known.model ? model.box : null, known.teacher ? teacher.box : null);
    source.enable("own", recipe.value() !== "images");
    if (recipe.value() === "images" && source.value() === "own") source.set("mine");
    put(facts, known.reproduced && known.reproduced !== "not on this hardware" ? `What came of it: ${known.reproduced}.` : known.expected ? `Published: ${known.expected}. Not reproduced on a small machine.` : "");
    sourced();
  }
  name.input.addEventListener("input", () => (name.touched = true));
  const free = (base) => { const taken = new Set(studio.state.runs.map((run) => run.name)); if (!taken.has(base)) return base; for (let i = 2; ; i++) if (!taken.has(`${base}-${i}`)) return `${base}-${i}`; };
  const facts = h("small", {});

  function sourced() {
    const which = source.value();
    put(place, which === "named" ? named.box : which === "mine" ? [start.folders.length ? folders.box : null, pick.box, chooser] : null);
    if (which !== "mine") { put(seen); if (which === "named") survey(); } else if (set || start.folders.length) survey();
  }

  // Images of one's own, sent one by one; what is no image is counted and named.
  const pick = dropped("Drop a folder of images here, or choose files", { many: true, ongiven: sendAll });
  const whole = h("input", { type: "file", hidden: true, webkitdirectory: true, onchange: () => sendAll([...whole.files]) });
  const chooser = h("div", {}, whole, h("button", { type: "button", class: "quiet small", onclick: () => whole.click() }, "Choose a folder"), h("small", {}, " Sub-folders become classes."));
  async function sendAll(files) {
    if (sending) return;
    sending = true;
    const bar = h("progress", { max: files.length, value: 0 }), words = h("small", {}, "");
    put(seen, bar, words);
    try {
      const base = (files[0].place ?? files[0].webkitRelativePath ?? "").split("/")[0];
      const made = await post("/api/sets", { name: base || "images" });
      let last = made, next = 0, sent = 0;
      const worker = async () => {
        while (next < files.length) {
          const file = files[next++], where = (file.place ?? (file.webkitRelativePath || file.name)).split("/").slice(base ? 1 : 0).join("/");
          if (!file.size || file.name.startsWith(".")) { sent++; continue; }
          last = await send(`/api/sets/${encodeURIComponent(made.name)}?as=${encodeURIComponent(where)}`, file);
          bar.value = ++sent;
          words.textContent = `${sent} of ${files.length} sent`;
        }
      };
      await Promise.all([worker(), worker(), worker()]);
      set = made.name;
      if (!last.taken) { put(seen, h("p", { class: "error" }, "None of these files is an image."), left_out(last)); set = ""; return; }
      await survey();
      seen.append(left_out(last) ?? "");
      if (!name.touched) name.set(free(set));
    } catch (error) {
      put(seen, h("p", { class: "error" }, error.message));
    } finally {
      sending = false;
    }
  }
  const left_out = (made) => (made.count_left_out ? h("details", { open: true }, h("summary", {}, `${made.count_left_out} left out`), h("ul", {}, made.left_out.map((line) => h("li", {}, line)))) : null);

  async function survey() {
    const which = source.value(), asked = which === "named" ? { data: named.value() } : { folder: set || folders.value() };
    if (which === "own" || (which === "mine" && !asked.folder)) return;
    put(seen, h("small", {}, "reading…"));
    try {
      const { header, arrays } = await ask("survey", asked);
      const canvas = h("canvas", { class: "picture", role: "img", "aria-label": "Some of the images" });
      paint(canvas, arrays.x, { columns: 8 });
      put(seen, canvas, h("p", {}, `${header.n.toLocaleString("en")} images${which === "named" ? ` of ${header.shape.join(" × ")}` : ""}${header.classes.length ? `, ${header.classes.length} classes: ${header.classes.slice(0, 8).map((c, i) => `${c}${header.counts.length ? ` (${header.counts[i]})` : ""}`).join(", ")}${header.classes.length > 8 ? ", …" : ""}` : ", no classes"}.`), header.notes.map((note) => h("p", { class: "soft" }, note)));
    } catch (error) {
      put(seen, h("p", { class: "error" }, error.message));
    }
  }

  async function submit(event) {
    event.preventDefault();
    button.disabled = true;
    try {
      const values = { recipe: recipe.value(), name: name.value().trim(), settings: settings.value().split("\n").map((line) => line.trim()).filter(Boolean) };
      if (minutes.value() !== "") values.minutes = minutes.value();
      if (seed.value() !== "" && seed.value() !== 0) values.seed = seed.value();
      if (hold.value() !== "") values.hold_out = hold.value();
      if (source.value() === "named") values.data = named.value();
      if (source.value() === "mine") { values.folder = set || folders.value(); if (!values.folder) throw new Error("drop a folder of images first, or choose another source"); }
      if (known?.model) values.model = model.value();
      if (known?.teacher) values.teacher = teacher.value();
      if (init.value()) values.init = init.value();
      await post("/api/train", values);
      name.touched = false;
      await studio.refresh();
      started(values.name);
      name.set(free(recipe.value()));
    } catch (error) {
      notice(error.message);
    } finally {
      button.disabled = false;
    }
  }
  put(form, h("h2", {}, "Train a model"), h("form", { class: "fields", onsubmit: submit }, recipe.box, about, needs, source.box, place, seen, h("div", { class: "fields two" }, name.box, minutes.box), h("details", {}, h("summary", {}, "More"), h("div", { class: "fields" }, seed.box, hold.box, init.box, settings.box)), button, facts));
  chose();
}

// One run: its curves, its samples, what can be done with it; others beside it.
function followed(root, name, others, studio) {
  let closed = false, run = studio.state.runs.find((one) => one.name === name);
  const logs = new Map([name, ...others].map((one) => [one, { last: 0, columns: {} }]));
  const head = h("div", {}), words = h("div", {}), bar = h("progress", { max: 1, value: share(run), "aria-label": "Progress" });
  const smooth = slider("Smoothing", { value: 0.9, min: 0, max: 0.99, step: 0.01, show: (v) => v.toFixed(2), oninput: () => curves() });
  const axis = switcher("Over", [["step", "steps"], ["seconds", "time"], ["images", "images"]], { value: "step", onchange: () => curves() });
  const loss = chart({ title: "Loss", y: "", x: "step", logY: true, height: 260 }), levels = chart({ title: "Loss by noise level", x: "step", logY: true, height: 260 });
  const rate = chart({ title: "Images per second", x: "step", height: 160 }), norm = chart({ title: "Norm of the gradient", x: "step", logY: true, height: 160 });
  const old = h("small", { hidden: true }, "This log was begun before losses by noise level were recorded.");
  const samples = h("div", { class: "card" }, h("h2", {}, "Samples on the way"), h("p", { class: "soft" }, "The first grid comes with the first checkpoint."));
  put(root, h("div", { class: "card" }, head, bar, words), h("div", { class: "card" }, h("div", { class: "row apart end" }, axis.box, h("div", { class: "grow" }, smooth.box)), h("div", { class: "charts" }, loss.box, h("div", {}, levels.box, old), rate.box, norm.box)), samples);

  function state(now) {
    if (!now) return;
    run = now;
    bar.value = share(run);
    const p = run.progress, act = (path, text, quiet) => h("button", { type: "button", class: quiet ? "quiet" : "", onclick: async (e) => { e.target.disabled = true; try { path === "resume" ? await post("/api/resume", { run: name, ...longer() }) : await post(`/api/runs/${name}/${path}`); await studio.refresh(); } catch (error) { notice(error.message); e.target.disabled = false; } } }, text);
    const ended = ["", "ended", "stopped", "paused", "failed"].includes(run.state);
    const keep = more?.value() ?? "";
    more = ended ? number("Minutes in all", { value: keep, min: 0, placeholder: run.minutes ? `${run.minutes}` : "" }) : null;
    if (head.contains(document.activeElement) && document.activeElement.tagName === "INPUT") return;
    put(head, h("div", { class: "row apart" }, h("h2", {}, name, " ", badge(run)), h("div", { class: "row end" },
      run.state === "going" || run.state === "waiting" ? [act("pause", "Pause", true), act("stop", "Stop", true)] : null,
      ended ? [more.box, act("resume", share(run) >= 1 ? "Train longer" : "Resume")] : null,
      h("a", { href: `/draw?run=${encodeURIComponent(name)}` }, "Draw"), h("a", { href: `/measure?run=${encodeURIComponent(name)}` }, "Measure"))),
      h("p", { class: "facts" }, h("span", {}, "step ", h("b", {}, p ? p.step.toLocaleString("en") : "–")), h("span", {}, "loss ", h("b", {}, p ? short(p.loss) : "–")), p?.validation_loss ? h("span", {}, "held-out ", h("b", {}, short(p.validation_loss))) : null, h("span", {}, "images seen ", h("b", {}, p ? p.images.toLocaleString("en") : "–")), h("span", {}, "trained for ", h("b", {}, p ? duration(p.seconds) : "–")), run.state === "going" ? h("span", {}, "left ", h("b", {}, duration(left(run)))) : null, run.stages?.length ? h("span", {}, `stages: ${run.stages.join(", ")}`) : null));
    put(words, (run.said ?? []).length && run.state !== "ended" ? h("pre", { class: `soft${run.state === "failed" ? " error" : ""}` }, run.said.join("\n")) : null);
  }
  let more = null;
  const longer = () => (more && more.value() !== "" ? { minutes: more.value() } : {});

  function curves() {
    const key = axis.value(), series = [], own = logs.get(name).columns;
    for (const [one, { columns }] of logs) if (columns.loss) series.push({ name: one, x: columns[key], y: smoothed(columns.loss, smooth.value()) }, ...(columns.validation_loss ? [{ name: `${one}, held out`, x: columns[key], y: columns.validation_loss, points: true, only: true }] : []));
    loss.set(series);
    levels.set(RANGES.filter(([c]) => own[c]).map(([c, label]) => ({ name: label, x: own[key], y: smoothed(own[c], smooth.value()) })));
    old.hidden = !own.loss || RANGES.some(([c]) => own[c]);
    rate.set(own.images_per_second ? [{ name, x: own[key], y: smoothed(own.images_per_second, smooth.value()) }] : []);
    norm.set(own.grad_norm ? [{ name, x: own[key], y: smoothed(own.grad_norm, smooth.value()) }] : []);
  }

  async function more_lines() {
    let changed = false;
    for (const [one, held] of logs) {
      try {
        const found = await get(`/api/runs/${one}/log?after=${held.last}`);
        if (found.from === 0 && held.last) held.columns = {};
        const count = Object.values(found.columns)[0]?.length ?? 0, before = held.columns.step?.length ?? 0;
        if (count) { changed = true; for (const column of new Set([...Object.keys(held.columns), ...Object.keys(found.columns)])) held.columns[column] = [...(held.columns[column] ?? Array(before).fill(null)), ...(found.columns[column] ?? Array(count).fill(null))]; thin(held.columns); }
        held.last = found.last;
      } catch (error) { if (one === name && run?.state !== "waiting") put(words, h("p", { class: "error" }, error.message)); }
    }
    if (changed) curves();
  }

  let files = [], at = null;
  async function grids() {
    const about = await get(`/api/runs/${name}/about`).catch(() => null);
    if (!about || closed) return;
    const now = about.files ?? [];
    if (now.join() !== files.join()) {
      const follow = at === null || at === files.length - 1;
      files = now;
      if (files.length) {
        const image = h("img", { class: "picture samples", alt: "Samples", decoding: "async" }), label = h("small", {});
        const pick = slider("Checkpoint", { value: follow ? files.length - 1 : at, min: 0, max: files.length - 1, step: 1, show: () => "", oninput: (i) => turn(i) });
        const turn = (i) => { at = i; image.src = `/api/runs/${name}/grids/${files[i]}`; label.textContent = `after ${Number(files[i].match(/\d+/)?.[0] ?? 0).toLocaleString("en")} steps`; };
        put(samples, h("h2", {}, "Samples on the way"), image, pick.box, label);
        turn(follow ? files.length - 1 : Math.min(at, files.length - 1));
      }
    }
    if (about.measured?.memorisation) memory(about.measured.memorisation);
  }
  const copies = h("div", { class: "card" });
  function memory(found) {
    const shares = found.near_copies;
    put(copies, h("h2", {}, "Memorisation"), h("p", {}, `${(100 * shares.pixels).toFixed(1)} % of ${found.n} samples are near-copies of a training image in pixels, ${(100 * shares.features).toFixed(1)} % in features.`), h("a", { href: `/measure?run=${encodeURIComponent(name)}&view=copies` }, "Look at them"));
  }
  put(copies, h("h2", {}, "Memorisation"), h("p", { class: "soft" }, "Does it draw anew, or copy?"), h("a", { href: `/measure?run=${encodeURIComponent(name)}&view=copies` }, "Compare samples with their nearest training images"));
  root.append(copies);

  state(run);
  (async function live() {
    while (!closed) {
      if (!document.hidden) { await more_lines(); await grids(); }
      await new Promise((resolve) => setTimeout(resolve, run?.state === "going" ? 1500 : 4000));
    }
  })();
  return { state, close() { closed = true; } };
}

// Exponential means, started without bias; gaps stay gaps.
function smoothed(values, weight) {
  let mean = 0, power = 1;
  return values.map((v) => { if (v === null) return null; mean = weight * mean + (1 - weight) * v; power *= weight; return mean / (1 - power); });
}

// No more points than a screen shows: neighbours become their mean.
function thin(columns) {
  if (columns.step.length < 4000) return;
  for (const [key, values] of Object.entries(columns)) columns[key] = Array.from({ length: Math.ceil(values.length / 2) }, (_, i) => { const two = values.slice(2 * i, 2 * i + 2).filter((v) => v !== null); return two.length ? two.reduce((a, b) => a + b) / two.length : null; });
}
