/* changed.js - panel 6: test images that LoRA fixed and broke, and both networks' errors. */
"use strict";

function changedPanel() {
  showCode("changed", CODE.changed);
  byId("to-pad").onclick = () => byId("draw").scrollIntoView({ block: "nearest" });
  onChange("changes", () => {
    if (!live.loraScore) return;
    const { fixed, broken } = live.loraScore;
    const known = new Map(live.predictions.map(p => [p.index, p]));
    const show = (parent, list, all, some) => {
      const shown = list.filter(i => known.has(i));
      setText(byId(`${parent}-count`), say(shown.length < list.length ? some : all,
        { count: list.length, shown: shown.length }));
      byId(parent).replaceChildren(...shown.map(i => changePicture(known.get(i))));
    };
    show("fixed", fixed, "fixed", "someFixed");
    show("broken", broken, "broken", "someBroken");
  });
  onChange("loraScore settings baseScore", () => {
    const base = live.baseScore, lora = live.loraScore;
    if (!base || !lora) return;
    const most = Math.max(20, ...base.wrong, ...lora.wrong);
    showColumns(byId("both-errors"), [...base.wrong].map((wrong, digit) => ({
      name: String(digit), chosen: isChosen(digit),
      label: say("bothErrorsOf", { digit, base: wrong, lora: lora.wrong[digit],
        count: base.counts[digit] }),
      bars: [{ color: "blue", text: wrong, value: wrong / most },
        { color: "orange", text: lora.wrong[digit], value: lora.wrong[digit] / most }],
    })));
  });
}

function changePicture(p) {
  const canvas = element("canvas");
  digitPicture(canvas, p.pixels);
  const button = element("button", {}, canvas, `${p.base} → ${p.lora}`);
  button.setAttribute("aria-label", say("change", p));
  button.onclick = async () => {
    await takeImage(p.index);
    setText(byId("changed-readout"), say("chosenChange", { ...p, answers: padText() }));
    byId("to-pad").hidden = false;
  };
  return button;
}
