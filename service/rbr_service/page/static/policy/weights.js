// A response type's weights: what each feature adds to the reward, and how sure the fit was of it.

import { around, figure, list } from "../chart.js";
import { data, h, table } from "../dom.js";
import { fixed } from "../format.js";
import { term } from "../score/terms.js";

/* global Plot */

export function weights(type, policy) {
  const found = features(type, policy);
  const { low, high } = policy.reward_range[type];
  const told = found.some(({ interval }) => interval);
  return [
    h("h3", "Weights"),
    h("p", "Reward of the rules: the sum of weight × feature, where a feature is P(yes) of a proposition or the probability of a class. ",
      "What an answer can earn reaches from ", data(low, fixed(low)), " to ", data(high, fixed(high)), "."),
    !told && h("p", { class: "muted" }, "The weights file tells no intervals: a new rbr fit would."),
    figure({
      title: told ? "Weights with their 95% intervals" : "Weights",
      label: `Weights of ${type}: from ${said(found[0])} down to ${said(found.at(-1))}.`,
      draw: () => drawn(found),
      numbers: numbers(type, found, told),
    }),
  ];
}

// [{feature, weight, interval, trait}], the largest weight first.
function features(type, policy) {
  const { good, bad } = policy.content.response_types[type];
  const trait = (feature) => (good.some((one) => feature === `p:${one}`) ? "good" : bad.some((one) => feature === `p:${one}`) ? "bad" : null);
  return Object.entries(policy.weights[type])
    .map(([feature, weight]) => ({ feature, weight, interval: policy.weight_intervals[type][feature] ?? null, trait: trait(feature) }))
    .sort((one, other) => other.weight - one.weight);
}

const said = ({ feature, weight }) => `${term(feature)} ${fixed(weight)}`;

function drawn(found) {
  const rows = found.map(({ feature, weight, interval, trait }) => ({
    label: `${term(feature)}${trait ? `  (${trait})` : ""}`,
    value: fixed(weight),
    weight,
    low: interval?.low ?? weight,
    high: interval?.high ?? weight,
  }));
  const colour = ({ weight }) => (weight > 0 ? "var(--gain)" : weight < 0 ? "var(--loss)" : "var(--total)");
  const below = { y: "key", dy: 8 };
  const marks = (keyed) => [
    Plot.ruleX([0], { stroke: "var(--muted)" }),
    Plot.ruleY(keyed, { ...below, x1: "low", x2: "high", stroke: colour, strokeWidth: 3, strokeOpacity: 0.55 }),
    Plot.dot(keyed, { ...below, x: "weight", fill: colour, r: 5 }),
  ];
  return list(rows, { domain: around([0, ...rows.flatMap(({ weight, low, high }) => [weight, low, high])]), marks });
}

function numbers(type, found, told) {
  return table(`Weights of ${type}`, [
    { title: "Feature", head: true, cell: ({ feature }) => term(feature) },
    { title: "Trait", cell: ({ trait }) => trait ?? "" },
    { title: "Weight", number: true, cell: ({ weight }) => data(weight, fixed(weight, 3)) },
    ...(told ? [{ title: "95% interval", number: true, cell: ({ interval }) => between(interval) }] : []),
  ], found);
}

const between = (interval) =>
  interval && [data(interval.low, fixed(interval.low, 3)), " to ", data(interval.high, fixed(interval.high, 3))];
