// The connection to /v1/live: events come in, and what became of the connection.

import { get } from "../api.js";

const AGAIN = 5000; // ms until the next try where the browser itself has given up

// `on`: {hello, baseline, scores, version}, each with the event's data; `tell(state)`: "connecting", "live",
// "reconnecting", "full" (no stream is free) or "signed out". The answer closes the connection.
export function connect(on, tell) {
  let source = null;
  let timer = 0;
  let closed = false;

  function open() {
    source = new EventSource("v1/live");
    for (const [name, take] of Object.entries(on)) source.addEventListener(name, ({ data }) => take(JSON.parse(data)));
    source.addEventListener("open", () => tell("live"));
    source.addEventListener("error", lost);
  }

  function lost() {
    if (source.readyState === EventSource.CLOSED) refused();
    else tell("reconnecting"); // the browser tries again by itself, and says where it was
  }

  // EventSource keeps the status to itself: another request finds out what is the matter.
  async function refused() {
    try {
      const { status } = await fetch("v1/policy", { cache: "no-store" });
      if (status === 401) tell("signed out");
      await get("v1/policy"); // asks for the key
      tell(status === 401 ? "connecting" : "full");
      if (!closed) timer = setTimeout(open, status === 401 ? 0 : AGAIN);
    } catch {
      tell("reconnecting");
      if (!closed) timer = setTimeout(open, AGAIN);
    }
  }

  tell("connecting");
  open();
  return () => {
    closed = true;
    clearTimeout(timer);
    source.close();
  };
}
