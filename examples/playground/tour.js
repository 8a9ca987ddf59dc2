/* tour.js - ten steps through the page. Each belongs to a panel and can be done by a button; the
 * texts are in strings.js. */
"use strict";

const scores = () => ({ chosen: rightText(isChosen), others: rightText(d => !isChosen(d)) });
const difference = () => short(live.fromBase);

/* Shows a test image of a nine that the base takes for another digit. false: there is none, and a
 * nine is shown that the base knows. */
async function takeWrongNine() {
  for (let index = 0; index < 1000; index++) {
    const { pixels, label } = await ask("test.image", { index });
    if (label !== 9 || best((await ask("predict", { pixels })).base) === 9) continue;
    await takeImage(index);
    return true;
  }
  await takeDigit(9, 0);
  return false;
}

/* How large ΔW of layer 1 is: the root of the sum of its squares. */
async function sizeOfDelta() {
  const { values } = await ask("lora.matrix", { layer: 0, what: "delta" });
  return Math.sqrt(values.reduce((sum, v) => sum + v * v, 0));
}

/* A trained base, and LoRA for nines with these settings, trained or not, whatever was before. */
async function prepare(rank, alpha, steps) {
  if (!state.steps) await trainBase(TRAIN_STEPS);
  const wanted = { rank, alpha, digits: "9", layers: "111", llr: 0.001 };
  const same = Object.entries(wanted).every(([k, v]) => state[k] === v);
  if (!same || state.lsteps !== steps) {
    Object.assign(state, wanted);
    touch("settings");
    await attach();
    if (steps) await trainLora(steps);
  }
  await plain();
  await refresh();
}

/* panel: what the step is about; look: what to look at when it is done. run() returns false when
 * the result is `otherwise` of strings.js. */
const TOUR_STEPS = [
  { panel: "base",
    run: async () => { if (!state.steps) await trainBase(TRAIN_STEPS); },
    values: () => ({ base: percent(live.baseScore.accuracy) }) },
  { panel: "draw",
    run: async () => {
      if (!state.steps) await trainBase(TRAIN_STEPS);
      return takeWrongNine();
    },
    values: () => ({ answers: padText() }) },
  { panel: "matrices", run: () => prepare(1, 1, 0), values: () => ({ difference: difference() }) },
  { panel: "lora", look: "scale", run: () => prepare(1, 4, 0),
    values: () => ({ scale: scaleText(state.rank, state.alpha), difference: difference() }) },
  { panel: "lora", look: "parameters", run: () => prepare(1, 1, 0),
    values: () => ({ parameters: parameterText() }) },
  { panel: "matrices", look: "moved",
    run: async () => {
      await prepare(1, 1, LORA_STEPS);
      if (pad.values.label !== 9) await takeWrongNine();
    },
    values: () => ({ ...scores(), answers: padText() }) },
  { panel: "dial",
    run: async () => {
      await prepare(1, 1, LORA_STEPS);
      state.dial = bestDial(live.curve);
      await setScale(state.dial);
    },
    values: () => ({ dial: state.dial, ...scores() }) },
  { panel: "matrices",
    run: async () => {
      await prepare(1, 1, LORA_STEPS);
      const othersBefore = scores().others, size = await sizeOfDelta();
      await prepare(4, 4, LORA_STEPS);
      compared = { othersBefore, growth: (await sizeOfDelta() / size).toFixed(1) };
    },
    values: () => ({ parameters: parameterText(), ...scores(), ...compared, ...bestOfDial() }) },
  { panel: "merge",
    run: async () => {
      if (!state.lsteps) await prepare(1, 1, LORA_STEPS);
      if (!state.on) await setOn(true);
      if (!state.merged) await setMerged(true);
    },
    values: () => ({ difference: short(live.mergeChange ?? 0) }) },
  { panel: "merge",
    run: async () => {
      if (state.merged) await setMerged(false);
      await setOn(false);
    },
    values: () => ({ difference: difference() }) },
];
let compared = null; /* by step 8: rank 1 and rank 4 */
let result = "";     /* of the present step; "": it is not done */

function bestOfDial() {
  const { scale, chosen, others } = live.curve, best = bestDial(live.curve);
  const at = values => percent(valueAt(scale, values, best));
  return { best, bestChosen: at(chosen), bestOthers: at(others) };
}

/* Shows step 1 … 10; 0 closes the tour. `quietly`: the focus stays where it is. `before`: what
 * the step before has found. */
function showTour(step, quietly, before = "") {
  state.tour = step;
  keepState();
  byId("tour").hidden = step === 0;
  document.documentElement.classList.toggle("touring", step > 0);
  for (const p of document.querySelectorAll(".panel"))
    p.classList.toggle("shown", step > 0 && p.id === TOUR_STEPS[step - 1].panel);
  byId("tour-open").hidden = step > 0;
  touch("all");
  if (step === 0) return quietly || byId("tour-open").focus();
  if (state.tab !== "play") showTab("play");
  const { title, text, action } = TOUR[step - 1];
  setText(byId("tour-count"), say("tourCount", { step, count: TOUR.length }));
  byId("tour-progress").firstElementChild.style.transform = `scaleX(${step / TOUR.length})`;
  setText(byId("tour-title"), title);
  setText(byId("tour-text"), text);
  setText(byId("tour-before"), before && say("tourBefore", { step: step - 1, result: before }));
  setText(byId("tour-do"), action);
  showResult("");
  byId("tour-back").disabled = step === 1;
  setText(byId("tour-next"), say(step === TOUR.length ? "tourEnd" : "tourNext"));
  byId(TOUR_STEPS[step - 1].panel).scrollIntoView({ block: "start" });
  if (!quietly) byId("tour-title").focus({ preventScroll: true });
}

/* Once a step is done, the button for the next one is the important one. */
function showResult(text) {
  result = text;
  setText(byId("tour-result"), text);
  byId("tour-do").classList.toggle("primary", !text);
  byId("tour-next").classList.toggle("primary", Boolean(text));
}

function doTourStep() {
  const step = state.tour;
  return act("tour", async () => {
    const { run, values, look } = TOUR_STEPS[step - 1];
    const text = await run() === false ? TOUR[step - 1].otherwise : TOUR[step - 1].result;
    if (state.tour !== step) return;
    showResult(fill(text, values()));
    byId("tour").scrollTop = byId("tour").scrollHeight; /* a phone's sheet is low */
    if (look) byId(look).scrollIntoView({ block: "nearest" });
  });
}

async function turnOnAgain() {
  await setOn(true);
  note("lora", say("turnedOn"));
}

/* Does the step first, since the next one builds on it. The end turns LoRA on again. */
async function nextTourStep() {
  const step = state.tour;
  if (step === TOUR.length) {
    showTour(0);
    if (!state.on) act("switch", turnOnAgain);
    return;
  }
  const done = Boolean(result);
  if (!done) await doTourStep();
  if (state.tour === step && result) showTour(step + 1, false, done ? "" : result);
}

function tourPanel() {
  byId("tour-open").onclick = () => showTour(1);
  byId("tour-close").onclick = () => showTour(0);
  byId("tour-back").onclick = () => showTour(state.tour - 1);
  byId("tour-next").onclick = nextTourStep;
  byId("tour-do").onclick = doTourStep;
  byId("tour").onkeydown = e => { if (e.key === "Escape") showTour(0); };
  onChange("busy", () => {
    for (const id of ["tour-do", "tour-next"]) byId(id).disabled = Boolean(live.busy);
  });
}
