/* merge.js - panel 7: LoRA on and off, merged and apart, with the difference it makes. */
"use strict";

function mergePanel() {
  const on = byId("switch-on"), merged = byId("switch-merge");
  on.onchange = () => act("switch", () => setOn(on.checked));
  merged.onchange = () => act("switch", () => setMerged(merged.checked));
  const [w, plus, b, a] = ["W", "+", "B", "A"].map(text => element("span", { textContent: text }));
  b.className = "low";
  a.className = "low flat";
  plus.style.cssText = "border:0;width:auto;color:inherit";
  byId("merge-picture").append(w, plus, b, a);

  onChange("busy lora loraScore", () => {
    on.checked = Boolean(state.on);
    merged.checked = Boolean(state.merged);
    /* While it is merged, forward reads the finished weight: unmerge comes first. */
    on.disabled = !live.attached || Boolean(state.merged);
    merged.disabled = !live.attached || !state.on;
    setText(byId("on-readout"), onText());
    setText(byId("merge-readout"), mergeText());
    const whole = say(state.dial === 1 ? "wholeWeight" : "scaledWeight", { dial: state.dial });
    setText(w, state.merged ? whole : "W");
    w.className = state.merged ? "both" : "";
    for (const e of [plus, b, a]) {
      e.hidden = Boolean(state.merged);
      e.classList.toggle("off", !state.on);
    }
    const code = state.on ? CODE[state.merged ? "merged" : "on"] : CODE.off;
    showCode("merge", code, live.mergeChange !== null || !state.on);
  });
}

function onText() {
  const difference = short(live.fromBase);
  if (state.merged) return say("onIsMerged");
  if (state.on) return say(live.fromBase ? "isOn" : "isOnButZero", { difference });
  return say(live.fromBase ? "isOff" : "isOffExactly", { difference });
}

function mergeText() {
  if (!state.on) return say("mergeIsOff");
  if (live.mergeChange === null) return say("notMerged");
  return say(state.merged ? "isMerged" : "isUnmerged", { difference: short(live.mergeChange) });
}
