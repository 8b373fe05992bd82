// Copies: samples beside their nearest training images.

import * as address from "../address.js";
import { number } from "../controls.js";
import { copyable, h, put, short } from "../dom.js";
import { picture } from "../pixels.js";
import { runner } from "../running.js";
import { percent, share, stage, wilson } from "./measuring.js";

export async function copies({ body, name, wanted }) {
  const was = address.read();
  const n = number("Samples", { value: was.c ?? 64, min: 2, max: 500, step: 1, onchange: (v) => address.write({ c: v }) });
  const seed = number("Seed", { value: was.seed ?? 0, step: 1, onchange: (v) => address.write({ seed: v }) });
  const board = h("div", { class: "card" }, h("p", { class: "soft" }, "Samples are shown beside their nearest training images, the most suspicious first. A sample that is three times nearer to one training image than to the next is called a near-copy."));
  const said = h("p", { class: "soft", role: "status" });
  let command = "";
  const going = runner("Look for copies", "copies", {
    values: () => ({ run: name, n: Number(n.value()) || 64, seed: Number(seed.value()) || 0 }),
    total: share,
    heard: ({ header, arrays }) => {
      if (!wanted()) return;
      if (header.kind === "start") command = header.command;
      if (header.kind === "step") said.textContent = stage(header);
      if (header.kind === "end") { said.textContent = ""; found(header, arrays); }
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
        gallery.append(h("figure", {}, picture({ data: row, shape: [k + 1, ...x.shape.slice(1)] }, "a sample and its nearest training images", { columns: k + 1, gap: 1 }), h("figcaption", {}, header.copy[i] ? h("span", { class: "error" }, "near-copy ") : null, `ratio ${short(header.ratio[i])}, distance ${short(header.distance[i])}, image ${header.numbers[i][0]}`)));
      }
      more.hidden = shown >= header.n;
    }
    add(12);
    put(board, h("h2", {}, `${header.copies} of ${header.n} samples are near-copies: ${percent(header.copies / header.n)}`),
      h("p", {}, `95 % interval ${percent(low)} to ${percent(high)}, among ${header.training_images.toLocaleString("en")} training images. ${header.copies ? "A model copies if it has seen few images many times: train on more images, for fewer steps, or with mirror images." : "None of these is a copy by this rule."}`),
      h("p", { class: "soft" }, `Each row: the sample, then the ${k} nearest training images in pixels. Ratio: distance to the nearest image divided by the distance to the next different one; below ${short(header.rule)} the sample is a near-copy. Distance: root mean square difference of pixels in [−1, 1]; the median is ${short(header.median)}.`),
      gallery, h("div", { class: "row" }, more), copyable(command, "command: prints the share and draws nearest.png"));
  }
  put(body, h("div", { class: "layout" }, h("div", { class: "card side fields" }, h("div", { class: "fields two" }, n.box, seed.box), going.box, said), h("div", {}, board)));
  return () => going.close();
}
