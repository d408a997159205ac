// One completion's reward and why: total, waterfall, classes, propositions, what would change it.

import { classColour, figure } from "../chart.js";
import { data, h, name, table } from "../dom.js";
import { count, fixed, percent, signed } from "../format.js";
import { classes, drawn, note, waterfall } from "./terms.js";

const SHOWN = 8; // flips drawn; the table has all

// `title`: what the completion is called; `result`: one of /v1/explain; `policy`: /v1/policy of the same version.
export function explanation(title, result, policy) {
  const kind = result.response_type;
  const parts = kind === null ? [note("Out of this policy's scope: only the base reward counts.")] : [
    waterfall(result, policy.weights[kind]),
    classes(result, classColour),
    changes(result),
    propositions(result, policy),
  ];
  return h("section", { class: "panel", "aria-label": title }, h("h2", title), summary(result, policy), parts);
}

function summary(result, policy) {
  const range = policy.reward_range[result.response_type];
  const best = mostProbable(result);
  return [
    h("p", { class: "total" }, data(result.reward, fixed(result.reward)), " ", h("span", "total reward")),
    best && h("p", "Most probable class: ", h("b", best[0]), ` (${percent(best[1])}). ${found(result)}`),
    !best && h("p", found(result)),
    note("base ", data(result.base_reward, fixed(result.base_reward)), " + RBR ", data(result.rbr_reward, fixed(result.rbr_reward)),
      range && ` (it can reach from ${fixed(range.low)} to ${fixed(range.high)})`,
      " · score, the probability of the best class, ", data(result.score, fixed(result.score))),
    result.cuts.messages + result.cuts.tokens > 0 && h("p", { class: "warning" },
      `The grader's context had no room for ${count(result.cuts.messages)} messages (${count(result.cuts.tokens)} tokens) of the conversation.`),
  ];
}

export const mostProbable = ({ class_probabilities: found }) =>
  Object.entries(found).reduce((best, one) => (best && best[1] >= one[1] ? best : one), null);

function found({ found: { by, category, p }, response_type: kind }) {
  const what = kind ?? "out of scope";
  if (by === "label") return `Response type: ${what}, as given.`;
  if (by === "unlabelled") return `Response type: ${what}, what the policy says of samples without a label.`;
  return category === null
    ? `Response type: ${what}: the request fits no category (the nearest has P ${fixed(p)}).`
    : `Response type: ${what}, found by the request: category ${category}, P ${fixed(p)}.`;
}

// [{proposition, p, reward, best_class, change}], the largest change first.
export const flips = (result) =>
  Object.entries(result.flips)
    .map(([proposition, flip]) => ({ proposition, ...flip, change: flip.reward - result.reward }))
    .sort((one, other) => Math.abs(other.change) - Math.abs(one.change));

function changes(result) {
  const shown = flips(result).filter(({ change }) => Math.abs(change) >= 0.005).slice(0, SHOWN);
  if (!shown.length) return note("No single answer of the grader, turned around, would change the total.");
  const rows = shown.map(({ proposition, p, reward, change }) => ({
    label: `${proposition}: ${p ? "yes" : "no"}`,
    value: `${fixed(reward)} (${signed(change)})`,
    from: result.reward,
    to: reward,
    fill: change < 0 ? "var(--loss)" : "var(--gain)",
  }));
  const said = shown.slice(0, 3).map(({ proposition, p, reward }) => `${proposition} ${p ? "yes" : "no"}: ${fixed(reward)}`);
  return figure({
    title: "What would change it: the total if the grader had answered the other way",
    label: `The total of ${fixed(result.reward)} would become, with ${said.join("; ")}.`,
    draw: () => drawn(rows, result.reward),
  });
}

function propositions(result, policy) {
  const weights = policy.weights[result.response_type];
  const rows = flips(result).map((flip) => ({ ...flip, ...result.propositions[flip.proposition], turned: flip.p }));
  const weight = ({ proposition }) => weights[`p:${proposition}`];
  const term = ({ proposition }) => result.contributions[`p:${proposition}`] ?? 0;
  return table(
    "What the grader found; the answers that would change the total most come first",
    [
      { title: "Proposition", head: true, cell: ({ proposition }) => [name(proposition),
        h("span", { class: "question" }, policy.content.propositions[proposition].question)] },
      { title: "P(yes)", number: true, cell: ({ p, lower_bound }) => [meter(p), data(p, fixed(p)),
        lower_bound && h("span", { class: "warning" }, " unclear, taken at its worst")] },
      { title: "Label mass", number: true, cell: ({ label_mass }) => data(label_mass, fixed(label_mass)) },
      { title: "Weight", number: true, cell: (row) => (weight(row) === undefined ? "rules only" : data(weight(row), fixed(weight(row)))) },
      { title: "P × weight", number: true, cell: (row) => data(term(row), signed(term(row))) },
      { title: "The other way", cell: ({ turned, reward, change, best_class }) =>
        [`${turned ? "yes" : "no"}: `, data(reward, fixed(reward)), ` (${signed(change)}), ${best_class}`] },
    ],
    rows,
    { class: "cards propositions" },
  );
}

// A probability as a length; the number beside it says the same.
export function meter(p) {
  const element = h("span", { class: "meter", "aria-hidden": "true" });
  element.style.setProperty("--p", p);
  return element;
}
