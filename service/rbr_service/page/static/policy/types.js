// The response types, one at a time: what is wanted, the rules, the weights.

import { h, name } from "../dom.js";
import { rules } from "./rules.js";
import { weights } from "./weights.js";

// `first`: the type shown first, if the policy has it; `onChoice(type)` is called when the reader chooses another.
export function types(policy, first, onChoice) {
  const names = Object.keys(policy.content.response_types);
  const shown = h("div");
  const buttons = names.map((one) => h("button", { type: "button", onclick: () => choose(one) }, name(one)));
  const element = h(
    "section",
    { class: "panel", id: "types", tabindex: -1, "aria-labelledby": "types-title" },
    h("h2", { id: "types-title" }, "Response types: rules and weights"),
    h("div", { class: "row choice", role: "group", "aria-label": "Response type" }, buttons),
    shown,
  );

  function show(type) {
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", names[i] === type));
    shown.replaceChildren(...[head(type, policy), rules(type, policy), weights(type, policy)].flat(Infinity).filter(Boolean));
  }

  function choose(type) {
    show(type);
    onChoice(type);
  }

  show(names.includes(first) ? first : names[0]);
  return element;
}

function head(type, { content, response_type_hashes: hashes }) {
  const { description, aliases, good, bad } = content.response_types[type];
  const listed = (names) => (names.length ? names.map((one, i) => [i > 0 && ", ", name(one)]) : "none");
  const counts = Object.entries(content.metrics)
    .filter(([, types]) => Object.hasOwn(types, type))
    .map(([metric, types]) => `${metric === "overrefusal" ? "over-refusal" : metric}: ${types[type].join(", ")}`);
  return [
    h("p", description),
    h("dl", { class: "facts" },
      h("dt", "Also called"), h("dd", aliases.join(", ") || "nothing else"),
      h("dt", h("span", { class: "good" }, "good"), " traits"), h("dd", listed(good)),
      h("dt", h("span", { class: "bad" }, "bad"), " traits"), h("dd", listed(bad)),
      counts.length > 0 && [h("dt", "Counted as"), h("dd", counts.join("; "))],
      h("dt", "Hash"), h("dd", h("code", hashes[type].slice(0, 12)))),
  ];
}
