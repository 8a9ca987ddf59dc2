/* draw.js - panel 3: a digit, drawn or taken from the test set, and both networks' answers. */
"use strict";

const pad = { pixels: new Float32Array(784), label: "empty", values: {}, answers: null };

/* Shows a test image. */
async function takeImage(index) {
  const { pixels, label } = await ask("test.image", { index });
  pad.pixels = Float32Array.from(pixels);
  Object.assign(pad, { label: "taken", values: { index, label } });
  await predictPad();
  announce(padText());
}

/* A test image of the digit; `after`: the search begins behind this index. */
async function takeDigit(digit, after) {
  for (let i = 1; i <= 1000; i++) {
    const index = (after + i) % 1000;
    const { label } = await ask("test.image", { index });
    if (label === digit) return takeImage(index);
  }
}

async function predictPad() {
  touch("pad");
  pad.answers = pad.label === "empty" ? null
    : await ask("predict", { pixels: pad.pixels.slice() });
  touch("padAnswers");
}

function answerText(probabilities) {
  const digit = best(probabilities);
  return say("answer", { digit, percent: (100 * probabilities[digit]).toFixed(0) });
}

function padText() {
  return !pad.answers ? say("empty") : say("answers", { base: answerText(pad.answers.base),
    lora: answerText(pad.answers.lora) });
}

/* Something to see before the first stroke. */
const firstImage = () => takeDigit(digitsOf(state)[0], 0);

/* Adds ink around the segment from a to b (in pixels), softer at its edge. */
function stroke(a, b) {
  const radius = 1.15, dx = b.x - a.x, dy = b.y - a.y, length = dx * dx + dy * dy;
  for (let y = 0; y < 28; y++) {
    for (let x = 0; x < 28; x++) {
      const px = x + 0.5 - a.x, py = y + 0.5 - a.y;
      const along = length ? Math.max(0, Math.min(1, (px * dx + py * dy) / length)) : 0;
      const distance = Math.hypot(px - along * dx, py - along * dy);
      const ink = Math.max(0, Math.min(1, radius + 0.5 - distance));
      const i = 28 * y + x;
      pad.pixels[i] = Math.max(pad.pixels[i], ink);
    }
  }
  Object.assign(pad, { label: "drawn", values: {} });
}

function drawPanel() {
  const canvas = byId("pad");
  let last = null, predicting = false, again = false;
  const pen = { x: 14, y: 14, down: false, shown: false };

  /* One question at a time: a fast hand must not fill the worker's queue. */
  const predict = async () => {
    again = true;
    if (predicting) return;
    predicting = true;
    while (again) {
      again = false;
      await predictPad();
    }
    predicting = false;
  };
  const place = e => {
    const box = canvas.getBoundingClientRect();
    return { x: 28 * (e.clientX - box.left) / box.width,
      y: 28 * (e.clientY - box.top) / box.height };
  };
  canvas.onpointerdown = e => {
    canvas.setPointerCapture(e.pointerId);
    if (pad.label === "taken") pad.pixels.fill(0); /* a drawing begins on empty paper */
    last = place(e);
    stroke(last, last);
    predict();
  };
  canvas.onpointermove = e => {
    if (!last) return;
    const all = e.getCoalescedEvents?.() ?? [];
    for (const one of all.length ? all : [e]) {
      const next = place(one);
      stroke(last, next);
      last = next;
    }
    predict();
  };
  canvas.onpointerup = canvas.onpointercancel = () => {
    last = null;
    announce(padText());
  };
  canvas.onkeydown = e => {
    const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (e.key !== " " && !move[e.key]) return;
    e.preventDefault();
    const from = { x: pen.x, y: pen.y };
    pen.shown = true;
    if (e.key === " ") pen.down = !pen.down;
    else {
      pen.x = Math.max(1, Math.min(27, pen.x + move[e.key][0]));
      pen.y = Math.max(1, Math.min(27, pen.y + move[e.key][1]));
    }
    if (pen.down) stroke(from, pen);
    predict();
  };
  canvas.onblur = () => {
    Object.assign(pen, { down: false, shown: false });
    touch("pad");
  };

  byId("pad-clear").onclick = () => {
    pad.pixels.fill(0);
    Object.assign(pad, { label: "empty", values: {} });
    predict();
  };
  byId("pad-take").onclick = () => takeImage(Math.floor(1000 * Math.random()));
  byId("pad-take-chosen").onclick = () => {
    const digits = digitsOf(state);
    takeDigit(digits[Math.floor(digits.length * Math.random())], pad.values.index ?? 0);
  };

  onChange("settings", () => {
    const text = state.digits.length === 1 ? state.digits : [...state.digits].join(" / ");
    setText(byId("pad-take-chosen"), say("takeChosen", { digit: text }));
  });
  onChange("pad", () => {
    digitPicture(canvas, pad.pixels);
    if (pen.shown) {
      const c = canvas.getContext("2d");
      c.fillStyle = color(pen.down ? "lora" : "base");
      c.fillRect(pen.x - 1, pen.y - 1, 2, 2);
    }
    setText(byId("pad-label"), say(pad.label, pad.values));
  });
  onChange("answers", predict);
  onChange("padAnswers", () => showAnswers(byId("answers")));
  showCode("draw", CODE.draw);
}

/* A row for each digit: two bars, two numbers; dashes for an empty pad. */
function showAnswers(parent) {
  const { base, lora } = pad.answers ?? {}, shown = [[base, "blue"], [lora, "orange"]];
  for (let d = parent.children.length; d < 10; d++)
    parent.append(element("div", {}, element("b", { textContent: d }),
      element("span", {}, ...shown.map(([, className]) => element("i", { className }))),
      ...shown.map(([, className]) => element("small", { className }))));
  for (let d = 0; d < 10; d++) {
    const row = parent.children[d];
    row.className = lora && d === best(lora) ? "best" : "";
    shown.forEach(([values, name]) => {
      row.querySelector(`i.${name}`).style.setProperty("--v", values ? values[d] : 0);
      setText(row.querySelector(`small.${name}`),
        values ? say("percent", { value: (100 * values[d]).toFixed(0) }) : say("none"));
    });
  }
  setText(byId("answer-base"), base ? answerText(base) : say("none"));
  setText(byId("answer-lora"), lora ? answerText(lora) : say("none"));
}
