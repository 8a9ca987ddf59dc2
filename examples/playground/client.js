// client.js - the page's side of worker.js.
//
//     const engine = await startEngine();
//     const { loss } = await engine.call("base.train", { steps: 10, lr: 1e-3 });
//
// The bundle holds the worker's program and the module in two <script type="text/plain">, packed;
// under file:// a worker can be made from text only.
"use strict";

// Unpacks base64 of gzip.
async function unpack(base64) {
  const bytes = Uint8Array.from(atob(base64.trim()), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

// Resolves when the digits are rendered. engine.info is the answer to init; a call that fails
// rejects with an Error whose message is for people.
async function startEngine(seed = 0) {
  const embedded = (id) => unpack(document.getElementById(id).textContent);
  const program = new Blob([await embedded("worker")], { type: "text/javascript" });
  const url = URL.createObjectURL(program);
  const worker = new Worker(url);
  URL.revokeObjectURL(url);
  const waiting = new Map(); // id → [resolve, reject]
  let last = 0;

  worker.onmessage = ({ data: { id, ok, error, ...answer } }) => {
    const [resolve, reject] = waiting.get(id);
    waiting.delete(id);
    if (ok) resolve(answer);
    else reject(new Error(error));
  };
  worker.onerror = (event) => {
    for (const [, reject] of waiting.values()) reject(new Error(event.message));
    waiting.clear();
  };

  function call(cmd, fields = {}, transfer = []) {
    return new Promise((resolve, reject) => {
      const id = ++last;
      waiting.set(id, [resolve, reject]);
      worker.postMessage({ id, cmd, ...fields }, transfer);
    });
  }

  const wasm = await embedded("wasm");
  const info = await call("init", { wasm, seed }, [wasm]);
  return { info, call };
}
