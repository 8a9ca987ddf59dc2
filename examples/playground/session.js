/* session.js - what the page knows (state: settings, in the address; live: results of the engine)
 * and what it does. The actions run one after the other; panels draw what `touch` names. */
"use strict";

let state = readState(location.hash);
const live = {
  layers: [            /* as in net.c */
    { name: "linear1", in: 784, out: 128 }, { name: "linear2", in: 128, out: 64 },
    { name: "linear3", in: 64, out: 10 },
  ],
  busy: "start",       /* the action that runs; "" none */
  training: "",        /* "base" or "lora" while it makes steps */
  notes: { base: "", lora: "" }, /* what a panel has to say about the last change */
  baseLosses: [], loraLosses: [],
  /* { accuracy, wrong, counts }; of LoRA also { fixed, broken, dial }: what was measured */
  baseScore: null, loraScore: null,
  attached: false, parameters: 0, percentOfBase: 0,
  layer: 2, matrices: null, singular: null, /* of the layer that panel 4 shows */
  curve: null,                              /* of the dial */
  firstA: null, presentA: null, /* A of layer 1: as it was drawn, and as it is */
  fromBase: 0, mergeChange: null,
  predictions: [], /* of fixed and broken images: { index, label, pixels, base, lora } */
};
let engine = null; /* a promise: client.js */
let stopping = false;
let queue = Promise.resolve();

const ask = async (cmd, fields) => (await engine).call(cmd, fields);

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

/* A panel says what else a change has changed. */
function note(panel, ...texts) {
  live.notes[panel] = texts.filter(Boolean).join(" ");
  touch("notes");
}

/* Makes steps until none is left, or until stopTraining. */
async function train(name, unfinished, steps) {
  live.training = name;
  touch("busy");
  try {
    while (!stopping && unfinished()) await steps();
  } finally {
    live.training = "";
    touch("busy");
  }
}

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
  const lost = state.lsteps;
  note("base");
  const end = Math.min(MOST_STEPS, state.steps + steps);
  live.attached = false; /* the engine drops LoRA: it belongs to the weights of before */
  await train("base", () => state.steps < end, async () => {
    const n = Math.min(10, end - state.steps);
    const { step, loss } = await ask("base.train", { steps: n, lr: state.lr });
    live.baseLosses.push(...loss);
    state.steps = step;
    touchOften("base");
    if (step % 100 === 0 && step < end) await evaluateBase();
  });
  touch("base");
  await evaluateBase();
  await attach();
  note("lora", lost && say("startsAgain", { lost: say("lostSteps") }));
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
  await train("lora", () => state.lsteps < end, async () => {
    const n = Math.min(5, end - state.lsteps);
    const { step, loss } = await ask("lora.train",
      { steps: n, lr: state.llr, digits: digitFlags() });
    live.loraLosses.push(...loss);
    state.lsteps = step;
    touchOften("lora");
    if (step % 20 === 0) await loadMatrices();
  });
  touch("lora");
  await refresh();
  announce(say("loraDone", { steps: state.lsteps, name: nameOf(digitsOf(state)),
    chosen: rightText(isChosen), others: rightText(d => !isChosen(d)) }));
}

/* On, apart, and the dial at 1: training needs the whole ΔW. */
async function plain() {
  if (state.merged) await ask("lora.merge", { on: false });
  if (!state.on) await ask("lora.enable", { on: true });
  if (state.dial !== 1) await ask("lora.scale", { scale: 1 });
  note("lora", state.merged && say("tookApart"), !state.on && say("turnedOn"),
    state.dial !== 1 && say("dialBack"));
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
  await measureBase();
  await scoreLora();
  live.curve = await measureCurve();
  touch("curve");
}

/* Without a ΔW the curves are flat; with one they bend near 0. */
async function measureCurve() {
  const part = (points, from, to) => ask("lora.dial", { points, from, to, digits: digitFlags() });
  if (!state.lsteps) return part(2, 0, 2);
  const fine = await part(6, 0, 0.5), coarse = await part(6, 0.75, 2);
  const joined = ["scale", "chosen", "others"].map(k => [k, [...fine[k], ...coarse[k]]]);
  return { ...Object.fromEntries(joined), zeroEqualsBase: fine.zeroEqualsBase };
}

/* The largest difference to the base. */
async function measureBase() {
  live.fromBase = (await ask("lora.enable", { on: Boolean(state.on) })).sameLogits;
}

/* After a change of the answers only: dial, on and off, merging. */
async function scoreLora(dial = state.dial) {
  live.loraScore = { ...await ask("lora.evaluate"), dial: state.on ? dial : 0 };
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
  await measureBase();
  await scoreLora(dial);
}

async function setOn(on) {
  state.on = Number(on);
  await measureBase();
  await scoreLora();
}

async function setMerged(on) {
  live.mergeChange = (await ask("lora.merge", { on })).sameLogits;
  state.merged = Number(on);
  await scoreLora();
}

/* A setting of LoRA: what was learned with another one does not count any more. */
function changeLora(settings) {
  const { lsteps, merged, dial, on } = state, steps = state.again ? lsteps : 0;
  Object.assign(state, settings);
  touch("settings");
  stopTraining();
  return act("lora", async () => {
    await attach();
    if (steps) await trainLora(Math.min(steps, LORA_STEPS));
    const lost = steps ? "lostAndTrained" : lsteps ? "lostSteps" : "lostNothing";
    note("lora", say("startsAgain", { lost: say(lost) }), merged && say("tookApart"),
      !on && say("turnedOn"), dial !== 1 && say("dialBack"));
  });
}

function changeBase(settings) {
  const lost = state.steps;
  Object.assign(state, settings);
  touch("settings");
  stopTraining();
  return act("reset", async () => {
    await resetBase();
    note("base", lost && say("baseAgain", state));
    note("lora");
  });
}

/* Does again all that the address says, without notes. */
function replay(wanted) {
  Object.assign(state, wanted, { steps: 0 });
  touch("settings");
  stopTraining();
  return act("start", async () => {
    await resetBase();
    if (wanted.steps) await trainBase(wanted.steps);
    if (wanted.lsteps) await trainLora(wanted.lsteps);
    note("base");
    note("lora");
    if (stopping) return;
    if (wanted.dial !== 1) {
      state.dial = wanted.dial;
      await setScale(wanted.dial);
    }
    if (!wanted.on) await setOn(false);
    if (wanted.merged) await setMerged(true);
  });
}
