// The propositions: what the grader is asked about each completion, and which response types need to know.

import { h, name, table, unique } from "../dom.js";
import { asks } from "./conditions.js";

// `onFilter(text)` is called when the reader filters.
export function questions(policy, first, onFilter) {
  const { propositions } = policy.content;
  const rows = Object.entries(propositions).map(([key, one]) => ({ key, ...one, uses: uses(key, policy) }));
  const status = h("p", { role: "status", class: "muted" });
  const found = table("What the grader is asked about a completion; definition and examples are part of the question", [
    { title: "Proposition", head: true, cell: ({ key }) => name(key) },
    { title: "Question", cell: question },
    { title: "Needed by", cell: ({ uses: types }) => h("div", types.map(({ type, how }) => h("span", { class: "line" }, name(type), how && h("span", { class: "muted" }, ` ${how}`)))) },
  ], rows, { class: "cards questions" });
  const lines = [...found.tBodies[0].rows].map((line, i) => ({ line, text: searched(rows[i]) }));
  const field = h("input", { type: "search", id: unique("filter"), value: first, oninput: () => {
    filter(field.value);
    onFilter(field.value);
  } });

  function filter(text) {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    lines.forEach((one) => (one.line.hidden = !words.every((word) => one.text.includes(word))));
    const left = lines.filter(({ line }) => !line.hidden).length;
    status.textContent = `${words.length ? `${left} of ` : ""}${rows.length} propositions`;
  }

  filter(first);
  return h(
    "section",
    { class: "panel", id: "questions", tabindex: -1, "aria-labelledby": "questions-title" },
    h("h2", { id: "questions-title" }, "Propositions"),
    h("div", { class: "row" }, h("label", { for: field.id }, "Filter by text"), field, status),
    found,
  );
}

const searched = ({ key, question: text, definition, examples }) =>
  [key, text, definition, ...examples.flatMap(({ user, assistant, because }) => [user, assistant, because])].join("\n").toLowerCase();

// [{type, how}]: the response types that ask it; `how` says where only the rules or only a weight do.
function uses(key, { content }) {
  return Object.entries(content.response_types).flatMap(([type, { features }]) => {
    const read = asks(Object.values(content.rules[type]), content.derived).includes(key);
    const weighed = features.propositions.includes(key);
    return read || weighed ? [{ type, how: read && weighed ? "" : read ? "rules only" : "weight only" }] : [];
  });
}

function question({ question: text, definition, examples }) {
  return h("div",
    h("p", text),
    h("details", h("summary", examples.length ? `Definition and ${examples.length} examples` : "Definition"),
      h("p", definition),
      examples.length > 0 && h("ul", { class: "examples" }, examples.map(example))));
}

export function example({ user, assistant, answer, because }) {
  return h("li",
    user !== null && h("p", h("b", "User: "), user),
    h("p", h("b", "Assistant: "), assistant),
    h("p", h("span", { class: answer ? "yes" : "no" }, answer ? "yes" : "no"), because !== null && [" ", because]));
}
