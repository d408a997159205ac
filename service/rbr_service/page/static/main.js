// The page: which view the address names, and what the service serves.

import { get } from "./api.js";
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

// What the views are told: the policy in force (/v1/policy), and /readyz.
async function serving() {
  const policy = await get("v1/policy");
  const ready = await get("readyz").catch((error) => ({ status: "not_ready", reason: error.message }));
  footer(policy, ready);
  return { policy, ready };
}

function footer(policy, ready) {
  const parts = [
    h("p", h("b", policy.policy), ` · reward version ${short(policy.reward_version)} · grader ${ready.grader ?? "unknown"} · `,
      h("a", { href: "docs" }, "API")),
    ready.status !== "ready" && h("p", { class: "error", role: "status" }, `Not able to score now: ${ready.reason}`),
    ready.grader_note && h("p", { class: "muted" }, `About the grader: ${ready.grader_note}`),
    policy.accepted_mismatches.map((one) => h("p", { class: "warning" }, `Accepted for a trial: ${one}`)),
  ];
  document.getElementById("serving").replaceChildren(...parts.flat().filter(Boolean));
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
