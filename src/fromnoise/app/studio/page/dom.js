// Building elements and formatting numbers: h("p", { class: "x", onclick: f }, "text", child).

const SVG = "http://www.w3.org/2000/svg";

export function h(tag, props = {}, ...children) {
  return filled(document.createElement(tag), props, children);
}

export function s(tag, props = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), props, children);
}

function filled(element, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && !(element instanceof SVGElement) && name !== "list" && name !== "form") element[name === "class" ? "className" : name] = value;
    else if (name === "class") element.setAttribute("class", value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// Replace the children. The focused element keeps the focus, or passes it to the new element with the same label.
export function put(parent, ...children) {
  const held = document.activeElement, within = held !== parent && parent.contains(held), name = within ? called(held) : "";
  parent.replaceChildren(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  if (within) (parent.contains(held) ? held : [...parent.querySelectorAll(held.tagName)].find((one) => called(one) === name))?.focus({ preventScroll: true });
  return parent;
}

const called = (element) => element.getAttribute("aria-label") ?? element.labels?.[0]?.textContent ?? element.textContent;

// While a job runs, its start buttons are disabled and a stop button is shown; the focus moves between them.
export function working(on, starts, halt) {
  const held = [...starts, halt].includes(document.activeElement);
  starts.forEach((button) => (button.disabled = on));
  halt.hidden = !on;
  if (held) (on ? halt : starts[0]).focus({ preventScroll: true });
}

// "x_t" with its index as a subscript.
export function formula(text) {
  return text.split(/_(\w+)/).map((part, i) => (i % 2 ? h("sub", {}, part) : part));
}

// Set a text that changes often; does nothing if it is the same.
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// A number with 3 significant digits.
export function short(value, digits = 3) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return power(value, digits);
  return Number(value.toPrecision(digits)).toLocaleString("en", { maximumFractionDigits: 6 }).replace("-", "−");
}

// 1.2 × 10⁻⁵
export function power(value, digits = 1) {
  const [factor, exponent] = value.toExponential(digits - 1).replaceAll("-", "−").split("e");
  return `${Number(factor.replace("−", "-")) === 1 ? "" : `${factor} × `}10${[...exponent.replace("+", "")].map((c) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[c] ?? "⁻").join("")}`;
}

export function duration(seconds) {
  if (!(seconds >= 0) || !Number.isFinite(seconds)) return "–";
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds), minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${whole % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

let hide = 0;
// A message at the bottom of the page, for errors. It disappears after a while; a `lasting` one when the returned function is called.
export function notice(text, lasting = false) {
  const box = document.getElementById("notice");
  put(box, h("span", {}, text), h("button", { type: "button", "aria-label": "Close this message", onclick: () => (box.hidden = true) }, "×"));
  box.hidden = false;
  clearTimeout(hide);
  if (!lasting) hide = setTimeout(() => (box.hidden = true), Math.max(12000, 90 * text.length));
  return () => { if (box.firstChild?.textContent === text) box.hidden = true; };
}

export function copyable(text, label) {
  const button = h("button", { type: "button", class: "quiet small", onclick: async () => {
    try { await navigator.clipboard.writeText(text); button.textContent = "Copied"; }
    catch { const range = document.createRange(); range.selectNodeContents(code); getSelection().removeAllRanges(); getSelection().addRange(range); }
    setTimeout(() => (button.textContent = "Copy"), 1500);
  } }, "Copy");
  const code = h("code", {}, text);
  return h("div", { class: "code" }, h("div", { class: "code-head" }, h("span", {}, label), button), h("pre", { tabIndex: 0 }, code));
}

export const typing = (event) => /^(input|textarea|select)$/i.test(event.target.tagName) && event.target.type !== "range" && event.target.type !== "checkbox";
