// Form fields: each is { box, value(), set(v) }; `value` is "" for the default.

import { formula, h, notice, put } from "./dom.js";

let count = 0;
const labelled = (label, input, hint) => {
  input.id = `field-${++count}`;
  return h("div", { class: "field" }, h("label", { htmlFor: input.id }, label), input, hint ? h("small", {}, hint) : null);
};

export function choice(label, options, { value = "", hint, onchange } = {}) {
  const select = h("select", { onchange: () => onchange?.(select.value) });
  const fill = (all) => put(select, all.map((one) => { const [key, text] = Array.isArray(one) ? one : [one, one]; return h("option", { value: key }, text); }));
  fill(options);
  select.value = value;
  if (select.selectedIndex < 0) select.selectedIndex = 0;
  return { box: labelled(label, select, hint), value: () => select.value, set: (v) => { select.value = v; if (select.selectedIndex < 0) select.selectedIndex = 0; }, fill(all) { const was = select.value; fill(all); select.value = was; if (select.selectedIndex < 0) select.selectedIndex = 0; }, input: select };
}

export function number(label, { value = "", min, max, step = "any", placeholder = "", hint, onchange } = {}) {
  const input = h("input", { type: "number", inputMode: "decimal", min, max, step, placeholder, value, onchange: () => onchange?.(read()) });
  const read = () => (input.value === "" ? "" : Number(input.value));
  return { box: labelled(label, input, hint), value: read, set: (v) => (input.value = v ?? ""), input };
}

export function slider(label, { value = 0, min = 0, max = 1, step = "any", show = String, oninput } = {}) {
  const shown = h("output", { "aria-hidden": "true" });
  const tell = () => { shown.textContent = show(Number(input.value)); if (shown.textContent) input.setAttribute("aria-valuetext", shown.textContent); };
  const input = h("input", { type: "range", min, max, step, value, oninput: () => { tell(); oninput?.(Number(input.value)); } });
  input.value = value; // again, since the limits were not set the first time
  tell();
  const box = labelled(label, input);
  box.querySelector("label").append(" ", shown);
  return { box, value: () => Number(input.value), set: (v) => { input.value = v; tell(); }, input, limit(most) { input.max = most; } };
}

export function text(label, { value = "", placeholder = "", lines = 1, hint, onchange } = {}) {
  const input = lines > 1 ? h("textarea", { rows: lines, placeholder, value, onchange: () => onchange?.(input.value) }) : h("input", { type: "text", placeholder, value, onchange: () => onchange?.(input.value) });
  return { box: labelled(label, input, hint), value: () => input.value, set: (v) => (input.value = v ?? ""), input };
}

export function check(label, { value = false, onchange } = {}) {
  const input = h("input", { type: "checkbox", checked: Boolean(value), onchange: () => onchange?.(input.checked) });
  return { box: h("label", { class: "check" }, input, " ", label), value: () => input.checked, set: (v) => (input.checked = Boolean(v)), input };
}

// A choice among a few options, as buttons in a row.
export function switcher(label, options, { value, onchange } = {}) {
  const name = `switch-${++count}`, first = options.some(([key]) => key === value) ? value : options[0][0];
  const box = h("fieldset", { class: "switch" }, h("legend", {}, label));
  const inputs = options.map(([key, title, hint]) => {
    const input = h("input", { type: "radio", name, value: key, checked: key === first, "aria-label": title.includes("_") ? title : null, onchange: () => onchange?.(key) });
    box.append(h("label", { title: hint ?? "" }, input, h("span", {}, formula(title))));
    return input;
  });
  return { box, value: () => inputs.find((one) => one.checked)?.value, set: (v) => inputs.forEach((one) => (one.checked = one.value === v)), enable(key, on) { const one = inputs.find((input) => input.value === key); if (one) { one.disabled = !on; one.parentElement.classList.toggle("off", !on); } } };
}

// A field for files, dropped or chosen; calls `ongiven(files)`.
export function dropped(label, { many = false, ongiven }) {
  const input = h("input", { type: "file", accept: "image/*", multiple: many, onchange: () => input.files.length && ongiven([...input.files]) });
  const box = h("label", { class: "drop", tabIndex: -1, ondragover: (e) => { e.preventDefault(); box.classList.add("over"); }, ondragleave: () => box.classList.remove("over"), ondrop: async (e) => { e.preventDefault(); box.classList.remove("over"); const files = await entries(e.dataTransfer); if (files.length) ongiven(files); } }, input, h("span", {}, label));
  input.addEventListener("click", () => (input.value = "")); // the same files may be chosen again
  return { box, input };
}

const MOST_FILES = 20000;

// All dropped files; for a folder, all files below it with their paths.
async function entries(transfer) {
  const roots = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!roots.length) return [...transfer.files];
  const found = [];
  const walk = async (entry) => {
    if (found.length >= MOST_FILES) return;
    if (entry.isFile) {
      const file = await new Promise((resolve) => entry.file(resolve, () => resolve(null)));
      if (file) { file.place = entry.fullPath.replace(/^\//, ""); found.push(file); }
      return;
    }
    const reader = entry.createReader();
    for (;;) {
      const part = await new Promise((resolve) => reader.readEntries(resolve, () => resolve([])));
      if (!part.length) return;
      for (const one of part) await walk(one);
    }
  };
  for (const root of roots) await walk(root);
  if (found.length >= MOST_FILES) notice(`Only the first ${MOST_FILES.toLocaleString("en")} files are used.`);
  return found;
}
