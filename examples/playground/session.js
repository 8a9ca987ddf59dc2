/* session.js - what the page knows (state: settings, in the address; live: results of the engine)
 * and what it does. The actions run one after the other; panels draw what `touch` names. */
"use strict";

let state = readState(location.hash);
const live = {
  layers: [],          /* [{ name, in, out }] */
  busy: "start",       /* the action that runs; "" none */
  baseLosses: [], loraLosses: [],
  baseScore: null, loraScore: null, /* { accuracy, wrong, counts, fixed, broken } */
  attached: false, parameters: 0, percentOfBase: 0,
  layer: 2, matrices: null, singular: null, /* of the layer that panel 4 shows */
  curve: null,                              /* of the dial */
  firstA: null, presentA: null, /* A of layer 1: as it was drawn, and as it is */
  fromBase: 0, mergeChange: null,
  predictions: [], /* of fixed and broken images: { index, label, pixels, base, lora } */
};
let engine = null; /* client.js */
let stopping = false;
let queue = Promise.resolve();

const ask = (cmd, fields) => engine.call(cmd, fields);

/* Runs the action behind those that wait; an error is shown and ends the action only. */
function act(name, action) {
  queue = queue.then(async () => {
    live.busy = name;
    stopping = false;
    touch("busy");
    await action();
  }).catch(error => {
    alertWith(say("failed", { message: error.message }));
  }).finally(() => {
    live.busy = "";
    keepState();
    touch("busy");
  });
  return queue;
}

/* A training in progress ends after its present step. */
function stopTraining() { stopping = true; }

let keepTimer = 0;
function keepState() {
  clearTimeout(keepTimer);
  keepTimer = setTimeout(() => history.replaceState(null, "", writeState(state)), 120);
}

/* ---- the base ---- */

async function evaluateBase() {
  live.baseScore = await ask("base.evaluate");
  touch("baseScore", "answers");
}

async function resetBase() {
  await ask("base.reset", { seed: state.seed });
  Object.assign(state, { steps: 0, lsteps: 0 });
  Object.assign(live, { baseLosses: [], loraLosses: [] });
  touch("base");
  await evaluateBase();
  await attach();
}

async function trainBase(steps) {
  const end = Math.min(MOST_STEPS, state.steps + steps);
  live.attached = false; /* the engine drops LoRA: it belongs to the weights of before */
  while (!stopping && state.steps < end) {
    const n = Math.min(10, end - state.steps);
    const { step, loss } = await ask("base.train", { steps: n, lr: state.lr });
    live.baseLosses.push(...loss);
    state.steps = step;
    touch("base");
    if (step % 100 === 0 && step < end) await evaluateBase();
  }
  await evaluateBase();
  await attach();
  announce(say("baseDone", { steps: state.steps, right: percent(live.baseScore.accuracy) }));
}

/* ---- LoRA ---- */

/* Makes a new A and a B of zeros; the training of the old ones is lost. */
async function attach() {
  const { parameters, percent: part } = await ask("lora.attach", {
    layers: layersOf(state), rank: state.rank, alpha: state.alpha, seed: state.seed,
  });
  Object.assign(live, { attached: true, parameters, percentOfBase: part, loraLosses: [],
    fromBase: 0, mergeChange: null });
  Object.assign(state, { lsteps: 0, dial: 1, on: 1, merged: 0 });
  live.firstA = await layerOneA();
  touch("lora");
  await refresh();
}

async function trainLora(steps) {
  await plain();
  const end = Math.min(MOST_STEPS, state.lsteps + steps);
  while (!stopping && state.lsteps < end) {
    const n = Math.min(5, end - state.lsteps);
    const { step, loss } = await ask("lora.train",
      { steps: n, lr: state.llr, digits: digitFlags() });
    live.loraLosses.push(...loss);
    state.lsteps = step;
    touch("lora");
    if (step % 20 === 0) await loadMatrices();
  }
  await refresh();
  announce(say("loraDone", { steps: state.lsteps, name: nameOf(digitsOf(state)),
    chosen: rightText(isChosen), others: rightText(d => !isChosen(d)) }));
}

/* On, apart, and the dial at 1: training needs the whole ΔW. */
async function plain() {
  if (state.merged) await ask("lora.merge", { on: false });
  if (!state.on) await ask("lora.enable", { on: true });
  if (state.dial !== 1) await ask("lora.scale", { scale: 1 });
  Object.assign(state, { merged: 0, on: 1, dial: 1 });
  live.mergeChange = null;
  touch("lora");
}

function digitFlags() {
  return Array.from({ length: 10 }, (_, d) => digitsOf(state).includes(d));
}

/* After a change of the adapter: all that depends on it. */
async function refresh() {
  await loadMatrices();
  live.fromBase = (await ask("lora.enable", { on: Boolean(state.on) })).sameLogits;
  await scoreLora();
  const points = state.lsteps ? 11 : 2; /* without a ΔW the curves are flat */
  live.curve = await ask("lora.dial", { points, from: 0, to: 2, digits: digitFlags() });
  touch("curve");
}

/* After a change of the answers only: dial, on and off, merging. */
async function scoreLora() {
  live.loraScore = await ask("lora.evaluate");
  touch("lora", "loraScore", "answers");
  await loadChanges();
}

async function layerOneA() {
  return layersOf(state)[0] ? ask("lora.matrix", { layer: 0, what: "A" }) : null;
}

async function loadMatrices() {
  live.presentA = await layerOneA();
  const layer = live.layer;
  if (!layersOf(state)[layer]) {
    live.matrices = live.singular = null;
  } else {
    const get = what => ask("lora.matrix", { layer, what });
    const [A, B, delta, singular] = await Promise.all([get("A"), get("B"), get("delta"),
      ask("lora.singular", { layer })]);
    Object.assign(live, { matrices: { A, B, delta }, singular });
  }
  touch("matrices");
}

const MOST_PICTURES = 14;

async function loadChanges() {
  const { fixed, broken } = live.loraScore;
  const chosen = [...fixed.slice(0, MOST_PICTURES), ...broken.slice(0, MOST_PICTURES)];
  live.predictions = await Promise.all(chosen.map(async index => {
    const { pixels, label } = await ask("test.image", { index });
    const { base, lora } = await ask("predict", { pixels });
    return { index, label, pixels, base: best(base), lora: best(lora) };
  }));
  touch("changes");
}

function best(probabilities) { return probabilities.indexOf(Math.max(...probabilities)); }

/* The part of right answers among the digits for which wanted(digit) is true. */
function rightOf(score, wanted) {
  let right = 0, count = 0;
  for (let d = 0; d < 10; d++) {
    if (!wanted(d)) continue;
    right += score.counts[d] - score.wrong[d];
    count += score.counts[d];
  }
  return count ? right / count : NaN;
}
const isChosen = d => digitsOf(state).includes(d);

/* ---- settings ---- */

async function setScale(dial) {
  await ask("lora.scale", { scale: dial });
  live.fromBase = (await ask("lora.enable", { on: Boolean(state.on) })).sameLogits;
  await scoreLora();
}

async function setOn(on) {
  live.fromBase = (await ask("lora.enable", { on })).sameLogits;
  state.on = Number(on);
  await scoreLora();
}

async function setMerged(on) {
  live.mergeChange = (await ask("lora.merge", { on })).sameLogits;
  state.merged = Number(on);
  await scoreLora();
}

/* A setting of LoRA: what was learned with another one does not count any more. */
function changeLora(settings) {
  const steps = state.again ? state.lsteps : 0;
  Object.assign(state, settings);
  touch("settings");
  stopTraining();
  return act("lora", async () => {
    await attach();
    if (steps) await trainLora(Math.min(steps, LORA_STEPS));
  });
}

function changeBase(settings) {
  Object.assign(state, settings);
  touch("settings");
  stopTraining();
  return act("base", resetBase);
}

/* Does again all that the address says. */
function replay(wanted) {
  Object.assign(state, wanted, { steps: 0 });
  touch("settings");
  stopTraining();
  return act("base", async () => {
    await resetBase();
    if (wanted.steps) await trainBase(wanted.steps);
    if (wanted.lsteps) await trainLora(wanted.lsteps);
    if (stopping) return;
    if (wanted.dial !== 1) {
      state.dial = wanted.dial;
      await setScale(wanted.dial);
    }
    if (!wanted.on) await setOn(false);
    if (wanted.merged) await setMerged(true);
  });
}
