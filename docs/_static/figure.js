// The theory's figures: frames that were computed when the site was built, drawn by the studio's chart.

import { chart } from "./chart.js";
import { h, short } from "./dom.js";

const here = new URL(".", import.meta.url);

for (const box of document.querySelectorAll(".fn-figure")) show(box);

async function show(box) {
  const answer = await fetch(new URL(`figures/${box.dataset.figure}.json`, here)).catch(() => null);
  if (!answer?.ok) return box.append("This figure needs the site to be served: make docs-serve.");
  const { controls, charts, frames } = await answer.json();
  const at = controls.map((one) => one.at);
  const drawn = charts.map((one) => chart({ ...one, height: 260 }));
  const facts = h("p", { class: "fn-facts", role: "status" });
  const inputs = controls.map((one, i) => {
    const value = h("output", {}, String(one.values[one.at]));
    const input = typeof one.values[0] === "string"
      ? h("select", { onchange: (event) => move(i, event.target.selectedIndex) }, one.values.map((name, k) => h("option", { selected: k === one.at }, name)))
      : h("input", { type: "range", min: "0", max: String(one.values.length - 1), step: "1", value: String(one.at), oninput: (event) => move(i, Number(event.target.value), value) });
    return h("label", {}, h("span", {}, one.label), input, typeof one.values[0] === "string" ? null : value);
  });
  function move(i, k, value) {
    at[i] = k;
    if (value) value.textContent = String(controls[i].values[k]);
    draw();
  }
  function draw() {
    const frame = frames[at.join(",")];
    frame.charts.forEach((series, i) => drawn[i].set(series.map((one) => ({ name: one.name, x: one.x, y: one.y, points: one.style === "points", only: one.style === "points", dashed: one.style === "dashed", faint: one.style === "faint" }))));
    facts.replaceChildren(...frame.facts.flatMap(([name, value], i) => [i ? " · " : "", `${name}: `, h("b", {}, typeof value === "number" ? short(value, 4) : value)]));
  }
  box.append(h("div", { class: "fn-controls" }, inputs), ...drawn.map((one) => one.box), facts);
  draw();
}
