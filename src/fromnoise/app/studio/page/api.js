// The server's addresses. What goes wrong is an Error whose message is a sentence for the page.

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

// The frames of a job as they come, from one on; ends with the job. Every frame: { header, arrays }.
export async function* frames(number, from = 0, signal = undefined) {
  const answer = await reached(fetch(`/api/jobs/${number}/frames?from=${from}`, { signal }));
  if (!answer.ok) throw await said(answer);
  const reader = answer.body.getReader();
  let held = new Uint8Array(0);
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      held = joined(held, value);
      while (held.length >= 4) {
        const length = new DataView(held.buffer, held.byteOffset).getUint32(0, true) + 4;
        if (held.length < length) break;
        yield unpacked(held.slice(0, length).buffer);
        held = held.subarray(length);
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function joined(a, b) {
  if (!a.length) return b;
  const whole = new Uint8Array(a.length + b.length);
  whole.set(a);
  whole.set(b, a.length);
  return whole;
}

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
    throw new Error("the studio does not answer: is its command still running?");
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
