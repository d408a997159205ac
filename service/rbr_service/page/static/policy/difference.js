// What differs between two policies, and what that voids: the answer of /v1/policy/diff in words.

import { h, name, table } from "../dom.js";
import { short } from "../format.js";
import { example } from "./questions.js";
import { wordings } from "./words.js";

const FEW = 6; // changes under one key that are shown at once

// Elements, a summary first.
export function difference(answer) {
  const { same, void: lost } = answer;
  const untouched = same && lost.because.length === 0;
  if (untouched) return [h("h3", "The same policy"), h("p", `Both have the version ${short(answer.new.version)}: nothing changes, and nothing is void.`)];
  return [
    h("h3", same ? "The same policy, judged otherwise" : `${title(answer.old)} → ${title(answer.new)}`),
    costs(answer),
    part("Questions", answer.questions, question),
    part("Response types", answer.response_types, type),
    part("Derived names", answer.derived, rule),
    answer.other.length > 0 && [h("h3", "Other keys"), keys(answer.other)],
  ].flat(Infinity).filter(Boolean);
}

const title = ({ policy, version }) => `${policy} ${short(version)}`;

const part = (heading, changes, shown) =>
  changes.length > 0 && [h("h3", heading), changes.map((one) => (one.how === "changed"
    ? h("article", { class: "change" }, h("h4", name(one.name), " changed"), shown(one))
    : h("details", { class: "change" }, h("summary", h("b", name(one.name)), ` ${one.how}`), shown(one))))];

function costs(answer) {
  const { void: lost, needs_weights: needed, graded_again: again, layout } = answer;
  const rows = Object.entries(again).map(([one, names]) => ({ layout: one, names }));
  const total = rows.some(({ names }) => names.length);
  return h("div", { class: "costs" },
    h("p", h("b", "Weights that are void: "), lost.response_types.length ? listed(lost.response_types) : "none", "."),
    lost.because.length > 0 && h("ul", lost.because.map((one) => h("li", `All of them: ${one}.`))),
    needed.length > 0 && h("p", h("b", "New response types, which need weights: "), listed(needed), "."),
    lost.response_types.length + needed.length > 0 && h("p", { class: "muted" }, "Where weights are void a service refuses the new policy until rbr fit has made others."),
    layout === null
      ? h("p", { class: "muted" }, "The lexical grader keeps no answers, so none are graded again.")
      : h("p", h("b", `Questions to grade again with the layout in force, ${layout}: `), listed(again[layout] ?? []), "."),
    total && h("details", h("summary", "Questions to grade again, by layout"), table("What kept answers no longer cover", [
      { title: "Layout", head: true, cell: ({ layout: one }) => one },
      { title: "Questions", cell: ({ names }) => listed(names) },
    ], rows)));
}

const listed = (names) => (names.length ? names.map((one, i) => [i > 0 && ", ", name(one)]) : "none");

function question({ old, new: now }) {
  const [was, is] = [old ?? now, now ?? old];
  const parts = ["question", "definition"].filter((one) => !old || !now || was[one] !== is[one]);
  const examples = JSON.stringify(was.examples) !== JSON.stringify(is.examples) || !old || !now;
  return [
    parts.map((one) => [h("h5", one === "question" ? "Question" : "Definition"), wordings(old && old[one], now && now[one])]),
    examples && [old, now].map((one, i) => one && one.examples.length > 0 &&
      h("details", h("summary", `Examples: ${i ? "is" : "was"}`), h("ul", { class: "examples" }, one.examples.map(example)))),
  ];
}

function type({ rules, questions }) {
  return [
    questions.length > 0 && h("p", "Questions that it asks and that changed: ", listed(questions), "."),
    rules.map((one) => [h("h5", name(one.name), ` ${one.how}`), rule(one)]),
    questions.length + rules.length === 0 && h("p", "Its features, traits or classes: see the other keys."),
  ];
}

function rule({ old, new: now, through }) {
  const means = through.length > 0 && h("p", listed(through), through.length > 1 ? " mean" : " means", " something else now.");
  return old === now ? [h("p", h("code", now)), means] : [wordings(old, now), means];
}

// By the outermost key; many changes under one are folded.
function keys(changes) {
  const outermost = [...new Set(changes.map(({ place }) => place[0]))];
  return outermost.map((one) => {
    const found = changes.filter(({ place }) => place[0] === one);
    return h("details", { class: "change", open: found.length <= FEW }, h("summary", h("b", name(one)), ` ${found.length === 1 ? "changed" : `${found.length} changes`}`),
      found.map(({ place, old, new: now }) => [place.length > 1 && h("h5", place.slice(1).join(" › ")), wordings(text(old), text(now))]));
  });
}

function text(value) {
  if (value === null || typeof value === "string") return value;
  return Array.isArray(value) && value.every((one) => typeof one === "string") ? value.join(", ") || "(empty)" : JSON.stringify(value);
}
