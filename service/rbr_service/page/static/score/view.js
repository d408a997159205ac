// The Score view: a conversation goes to /v1/explain, and its reward comes back as a picture.

import { get, post } from "../api.js";
import { h } from "../dom.js";
import { fixed, short } from "../format.js";
import { place, unpack } from "../link.js";
import { checked, NAMES, request } from "./case.js";
import { comparison } from "./comparison.js";
import { editor } from "./editor.js";
import { examples } from "./examples.js";
import { explanation } from "./explanation.js";
import { propositions } from "./propositions.js";
import { link, share } from "./share.js";

export async function show(root, service) {
  const answerArea = h("div", { class: "answer", role: "region", "aria-label": "Reward" });
  const form = editor(service, score);
  const notice = h("div", { role: "status" });
  const aloud = h("p", { role: "status", class: "unseen" }); // for those who do not see the picture appear
  root.append(h("h1", { tabindex: -1 }, "What does a completion earn, and why?"), notice, aloud, h("div", { class: "columns" }, form.element, answerArea));
  let turn = 0;

  async function score() {
    const mine = ++turn;
    const content = form.read();
    const body = request(content, service.policy.policy);
    answerArea.setAttribute("aria-busy", "true");
    try {
      const answer = await post("v1/explain", body);
      if (answer.reward_version !== service.policy.reward_version) service.policy = await get("v1/policy");
      const url = await link(content, answer.reward_version);
      if (mine !== turn) return;
      aloud.textContent = `Scored: ${answer.results.map(({ reward }) => fixed(reward)).join(" and ")}.`;
      answerArea.replaceChildren(share({ url, body, answer, key: service.key }), ...picture(answer, service.policy));
    } catch (error) {
      if (mine !== turn) return;
      answerArea.replaceChildren(h("p", { role: "alert", class: "error" }, error.message));
      if (!error.code) throw error;
    } finally {
      if (mine === turn) answerArea.removeAttribute("aria-busy");
    }
  }

  const { parameters } = place();
  const linked = parameters.has("s") ? await opened(parameters.get("s"), service.policy, notice) : null;
  form.fill(linked ?? examples(service.policy)[0].content);
  if (linked) await score();
  else answerArea.append(h("p", { class: "muted" }, "Press Score to see what each completion earns, and why. Change the texts, or paste your own."));
}

function picture({ results }, policy) {
  const single = results.length === 1;
  const each = results.map((result, i) => explanation(single ? "The completion" : `Completion ${NAMES[i]}`, result, policy));
  const found = propositions(results, policy);
  const compared = single ? each : [comparison(...results, policy), h("div", { class: "pair" }, each)];
  return found ? [...compared, h("section", { class: "panel" }, h("h2", "Propositions"), found)] : compared;
}

// The case of a link, or null where the link is broken; the reader is told what to know of it.
async function opened(packed, policy, notice) {
  try {
    const { reward_version: made, ...content } = await unpack(packed);
    const found = checked(content);
    if (made !== policy.reward_version) {
      notice.append(h("p", { class: "warning" }, `This link was made under the reward version ${short(String(made))}; in force is ${short(policy.reward_version)}, so its numbers may differ.`));
    }
    return found;
  } catch {
    notice.append(h("p", { class: "error" }, "The link is broken: it holds no conversation."));
    return null;
  }
}
