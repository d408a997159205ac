// The Live view: what the last scores of this replica say, drawn once a second at most.

import { h, table } from "../dom.js";
import { count, short } from "../format.js";
import { clock } from "./clock.js";
import { kinds, named } from "./kinds.js";
import { listing } from "./listing.js";
import { pictures } from "./pictures.js";
import { Scores } from "./scores.js";
import { signs } from "./signs.js";
import { connect } from "./stream.js";

const PACE = 1000; // ms between drawings
const STATES = {
  connecting: "Connecting…",
  live: "Live.",
  reconnecting: "The connection is lost: trying again…",
  full: "All live streams of this replica are taken: trying again…",
  "signed out": "Signed out: give the API key to go on.",
};

export function show(root, service) {
  const view = parts(service, () => draw(), pause);
  root.append(...view.elements);
  let scores = null;
  let frozen = null; // what is shown while paused
  let last = 0;
  let timer = 0;

  // Draw soon, but not before PACE has gone by since the last time.
  function changed() {
    if (!frozen) timer ||= setTimeout(draw, Math.max(100, last + PACE - performance.now()));
  }

  function draw() {
    clearTimeout(timer);
    timer = 0;
    if (!scores || document.hidden) return;
    last = performance.now();
    view.draw(frozen ?? scores);
  }

  function pause() {
    frozen = frozen ? null : (scores?.frozen() ?? null);
    view.pause(frozen && clock(Date.now() / 1000, true));
    draw();
  }

  const take = (use) => (data) => {
    use(data);
    changed();
  };
  const leave = connect(
    {
      hello: take((hello) => (scores = new Scores(hello))),
      baseline: take((data) => scores.begin(data)),
      scores: take((data) => scores.take(data)),
      version: () => view.tell("The reward version changed: counting anew."),
    },
    (state) => view.tell(STATES[state]),
  );
  document.addEventListener("visibilitychange", draw);
  return () => {
    leave();
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", draw);
  };
}

// The view's elements: {elements, draw(scores), pause(time or null), tell(text)}.
function parts(service, redraw, pause) {
  const state = h("span");
  const pausedAt = h("span");
  const button = h("button", { type: "button", "aria-pressed": "false", onclick: pause }, "Pause");
  const about = h("p");
  const choice = kinds(redraw);
  const windows = h("p", { class: "muted" });
  const watched = h("div", { class: "scroll" });
  const charts = pictures();
  const newest = listing(service);
  const body = h("div", { hidden: true },
    choice.element, windows,
    h("section", h("h2", "Signs of reward hacking"), watched, note()),
    h("section", { class: "charts" }, h("h2", "Now and the baseline"), legend(), h("div", { class: "grid" }, charts.elements)),
    newest.element);
  const empty = emptiness();

  function draw(scores) {
    about.textContent = told(scores);
    const found = scores.kinds().map((kind) => ({ kind, ...judged(scores, kind) }));
    empty.hidden = found.length > 0;
    body.hidden = !empty.hidden;
    choice.update(found.map(({ kind, compared, signs: made }) =>
      ({ kind, scores: compared.now.length, watched: made.some((one) => one.state === "watch") })));
    const kind = choice.chosen();
    if (kind === undefined) return;
    const { compared, signs: made } = found.find((one) => one.kind === kind);
    windows.textContent = spans(named(kind), compared, scores.hello);
    const checked = signTable(made);
    if (checked.textContent !== watched.textContent) watched.replaceChildren(checked); // who reads it keeps the place
    charts.update(compared, scores.hello.response_types[kind] ?? null);
    newest.update(scores);
  }

  return {
    elements: [h("h1", { tabindex: -1 }, "What are the last scores like?"), h("div", { class: "row" }, h("p", { role: "status", class: "state" }, state, " ", pausedAt), button), about, empty, body],
    draw,
    pause(time) {
      button.setAttribute("aria-pressed", String(time !== null));
      pausedAt.textContent = time === null ? "" : `Paused at ${time}; scores go on coming in.`;
    },
    tell: (text) => (state.textContent = text),
  };
}

const judged = (scores, kind) => {
  const compared = scores.compared(kind);
  return { compared, signs: signs(compared, scores.hello.response_types[kind] ?? null, scores.hello.on_low_mass) };
};

function told({ hello, rows, total, leftOut }) {
  const version = `reward version ${short(hello.reward_version)}, in force here since ${clock(hello.since)}`;
  if (!rows.length) return `This replica has no scores yet (${version}).`;
  const thinned = leftOut ? ` ${count(leftOut)} came too fast and are left out, evenly.` : "";
  return `The last ${count(rows.length)} scores of this replica since ${clock(rows[0].time)} (${version}); ${count(total)} in all.${thinned}`;
}

function spans(kind, { now, baseline }, hello) {
  const from = clock(now[0].time);
  if (!baseline) return `Now: the first ${count(now.length)} scores of ${kind}, since ${from}. At ${count(hello.baseline)} they become its baseline, and later ones are compared with them.`;
  return `Now: the last ${count(now.length)} scores of ${kind}, since ${from}. Baseline: its first ${count(baseline.length)}, from ${clock(baseline[0].time)} to ${clock(baseline.at(-1).time)}.`;
}

const signTable = (found) =>
  table("The checks of the alert rules, over these scores", [
    { title: "Sign", head: true, cell: ({ sign }) => sign },
    { title: "State", cell: ({ state }) => h("span", { class: `sign ${state.split(" ")[0]}` }, state === "watch" ? "▲ watch" : state || "–") },
    { title: "Now", cell: ({ value }) => value },
    { title: "Watched when", cell: ({ limit }) => limit },
    { title: "What to do then", cell: ({ next }) => next },
  ], found, { class: "cards signs" });

const note = () =>
  h("p", { class: "muted" }, "These are this replica's last scores, not the alerts' 30 minutes against 6 hours of all replicas. None proves anything; after a change of the prompts' mix a drift is no finding.");

const legend = () =>
  h("p", { class: "muted legend" }, h("span", { class: "key now", "aria-hidden": "true" }), " solid: now", h("span", { class: "key before", "aria-hidden": "true" }),
    " outline: baseline; lines in the length chart: mean length now (solid) and in the baseline (dashed). Numbers read: baseline → now.");

const emptiness = () =>
  h("div", { class: "empty" },
    h("p", "Whatever it scores shows up here by itself:"),
    h("ul",
      h("li", "point a trainer at it, such as OpenRLHF with ", h("code", `--reward.remote_url ${new URL("get_reward", location.origin + location.pathname).href}`), ";"),
      h("li", "or press ", h("a", { href: "#score" }, "Score"), " in this page.")));
