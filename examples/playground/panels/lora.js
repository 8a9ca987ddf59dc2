/* lora.js - panel 2: where LoRA goes, its rank and alpha, the digits it learns, its training. */
"use strict";

function loraPanel() {
  const rank = byId("rank"), alpha = byId("alpha"), rate = byId("llr"), again = byId("again");
  const train = byId("lora-train"), reset = byId("lora-reset");
  for (const lr of RATES) rate.append(element("option", { value: lr, text: lr }));

  const layers = live.layers.map((l, i) => {
    const box = element("input", { type: "checkbox" });
    box.onchange = () => {
      const chosen = layersOf(state);
      chosen[i] = box.checked;
      if (chosen.some(Boolean)) return changeLora({ layers: chosen.map(Number).join("") });
      box.checked = true;
      note("lora", say("oneLayer"));
    };
    byId("layers").append(element("label", {}, box,
      say("layerShape", { number: i + 1, in: l.in, out: l.out })));
    return box;
  });
  const digits = Array.from({ length: 10 }, (_, d) => {
    const button = element("button", { textContent: d });
    button.setAttribute("aria-label", say("digit", { digit: d }));
    button.onclick = () => {
      const chosen = new Set(state.digits);
      if (!chosen.delete(String(d))) chosen.add(String(d));
      if (chosen.size) changeLora({ digits: [...chosen].sort().join("") });
      else note("lora", say("oneDigit"));
    };
    byId("digits").append(button);
    return button;
  });

  for (const text of ALPHAS) byId("alpha-marks").append(element("span", { textContent: text }));
  const showScale = (rank, alpha) => {
    setText(byId("rank-value"), String(rank));
    setText(byId("alpha-value"), String(alpha));
    setText(byId("scale"), scaleText(rank, alpha));
  };
  rank.oninput = alpha.oninput = () => showScale(rank.value, ALPHAS[alpha.value]);
  rank.onchange = () => changeLora({ rank: Number(rank.value) });
  alpha.onchange = () => changeLora({ alpha: ALPHAS[alpha.value] });
  rate.onchange = () => changeLora({ llr: Number(rate.value) });
  again.onchange = () => {
    state.again = Number(again.checked);
    keepState();
  };
  train.onclick = () => live.training === "lora" ? stopTraining()
    : act("lora", () => trainLora(LORA_STEPS));
  reset.onclick = () => {
    stopTraining();
    act("lora", async () => {
      await attach();
      note("lora", say("startsAgain", { lost: say("lostSteps") }));
    });
  };
  for (const button of document.querySelectorAll(".turn-on"))
    button.onclick = () => act("switch", () => setOn(true));

  onChange("busy lora loraScore", () => {
    for (const button of document.querySelectorAll(".turn-on")) {
      button.hidden = Boolean(state.on);
      button.disabled = Boolean(live.busy);
    }
  });
  onChange("busy lora base notes", () => {
    const hint = state.steps || live.busy ? "" : say("baseFirst");
    setText(byId("lora-note"), [live.notes.lora, hint].filter(Boolean).join(" "));
  });
  onChange("busy lora base", () => {
    const training = live.training === "lora" && live.busy !== "tour";
    setText(train, say(training ? "pause" : state.lsteps ? "trainMore" : "loraTrain",
      { steps: LORA_STEPS }));
    train.disabled = Boolean(live.busy && !training) || !live.attached || !state.steps;
    reset.disabled = Boolean(live.busy && !training) || !state.lsteps;
  });
  onChange("settings lora", () => {
    layers.forEach((box, i) => { box.checked = layersOf(state)[i]; });
    digits.forEach((b, d) => b.setAttribute("aria-pressed", isChosen(d)));
    rank.value = state.rank;
    alpha.value = ALPHAS.indexOf(state.alpha);
    alpha.setAttribute("aria-valuetext", state.alpha);
    showScale(state.rank, state.alpha);
    rate.value = state.llr;
    again.checked = Boolean(state.again);
    setText(byId("parameters"), parameterText());
    setText(byId("lora-steps"), thousands(state.lsteps));
    const losses = live.loraLosses, last = losses.length ? losses.at(-1).toFixed(3) : say("none");
    byId("lora-curve").setAttribute("aria-label",
      say("loraCurve", { steps: state.lsteps, loss: last }));
    lossCurve(byId("lora-curve"), losses, "lora", LORA_STEPS);
    showCode("lora", loraCode(), losses.length > 0);
  });
  onChange("loraScore settings", () => {
    setText(byId("lora-chosen-name"), nameOf(digitsOf(state)));
    if (!live.loraScore) return;
    setText(byId("lora-chosen"), rightText(isChosen));
    setText(byId("lora-others"), rightText(d => !isChosen(d)));
  });
}

function scaleText(rank, alpha) {
  return say("scale", { rank, alpha, scale: short(alpha / rank) });
}

function parameterText() {
  if (!live.parameters) return say("none");
  return say("parameters", { count: thousands(live.parameters),
    percent: Number(live.percentOfBase.toPrecision(3)) });
}

function rightText(wanted) {
  const right = rightOf(live.loraScore, wanted);
  return isNaN(right) ? say("none") : percent(right);
}

function loraCode() {
  const names = live.layers.filter((_, i) => layersOf(state)[i]).map(l => l.name);
  const targets = names.length === live.layers.length ? "NULL" : `"${names.join(",")}"`;
  return fill(CODE.lora, { rank: state.rank, alpha: state.alpha, targets, lr: state.llr,
    digits: [...state.digits].join(", "), count: state.digits.length });
}
