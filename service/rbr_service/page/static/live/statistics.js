// What many scores say together. Rows are those of scores.js.

export const mean = (values) => (values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null);

// {class: how many rows}, for each of `classes`, 0 included.
export function classCounts(rows, classes) {
  const found = Object.fromEntries(classes.map((name) => [name, 0]));
  for (const { best_class: best } of rows) found[best] += 1;
  return found;
}

// Mean P(yes) of each proposition: {proposition: mean}.
export const rates = (rows, propositions) =>
  Object.fromEntries(propositions.map((name, i) => [name, mean(rows.map(({ p }) => p[i]))]));

// Pearson's correlation of reward and log length, as the metric rbr_reward_length_correlation has it; null where
// one of the two never changes.
export function lengthCorrelation(rows) {
  const lengths = rows.map(({ characters }) => Math.log1p(characters));
  const rewards = rows.map(({ reward }) => reward);
  const [x, y] = [mean(lengths), mean(rewards)];
  let [xx, yy, xy] = [0, 0, 0];
  for (let i = 0; i < rows.length; i++) {
    const [dx, dy] = [lengths[i] - x, rewards[i] - y];
    xx += dx * dx;
    yy += dy * dy;
    xy += dx * dy;
  }
  const least = 1e-12 * rows.length; // below it a spread is rounding
  return xx > least && yy > least ? Math.max(-1, Math.min(1, xy / Math.sqrt(xx) / Math.sqrt(yy))) : null;
}

// The value below which a share of them lies, between neighbours in proportion.
export function quantile(values, share) {
  const sorted = values.toSorted((one, other) => one - other);
  const place = share * (sorted.length - 1);
  const [low, high] = [sorted[Math.floor(place)], sorted[Math.ceil(place)]];
  return low + (high - low) * (place - Math.floor(place));
}

// How far the middle 80% lie apart.
export const spread = (values) => quantile(values, 0.9) - quantile(values, 0.1);

// Edges of at most about `count` bins with round numbers that hold all the values.
export function edges(values, count = 20) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const step = roundUp((high - low || 1) / count);
  const first = Math.floor(low / step);
  const last = Math.max(first + 1, Math.floor(high / step) + 1);
  return Array.from({ length: last - first + 1 }, (_, i) => (first + i) * step);
}

// How many values lie in each bin, its lower edge included.
export function binned(values, borders) {
  const step = borders[1] - borders[0];
  const counts = Array(borders.length - 1).fill(0);
  for (const value of values) {
    let bin = Math.min(counts.length - 1, Math.max(0, Math.floor((value - borders[0]) / step)));
    if (value < borders[bin]) bin -= 1; // by rounding of the division
    else if (value >= borders[bin + 1] && bin < counts.length - 1) bin += 1;
    counts[bin] += 1;
  }
  return counts;
}

function roundUp(step) {
  const unit = 10 ** Math.floor(Math.log10(step));
  return [1, 2, 5, 10].map((times) => times * unit).find((round) => round >= step * (1 - 1e-9));
}
