// The service's JSON, on the page's own origin: an answer, or a ServiceError with its stable code.

import { signIn } from "./sign-in.js";

export class ServiceError extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export const get = (path) => asked(path, {});

export const post = (path, body) => asked(path, sent(body));

export const remove = (path) => asked(path, { method: "DELETE" });

const sent = (body) => ({ method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

// Where a key is needed and none is known, it is asked for, and the request sent again.
async function asked(path, request) {
  try {
    return await once(path, request);
  } catch (error) {
    if (error.status !== 401) throw error;
    await signIn((key) => once("v1/session", sent({ key })));
    return await once(path, request);
  }
}

// /readyz, whose body says the same whether its status is 200 or 503.
export const readiness = async () => (await fetched("readyz", {})).json();

async function fetched(path, request) {
  try {
    return await fetch(path, { credentials: "same-origin", cache: "no-store", ...request });
  } catch {
    throw new ServiceError(0, "unreachable", "The service does not answer: is it running?");
  }
}

async function once(path, request) {
  const response = await fetched(path, request);
  const text = await response.text();
  if (response.ok) return text ? JSON.parse(text) : null;
  throw refusal(response.status, text);
}

function refusal(status, text) {
  try {
    const { code, message } = JSON.parse(text).error;
    return new ServiceError(status, code, message);
  } catch {
    return new ServiceError(status, "http_error", `The service answered with status ${status}.`);
  }
}
