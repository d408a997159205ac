// What the grader found of each proposition, for one completion or for two side by side.

import { data, h, name, table } from "../dom.js";
import { fixed, signed } from "../format.js";
import { NAMES } from "./case.js";
import { flips } from "./explanation.js";

// `results`: of one response type; null where there is none to tell of.
export function propositions(results, policy) {
  const kind = results[0].response_type;
  if (kind === null || results.some(({ response_type: other }) => other !== kind)) return null;
  const weights = policy.weights[kind];
  // Of each result its line: A, B where there are two.
  const each = (shown) => ({ proposition }) => results.map((result, i) =>
    h("span", { class: "line" }, results.length > 1 && h("span", { class: "muted" }, `${NAMES[i]} `), shown(result, proposition)));
  const change = (proposition) => Math.max(...results.map(({ flips: f, reward }) => Math.abs(f[proposition].reward - reward)));
  const rows = flips(results[0]).sort((one, other) => change(other.proposition) - change(one.proposition));
  return table(
    "What the grader found; the answers that would change a total most come first",
    [
      { title: "Proposition", head: true, cell: ({ proposition }) => asked(proposition, policy) },
      { title: "P(yes)", number: true, cell: each(probability) },
      { title: "Label mass", number: true, cell: each(({ propositions: found }, one) => data(found[one].label_mass, fixed(found[one].label_mass))) },
      { title: "Weight", number: true, cell: ({ proposition }) => weight(weights[`p:${proposition}`]) },
      { title: "P × weight", number: true, cell: each(({ contributions }, one) => term(contributions[`p:${one}`] ?? 0)) },
      { title: "If it were the other way, total and class", cell: each(turned) },
    ],
    rows,
    { class: "cards propositions" },
  );
}

// A proposition with its question.
export const asked = (proposition, policy) => [
  name(proposition),
  h("span", { class: "question" }, policy.content.propositions[proposition].question),
];

// A probability as a number and a length.
export function probable(p) {
  const meter = h("span", { class: "meter", "aria-hidden": "true" });
  meter.style.setProperty("--p", p);
  return [meter, data(p, fixed(p))];
}

function probability({ propositions: found }, proposition) {
  const { p, lower_bound } = found[proposition];
  return [probable(p), lower_bound && h("span", { class: "warning" }, " unclear, taken at its worst")];
}

const weight = (value) => (value === undefined ? "rules only" : data(value, fixed(value)));

const term = (value) => data(value, signed(value));

// What a result would be with the other answer about a proposition.
export function turned({ flips: found, reward: total }, proposition) {
  const { p, reward, best_class } = found[proposition];
  return [`${p ? "yes" : "no"}: `, data(reward, fixed(reward)), ` (${signed(reward - total)}), ${best_class}`];
}
