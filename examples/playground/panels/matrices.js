/* matrices.js - panel 4: A above ΔW, B to its left, as one multiplies them. A cell that is pointed
 * at shows its value and where it comes from. Below them the singular values. */
"use strict";

function matricesPanel() {
  const cursor = { what: null, row: 0, column: 0 };
  const maps = { A: byId("matrix-a"), B: byId("matrix-b"), delta: byId("matrix-d") };

  const buttons = live.layers.map((_, i) => {
    const b = element("button", { textContent: say("layerNumber", { number: i + 1 }) });
    b.onclick = () => {
      live.layer = i;
      cursor.what = null;
      touch("matrices");
      act("look", loadMatrices);
    };
    byId("matrix-layer").append(b);
    return b;
  });

  for (const [what, canvas] of Object.entries(maps)) {
    const point = (row, column) => {
      const m = live.matrices?.[what];
      if (!m) return;
      Object.assign(cursor, { what, row: Math.max(0, Math.min(m.rows - 1, row)),
        column: Math.max(0, Math.min(m.columns - 1, column)) });
      touch("cell");
    };
    canvas.onpointermove = canvas.onpointerdown = e => {
      const box = canvas.getBoundingClientRect(), m = live.matrices?.[what];
      if (m) point(Math.floor(m.rows * (e.clientY - box.top) / box.height),
        Math.floor(m.columns * (e.clientX - box.left) / box.width));
    };
    canvas.onkeydown = e => {
      const move = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
      if (!move[e.key]) return;
      e.preventDefault();
      const here = cursor.what === what ? cursor : { row: 0, column: 0 };
      point(here.row + move[e.key][0], here.column + move[e.key][1]);
      announce(cellText(cursor));
    };
    canvas.onfocus = () => { if (cursor.what !== what) point(0, 0); };
  }

  onChange("matrices cell settings", () => {
    buttons.forEach((b, i) => b.setAttribute("aria-pressed", i === live.layer));
    const m = live.matrices;
    byId("matrices").querySelector(".product").classList.toggle("none", !m);
    if (!m) {
      setText(byId("matrix-readout"), say("noLora"));
      for (const canvas of Object.values(maps)) heatMap(canvas, 1, 1, [0], 0);
      return;
    }
    setText(byId("formula"), say("formula"));
    for (const [what, canvas] of Object.entries(maps)) showMap(canvas, what, m[what], cursor);
    setText(byId("matrix-readout"), cellText(cursor));
  });
  onChange("matrices", () => {
    showSingular();
    showMoved();
  });
  onChange("lora", () => showCode("matrices", CODE.matrices, state.lsteps > 0));
}

const MAP_NAMES = { A: "matrixA", B: "matrixB", delta: "matrixD" };

function showMap(canvas, what, m, cursor) {
  heatMap(canvas, m.rows, m.columns, m.values, largestOf(m.values));
  if (what === "A") canvas.style.height = `${Math.max(2.2, Math.min(7, 0.9 * m.rows))}rem`;
  canvas.setAttribute("aria-label", say(MAP_NAMES[what], m));
  if (!cursor.what) return;
  /* The row and the column that meet in the cell. */
  const c = canvas.getContext("2d");
  c.fillStyle = color("ink");
  c.globalAlpha = 0.28;
  const wide = Math.max(1, Math.round(m.columns / 150));
  const row = cursor.what === "A" ? -1 : cursor.row;
  const column = cursor.what === "B" ? -1 : cursor.column;
  if (what === "A") c.fillRect(column, 0, column < 0 ? 0 : wide, m.rows);
  if (what === "B" && row >= 0) c.fillRect(0, row, m.columns, 1);
  if (what === "delta") {
    if (row >= 0) c.fillRect(0, row, m.columns, 1);
    if (column >= 0) c.fillRect(column, 0, wide, m.rows);
  }
}

function cellText(cursor) {
  const m = live.matrices?.[cursor.what];
  if (!m) {
    const largest = live.matrices ? largestOf(live.matrices.delta.values) : 0;
    return largest > 0 ? say("pointAtIt", { largest: short(largest) }) : say("allZero");
  }
  const key = { A: "cellA", B: "cellB", delta: "cellD" }[cursor.what];
  return say(key, { row: cursor.row, column: cursor.column, scale: short(state.alpha / state.rank),
    value: short(m.values[cursor.row * m.columns + cursor.column]) });
}

/* The bars, and the leading right vector: 784 numbers are a picture, others a strip. */
function showSingular() {
  const s = live.singular, figure = byId("vector");
  figure.hidden = !s || !(s.values[0] > 0);
  /* The rank cuts them off: what follows is zero, and is shown. */
  const values = s ? [...s.values] : [], largest = Math.max(1e-30, ...values);
  if (s) while (values.length < Math.min(10, s.left[0].length)) values.push(0);
  showColumns(byId("singular"), values.map((v, i) => ({
    name: String(i + 1), text: values.length > 10 ? "" : short(Number(v.toPrecision(2))),
    chosen: false, label: say("singularValue", { number: i + 1, value: short(v) }),
    bars: [{ color: "orange", value: v / largest }],
  })));
  if (figure.hidden) return;
  const right = s.right[0], pixels = right.length === 784, picture = figure.firstElementChild;
  heatMap(picture, pixels ? 28 : 1, pixels ? 28 : right.length, right, largestOf(right));
  picture.style.height = pixels ? "7rem" : "2rem";
  setText(figure.lastElementChild,
    say(pixels ? "vectorPixels" : "vectorInputs", { count: right.length }));
}

/* Of layer 1: the row of A that training has changed most, as the change of 784 pixels. */
function showMoved() {
  const figure = byId("moved"), first = live.firstA, now = live.presentA;
  figure.hidden = !first || !now || !state.lsteps;
  if (figure.hidden) return;
  const change = now.values.map((v, i) => v - first.values[i]);
  let most = 0, row = 0;
  for (let r = 0; r < now.rows; r++) {
    const size = change.subarray(784 * r, 784 * (r + 1)).reduce((sum, v) => sum + v * v, 0);
    if (size > most) [most, row] = [size, r];
  }
  const pixels = change.subarray(784 * row, 784 * (row + 1));
  heatMap(figure.firstElementChild, 28, 28, pixels, largestOf(pixels));
  setText(figure.lastElementChild, say("moved", { row }));
}
