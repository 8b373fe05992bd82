// Requests to the server. Failures are Errors whose message is a sentence for the page.

// The URL of a run, whose name may contain any character.
export const of = (run, rest) => `/api/runs/${run.split("/").map(encodeURIComponent).join("/")}/${rest}`;

export async function get(path) {
  return json(await reached(fetch(path)));
}

export async function post(path, values) {
  return json(await reached(fetch(path, { method: "POST", body: JSON.stringify(values ?? {}), headers: { "content-type": "application/json" } })));
}

export async function send(path, content) {
  return json(await reached(fetch(path, { method: "POST", body: content })));
}

export async function stop(number) {
  return json(await reached(fetch(`/api/jobs/${number}`, { method: "DELETE" })));
}

// A question to the worker: { header, arrays by name }.
export async function ask(kind, values) {
  const answer = await reached(fetch(`/api/ask/${kind}`, { method: "POST", body: JSON.stringify(values), headers: { "content-type": "application/json" } }));
  if (!answer.ok) throw await said(answer);
  return unpacked(await answer.arrayBuffer());
}

// The frames of a job as they come, starting at number `from`; ends with the job. Every frame: { header, arrays }.
export async function* frames(number, from = 0, signal = undefined) {
  const answer = await reached(fetch(`/api/jobs/${number}/frames?from=${from}`, { signal }));
  if (!answer.ok) throw await said(answer);
  const reader = answer.body.getReader();
  let parts = [], size = 0, wanted = 4, whole = false; // received parts, joined only when they are enough for a frame
  try {
    for (;;) {
      while (size >= wanted) {
        const held = joined(parts, size);
        wanted = new DataView(held.buffer, held.byteOffset).getUint32(0, true) + 4;
        parts = [held];
        if (size < wanted) break;
        const frame = unpacked(held.slice(0, wanted).buffer);
        whole = frame.header.kind === "over";
        parts = [held.subarray(wanted)];
        size -= wanted;
        wanted = 4;
        yield frame;
      }
      const { done, value } = await reached(reader.read());
      if (done && !whole) throw new Error(SILENT);
      if (done) return;
      parts.push(value);
      size += value.length;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function joined(parts, size) {
  if (parts.length === 1) return parts[0];
  const whole = new Uint8Array(size);
  let at = 0;
  for (const part of parts) { whole.set(part, at); at += part.length; }
  return whole;
}

const SILENT = "The studio does not answer: is its command still running?";
const TYPES = { u1: Uint8Array, f4: Float32Array, i4: Int32Array };

export function unpacked(buffer) {
  const length = new DataView(buffer).getUint32(4, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
  const start = Math.ceil((8 + length) / 8) * 8;
  const arrays = {};
  for (const { name, type, shape, at } of header.arrays) {
    const count = shape.reduce((a, b) => a * b, 1);
    arrays[name] = { data: new TYPES[type](buffer, start + at, count), shape };
  }
  return { header, arrays };
}

async function reached(promise) {
  try {
    return await promise;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error(SILENT);
  }
}

async function json(answer) {
  if (!answer.ok) throw await said(answer);
  return answer.json();
}

async function said(answer) {
  try {
    return new Error((await answer.json()).error);
  } catch {
    return new Error(`the studio answered with status ${answer.status}`);
  }
}
