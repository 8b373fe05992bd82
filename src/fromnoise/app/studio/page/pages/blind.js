// The blind test: which images are real? Reports the share of right answers with its confidence interval.

import * as address from "../address.js";
import { number, switcher } from "../controls.js";
import { copyable, h, put, typing } from "../dom.js";
import { picture, slice } from "../pixels.js";
import { runner } from "../running.js";
import { percent, random, share, wilson } from "./measuring.js";

export async function blind({ body, name, wanted }) {
  const was = address.read();
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
  const intro = () => put(board, h("p", { class: "soft" }, "Real and generated images are mixed, and you pick the real ones. If you do no better than chance, you cannot tell them apart. Press Start."));

  function pairs({ header, arrays }) {
    const count = header.real.length / 2, answers = [];
    const sides = [0, 1].map((side) => h("button", { type: "button", class: "quiet grow", "aria-label": `${side ? "Right" : "Left"} is real`, onclick: () => answer(side) }));
    const question = h("p", { role: "status" });
    function next() {
      const i = answers.length;
      question.textContent = `Pair ${i + 1} of ${count}: which one is real?`;
      sides.forEach((button, side) => put(button, picture(slice(arrays.x, 2 * i + side), side ? "right" : "left"), h("span", {}, h("kbd", {}, side ? "2" : "1"), ` ${side ? "right" : "left"}`)));
    }
    function answer(side) {
      answers.push(side);
      if (answers.length < count) return next();
      keys = () => {};
      const right = answers.filter((chosen, i) => header.real[2 * i + chosen] === 1).length;
      verdict(right, count, "pairs", header, answers.map((chosen, i) => h("figure", {}, h("div", { class: "row" }, [0, 1].map((one) => { const canvas = picture(slice(arrays.x, 2 * i + one), header.real[2 * i + one] ? "real" : "generated"); return h("div", { class: "grow" }, canvas, h("small", {}, header.real[2 * i + one] ? "real" : "generated")); })), h("figcaption", {}, h("span", { class: header.real[2 * i + chosen] ? "good" : "error" }, header.real[2 * i + chosen] ? "✓ right" : "✗ wrong")))), 220);
    }
    keys = (event) => { const side = { 1: 0, 2: 1, ArrowLeft: 0, ArrowRight: 1 }[event.key]; if (side !== undefined) { event.preventDefault(); answer(side); } };
    const stand = h("div", { class: "row" }, sides);
    stand.style.maxWidth = "640px";
    stand.style.flexWrap = "nowrap";
    put(board, question, stand, h("small", {}, h("kbd", {}, "1"), " or ", h("kbd", {}, "←"), " left, ", h("kbd", {}, "2"), " or ", h("kbd", {}, "→"), " right"));
    next();
  }

  function all({ header, arrays }) {
    const order = header.real.map((_, i) => i); // pairs are adjacent: shuffle them
    for (let i = order.length - 1; i > 0; i--) { const j = random(i + 1); [order[i], order[j]] = [order[j], order[i]]; }
    const chosen = new Set(), count = order.length;
    const left = h("span", { role: "status" });
    const buttons = order.map((i, at) => h("button", { type: "button", class: "quiet", "aria-pressed": "false", "aria-label": `Image ${at + 1}`, onclick: (event) => { chosen.has(i) ? chosen.delete(i) : chosen.add(i); mark(event.currentTarget, chosen.has(i)); told(); } }, picture(slice(arrays.x, i), `Image ${at + 1}`)));
    const mark = (button, on) => { button.setAttribute("aria-pressed", String(on)); button.style.borderColor = on ? "var(--accent)" : ""; button.style.boxShadow = on ? "0 0 0 2px var(--accent)" : ""; };
    const told = () => (left.textContent = `${chosen.size} chosen; ${count / 2} of ${count} are real.`);
    const finish = h("button", { type: "button", onclick: () => {
      keys = () => {};
      const right = order.filter((i) => chosen.has(i) === (header.real[i] === 1)).length;
      verdict(right, count, "images", header, order.map((i) => { const ok = chosen.has(i) === (header.real[i] === 1); return h("figure", {}, picture(slice(arrays.x, i), header.real[i] ? "real" : "generated"), h("figcaption", {}, h("span", { class: ok ? "good" : "error" }, `${ok ? "✓" : "✗"} ${header.real[i] ? "real" : "generated"}`))); }), 84);
    } }, "Done");
    keys = (event) => { // arrows move between images; Space and Enter choose, as for any button
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
    const words = low > 0.5 ? "Better than chance: you can tell them apart." : high < 0.5 ? "Worse than chance: you mistook the generated images for real ones." : `Consistent with chance: ${count} ${what} do not show that you see a difference. More ${what} would give a clearer answer.`;
    const gallery = h("div", { class: "gallery" }, truth);
    gallery.style.gridTemplateColumns = `repeat(auto-fill, minmax(${width}px, 1fr))`;
    put(board, h("h2", { tabIndex: -1 }, `${right} of ${count} right: ${percent(right / count)}`), h("p", {}, `95 % interval ${percent(low)} to ${percent(high)}, chance 50 %. ${words}`), h("p", { class: "soft" }, header.held_out ? "The real images were held out: the model has never seen them." : "The real images are from the training data."), gallery);
    put(again, h("div", { class: "card" }, h("h2", {}, "Reproduce the generated images"), copyable(start.command, "command"), copyable(start.python, "Python")));
    const head = board.querySelector("h2");
    head.style.outline = "none";
    head.focus();
  }

  const pressed = (event) => { if (!typing(event) && !event.altKey && !event.ctrlKey && !event.metaKey && event.target.type !== "radio") keys(event); };
  document.addEventListener("keydown", pressed);
  put(body, h("div", { class: "layout" }, h("div", { class: "card side fields" }, way.box, k.box, going.box), h("div", { class: "stack" }, board, again)));
  intro();
  return () => { document.removeEventListener("keydown", pressed); going.close(); };
}
