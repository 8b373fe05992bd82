// A job from a button: begun, followed frame by frame, stopped; its progress bar and its words.

import { frames, post, stop } from "./api.js";
import { duration, h, notice } from "./dom.js";

// start(values): resolves when the job is over, with its last frame's header; `heard(frame)` gets every other one.
export function runner(label, kind, { values, heard, total } = {}) {
  const go = h("button", { type: "button", onclick: () => start() }, label);
  const halt = h("button", { type: "button", class: "quiet", hidden: true, onclick: () => job && stop(job).catch(() => {}) }, "Stop");
  const bar = h("progress", { class: "idle", max: 1, value: 0, "aria-label": label });
  const words = h("small", { role: "status" });
  let job = 0, closed = false;
  async function start() {
    if (go.disabled) return null;
    go.disabled = true;
    halt.hidden = false;
    bar.className = "";
    bar.value = 0;
    words.textContent = "waiting…";
    try {
      job = (await post(`/api/jobs/${kind}`, values())).number;
      let seen = 0, all = 0, last = null;
      for await (const frame of frames(job)) {
        if (closed) return null;
        const header = frame.header;
        if (header.kind === "over") { last = header; break; }
        if (header.kind === "start") { all = header.total ?? 0; words.textContent = ""; }
        else seen += 1;
        const share = total ? total(header, all) : all ? seen / all : 0;
        bar.value = Math.min(1, share || 0);
        heard(frame);
      }
      if (last?.state === "failed") { words.textContent = last.words; words.className = "error"; notice(last.words); }
      else { words.className = ""; words.textContent = last?.state === "cancelled" ? "stopped" : `done in ${duration(last?.seconds)}`; }
      return last;
    } catch (error) {
      words.className = "error";
      words.textContent = error.message;
      return null;
    } finally {
      go.disabled = false;
      halt.hidden = true;
      bar.className = "idle";
      job = 0;
    }
  }
  return { box: h("div", {}, h("div", { class: "row" }, go, halt, words), bar), start, close() { closed = true; if (job) stop(job).catch(() => {}); } };
}
