// The address of a view: #NAME or #NAME?key=value, which never reaches the service or its logs.
// Larger content is packed: JSON, deflated, base64url.

const MOST = 8_000_000; // characters unpacked: a link may be anybody's

// {view, parameters} of the current address.
export function place() {
  const [view, query = ""] = location.hash.slice(1).split("?");
  return { view, parameters: new URLSearchParams(query) };
}

// The address of a view with parameters, absolute.
export function address(view, parameters = {}) {
  const query = new URLSearchParams(parameters).toString();
  return `${location.origin}${location.pathname}#${view}${query && `?${query}`}`;
}

// Show an address in the address bar without going there.
export const remember = (view, parameters) => history.replaceState(null, "", address(view, parameters));

export async function pack(content) {
  const text = new Blob([JSON.stringify(content)]).stream();
  const bytes = new Uint8Array(await new Response(text.pipeThrough(new CompressionStream("deflate-raw"))).arrayBuffer());
  let letters = "";
  for (let i = 0; i < bytes.length; i += 8192) letters += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return btoa(letters).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

// Raises an Error for what no `pack` made.
export async function unpack(packed) {
  const letters = atob(packed.replaceAll("-", "+").replaceAll("_", "/"));
  const bytes = Uint8Array.from(letters, (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw")).pipeThrough(new TextDecoderStream());
  let text = "";
  for (const reader = stream.getReader(); ; ) {
    const { value, done } = await reader.read();
    if (done) return JSON.parse(text);
    text += value;
    if (text.length > MOST) throw new Error("the link holds too much");
  }
}
