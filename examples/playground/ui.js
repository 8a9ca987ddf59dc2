/* ui.js - what all panels use: texts, elements, numbers, drawing once a frame. */
"use strict";

const byId = id => document.getElementById(id);

/* The text with {name} replaced by values.name; other braces stay, since C has them. */
function fill(text, values = {}) {
  return text.replace(/\{(\w+)\}/g, (all, name) => name in values ? values[name] : all);
}

function say(key, values) {
  if (!(key in STRINGS)) throw new Error(`strings.js has no ${key}`);
  return fill(STRINGS[key], values);
}

/* Tells a screen reader; nothing is seen. */
function announce(text) { byId("said").textContent = text; }

function alertWith(text) {
  byId("alert").textContent = text;
  byId("alert").hidden = !text;
}

/* Sets a text only when it changes, so that the browser has nothing to do otherwise. */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function element(tag, properties = {}, ...children) {
  const e = Object.assign(document.createElement(tag), properties);
  e.append(...children);
  return e;
}

/* ---- numbers ---- */

const percent = x => say("percent", { value: (100 * x).toFixed(1) });
const thousands = n => String(n).replace(/\B(?=(\d{3})+$)/g, ",");

/* Three significant digits: 0.0123, 4.77e-7. */
function short(x) {
  if (x === 0) return "0";
  return Math.abs(x) < 1e-3 ? x.toExponential(2) : String(Number(x.toPrecision(3)));
}

/* "digit 9" or "digits 3, 8", of a list of digits. */
function nameOf(digits) {
  return digits.length === 1 ? say("digit", { digit: digits[0] })
    : say("digitsNamed", { digits: digits.join(", ") });
}

/* ---- C lines ---- */

const C_PARTS = /(\/\*[^]*?\*\/)|\b(lk_\w+)|(\b\d[\d.e-]*\b|"[^"\n]*")|[^]/g;

/* Fills a <pre> with C lines: functions, numbers and comments have colours. */
function colorCode(pre, text) {
  pre.replaceChildren();
  for (const [all, comment, call, number] of text.matchAll(C_PARTS)) {
    const kind = (comment && "co") || (call && "fn") || (number && "no");
    pre.append(kind ? element("span", { className: kind, textContent: all }) : all);
  }
  pre.normalize();
}

/* Shows the lines in the panel's <pre>. `ran`: they were run just now. */
function showCode(panel, text, ran) {
  const pre = document.querySelector(`pre[data-code=${panel}]`);
  if (pre.dataset.shown !== text) {
    pre.dataset.shown = text;
    colorCode(pre, text);
  }
  if (ran) flash(pre);
}

/* Marks a <pre> for a moment. */
function flash(pre) {
  pre.classList.add("ran");
  clearTimeout(pre.timer);
  pre.timer = setTimeout(() => pre.classList.remove("ran"), 1200);
}

/* ---- drawing: once a frame, and only what changed ---- */

const drawers = []; /* { names, draw } */
const dirty = new Set();

/* draw() runs in the next frame after one of the names was touched. */
function onChange(names, draw) { drawers.push({ names: names.split(" "), draw }); }

function touch(...names) {
  if (dirty.size === 0) requestAnimationFrame(drawAll);
  for (const name of names) dirty.add(name);
}

/* The same for what changes all the time: 15 times a second, so that frames in between cost
 * nothing and the page stays smooth. */
let nextOften = 0;
function touchOften(name) {
  if (performance.now() < nextOften) return;
  nextOften = performance.now() + 66;
  touch(name);
}

function drawAll() {
  const now = new Set(dirty);
  dirty.clear();
  for (const d of drawers) if (now.has("all") || d.names.some(n => now.has(n))) d.draw();
}

/* ---- bars of DOM elements ---- */

/* Ten columns (or any number) in a .columns element. columns: [{ name, chosen, label,
 * bars: [{ color, text, value 0..1 }] }] */
function showColumns(parent, columns) {
  while (parent.children.length > columns.length) parent.lastChild.remove();
  columns.forEach((c, i) => {
    let column = parent.children[i];
    if (!column || column.querySelectorAll("i").length !== c.bars.length) {
      const bars = c.bars.map(b => element("i", { className: b.color }));
      const texts = c.bars.map(b => element("small", { className: b.color }));
      const made = element("div", {}, ...texts, element("div", { className: "room" }, ...bars),
        element("b"));
      made.setAttribute("role", "img");
      if (column) column.replaceWith(made); else parent.append(made);
      column = made;
    }
    column.className = c.chosen ? "chosen" : "";
    column.setAttribute("aria-label", c.label);
    setText(column.lastChild, c.name);
    column.querySelectorAll("small").forEach((e, k) => setText(e, String(c.bars[k].text)));
    column.querySelectorAll("i").forEach((e, k) =>
      e.style.setProperty("--v", c.bars[k].value.toFixed(4)));
  });
}
