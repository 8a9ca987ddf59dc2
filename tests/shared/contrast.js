/* contrast.js - the contrast of two colours, for the pages that look at other pages. The scripts
 * that open them copy this file beside them. */
"use strict";

/* WCAG's relative luminance of "rgb(…)", 0 to 1. */
function luminance(color) {
  const [r, g, b] = color.match(/[\d.]+/g).slice(0, 3).map(c => c / 255)
    .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

/* From 1, the same colour, to 21, black on white. */
function contrast(a, b) {
  const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (high + 0.05) / (low + 0.05);
}

/* The colour behind an element: its own, or that of what holds it. */
function paperOf(view, e) {
  for (; e; e = e.parentElement) {
    const color = view.getComputedStyle(e).backgroundColor;
    if (color !== "rgba(0, 0, 0, 0)") return color;
  }
  return "rgb(255, 255, 255)";
}
