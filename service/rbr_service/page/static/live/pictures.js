// The charts of one response type: now against its baseline, by shape and text as well as by colour.

import { around, BAR, classColour, figure, list } from "../chart.js";
import { data, h, name, table } from "../dom.js";
import { count, fixed, percent, signed } from "../format.js";
import { DRIFT, drifts } from "./signs.js";
import { binned, classCounts, edges, lengthCorrelation, mean } from "./statistics.js";

/* global Plot */

const NOW = "var(--gain)";
const OUTLINE = { fill: "none", stroke: "currentColor", strokeWidth: 1.5 };
const MOST = 24; // propositions drawn; the table has all

// A figure whose data change: `update({draw, label, numbers})`.
function changing(title) {
  const numbers = h("div", { class: "scroll" });
  const element = figure({ title, label: "No scores yet.", draw: () => ({ marks: [] }), numbers });
  return {
    element,
    update({ draw, label, table: made }) {
      element.update(draw, label);
      numbers.replaceChildren(made);
    },
  };
}

// All of them: {elements, update(compared, kind)}, where `kind` is null for what is out of scope.
export function pictures() {
  const made = [
    [changing("Classes: share of the scores"), classes],
    [changing("Reward: share of the scores"), rewards],
    [changing("Reward against length"), lengths],
    [changing("Propositions: mean P(yes), the largest change first"), propositions],
  ];
  return {
    elements: made.map(([{ element }]) => element),
    update(compared, kind) {
      for (const [chart, content] of made) {
        const found = content(compared, kind);
        chart.element.hidden = found === null;
        if (found) chart.update(found);
      }
    },
  };
}

// Two bars a row under its text: now solid, the baseline an outline.
function paired(rows, { top, format }) {
  const marks = (keyed) => [
    Plot.barX(keyed, { y: "key", x: "now", fill: "fill", ...BAR }),
    Plot.barX(keyed.filter(({ before }) => before !== null), { y: "key", x: "before", insetTop: 20, insetBottom: 3, ...OUTLINE }),
  ];
  return list(rows, { domain: [0, top], tickFormat: format, marks });
}

function classes({ now, baseline }, kind) {
  if (!kind) return null;
  const [found, before] = [classCounts(now, kind.classes), baseline && classCounts(baseline, kind.classes)];
  const rows = kind.classes.map((label, i) => ({
    label, fill: classColour(i, kind.classes.length),
    now: found[label] / now.length, before: before ? before[label] / baseline.length : null,
  })).map((row) => ({ ...row, value: row.before === null ? percent(row.now) : `${percent(row.before)} → ${percent(row.now)}` }));
  return {
    draw: () => paired(rows, { top: 1, format: "%" }),
    label: `Shares of the classes: ${rows.map(({ label, value }) => `${label} ${value}`).join(", ")}.`,
    table: table("How many scores have each class as the most probable one", [
      { title: "Class", head: true, cell: (label) => name(label) },
      { title: "Baseline", number: true, cell: (label) => counted(before?.[label]) },
      { title: "Now", number: true, cell: (label) => counted(found[label]) },
    ], kind.classes),
  };
}

const counted = (value) => (value === undefined ? "–" : data(value, count(value)));

function rewards({ now, baseline }) {
  const [after, before] = [now, baseline ?? []].map((rows) => rows.map(({ reward }) => reward));
  const borders = edges([...after, ...before]);
  const [found, first] = [binned(after, borders), binned(before, borders)];
  const bins = found.map((each, i) => ({
    from: borders[i], to: borders[i + 1], count: each, first: first[i],
    now: each / now.length, before: baseline && first[i] / baseline.length,
  }));
  const was = baseline ? `, in the baseline ${fixed(mean(before))}` : "";
  return {
    draw: () => ({
      height: 220, marginLeft: 40, marginRight: 12, marginTop: 12, marginBottom: 36,
      x: { label: "total reward", labelAnchor: "center", labelArrow: "none", ticks: 6 }, y: { label: null, tickFormat: "%", ticks: 4, grid: true },
      marks: [
        Plot.rectY(bins, { x1: "from", x2: "to", y: "now", fill: NOW, inset: 1 }),
        baseline && Plot.rectY(bins.filter(({ before }) => before > 0), { x1: "from", x2: "to", y: "before", ...OUTLINE }),
        Plot.ruleY([0]),
      ],
    }),
    label: `Histogram of the total reward. Mean now ${fixed(mean(after))}${was}.`,
    table: table("How many scores have a reward in each range", [
      { title: "Reward", head: true, cell: ({ from, to }) => [data(from, fixed(from)), " to ", data(to, fixed(to))] },
      { title: "Baseline", number: true, cell: ({ first }) => counted(baseline ? first : undefined) },
      { title: "Now", number: true, cell: ({ count: each }) => counted(each) },
    ], bins.filter(({ count: each, first }) => each + first > 0)),
  };
}

function lengths({ now, baseline }) {
  const pull = lengthCorrelation(now);
  const [after, before] = [now, baseline ?? []].map((rows) => mean(rows.map(({ characters }) => characters)));
  const was = baseline ? `, in the baseline ${count(Math.round(before))}` : "";
  const means = [{ at: after, dash: "none" }, baseline && { at: before, dash: "4,4" }].filter(Boolean);
  const said = pull === null ? "no correlation can be told" : `correlation ${signed(pull)}`;
  return {
    draw: () => ({
      height: 220, marginLeft: 40, marginRight: 12, marginTop: 24, marginBottom: 36, grid: true,
      x: { type: "log", label: "characters, log scale", labelAnchor: "center", labelArrow: "none", ticks: 4, tickFormat: "~s" },
      y: { label: null, ticks: 5, domain: around(now.map(({ reward }) => reward)) },
      marks: [
        ...means.map(({ at, dash }) => Plot.ruleX([Math.max(1, at)], { stroke: "currentColor", strokeDasharray: dash })),
        Plot.dot(now, { x: ({ characters }) => Math.max(1, characters), y: "reward", r: 2.5, fill: NOW, fillOpacity: 0.5 }),
      ],
    }),
    label: `Total reward against the log of the length of ${count(now.length)} completions: ${said}. Mean length now ${count(Math.round(after))} characters${was}.`,
    table: table("Length", [
      { title: "", head: true, cell: ([title]) => title },
      { title: "Baseline", number: true, cell: ([, first]) => first ?? "–" },
      { title: "Now", number: true, cell: ([, , last]) => last },
    ], [
      ["Mean characters", baseline && data(before, count(Math.round(before))), data(after, count(Math.round(after)))],
      ["Correlation of reward and log length", baseline && told(lengthCorrelation(baseline)), told(pull)],
    ]),
  };
}

const told = (value) => (value === null ? "none" : data(value, signed(value)));

function propositions(compared, kind) {
  if (!kind) return null;
  const all = drifts(compared, kind.propositions);
  const rows = all.slice(0, MOST).map(({ name: label, now, before, change }) => {
    const watch = Math.abs(change) > DRIFT;
    return {
      label: watch ? `▲ ${label}` : label, now, before, fill: watch ? "var(--loss)" : NOW,
      value: before === null ? fixed(now) : `${fixed(before)} → ${fixed(now)}`,
    };
  });
  return {
    draw: () => paired(rows, { top: 1 }),
    label: `Mean P(yes) of ${count(all.length)} propositions; first ${rows.slice(0, 3).map(({ label, value }) => `${label} ${value}`).join(", ")}.`,
    table: table("Mean P(yes) of each proposition", [
      { title: "Proposition", head: true, cell: ({ name: label }) => name(label) },
      { title: "Baseline", number: true, cell: ({ before }) => (before === null ? "–" : data(before, fixed(before))) },
      { title: "Now", number: true, cell: ({ now }) => data(now, fixed(now)) },
      { title: "Change", number: true, cell: ({ before, change }) => (before === null ? "–" : data(change, signed(change))) },
    ], all),
  };
}
