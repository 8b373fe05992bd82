// The frame around the pages: which one is shown, what is computing, light and dark.

import { get, stop } from "./api.js";
import { duration, h, notice, put } from "./dom.js";

const PAGES = { draw: "./pages/draw.js", train: "./pages/train.js", inside: "./pages/inside.js", theory: "./pages/theory.js", edit: "./pages/edit.js", measure: "./pages/measure.js" };
const main = document.getElementById("main");
const listeners = new Set();
export const studio = { start: null, state: null, onstate(f) { listeners.add(f); return () => listeners.delete(f); }, refresh: poll, go, path };

let leave = () => {};
let shown = 0;

async function show() {
  const mine = ++shown;
  const name = location.pathname.split("/")[1] || "draw";
  for (const link of document.querySelectorAll("#nav a")) link.pathname.slice(1) === name ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
  document.querySelector("#nav a[aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  leave();
  leave = () => {};
  try {
    if (!(name in PAGES)) throw new Error("there is no such page");
    const page = await import(PAGES[name]);
    studio.start ??= await get("/api/start");
    studio.state ??= studio.start;
    if (mine !== shown) return;
    document.title = `${page.title} – fromnoise studio`;
    const root = h("div", { class: `page page-${name}` });
    put(main, root);
    leave = (await page.show(root, studio)) ?? (() => {});
  } catch (error) {
    put(main, h("div", { class: "card" }, h("p", { class: "error" }, error.message), h("button", { type: "button", onclick: show }, "Try again")));
  }
}

// Of a run, as one types it where the studio was started.
function path(name) {
  return studio.start.base === "." ? name : `${studio.start.base}/${name}`;
}

// Another page, or the same with other choices.
export function go(address) {
  history.pushState(null, "", address);
  return show();
}

document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[href]");
  if (!link || link.origin !== location.origin || link.target || link.hasAttribute("download") || event.metaKey || event.ctrlKey || event.shiftKey || link.pathname.startsWith("/api/")) return;
  event.preventDefault();
  if (link.href !== location.href) { go(link.href); scrollTo(0, 0); }
});
addEventListener("popstate", show);

document.getElementById("theme").addEventListener("click", () => {
  const dark = document.documentElement.dataset.theme ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem("theme", dark ? "light" : "dark");
});

const button = document.getElementById("queue"), list = document.getElementById("queue-list");
button.addEventListener("click", () => { list.hidden = !list.hidden; button.setAttribute("aria-expanded", String(!list.hidden)); });
document.addEventListener("keydown", (event) => { if (event.key === "Escape") { list.hidden = true; button.setAttribute("aria-expanded", "false"); } });

function queue(state) {
  const alive = state.queue.filter((job) => job.state === "running" || job.state === "waiting");
  const going = state.runs.filter((run) => run.state === "going");
  const parts = [];
  if (alive.length) parts.push(alive[0].state === "running" ? `${alive[0].kind}…` : "starting…");
  if (alive.length > 1) parts.push(`+${alive.length - 1} waiting`);
  if (going.length) parts.push(`training ${going[0].name}`);
  button.textContent = parts.join(", ") || (state.hardware ? "idle" : "loading…");
  put(list, h("p", { class: "soft" }, state.hardware ? `Computes on ${state.hardware}, one job at a time.` : "The process that computes is starting."),
    h("ul", {}, state.queue.map((job) => h("li", {}, h("span", {}, `${job.kind} ${job.run}`), h("span", { class: "row" }, h("small", {}, job.state === "done" ? duration(job.seconds) : job.state), ["running", "waiting"].includes(job.state) ? h("button", { type: "button", class: "quiet small", onclick: () => stop(job.number).catch((e) => notice(e.message)) }, "Cancel") : null)))),
    going.length ? h("p", { class: "soft" }, `${going[0].name} is being trained; it waits while a job runs.`) : null);
}

let failing = false;
async function poll() {
  try {
    studio.state = await get("/api/state");
    failing = false;
    queue(studio.state);
    for (const hear of listeners) hear(studio.state);
  } catch (error) {
    if (!failing) notice(error.message);
    failing = true;
  }
}

async function polling() {
  if (!document.hidden) await poll();
  setTimeout(polling, failing ? 3000 : 1000);
}

show();
polling();
