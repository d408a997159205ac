// The form a conversation is written in: turns, completions, response type, base reward.

import { h, unique } from "../dom.js";
import { NAMES } from "./case.js";
import { examples } from "./examples.js";
import { paste } from "./paste.js";

const ROLES = ["system", "user", "assistant", "tool"];

// {element, fill(content), read()}; `onScore` is called when the form is sent. Its content is a case (case.js).
export function editor({ policy, ready }, onScore) {
  const turns = h("div");
  const completions = NAMES.map((name) => completion(name, ready.versions.base_reward));
  const type = typeSelect(policy);
  const add = (message) => turns.append(turn(message));
  const element = h(
    "form",
    { class: "editor", "aria-label": "What to score" },
    h("div", { class: "row" }, exampleSelect(policy, fill),
      h("button", { type: "button", onclick: () => paste(fill, (content) => completions[1].fill(content)) }, "Paste…")),
    h("fieldset", h("legend", "Conversation"), turns,
      h("button", { type: "button", onclick: () => add({ role: "user", content: "" }) }, "Add a turn")),
    completions.map((one) => one.element),
    h("div", { class: "row" }, type.element),
    baseNote(ready.versions.base_reward),
    h("div", { class: "row" }, h("button", { class: "main", title: "Ctrl+Enter" }, "Score"),
      h("span", { class: "muted" }, "under the policy ", h("a", { href: "#policy" }, policy.policy))),
  );
  element.addEventListener("submit", (event) => {
    event.preventDefault();
    onScore();
  });
  element.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) element.requestSubmit();
  });

  function fill({ messages, completions: given, label }) {
    turns.replaceChildren(...messages.map(turn));
    completions.forEach((one, i) => one.fill(given[i] ?? { content: "", base_reward: null }));
    type.fill(label);
  }

  function read() {
    const messages = [...turns.children].map((one) => one.read()).filter(({ content }) => content.trim());
    const [first, second] = completions.map((one) => one.read());
    return { messages, completions: second.content.trim() ? [first, second] : [first], label: type.read() };
  }

  return { element, fill, read };
}

function turn({ role, content }) {
  const text = h("textarea", { id: unique("turn"), rows: 2, value: content });
  const roles = h(
    "select",
    { "aria-label": "Role of this turn" },
    [...new Set([...ROLES, role])].map((one) => h("option", { value: one, selected: one === role }, one)),
  );
  const remove = h("button", { type: "button", onclick: () => element.remove() }, "Remove");
  const element = h(
    "div",
    { class: "turn" },
    h("div", { class: "row" }, roles, h("label", { for: text.id }, "says"), remove),
    text,
  );
  element.read = () => ({ role: roles.value, content: text.value });
  return element;
}

function completion(name, source) {
  const text = h("textarea", { id: unique("completion"), rows: 4 });
  const base = h("input", { id: unique("base"), type: "number", step: "any", min: -1e6, max: 1e6 });
  return {
    element: h(
      "div",
      h("label", { for: text.id }, name === "A" ? "Completion A" : "Completion B, to compare (may stay empty)"),
      text,
      source === "given" && h("div", { class: "row" }, h("label", { for: base.id }, `Base reward of ${name}`), base),
    ),
    fill({ content, base_reward }) {
      text.value = content;
      base.value = base_reward ?? "";
    },
    read: () => ({ content: text.value, base_reward: base.value === "" ? null : Number(base.value) }),
  };
}

function baseNote(source) {
  if (source === "given") return null;
  const said = source === "none" ? "none is added here (--base-reward none)" : `asked of ${source}`;
  return h("p", { class: "muted" }, `Base reward: ${said}.`);
}

// Response types, categories, and no label at all, which the policy says the meaning of.
function typeSelect({ content }) {
  const select = h("select", { id: unique("type") });
  const option = (key, name, text) => h("option", { value: JSON.stringify({ [key]: name }) }, text);
  const types = Object.keys(content.response_types);
  const categories = Object.entries(content.content_policy);
  select.append(
    h("option", { value: "{}" }, content.unlabelled === "auto" ? "auto: by the request" : `auto: none given (${content.unlabelled})`),
    h("optgroup", { label: "Response types" }, types.map((name) => option("response_type", name, name))),
    h("optgroup", { label: "Categories" }, categories.map(([name, { response_type }]) => option("category", name, `${name} (${response_type})`))),
  );
  return {
    element: [h("label", { for: select.id }, "Response type"), select],
    fill(label) {
      const value = JSON.stringify(label);
      if (![...select.options].some((one) => one.value === value)) {
        const [key, name] = Object.entries(label)[0];
        select.append(option(key, name, name)); // an alias, or a name that the service will refuse
      }
      select.value = value;
    },
    read: () => JSON.parse(select.value),
  };
}

function exampleSelect(policy, fill) {
  const found = examples(policy);
  const groups = [...new Set(found.map(({ group }) => group))];
  const select = h(
    "select",
    { class: "wide", "aria-label": "Examples", onchange: () => select.value && fill(found[Number(select.value)].content) },
    h("option", { value: "" }, "Examples…"),
    groups.map((group) => h("optgroup", { label: group }, found.map((one, i) => one.group === group && h("option", { value: i }, one.title)))),
  );
  return select;
}
