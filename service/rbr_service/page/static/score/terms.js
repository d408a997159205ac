// A total as the sum of its terms: base reward, then each weight x feature.

import { around, bars, figure } from "../chart.js";
import { h, data, table } from "../dom.js";
import { fixed, signed } from "../format.js";

const fill = (value) => (value < 0 ? "var(--loss)" : "var(--gain)");

// "p:judgement" -> "judgement", "class:ideal" -> "class ideal".
export const term = (feature) => (feature.startsWith("p:") ? feature.slice(2) : feature.replace(":", " "));

// [[feature, value]] largest first, those of value 0 left out.
export const largest = (terms) =>
  Object.entries(terms).filter(([, value]) => value !== 0).sort(([, one], [, other]) => Math.abs(other) - Math.abs(one));

// Terms to draw as [label, value]: those too small to be seen are one.
export function folded(terms, label) {
  const seen = terms.filter(([, value]) => Math.abs(value) >= 0.005);
  const small = terms.slice(seen.length);
  const sum = small.reduce((total, [, value]) => total + value, 0);
  const rest = small.length ? [[`${small.length} smaller`, sum]] : [];
  return [...seen.map(([feature, value]) => [label(feature), value]), ...rest];
}

// From one total to another by steps of [name, value]: rows for `bars`, each beginning where the last one ended.
export function steps(first, parts, last) {
  let place = first.to;
  const between = parts.map(([label, value]) => {
    const row = { label, value: signed(value), from: place, to: place + value, fill: fill(value) };
    place += value;
    return row;
  });
  return [first, ...between, last];
}

export const bar = (label, value, colour = "var(--total)") => ({ label, value: fixed(value), from: 0, to: value, fill: colour });

// The figure of one result: base, terms, total.
export function waterfall(result, weights) {
  const found = largest(result.contributions);
  const phi = (feature) => feature.startsWith("p:")
    ? result.propositions[feature.slice(2)].p : result.class_probabilities[feature.slice("class:".length)];
  const formula = (feature) => `${fixed(phi(feature))} × ${fixed(weights[feature])}`;
  const rows = (wide) => steps(
    bar("base reward", result.base_reward),
    folded(found, (feature) => (wide ? `${term(feature)}   ${formula(feature)}` : term(feature))),
    bar("total reward", result.reward),
  );
  const said = found.slice(0, 3).map(([feature, value]) => `${term(feature)} ${signed(value)}`).join(", ");
  return figure({
    title: "The total, term by term: feature × weight",
    label: `Waterfall: base reward ${fixed(result.base_reward)}, ${said}, total ${fixed(result.reward)}.`,
    draw: (width) => drawn(rows(width > 420)),
    numbers: table("Every term of the total", [
      { title: "Term", head: true, cell: ([feature]) => term(feature) },
      { title: "Feature", number: true, cell: ([feature]) => fixed(phi(feature), 3) },
      { title: "Weight", number: true, cell: ([feature]) => fixed(weights[feature], 3) },
      { title: "Feature × weight", number: true, cell: ([, value]) => data(value, signed(value, 3)) },
    ], Object.entries(result.contributions)),
  });
}

// Options of a chart of rows; `line`: where the dashed line stands; `zero`: whether 0 must be in sight.
export function drawn(rows, { line = 0, zero = true } = {}) {
  const ends = rows.flatMap(({ from, to }) => [from, to]);
  return bars(rows, { domain: around(zero ? [0, ...ends] : ends), line });
}

// The figure of class probabilities, best to worst.
export function classes(result, colour) {
  const found = Object.entries(result.class_probabilities);
  const rows = found.map(([label, p], i) => ({ label, value: fixed(p), from: 0, to: p, fill: colour(i, found.length) }));
  return figure({
    title: "Classes, best to worst",
    label: `Class probabilities: ${found.map(([name, p]) => `${name} ${fixed(p)}`).join(", ")}.`,
    draw: () => bars(rows, { domain: [0, 1] }),
    numbers: table("Class probabilities", [
      { title: "Class", head: true, cell: ([name]) => name },
      { title: "P", number: true, cell: ([, p]) => data(p, fixed(p, 3)) },
    ], found),
  });
}

// What of a sentence: "class ideal (+3.67), apology (+1.20)".
export const listed = (parts) => parts.map(([feature, value]) => `${term(feature)} (${signed(value)})`).join(", ");

export const note = (...parts) => h("p", { class: "muted" }, ...parts);
