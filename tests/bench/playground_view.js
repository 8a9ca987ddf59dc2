/* playground_view.js - times playground.html, in the same folder, as a reader sees it: until it is
 * ready, 600 steps of the base, 100 of LoRA, and the frames that the browser draws meanwhile. */
"use strict";

/* The load event, and with it chromium's dump, waits until this document is closed. */
const hold = window.frames.hold.document;
hold.open();

const lines = [];
const pause = ms => new Promise(done => setTimeout(done, ms));

/* Runs the page's action; lists when each frame was drawn meanwhile, in ms. */
async function timed(name, view, action) {
  const frames = [];
  let running = true;
  const frame = now => {
    frames.push(now);
    if (running) view.requestAnimationFrame(frame);
  };
  view.requestAnimationFrame(frame);
  const start = performance.now();
  await view.eval(action);
  const ms = performance.now() - start;
  running = false;
  const gaps = frames.slice(1).map((t, i) => t - frames[i]).sort((a, b) => a - b);
  const mean = gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length;
  lines.push(`${name.padEnd(22)} ${ms.toFixed(0).padStart(5)} ms   ` +
    `${(1000 / mean).toFixed(1)} frames a second, the longest of ${gaps.length} took ` +
    `${gaps[gaps.length - 1].toFixed(0)} ms`);
}

async function measure() {
  const start = performance.now(), frame = document.createElement("iframe");
  Object.assign(frame, { src: "playground.html", width: 1280, height: 800 });
  document.body.append(frame);
  while (frame.contentDocument?.documentElement?.dataset.ready !== "yes") await pause(5);
  const ready = performance.now() - start;
  lines.push(`${"ready".padEnd(22)} ${ready.toFixed(0).padStart(5)} ms`);
  const view = frame.contentWindow;
  await pause(500);
  await timed("nothing", view, "new Promise(done => setTimeout(done, 2000))");
  await timed("base, 600 steps", view, 'act("train", () => trainBase(600))');
  await timed("LoRA, 100 steps", view, 'act("lora", () => trainLora(100))');
  await timed("base, 2,400 steps", view, 'act("train", () => trainBase(2400))');
}

measure().catch(error => lines.push(error.stack)).finally(() => {
  document.getElementById("lines").textContent = lines.join("\n") + "\n";
  hold.close();
});
