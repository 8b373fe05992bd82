import { h, put } from "../dom.js";
export const title = "measure";
export async function show(root, studio) { put(root, h("div", { class: "card" }, "…")); }
