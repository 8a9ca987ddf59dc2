/* changed.js - panel 6: test images that LoRA fixed and broke, and both networks' errors. */
"use strict";

function changedPanel() {
  onChange("changes", () => {
    if (!live.loraScore) return;
    const { fixed, broken } = live.loraScore;
    setText(byId("fixed-count"), say("fixed", { count: fixed.length }));
    setText(byId("broken-count"), say("broken", { count: broken.length }));
    const known = new Map(live.predictions.map(p => [p.index, p]));
    for (const [parent, list] of [["fixed", fixed], ["broken", broken]])
      byId(parent).replaceChildren(...list.filter(i => known.has(i))
        .map(i => changePicture(known.get(i))));
  });
  onChange("loraScore settings baseScore", () => {
    const base = live.baseScore, lora = live.loraScore;
    if (!base || !lora) return;
    const most = Math.max(20, ...base.wrong, ...lora.wrong);
    showColumns(byId("both-errors"), [...base.wrong].map((wrong, digit) => ({
      name: String(digit), text: `${wrong} → ${lora.wrong[digit]}`, chosen: isChosen(digit),
      label: say("bothErrorsOf", { digit, base: wrong, lora: lora.wrong[digit],
        count: base.counts[digit] }),
      bars: [{ color: "blue", value: wrong / most },
        { color: "orange", value: lora.wrong[digit] / most }],
    })));
    showCode("changed", CODE.changed);
  });
}

function changePicture(p) {
  const canvas = element("canvas");
  digitPicture(canvas, p.pixels);
  const button = element("button", {}, canvas, `${p.base} → ${p.lora}`);
  button.setAttribute("aria-label", say("change", p));
  button.onclick = () => {
    takeImage(p.index);
    byId("draw").scrollIntoView({ block: "nearest" });
  };
  return button;
}
