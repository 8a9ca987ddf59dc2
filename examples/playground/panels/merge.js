/* merge.js - panel 7: LoRA on and off, merged and apart, with the difference it makes. */
"use strict";

function mergePanel() {
  const on = byId("switch-on"), merged = byId("switch-merge");
  let code = CODE.mergeOn;
  on.onchange = () => act("switch", async () => {
    await setOn(on.checked);
    code = fill(CODE.enable, { on: on.checked });
  });
  merged.onchange = () => act("switch", async () => {
    await setMerged(merged.checked);
    code = merged.checked ? CODE.mergeOn : CODE.mergeOff;
  });
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
    const difference = short(live.fromBase);
    setText(byId("on-readout"), say(state.on ? "isOn" : live.fromBase ? "isOff" : "isOffExactly",
      { difference }));
    const change = live.mergeChange;
    setText(byId("merge-readout"), change === null ? say("notMerged")
      : say(state.merged ? "isMerged" : "isUnmerged", { difference: short(change) }));
    setText(w, state.merged ? "W + ΔW" : "W");
    w.className = state.merged ? "both" : "";
    for (const e of [plus, b, a]) {
      e.hidden = Boolean(state.merged);
      e.classList.toggle("off", !state.on);
    }
    showCode("merge", code, live.mergeChange !== null || !state.on);
  });
}
