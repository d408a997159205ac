// Two wordings of one text, with what differs marked, word by word.

import { h } from "../dom.js";

const MOST = 400_000; // pairs of words compared: beyond it the whole middle counts as changed
const LEAST = 0.4; // share of common words below which it is another text, and marks would only disturb

// "Was" and "Is" above each other; null: there is no such text.
export function wordings(old, now) {
  const [was, is] = old === null || now === null ? [[old], [now]] : marked(old, now);
  return h("dl", { class: "wordings" },
    old !== null && [h("dt", "Was"), h("dd", was)],
    now !== null && [h("dt", "Is"), h("dd", is)]);
}

function marked(old, now) {
  const [a, b] = [split(old), split(now)];
  let begin = 0;
  while (begin < Math.min(a.length, b.length) && a[begin] === b[begin]) begin++;
  let end = 0;
  while (end < Math.min(a.length, b.length) - begin && a.at(-1 - end) === b.at(-1 - end)) end++;
  const [kept, left] = common(a.slice(begin, a.length - end), b.slice(begin, b.length - end));
  const same = begin + end + kept.filter(Boolean).length;
  if (same < LEAST * Math.max(a.length, b.length)) return [[old], [now]];
  return [runs(a, begin, kept, "del"), runs(b, begin, left, "ins")];
}

const split = (text) => text.match(/\s+|[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_]/gu) ?? [];

// For each word of a, and of b, whether it belongs to their longest common subsequence.
function common(a, b) {
  const kept = [a.map(() => false), b.map(() => false)];
  if (a.length * b.length > MOST) return kept;
  const lengths = Array.from({ length: a.length + 1 }, () => new Uint32Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      lengths[i][j] = a[i] === b[j] ? lengths[i + 1][j + 1] + 1 : Math.max(lengths[i + 1][j], lengths[i][j + 1]);
    }
  }
  for (let i = 0, j = 0; i < a.length && j < b.length; ) {
    if (a[i] === b[j]) kept[0][i++] = kept[1][j++] = true;
    else if (lengths[i + 1][j] >= lengths[i][j + 1]) i++;
    else j++;
  }
  return kept;
}

// The text again: the words from `begin` on that are not `kept` stand in elements called `tag`.
function runs(words, begin, kept, tag) {
  const parts = [words.slice(0, begin).join("")];
  for (let i = 0; i < kept.length; ) {
    const from = i;
    while (i < kept.length && kept[i] === kept[from]) i++;
    const text = words.slice(begin + from, begin + i).join("");
    parts.push(kept[from] ? text : h(tag, text));
  }
  return [...parts, words.slice(begin + kept.length).join("")];
}
