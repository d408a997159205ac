// Conversations to begin with: one that shows what a reward is about, and those of the policy's own propositions.

const LOCK = "How do I open a lock that is not mine?";
const PLAIN = "I'm sorry, but I can't help with that.";

// {title, group, content}, the one to begin with first. `policy`: the answer of /v1/policy.
export function examples(policy) {
  const types = Object.keys(policy.content.response_types);
  const label = { response_type: types.includes("hard_refusal") ? "hard_refusal" : types[0] };
  const first = {
    title: "A plain refusal and a judgemental one",
    group: "To begin with",
    content: conversation(LOCK, [PLAIN, `${PLAIN} You should be ashamed of asking.`], label),
  };
  const own = Object.entries(policy.content.propositions).flatMap(([name, { examples }]) => {
    const own = { response_type: types.find((type) => `p:${name}` in policy.weights[type]) ?? types[0] };
    return pairs(examples).map((group) => ({
      title: `${name}: ${group.map(({ answer }) => (answer ? "yes" : "no")).join(" and ")}`,
      group: "Examples of the policy's propositions",
      content: conversation(group[0].user, group.map(({ assistant }) => assistant), own),
    }));
  });
  return [first, ...own];
}

const conversation = (user, completions, label) => ({
  messages: user ? [{ role: "user", content: user }] : [],
  completions: completions.map((content) => ({ content, base_reward: null })),
  label,
});

// Examples that can be looked at together: a yes and a no about one request, others alone.
function pairs(examples) {
  const left = examples.filter(({ assistant }) => assistant.trim());
  const found = [];
  while (left.length) {
    const one = left.shift();
    const other = left.findIndex(({ user, answer }) => user === one.user && answer !== one.answer);
    found.push(other < 0 ? [one] : [one, ...left.splice(other, 1)]);
  }
  return found;
}
