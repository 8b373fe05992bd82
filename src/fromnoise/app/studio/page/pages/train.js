// Train: a table of the runs, a form that starts one (training.js), and the selected run (trained.js).

import * as address from "../address.js";
import { duration, h, put, say, short } from "../dom.js";
import { badge, followed, left } from "./trained.js";
import { begin } from "./training.js";

export const title = "Train";

const COLUMNS = [["Run", ""], ["State", ""], ["Recipe", ""], ["Steps", "n"], ["Loss", "n"], ["Images/s", "n"], ["Time left", "n"], ["Compare", ""]];

export async function show(root, studio) {
  const at = address.read();
  const form = h("div", { class: "card fields" }), runs = h("div", { class: "card" }), detail = h("div", { class: "stack" });
  put(root, h("h1", { class: "out" }, "Train"), h("div", { class: "layout" }, h("div", { class: "side" }, form), h("div", { class: "stack" }, runs, detail)));
  begin(form, studio, (name) => { choose(name); if (innerWidth <= 860) detail.scrollIntoView(); });

  let chosen = at.run ?? "", compared = new Set((at.with ?? "").split(",").filter(Boolean)), shown = null;
  const beside = () => [...compared].filter((one) => one !== chosen);
  function choose(name) {
    chosen = name;
    address.write({ run: name, with: beside().join(",") });
    shown?.close();
    put(detail);
    shown = name ? followed(detail, name, beside(), studio) : null;
    table(studio.state);
  }

  // Rows are made once, so the focus stays and no click is lost while the numbers change.
  const rows = new Map(), body = h("tbody", {});
  const grid = h("div", { class: "scroll" }, h("table", {}, h("thead", {}, h("tr", {}, COLUMNS.map(([name, kind]) => h("th", { class: kind }, name)))), body));
  function table(state) {
    const trained = state.runs.filter((run) => run.run);
    if (!trained.length) { put(runs, h("h2", {}, "Runs"), h("p", { class: "soft" }, "No runs yet. A run that you start appears here.")); return; }
    if (!grid.isConnected) put(runs, h("h2", {}, "Runs"), grid);
    const names = trained.map((run) => run.name);
    for (const name of names) if (!rows.has(name)) rows.set(name, row(name));
    if ([...body.children].map((line) => line.dataset.run).join("\n") !== names.join("\n")) put(body, names.map((name) => rows.get(name).line));
    for (const run of trained) rows.get(run.name).set(run);
  }

  function row(name) {
    const box = h("input", { type: "checkbox", "aria-label": `Compare ${name}`, onchange: () => { box.checked ? compared.add(name) : compared.delete(name); if (chosen) choose(chosen); } });
    const open = h("button", { type: "button", class: "link", onclick: () => choose(name) }, name);
    const state = h("td", {}), recipe = h("td", {}), [steps, loss, rate, time] = [0, 1, 2, 3].map(() => h("td", { class: "n" }));
    const line = h("tr", {}, h("td", {}, open), state, recipe, steps, loss, rate, time, h("td", {}, box));
    line.dataset.run = name;
    return { line, set(run) {
      const p = run.progress, mine = name === chosen;
      line.className = mine ? "chosen" : "";
      mine ? open.setAttribute("aria-current", "true") : open.removeAttribute("aria-current");
      const mark = badge(run);
      if (state.textContent !== (mark?.textContent ?? "")) put(state, mark);
      say(recipe, run.broken ? "damaged" : run.recipe);
      recipe.className = run.broken ? "error" : "";
      recipe.title = run.broken ?? "";
      say(steps, p ? p.step.toLocaleString("en") : "–");
      say(loss, p ? short(p.loss) : "–");
      say(rate, p ? short(p.images_per_second, 2) : "–");
      say(time, run.state === "going" ? duration(left(run)) : "–");
      box.checked = compared.has(name);
      box.disabled = mine || !p;
    } };
  }

  let last = "";
  const quiet = studio.onstate((state) => {
    const now = JSON.stringify(state.runs);
    if (now === last) return;
    last = now;
    table(state);
    const run = state.runs.find((one) => one.name === chosen);
    run && shown?.missing ? choose(chosen) : shown?.state(run); // a run that was just started appears a moment later
  });
  const known = studio.state.runs.filter((run) => run.run);
  choose(chosen || ((known.find((run) => run.state === "going") ?? known[0])?.name ?? ""));
  return () => { quiet(); shown?.close(); };
}
