// Conditions as a table: a row for each (and for each alternative of a list), a column for each name they mention.

import { h, name } from "../dom.js";
import { alternatives, mentioned } from "./conditions.js";

// `label`: what it is called, `caption`: how it is read. `rows`: [{title, condition, mark, derived}], `kind(name)`:
// {derived, trait} of a column. It scrolls in a region of its own.
export function matrix({ label, caption, rows, kind }) {
  const columns = mentioned(rows.map(({ condition }) => condition));
  const head = h("tr", h("td"), columns.map((column) => heading(column, kind(column))));
  const body = rows.map((row) => h("tbody", alternatives(row.condition).map((one, i) => line(row, one, i, columns))));
  return [
    h("p", { class: "muted" }, caption),
    h("div", { class: "scroll matrix", role: "region", "aria-label": label, tabindex: 0 },
      h("table", { "aria-label": label }, h("thead", head), body)),
  ];
}

function heading(column, { derived, trait }) {
  return h(
    "th",
    { scope: "col", class: derived && "derived" },
    h("span", { class: "upright" }, name(column), derived && h("span", { class: "unseen" }, ", derived")),
    trait && h("span", { class: trait }, trait, h("span", { class: "unseen" }, " trait")),
  );
}

function line({ title, mark, derived }, condition, i, columns) {
  const called = i === 0 ? [mark, name(title)] : [h("i", "or"), h("span", { class: "unseen" }, ` another way to be ${title}`)];
  return h(
    "tr",
    h("th", { scope: "row", class: [i && "or", derived && "derived"].filter(Boolean).join(" ") || null }, called),
    columns.map((column) => cell(condition, column)),
  );
}

function cell(condition, column) {
  if (!Object.hasOwn(condition, column)) return h("td", h("span", { class: "unseen" }, "does not matter"));
  const word = condition[column] ? "yes" : "no";
  return h("td", h("span", { class: word }, word));
}
