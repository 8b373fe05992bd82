// Shared by the views of Measure.

// Wilson's 95 % confidence interval of a share.
export function wilson(right, n) {
  const z = 1.959964, p = right / n, middle = (p + (z * z) / (2 * n)) / (1 + (z * z) / n);
  const half = (z / (1 + (z * z) / n)) * Math.sqrt((p * (1 - p)) / n + (z * z) / (4 * n * n));
  return [Math.max(0, middle - half), Math.min(1, middle + half)];
}
export const percent = (share) => `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`;
export const random = (n) => crypto.getRandomValues(new Uint32Array(1))[0] % n;
export const share = (header) => (header.kind === "step" && header.total ? header.done / header.total : header.kind === "cell" ? header.number / header.of : 0);

// The progress text of a step, such as "drawing: 40 %".
export const stage = (header, of = "") => `${header.stage}${header.total ? `: ${Math.round((100 * header.done) / header.total)} %` : header.done ? `: ${header.done.toLocaleString("en")}${of}` : ""}`;
