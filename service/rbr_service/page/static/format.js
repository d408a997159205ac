// Numbers as people read them.

const MINUS = "\u2212";

// 5.797 -> "5.80", -0.2 -> "−0.20"; digits behind the point.
export function fixed(value, digits = 2) {
  const text = Math.abs(value).toFixed(digits);
  return value < 0 && Number(text) !== 0 ? MINUS + text : text;
}

// A change: "+0.20", "−0.20", "0.00".
export function signed(value, digits = 2) {
  const text = fixed(value, digits);
  return value > 0 && Number(Math.abs(value).toFixed(digits)) !== 0 ? `+${text}` : text;
}

// A share: "79%"; what is not quite 0 or 1 is not told as such.
export function percent(share) {
  if (share > 0 && share < 0.005) return "<1%";
  if (share < 1 && share >= 0.995) return ">99%";
  return `${Math.round(share * 100)}%`;
}

// 12345 -> "12,345".
export const count = (value) => value.toLocaleString("en-GB");

// The first letters of a hash, enough to tell versions apart.
export const short = (hash) => hash.slice(0, 12);

// At most `length` characters, and how many were left out.
export function excerpt(text, length = 80) {
  const letters = Array.from(text.slice(0, length * 2));
  return letters.length <= length && text.length <= length * 2 ? text : `${letters.slice(0, length).join("")}…`;
}
