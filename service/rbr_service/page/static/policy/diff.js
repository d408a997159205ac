// Two policies compared: which to which, and what the service answers to that.

import { get } from "../api.js";
import { h, unique } from "../dom.js";
import { difference } from "./difference.js";

// {element, compared}, the latter a promise of the first comparison's end. `chosen`: {old, new} of a link, empty for
// the policy in force and its file; `onChoice` gets such.
export async function diff(chosen, onChoice) {
  const { in_force: served, policies } = await get("v1/policies");
  const inForce = h("option", { value: "" }, `${served}, in force as it is served`);
  const old = select("From", [inForce, ...options(policies)], chosen.old ?? "");
  const now = select("To", options(policies), chosen.new ?? served);
  const status = h("p", { role: "status", class: "unseen" });
  const result = h("div");
  let turn = 0;

  async function compare() {
    const mine = ++turn;
    result.setAttribute("aria-busy", "true");
    try {
      const query = new URLSearchParams({ new: now.value, ...(old.value && { old: old.value }) });
      const answer = await get(`v1/policy/diff?${query}`);
      if (mine !== turn) return;
      const [title, ...parts] = difference(answer);
      result.replaceChildren(title, ...parts);
      status.textContent = `Compared: ${title.textContent}`;
    } catch (error) {
      if (mine === turn) result.replaceChildren(h("p", { role: "alert", class: "error" }, error.message));
      if (!error.code) throw error;
    } finally {
      if (mine === turn) result.removeAttribute("aria-busy");
    }
  }

  const form = h("form", { class: "row", "aria-label": "Policies to compare" },
    [old, now].map((one) => h("span", { class: "labelled" }, h("label", { for: one.id }, one.dataset.title), one)), h("button", "Compare again"));
  form.addEventListener("change", () => {
    onChoice({ old: old.value, new: now.value === served ? "" : now.value });
    return compare();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    return compare();
  });
  const element = h(
    "section",
    { class: "panel", id: "diff", tabindex: -1, "aria-labelledby": "diff-title" },
    h("h2", { id: "diff-title" }, "What a change comes to"),
    h("p", { class: "muted" }, "Files are read as they are on disk now. From the policy in force to its own file: what a reload would change."),
    form,
    status,
    result,
  );
  return { element, compared: compare() };
}

const options = (names) => names.map((one) => h("option", { value: one }, `${one}, on disk`));

// A name that a link holds and the service does not know stays to be chosen, and the service says what it thinks.
function select(title, choices, value) {
  const known = choices.some((one) => one.value === value);
  const found = h("select", { id: unique("policy"), "data-title": title }, choices, !known && h("option", { value }, value));
  found.value = value;
  return found;
}
