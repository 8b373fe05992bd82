// Edit: an image of your own, changed by a model; before and after side by side.

import { ask, frames, post, send, stop } from "../api.js";
import * as address from "../address.js";
import { brush } from "../brush.js";
import { choice, dropped, number, slider, switcher, text } from "../controls.js";
import { copyable, duration, h, notice, put, short, working } from "../dom.js";
import { blobOf, canvasOf, paint, picture, slice } from "../pixels.js";
import { KINDS, STRENGTH, unable } from "./edits.js";

export const title = "Edit";

const LARGEST = 64; // MB per image
const range = (n) => Array.from({ length: n }, (_, i) => i);
export async function show(root, studio) {
  const models = studio.state.runs.filter((run) => !run.broken && (run.kind === "diffusion" || run.run === false));
  if (!models.length) {
    put(root, h("div", { class: "card" }, h("h1", {}, "Edit"), h("p", {}, "There is no trained model yet. ", h("a", { href: "/train" }, "Train one"), " first.")));
    return;
  }
  const at = address.read(), names = models.map((one) => one.name);
  if (at.run && !names.includes(at.run)) notice(`There is no model ${at.run}; this is ${names[0]}.`);
  const urls = [], leaving = new AbortController();
  const side = h("form", { class: "card side fields", id: "edit-form", "aria-label": "What to change", onsubmit: (event) => { event.preventDefault(); change(); } });
  const before = h("section", { class: "grow", "aria-label": "Before" }), after = h("section", { class: "grow", "aria-label": "After" });
  const bar = h("progress", { class: "idle", max: 1, value: 0, "aria-label": "Progress" });
  const facts = h("div", { class: "facts", role: "status" }), again = h("div", {});
  put(root, h("h1", { class: "out" }, "Edit"), h("div", { class: "layout" }, side, h("div", { class: "stack" }, h("div", { class: "card" }, h("div", { class: "panels" }, before, after), bar, facts), again)));

  const run = choice("Model", names, { value: at.run ?? names[0], onchange: () => { address.write({ job: "", label: "" }); opened(); } });
  const kind = choice("What to do", [["inpaint", "Inpaint"]], { onchange: () => { address.write({ kind: kind.value(), job: "" }); chosen(); } });
  const go = h("button", { type: "submit" }, "Change it");
  const below = h("button", { type: "submit", form: "edit-form", class: "narrow" }, "Change it"); // shown on narrow screens, where the form is far above the image
  const halt = h("button", { type: "button", class: "quiet", hidden: true, onclick: () => job && stop(job).catch(() => {}) }, "Stop");
  const about = h("p", { class: "soft" });
  const pictures = h("div", { class: "fields" }), options = h("div", { class: "fields" });
  let model = null, fields = {}, given = { image: null, other: null }, job = 0, closed = false, following = 0;
  const mask = brush({});
  const lines = brush({ label: "Drawing", width: 4 });
  let source = "picture"; // for control: picture, sketch or lines
  let factor = 0; // for upscale: the factor by which the image is shrunk first; 0: not at all

  async function opened() {
    const name = run.value(), ours = () => !closed && run.value() === name;
    drop();
    address.write({ run: name });
    put(side, run.box, h("p", { class: "soft" }, "opening…"));
    try {
      const found = (await ask("describe", { run: name })).header;
      if (!ours()) return;
      model = found;
    } catch (error) {
      if (!ours()) return;
      put(side, run.box, h("p", { class: "error" }, error.message));
      return;
    }
    const reasons = Object.fromEntries(Object.keys(KINDS).map((key) => [key, unable(key, model)]));
    kind.fill(Object.entries(KINDS).map(([key, one]) => [key, reasons[key] ? `${one.name} – ${reasons[key]}` : one.name]));
    for (const option of kind.input.options) option.disabled = Boolean(reasons[option.value]);
    const able = Object.keys(KINDS).filter((key) => !reasons[key]);
    if (!able.length) {
      put(side, run.box, h("p", { class: "error" }, `This model cannot edit images: ${reasons.inpaint}.`));
      put(before);
      put(after);
      return;
    }
    const wanted = address.read().kind;
    kind.set(able.includes(wanted) ? wanted : able[0]);
    put(side, run.box, kind.box, about, pictures, options, h("div", { class: "row act" }, go, halt));
    for (const name of ["image", "other"]) {
      const key = given[name]?.key ?? address.read()[name];
      if (key) await take(name, key, given[name]?.name ?? address.read()[`${name}name`] ?? "", true).catch(() => { if (closed) return; given[name] = null; address.write({ [name]: "", [`${name}name`]: "" }); });
    }
    if (!ours()) return;
    chosen();
    if (at.job) { const old = Number(at.job); at.job = ""; watch(old).catch(() => { if (closed) return; address.write({ job: "" }); results(null); }); }
  }

  // Stop following a job of earlier choices.
  function drop() {
    following += 1;
    if (job) stop(job).catch(() => {});
    job = 0;
    bar.className = "idle";
    working(false, [go, below], halt);
  }

  // Controls of the chosen kind.
  function chosen() {
    drop();
    const key = kind.value(), { what, takes, go: word } = KINDS[key], was = address.read();
    const keep = (name) => () => address.write({ [name]: fields[name].value() });
    about.textContent = what;
    go.textContent = below.textContent = word;
    const samplers = model.samplers.map((one) => one.name);
    fields = {
      n: number("Images", { value: was.n ?? (key === "interpolate" ? 8 : 4), min: key === "interpolate" ? 2 : 1, max: 64, step: 1, onchange: keep("n") }),
      seed: number("Seed", { value: was.seed ?? 0, step: 1, onchange: keep("seed") }),
      sampler: choice("Sampler", [["", `${model.plan.sampler.name} (recipe)`], ...samplers], { value: was.sampler ?? "", onchange: keep("sampler") }),
      steps: number("Steps", { value: was.steps ?? "", min: 1, max: model.steps, step: 1, placeholder: key === "variations" ? `${model.plan.steps}` : `${model.plan.steps} (recipe)`, onchange: keep("steps") }),
      strength: slider({ "image-to-image": "Strength: share of the steps", variations: "Strength: amount of noise (eta)", "text-difference": "How far towards the new text" }[key] ?? "Strength", { value: was.strength ?? STRENGTH[key] ?? 0.5, min: key === "variations" ? 0 : 0.02, max: 1, step: 0.02, show: (v) => v.toFixed(2), oninput: keep("strength") }),
      repeats: number("Repeats", { value: was.repeats ?? "", min: 1, max: 100, step: 1, placeholder: "5", hint: "of each step; with more, the parts fit together better, but it takes longer", onchange: keep("repeats") }),
      label: choice("Class", [["", key === "control" ? "all, in turn" : "none"], ...model.classes], { value: was.label ?? "", onchange: () => { keep("label")(); guided(); } }),
      guidance: number("Guidance scale", { value: was.guidance ?? "", min: 0, max: 50, hint: "1 is off; a higher scale follows the condition more closely, with less variety", onchange: keep("guidance") }),
      text: text("What it should become", { value: was.text ?? "", placeholder: "blue heart", onchange: keep("text") }),
      from: text("What it shows now", { value: was.from ?? "", placeholder: "red heart", onchange: keep("from") }),
      prompt: text("Text", { value: was.prompt ?? "", placeholder: "a red apple", onchange: keep("prompt") }),
    };
    const on = (name) => takes.includes(name);
    put(options,
      on("from") ? fields.from.box : null, on("text") ? fields.text.box : null, on("prompt") && model.text ? fields.prompt.box : null,
      on("strength") ? fields.strength.box : null,
      model.classes.length ? fields.label.box : null,
      h("div", { class: "fields two" }, on("n") ? fields.n.box : null, key === "interpolate" || key === "reconstruct" ? null : fields.seed.box),
      on("sampler") ? fields.sampler.box : null,
      h("div", { class: "fields two" }, on("steps") ? fields.steps.box : null, on("repeats") ? fields.repeats.box : null),
      fields.guidance.box);
    guided();
    sources();
    shown();
    results(null);
  }

  // Guidance needs a class or a conditioning image to steer towards.
  function guided() {
    const key = kind.value(), towards = key === "control" || Boolean(fields.label.value());
    fields.guidance.box.hidden = !model.can_guide || !(towards || (model.embedding && ["interpolate", "variations", "text-difference"].includes(key)));
    fields.guidance.input.placeholder = towards ? `${model.plan.guidance} (recipe)` : "1 (off)";
  }

  // The sources of the images.
  function sources() {
    const key = kind.value(), two = key === "interpolate";
    const place = (name, label) => {
      const held = given[name];
      const drop = dropped(held ? `${held.name}. Drop or choose another` : label, { ongiven: ([file]) => upload(name, file, file.name) });
      drop.input.setAttribute("aria-label", label);
      return h("div", { class: "fields" }, drop.box, h("div", { class: "row" },
        h("button", { type: "button", class: "quiet small", onclick: (event) => example(name, event.target) }, "From the training data"),
        h("button", { type: "button", class: "quiet small", onclick: (event) => drawn(name, event.target) }, "Draw one")));
    };
    const ways = key === "control" ? switcher(given.image?.computed === false ? "The model follows" : "The model follows edges", given.image?.computed === false ? [["picture", "an image"], ["lines", "a drawing"]] : [["picture", "of an image"], ["sketch", "given as an image"], ["lines", "drawn here"]], { value: source, onchange: (now) => { source = now; refit(); } }) : null;
    const shapes = key === "upscale" && given.image ? divisors(model.shape) : [];
    const fits = given.image && shapes.some((f) => f * given.image.height === model.shape[1] && f * given.image.width === model.shape[2]);
    if (key === "upscale") factor = fits ? 0 : shapes.includes(factor) ? factor : shapes[shapes.length > 1 ? 1 : 0] ?? 0;
    const shrink = shapes.length ? choice("The small image", [...(fits ? [[0, `unchanged, ${given.image.width} × ${given.image.height}`]] : []), ...shapes.map((f) => [f, `shrunk to ${model.shape[2] / f} × ${model.shape[1] / f}`])], { value: factor, onchange: (f) => { factor = Number(f); shown(); } }) : null;
    put(pictures, ways?.box ?? null, source === "lines" && key === "control" ? null : place("image", two ? "Drop the first image here, or choose one" : "Drop an image here, or choose one"), two ? place("other", "Drop the second image here, or choose one") : null, shrink?.box ?? null);
  }

  const divisors = ([, high, wide]) => range(Math.min(high, wide)).map((i) => i + 1).filter((f) => f > 1 && high % f === 0 && wide % f === 0 && high / f > 1);

  async function refit() {
    if (given.image) await take("image", given.image.key, given.image.name, true).catch((error) => notice(error.message));
    sources();
    shown();
  }

  async function upload(name, blob, as) {
    try {
      if (blob.size > LARGEST * 2 ** 20) throw new Error(`has ${Math.round(blob.size / 2 ** 20)} MB; the limit is ${LARGEST} MB`);
      const { key } = await send("/api/images", blob);
      await take(name, key, as);
    } catch (error) { notice(`${as}: ${error.message}`); }
  }

  // Get an uploaded image as the model sees it.
  async function take(name, key, as, quiet = false) {
    const { header, arrays } = await ask("fit", { run: run.value(), image: key, sketch: kind.value() === "control" && source === "sketch" });
    if (closed) return;
    given[name] = { key, name: as || `${name}.png`, ...header, ...arrays };
    address.write({ [name]: key, [`${name}name`]: given[name].name });
    if (!quiet) { address.write({ job: "" }); sources(); shown(); results(null); }
  }

  async function busy(button, what) {
    if (button.ariaBusy === "true") return;
    button.ariaBusy = "true"; // not disabled, since it would lose the focus
    try { await what(); } catch (error) { if (!closed) notice(error.message); } finally { button.ariaBusy = "false"; }
  }

  const example = (name, button) => busy(button, async () => {
    const { header, arrays } = await ask("example", { run: run.value(), number: Math.floor(Math.random() * 1e6) });
    await upload(name, await blobOf(canvasOf(arrays.x)), `example-${header.number}.png`);
  });

  const drawn = (name, button) => busy(button, async () => {
    const seed = Math.floor(Math.random() * 1e6);
    const { number: own } = await post("/api/jobs/draw", { run: run.value(), n: 1, seed, ...(model.classes.length ? { label: model.classes[seed % model.classes.length] } : {}) });
    studio.refresh();
    let last = null;
    for await (const frame of frames(own, 0, leaving.signal)) {
      if (frame.header.kind === "end") last = frame;
      if (frame.header.kind === "over" && frame.header.state !== "done") throw new Error(frame.header.words || "stopped");
    }
    if (last) await upload(name, await blobOf(canvasOf(last.arrays.x)), `drawn-${seed}.png`);
  });

  // The left side: the input.
  function shown() {
    const key = kind.value(), image = given.image, other = given.other;
    const figure = (array, caption) => h("figure", { class: "chart-box" }, h("figcaption", {}, caption), picture(array, caption));
    if (key === "control" && source === "lines") {
      const wide = 256, high = Math.max(1, Math.round((256 * model.shape[1]) / model.shape[2]));
      lines.load(null, wide, high, model.shape);
      put(before, h("h2", {}, "Draw the lines"), lines.box, below);
      return;
    }
    const empty = h("div", { class: "stage" }, h("div", { class: "empty" }, key === "interpolate" ? "Choose two images." : "Choose an image."));
    if (!image && !(key === "interpolate" && other)) { put(before, h("h2", {}, "Before"), empty); return; }
    if (key === "inpaint") {
      mask.load(canvasOf(image.whole), image.width, image.height, model.shape);
      put(before, h("h2", {}, "Paint the area to redraw"), mask.box, below);
    } else if (key === "interpolate") put(before, h("h2", {}, "Before"), h("div", { class: "gallery" }, [image, other].map((one, i) => (one ? figure(one.seen, `${i ? "to" : "from"} ${one.name}`) : h("p", { class: "soft" }, `Choose the ${i ? "second" : "first"} image.`)))));
    else if (key === "upscale") put(before, h("h2", {}, "Before"), factor ? figure(shrunk(), `${image.name}, shrunk to ${model.shape[2] / factor} × ${model.shape[1] / factor}`) : figure(image.seen, image.name));
    else if (key === "control") put(before, h("h2", {}, "Before"), h("div", { class: "gallery" }, image.computed && source === "picture" ? figure(image.seen, image.name) : null, figure(image.condition, "conditioning image")));
    else put(before, h("h2", {}, "Before"), figure(image.seen, image.name));
  }

  // The fitted image averaged over squares, [1, C, H / f, W / f].
  function shrunk() {
    const { data, shape: [, c, height, width] } = given.image.seen, high = height / factor, wide = width / factor, out = new Uint8Array(c * high * wide);
    for (let k = 0; k < c; k++) for (let y = 0; y < high; y++) for (let x = 0; x < wide; x++) {
      let sum = 0;
      for (let i = 0; i < factor; i++) for (let j = 0; j < factor; j++) sum += data[(k * height + y * factor + i) * width + x * factor + j];
      out[(k * high + y) * wide + x] = Math.round(sum / factor ** 2);
    }
    return { data: out, shape: [1, c, high, wide] };
  }

  const extras = new Map(); // files that the command needs besides the user's own: name -> blob

  async function values() {
    const key = kind.value(), takes = KINDS[key].takes, on = (name) => takes.includes(name), f = fields;
    const asked = { run: run.value(), kind: key, seed: Number(f.seed.value()) || 0 };
    extras.clear();
    if (key === "control" && source === "lines") {
      if (lines.empty()) throw new Error("Draw some lines first.");
      const blob = await lines.blob(255, 0);
      Object.assign(asked, { image: (await send("/api/images", blob)).key, image_name: "lines.png", sketch: true });
    } else {
      if (!given.image) throw new Error("Choose an image first.");
      Object.assign(asked, { image: given.image.key, image_name: given.image.name });
      if (key === "control" && (source === "sketch" || given.image.computed === false)) asked.sketch = true;
      if (/^(example|drawn|result)-/.test(given.image.name)) extras.set(given.image.name, await blobOf(canvasOf(given.image.whole)));
    }
    if (key === "interpolate") {
      if (!given.other) throw new Error("Choose a second image.");
      Object.assign(asked, { other: given.other.key, other_name: given.other.name });
      if (/^(example|drawn|result)-/.test(given.other.name)) extras.set(given.other.name, await blobOf(canvasOf(given.other.whole)));
    }
    if (key === "inpaint") {
      if (mask.empty()) throw new Error("Paint over the part that the model should draw.");
      const blob = await mask.blob();
      asked.mask = (await send("/api/images", blob)).key;
      extras.set(given.image.name === "mask.png" ? "painted-mask.png" : "mask.png", blob);
    }
    if (key === "upscale" && factor) {
      const name = `${given.image.name.replace(/\.\w+$/, "")}-${model.shape[2] / factor}x${model.shape[1] / factor}.png`, blob = await blobOf(canvasOf(shrunk()));
      Object.assign(asked, { image: (await send("/api/images", blob)).key, image_name: name });
      extras.clear();
      extras.set(name, blob);
    }
    for (const name of ["n", "steps", "repeats"]) if (on(name) && f[name].value() !== "") asked[name] = f[name].value();
    if (on("strength")) asked.strength = f.strength.value();
    if (on("sampler") && f.sampler.value()) asked.sampler = f.sampler.value();
    if (f.label.value()) asked.label = f.label.value();
    if (!f.guidance.box.hidden && f.guidance.value() !== "") asked.guidance = f.guidance.value();
    if (on("text")) Object.assign(asked, { text: f.text.value(), from_text: f.from.value() });
    if (on("prompt") && model.text && f.prompt.value().trim()) asked.text = f.prompt.value();
    return asked;
  }

  async function change() {
    if (go.disabled) return;
    working(true, [go, below], halt);
    const mine = ++following;
    try {
      const { number: own } = await post("/api/jobs/edit", await values());
      if (mine !== following) { stop(own).catch(() => {}); return; }
      address.write({ job: own });
      studio.refresh();
      await watch(own);
    } catch (error) { if (!closed) notice(error.message); } finally { if (mine === following) working(false, [go, below], halt); }
  }

  async function watch(own) {
    const mine = ++following;
    job = own;
    working(true, [go, below], halt);
    bar.className = "";
    bar.value = 0;
    put(facts, "waiting…");
    let start = null;
    try {
      for await (const frame of frames(own, 0, leaving.signal)) {
        if (closed || mine !== following) return;
        const { header, arrays } = frame;
        if (header.kind === "start" && header.edit === undefined) throw new Error("this is the result of another job"); // job numbers start over with the studio
        if (header.kind === "start") { start = header; results(start); put(again); }
        else if (header.kind === "step") {
          if (start.total) bar.value = Math.min(1, header.calls / start.total); else bar.removeAttribute("value");
          put(facts, h("span", {}, "network calls ", h("b", {}, header.calls), start.total ? ` of ${start.total}` : ""));
          tiles.slice(0, arrays.x0.shape[0]).forEach((tile, k) => paint(tile.canvas, slice(arrays.x0, k), { gap: 0 }));
        } else if (header.kind === "end") { finished(own, start, frame); }
        else if (header.kind === "over") {
          if (header.state === "failed") { if (!start) results(null); put(facts, h("span", { class: "error" }, header.words)); }
          if (header.state === "cancelled") put(facts, "stopped");
        }
      }
    } finally {
      if (mine === following) { working(false, [go, below], halt); bar.className = "idle"; bar.value = 0; job = 0; }
    }
  }

  let tiles = [];
  // The right side: a tile for every image.
  function results(start) {
    if (!start) { tiles = []; put(after, h("h2", {}, "After"), h("div", { class: "stage" }, h("div", { class: "empty" }, `Press ${KINDS[kind.value()].go}.`))); put(facts); put(again); return; }
    tiles = range(start.n).map((k) => ({ canvas: h("canvas", { class: "picture", role: "img", "aria-label": `Result ${k + 1}`, width: start.shape[2], height: start.shape[1] }), caption: h("figcaption", {}, " ") }));
    const gallery = h("div", { class: "gallery" }, tiles.map((tile) => h("figure", {}, tile.canvas, tile.caption)));
    gallery.style.gridTemplateColumns = `repeat(${Math.ceil(Math.sqrt(start.n))}, minmax(0, 1fr))`;
    put(after, h("h2", {}, "After"), gallery);
    after.scrollIntoView({ block: "nearest" });
  }

  function finished(own, start, { header, arrays }) {
    tiles.forEach((tile, k) => {
      paint(tile.canvas, slice(arrays.x, k), { gap: 0 });
      put(tile.caption, h("a", { href: `/api/jobs/${own}/result.png?image=${k}`, download: "" }, "PNG"), " ", h("button", { type: "button", class: "link", onclick: () => canvasBlob(arrays.x, k).then((blob) => upload("image", blob, `result-${own}-${k}.png`)) }, "edit this"));
    });
    put(facts, h("span", {}, "done in ", h("b", {}, duration(header.at))), h("span", {}, "network ", h("b", {}, duration(header.network_seconds))), h("span", {}, "network calls ", h("b", {}, header.calls)), header.difference === undefined ? null : h("span", {}, "root mean square difference ", h("b", {}, short(header.difference)), " for pixels in [−1, 1]"), tiles.length > 1 ? h("a", { href: `/api/jobs/${own}/result.png`, download: "" }, "Download all as one PNG") : null);
    if (arrays.condition) canvasBlob(arrays.condition, 0).then((blob) => { extras.clear(); extras.set("condition.png", blob); recipe(start); });
    else recipe(start);
  }
  const canvasBlob = (array, k) => blobOf(canvasOf(array, k));

  function recipe(start) {
    const links = [...extras].flatMap(([name, blob]) => { const href = URL.createObjectURL(blob); urls.push(href); return [h("a", { href, download: name }, name), " "]; });
    put(again, h("div", { class: "card" }, h("h2", {}, "Reproduce it"),
      start.edit === "control" ? h("p", { class: "soft" }, "Save ", links, "into a folder called condition: this is the conditioning image.") : links.length ? h("p", { class: "soft" }, "Besides your own files, the command needs ", links.slice(0, -1), ".") : h("p", { class: "soft" }, `Run in the folder of your image, this reproduces the same pixels${start.edit === "inpaint" ? "; it also needs the mask that you painted" : ""}.`),
      copyable(start.command, "command"), copyable(start.python, "Python")));
  }

  const keys = (event) => { if (mask.box.isConnected) mask.keys(event); else if (lines.box.isConnected) lines.keys(event); };
  document.addEventListener("keydown", keys);
  await opened();
  return () => { closed = true; leaving.abort(); following += 1; document.removeEventListener("keydown", keys); urls.forEach((url) => URL.revokeObjectURL(url)); };
}
