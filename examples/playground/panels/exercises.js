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
  let count = 0;
  exercise.run = async () => {
    exercise.ran = true;
    button.disabled = true;
    setText(said, say("exerciseRuns"));
    printed.textContent = "";
    await new Promise(done => setTimeout(done, 150)); /* long enough to be seen */
    try {
      const start = performance.now();
      const { output, status } = await ask("exercise.run", { number });
      const time = Math.round(performance.now() - start);
      showOutput(printed, output);
      flash(printed);
      setText(said, say("exerciseEnded", { count: ++count, status, time }));
    } catch (error) {
      alertWith(say("failed", { message: error.message }));
    }
    button.disabled = false;
  };
  button.onclick = exercise.run;
  exercises.push(exercise);
  byId("exercise-list").append(element("section", { className: "panel exercise" },
    element("h2", { textContent: title }),
    element("p", { className: "task", textContent: TASKS[number - 1] }),
    element("div", { className: "row" }, button, said),
    element("div", { className: "source" }, code, printed)));
}

/* Shows an output. PASS and FAIL have colours; a line of dashes does not wrap. */
function showOutput(pre, text) {
  const kinds = { PASS: "good", FAIL: "bad" };
  pre.replaceChildren(...text.split(/(\bPASS\b|\bFAIL\b|^-{20,}$)/m).map((part, i) =>
    i % 2 ? element("b", { className: kinds[part] ?? "rule", textContent: part }) : part));
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
