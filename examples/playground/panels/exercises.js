/* exercises.js - the other tab: each exercise's source beside what it prints. */
"use strict";

function exercisesPanel() {
  const parent = byId("exercise-list");
  if (!EXERCISES.length) parent.append(element("p", { textContent: say("noExercises") }));
  for (const { title, source, output } of EXERCISES) {
    const part = (text, key) => {
      const pre = element("pre", { tabIndex: 0 });
      colorCode(pre, text);
      pre.setAttribute("role", "region");
      pre.setAttribute("aria-label", say(key, { title }));
      return pre;
    };
    parent.append(element("section", { className: "panel exercise" },
      element("h2", { textContent: title }),
      element("div", {}, part(source, "source"), part(output, "output"))));
  }
}

function showTab(tab) {
  state.tab = tab;
  for (const name of ["play", "exercises"]) {
    byId(name).hidden = name !== tab;
    byId(`tab-${name}`).setAttribute("aria-pressed", name === tab);
  }
  keepState();
  touch("all");
}
