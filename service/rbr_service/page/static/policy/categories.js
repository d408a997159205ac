// The content policy: which requests are to be answered how, and what becomes of a sample without a label.

import { h, name, table } from "../dom.js";
import { percent } from "../format.js";

const SCOPE = "out_of_scope";

export function categories({ content }) {
  const rows = Object.entries(content.content_policy).map(([category, one]) => ({ category, ...one }));
  return h(
    "section",
    { class: "panel", id: "categories", tabindex: -1, "aria-labelledby": "categories-title" },
    h("h2", { id: "categories-title" }, "Content policy"),
    h("p", unlabelled(content)),
    content.auto && h("p", auto(content)),
    rows.length > 0 && table("What is asked, and how it is to be answered", [
      { title: "Category", head: true, cell: ({ category }) => category },
      { title: "Response type", cell: ({ response_type: type }) => (type === SCOPE ? "out of scope" : name(type)) },
      { title: "Requests", cell: ({ description }) => description },
    ], rows, { class: "cards" }),
  );
}

function unlabelled({ unlabelled: rule }) {
  const start = "A sample without a label ";
  if (rule === SCOPE) return `${start}is out of scope: it earns its base reward alone.`;
  if (rule === "error") return `${start}is refused with an error.`;
  if (rule === "auto") return `${start}is judged by its request.`;
  return `${start}is judged as ${rule}.`;
}

function auto({ unlabelled: rule, auto: { threshold, strictest_first: order } }) {
  const asked = "the grader is asked of each category below whether it describes the request, and the most probable one decides";
  return [
    rule === "auto" ? "Then " : ["With ", h("code", "unlabelled: auto"), ", which is not in force, "],
    `${asked} if it is at least ${percent(threshold)} probable; otherwise the request is out of scope. `,
    `Of equally probable ones the strictest wins: ${order.join(", ")}, out of scope.`,
  ];
}
