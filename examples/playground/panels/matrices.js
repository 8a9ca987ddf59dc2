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
      setText(byId("matrix-readout"), say(live.attached ? "noLora" : "preparing"));
      for (const canvas of Object.values(maps)) heatMap(canvas, 1, 1, [0], 0);
      return;
    }
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
  setText(canvas.previousElementSibling, say(MAP_NAMES[what], m));
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
  const { what, row, column } = cursor, key = { A: "cellA", B: "cellB", delta: "cellD" }[what];
  return say(key, { row: row + 1, column: column + 1, scale: short(state.alpha / state.rank),
    product: what === "delta" ? productText(row, column) : "",
    value: short(m.values[row * m.columns + column]) });
}

const inProduct = x => x < 0 ? `(${short(x)})` : short(x);

/* The numbers of a row of B and a column of A: "0.12 · 0.34", or a sum of such products. */
function productText(row, column) {
  const { A, B } = live.matrices, most = 3;
  const b = k => short(B.values[row * A.rows + k]);
  const a = k => inProduct(A.values[k * A.columns + column]);
  const shown = Array.from({ length: Math.min(most, A.rows) }, (_, k) => `${b(k)} · ${a(k)}`)
    .join(" + ");
  if (A.rows === 1) return shown;
  return A.rows <= most ? `(${shown})` : say("moreProducts", { shown, count: A.rows });
}

/* A picture of numbers beside its caption; no numbers: the caption alone. */
function showFigure(id, numbers, caption) {
  const picture = byId(id).firstElementChild, pixels = numbers?.length === 784;
  picture.hidden = !numbers;
  setText(byId(id).lastElementChild, caption);
  if (!numbers) return;
  heatMap(picture, pixels ? 28 : 1, pixels ? 28 : numbers.length, numbers, largestOf(numbers));
  picture.style.height = pixels ? "6rem" : "2rem";
}

/* The bars, and the leading right vector: 784 numbers are a picture, others a strip. */
function showSingular() {
  const s = live.singular;
  /* The rank cuts them off: what follows is zero, and is shown. */
  const values = s ? [...s.values] : [], largest = Math.max(1e-30, ...values), least = 6;
  const shown = s ? Math.min(Math.max(least, values.length + 1), s.left[0].length) : 0;
  while (values.length < shown) values.push(0);
  showColumns(byId("singular"), values.map((v, i) => ({
    name: String(i + 1), chosen: false,
    label: say("singularValue", { number: i + 1, value: short(v) }),
    bars: [{ color: "orange", value: v / largest,
      text: values.length > least ? "" : short(Number(v.toPrecision(2))) }],
  })));
  setText(byId("singular-note"), say("singularNote", { rank: state.rank }));
  if (!s || !(s.values[0] > 0)) return showFigure("vector", null, say("noVector"));
  const key = s.right[0].length === 784 ? "vectorPixels" : "vectorInputs";
  showFigure("vector", s.right[0], say(key, { count: s.right[0].length }));
}

/* Of layer 1: the row of A that training has changed most, as the change of 784 pixels. Its sign
 * says nothing by itself, since B has one too: the corner, which is paper, shall be negative. */
function showMoved() {
  const first = live.firstA, now = live.presentA;
  if (!first || !now || !state.lsteps) return showFigure("moved", null, say("movedLater"));
  const change = now.values.map((v, i) => v - first.values[i]);
  let most = 0, row = 0;
  for (let r = 0; r < now.rows; r++) {
    const size = change.subarray(784 * r, 784 * (r + 1)).reduce((sum, v) => sum + v * v, 0);
    if (size > most) [most, row] = [size, r];
  }
  const pixels = change.subarray(784 * row, 784 * (row + 1)), sign = pixels[0] > 0 ? -1 : 1;
  showFigure("moved", pixels.map(v => sign * v), say("moved", { row: row + 1 }));
}
