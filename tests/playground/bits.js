// bits.js - for bits.html: the lines of trace.c, from the worker.
"use strict";

const lines = [];
const view = new DataView(new ArrayBuffer(4));

function bits(name, numbers) {
  numbers.forEach((number, i) => {
    view.setFloat32(0, number);
    lines.push(`${name} ${i} ${view.getUint32(0).toString(16).padStart(8, "0")}`);
  });
}

async function trace() {
  const digits = Array.from({ length: 10 }, (_, digit) => digit === 9);
  const start = performance.now();
  const { call } = await startEngine(0);
  const times = [["ready", performance.now() - start]];
  async function timed(name, ...message) {
    const before = performance.now();
    const answer = await call(...message);
    times.push([name, performance.now() - before]);
    return answer;
  }
  async function hash(name) {
    lines.push(`${name} hash ${(await call("state.check")).hash}`);
  }

  bits("base", (await timed("base.train", "base.train", { steps: 300, lr: 1e-3 })).loss);
  await hash("base");
  const score = await call("base.evaluate");
  lines.push(`base right ${Math.round(score.accuracy * 1000)}`);

  await call("lora.attach", { layers: [true, true, true], rank: 3, alpha: 3, seed: 1 });
  const lora = await timed("lora.train", "lora.train", { steps: 100, lr: 1e-3, digits });
  bits("lora", lora.loss);
  await hash("lora");
  const after = await call("lora.evaluate");
  lines.push(`lora right ${Math.round(after.accuracy * 1000)}`);
  lines.push(`lora fixed ${after.fixed.length}`, `lora broken ${after.broken.length}`);

  const dial = await timed("lora.dial", "lora.dial", { points: 16, from: 0, to: 1.5 });
  bits("dial", dial.chosen);
  lines.push(`dial zero ${dial.zeroEqualsBase}`);
  const { pixels } = await call("test.image", { index: 3 });
  const { base, lora: adapted } = await timed("predict", "predict", { pixels });
  bits("probability without", base);
  bits("probability with", adapted);
  const { values, right } = await timed("lora.singular", "lora.singular", { layer: 0 });
  bits("singular", values);
  bits("vector", right[0]);
  bits("delta", (await call("lora.matrix", { layer: 2, what: "delta" })).values);

  for (const [name, ms] of times) lines.push(`time ${name} ${ms.toFixed(1)} ms`);
}

// The browser dumps the page when its load is over; an open document holds that back.
const frame = document.body.appendChild(document.createElement("iframe"));
frame.contentDocument.open();
trace()
  .catch((error) => lines.push(`failed ${error.message}`))
  .then(() => {
    document.getElementById("lines").textContent = lines.join("\n");
    frame.contentDocument.close();
  });
