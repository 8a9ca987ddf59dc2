/* url_state.js - all settings in the address: #seed=0&steps=600&rank=4 …, without defaults. A
 * copied link replays: the same seed and the same steps give the same bits. */
"use strict";

const RATES = [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03];
const ALPHAS = [0.25, 0.5, 1, 2, 4, 8, 16];
const TRAIN_STEPS = 600, LORA_STEPS = 100, MOST_STEPS = 6000;

/* Name: [default, read]; read returns undefined for what it cannot accept. */
const whole = (least, most) => text => {
  const n = Number(text);
  return Number.isInteger(n) && n >= least && n <= most ? n : undefined;
};
const oneOf = list => text => list.find(v => v === Number(text));
const SETTINGS = {
  seed: [0, whole(0, 999999)],
  lr: [0.001, oneOf(RATES)],
  steps: [0, whole(0, MOST_STEPS)],
  layers: ["111", text => /^[01]{3}$/.test(text) && text.includes("1") ? text : undefined],
  rank: [1, whole(1, 16)],
  alpha: [1, oneOf(ALPHAS)],
  llr: [0.001, oneOf(RATES)],
  digits: ["9", text => /^\d{1,10}$/.test(text) ? [...new Set(text)].sort().join("") : undefined],
  lsteps: [0, whole(0, MOST_STEPS)],
  dial: [1, text => text !== "" && text >= 0 && text <= 2 ? Number(text) : undefined],
  on: [1, whole(0, 1)],
  merged: [0, whole(0, 1)],
  again: [1, whole(0, 1)],
  tour: [0, whole(0, 10)],
  tab: ["play", text => ["play", "exercises"].find(t => t === text)],
};

function readState(hash) {
  const given = new URLSearchParams(hash.replace(/^#/, ""));
  return Object.fromEntries(Object.entries(SETTINGS).map(([name, [initial, read]]) => {
    const value = given.has(name) ? read(given.get(name)) : undefined;
    return [name, value === undefined ? initial : value];
  }));
}

function writeState(state) {
  const changed = Object.entries(SETTINGS).filter(([name, [initial]]) => state[name] !== initial);
  return "#" + changed.map(([name]) => `${name}=${state[name]}`).join("&");
}

const digitsOf = state => [...state.digits].map(Number);
const layersOf = state => [...state.layers].map(c => c === "1");
