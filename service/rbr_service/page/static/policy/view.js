// The Policy view: what is asked, which answers make which class, what each earns, and what a change comes to.

import { h } from "../dom.js";
import { short } from "../format.js";
import { place, remember } from "../link.js";
import { categories } from "./categories.js";
import { diff } from "./diff.js";
import { questions } from "./questions.js";
import { types } from "./types.js";

const PARTS = { types: "Response types", questions: "Propositions", categories: "Content policy", diff: "What a change comes to" };

// The address holds the reader's choices: type, q (filter), old and new (compared), at (the part gone to).
export async function show(root, { policy, ready }) {
  const chosen = Object.fromEntries(place().parameters);
  const choose = (changes) => {
    Object.assign(chosen, changes);
    remember("policy", Object.fromEntries(Object.entries(chosen).filter(([, value]) => value)));
  };
  const { element, compared } = await diff(chosen, choose);
  root.append(
    heading(policy, ready),
    contents((part) => {
      choose({ at: part });
      go(part);
    }),
    types(policy, chosen.type, (type) => choose({ type })),
    questions(policy, chosen.q ?? "", (q) => choose({ q })),
    categories(policy),
    element,
  );
  if (chosen.at === "diff") compared.then(() => go("diff")); // which is short until then
  else if (Object.hasOwn(PARTS, chosen.at ?? "")) go(chosen.at);
}

function go(part) {
  const section = document.getElementById(part);
  section.scrollIntoView({ behavior: "instant" });
  section.focus({ preventScroll: true });
}

const contents = (onChoice) =>
  h("nav", { class: "row contents", "aria-label": "Parts of this view" }, Object.entries(PARTS).map(([part, title]) =>
    h("a", { href: `#policy?at=${part}`, onclick: (event) => {
      event.preventDefault();
      onChoice(part);
    } }, title)));

function heading({ policy, version, reward_version: reward, accepted_mismatches: accepted, content }, ready) {
  return h("div",
    h("h1", { tabindex: -1 }, `The policy ${policy}`),
    h("p", content.description),
    h("dl", { class: "facts" },
      h("dt", "Policy version"), h("dd", h("code", { title: version }, short(version))),
      h("dt", "Reward version"), h("dd", h("code", { title: reward }, short(reward))),
      h("dt", "Grader"), h("dd", ready.grader ?? "unknown", ready.grader_note && h("span", { class: "muted" }, `. ${ready.grader_note}`)),
      h("dt", "Weights"), h("dd", accepted.length ? "accepted for a trial, although they do not match:" : "match the policy, the grader and the base reward",
        accepted.length > 0 && h("ul", accepted.map((one) => h("li", { class: "warning" }, one))))));
}
