// The form that starts a run: a recipe, images, and what was read from them.

import { ask, get, post, send } from "../api.js";
import { choice, dropped, number, switcher, text } from "../controls.js";
import { h, notice, put } from "../dom.js";
import { paint } from "../pixels.js";

const FIRST = ["digits", "images", "emoji", "digits-flow", "emoji-text"];
const SIZE = 64 * 2 ** 20;

export function begin(form, studio, started) {
  const start = studio.start, names = start.recipes.map((one) => one.name);
  const order = [...FIRST.filter((name) => names.includes(name)), ...names.filter((name) => !FIRST.includes(name))];
  const recipe = choice("Recipe", order, { value: "digits", onchange: chose });
  const about = h("p", { class: "soft" });
  const source = switcher("Images", [["own", "from the recipe"], ["named", "a data set"], ["mine", "my own"]], { value: "own", onchange: sourced });
  const named = choice("Data set", start.data.map((one) => one.name), { onchange: () => survey() });
  const folders = choice("Folder", start.folders, { onchange: () => survey() });
  const place = h("div", { class: "fields" }), seen = h("div", {});
  const name = text("Name of the run", { value: "" });
  const minutes = number("Minutes", { min: 0, placeholder: "from the recipe" });
  const seed = number("Seed", { value: 0, step: 1 });
  const hold = number("Share of images held out", { min: 0, max: 0.5, placeholder: "none", hint: "for a held-out loss" });
  const settings = text("Settings, one per line", { lines: 3, placeholder: "train.lr=1e-3\nnetwork.channels=64", hint: "any key of config.yaml" });
  const model = choice("Model to steer", []), teacher = choice("Teacher", []), init = choice("Start from the weights of", []);
  const needs = h("div", { class: "fields" });
  const button = h("button", { type: "submit" }, "Start training");
  let known = null, sending = false, asking = 0;

  // Sets that were uploaded earlier still exist.
  get("/api/sets").then((names) => { folders.fill([...new Set([...start.folders, ...names])]); if (source.value() === "mine") sourced(); }).catch(() => {});

  async function chose() {
    about.textContent = start.recipes.find((one) => one.name === recipe.value()).summary;
    const name_ = recipe.value();
    try {
      const found = await get(`/api/recipes/${name_}`);
      if (recipe.value() !== name_) return;
      known = found;
    } catch (error) { notice(error.message); return; }
    minutes.input.placeholder = known.minutes ? `${known.minutes} (recipe)` : known.steps ? `${known.steps.toLocaleString("en")} steps (recipe)` : "how long?";
    if (!name.touched) name.set(free(recipe.value()));
    const models = studio.state.runs.filter((run) => !run.broken && (run.kind === "diffusion" || run.run === false)).map((run) => run.name);
    model.fill(models.map((one) => [one, one])); teacher.fill(models.map((one) => [one, one])); init.fill([["", "none: new weights"], ...models]);
    put(needs, known.model ? model.box : null, known.teacher ? teacher.box : null);
    source.enable("own", recipe.value() !== "images");
    if (recipe.value() === "images" && source.value() === "own") source.set("mine");
    put(facts, known.reproduced && known.reproduced !== "not on this hardware" ? `Result: ${known.reproduced}.` : known.expected ? `Published: ${known.expected}. Not reproduced on a small machine.` : "");
    sourced();
  }
  name.input.addEventListener("input", () => (name.touched = true));
  const free = (base) => { const taken = new Set(studio.state.runs.map((run) => run.name)); if (!taken.has(base)) return base; for (let i = 2; ; i++) if (!taken.has(`${base}-${i}`)) return `${base}-${i}`; };
  const facts = h("small", {});

  function sourced() {
    const which = source.value();
    put(place, which === "named" ? named.box : which === "mine" ? [folders.input.options.length ? folders.box : null, pick.box, chooser] : null);
    asking++;
    put(seen);
    if (which === "named" || (which === "mine" && folders.value())) survey();
  }

  // The user's own images, uploaded one by one; files that are not images are listed.
  const pick = dropped("Drop a folder of images here, or choose files", { many: true, ongiven: sendAll });
  const whole = h("input", { type: "file", hidden: true, webkitdirectory: true, "aria-label": "A folder of images", onchange: () => sendAll([...whole.files]), onclick: () => (whole.value = "") });
  const chooser = h("div", {}, whole, h("button", { type: "button", class: "quiet small", onclick: () => whole.click() }, "Choose a folder"), h("small", {}, " Sub-folders become classes."));
  async function sendAll(files) {
    if (!files.length) return;
    if (sending) { notice("Images are already being uploaded: wait until that is done."); return; }
    sending = true;
    asking++;
    const bar = h("progress", { max: files.length, value: 0 }), words = h("small", {}, "");
    put(seen, bar, words);
    try {
      const paths = files.map((file) => (file.place ?? (file.webkitRelativePath || file.name)).split("/"));
      const base = paths.every((parts) => parts.length > 1 && parts[0] === paths[0][0]) ? paths[0][0] : ""; // a single folder, which is not a class
      const made = await post("/api/sets", { name: base || "images" });
      const failed = [];
      let last = made, next = 0, sent = 0;
      const worker = async () => {
        while (next < files.length) {
          const k = next++, file = files[k], where = paths[k].slice(base ? 1 : 0).join("/");
          if (!file.name.startsWith(".")) {
            if (!file.size) failed.push(`${where}: the file is empty`);
            else if (file.size > SIZE) failed.push(`${where}: is larger than ${SIZE >> 20} MB`);
            else { const now = await send(`/api/sets/${encodeURIComponent(made.name)}?as=${encodeURIComponent(where)}`, file); if (now.taken + now.count_left_out >= last.taken + last.count_left_out) last = now; }
          }
          bar.value = ++sent;
          words.textContent = `${sent.toLocaleString("en")} of ${files.length.toLocaleString("en")} uploaded`;
        }
      };
      await Promise.all([worker(), worker(), worker()]);
      last = { ...last, left_out: [...last.left_out, ...failed], count_left_out: last.count_left_out + failed.length };
      if (!last.taken) { put(seen, h("p", { class: "error" }, "None of these files is an image."), left_out(last)); return; }
      folders.fill([made.name, ...[...folders.input.options].map((one) => one.value).filter((one) => one !== made.name)]);
      folders.set(made.name);
      if (!folders.box.isConnected && source.value() === "mine") place.prepend(folders.box);
      await survey(last);
      if (!name.touched) name.set(free(made.name));
    } catch (error) {
      put(seen, h("p", { class: "error" }, error.message));
    } finally {
      sending = false;
    }
  }
  const left_out = (made) => (made.count_left_out ? h("details", { open: true }, h("summary", {}, `${made.count_left_out} left out`), h("ul", {}, made.left_out.map((line) => h("li", {}, line))), made.left_out.length < made.count_left_out ? h("small", {}, "and others") : null) : null);

  async function survey(sent = null) {
    const mine = ++asking, which = source.value(), asked = which === "named" ? { data: named.value() } : { folder: folders.value() };
    if (which === "own" || (which === "mine" && !asked.folder)) return;
    put(seen, h("small", {}, "reading…"));
    try {
      const { header, arrays } = await ask("survey", asked);
      if (mine !== asking) return;
      const canvas = h("canvas", { class: "picture", role: "img", "aria-label": "Some of the images" });
      paint(canvas, arrays.x, { columns: 8 });
      put(seen, canvas, h("p", {}, `${header.n.toLocaleString("en")} ${header.n === 1 ? "image" : "images"}${which === "named" ? ` of ${header.shape.join(" × ")}` : ""}${header.classes.length ? `, ${header.classes.length} ${header.classes.length === 1 ? "class" : "classes"}: ${header.classes.slice(0, 8).map((c, i) => `${c}${header.counts.length ? ` (${header.counts[i]})` : ""}`).join(", ")}${header.classes.length > 8 ? ", …" : ""}` : ", no classes"}.`), header.notes.map((note) => h("p", { class: "soft" }, note)), sent ? left_out(sent) : null);
    } catch (error) {
      if (mine === asking) put(seen, h("p", { class: "error" }, error.message));
    }
  }

  async function submit(event) {
    event.preventDefault();
    button.disabled = true;
    try {
      if (sending) throw new Error("The images are still being uploaded: wait until that is done.");
      const values = { recipe: recipe.value(), name: name.value().trim(), settings: settings.value().split("\n").map((line) => line.trim()).filter(Boolean) };
      if (minutes.value() !== "") values.minutes = minutes.value();
      if (seed.value() !== "" && seed.value() !== 0) values.seed = seed.value();
      if (hold.value() !== "") values.hold_out = hold.value();
      if (source.value() === "named") values.data = named.value();
      if (source.value() === "mine") { values.folder = folders.value(); if (!values.folder) throw new Error("Drop a folder of images first, or choose another source of images."); }
      if (known?.model) values.model = model.value();
      if (known?.teacher) values.teacher = teacher.value();
      if (init.value()) values.init = init.value();
      await post("/api/train", values);
      name.touched = false;
      await studio.refresh();
      started(values.name);
      name.set(free(values.folder || recipe.value()));
    } catch (error) {
      notice(error.message);
    } finally {
      button.disabled = false;
    }
  }
  put(form, h("h2", {}, "Train a model"), h("form", { class: "fields", onsubmit: submit }, recipe.box, about, needs, source.box, place, seen, h("div", { class: "fields two" }, name.box, minutes.box), h("details", {}, h("summary", {}, "More"), h("div", { class: "fields" }, seed.box, hold.box, init.box, settings.box)), button, facts));
  chose();
}
