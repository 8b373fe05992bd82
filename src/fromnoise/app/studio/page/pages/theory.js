// Theory: the chapters, each with its equations, a live figure, and the identities that check it.

import { ask, frames, get, post, stop } from "../api.js";
import * as address from "../address.js";
import { chart } from "../chart.js";
import { choice, slider } from "../controls.js";
import { h, notice, power, put, short, working } from "../dom.js";

export const title = "Theory";

export async function show(root, studio) {
  const name = decodeURIComponent(location.pathname.split("/")[2] ?? "");
  const all = await get("/api/theory");
  if (!name) return contents(root, all);
  if (all.some((one) => one.name === name)) return chapter(root, studio, name, all);
  put(root, h("div", { class: "card" }, h("p", { class: "error" }, `There is no chapter ${name.slice(0, 40)}.`), h("a", { href: "/theory" }, "All chapters")));
}

function contents(root, all) {
  put(root, h("div", { class: "theory stack" },
    h("div", { class: "card" }, h("h1", {}, "Theory"), h("p", { class: "soft" }, "Each chapter has equations with their sources, a figure that the library computes as you move its controls, and identities that compare the theory with the library's code.")),
    h("section", { class: "card toc", "aria-label": "Chapters" }, h("ol", {}, all.map((one) => h("li", {}, h("a", { href: `/theory/${one.name}` }, one.title), h("small", {}, one.summary)))))));
}

async function chapter(root, studio, name, all) {
  const about = await get(`/api/theory/${encodeURIComponent(name)}`);
  const place = all.findIndex((one) => one.name === name);
  document.title = `${about.title} – fromnoise studio`;
  const live = figure(name, about.figure);
  const proof = identities(name, about.rows, studio);
  const left = h("div", { class: "stack" },
    h("div", { class: "card" }, h("p", { class: "soft" }, h("a", { href: "/theory" }, "Theory"), `, chapter ${place + 1} of ${all.length}`), h("h1", {}, about.title), about.paragraphs.map((one) => h("p", {}, words(one)))),
    h("section", { class: "card", "aria-label": "Equations" }, h("h2", {}, "Equations"), about.equations.map(equation)));
  put(root, h("article", { class: "stack" }, h("div", { class: "grid2" }, left, live.box), proof.box, turning(place, all)));
  const beside = () => (live.box.style.top = `${Math.min(68, innerHeight - live.box.offsetHeight - 16)}px`);
  Object.assign(live.box.style, { position: "sticky", alignSelf: "start" });
  const watch = new ResizeObserver(beside);
  watch.observe(live.box);
  addEventListener("resize", beside);
  live.start();
  return () => { live.end(); proof.end(); watch.disconnect(); removeEventListener("resize", beside); };
}

function turning(place, all) {
  const link = (one, text, rel) => (one ? h("a", { href: `/theory/${one.name}`, rel }, text(one.title)) : h("span", {}));
  return h("div", { class: "card row apart", role: "navigation", "aria-label": "Chapters before and after" }, link(all[place - 1], (t) => `← ${t}`, "prev"), link(all[place + 1], (t) => `${t} →`, "next"));
}

// Formulas come from the server, which makes them only from the library's own text.
function math(source) {
  return document.importNode(new DOMParser().parseFromString(source, "text/html").body.firstElementChild, true);
}

const words = (pieces) => pieces.map(([kind, text]) => (kind === "math" ? math(text) : kind === "code" ? h("code", {}, text) : text));

function equation(one) {
  return h("div", { class: "equation" }, h("p", {}, words(one.caption)), math(one.mathml),
    h("p", {}, h("small", {}, one.source, ". In the library: ", one.code.map((code, i) => [i ? ", " : "", h("code", {}, code)]), ".")),
    one.printed.length ? h("p", { class: "slip" }, h("b", {}, "In the texts: "), words(one.printed)) : null);
}

// One request at a time: while it is pending, only the newest values wait.
function figure(name, about) {
  const was = address.read(), fields = {};
  const charts = about.charts.map((one) => chart({ ...one, formulas: true, height: about.charts.length > 2 ? 190 : 235 }));
  const facts = h("div", { class: "facts", role: "status", "aria-label": "Numbers of the figure" });
  const error = h("p", { class: "error", role: "status", hidden: true });
  for (const one of about.controls) {
    const kept = was[one.name];
    const changed = () => { const value = fields[one.name].value(); address.write({ [one.name]: value === one.default ? "" : String(value) }); once(); };
    if (one.kind === "slider") {
      const number = kept !== undefined && kept !== "" && Number.isFinite(Number(kept)) ? Math.min(one.max, Math.max(one.min, Number(kept))) : one.default;
      fields[one.name] = slider(words(one.label), { value: number, min: one.min, max: one.max, step: one.step, show: (v) => short(v, 4), oninput: changed });
    } else fields[one.name] = choice(words(one.label), one.options, { value: one.options.includes(kept) ? kept : one.default, onchange: changed });
  }
  const again = h("button", { type: "button", class: "quiet small", onclick: () => { for (const one of about.controls) { fields[one.name].set(one.default); address.write({ [one.name]: "" }); } once(); } }, "Reset");
  const box = h("section", { class: "card", "aria-label": "Figure" }, h("div", { class: "row apart" }, h("h2", {}, "Figure"), again), h("p", {}, words(about.what)),
    h("div", { class: "grid2" }, about.controls.map((one) => fields[one.name].box)), error, charts.map((one) => one.box), facts);

  let busy = false, dirty = false, over = false;
  async function once() {
    dirty = true;
    if (busy) return;
    busy = true;
    while (dirty && !over) {
      dirty = false;
      const values = Object.fromEntries(about.controls.map((one) => [one.name, fields[one.name].value()]));
      try {
        const { header, arrays } = await ask("theory-figure", { figure: name, values });
        if (over) break;
        header.charts.forEach((lines, i) => charts[i].set(lines.map((one) => ({ name: one.name, x: arrays[one.x].data, y: arrays[one.y].data, points: one.style === "points", only: one.style === "points", dashed: one.style === "dashed", faint: one.style === "faint" }))));
        put(facts, header.facts.map(([key, value]) => h("span", {}, words(key), " ", h("b", {}, typeof value === "number" ? short(value, 4) : value))));
        error.hidden = true;
      } catch (failed) {
        if (over) break;
        error.textContent = failed.message;
        error.hidden = false;
      }
    }
    busy = false;
  }
  return { box, start: once, end() { over = true; } };
}

function identities(name, rows, studio) {
  let job = 0, over = false;
  const said = h("p", { class: "soft", role: "status" }, `${rows.length} identities, each computed with the library's code and compared with exact mathematics.`);
  const bar = h("progress", { class: "idle", max: rows.length, value: 0, "aria-label": "Identities checked" });
  const lines = new Map();
  const body = h("tbody", {}, rows.map((row) => {
    const cells = ["theory", "practice", "error", "printed"].map(() => h("td", { class: "n" }, "–"));
    const mark = h("td", {}, "–");
    lines.set(`${row.topic}: ${row.name}`, { cells, mark });
    return h("tr", {}, h("td", { class: "identity", style: "min-width: 15rem" }, row.name, h("br"), h("small", {}, row.source)), cells, mark);
  }));
  const check = h("button", { type: "button", onclick: run }, "Check now");
  const cancel = h("button", { type: "button", class: "quiet", hidden: true, onclick: () => job && stop(job).catch((e) => notice(e.message)) }, "Stop");
  const box = h("section", { class: "card", "aria-label": "Identities" }, h("div", { class: "row apart" }, h("h2", {}, "Identities"), h("div", { class: "row" }, check, cancel)), said, bar,
    h("div", { class: "scroll", tabIndex: 0, role: "region", "aria-label": "Table of identities" }, h("table", {}, h("thead", {}, h("tr", {}, h("th", {}, "Identity"), h("th", { class: "n" }, "Theory"), h("th", { class: "n" }, "Practice"), h("th", { class: "n" }, "Error"), h("th", { class: "n" }, "As printed"), h("th", {}, "Holds"))), body)));

  async function run() {
    working(true, [check], cancel);
    let done = 0, bad = 0;
    try {
      for (const { cells, mark } of lines.values()) { cells.forEach((cell) => (cell.textContent = "–")); put(mark, "–"); }
      job = (await post("/api/jobs/identities", { chapter: name })).number;
      if (over) { stop(job).catch(() => {}); return; }
      studio.refresh();
      said.textContent = "waiting…";
      for await (const { header } of frames(job)) {
        if (over) return;
        if (header.kind === "row") {
          filled(header);
          done += 1;
          bad += header.passed ? 0 : 1;
          bar.className = "";
          bar.value = done;
          said.textContent = `${done} of ${rows.length} checked${bad ? `, ${bad} failed` : ", all hold"}`;
        } else if (header.kind === "over" && header.state === "failed") throw new Error(header.words);
        else if (header.kind === "over" && header.state === "cancelled") said.textContent = `stopped after ${done} of ${rows.length}`;
      }
    } catch (failed) {
      said.textContent = failed.message;
    } finally {
      working(false, [check], cancel);
      bar.className = "idle";
      job = 0;
    }
  }

  function filled(row) {
    const line = lines.get(`${row.topic}: ${row.name}`);
    if (!line) return;
    const shown = [number(row.theory), number(row.practice), `${exponent(row.error)} ≤ ${exponent(row.tolerance)}`, row.printed === null ? "" : number(row.printed)];
    if (!row.passed) shown[2] = `${exponent(row.error)}, at most ${exponent(row.tolerance)}`;
    line.cells.forEach((cell, i) => (cell.textContent = shown[i]));
    put(line.mark, h("span", { class: `badge ${row.passed ? "going" : "failed"}`, title: row.why }, row.passed ? "ok" : "FAIL"), row.why ? h("small", {}, ` ${row.why}`) : null);
  }

  return { box, end() { over = true; if (job) stop(job).catch(() => {}); } };
}

const number = (value) => (typeof value === "number" ? short(value, 6) : value);
const exponent = (value) => (typeof value === "number" ? (value === 0 ? "0" : power(value)) : value);
