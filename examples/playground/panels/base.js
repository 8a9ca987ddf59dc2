/* base.js - panel 1: trains the base network, step by step, with its loss and its errors. */
"use strict";

function basePanel() {
  const hidden = live.layers.slice(0, -1).map(l => l.out).join(" → ");
  setText(document.querySelector("[data-text=baseLead]"), say("baseLead", { hidden }));
  const train = byId("base-train"), step = byId("base-step"), reset = byId("base-reset");
  const seed = byId("seed"), rate = byId("lr");
  for (const lr of RATES.slice(0, 5)) rate.append(element("option", { value: lr, text: lr }));

  train.onclick = () => live.training === "base" ? stopTraining()
    : act("base", () => trainBase(TRAIN_STEPS));
  step.onclick = () => act("base", () => trainBase(1));
  reset.onclick = () => changeBase({});
  seed.onchange = () => {
    const value = SETTINGS.seed[1](seed.value);
    if (value === undefined) seed.value = state.seed;
    else changeBase({ seed: value });
  };
  rate.onchange = () => changeBase({ lr: Number(rate.value) });

  onChange("busy base", () => {
    const training = live.training === "base" && live.busy !== "tour";
    const full = state.steps >= MOST_STEPS, rest = state.steps ? "trainMore" : "train";
    const preparing = live.busy === "start" && !live.training;
    setText(train, say(training ? "pause" : preparing ? "preparing" : rest,
      { steps: TRAIN_STEPS }));
    train.disabled = Boolean(live.busy && !training) || full && !training;
    step.disabled = Boolean(live.busy) || full;
    reset.disabled = Boolean(live.busy && !training) || !state.steps;
    train.parentElement.setAttribute("aria-busy", training);
  });
  onChange("notes", () => setText(byId("base-note"), live.notes.base));
  onChange("settings", () => {
    seed.value = state.seed;
    rate.value = state.lr;
  });
  onChange("base settings", () => {
    const losses = live.baseLosses, last = losses.length ? losses.at(-1).toFixed(3) : say("none");
    setText(byId("base-steps"), thousands(state.steps));
    setText(byId("base-loss"), last);
    byId("base-curve").setAttribute("aria-label",
      say("baseCurve", { steps: state.steps, loss: last }));
    lossCurve(byId("base-curve"), losses, "base", TRAIN_STEPS);
    showCode("base", fill(CODE.base, { seed: state.seed, lr: state.lr }), losses.length > 0);
  });
  onChange("baseScore", () => {
    const score = live.baseScore;
    if (!score) return;
    setText(byId("base-accuracy"), percent(score.accuracy));
    showColumns(byId("base-errors"), [...score.wrong].map((wrong, digit) => ({
      name: String(digit), chosen: false,
      label: say("errorsOf", { digit, wrong, count: score.counts[digit] }),
      bars: [{ color: "blue", text: wrong, value: wrong / Math.max(20, ...score.wrong) }],
    })));
  });
}
