// Times of the day here: "10:42", or with seconds "10:42:31"; of another day with its date.
export function clock(seconds, exact = false) {
  const time = new Date(seconds * 1000);
  const options = { hour: "2-digit", minute: "2-digit", ...(exact && { second: "2-digit" }) };
  const told = time.toLocaleTimeString("en-GB", options);
  return time.toDateString() === new Date().toDateString() ? told : `${time.toLocaleDateString("en-GB", { day: "numeric", month: "short" })} ${told}`;
}
