// What a reader takes along: a link to this view, the request as a curl command or JSON, the answer as JSON.

import { h } from "../dom.js";
import { address, pack, remember } from "../link.js";

const LONGEST = 60_000; // characters of a link that browsers, chats and mail still carry

// The link of a case under a reward version; also put into the address bar. null: too long for a link.
export async function link(content, rewardVersion) {
  const s = await pack({ ...content, reward_version: rewardVersion });
  if (s.length > LONGEST) return null;
  remember("score", { s });
  return address("score", { s });
}

// A line of buttons. `body`: the request; `answer`: what came of it; `key`: whether the service wants its key.
export function share({ url, body, answer, key }) {
  const said = h("span", { role: "status", class: "muted" });
  const button = (title, text) => h("button", { type: "button", onclick: () => copy(text, said) }, title);
  const whole = JSON.stringify(body, null, 2);
  return h(
    "div",
    { class: "row share" },
    url === null ? h("span", { class: "muted" }, "Too long for a link.") : button("Copy link", url),
    button("Copy as curl", curl(body, key)),
    button("Copy as JSON", whole),
    button("Copy the answer", JSON.stringify(answer, null, 2)),
    said,
  );
}

export function curl(body, key) {
  const target = quoted(new URL("v1/score", location.origin + location.pathname).href);
  const authorization = key ? ' \\\n  -H "Authorization: Bearer $RBR_API_KEY"' : "";
  return (
    `curl -s ${target} -H 'Content-Type: application/json'${authorization} \\\n` +
    `  --data-binary @- <<'JSON'\n${JSON.stringify(body)}\nJSON\n`
  );
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

async function copy(text, said) {
  try {
    await navigator.clipboard.writeText(text);
    said.textContent = "Copied.";
  } catch {
    byHand(text); // over plain HTTP from another machine browsers give no clipboard
  }
}

function byHand(text) {
  const area = h("textarea", { readonly: true, rows: 8, id: "by-hand", value: text });
  const box = h(
    "dialog",
    { "aria-labelledby": "by-hand-title", onclose: () => box.remove() },
    h("h2", { id: "by-hand-title" }, "Copy by hand"),
    h("label", { for: "by-hand" }, "The browser does not let this page write to the clipboard. Press Ctrl+C:"),
    area,
    h("form", { method: "dialog", class: "row" }, h("button", "Close")),
  );
  document.body.append(box);
  box.showModal();
  area.select();
}
