/* plot.js - pictures on a canvas: curves, heat maps, digits. The colours are those of page.css. */
"use strict";

let colorTable = null; /* name → "#rrggbb" */

function color(name) {
  if (!colorTable) {
    const style = getComputedStyle(document.documentElement);
    colorTable = Object.fromEntries(["card", "well", "ink", "soft", "line", "edge", "base",
      "lora", "good", "minus", "plus"].map(n => [n, style.getPropertyValue("--" + n).trim()]));
  }
  return colorTable[name];
}

function rgb(name) {
  return [1, 3, 5].map(i => parseInt(color(name).slice(i, i + 2), 16));
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  colorTable = null;
  touch("all");
});
/* A panel that grows stretches its curve. */
const resized = new ResizeObserver(() => touch("all"));
for (const canvas of document.querySelectorAll(".curve")) resized.observe(canvas);

/* The canvas's context with a pixel per pixel of the screen, cleared; null while it is hidden. */
function begin(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas;
  if (!width) return null;
  const scale = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  const c = canvas.getContext("2d");
  c.setTransform(scale, 0, 0, scale, 0, 0);
  c.clearRect(0, 0, width, height);
  c.font = "12px system-ui, sans-serif";
  return { c, width, height };
}

function polyline(c, points, stroke, lineWidth) {
  c.beginPath();
  points.forEach(([x, y], i) => i ? c.lineTo(x, y) : c.moveTo(x, y));
  c.strokeStyle = stroke;
  c.lineWidth = lineWidth;
  c.lineJoin = "round";
  c.stroke();
}

/* A horizontal line and its label for each tick; y(value) is its height. */
function gridLines(p, ticks, y, left) {
  p.c.textAlign = "right";
  p.c.textBaseline = "middle";
  for (const [value, label] of ticks) {
    polyline(p.c, [[left, y(value)], [p.width, y(value)]], color("line"), 1);
    p.c.fillStyle = color("soft");
    p.c.fillText(label, left - 6, y(value));
  }
}

/* A number from x on that has few digits, and so has its half. */
function roundUp(x) {
  const unit = 10 ** Math.floor(Math.log10(x));
  return Number(([1, 2, 3, 4, 6, 8, 10].find(n => n * unit >= x) * unit).toPrecision(2));
}

/* The losses, pale, and their running mean. More losses than pixels: each stands for several. */
function lossCurve(canvas, losses, ink, room) {
  const p = begin(canvas);
  if (!p) return;
  const left = 38, bottom = p.height - 20, steps = Math.max(room, losses.length);
  const top = roundUp(Math.max(0.001, ...losses.slice(0, 50))); /* of y */
  const y = v => bottom - (bottom - 20) * Math.min(1, v / top);
  const x = i => left + 4 + (p.width - left - 8) * i / steps;
  const ticks = [0, top / 2, top].map(v => [v, short(v)]);
  gridLines(p, losses.length ? ticks : ticks.slice(0, 1), y, left);
  p.c.textBaseline = "top";
  p.c.fillText(say("stepsEnd", { steps: thousands(steps) }), p.width, bottom + 5);
  if (!losses.length) {
    p.c.textAlign = "center";
    p.c.fillText(say("notTrained"), (left + p.width) / 2, (bottom - 20) / 2);
    return;
  }
  p.c.fillText(say("lossLines"), p.width, 0);
  const raw = [], mean = [], stride = Math.ceil(losses.length / p.width);
  let running = losses[0];
  losses.forEach((loss, i) => {
    running += (loss - running) * Math.max(0.05, 1 / (i + 1));
    if (i % stride && i + 1 < losses.length) return;
    raw.push([x(i), y(loss)]);
    mean.push([x(i), y(running)]);
  });
  p.c.globalAlpha = 0.3;
  polyline(p.c, raw, color(ink), 1);
  p.c.globalAlpha = 1;
  polyline(p.c, mean, color(ink), 2.5);
  const [lastX, lastY] = mean[mean.length - 1];
  p.c.beginPath();
  p.c.arc(lastX, lastY, 4, 0, 7);
  p.c.fillStyle = color(ink);
  p.c.fill();
}

/* ---- matrices: violet below zero, green above ---- */

/* Writes a (rows × columns) matrix into a canvas of as many pixels. */
function heatMap(canvas, rows, columns, values, largest) {
  canvas.width = columns;
  canvas.height = rows;
  const c = canvas.getContext("2d"), image = c.createImageData(columns, rows);
  const zero = rgb("card"), below = rgb("minus"), above = rgb("plus");
  for (let i = 0; i < rows * columns; i++) {
    const v = values[i], part = largest > 0 ? Math.min(1, Math.abs(v) / largest) ** 0.7 : 0;
    const end = v < 0 ? below : above;
    for (let k = 0; k < 3; k++) image.data[4 * i + k] = zero[k] + (end[k] - zero[k]) * part;
    image.data[4 * i + 3] = 255;
  }
  c.putImageData(image, 0, 0);
}

function largestOf(values) {
  let largest = 0;
  for (const v of values) largest = Math.max(largest, Math.abs(v));
  return largest;
}

/* A digit of 28 × 28 pixels, 0 to 1: ink on paper. */
function digitPicture(canvas, pixels) {
  canvas.width = canvas.height = 28;
  const c = canvas.getContext("2d"), image = c.createImageData(28, 28);
  const paper = rgb("well"), ink = rgb("ink");
  for (let i = 0; i < 784; i++) {
    for (let k = 0; k < 3; k++)
      image.data[4 * i + k] = paper[k] + (ink[k] - paper[k]) * pixels[i];
    image.data[4 * i + 3] = 255;
  }
  c.putImageData(image, 0, 0);
}
