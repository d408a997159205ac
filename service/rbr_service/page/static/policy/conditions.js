// Conditions of a policy's rules: a mapping holds when all of its names are as given there, a list when any of its
// mappings does. Names are of propositions or of derived conditions.

export const alternatives = (condition) => (Array.isArray(condition) ? condition : [condition]);

// The names that conditions mention, each once, in order.
export const mentioned = (conditions) => [...new Set(conditions.flatMap(alternatives).flatMap(Object.keys))];

// The derived names that conditions rest on, through others too, in the order of the policy.
export function restsOn(conditions, derived) {
  const found = new Set();
  const look = (names) => names.filter((one) => Object.hasOwn(derived, one) && !found.has(one)).forEach((one) => {
    found.add(one);
    look(mentioned([derived[one]]));
  });
  look(mentioned(conditions));
  return Object.keys(derived).filter((one) => found.has(one));
}

// The propositions that conditions rest on, through derived names too.
export const asks = (conditions, derived) =>
  mentioned([...conditions, ...restsOn(conditions, derived).map((one) => derived[one])]).filter((one) => !Object.hasOwn(derived, one));

// A condition in words, with derived names written out.
export function spelled(condition, derived) {
  const all = (one) => Object.entries(one).map(([name, wanted]) => term(name, wanted, derived)).join(" and ");
  const parts = alternatives(condition).map(all);
  return parts.length === 1 ? parts[0] : parts.map((part) => `(${part})`).join(" or ");
}

function term(name, wanted, derived) {
  if (!Object.hasOwn(derived, name)) return wanted ? name : `not ${name}`;
  const words = spelled(derived[name], derived);
  if (!wanted) return `not (${words})`;
  return alternatives(derived[name]).length > 1 ? `(${words})` : words;
}
