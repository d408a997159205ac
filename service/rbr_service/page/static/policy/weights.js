// A response type's weights: what each feature adds to the reward, and how sure the fit was of it.

import { around, figure } from "../chart.js";
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

const ROW = 40; // px: a line of text, and the weight below it

function drawn(found) {
  const rows = found.map((one, i) => ({ ...one, key: String(i), low: one.interval?.low ?? one.weight, high: one.interval?.high ?? one.weight }));
  const ends = rows.flatMap(({ weight, low, high }) => [weight, low, high]);
  const colour = ({ weight }) => (weight > 0 ? "var(--gain)" : weight < 0 ? "var(--loss)" : "var(--total)");
  const below = { y: "key", dy: 8 };
  const text = { y: "key", dy: -8, fill: "currentColor", stroke: "var(--ground)", strokeWidth: 4 };
  return {
    height: rows.length * ROW + 24,
    marginLeft: 12,
    marginRight: 12,
    marginTop: 0,
    marginBottom: 24,
    x: { domain: around([0, ...ends]), ticks: 5, label: null, tickSize: 3 },
    y: { type: "band", domain: rows.map(({ key }) => key), axis: null, padding: 0 },
    marks: [
      Plot.gridX({ ticks: 5 }),
      Plot.ruleX([0], { stroke: "var(--muted)" }),
      Plot.ruleY(rows, { ...below, x1: "low", x2: "high", stroke: colour, strokeWidth: 3, strokeOpacity: 0.55 }),
      Plot.dot(rows, { ...below, x: "weight", fill: colour, r: 5 }),
      Plot.text(rows, { ...text, text: ({ feature, trait }) => `${term(feature)}${trait ? `  (${trait})` : ""}`, frameAnchor: "left", textAnchor: "start" }),
      Plot.text(rows, { ...text, text: ({ weight }) => fixed(weight), frameAnchor: "right", textAnchor: "end", fontWeight: "bold" }),
    ],
  };
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
