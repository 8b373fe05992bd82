// The frame around the pages: navigation, the job queue, light and dark.

import { flush, forget } from "./address.js";
import { get, stop } from "./api.js";
import { duration, h, notice, put, say } from "./dom.js";

const PAGES = { draw: "./pages/draw.js", train: "./pages/train.js", inside: "./pages/inside.js", theory: "./pages/theory.js", edit: "./pages/edit.js", measure: "./pages/measure.js" };
const main = document.getElementById("main");
const listeners = new Set();
export const studio = { start: null, state: null, onstate(f) { listeners.add(f); return () => listeners.delete(f); }, refresh: poll, go, path };

let leave = () => {};
let shown = 0, wanted = 0;

async function show() {
  const mine = ++shown;
  const name = location.pathname.split("/")[1] || "draw";
  for (const link of document.querySelectorAll("#nav a")) link.pathname.slice(1) === name ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
  const current = document.querySelector("#nav a[aria-current]");
  if (current) current.parentElement.scrollLeft = current.offsetLeft - current.parentElement.offsetLeft - 40;
  leave();
  leave = () => {};
  try {
    if (!(name in PAGES)) throw new Error("There is no such page.");
    const page = await import(PAGES[name]);
    studio.start ??= await get("/api/start");
    studio.state ??= studio.start;
    if (mine !== shown) return;
    document.title = `${page.title} – fromnoise studio`;
    const root = h("div", { class: `page page-${name} stack` });
    const held = main.contains(document.activeElement);
    put(main, root);
    if (held) main.focus({ preventScroll: true }); // the focused element is gone
    const left = (await page.show(root, studio)) ?? (() => {});
    if (mine === shown) leave = left;
    else left(); // another page was chosen while this one was being built
  } catch (error) {
    if (mine === shown) put(main, h("div", { class: "card" }, h("p", { class: "error" }, error.message), name in PAGES ? h("button", { type: "button", onclick: show }, "Try again") : h("a", { href: "/draw" }, "To the start page")));
  }
}

// The path of a run, relative to the folder in which the studio was started.
function path(name) {
  return studio.start.base === "." ? name : `${studio.start.base}/${name}`;
}

// Go to another page, or to the same one with other choices.
export async function go(address) {
  flush();
  const mine = ++wanted, name = new URL(address, location.href).pathname.split("/")[1] || "draw";
  if (name in PAGES) await import(PAGES[name]).catch(() => {}); // so that address and page change together
  if (mine !== wanted) return;
  history.pushState(null, "", address);
  scrollTo(0, 0);
  await show();
}

document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[href]");
  if (!link || event.defaultPrevented || link.origin !== location.origin || link.target || link.hasAttribute("download") || event.metaKey || event.ctrlKey || event.shiftKey || link.pathname.startsWith("/api/")) return;
  event.preventDefault();
  flush();
  if (link.href !== location.href) go(link.href);
});
addEventListener("popstate", () => { wanted++; forget(); show(); });

const wishes = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (document.documentElement.dataset.theme ? document.documentElement.dataset.theme === "dark" : wishes.matches);
document.getElementById("theme").addEventListener("click", () => {
  const now = isDark() ? "light" : "dark";
  document.documentElement.dataset.theme = now;
  try { localStorage.setItem("theme", now); } catch { /* the browser allows no storage */ }
  dispatchEvent(new Event("theme")); // canvases are redrawn in its colours
});
wishes.addEventListener("change", () => dispatchEvent(new Event("theme")));

const button = document.getElementById("queue"), list = document.getElementById("queue-list");
function unfold(open) {
  if (!open && list.contains(document.activeElement)) button.focus();
  list.hidden = !open;
  button.setAttribute("aria-expanded", String(open));
}
button.addEventListener("click", () => unfold(list.hidden));
document.addEventListener("keydown", (event) => { if (event.key === "Escape" && !list.hidden) unfold(false); });
document.addEventListener("pointerdown", (event) => { if (!list.hidden && !list.contains(event.target) && !button.contains(event.target)) unfold(false); });

const DOING = { draw: "draw", edit: "edit", measure: "measure", table: "table", blind: "blind test", copies: "copies", forward: "forward process", levels: "errors", bound: "bound", plane: "plane", walks: "walks", identities: "identities" };
let listed = "";
function queue(state) {
  const alive = state.queue.filter((job) => job.state === "running" || job.state === "waiting");
  const going = state.runs.filter((run) => run.state === "going");
  const parts = [];
  if (alive.length) parts.push(alive[0].state === "running" ? `${DOING[alive[0].kind] ?? alive[0].kind}…` : "starting…");
  if (alive.length > 1) parts.push(`+${alive.length - 1} waiting`);
  if (going.length) parts.push(`training ${going[0].name}`);
  say(button, parts.join(", ") || (state.hardware ? "idle" : "loading…"));
  const now = JSON.stringify([state.hardware, state.queue, going[0]?.name]);
  if (now === listed) return; // unchanged: keep the elements, so the focus stays and no click is lost
  listed = now;
  put(list, h("p", { class: "soft" }, state.hardware ? `Computing on ${state.hardware}, one job at a time.` : "The computing process is starting."),
    state.queue.length ? h("ul", {}, state.queue.map((job) => h("li", {}, h("span", {}, `${DOING[job.kind] ?? job.kind}${job.run ? ` of ${job.run}` : ""}`), h("span", { class: "row" }, h("small", {}, job.state === "done" ? duration(job.seconds) : job.state), ["running", "waiting"].includes(job.state) ? h("button", { type: "button", class: "quiet small", onclick: () => stop(job.number).then(poll, (e) => notice(e.message)) }, "Cancel") : null)))) : h("p", {}, "No jobs yet."),
    going.length ? h("p", { class: "soft" }, `${going[0].name} is being trained; training pauses while a job runs.`) : null);
}

let back = null; // set while the server does not answer
async function poll() {
  try {
    studio.state = await get("/api/state");
  } catch (error) {
    back ??= notice(error.message, true);
    say(button, "no answer");
    return;
  }
  back?.();
  back = null;
  queue(studio.state);
  for (const hear of listeners) hear(studio.state);
}

async function polling() {
  try {
    if (!document.hidden) await poll();
  } finally {
    setTimeout(polling, back ? 3000 : 1000);
  }
}

show().then(() => Object.values(PAGES).forEach((page) => import(page).catch(() => {}))); // load the other pages in advance
polling();
