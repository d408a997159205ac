// Elements from text: nothing here, and nothing built with it, parses markup.

// h("p", {class: "note"}, "text", h("b", "more")): attributes are optional; false and null are left out, true
// stands for "", functions listen (onclick), other properties than strings are set as properties (value).
export function h(tag, ...parts) {
  const element = document.createElement(tag);
  const attributes = isAttributes(parts[0]) ? parts.shift() : {};
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...parts.flat(Infinity).filter((part) => part !== null && part !== undefined && part !== false));
  return element;
}

const isAttributes = (part) => part !== null && Object.getPrototypeOf(part ?? "") === Object.prototype;

let made = 0;

// An id for a label and what it names.
export const unique = (prefix) => `${prefix}-${++made}`;

// A name such as encourage_professional_help, which may go on in the next line after an underscore.
export function name(text) {
  const parts = text.split(/(?<=_)/);
  return h("span", { class: "name" }, parts.flatMap((part, i) => (i ? [h("wbr"), part] : [part])));
}

// A number as text; its whole value is kept in the element.
export const data = (value, text) => h("data", { value: String(value) }, text);

// A table. `columns`: [{title, cell(row), number, head}], where `head` marks the column that names the row and
// `number` aligns to the right. On a phone each row becomes a card, so cells carry their column's title.
export function table(caption, columns, rows, attributes = {}) {
  const head = columns.map(({ title, number }) => h("th", { scope: "col", role: "columnheader", class: number && "number" }, title));
  const body = rows.map((row) => h("tr", { role: "row" }, columns.map((column) => cell(column, row))));
  return h(
    "table",
    { role: "table", ...attributes },
    h("caption", caption),
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, head)),
    h("tbody", { role: "rowgroup" }, body),
  );
}

function cell({ title, cell: content, number, head }, row) {
  const attributes = { "data-title": title, class: number && "number" };
  return head
    ? h("th", { scope: "row", role: "rowheader", ...attributes }, content(row))
    : h("td", { role: "cell", ...attributes }, h("div", content(row)));
}
