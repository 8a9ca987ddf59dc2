/* dial.js - panel 5: how much of ΔW is added, and what it does to the chosen digits and others. */
"use strict";

function dialPanel() {
  const slider = byId("dial-slider");
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
  onChange("busy lora", () => { slider.disabled = !live.attached || Boolean(state.merged); });
  onChange("lora curve dialMark settings", () => {
    slider.value = state.dial;
    const c = live.curve;
    if (!c) return;
    const at = values => valueAt(c.scale, values, state.dial);
    const chosen = percentOr(at(c.chosen)), others = percentOr(at(c.others));
    const zero = say(c.zeroEqualsBase ? "dialZero" : "dialNotZero");
    const text = state.dial === 0 ? zero : say("dialAt", { dial: state.dial, zero });
    setText(byId("dial-chosen-name"), nameOf(digitsOf(state)));
    setText(byId("dial-chosen"), chosen);
    setText(byId("dial-others"), others);
    setText(byId("dial-readout"), text);
    slider.setAttribute("aria-valuetext", `${text} ${chosen}, ${others}`);
    byId("dial-curve").setAttribute("aria-label", say("dialCurve", { dial: state.dial, chosen,
      others, chosenName: nameOf(digitsOf(state)) }));
    dialCurve(byId("dial-curve"), c, state.dial);
    showCode("dial", fill(CODE.dial, { dial: state.dial }), state.dial !== 1);
  });
}

const percentOr = x => isNaN(x) ? say("none") : percent(x);

/* The value of a curve between two of its points. */
function valueAt(xs, ys, x) {
  let i = 1;
  while (i < xs.length - 1 && xs[i] < x) i++;
  const part = (x - xs[i - 1]) / (xs[i] - xs[i - 1]);
  return ys[i - 1] + part * (ys[i] - ys[i - 1]);
}

/* The ends of x stand over the ends of the slider's thumb. */
function dialCurve(canvas, c, dial) {
  const p = begin(canvas);
  if (!p) return;
  const thumb = 8, bottom = p.height - 20;
  const x = v => thumb + (p.width - 2 * thumb) * v / 2;
  const y = v => bottom - (bottom - 8) * v;
  p.c.textBaseline = "bottom";
  for (const v of [0, 0.25, 0.5, 0.75, 1]) {
    polyline(p.c, [[0, y(v)], [p.width, y(v)]], color("line"), 1);
    p.c.fillStyle = color("soft");
    p.c.textAlign = "right";
    const text = say("percent", { value: 100 * v });
    if (v > 0) p.c.fillText(text, p.width, y(v) + (v === 1 ? 15 : -1));
  }
  p.c.textBaseline = "top";
  for (const v of [0, 0.5, 1, 1.5, 2]) {
    p.c.textAlign = v === 0 ? "left" : v === 2 ? "right" : "center";
    p.c.fillText(String(v), v === 0 ? 2 : v === 2 ? p.width - 2 : x(v), bottom + 5);
  }
  polyline(p.c, [[x(dial), 0], [x(dial), bottom]], color("ink"), 1.5);
  for (const [values, ink] of [[c.others, "base"], [c.chosen, "lora"]]) {
    const known = [...values].map((v, i) => [x(c.scale[i]), y(v)]).filter(q => !isNaN(q[1]));
    polyline(p.c, known, color(ink), 3);
    const here = valueAt(c.scale, values, dial);
    if (isNaN(here)) continue;
    p.c.beginPath();
    p.c.arc(x(dial), y(here), 6, 0, 7);
    p.c.fillStyle = color(ink);
    p.c.fill();
    p.c.strokeStyle = color("card");
    p.c.stroke();
  }
}
