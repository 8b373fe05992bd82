// What is chosen stands in the address, so that a link shows the same and a reload changes nothing.

const PAUSE = 80; // ms: browsers take only so many changes a second, and a slider makes more
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

// What waits stands there before the page is another one.
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

// When the browser has gone to another one already.
export function forget() {
  clearTimeout(timer);
  timer = 0;
  waiting = null;
}

// The options of a field whose value stands in the address under a name, where it is not the default.
export function kept(name, standard, changed = undefined) {
  return { value: read()[name] ?? standard, onchange: (value) => { write({ [name]: String(value) === String(standard) ? "" : value }); changed?.(value); } };
}
