// What is chosen stands in the address, so that a link shows the same and a reload changes nothing.

export function read() {
  return Object.fromEntries(new URLSearchParams(location.search));
}

export function write(values) {
  const params = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(values)) {
    if (value === undefined || value === null || value === "" || value === false) params.delete(name);
    else params.set(name, value === true ? "1" : value);
  }
  const text = params.toString();
  history.replaceState(null, "", location.pathname + (text ? `?${text}` : ""));
}
