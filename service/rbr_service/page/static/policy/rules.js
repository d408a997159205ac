// A response type's rules: which answers make a completion which class.

import { classColour } from "../chart.js";
import { h, name } from "../dom.js";
import { asks, restsOn, spelled } from "./conditions.js";
import { matrix } from "./matrix.js";

export function rules(type, { content }) {
  const { derived } = content;
  const { good, bad } = content.response_types[type];
  const kind = (column) => ({
    derived: Object.hasOwn(derived, column),
    trait: good.includes(column) ? "good" : bad.includes(column) ? "bad" : null,
  });
  const conditions = Object.entries(content.rules[type]);
  const classes = content.classes.filter((one) => Object.hasOwn(content.rules[type], one));
  const rest = restsOn(conditions.map(([, condition]) => condition), derived);
  const asked = asks(conditions.map(([, condition]) => condition), derived);
  return [
    h("h3", "Rules"),
    h("p", { class: "muted" }, "Exactly one class holds, whatever the answers: that is proved. Where nothing stands, the answer does not matter."),
    matrix({
      label: `Rules of ${type}`,
      caption: "Classes, best to worst: each holds when its row's names are as given",
      rows: classes.map((one, i) => ({ title: one, condition: content.rules[type][one], mark: swatch(i, classes.length) })),
      kind,
    }),
    rest.length > 0 && h("h4", "Derived names"),
    rest.length > 0 && matrix({
      label: `Derived names of ${type}`,
      caption: "Conditions with a name, in italics above: each stands for its row",
      rows: rest.map((one) => ({ title: one, condition: derived[one], derived: true })),
      kind,
    }),
    inWords(classes.map((one) => [one, content.rules[type][one]]), derived, asked.length),
  ];
}

function swatch(rank, count) {
  const mark = h("span", { class: "swatch", "aria-hidden": "true" });
  mark.style.background = classColour(rank, count);
  return mark;
}

const inWords = (conditions, derived, count) =>
  h("details", h("summary", `Each class in its ${count} propositions, written out`),
    h("dl", { class: "written" }, conditions.map(([title, condition]) => [h("dt", name(title)), h("dd", spelled(condition, derived))])));
