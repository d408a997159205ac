// The dialog that takes what a trainer or a log holds; the service itself reads it (/v1/read).

import { post } from "../api.js";
import { h } from "../dom.js";
import { count, excerpt } from "../format.js";
import { ofSample } from "./case.js";

const MOST = 50; // samples offered

// `fill(case)` takes a whole sample, `compare(completion)` only its completion, to compare with.
export function paste(fill, compare) {
  const text = h("textarea", { id: "pasted", rows: 8 });
  const problem = h("p", { role: "alert", class: "error" });
  const found = h("div");
  const box = h(
    "dialog",
    { "aria-labelledby": "paste", onclose: () => box.remove() },
    h("h2", { id: "paste" }, "Paste"),
    h("label", { for: "pasted" }, "A chat-templated string, a body of /score, /v1/score or /slime, or a list of messages"),
    text,
    problem,
    h("div", { class: "row" },
      h("button", { type: "button", class: "main", onclick: read }, "Read"),
      h("button", { type: "button", onclick: () => box.close() }, "Cancel")),
    found,
  );

  async function read() {
    problem.textContent = "";
    found.replaceChildren();
    try {
      const { samples } = await post("v1/read", { text: text.value });
      if (samples.length === 1) take(fill, ofSample(samples[0]));
      else found.replaceChildren(...offered(samples));
    } catch (error) {
      problem.textContent = error.message;
    }
  }

  function take(use, content) {
    use(content);
    box.close();
  }

  function offered(samples) {
    const rows = samples.slice(0, MOST).map((sample, i) => {
      const content = ofSample(sample);
      const [completion] = content.completions;
      return h(
        "li",
        h("p", excerpt(completion.content, 120)),
        h("button", { type: "button", onclick: () => take(fill, content) }, `Sample ${i + 1} as A`),
        " ",
        h("button", { type: "button", onclick: () => take(compare, completion) }, "Its completion as B"),
      );
    });
    const more = samples.length > MOST && `, the first ${MOST} of them here`;
    return [h("h3", { tabindex: -1 }, `${count(samples.length)} samples${more || ""}`), h("ol", rows)];
  }

  document.body.append(box);
  box.showModal();
}
