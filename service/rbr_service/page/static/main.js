// The page: which view the address names, and what the service serves.

import { get, readiness, remove } from "./api.js";
import { h } from "./dom.js";
import { short } from "./format.js";
import { place } from "./link.js";

const VIEWS = {
  score: { title: "Score", load: () => import("./score/view.js") },
  policy: { title: "Policy", load: () => import("./policy/view.js") },
  live: { title: "Live", load: () => import("./live/view.js") },
};

const root = document.getElementById("view");
let leave = null;
let shown = 0;

// What the views are told: the policy in force (/v1/policy), /readyz, and whether the service asks for a key.
async function serving() {
  const policy = await get("v1/policy");
  const ready = await readiness();
  const { key_needed: key } = await get("v1/session");
  document.getElementById("serving").replaceChildren(...footer(policy, ready, key));
  return { policy, ready, key };
}

const footer = (policy, ready, key) =>
  [
    h("p", h("b", policy.policy), ` · reward version ${short(policy.reward_version)} · grader ${ready.grader ?? "unknown"} · `,
      h("a", { href: "docs" }, "API")),
    key && h("p", h("button", { type: "button", onclick: signOut }, "Sign out")),
    ready.status !== "ready" && h("p", { class: "error", role: "status" }, `Not able to score now: ${ready.reason}`),
    ready.grader_note && h("p", { class: "muted" }, `About the grader: ${ready.grader_note}`),
    policy.accepted_mismatches.map((one) => h("p", { class: "warning" }, `Accepted for a trial: ${one}`)),
  ].flat().filter(Boolean);

async function signOut() {
  await remove("v1/session");
  location.reload();
}

async function show() {
  const { view } = place();
  const name = view in VIEWS ? view : "score";
  const turn = ++shown;
  leave?.();
  leave = null;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.getAttribute("href") === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${VIEWS[name].title} · Rule Based Rewards`;
  const frame = h("div", { class: `view ${name}` });
  root.replaceChildren(frame);
  root.setAttribute("aria-busy", "true");
  try {
    const service = await serving();
    const module = await VIEWS[name].load();
    if (turn !== shown) return; // the reader has gone on
    const left = await module.show(frame, service);
    if (turn === shown) leave = left ?? null;
    else left?.();
  } catch (error) {
    frame.replaceChildren(h("p", { role: "alert", class: "error" }, error.message));
    if (!error.code) throw error;
  } finally {
    if (turn === shown) root.removeAttribute("aria-busy");
  }
}

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address holds the view
  root.focus();
});
addEventListener("hashchange", () => show().then(() => root.focus({ preventScroll: true })));
show();
