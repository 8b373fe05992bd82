// Quality against effort: samplers or values of eta, each at a few numbers of steps.

import { ask } from "../api.js";
import * as address from "../address.js";
import { chart } from "../chart.js";
import { choice, number, switcher, text } from "../controls.js";
import { copyable, duration, h, put, short } from "../dom.js";
import { runner } from "../running.js";
import { stage } from "./measuring.js";

export async function table({ body, name, wanted }) {
  const was = address.read();
  put(body, h("div", { class: "card" }, h("p", { class: "soft" }, "opening…")));
  const model = (await ask("describe", { run: name })).header;
  if (!wanted()) return;
  const rows = { steps: ["eta 0.0", "eta 0.2", "eta 0.5", "eta 1.0", "sigma-hat"], samplers: model.samplers.map((one) => one.name) };
  const kind = switcher("Table", [["steps", "DDIM to DDPM"], ["samplers", "Samplers"]], { value: was.table === "samplers" ? "samplers" : "steps", onchange: (key) => { address.write({ table: key === "steps" ? "" : key, a: "", b: "" }); first.fill(rows[key]); second.fill([["", "none"], ...rows[key]]); usual(key); } });
  const first = choice("First row", rows[kind.value()], { value: was.a ?? "", onchange: (v) => address.write({ a: v }) });
  const second = choice("Second row", [["", "none"], ...rows[kind.value()]], { value: was.b ?? "", onchange: (v) => address.write({ b: v }) });
  const usual = (key) => { first.set(key === "steps" ? "eta 0.0" : rows[key].includes("unipc") ? "unipc" : rows[key][0]); second.set(key === "steps" ? "eta 1.0" : rows[key].includes("ddim") ? "ddim" : ""); };
  if (!was.a) usual(kind.value());
  const columns = text("Steps (for samplers: network calls)", { value: was.columns ?? "5 10 20 50", hint: "at most 12 numbers", onchange: (v) => address.write({ columns: v }) });
  const n = number("Samples per entry", { value: was.m ?? 200, min: 2, max: 5000, step: 1, onchange: (v) => address.write({ m: v }) });
  const picture = chart({ title: "Quality against effort", x: "steps (for samplers: network calls)", y: "Fréchet distance, lower is better", logX: true, height: 300, empty: "Points appear as they are measured." });
  const said = h("p", { class: "soft", role: "status" }), grid = h("div", { class: "scroll" }), again = h("div", {});
  let url = "";
  const going = runner("Measure", "table", {
    values: () => ({ run: name, kind: kind.value(), rows: [...new Set([first.value(), second.value()].filter(Boolean))], columns: numbers(columns.value()), n: Number(n.value()) || 200 }),
    total: (header) => (header.kind === "cell" ? (done = header.number / header.of) : (done + (header.kind === "step" && header.total && of ? header.done / header.total / of : 0))),
    heard: ({ header }) => {
      if (!wanted()) return;
      if (header.kind === "start") { done = 0; of = 0; put(again, copyable(header.command, "command: computes these entries and those of all other rows")); put(grid); picture.set([]); }
      if (header.kind === "step") said.textContent = stage(header, " images");
      if (header.kind === "cell" || header.kind === "end") { of = header.of ?? of; entries(header); }
      if (header.kind === "end") {
        said.textContent = [`${header.figure} against ${header.title}; ${header.reference.n.toLocaleString("en")} reference images of ${header.reference.data}.`, ...header.warnings.map((one) => `${one}.`)].join(" ");
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
    h("div", { class: "card side fields" }, h("p", { class: "soft" }, "How good are cheaper samples? Every entry draws its own samples, without guidance, and measures their distance to the data."), kind.box, first.box, second.box, columns.box, n.box, going.box),
    h("div", { class: "stack" }, h("div", { class: "card" }, picture.box, said, grid, again))));
  picture.set([]);
  return () => { URL.revokeObjectURL(url); going.close(); };
}

const numbers = (words) => {
  const found = words.split(/[\s,;]+/).filter(Boolean).map(Number);
  if (!found.length || found.some((v) => !Number.isInteger(v) || v < 1)) throw new Error("Steps: must be integers of at least 1, such as 5 10 20 50.");
  return found;
};
