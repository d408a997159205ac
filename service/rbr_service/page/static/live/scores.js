// The scores that the page holds: as many as the service says, however many come.

export class Scores {
  constructor(hello) {
    this.hello = hello;
    this.total = 0;
    this.leftOut = 0; // since the page was opened or the version changed
    this.rows = [];
    this.texts = new Map();
    this.baselines = new Map(); // response type -> its first rows
  }

  // Event `scores`.
  take({ rows, total, left_out: leftOut, texts }) {
    const found = rows.map((row) => this.#named(row));
    for (const row of found) this.#begin(row);
    this.rows = this.rows.concat(found).slice(-this.hello.window);
    this.total = total;
    this.leftOut += leftOut;
    for (const [number, text] of Object.entries(texts)) this.texts.set(Number(number), text);
    for (const number of [...this.texts.keys()].slice(0, -LISTED)) this.texts.delete(number);
  }

  // Event `baseline`: the first rows of a response type, which this page may have missed in part.
  begin({ response_type: kind, rows }) {
    this.baselines.set(kind, rows.map((row) => this.#named(row)));
  }

  // The response types seen, the policy's in its order and what is out of scope (null) last.
  kinds() {
    return [...Object.keys(this.hello.response_types), null].filter((kind) => this.baselines.has(kind));
  }

  // What to look at of a response type: {now, baseline}. The baseline is whole or null; until it is, its scores so
  // far are `now`. No score is in both.
  compared(kind) {
    const first = this.baselines.get(kind) ?? [];
    if (first.length < this.hello.baseline) return { now: first, baseline: null };
    const last = first.at(-1).number;
    const later = this.rows.filter((row) => row.response_type === kind && row.number > last);
    return later.length ? { now: later.slice(-this.hello.baseline), baseline: first } : { now: first, baseline: null };
  }

  // As they are now, whatever comes.
  frozen() {
    const copy = Object.assign(new Scores(this.hello), this);
    copy.texts = new Map(this.texts);
    copy.baselines = new Map([...this.baselines].map(([kind, rows]) => [kind, [...rows]]));
    return copy;
  }

  newest() {
    return this.rows.slice(-LISTED).reverse();
  }

  #begin(row) {
    const first = this.baselines.get(row.response_type) ?? [];
    this.baselines.set(row.response_type, first);
    if (first.length < this.hello.baseline && row.number > (first.at(-1)?.number ?? 0)) first.push(row);
  }

  // A row as an object, by the columns of `hello`.
  #named(row) {
    return Object.fromEntries(this.hello.columns.map((column, i) => [column, row[i]]));
  }
}

const LISTED = 20; // completions that are listed
