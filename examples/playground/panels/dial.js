/* dial.js - panel 5: how much of ΔW is added, and what it does to the chosen digits and others. */
"use strict";

function dialPanel() {
  const slider = byId("dial-slider"), picture = byId("dial-curve");
  let waiting = false;
  slider.oninput = () => {
    state.dial = Number(slider.value);
    touch("dialMark");
    if (waiting) return;
    waiting = true; /* the newest value counts when the engine is free */
    act("dial", async () => {
      waiting = false;
      await setScale(state.dial);
    });
  };
  /* The curve is another handle of the slider. */
  picture.onpointerdown = picture.onpointermove = e => {
    if (!e.buttons || slider.disabled) return;
    const box = picture.getBoundingClientRect();
    slider.value = 2 * (e.clientX - box.left - THUMB) / (box.width - 2 * THUMB);
    slider.oninput();
  };
  onChange("busy lora", () => {
    slider.disabled = !live.attached || Boolean(state.merged) || !state.on;
  });
  onChange("busy lora loraScore curve dialMark settings", () => {
    const c = live.curve, off = !state.on, dial = off ? 0 : state.dial;
    byId("dial").classList.toggle("off", off);
    slider.value = dial;
    setText(byId("dial-chosen-name"), nameOf(digitsOf(state)));
    showCode("dial", fill(CODE.dial, { dial: state.dial }), state.dial !== 1);
    if (!c) return;
    const [chosen, others] = [[c.chosen, isChosen], [c.others, d => !isChosen(d)]]
      .map(([values, wanted]) => rightAt(c, values, wanted, dial));
    const best = state.lsteps && !live.training ? bestDial(c) : null;
    const text = dialText(c, dial, best);
    setText(byId("dial-chosen"), percentOr(chosen));
    setText(byId("dial-others"), percentOr(others));
    setText(byId("dial-readout"), text);
    slider.setAttribute("aria-valuetext", `${text} ${percentOr(chosen)}, ${percentOr(others)}`);
    picture.setAttribute("aria-label", say("dialCurve", { dial, chosen: percentOr(chosen),
      others: percentOr(others), chosenName: nameOf(digitsOf(state)) }));
    dialCurve(picture, c, { dial, chosen, others, best, off });
  });
}

function dialText(c, dial, best) {
  if (!state.on) return say("dialOff");
  if (state.merged) return say("dialMerged", { dial });
  const zero = say(c.zeroEqualsBase ? "dialZero" : "dialNotZero");
  const here = dial === 0 ? zero : say("dialAt", { dial, zero });
  return best === null ? here : `${here} ${say("dialBest", { dial: best })}`;
}

/* The part of right answers: as measured, or from the curve while the dial moves. */
function rightAt(c, values, wanted, dial) {
  return live.loraScore?.dial === dial ? rightOf(live.loraScore, wanted)
    : valueAt(c.scale, values, dial);
}

/* Where the mean of both curves is highest; null without others. */
function bestDial(c) {
  const means = [...c.chosen].map((v, i) => v + c.others[i]), highest = Math.max(...means);
  return isNaN(highest) ? null : Number(c.scale[means.indexOf(highest)].toFixed(2));
}

const percentOr = x => isNaN(x) ? say("none") : percent(x);

/* The value of a curve between two of its points. */
function valueAt(xs, ys, x) {
  let i = 1;
  while (i < xs.length - 1 && xs[i] < x) i++;
  const part = (x - xs[i - 1]) / (xs[i] - xs[i - 1]);
  return ys[i - 1] + part * (ys[i] - ys[i - 1]);
}

const THUMB = 8; /* the ends of x stand over the ends of the slider's thumb */

/* at: { dial, chosen, others: where the marks are, best, off }. */
function dialCurve(canvas, c, at) {
  const p = begin(canvas);
  if (!p) return;
  const top = 18, bottom = p.height - 20;
  const x = v => THUMB + (p.width - 2 * THUMB) * v / 2;
  const y = v => bottom - (bottom - top) * v;
  for (const v of [0, 0.25, 0.5, 0.75, 1])
    polyline(p.c, [[0, y(v)], [p.width, y(v)]], color("line"), 1);
  p.c.fillStyle = color("soft");
  p.c.textBaseline = "top";
  for (const v of [0, 0.5, 1, 1.5, 2]) {
    p.c.textAlign = v === 0 ? "left" : v === 2 ? "right" : "center";
    p.c.fillText(String(v), v === 0 ? 2 : v === 2 ? p.width - 2 : x(v), bottom + 5);
  }
  p.c.textBaseline = "bottom";
  if (at.best !== null) {
    polyline(p.c, [[x(at.best), top], [x(at.best), bottom]], color("good"), 1.5);
    p.c.fillStyle = color("good");
    p.c.textAlign = at.best < 0.1 ? "left" : "center";
    p.c.fillText(say("best"), at.best < 0.1 ? 2 : x(at.best), top - 2);
  }
  polyline(p.c, [[x(at.dial), top], [x(at.dial), bottom]], color("soft"), 1.5);
  p.c.globalAlpha = at.off ? 0.3 : 1;
  for (const [values, ink] of [[c.others, "soft"], [c.chosen, "lora"]]) {
    const known = [...values].map((v, i) => [x(c.scale[i]), y(v)]).filter(q => !isNaN(q[1]));
    polyline(p.c, known, color(ink), 3);
  }
  p.c.globalAlpha = 1;
  for (const [here, ink] of [[at.others, "soft"], [at.chosen, "lora"]]) {
    if (isNaN(here)) continue;
    p.c.beginPath();
    p.c.arc(x(at.dial), y(here), 6, 0, 7);
    p.c.fillStyle = color(at.off ? "edge" : ink);
    p.c.fill();
    p.c.strokeStyle = color("card");
    p.c.stroke();
  }
  /* Above the curves, on paper, so that no line runs through them. */
  p.c.textAlign = "right";
  p.c.textBaseline = "middle";
  for (const v of [0.25, 0.5, 0.75, 1]) {
    const text = say("percent", { value: 100 * v }), width = p.c.measureText(text).width;
    p.c.fillStyle = color("card");
    p.c.fillRect(p.width - width - 6, y(v) - 8, width + 6, 16);
    p.c.fillStyle = color("soft");
    p.c.fillText(text, p.width - 2, y(v));
  }
}
