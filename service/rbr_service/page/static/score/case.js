// What is looked at: one conversation and one or two completions of it.
//
//     {messages: [{role, content}], completions: [{content, base_reward}], label: {response_type | category}}

export const NAMES = ["A", "B"];

// The body of /v1/score and /v1/explain; `policy` makes a service with another policy refuse.
export function request({ messages, completions, label }, policy) {
  const samples = completions.map(({ content, base_reward }, i) => ({
    id: NAMES[i],
    messages: [...messages, { role: "assistant", content }],
    ...label,
    ...(base_reward === null ? {} : { base_reward }),
  }));
  return { samples, policy };
}

// A sample as /v1/read gives it, its last message the completion.
export function ofSample({ messages, response_type, category, base_reward }) {
  const prompt = messages.slice(0, -1);
  const completions = [{ content: messages.at(-1).content, base_reward: base_reward ?? null }];
  return { messages: prompt, completions, label: labelled(response_type, category) };
}

const labelled = (type, category) => (type ? { response_type: type } : category ? { category } : {});

// What came out of a link; raises an Error where it is no case.
export function checked({ messages, completions, label }) {
  const isText = (value) => typeof value === "string";
  const sound =
    Array.isArray(messages) && messages.every(({ role, content }) => isText(role) && isText(content)) &&
    Array.isArray(completions) && [1, 2].includes(completions.length) &&
    completions.every(({ content, base_reward }) => isText(content) && (base_reward === null || Number.isFinite(base_reward))) &&
    Object.entries(label).every(([key, value]) => ["response_type", "category"].includes(key) && isText(value));
  if (!sound) throw new Error("the link holds no conversation");
  return { messages, completions, label };
}
