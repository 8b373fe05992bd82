// Choices are kept in the address, so a link shows the same page and a reload changes nothing.

const PAUSE = 80; // ms: browsers limit the changes per second, and a slider makes more
let waiting = null, timer = 0;

const now = () => waiting ?? new URLSearchParams(location.search);

export function read() {
  return Object.fromEntries(now());
}

export function write(values) {
  waiting = now();
  for (const [name, value] of Object.entries(values)) {
    if (value === undefined || value === null || value === "" || value === false) waiting.delete(name);
    else waiting.set(name, value === true ? "1" : value);
  }
  if (!timer) flush();
}

// Write what is waiting, before the page changes.
export function flush() {
  clearTimeout(timer);
  timer = 0;
  if (!waiting) return;
  const text = waiting.toString();
  waiting = null;
  history.replaceState(null, "", location.pathname + (text ? `?${text}` : ""));
  timer = setTimeout(flush, PAUSE);
}
addEventListener("pagehide", flush);

// Drop what is waiting: the browser has changed the page already.
export function forget() {
  clearTimeout(timer);
  timer = 0;
  waiting = null;
}

// Options for a field that keeps its value in the address under a name, unless it is the default.
export function kept(name, standard, changed = undefined) {
  return { value: read()[name] ?? standard, onchange: (value) => { write({ [name]: String(value) === String(standard) ? "" : value }); changed?.(value); } };
}
