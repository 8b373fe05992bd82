// One run: progress, curves, samples and actions, compared with other runs.

import { get, of, post } from "../api.js";
import * as address from "../address.js";
import { chart } from "../chart.js";
import { number, slider, switcher } from "../controls.js";
import { duration, h, notice, put, say, short } from "../dom.js";

const RANGES = [["loss_clean", "above 4, nearly clean"], ["loss_clear", "0 to 4"], ["loss_noisy", "−4 to 0"], ["loss_noise", "below −4, nearly pure noise"]];
const WORDS = { going: "training", waiting: "waiting", pausing: "stopping…", paused: "paused", stopped: "stopped", failed: "failed", elsewhere: "training elsewhere" };
const MOST_POINTS = 4000;

export function badge(run) {
  return WORDS[run.state] ? h("span", { class: `badge ${run.state === "elsewhere" ? "going" : run.state}` }, WORDS[run.state]) : null;
}

// Seconds until the run reaches its planned length.
export function left(run) {
  const p = run.progress;
  if (!p) return NaN;
  if (run.minutes) return Math.max(0, run.minutes * 60 - p.seconds);
  return run.steps && p.step ? Math.max(0, (p.seconds / p.step) * (run.steps - p.step)) : NaN;
}

const share = (run) => (run?.progress ? Math.min(1, run.minutes ? run.progress.seconds / (60 * run.minutes) : run.steps ? run.progress.step / run.steps : 0) : 0);

export function followed(root, name, others, studio) {
  const at = address.read();
  let closed = false, run = studio.state.runs.find((one) => one.name === name);
  if (!run) { put(root, h("div", { class: "card" }, h("p", { class: "soft" }, `There is no run ${name} yet.`))); return { missing: true, state() {}, close() {} }; }
  const logs = new Map([name, ...others].map((one) => [one, { last: 0, columns: {} }]));
  const smooth = slider("Smoothing", { value: Number(at.smooth ?? 0.9), min: 0, max: 0.99, step: 0.01, show: (v) => v.toFixed(2), oninput: (v) => { address.write({ smooth: v === 0.9 ? "" : v }); curves(); } });
  const axis = switcher("Over", [["step", "steps"], ["seconds", "time"], ["images", "images"]], { value: ["seconds", "images"].includes(at.over) ? at.over : "step", onchange: (key) => { address.write({ over: key === "step" ? "" : key }); curves(); } });
  let charts = null;
  const old = h("small", { hidden: true }, "This run's log has no losses by noise level.");
  const place = h("div", { class: "charts" });
  const head = state_();
  const samples = h("div", { class: "card" }, h("h2", {}, "Samples during training"), h("p", { class: "soft" }, "The first grid appears with the first checkpoint."));
  const copies = h("div", { class: "card" });
  memory(null);
  put(root, head.box, h("div", { class: "card" }, h("div", { class: "row apart end" }, axis.box, h("div", { class: "grow" }, smooth.box)), place, old), samples, copies);
  axes();

  // Elements are made once, so the focus stays and no click is lost while the numbers change.
  function state_() {
    let busy = false; // a disabled button would lose the focus
    const act = (text, what, quiet = true) => h("button", { type: "button", class: quiet ? "quiet" : "", onclick: async () => {
      if (busy || run.state === "pausing") return;
      busy = true;
      try { await what(); await studio.refresh(); } catch (error) { notice(error.message); } finally { busy = false; }
    } }, text);
    const longer = number("Total minutes", { min: 0 });
    const pause = act("Pause", () => post(of(name, "pause"))), stop = act("Stop", () => post(of(name, "stop")));
    const resume = act("Resume", () => post("/api/resume", { run: name, ...(longer.value() === "" ? {} : { minutes: longer.value() }) }), false);
    const mark = h("span", {}), bar = h("progress", { max: 1, value: 0, "aria-label": "Progress" });
    const words = h("pre", { class: "said soft" });
    const facts = new Map(["step", "loss", "held-out", "images seen", "trained for", "left", "stages"].map((key) => { const value = h("b", {}); return [key, { value, box: h("span", {}, `${key} `, value) }]; }));
    const links = [["draw", "Draw"], ["measure", "Measure"], ["inside", "Look inside"]].map(([page, text]) => h("a", { href: `/${page}?run=${encodeURIComponent(name)}` }, text));
    const box = h("div", { class: "card" },
      h("div", { class: "row apart end" }, h("h2", {}, name, " ", mark), h("div", { class: "row end" }, pause, stop, longer.box, resume, links)),
      h("p", { class: "facts line" }, [...facts.values()].map((one) => one.box)), bar, words);
    const fact = (key, text) => { facts.get(key).box.hidden = text === null; say(facts.get(key).value, text ?? ""); };
    function set() {
      const p = run.progress, ended = ["", "ended", "stopped", "paused", "failed"].includes(run.state ?? ""), going = ["going", "waiting", "pausing"].includes(run.state);
      const held = [pause, stop, resume].find((one) => one === document.activeElement);
      const now = badge(run);
      if (mark.textContent !== (now?.textContent ?? "")) put(mark, now);
      bar.value = share(run);
      pause.ariaDisabled = stop.ariaDisabled = String(run.state === "pausing");
      pause.hidden = stop.hidden = !going;
      longer.box.hidden = resume.hidden = !ended || Boolean(run.broken);
      if (held?.hidden) (ended ? resume : pause).focus();
      say(resume, share(run) >= 1 ? "Train longer" : "Resume");
      longer.input.placeholder = run.minutes ? `${run.minutes}` : "";
      for (const link of links) link.style.visibility = p ? "" : "hidden"; // so that nothing moves when they appear
      fact("step", p ? p.step.toLocaleString("en") : "–");
      fact("loss", p ? short(p.loss) : "–");
      fact("held-out", p?.validation_loss ? short(p.validation_loss) : null);
      fact("images seen", p ? p.images.toLocaleString("en") : "–");
      fact("trained for", p ? duration(p.seconds) : "–");
      fact("left", run.state === "going" ? duration(left(run)) : null);
      fact("stages", run.stages?.length ? run.stages.join(", ") : null);
      const said = run.broken ? run.broken : run.state === "failed" ? (run.said ?? []).join("\n") : run.state === "ended" ? "" : (run.said ?? []).at(-1) ?? "";
      say(words, said);
      words.classList.toggle("error", run.state === "failed" || Boolean(run.broken));
    }
    set();
    return { box, set };
  }

  // The charts, over the chosen horizontal axis.
  function axes() {
    const x = { step: "step", seconds: "seconds of training", images: "images seen" }[axis.value()];
    charts = { loss: chart({ title: "Loss", x, logY: true, height: 260 }), levels: chart({ title: "Loss by noise level (log-SNR)", x, logY: true, height: 260 }), rate: chart({ title: "Images per second", x, height: 160 }), norm: chart({ title: "Norm of the gradient", x, logY: true, height: 160 }), x };
    put(place, charts.loss.box, charts.levels.box, charts.rate.box, charts.norm.box);
  }

  function curves() {
    const key = axis.value(), series = [], own = logs.get(name).columns, smoothness = smooth.value();
    if (charts.key && charts.key !== key) axes();
    charts.key = key;
    for (const [one, { columns }] of logs) if (columns.loss) series.push({ name: one, x: columns[key], y: smoothed(columns.loss, smoothness) }, ...(columns.validation_loss ? [{ name: `${one}, held out`, x: columns[key], y: columns.validation_loss, points: true, only: true }] : []));
    const single = (column) => (own[column] ? [{ name, x: own[key], y: smoothed(own[column], smoothness) }] : []);
    charts.loss.set(series);
    charts.levels.set(RANGES.filter(([c]) => own[c]).map(([c, label]) => ({ name: label, x: own[key], y: smoothed(own[c], smoothness) })));
    old.hidden = !own.loss || RANGES.some(([c]) => own[c]);
    charts.levels.box.hidden = !old.hidden;
    charts.rate.set(single("images_per_second"));
    charts.norm.set(single("grad_norm"));
  }

  async function lines() {
    let changed = false;
    for (const [one, held] of logs) {
      try {
        const found = await get(of(one, `log?after=${held.last}`));
        if (closed) return;
        if (found.from === 0 && held.last) held.columns = {};
        const count = Object.values(found.columns)[0]?.length ?? 0, before = held.columns.step?.length ?? 0;
        if (count) {
          changed = true;
          for (const column of new Set([...Object.keys(held.columns), ...Object.keys(found.columns)])) held.columns[column] = [...(held.columns[column] ?? Array(before).fill(null)), ...(found.columns[column] ?? Array(count).fill(null))];
          thin(held.columns);
        }
        held.last = found.last;
      } catch { /* the server or the run is gone, which the page shows elsewhere */ }
    }
    if (changed && !closed) curves();
  }

  let files = [], shown = null;
  async function grids() {
    const about = await get(of(name, "about")).catch(() => null);
    if (!about || closed) return;
    const now = about.files ?? [];
    if (now.join() !== files.join()) {
      const follow = shown === null || shown === files.length - 1;
      files = now;
      if (files.length) {
        if (!pick.box.isConnected) put(samples, h("h2", {}, "Samples during training"), image, pick.box, label);
        pick.limit(files.length - 1);
        pick.box.hidden = files.length < 2;
        turn(follow ? files.length - 1 : Math.min(shown, files.length - 1));
        pick.set(shown);
      }
    }
    memory(about.measured?.memorisation);
  }
  const image = h("img", { class: "picture samples", alt: "Samples", decoding: "async" }), label = h("small", {});
  const pick = slider("Checkpoint", { value: 0, min: 0, max: 0, step: 1, show: () => "", oninput: (i) => turn(i) });
  function turn(i) {
    shown = i;
    image.src = of(name, `grids/${encodeURIComponent(files[i])}`);
    label.textContent = `after ${Number(files[i].match(/\d+/)?.[0] ?? 0).toLocaleString("en")} steps`;
    pick.input.setAttribute("aria-valuetext", label.textContent);
  }

  function memory(found) {
    const now = found ? JSON.stringify(found) : "none", shares = found?.near_copies, href = `/measure?run=${encodeURIComponent(name)}&view=copies`;
    if (copies.dataset.now === now) return;
    copies.dataset.now = now;
    put(copies, h("h2", {}, "Memorisation"), shares
      ? [h("p", {}, `${(100 * shares.pixels).toFixed(1)} % of ${found.n} samples are near-copies of a training image in pixels, ${(100 * shares.features).toFixed(1)} % in features.`), h("a", { href }, "Show them")]
      : [h("p", { class: "soft" }, "Does the model generate new images, or copy its training images?"), h("a", { href }, "Compare samples with their nearest training images")]);
  }

  (async function live() {
    while (!closed) {
      if (!document.hidden) { await lines(); await grids(); }
      await new Promise((resolve) => setTimeout(resolve, run.state === "going" ? 1500 : 4000));
    }
  })();
  return { state(now) { if (now) { run = now; head.set(); } }, close() { closed = true; } };
}

// Exponential moving averages with bias correction; gaps stay gaps.
function smoothed(values, weight) {
  let mean = 0, power = 1;
  return values.map((v) => { if (v === null) return null; mean = weight * mean + (1 - weight) * v; power *= weight; return mean / (1 - power); });
}

// Keep no more points than a screen shows: average neighbours.
function thin(columns) {
  while (columns.step.length >= MOST_POINTS) for (const [key, values] of Object.entries(columns)) columns[key] = Array.from({ length: Math.ceil(values.length / 2) }, (_, i) => { const two = values.slice(2 * i, 2 * i + 2).filter((v) => v !== null); return two.length ? two.reduce((a, b) => a + b) / two.length : null; });
}
