// worker.js - runs in a worker of the page: makes the module and obeys messages.
//
// A message is {id, cmd, …}; its answer {id, ok: true, …} or {id, ok: false, error}. The first
// one is {cmd: "init", wasm: ArrayBuffer, seed}. Each command is a function of `commands`.
"use strict";

const LAYERS = 3;
const CLASSES = 10;
const PIXELS = 784;
const TESTS = 1000;
let pg = null; // the exported functions

// ---- the module

// The little of WASI that the C library asks for: there are no files and no environment. The
// text that an exercise prints, on standard output or error, is collected.
const EBADF = 8;
let printed = []; // parts of bytes
function write(fd, parts, count, written) {
  if (fd !== 1 && fd !== 2) return EBADF;
  const memory = new DataView(pg.memory.buffer);
  let total = 0;
  for (let at = parts; at < parts + 8 * count; at += 8) {
    const length = memory.getUint32(at + 4, true);
    printed.push(new Uint8Array(pg.memory.buffer, memory.getUint32(at, true), length).slice());
    total += length;
  }
  memory.setUint32(written, total, true);
  return 0;
}
const wasi = {
  environ_sizes_get(count, size) {
    new DataView(pg.memory.buffer).setUint32(count, 0, true);
    new DataView(pg.memory.buffer).setUint32(size, 0, true);
    return 0;
  },
  environ_get: () => 0,
  fd_write: write,
  fd_fdstat_get: () => EBADF,
  fd_close: () => EBADF,
  fd_seek: () => EBADF,
  proc_exit(code) {
    throw new Error(`the module has ended itself with ${code}`);
  },
};

async function load(wasm) {
  const { instance } = await WebAssembly.instantiate(wasm, { wasi_snapshot_preview1: wasi });
  pg = instance.exports;
  pg._initialize();
}

// The memory may have grown since the last call, so every view is a new one.
const floats = (address, count) => new Float32Array(pg.memory.buffer, address, count);
const ints = (address, count) => Array.from(new Int32Array(pg.memory.buffer, address, count));
const values = (count, start = 0) => floats(pg.pg_values() + 4 * start, count).slice();

function text(address) {
  const bytes = new Uint8Array(pg.memory.buffer, address);
  return new TextDecoder().decode(bytes.slice(0, bytes.indexOf(0)));
}

// A negative result is a failure.
function must(result) {
  if (result < 0) throw new Error(text(pg.pg_error()));
  return result;
}

function setFlags(flags) {
  new Uint8Array(pg.memory.buffer, pg.pg_flags(), flags.length).set(flags.map(Number));
}

// ---- commands

let digits = Array(CLASSES).fill(false); // those that LoRA was trained with last

function evaluate() {
  const right = must(pg.pg_evaluate());
  return {
    accuracy: right / TESTS,
    wrong: ints(pg.pg_wrong(), CLASSES),
    counts: ints(pg.pg_counts(), CLASSES),
  };
}

function predictWith(predict, pixels) {
  floats(pg.pg_values(), PIXELS).set(pixels);
  must(predict());
  return Array.from(values(CLASSES));
}

function loraOf(layer) {
  const rank = pg.pg_rank(layer);
  if (rank === 0) throw new Error(`layer ${layer + 1} has no LoRA`);
  return rank;
}

const vectors = (count, length, start) =>
  Array.from({ length: count }, (_, k) => values(length, start + k * length));

const commands = {
  async init({ wasm, seed }) {
    if (wasm) await load(wasm);
    const parameters = must(pg.pg_init(seed));
    const layers = Array.from({ length: LAYERS }, (_, i) => ({
      name: `linear${i + 1}`,
      in: pg.pg_columns(i),
      out: pg.pg_rows(i),
    }));
    return { ready: true, trainCount: 5000, testCount: TESTS, layers, parameters };
  },

  "base.train"({ steps, lr }) {
    const step = must(pg.pg_train_base(steps, lr));
    return { step, loss: values(steps) };
  },
  "base.evaluate": evaluate,
  "base.reset"({ seed }) {
    must(pg.pg_reset(seed));
    return {};
  },

  "lora.attach"({ layers, rank, alpha, seed }) {
    setFlags(layers);
    const parameters = must(pg.pg_attach(rank, alpha, seed));
    digits = Array(CLASSES).fill(false);
    return { parameters, percent: (100 * parameters) / pg.pg_base_parameters() };
  },
  "lora.detach"() {
    must(pg.pg_detach());
    return {};
  },
  "lora.train"({ steps, lr, digits: chosen }) {
    digits = chosen;
    setFlags(digits);
    const step = must(pg.pg_train_lora(steps, lr));
    return { step, loss: values(steps) };
  },
  "lora.evaluate"() {
    const score = evaluate();
    must(pg.pg_compare());
    return {
      ...score,
      fixed: ints(pg.pg_fixed(), pg.pg_fixed_count()),
      broken: ints(pg.pg_broken(), pg.pg_broken_count()),
    };
  },

  "lora.matrix"({ layer, what }) {
    const out = pg.pg_rows(layer);
    const inputs = pg.pg_columns(layer);
    const rank = what === "weight" ? 0 : loraOf(layer);
    const rows = what === "A" ? rank : out;
    const columns = what === "B" ? rank : inputs;
    must(pg[`pg_${what}`](layer));
    return { rows, columns, values: values(rows * columns) };
  },
  "lora.singular"({ layer }) {
    const rank = loraOf(layer);
    const rows = pg.pg_rows(layer);
    must(pg.pg_singular(layer));
    return {
      values: values(rank),
      left: vectors(rank, rows, rank),
      right: vectors(rank, pg.pg_columns(layer), rank + rank * rows),
    };
  },

  "lora.dial"({ points, from, to, digits: chosen }) {
    setFlags(chosen || digits);
    const zeroEqualsBase = must(pg.pg_dial(points, from, to)) === 1;
    const dial = values(4 * points);
    const column = (k) => Array.from({ length: points }, (_, i) => dial[4 * i + k]);
    return {
      scale: column(0),
      chosen: column(1),
      others: column(2),
      all: column(3),
      zeroEqualsBase,
    };
  },
  "lora.scale"({ scale }) {
    must(pg.pg_scale(scale));
    return {};
  },
  // The largest difference of a logit of the test images to the base before LoRA: 0 when off.
  "lora.enable"({ on }) {
    must(pg.pg_enable(on));
    return { sameLogits: pg.pg_from_base() };
  },
  // To the logits before the call.
  "lora.merge"({ on }) {
    return { sameLogits: must(pg.pg_merge(on)), fromBase: pg.pg_from_base() };
  },

  predict({ pixels }) {
    return {
      base: predictWith(pg.pg_predict_base, pixels),
      lora: predictWith(pg.pg_predict, pixels),
    };
  },
  "test.image"({ index }) {
    const label = pg.pg_test_image(index);
    if (label < 0) throw new Error(`there is no test image ${index}`);
    return { pixels: values(PIXELS), label };
  },
  // Runs the main of an exercise without arguments.
  async "exercise.run"({ number }) {
    const main = pg[`exercise_${number}`];
    if (!main) throw new Error(`there is no exercise ${number}`);
    printed = [];
    const status = main(1, 0);
    return { output: await new Blob(printed).text(), status };
  },
  "state.check"() {
    return { hash: BigInt.asUintN(64, pg.pg_hash()).toString(16).padStart(16, "0") };
  },
};
commands["state.save"] = commands["state.check"];

// ---- messages

// Typed arrays travel without a copy.
function buffers(answer) {
  return Object.values(answer)
    .flat()
    .filter((item) => ArrayBuffer.isView(item))
    .map((item) => item.buffer);
}

async function obey({ id, cmd, ...fields }) {
  try {
    if (!Object.hasOwn(commands, cmd)) throw new Error(`there is no command ${cmd}`);
    if (!pg && cmd !== "init") throw new Error("the first command is init");
    const answer = await commands[cmd](fields);
    postMessage({ id, ok: true, ...answer }, buffers(answer));
  } catch (error) {
    postMessage({ id, ok: false, error: error.message });
  }
}

onmessage = (event) => obey(event.data);
