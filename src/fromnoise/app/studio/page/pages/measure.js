// Measure: the figures of a run and what they mean, quality against effort, a blind test, and copies.

import * as address from "../address.js";
import { choice, switcher } from "../controls.js";
import { h, notice, put } from "../dom.js";
import { blind } from "./blind.js";
import { copies } from "./copies.js";
import { table } from "./effort.js";
import { figures } from "./figures.js";

export const title = "Measure";

const SHOWN = [["figures", "Figures"], ["table", "Quality against steps"], ["blind", "Blind test"], ["copies", "Copies"]];
const VIEWS = { figures, table, blind, copies };

export async function show(root, studio) {
  const models = studio.state.runs.filter((run) => !run.broken && run.run !== false && run.kind === "diffusion");
  if (!models.length) {
    put(root, h("div", { class: "card" }, h("h1", {}, "Measure"), h("p", {}, "There is no trained run yet. ", h("a", { href: "/train" }, "Train one"), " first.")));
    return;
  }
  const at = address.read(), names = models.map((one) => one.name);
  if (at.run && !names.includes(at.run)) notice(`There is no run ${at.run} that can be measured; this is ${names[0]}.`);
  const run = choice("Run", names, { value: at.run ?? names[0], onchange: () => opened() });
  const other = choice("Compare with", [["", "no other run"], ...names], { value: at.other ?? "", onchange: () => { address.write({ other: other.value() }); opened(); } });
  const tabs = switcher("Show", SHOWN, { value: SHOWN.some(([key]) => key === at.view) ? at.view : "figures", onchange: (key) => { address.write({ view: key === "figures" ? "" : key }); tab(); } });
  const body = h("div", { class: "stack" });
  put(root, h("h1", { class: "out" }, "Measure"), h("div", { class: "card" }, h("div", { class: "row end" }, h("div", { class: "grow" }, run.box), h("div", { class: "grow" }, other.box), tabs.box)), body);
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
      const name = run.value(), beside = other.value() === name ? "" : other.value();
      const left = await VIEWS[tabs.value()]({ body, name, beside, studio, wanted: () => mine === shown });
      if (mine === shown) leave = left ?? (() => {});
      else left?.();
    } catch (error) {
      if (mine === shown) put(body, h("div", { class: "card" }, h("p", { class: "error" }, error.message)));
    }
  }

  await opened();
  return () => { shown += 1; leave(); };
}
