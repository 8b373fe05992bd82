// The figures of eval.json: what they mean, whether two runs can be compared, and a form that measures.

import { get, of } from "../api.js";
import * as address from "../address.js";
import { number } from "../controls.js";
import { copyable, duration, h, put, short } from "../dom.js";
import { picture, slice } from "../pixels.js";
import { runner } from "../running.js";
import { share, stage } from "./measuring.js";

// [name, whether lower is better, what it means]
const MEANING = [
  [/^(FID|FD)/, true, "Fréchet distance between the features of samples and real images. 0 would be the data itself. With few samples it is too large."],
  [/^s(FID|FD)/, true, "Fréchet distance of spatial features, which preserve positions in the image."],
  [/^KID/, true, "Kernel distance between samples and real images. It is unbiased even with few samples, so it can be slightly below 0."],
  [/^IS/, false, "Inception score: how confident a classifier is about each sample, times how varied its predictions are. At most the number of classes; real images are not used."],
  [/^precision/, false, "Share of samples that lie within the real images: how many look real."],
  [/^recall/, false, "Share of real images that lie within the samples: how much of the variety is covered."],
  [/^density/, false, "Like precision, but counting how many real neighbours each sample has; it can exceed 1."],
  [/^coverage/, false, "Share of real images with a sample nearby."],
  [/^class accuracy/, false, "How often a classifier recognises the requested class."],
  [/^caption agreement/, false, "How often an image-text model finds the right caption among 100. Chance is 0.01."],
  [/^CLIP score/, false, "100 times the cosine similarity of image and text in CLIP's embedding."],
  [/^of real images/, undefined, "The same figure for real images, for comparison."],
];

export async function figures({ body, name, beside, studio, wanted }) {
  const was = address.read();
  const table = h("div", { class: "card" }), how = h("div", { class: "card" }), now = h("div", { class: "card fields" });
  const n = number("Samples", { value: was.n ?? 500, min: 2, max: 50000, step: 1, onchange: (v) => { address.write({ n: v === 500 ? "" : v }); typed(); } });
  const command = h("div", {}), said = h("p", { class: "soft", role: "status" }), seen = h("div", { class: "gallery" });
  let about = null;
  const going = runner("Measure now", "measure", {
    values: () => ({ run: name, ...(n.value() === "" ? {} : { n: n.value() }) }),
    total: share,
    heard: ({ header, arrays }) => {
      if (!wanted()) return;
      if (header.kind === "start") put(command, copyable(header.command, "command"));
      if (header.kind === "step") said.textContent = stage(header);
      if (header.kind === "samples") put(seen, Array.from({ length: arrays.x0.shape[0] }, (_, k) => picture(slice(arrays.x0, k), `Sample ${k + 1}`)));
      if (header.kind === "end") { said.textContent = ["Written to eval.json in the run.", ...header.warnings.map((one) => `${one}.`)].join(" "); load().catch((error) => (said.textContent = error.message)); }
    },
  });
  seen.style.gridTemplateColumns = "repeat(auto-fill, minmax(64px, 1fr))";
  const typed = () => put(command, copyable(`fromnoise eval ${studio.path(name)}${n.value() === "" ? "" : ` --n ${n.value()}`}`, "command"));
  said.style.margin = ".5rem 0";
  put(now, h("h2", {}, "Measure"), h("p", { class: "soft" }, "Draws new samples with the recipe's settings and compares them with the run's data. Existing samples are reused, so a stopped measurement can be resumed. Published figures use 50,000 samples."), n.box, going.box, said, seen, command);
  put(body, h("div", { class: "card" }, h("p", { class: "soft" }, "loading…")));

  async function load() {
    const both = await Promise.all([name, ...(beside ? [beside] : [])].map((one) => get(of(one, "about"))));
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
  typed();
  put(body, h("div", { class: "layout" }, h("div", { class: "side" }, now), h("div", { class: "stack" }, table, how)));
  let alive = false;
  return studio.onstate((state) => { // a measurement that was started before this page was opened
    const job = state.queue.find((one) => one.kind === "measure" && one.run === name && ["running", "waiting"].includes(one.state));
    if (alive && !job) load().catch(() => {});
    alive = Boolean(job);
  });
}

// The table of figures, and when they can be compared.
function story([a, b], [name, beside]) {
  if (!a && !b) return [h("p", {}, "Not measured yet. ", beside ? "Neither of the two runs has an eval.json." : "Press Measure now: a few hundred samples give a first impression within minutes.")];
  const rows = [...lines(a), ...lines(b).filter(([key]) => !lines(a).some(([own]) => own === key))];
  const value = (report, key) => lines(report).find(([own]) => own === key)?.[1];
  const unequal = a && b ? differences(a, b) : [];
  const found = [h("div", { class: "scroll" }, h("table", {},
    h("thead", {}, h("tr", {}, h("th", {}, "Figure"), h("th", { class: "n" }, name), beside ? [h("th", { class: "n" }, beside), h("th", { class: "n" }, "Difference")] : null, h("th", {}, "Better"))),
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
  for (const [report, whose] of [[a, name], [b, beside]]) if (report && report.n <= report.features.dimensions) found.push(h("p", { class: "error" }, `${beside ? `${whose}: ` : ""}${report.n.toLocaleString("en")} samples for ${report.features.dimensions} features make the Fréchet distance far too high. Use more than ${report.features.dimensions}; published figures use 50,000.`));
  if (beside && a && b) found.push(h("p", {}, unequal.length ? h("span", { class: "error" }, `These figures cannot be compared: ${unequal.join("; ")}. Measure both runs in the same way.`) : "These figures can be compared: they have the same features, reference images and number of samples. Small differences may be noise: every figure changes a little with the seed."));
  else if (beside) found.push(h("p", {}, `${a ? beside : name} is not measured yet: choose it as the run and press Measure now.`));
  else found.push(h("p", { class: "soft" }, "Compare these figures only with others that use the same features, reference images and number of samples. Only FID, sFID, IS and KID of Inception can be compared with published ones."));
  return found;
}

function numeral(kind, ...content) {
  const cell = h("td", { class: kind }, ...content);
  cell.style.whiteSpace = "nowrap";
  return cell;
}

// [key, value, spread, lower is better, meaning] for each figure of a report
function lines(report) {
  if (!report) return [];
  const place = (key) => { const i = MEANING.findIndex(([pattern]) => pattern.test(key)); return i < 0 ? MEANING.length : i; };
  const found = Object.entries(report.figures).filter(([key]) => !key.endsWith(" deviation")).sort(([a], [b]) => place(a) - place(b)).map(([key, { value, spread }]) => {
    const [, less, meaning] = MEANING.find(([pattern]) => pattern.test(key)) ?? [null, undefined, ""];
    return [key, value, spread ?? report.figures[`${key} deviation`]?.value, less, meaning];
  });
  const copies = report.memorisation;
  if (copies) {
    found.push(["near-copies, pixels", copies.near_copies.pixels, undefined, true, `Share of ${copies.n} samples that are three times nearer to one training image than to the next${copies.held_out ? `; for held-out images it is ${short(copies.held_out.near_copies.pixels)}` : ""}.`]);
    found.push(["near-copies, features", copies.near_copies.features, undefined, true, "The same share, by features instead of pixels."]);
    for (const [key, value] of Object.entries(copies.held_out ?? {})) if (typeof value === "number" && key !== "n") found.push([key.includes("of as many") ? key : `${key} to held-out images`, value, undefined, undefined, key.includes("of as many") ? "For comparison with the line above: if that is much larger, the model has memorised its training images." : "Distance to images that the model has never seen."]);
  }
  return found;
}

// Why two reports cannot be compared; empty if they can.
function differences(a, b) {
  const found = [];
  if (a.features.sha256 !== b.features.sha256) found.push(`different features (${a.features.name}, ${b.features.name})`);
  if (a.reference.sha256 !== b.reference.sha256) found.push(`different reference images (${a.reference.data}, ${b.reference.data})`);
  if (a.n !== b.n) found.push(`different numbers of samples (${a.n.toLocaleString("en")}, ${b.n.toLocaleString("en")})`);
  return found;
}

function manner(reports, all) {
  const rows = [
    ["samples", (r) => `${r.n.toLocaleString("en")}${r.seeds.length > 1 ? ` for each of ${r.seeds.length} seeds` : ""}`],
    ["features", (r) => `${r.features.name}, ${r.features.dimensions} numbers per image (${r.features.sha256.slice(0, 12)})`],
    ["reference", (r) => `${r.reference.n.toLocaleString("en")} images of ${r.reference.data} (${r.reference.sha256.slice(0, 12)})`],
    ["sampler", (r) => (r.sampling ? `${r.sampling.sampler.name}, ${r.sampling.steps} steps, ${short(r.sampling.nfe)} network calls per image, guidance ${r.sampling.guidance}` : "images from files")],
    ["time", (r) => (r.sampling ? duration(r.sampling.seconds) : "–")],
    ["training", (r) => (r.model?.step ? `after ${r.model.step.toLocaleString("en")} steps${r.model.ema ? ", averaged weights" : ""}` : "–")],
    ["version", (r) => `fromnoise ${r.version}`],
  ];
  const kept = reports.map((report, i) => [report, all[i]]).filter(([report]) => report);
  return h("div", { class: "scroll" }, h("table", {}, h("thead", {}, h("tr", {}, h("th", {}), kept.map(([, name]) => h("th", {}, name)))), h("tbody", {}, rows.map(([label, of]) => h("tr", {}, h("th", { scope: "row" }, label), kept.map(([report]) => h("td", {}, of(report))))))));
}
