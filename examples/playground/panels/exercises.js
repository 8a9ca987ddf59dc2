/* exercises.js - the other tab: each exercise's source beside what it prints, run in this page. */
"use strict";

const exercises = []; /* { number, name, source, ran, run(): shows what it prints } */

/* Shows the exercises of the bundle; they run when their tab opens. */
async function exercisesPanel() {
  const text = new TextDecoder().decode(await unpack(byId("sources").textContent));
  for (const part of text.split("\f").slice(1)) {
    const [name] = part.split("\n", 1);
    showExercise({ number: exercises.length + 1, name, source: part.slice(name.length + 1) });
  }
}

function showExercise(exercise) {
  const { number, name, source } = exercise;
  const title = say("exerciseTitle", { number, name });
  const part = key => {
    const pre = element("pre", { tabIndex: 0 });
    pre.setAttribute("role", "region");
    pre.setAttribute("aria-label", say(key, { title }));
    return pre;
  };
  const code = part("source"), printed = part("output");
  const button = element("button", { textContent: say("exerciseRun"), disabled: true });
  const said = element("output", { className: "soft small" });
  colorCode(code, source);
  exercise.run = async () => {
    exercise.ran = true;
    button.disabled = true;
    try {
      const start = performance.now();
      const { output, status } = await ask("exercise.run", { number });
      const time = Math.round(performance.now() - start);
      printed.textContent = output;
      setText(said, say("exerciseEnded", { status, time }));
    } catch (error) {
      alertWith(say("failed", { message: error.message }));
    }
    button.disabled = false;
  };
  button.onclick = exercise.run;
  exercises.push(exercise);
  byId("exercise-list").append(element("section", { className: "panel exercise" },
    element("h2", { textContent: title }),
    element("div", { className: "row" }, button, said),
    element("div", { className: "source" }, code, printed)));
}

/* One after the other, so that each one's time is its own. */
async function runExercises() {
  for (const exercise of exercises) if (!exercise.ran) await exercise.run();
}

function showTab(tab) {
  state.tab = tab;
  for (const name of ["play", "exercises"]) {
    byId(name).hidden = name !== tab;
    byId(`tab-${name}`).setAttribute("aria-pressed", name === tab);
  }
  if (tab === "exercises" && engine) runExercises();
  keepState();
  touch("all");
}
