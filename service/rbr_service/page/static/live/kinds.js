// The choice of a response type: how many scores each has, and whether a sign is to be watched.

import { h, unique } from "../dom.js";
import { count } from "../format.js";

export const named = (kind) => kind ?? "out_of_scope";

// {element, chosen(), update([{kind, scores, watched}])}; `onchange` when the reader chose another.
export function kinds(onchange) {
  const group = unique("kinds");
  const element = h("fieldset", { class: "kinds", onchange: () => { taken = true; onchange(); } }, h("legend", "Response type"));
  const options = new Map(); // kind -> {input, said}
  let taken = false; // by the reader: until then the one with most scores is shown

  function option(kind) {
    const input = h("input", { type: "radio", name: group, value: named(kind) });
    const said = h("span", { class: "muted" });
    const label = h("label", input, " ", named(kind), " ", said);
    options.set(kind, { input, said, label });
    element.append(label);
    return options.get(kind);
  }

  function update(found) {
    for (const [kind, { label }] of options) {
      if (found.some((one) => one.kind === kind)) continue;
      label.remove();
      options.delete(kind);
    }
    for (const { kind, scores, watched } of found) {
      const { said } = options.get(kind) ?? option(kind);
      said.textContent = watched ? `${count(scores)} scores, watch` : `${count(scores)} scores`;
      said.className = watched ? "warning" : "muted";
    }
    if (!found.length) taken = false;
    else if (!taken || chosen() === undefined) {
      const most = found.reduce((best, one) => (one.scores > best.scores ? one : best));
      options.get(most.kind).input.checked = true;
    }
  }

  const chosen = () => [...options].find(([, { input }]) => input.checked)?.[0];

  return { element, update, chosen };
}
