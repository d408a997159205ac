// The newest completions, one row each. Rows stay while their scores do, so that a focused link keeps its focus.

import { data, h, name, table } from "../dom.js";
import { count, excerpt, fixed } from "../format.js";
import { address, pack } from "../link.js";
import { clock } from "./clock.js";

const columns = [
  { title: "Time", head: true },
  { title: "Response type" },
  { title: "Class" },
  { title: "Reward", number: true },
  { title: "Characters", number: true },
];
const TEXTS = [{ title: "Request and completion" }, { title: "Why" }];

// {element, update(scores)}. `service`: what main.js tells the views.
export function listing(service) {
  const body = h("div", { class: "scroll" });
  const note = h("p", { class: "muted" });
  let shown = new Map();
  let frame = null;

  function update(scores) {
    const { texts: allowed } = scores.hello;
    if (frame?.hello !== scores.hello) frame = begun(scores);
    note.textContent = allowed ? "" : "Their texts are not shown: this service keeps none. To see them here, start it with --live-texts (or RBR_LIVE_TEXTS=true); whoever has the API key can then read what was written.";
    note.hidden = allowed;
    const rows = scores.newest();
    const kept = new Map(rows.map((row) => [row.number, shown.get(row.number) ?? line(row, scores, service)]));
    for (const [number, element] of shown) if (!kept.has(number)) element.remove();
    let place = frame.body.firstChild;
    for (const element of kept.values()) {
      if (element === place) place = place.nextSibling;
      else frame.body.insertBefore(element, place);
    }
    shown = kept;
  }

  function begun(scores) {
    const titles = scores.hello.texts ? [...columns, ...TEXTS] : columns;
    const made = table("Newest first", titles, [], { class: "cards newest" });
    shown = new Map();
    body.replaceChildren(made);
    return { hello: scores.hello, body: made.tBodies[0] };
  }

  return { element: h("section", h("h2", "Last completions"), note, body), update };
}

function line(row, scores, service) {
  const cells = {
    Time: clock(row.time, true),
    "Response type": name(row.response_type ?? "out_of_scope"),
    Class: row.best_class === null ? "–" : name(row.best_class),
    Reward: data(row.reward, fixed(row.reward)),
    Characters: data(row.characters, count(row.characters)),
  };
  const titles = [...columns];
  if (scores.hello.texts) {
    const texts = scores.texts.get(row.number);
    cells["Request and completion"] = texts ? written(texts) : "no longer kept";
    cells.Why = texts ? link(row, texts, scores.hello, service) : "–";
    titles.push(...TEXTS);
  }
  const made = table("", titles.map((column) => ({ ...column, cell: (found) => found[column.title] })), [cells]);
  return made.tBodies[0].rows[0];
}

// Both texts, cut short; the rest on demand.
const written = ({ prompt, prompt_left_out: lost, completion, completion_left_out: cut }) =>
  h("details", { class: "written" },
    h("summary", quoted(excerpt(flat(completion), 120) || "(empty)")),
    h("p", { class: "muted" }, "Last user message"), quoted(prompt || "(none)"), left(lost),
    h("p", { class: "muted" }, "Completion"), quoted(completion || "(empty)"), left(cut));

const flat = (text) => text.replace(/\s+/g, " ").trim();

const quoted = (text) => h("bdi", { class: "quoted" }, text);

const left = (characters) => characters > 0 && h("p", { class: "muted" }, `${count(characters)} more characters are not kept.`);

// Its address is known a moment later: packing is not done at once.
function link(row, texts, hello, service) {
  const element = h("a", `open #${row.number} in Score`);
  const given = service.ready.versions.base_reward === "given";
  pack({
    messages: texts.prompt ? [{ role: "user", content: texts.prompt }] : [],
    completions: [{ content: texts.completion, base_reward: given ? row.base_reward : null }],
    label: row.response_type === null ? {} : { response_type: row.response_type },
    reward_version: hello.reward_version,
  }).then((s) => element.setAttribute("href", address("score", { s })));
  const parts = [texts.earlier > 0 && `${count(texts.earlier)} other messages of its prompt are not kept`,
    texts.prompt_left_out + texts.completion_left_out > 0 && "its texts are cut"].filter(Boolean);
  return [element, parts.length > 0 && h("span", { class: "line muted" }, `The reward there may differ: ${parts.join(", ")}.`)];
}
