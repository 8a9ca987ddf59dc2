/* tour.js - ten steps through the page. Each belongs to a panel and can be done by a button; the
 * texts are in strings.js. */
"use strict";

const nines = () => ({ chosen: rightText(isChosen), others: rightText(d => !isChosen(d)),
  answers: pad.answers ? padText() : "" });
const difference = () => short(live.fromBase);

/* Shows a test image of the digit that the base takes for another one, if there is one. */
async function takeWrong(digit) {
  for (let index = 0; index < 1000; index++) {
    const { pixels, label } = await ask("test.image", { index });
    if (label === digit && best((await ask("predict", { pixels })).base) !== digit)
      return takeImage(index);
  }
  return takeDigit(digit, 0);
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

const TOUR_STEPS = [
  { panel: "base",
    run: async () => { if (!state.steps) await trainBase(TRAIN_STEPS); },
    values: () => ({ base: percent(live.baseScore.accuracy) }) },
  { panel: "draw",
    run: async () => {
      if (!state.steps) await trainBase(TRAIN_STEPS);
      await takeWrong(9);
    },
    values: () => ({ answers: padText() }) },
  { panel: "lora", run: () => prepare(1, 1, 0), values: () => ({ difference: difference() }) },
  { panel: "lora", run: () => prepare(1, 4, 0),
    values: () => ({ alpha: state.alpha, difference: difference() }) },
  { panel: "lora", run: () => prepare(1, 1, 0), values: () => ({ parameters: parameterText() }) },
  { panel: "matrices", run: () => prepare(1, 1, LORA_STEPS), values: nines },
  { panel: "dial",
    run: async () => {
      await prepare(1, 1, LORA_STEPS);
      state.dial = 0.5;
      await setScale(0.5);
    },
    values: () => ({ dial: state.dial, ...nines() }) },
  { panel: "matrices", run: () => prepare(4, 4, LORA_STEPS),
    values: () => ({ parameters: parameterText(), ...nines() }) },
  { panel: "merge",
    run: async () => {
      if (!state.lsteps) await prepare(1, 1, LORA_STEPS);
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

/* Shows step 1 … 10; 0 closes the tour. `quietly`: the focus stays where it is. */
function showTour(step, quietly) {
  state.tour = step;
  keepState();
  byId("tour").hidden = step === 0;
  document.body.classList.toggle("touring", step > 0);
  for (const p of document.querySelectorAll(".panel"))
    p.classList.toggle("shown", step > 0 && p.id === TOUR_STEPS[step - 1].panel);
  byId("tour-open").hidden = step > 0;
  touch("all");
  if (step === 0) return quietly || byId("tour-open").focus();
  if (state.tab !== "play") showTab("play");
  const { title, text } = TOUR[step - 1];
  setText(byId("tour-count"), say("tourCount", { step, count: TOUR.length }));
  byId("tour-progress").firstElementChild.style.transform = `scaleX(${step / TOUR.length})`;
  setText(byId("tour-title"), title);
  setText(byId("tour-text"), text);
  showResult("");
  byId("tour-back").disabled = step === 1;
  setText(byId("tour-next"), say(step === TOUR.length ? "tourEnd" : "tourNext"));
  byId(TOUR_STEPS[step - 1].panel).scrollIntoView({ block: "start" });
  if (!quietly) byId("tour-title").focus({ preventScroll: true });
}

/* Once a step is done, the button for the next one is the important one. */
function showResult(text) {
  setText(byId("tour-result"), text);
  byId("tour-do").classList.toggle("primary", !text);
  byId("tour-next").classList.toggle("primary", Boolean(text));
}

function doTourStep() {
  const step = state.tour;
  return act("tour", async () => {
    await TOUR_STEPS[step - 1].run();
    if (state.tour === step)
      showResult(fill(TOUR[step - 1].result, TOUR_STEPS[step - 1].values()));
  });
}

function tourPanel() {
  byId("tour-open").onclick = () => showTour(1);
  byId("tour-close").onclick = () => showTour(0);
  byId("tour-back").onclick = () => showTour(state.tour - 1);
  byId("tour-next").onclick = () => showTour(state.tour === TOUR.length ? 0 : state.tour + 1);
  byId("tour-do").onclick = doTourStep;
  byId("tour").onkeydown = e => { if (e.key === "Escape") showTour(0); };
  onChange("busy", () => { byId("tour-do").disabled = Boolean(live.busy); });
}
