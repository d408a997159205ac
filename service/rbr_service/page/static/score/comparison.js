// Two completions of one conversation: which earns more, through which terms, and what the grader saw differently.

import { figure } from "../chart.js";
import { data, h, table } from "../dom.js";
import { fixed, signed } from "../format.js";
import { flips, mostProbable } from "./explanation.js";
import { asked, probable, turned } from "./propositions.js";
import { bar, drawn, folded, largest, listed, note, steps, term } from "./terms.js";

const DIFFERS = 0.05; // P(yes) of two completions that are told as different

// `first`, `second`: results of /v1/explain, called A and B.
export function comparison(first, second, policy) {
  const change = second.reward - first.reward;
  const terms = largest(differences(first, second));
  const seen = seenDifferently(first, second);
  const less = change < 0 ? { result: second, title: "B" } : { result: first, title: "A" };
  return h(
    "section",
    { class: "panel", "aria-label": "A and B compared" },
    h("h2", verdict(change, first, second)),
    terms.length > 0 && h("p", `From A to B: ${listed(terms.slice(0, 3))}.`),
    reason(seen, less, first, second),
    bridge(first, second, terms),
    seen.length > 0 ? differing(seen, less, policy) : note("The grader's answers are nearly the same."),
  );
}

function verdict(change, first, second) {
  const [a, b] = [fixed(first.reward), fixed(second.reward)];
  if (Math.abs(change) < 0.005) return `A and B earn the same: ${a} and ${b}`;
  return change < 0 ? `A earns more: ${a} against B's ${b}` : `B earns more: ${b} against A's ${a}`;
}

// Second minus first, of every term that either has.
function differences(first, second) {
  const names = Object.keys({ ...first.contributions, ...second.contributions });
  const terms = names.map((feature) => [feature, (second.contributions[feature] ?? 0) - (first.contributions[feature] ?? 0)]);
  return Object.fromEntries([["base reward", second.base_reward - first.base_reward], ...terms]);
}

// [{proposition, a, b}] where both were asked and answered differently, the largest difference first.
function seenDifferently(first, second) {
  return Object.keys(first.propositions)
    .filter((proposition) => proposition in second.propositions)
    .map((proposition) => ({ proposition, a: first.propositions[proposition].p, b: second.propositions[proposition].p }))
    .filter(({ a, b }) => Math.abs(a - b) >= DIFFERS)
    .sort((one, other) => Math.abs(other.a - other.b) - Math.abs(one.a - one.b));
}

// The one different answer that, turned around in the completion that earns less, would lift it most.
function reason(seen, { result, title }, first, second) {
  const names = new Set(seen.map(({ proposition }) => proposition));
  const [lift] = flips(result).filter(({ proposition, change }) => names.has(proposition) && change > 0);
  if (!lift) return null;
  const { proposition, p, reward, best_class } = lift;
  const was = mostProbable(result)[0];
  return h("p", { class: "reason" }, "The answer that matters most: ", h("b", proposition), ` is ${fixed(first.propositions[proposition].p)} in A and `,
    `${fixed(second.propositions[proposition].p)} in B. Were it ${p ? "yes" : "no"}, ${title} would earn ${fixed(reward)} instead of ${fixed(result.reward)}`,
    best_class === was ? "." : `, as ${best_class} instead of ${was}.`);
}

function bridge(first, second, terms) {
  const rows = steps(bar("A's total", first.reward), folded(terms, term), bar("B's total", second.reward));
  return figure({
    title: "From A's total to B's, term by term",
    label: `From A's total of ${fixed(first.reward)} to B's of ${fixed(second.reward)}: ${listed(terms.slice(0, 3))}.`,
    draw: () => drawn(rows),
    numbers: table("Every term that differs", [
      { title: "Term", head: true, cell: ([feature]) => term(feature) },
      { title: "B minus A", number: true, cell: ([, value]) => data(value, signed(value, 3)) },
    ], terms),
  });
}

function differing(seen, { result, title }, policy) {
  return table(
    "What the grader saw differently",
    [
      { title: "Proposition", head: true, cell: ({ proposition }) => asked(proposition, policy) },
      { title: "P(yes) in A", number: true, cell: ({ a }) => probable(a) },
      { title: "P(yes) in B", number: true, cell: ({ b }) => probable(b) },
      { title: `Were it the other way in ${title}`, cell: ({ proposition }) => turned(result, proposition) },
    ],
    seen,
    { class: "cards" },
  );
}
