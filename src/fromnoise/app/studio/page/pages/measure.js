// Measure: the figures of a run and what they mean, tables of effort, a blind test, and copies.

import { ask, get } from "../api.js";
import * as address from "../address.js";
import { choice, number, switcher, text } from "../controls.js";
import { copyable, duration, h, put, short, typing } from "../dom.js";
import { chart } from "../chart.js";
import { paint } from "../pixels.js";
import { runner } from "../running.js";

export const title = "Measure";

const SHOWN = [["figures", "Figures"], ["table", "Quality against steps"], ["blind", "Blind test"], ["copies", "Copies"]];

// [name, whether less is better, what it means]
const MEANING = [
  [/^(FID|FD)/, true, "Fréchet distance: how far the samples as a whole lie from the real images, by their features. 0 would be the data itself. Few samples make it too large."],
  [/^s(FID|FD)/, true, "The same distance by features that keep where things are in the image."],
  [/^KID/, true, "Kernel distance between samples and real images. Unbiased even with few samples, so it can fall slightly below 0."],
  [/^IS/, false, "How sure a classifier is of each sample, times how varied its answers are. At most the number of classes; real images are not looked at."],
  [/^precision/, false, "Share of samples that lie among the real images: how many look real."],
  [/^recall/, false, "Share of real images that lie among the samples: how much of the variety is covered."],
  [/^density/, false, "Precision that counts how many real neighbours a sample has; it can exceed 1."],
  [/^coverage/, false, "Share of real images with a sample nearby."],
  [/^class accuracy/, false, "How often a classifier sees the class that was asked for."],
  [/^caption agreement/, false, "How often an image-text model finds the right caption among 100. Chance is 0.01."],
  [/^CLIP score/, false, "100 times the cosine of image and text, as CLIP sees them."],
  [/^of real images/, undefined, "The same of real images, for comparison."],
];

// The 95 % interval of Wilson for a share.
export function wilson(right, n) {
  const z = 1.959964, p = right / n, middle = (p + (z * z) / (2 * n)) / (1 + (z * z) / n);
  const half = (z / (1 + (z * z) / n)) * Math.sqrt((p * (1 - p)) / n + (z * z) / (4 * n * n));
  return [Math.max(0, middle - half), Math.min(1, middle + half)];
}
const percent = (share) => `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`;
const slice = ({ data, shape }, k, count = 1) => { const size = shape[1] * shape[2] * shape[3]; return { data: data.subarray(k * size, (k + count) * size), shape: [count, ...shape.slice(1)] }; };
const picture = (array, options, label) => { const canvas = h("canvas", { class: "picture", role: "img", "aria-label": label }); paint(canvas, array, { gap: 0, ...options }); return canvas; };
const random = (n) => crypto.getRandomValues(new Uint32Array(1))[0] % n;
const share = (header) => (header.kind === "step" && header.total ? header.done / header.total : header.kind === "cell" ? header.number / header.of : 0);

export async function show(root, studio) {
  const models = studio.state.runs.filter((run) => !run.broken && run.run !== false && run.kind === "diffusion");
  if (!models.length) {
    put(root, h("div", { class: "card" }, h("h1", {}, "Measure"), h("p", {}, "There is no trained run yet that could be measured. ", h("a", { href: "/train" }, "Train one"), " first.")));
    return;
  }
  const at = address.read(), names = models.map((one) => one.name);
  const run = choice("Run", names, { value: at.run ?? names[0], onchange: () => opened() });
  const other = choice("Beside it", [["", "no other run"], ...names], { value: at.other ?? "", onchange: () => { address.write({ other: other.value() }); opened(); } });
  const tabs = switcher("Show", SHOWN, { value: SHOWN.some(([key]) => key === at.view) ? at.view : "figures", onchange: (key) => { address.write({ view: key === "figures" ? "" : key }); tab(); } });
  const body = h("div", {});
  body.style.marginTop = "1rem";
  put(root, h("div", { class: "card" }, h("div", { class: "row end" }, h("div", { class: "grow" }, run.box), h("div", { class: "grow" }, other.box), tabs.box)), body);
  let leave = () => {}, shown = 0;

  async function opened() {
    address.write({ run: run.value() });
    await tab();
  }

  async function tab() {
    const mine = ++shown;
    leave();
    leave = () => {};
    other.box.hidden = tabs.value() !== "figures";
    try {
      const left = await { figures, table, blind, copies }[tabs.value()](() => mine === shown);
      if (mine === shown) leave = left ?? (() => {});
      else left?.();
    } catch (error) {
      if (mine === shown) put(body, h("div", { class: "card" }, h("p", { class: "error" }, error.message)));
    }
  }

  // ---- the figures of eval.json ----

  async function figures(wanted) {
    const name = run.value(), beside = other.value() && other.value() !== name ? other.value() : "";
    const table = h("div", { class: "card" }), how = h("div", { class: "card" }), now = h("div", { class: "card" });
    const n = number("Samples", { value: at.n ?? 500, min: 2, max: 50000, step: 1, onchange: (v) => { address.write({ n: v === 500 ? "" : v }); said(); } });
    const command = h("div", {}), stage = h("p", { class: "soft", role: "status" }), seen = h("div", { class: "gallery" });
    let about = null;
    const going = runner("Measure now", "measure", {
      values: () => ({ run: name, ...(n.value() === "" ? {} : { n: n.value() }) }),
      total: share,
      heard: ({ header, arrays }) => {
        if (!wanted()) return;
        if (header.kind === "start") put(command, copyable(header.command, "command"));
        if (header.kind === "step") stage.textContent = `${header.stage}${header.total ? `: ${Math.round((100 * header.done) / header.total)} %` : header.done ? `: ${header.done.toLocaleString("en")}` : ""}`;
        if (header.kind === "samples") put(seen, Array.from({ length: arrays.x0.shape[0] }, (_, k) => picture(slice(arrays.x0, k), {}, `Sample ${k + 1}`)));
        if (header.kind === "end") { stage.textContent = ["Written to eval.json in the run.", ...header.warnings.map((one) => `${one}.`)].join(" "); load(); }
      },
    });
    seen.style.gridTemplateColumns = "repeat(auto-fill, minmax(64px, 1fr))";
    const said = () => put(command, copyable(`fromnoise eval ${studio.path(name)}${n.value() === "" ? "" : ` --n ${n.value()}`}`, "command"));
    stage.style.margin = ".5rem 0";
    put(now, h("h2", {}, "Measure now"), h("p", { class: "soft" }, "Draws new samples as the recipe says and compares them with the run's data. What was drawn before is used again, so it goes on where it was stopped. Published figures take 50,000 samples."), h("div", { class: "row end" }, h("div", {}, n.box), h("div", { class: "grow" }, going.box)), stage, seen, command);
    put(body, h("div", { class: "card" }, h("p", { class: "soft" }, "loading…")));

    async function load() {
      const both = await Promise.all([name, ...(beside ? [beside] : [])].map((one) => get(`/api/runs/${one}/about`)));
      if (!wanted()) return;
      about = both[0];
      const reports = both.map((one) => one.measured);
      put(table, h("h2", {}, beside ? `${name} and ${beside}` : `Figures of ${name}`), ...story(reports, [name, beside]));
      put(how, h("h2", {}, "How they were measured"), manner(reports, [name, beside]));
      how.hidden = !reports.some(Boolean);
      const recipe = about.config?.["evaluate.n"];
      if (recipe) n.input.placeholder = `${recipe.toLocaleString("en")} (recipe)`;
    }
    await load();
    if (!wanted()) return;
    said();
    put(body, table, how, now);
    let alive = false;
    return studio.onstate((state) => { // a measurement that was begun before this page was opened
      const job = state.queue.find((one) => one.kind === "measure" && one.run === name && ["running", "waiting"].includes(one.state));
      if (alive && !job) load().catch(() => {});
      alive = Boolean(job);
    });
  }

  // The table of figures, and when they can be compared.
  function story([a, b], [name, beside]) {
    if (!a && !b) return [h("p", {}, "Not measured yet. ", beside ? "Neither of the two runs has an eval.json." : "Press Measure now below: a few hundred samples give a first idea in minutes.")];
    const rows = [...lines(a), ...lines(b).filter(([key]) => !lines(a).some(([own]) => own === key))];
    const value = (report, key) => lines(report).find(([own]) => own === key)?.[1];
    const unequal = a && b ? differences(a, b) : [];
    const found = [h("div", { class: "scroll" }, h("table", {},
      h("thead", {}, h("tr", {}, h("th", {}, "Figure"), h("th", { class: "n" }, name), beside ? [h("th", { class: "n" }, beside), h("th", { class: "n" }, "difference")] : null, h("th", {}, "better"))),
      h("tbody", {}, rows.map(([key, , spread, less, meaning]) => {
        const one = value(a, key), two = value(b, key), change = one !== undefined && two !== undefined && !unequal.length ? two - one : null;
        const good = change && less !== undefined ? (change < 0) === less : null;
        const head = h("td", {}, h("b", {}, key), h("br"), h("small", {}, meaning));
        head.style.minWidth = "190px";
        return h("tr", {}, head, numeral("n", one === undefined ? "–" : short(one, 4), one !== undefined && spread !== undefined ? h("small", {}, ` ± ${short(spread, 2)}`) : null),
          beside ? [h("td", { class: "n" }, two === undefined ? "–" : short(two, 4)), h("td", { class: `n ${good === null ? "" : good ? "good" : "error"}` }, change === null ? "–" : `${change > 0 ? "+" : ""}${short(change, 3)}`)] : null,
          h("td", {}, less === undefined ? "" : less ? "lower" : "higher"));
      }))))];
    found[0].style.marginBottom = ".75rem";
    for (const [report, whose] of [[a, name], [b, beside]]) if (report && report.n <= report.features.dimensions) found.push(h("p", { class: "error" }, `${beside ? `${whose}: ` : ""}${report.n.toLocaleString("en")} samples for ${report.features.dimensions} features make the Fréchet distance far too high. Take more than ${report.features.dimensions}; published figures take 50,000.`));
    if (beside && a && b) found.push(h("p", {}, unequal.length ? h("span", { class: "error" }, `These figures cannot be compared: ${unequal.join("; ")}. Measure both in the same way.`) : "These figures can be compared: same features, same reference images, same number of samples. Small differences may be noise: another seed moves every figure a little."));
    else if (beside) found.push(h("p", {}, `${a ? beside : name} is not measured yet: choose it as the run and press Measure now.`));
    else found.push(h("p", { class: "soft" }, "Compare these figures only with others of the same features, the same reference images and the same number of samples. Only FID, sFID, IS and KID of Inception can be set beside published ones."));
    return found;
  }

  function numeral(kind, ...content) {
    const cell = h("td", { class: kind }, ...content);
    cell.style.whiteSpace = "nowrap";
    return cell;
  }

  // [key, value, spread, less is better, meaning] of a report
  function lines(report) {
    if (!report) return [];
    const place = (key) => { const i = MEANING.findIndex(([pattern]) => pattern.test(key)); return i < 0 ? MEANING.length : i; };
    const found = Object.entries(report.figures).filter(([key]) => !key.endsWith(" deviation")).sort(([a], [b]) => place(a) - place(b)).map(([key, { value, spread }]) => {
      const [, less, meaning] = MEANING.find(([pattern]) => pattern.test(key)) ?? [null, undefined, ""];
      return [key, value, spread ?? report.figures[`${key} deviation`]?.value, less, meaning];
    });
    const copies = report.memorisation;
    if (copies) {
      found.push(["near-copies, pixels", copies.near_copies.pixels, undefined, true, `Share of ${copies.n} samples that are three times nearer to one training image than to the next${copies.held_out ? `; of images that were held out ${short(copies.held_out.near_copies.pixels)}` : ""}.`]);
      found.push(["near-copies, features", copies.near_copies.features, undefined, true, "The same by features instead of pixels."]);
      for (const [key, value] of Object.entries(copies.held_out ?? {})) if (typeof value === "number" && key !== "n") found.push([key.includes("of as many") ? key : `${key} to held-out images`, value, undefined, undefined, key.includes("of as many") ? "For comparison with the line above: if that is much larger, the model has learned its images by heart." : "Distance to images that the model never saw."]);
    }
    return found;
  }

  // Why two reports cannot be compared; empty if they can.
  function differences(a, b) {
    const found = [];
    if (a.features.sha256 !== b.features.sha256) found.push(`other features (${a.features.name}, ${b.features.name})`);
    if (a.reference.sha256 !== b.reference.sha256) found.push(`other reference images (${a.reference.data}, ${b.reference.data})`);
    if (a.n !== b.n) found.push(`other numbers of samples (${a.n.toLocaleString("en")}, ${b.n.toLocaleString("en")})`);
    return found;
  }

  function manner(reports, all) {
    const rows = [
      ["samples", (r) => `${r.n.toLocaleString("en")}${r.seeds.length > 1 ? ` of each of ${r.seeds.length} seeds` : ""}`],
      ["features", (r) => `${r.features.name}, ${r.features.dimensions} numbers an image (${r.features.sha256.slice(0, 12)})`],
      ["reference", (r) => `${r.reference.n.toLocaleString("en")} images of ${r.reference.data} (${r.reference.sha256.slice(0, 12)})`],
      ["sampler", (r) => (r.sampling ? `${r.sampling.sampler.name}, ${r.sampling.steps} steps, ${short(r.sampling.nfe)} network calls an image, guidance ${r.sampling.guidance}` : "images from elsewhere")],
      ["time", (r) => (r.sampling ? duration(r.sampling.seconds) : "–")],
      ["training", (r) => (r.model?.step ? `after ${r.model.step.toLocaleString("en")} steps${r.model.ema ? ", averaged weights" : ""}` : "–")],
      ["version", (r) => `fromnoise ${r.version}`],
    ];
    const kept = reports.map((report, i) => [report, all[i]]).filter(([report]) => report);
    return h("div", { class: "scroll" }, h("table", {}, h("thead", {}, h("tr", {}, h("th", {}), kept.map(([, name]) => h("th", {}, name)))), h("tbody", {}, rows.map(([label, of]) => h("tr", {}, h("th", { scope: "row" }, label), kept.map(([report]) => h("td", {}, of(report))))))));
  }

  // ---- quality against effort ----

  async function table(wanted) {
    const name = run.value(), was = address.read();
    put(body, h("div", { class: "card" }, h("p", { class: "soft" }, "opening…")));
    const model = (await ask("describe", { run: name })).header;
    if (!wanted()) return;
    const rows = { steps: ["eta 0.0", "eta 0.2", "eta 0.5", "eta 1.0", "sigma-hat"], samplers: model.samplers.map((one) => one.name) };
    const kind = switcher("Table", [["steps", "DDIM to DDPM"], ["samplers", "samplers"]], { value: was.table === "samplers" ? "samplers" : "steps", onchange: (key) => { address.write({ table: key === "steps" ? "" : key, a: "", b: "" }); first.fill(rows[key]); second.fill([["", "none"], ...rows[key]]); usual(key); } });
    const first = choice("First row", rows[kind.value()], { value: was.a ?? "", onchange: (v) => address.write({ a: v }) });
    const second = choice("Second row", [["", "none"], ...rows[kind.value()]], { value: was.b ?? "", onchange: (v) => address.write({ b: v }) });
    const usual = (key) => { first.set(key === "steps" ? "eta 0.0" : rows[key].includes("unipc") ? "unipc" : rows[key][0]); second.set(key === "steps" ? "eta 1.0" : rows[key].includes("ddim") ? "ddim" : ""); };
    if (!was.a) usual(kind.value());
    const columns = text("Steps (of samplers: network calls)", { value: was.columns ?? "5 10 20 50", hint: "at most 12 numbers", onchange: (v) => address.write({ columns: v }) });
    const n = number("Samples of each entry", { value: was.m ?? 200, min: 2, max: 5000, step: 1, onchange: (v) => address.write({ m: v }) });
    const picture = chart({ title: "Quality against effort", x: "steps (of samplers: network calls)", y: "Fréchet distance, lower is better", logX: true, height: 300 });
    const stage = h("p", { class: "soft", role: "status" }), grid = h("div", { class: "scroll" }), again = h("div", {});
    let url = "";
    const going = runner("Measure", "table", {
      values: () => ({ run: name, kind: kind.value(), rows: [...new Set([first.value(), second.value()].filter(Boolean))], columns: numbers(columns.value()), n: Number(n.value()) || 200 }),
      total: (header) => (header.kind === "cell" ? (done = header.number / header.of) : (done + (header.kind === "step" && header.total && of ? header.done / header.total / of : 0))),
      heard: ({ header }) => {
        if (!wanted()) return;
        if (header.kind === "start") { done = 0; of = 0; put(again, copyable(header.command, "command: it makes these entries, and those of the other rows")); put(grid); picture.set([]); }
        if (header.kind === "step") stage.textContent = `${header.stage}${header.total ? `: ${Math.round((100 * header.done) / header.total)} %` : header.done ? `: ${header.done.toLocaleString("en")} images` : ""}`;
        if (header.kind === "cell" || header.kind === "end") { of = header.of ?? of; entries(header); }
        if (header.kind === "end") {
          stage.textContent = [`${header.figure} against ${header.title}; ${header.reference.n.toLocaleString("en")} reference images of ${header.reference.data}.`, ...header.warnings.map((one) => `${one}.`)].join(" ");
          URL.revokeObjectURL(url);
          url = URL.createObjectURL(new Blob([header.csv], { type: "text/csv" }));
          grid.append(h("a", { href: url, download: `${name.replaceAll("/", "-")}-${kind.value()}.csv` }, "Download CSV"));
        }
      },
    });
    let done = 0, of = 0;
    function entries(header) {
      const all = [...new Set(header.cells.map((cell) => cell.row))], wide = [...new Set(header.cells.map((cell) => cell.column))].sort((x, y) => (x ?? 1e9) - (y ?? 1e9));
      const cell = (row, column) => header.cells.find((one) => one.row === row && one.column === column);
      picture.set(all.map((row) => { const own = header.cells.filter((one) => one.row === row && one.column !== null).sort((x, y) => x.column - y.column); return { name: row, x: own.map((one) => one.column), y: own.map((one) => one.value), points: true }; }));
      put(grid, h("table", {}, h("thead", {}, h("tr", {}, h("th", {}, header.figure), wide.map((column) => h("th", { class: "n" }, `${column ?? "more"} ${header.effort}`)))),
        h("tbody", {}, all.map((row) => h("tr", {}, h("th", { scope: "row" }, row), wide.map((column) => { const one = cell(row, column); return h("td", { class: "n" }, one ? short(one.value, 4) : "", one ? h("small", {}, ` ${duration(one.seconds)}`) : null); }))))));
    }
    put(body, h("div", { class: "layout" },
      h("div", { class: "card side fields" }, h("p", { class: "soft" }, "How good are samples that cost less? Every entry draws its own samples, without guidance, and measures their distance to the data."), kind.box, first.box, second.box, columns.box, n.box, going.box),
      h("div", {}, h("div", { class: "card" }, picture.box, stage, grid, again))));
    picture.set([]);
    return () => URL.revokeObjectURL(url);
  }

  const numbers = (words) => {
    const found = words.split(/[\s,;]+/).filter(Boolean).map(Number);
    if (!found.length || found.some((v) => !Number.isInteger(v) || v < 1)) throw new Error("columns: whole numbers from 1 on, such as 5 10 20 50");
    return found;
  };

  // ---- the blind test ----

  async function blind(wanted) {
    const name = run.value(), was = address.read();
    const way = switcher("Show them as", [["pairs", "pairs"], ["grid", "all at once"]], { value: was.as === "grid" ? "grid" : "pairs", onchange: (key) => address.write({ as: key === "pairs" ? "" : key }) });
    const k = number("Images of each kind", { value: was.k ?? 10, min: 1, max: 50, step: 1, onchange: (v) => address.write({ k: v }) });
    const board = h("div", { class: "card" }), again = h("div", {});
    let keys = () => {}, start = null;
    const going = runner("Start", "blind", {
      values: () => ({ run: name, k: Number(k.value()) || 10, seed: random(2 ** 31) }),
      total: share,
      heard: (frame) => {
        if (!wanted()) return;
        if (frame.header.kind === "start") { start = frame.header; put(again); keys = () => {}; put(board, h("p", { class: "soft" }, "drawing…")); }
        if (frame.header.kind === "end") (way.value() === "pairs" ? pairs : all)(frame);
      },
    });
    const intro = () => put(board, h("p", { class: "soft" }, "Real and generated images are mixed, and you say which are real. If you do no better than chance, you cannot tell them apart. Press Start."));

    function pairs({ header, arrays }) {
      const count = header.real.length / 2, answers = [];
      const sides = [0, 1].map((side) => h("button", { type: "button", class: "quiet grow", "aria-label": `${side ? "Right" : "Left"} is real`, onclick: () => answer(side) }));
      const question = h("p", { role: "status" });
      function next() {
        const i = answers.length;
        question.textContent = `Pair ${i + 1} of ${count}: which one is real?`;
        sides.forEach((button, side) => put(button, picture(slice(arrays.x, 2 * i + side), {}, side ? "right" : "left"), h("span", {}, h("kbd", {}, side ? "2" : "1"), ` ${side ? "right" : "left"}`)));
      }
      function answer(side) {
        answers.push(side);
        if (answers.length < count) return next();
        keys = () => {};
        const right = answers.filter((chosen, i) => header.real[2 * i + chosen] === 1).length;
        verdict(right, count, "pairs", header, answers.map((chosen, i) => h("figure", {}, h("div", { class: "row" }, [0, 1].map((one) => { const canvas = picture(slice(arrays.x, 2 * i + one), {}, header.real[2 * i + one] ? "real" : "generated"); return h("div", { class: "grow" }, canvas, h("small", {}, header.real[2 * i + one] ? "real" : "generated")); })), h("figcaption", {}, h("span", { class: header.real[2 * i + chosen] ? "good" : "error" }, header.real[2 * i + chosen] ? "✓ right" : "✗ you took the other")))), 220);
      }
      keys = (event) => { const side = { 1: 0, 2: 1, ArrowLeft: 0, ArrowRight: 1 }[event.key]; if (side !== undefined) { event.preventDefault(); answer(side); } };
      const stand = h("div", { class: "row" }, sides);
      stand.style.maxWidth = "640px";
      stand.style.flexWrap = "nowrap";
      put(board, question, stand, h("small", {}, h("kbd", {}, "1"), " or ", h("kbd", {}, "←"), " left, ", h("kbd", {}, "2"), " or ", h("kbd", {}, "→"), " right"));
      next();
    }

    function all({ header, arrays }) {
      const order = header.real.map((_, i) => i); // pairs lie beside each other: mix them
      for (let i = order.length - 1; i > 0; i--) { const j = random(i + 1); [order[i], order[j]] = [order[j], order[i]]; }
      const chosen = new Set(), count = order.length;
      const left = h("span", { role: "status" });
      const buttons = order.map((i, at) => h("button", { type: "button", class: "quiet", "aria-pressed": "false", "aria-label": `Image ${at + 1}`, onclick: (event) => { chosen.has(i) ? chosen.delete(i) : chosen.add(i); mark(event.currentTarget, chosen.has(i)); told(); } }, picture(slice(arrays.x, i), {}, `Image ${at + 1}`)));
      const mark = (button, on) => { button.setAttribute("aria-pressed", String(on)); button.style.borderColor = on ? "var(--accent)" : ""; button.style.boxShadow = on ? "0 0 0 2px var(--accent)" : ""; };
      const told = () => (left.textContent = `${chosen.size} chosen; ${count / 2} of ${count} are real.`);
      const finish = h("button", { type: "button", onclick: () => {
        keys = () => {};
        const right = order.filter((i) => chosen.has(i) === (header.real[i] === 1)).length;
        verdict(right, count, "images", header, order.map((i) => { const ok = chosen.has(i) === (header.real[i] === 1); return h("figure", {}, picture(slice(arrays.x, i), {}, header.real[i] ? "real" : "generated"), h("figcaption", {}, h("span", { class: ok ? "good" : "error" }, `${ok ? "✓" : "✗"} ${header.real[i] ? "real" : "generated"}`))); }), 84);
      } }, "Done");
      keys = (event) => { // arrows go from image to image; Space and Enter choose, as of any button
        const i = buttons.indexOf(document.activeElement), step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
        if (step) { event.preventDefault(); buttons[Math.min(count - 1, Math.max(0, i + step))]?.focus(); }
      };
      const gallery = h("div", { class: "gallery" }, buttons);
      gallery.style.gridTemplateColumns = "repeat(auto-fill, minmax(84px, 1fr))";
      put(board, h("p", {}, "Choose the images that you think are real. ", h("kbd", {}, "←"), " ", h("kbd", {}, "→"), " move, ", h("kbd", {}, "Space"), " chooses."), gallery, h("div", { class: "row" }, finish, left));
      told();
    }

    function verdict(right, count, what, header, truth, width) {
      const [low, high] = wilson(right, count);
      const words = low > 0.5 ? "Better than chance: you can tell them apart." : high < 0.5 ? "Worse than chance: you took the generated ones for real." : `That fits chance: ${count} ${what} do not show that you see a difference. More of them would tell more.`;
      const gallery = h("div", { class: "gallery" }, truth);
      gallery.style.gridTemplateColumns = `repeat(auto-fill, minmax(${width}px, 1fr))`;
      put(board, h("h2", { tabIndex: -1 }, `${right} of ${count} right: ${percent(right / count)}`), h("p", {}, `95 % interval ${percent(low)} to ${percent(high)}, chance 50 %. ${words}`), h("p", { class: "soft" }, header.held_out ? "The real images were held out: the model never saw them." : "The real images are from the training data."), gallery);
      put(again, h("div", { class: "card" }, h("h2", {}, "The generated images again"), copyable(start.command, "command"), copyable(start.python, "Python")));
      const head = board.querySelector("h2");
      head.style.outline = "none";
      head.focus();
    }

    const pressed = (event) => { if (!typing(event) && !event.altKey && !event.ctrlKey && !event.metaKey && event.target.type !== "radio") keys(event); };
    document.addEventListener("keydown", pressed);
    again.style.marginTop = "1rem";
    put(body, h("div", { class: "layout" }, h("div", { class: "card side fields" }, way.box, k.box, going.box), h("div", {}, board, again)));
    intro();
    return () => { document.removeEventListener("keydown", pressed); going.close(); };
  }

  // ---- copies ----

  async function copies(wanted) {
    const name = run.value(), was = address.read();
    const n = number("Samples", { value: was.c ?? 64, min: 2, max: 500, step: 1, onchange: (v) => address.write({ c: v }) });
    const seed = number("Seed", { value: was.seed ?? 0, step: 1, onchange: (v) => address.write({ seed: v }) });
    const board = h("div", { class: "card" }, h("p", { class: "soft" }, "Samples stand beside the training images that they are nearest to, the most suspicious first. A sample that is three times nearer to one training image than to the next is called a near-copy."));
    const stage = h("p", { class: "soft", role: "status" });
    let command = "";
    const going = runner("Look for copies", "copies", {
      values: () => ({ run: name, n: Number(n.value()) || 64, seed: Number(seed.value()) || 0 }),
      total: share,
      heard: ({ header, arrays }) => {
        if (!wanted()) return;
        if (header.kind === "start") command = header.command;
        if (header.kind === "step") stage.textContent = header.total ? `${header.stage}: ${Math.round((100 * header.done) / header.total)} %` : header.stage;
        if (header.kind === "end") { stage.textContent = ""; found(header, arrays); }
      },
    });
    function found(header, { x, near }) {
      const [low, high] = wilson(header.copies, header.n), k = header.beside;
      const gallery = h("div", { class: "gallery" });
      gallery.style.gridTemplateColumns = "repeat(auto-fill, minmax(230px, 1fr))";
      const more = h("button", { type: "button", class: "quiet", onclick: () => add(header.n) }, "Show all");
      let shown = 0;
      function add(most) {
        for (; shown < Math.min(most, header.n); shown++) {
          const i = shown, size = x.shape[1] * x.shape[2] * x.shape[3], row = new Uint8Array((k + 1) * size);
          row.set(x.data.subarray(i * size, (i + 1) * size));
          row.set(near.data.subarray(i * k * size, (i + 1) * k * size), size);
          gallery.append(h("figure", {}, picture({ data: row, shape: [k + 1, ...x.shape.slice(1)] }, { columns: k + 1, gap: 1 }, "a sample, and the nearest training images"), h("figcaption", {}, header.copy[i] ? h("span", { class: "error" }, "near-copy ") : null, `ratio ${short(header.ratio[i])}, distance ${short(header.distance[i])}, image ${header.numbers[i][0]}`)));
        }
        more.hidden = shown >= header.n;
      }
      add(12);
      put(board, h("h2", {}, `${header.copies} of ${header.n} samples are near-copies: ${percent(header.copies / header.n)}`),
        h("p", {}, `95 % interval ${percent(low)} to ${percent(high)}, among ${header.training_images.toLocaleString("en")} training images. ${header.copies ? "A model copies when it has seen few images often: train on more, for fewer steps, or mirror them." : "None of these is a copy by this rule."}`),
        h("p", { class: "soft" }, `Each row: the sample, then the ${k} nearest training images in pixels. Ratio: distance to the nearest over distance to the next that differs; below ${short(header.rule)} it is a near-copy. Distance: root mean square in [−1, 1], median ${short(header.median)}.`),
        gallery, h("div", { class: "row" }, more), copyable(command, "command: prints the share, and draws nearest.png"));
    }
    put(body, h("div", { class: "layout" }, h("div", { class: "card side fields" }, h("div", { class: "fields two" }, n.box, seed.box), going.box, stage), h("div", {}, board)));
    return () => going.close();
  }

  await opened();
  return () => { shown += 1; leave(); };
}
