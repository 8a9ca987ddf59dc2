/* page_view.js - uses the playground and writes a line for each finding: "ok: …", "problem: …",
 * "code NAME: line" for the C lines that it shows, "source NAME: line" and "output NAME: line" for
 * the exercises, and "the end". */
"use strict";

/* The load event, and with it chromium's dump, waits until this document is closed. */
const hold = window.frames.hold.document;
hold.open();

const lines = [];
const report = (good, text) => lines.push(`${good ? "ok" : "problem"}: ${text}`);

/* The page's own `const` and `let` are not properties of its window. */
const inPage = (view, code) => view.eval(code);
const get = (view, id) => view.document.getElementById(id);
const pause = ms => new Promise(done => setTimeout(done, ms));

async function until(condition, text) {
  for (let i = 0; i < 1200; i++) {
    if (condition()) return;
    await pause(100);
  }
  throw new Error(`this did not happen: ${text}`);
}

async function loaded(frame) {
  const root = () => frame.contentDocument?.documentElement;
  await until(() => root()?.dataset.ready === "yes", `${frame.name} is ready`);
  return frame.contentWindow;
}

const idle = view => until(() => inPage(view, "live.busy") === "", "the page is idle");
const hashOf = async view => (await inPage(view, 'ask("state.check")')).hash;
/* A frame draws what was touched. */
const drawn = view => new Promise(done => view.requestAnimationFrame(() =>
  view.requestAnimationFrame(done)));

/* ---- before the first step ---- */

async function lookAtStart(view) {
  report(get(view, "lora-train").disabled && /base first/.test(get(view, "lora-note").textContent),
    "LoRA waits for the base, and says so");
  report(await inPage(view, "engine.then(e => JSON.stringify(e.info.layers) === " +
    "JSON.stringify(live.layers))"), "the page knows the layers of the engine");
  get(view, "pad-clear").click();
  await drawn(view);
  report(get(view, "answer-base").textContent === "–" &&
    !/\d %/.test(get(view, "answers").textContent), "an empty pad has no answers");
  get(view, "digits").children[9].click();
  await drawn(view);
  report(/at least one digit/.test(inPage(view, "live.notes.lora")), "one digit is left");
}

/* ---- the tour ---- */

async function takeTour(view) {
  get(view, "tour-open").click();
  const results = [];
  for (let step = 1; step <= 10; step++) {
    const panel = view.document.querySelector(".panel.shown");
    report(panel, `step ${step} shows a panel`);
    await until(() => !get(view, "tour-do").disabled, `step ${step} can be done`);
    if (step === 4) { /* Next does what was not done */
      get(view, "tour-next").click();
      await until(() => inPage(view, "state.tour") === 5, "Next goes on");
      report(inPage(view, "state.alpha") === 4, "Next does the step first");
      results.push(get(view, "tour-before").textContent);
      continue;
    }
    get(view, "tour-do").click();
    await until(() => get(view, "tour-result").textContent, `step ${step} has a result`);
    await until(() => !get(view, "tour-next").disabled, `step ${step} has ended`);
    results.push(get(view, "tour-result").textContent);
    if (step === 5) report(/1,178/.test(results[4]), "rank 1 trains 1,178 numbers");
    if (step === 2) report(/^The base (says [^9]|gets no nine)/.test(results[1]),
      `a nine that the base gets wrong: ${results[1]}`);
    if (step === 6) await lookAtTraining(view);
    if (step === 7) await lookAtDial(view);
    if (step < 10) get(view, "tour-next").click();
  }
  report(/is 0\./.test(results[2]), `B = 0 changes nothing: ${results[2]}`);
  report(/is still 0\./.test(results[3]), `nor does alpha: ${results[3]}`);
  report(/is 0\./.test(results[9]), `switched off, it is the base: ${results[9]}`);
  await lookAtOff(view);
  report(results.every(r => !/NaN|undefined|\{/.test(r)), "every result has its values");
  return results;
}

async function lookAtTraining(view) {
  await drawn(view);
  report(inPage(view, "live.curve.zeroEqualsBase"), "the dial at 0 is the base bit for bit");
  const [chosen, others] = [inPage(view, "rightOf(live.loraScore, isChosen)"),
    inPage(view, "rightOf(live.loraScore, d => !isChosen(d))")];
  const before = inPage(view, "rightOf(live.baseScore, isChosen)");
  report(chosen > before && others < chosen, "nines gain, others pay");
  report(get(view, "fixed").children.length > 0, "some pictures are fixed");
  report(get(view, "broken").children.length > 0, "some pictures are broken");
  report(!get(view, "moved").hidden, "the change of A is a picture");
}

async function lookAtDial(view) {
  await drawn(view);
  report(inPage(view, "state.dial === bestDial(live.curve)"), "the dial is at its best place");
  for (const group of ["chosen", "others"])
    report(get(view, `dial-${group}`).textContent === get(view, `lora-${group}`).textContent,
      `panels 2 and 5 have one number for ${group}`);
}

async function lookAtOff(view) {
  await drawn(view);
  report(get(view, "dial").classList.contains("off") && get(view, "dial-slider").disabled &&
    /off/.test(get(view, "dial-readout").textContent), "while LoRA is off, the dial is grey");
  report(/false/.test(view.document.querySelector("pre[data-code=merge]").textContent),
    "while LoRA is off, the C lines say so");
  report([...view.document.querySelectorAll(".turn-on")].every(b => !b.hidden),
    "while LoRA is off, panels 2 and 3 offer to turn it on");
}

/* ---- drawing ---- */

/* A ring and a tail, by a pointer. */
async function drawNine(view) {
  const pad = get(view, "pad");
  pad.setPointerCapture = () => {}; /* the pointer is not a real one */
  get(view, "pad-clear").click();
  await drawn(view);
  const box = pad.getBoundingClientRect(), points = [];
  for (let a = 0; a <= 24; a++) {
    const angle = -a / 24 * 2 * Math.PI;
    points.push([13 + 4.5 * Math.cos(angle), 10 + 4.5 * Math.sin(angle)]);
  }
  points.push([17, 15], [16, 20], [15, 23]);
  const send = (type, [x, y]) => pad.dispatchEvent(new view.PointerEvent(type, { bubbles: true,
    clientX: box.left + x * box.width / 28, clientY: box.top + y * box.height / 28 }));
  send("pointerdown", points[0]);
  for (const p of points) send("pointermove", p);
  send("pointerup", points.at(-1));
  await pause(1000);
  await idle(view);
  const said = inPage(view, "padText()");
  report(/^The base says 9/.test(said), `a drawn nine is classified: ${said}`);
}

/* ---- keyboard ---- */

async function useKeys(view) {
  const map = get(view, "matrix-d"), press = (e, key) => e.dispatchEvent(
    new view.KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
  map.focus();
  press(map, "ArrowRight");
  press(map, "ArrowDown");
  await drawn(view);
  const said = get(view, "matrix-readout").textContent;
  report(/row 2, column 2 = \S+ · .* = /.test(said), `arrow keys read a matrix: ${said}`);
  get(view, "pad-clear").click();
  await drawn(view);
  for (const key of [" ", "ArrowDown", "ArrowDown"]) press(get(view, "pad"), key);
  report(inPage(view, "pad.pixels.some(v => v > 0.9)"), "arrow keys and space draw");
  const nameless = [...view.document.querySelectorAll("button, input, select, [tabindex]")]
    .filter(e => !e.closest("[hidden]") && !e.textContent.trim() && !e.labels?.length &&
      !e.getAttribute("aria-label"));
  report(!nameless.length, `every control has a name ${nameless.map(e => e.outerHTML)}`);
}

/* ---- looks: width and contrast (contrast.js) ---- */

function lookAtColors(view) {
  let seen = 0, pale = 0;
  for (const e of view.document.body.querySelectorAll("*:not(script):not(style)")) {
    const writes = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
    if (!writes || !e.getClientRects().length) continue;
    const ink = view.getComputedStyle(e).color, c = contrast(ink, paperOf(view, e));
    seen++;
    if (c >= 4.5) continue;
    pale++;
    report(false, `"${e.textContent.trim().slice(0, 30)}" has contrast ${c.toFixed(2)}`);
  }
  report(seen > 100 && !pale, `${seen > 100 ? "all" : "few"} texts have contrast 4.5 or more`);
}

function lookAtWidth(view, name) {
  const root = view.document.documentElement;
  report(root.scrollWidth <= root.clientWidth,
    `${name}: the page is ${root.scrollWidth} px wide in ${root.clientWidth}`);
  for (const e of view.document.body.querySelectorAll("*")) {
    const box = e.getBoundingClientRect();
    if (e.closest("pre, .unseen, svg") || box.width === 0) continue;
    if (box.left < -0.5 || box.right > root.clientWidth + 0.5)
      report(false, `${name}: ${e.tagName} ${e.id} reaches from ${box.left} to ${box.right}`);
  }
}

function lookAtRequests(view, name) {
  const requests = view.performance.getEntriesByType("resource").map(r => r.name)
    .filter(r => !/^(blob|data):/.test(r));
  report(!requests.length, `${name}: no request ${requests}`);
}

/* ---- the exercises ---- */

async function runExercises(view) {
  const all = [...view.document.querySelectorAll(".exercise")];
  report(all.length === 6, `there are ${all.length} exercises`);
  const ended = () => all.every(one => /status/.test(one.querySelector("output").textContent));
  await until(ended, "the exercises run when their tab opens");
  for (const one of all) {
    const [source, output] = one.querySelectorAll("pre");
    const name = one.querySelector("h2").textContent.match(/(ex\w+)\.c/)[1];
    const said = one.querySelector("output").textContent;
    report(/status 0 /.test(said), `${name}: ${said}`);
    for (const [kind, pre] of [["source", source], ["output", output]])
      for (const line of pre.textContent.split("\n").slice(0, -1))
        lines.push(`${kind} ${name}: ${line}`);
  }
  const first = all[0].querySelector("output"), button = all[0].querySelector("button");
  button.click();
  await until(() => /^Run 2: /.test(first.textContent), "an exercise runs again");
}

/* ---- all of it ---- */

function collectCode(view) {
  for (const pre of view.document.querySelectorAll("pre[data-code]"))
    for (const line of pre.textContent.split("\n"))
      lines.push(`code ${pre.dataset.code}: ${line}`);
  for (const state of ["on", "merged"]) /* panel 7 shows one state of three */
    for (const line of inPage(view, `CODE.${state}`).split("\n"))
      lines.push(`code merge: ${line}`);
}

async function look() {
  const view = await loaded(document.querySelector("[name=desktop]"));
  lookAtWidth(view, "desktop, untrained");
  await lookAtStart(view);
  await takeTour(view);
  await drawNine(view);
  await useKeys(view);
  await drawn(view);
  lookAtColors(view);
  lookAtWidth(view, "desktop");
  collectCode(view);
  get(view, "tour-next").click();
  report(get(view, "tour").hidden, "the tour ends behind its last step");
  await pause(300); /* the address follows */
  await idle(view);
  report(inPage(view, "state.on") === 1, "LoRA is on again behind the tour");
  await pause(300);

  const address = view.location.href, hash = await hashOf(view);
  report(/steps=600/.test(address) && /rank=4/.test(address), `the address has the state`);
  const phone = document.createElement("iframe");
  Object.assign(phone, { name: "phone", src: address, width: 390, height: 844 });
  document.body.append(phone);
  const small = await loaded(phone);
  report(await hashOf(small) === hash, "a copied link has the same bits");
  await drawn(small);
  lookAtWidth(small, "phone");
  get(small, "tour-open").click();
  await drawn(small);
  lookAtWidth(small, "phone, tour");
  lookAtColors(small);
  get(small, "tab-exercises").click();
  await drawn(small);
  lookAtWidth(small, "phone, exercises");
  await runExercises(small);
  report(await hashOf(small) === hash, "the exercises leave the network's bits alone");
  report(!get(small, "exercises").hidden && get(small, "play").hidden, "the tab shows exercises");
  lookAtRequests(view, "desktop");
  lookAtRequests(small, "phone");
  for (const w of [view, small])
    report(get(w, "alert").hidden, `no error is shown ${get(w, "alert").textContent}`);
}

look().catch(error => report(false, error.stack)).finally(() => {
  lines.push(`scheme: ${matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"}`);
  lines.push("the end");
  document.getElementById("lines").textContent = lines.join("\n") + "\n";
  hold.close();
});
