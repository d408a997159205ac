// One completion's reward and why: total, waterfall, classes, propositions, what would change it.

import { classColour, figure } from "../chart.js";
import { data, h } from "../dom.js";
import { count, fixed, percent, signed } from "../format.js";
import { classes, drawn, note, waterfall } from "./terms.js";

const SHOWN = 6; // flips drawn, of those that change the total by at least SEEN; the table has all
const SEEN = 0.05;

// `title`: what the completion is called; `result`: one of /v1/explain; `policy`: /v1/policy of the same version.
export function explanation(title, result, policy) {
  const kind = result.response_type;
  const parts = kind === null ? [note("Out of this policy's scope: only the base reward counts.")] : [
    waterfall(result, policy.weights[kind]),
    classes(result, classColour),
    changes(result),
  ];
  return h("section", { class: "panel", "aria-label": title }, h("h2", title), summary(result, policy), parts);
}

function summary(result, policy) {
  const range = policy.reward_range[result.response_type];
  const best = mostProbable(result);
  return [
    h("p", { class: "total" }, data(result.reward, fixed(result.reward)), " ", h("span", "total reward")),
    best && h("p", "Most probable class: ", h("b", best[0]), ` (${percent(best[1])}), by `, rules(result.response_type), `. ${found(result)}`),
    !best && h("p", found(result)),
    note("Base reward ", data(result.base_reward, fixed(result.base_reward)), " + RBR reward ", data(result.rbr_reward, fixed(result.rbr_reward)),
      range && `, which can reach from ${fixed(range.low)} to ${fixed(range.high)}`,
      ". Score, the probability of the best class: ", data(result.score, fixed(result.score)), "."),
    result.cuts.messages + result.cuts.tokens > 0 && h("p", { class: "warning" },
      `The grader's context had no room for ${count(result.cuts.messages)} messages (${count(result.cuts.tokens)} tokens) of the conversation.`),
  ];
}

const rules = (kind) => h("a", { href: `#policy?${new URLSearchParams({ type: kind, at: "types" })}` }, "its rules");

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
  const shown = flips(result).filter(({ change }) => Math.abs(change) >= SEEN).slice(0, SHOWN);
  if (!shown.length) return note("No single answer of the grader, turned around, would change the total by much.");
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
    draw: () => drawn(rows, { line: result.reward, zero: false }),
  });
}
