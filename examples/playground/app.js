/* app.js - starts the page: texts, engine, panels, and the state of the address. */
"use strict";

function showTexts() {
  document.title = say("documentTitle");
  for (const e of document.querySelectorAll("[data-text]")) e.textContent = say(e.dataset.text);
  for (const e of document.querySelectorAll("[data-label]"))
    e.setAttribute("aria-label", say(e.dataset.label));
}

async function copyLink() {
  const share = byId("share");
  history.replaceState(null, "", writeState(state));
  let key = "shared";
  try {
    await navigator.clipboard.writeText(location.href);
  } catch {
    key = "sharedByHand";
  }
  announce(say(key));
  share.style.minWidth = `${share.offsetWidth}px`; /* its neighbours stay where they are */
  share.textContent = say("copied");
  setTimeout(() => { share.textContent = say("share"); }, 2000);
}

async function start() {
  showTexts();
  byId("share").onclick = copyLink;
  for (const tab of ["play", "exercises"]) byId(`tab-${tab}`).onclick = () => showTab(tab);
  for (const panel of [basePanel, loraPanel, drawPanel, matricesPanel, dialPanel, changedPanel,
    mergePanel, tourPanel]) panel();
  try {
    await exercisesPanel();
    engine = startEngine(state.seed);
    showTab(state.tab);
    await engine;
  } catch (error) {
    return alertWith(say("noWorker", { message: error.message }));
  }
  showTour(state.tour, true);
  act("start", firstImage);
  await replay({ ...state });
  showTour(state.tour, true); /* the panels have their full height now */
  document.documentElement.dataset.ready = "yes";
  /* A link that is put into the address of the open page. */
  window.addEventListener("hashchange", () => {
    const wanted = readState(location.hash);
    showTab(wanted.tab);
    showTour(wanted.tour, true);
    replay(wanted);
  });
}

start();
