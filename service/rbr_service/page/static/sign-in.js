// The dialog that asks for the API key. The key goes to the service and is kept nowhere here.

import { h } from "./dom.js";

let asking = null;

// Ask until `login(key)` succeeds; several callers share one dialog.
export function signIn(login) {
  asking ??= dialog(login).finally(() => (asking = null));
  return asking;
}

function dialog(login) {
  const { promise, resolve } = Promise.withResolvers?.() ?? withResolvers();
  const key = h("input", { type: "password", id: "api-key", autocomplete: "current-password", required: true });
  const problem = h("p", { role: "alert", class: "error" });
  const form = h(
    "form",
    { method: "dialog" },
    h("h2", { id: "sign-in" }, "Sign in"),
    h("p", "This service asks for its API key (RBR_API_KEY)."),
    h("label", { for: "api-key" }, "API key"),
    key,
    problem,
    h("button", { class: "main" }, "Sign in"),
  );
  const box = h("dialog", { "aria-labelledby": "sign-in" }, form);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      await login(key.value);
      box.remove();
      resolve();
    } catch (error) {
      problem.textContent = error.status === 401 ? "That is not the key." : error.message;
      key.select();
    }
  });
  box.addEventListener("cancel", (event) => event.preventDefault()); // nothing can be shown without the key
  document.body.append(box);
  box.showModal();
  return promise;
}

function withResolvers() {
  const made = {};
  made.promise = new Promise((resolve) => (made.resolve = resolve));
  return made;
}
