// A job behind a button: start it, follow its frames, stop it; with a progress bar and a status text.

import { frames, post, stop } from "./api.js";
import { duration, h, notice, working } from "./dom.js";

// start() resolves when the job is over, with the header of its last frame; `heard(frame)` gets all other frames.
// While a job runs, the button is disabled; `again()` stops the job and starts a new one.
export function runner(label, kind, { values, heard, total } = {}) {
  const go = h("button", { type: "button", onclick: () => start() }, label);
  const halt = h("button", { type: "button", class: "quiet", hidden: true, onclick: () => end() }, "Stop");
  const bar = h("progress", { class: "idle", max: 1, value: 0, "aria-label": label });
  const words = h("small", { role: "status" });
  let job = 0, going = null, closed = false, renew = false;
  const end = () => job && stop(job).catch((error) => notice(error.message));

  function start() {
    going ??= run().finally(() => {
      going = null;
      if (renew && !closed) { renew = false; start(); }
    });
    return going;
  }

  async function run() {
    working(true, [go], halt);
    bar.className = "";
    bar.value = 0;
    words.className = "";
    words.textContent = "waiting…";
    try {
      job = (await post(`/api/jobs/${kind}`, values())).number;
      if (closed) { end(); return null; }
      let seen = 0, all = 0, last = null;
      for await (const frame of frames(job)) {
        if (closed) return null;
        const header = frame.header;
        if (header.kind === "over") { last = header; break; }
        if (header.kind === "passed") continue; // a step that is not shown
        if (header.kind === "start") { all = header.total ?? 0; words.textContent = ""; }
        else seen += 1;
        const share = total ? total(header, all) : all ? seen / all : 0;
        bar.value = Math.min(1, share || 0);
        if (!renew) heard(frame);
      }
      words.className = last?.state === "failed" ? "error" : "";
      words.textContent = last?.state === "failed" ? last.words : last?.state === "cancelled" ? "stopped" : `done in ${duration(last?.seconds)}`;
      return last;
    } catch (error) {
      words.className = "error";
      words.textContent = error.message;
      return null;
    } finally {
      working(false, [go], halt);
      bar.className = "idle";
      job = 0;
    }
  }

  return {
    box: h("div", { class: "runner" }, h("div", { class: "row" }, go, halt, words), bar),
    start,
    again() { if (going) { renew = true; end(); } else start(); },
    close() { closed = true; end(); },
  };
}
