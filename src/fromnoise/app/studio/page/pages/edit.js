import { h, put } from "../dom.js";
export const title = "edit";
export async function show(root, studio) { put(root, h("div", { class: "card" }, "…")); }
