// Charts by Observable Plot, drawn again when their width changes, named for screen readers, their numbers below.

import { h } from "./dom.js";

/* global Plot */

// A figure. `label`: what it shows, in a sentence; `draw(width)`: options for Plot.plot; `numbers`: a table of the
// same, or null where the page has one anyway. `update(draw)` of the element shows other data.
export function figure({ title, label, draw, numbers = null }) {
  const frame = h("div", { class: "plot", role: "img", "aria-label": label });
  const element = h(
    "figure",
    title && h("figcaption", title),
    frame,
    numbers && h("details", h("summary", "Numbers"), numbers),
  );
  let drawing = draw;
  let width = 0;
  const redraw = () => width && frame.replaceChildren(plotted(drawing(width), width));
  new ResizeObserver(([entry]) => {
    const found = Math.floor(entry.contentRect.width);
    if (found === width) return;
    width = found;
    redraw();
  }).observe(frame);
  element.update = (another, said = label) => {
    drawing = another;
    frame.setAttribute("aria-label", said);
    redraw();
  };
  return element;
}

function plotted(options, width) {
  const svg = Plot.plot({ width, ...options });
  svg.querySelector("style").remove(); // the Content-Security-Policy refuses it; style.css has the same
  svg.setAttribute("aria-hidden", "true"); // the figure around it is named
  return svg;
}

// Colours of classes, best to worst: `rank` of `count`, as style.css has them for light and dark.
export function classColour(rank, count) {
  const place = count > 1 ? Math.round((rank / (count - 1)) * 4) : 0;
  return `var(--class-${place})`;
}

const ROW = 40; // px: a line of text and a mark below it
export const BAR = { insetTop: 22, insetBottom: 5 };

// Options for marks that each stand under their own text, so that long names fit a phone.
// `rows`: [{label, value}], `value` a text for the right edge; `marks(rows)` draws them, by y "key".
export function list(rows, { domain, tickFormat, ticks = 5, marks }) {
  const keyed = rows.map((row, i) => ({ ...row, key: String(i) }));
  const text = { y: "key", dy: 10 - ROW / 2, fill: "currentColor", stroke: "var(--ground)", strokeWidth: 4 };
  return {
    height: rows.length * ROW + 24,
    marginLeft: 12,
    marginRight: 12,
    marginTop: 0,
    marginBottom: 24,
    x: { domain, ticks, tickFormat, label: null, tickSize: 3 },
    y: { type: "band", domain: keyed.map(({ key }) => key), axis: null, padding: 0 },
    marks: [
      Plot.gridX({ ticks }),
      ...marks(keyed),
      Plot.text(keyed, { ...text, text: "label", frameAnchor: "left", textAnchor: "start" }),
      Plot.text(keyed, { ...text, text: "value", frameAnchor: "right", textAnchor: "end", fontWeight: "bold" }),
    ],
  };
}

// A list of bars: `rows` also have {from, to, fill}; a dashed line stands at `line`.
export function bars(rows, { domain, line = null }) {
  const marks = (keyed) => [
    line === null ? null : Plot.ruleX([line], { strokeDasharray: "3,3" }),
    Plot.barX(keyed, { y: "key", x1: "from", x2: "to", fill: "fill", ...BAR }),
    Plot.tickX(keyed, { y: "key", x: "to", stroke: "fill", strokeWidth: 2, ...BAR }), // where it is too thin
  ];
  return list(rows, { domain, marks });
}

// A domain that holds the values, with a little room.
export function around(values) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const room = (high - low || 1) * 0.02;
  return [low - room, high + room];
}
