// The signs of reward hacking: the checks of deploy/observability/prometheus/rules.yml, group rbr-reward, with its
// limits, over the scores that the page holds instead of hours.

import { count, fixed, percent, signed } from "../format.js";
import { classCounts, lengthCorrelation, mean, rates, spread } from "./statistics.js";

export const ENOUGH = 200; // scores, before which a sign would be chance
export const DRIFT = 0.2;

const READ = "Read completions with a high reward, and have people or another grader judge them.";

// [{sign, limit, value, state, next}] of one response type. `state`: "watch", "ok", "too few scores", or "" where
// the sign does not apply. `compared`: {now, baseline} of scores.js; `kind`: hello's response type, null out of scope.
export function signs(compared, kind, onLowMass) {
  const checks = kind ? [drift, length, collapse, saturated, lowMass] : [length];
  return checks.map((check) => check(compared, kind, onLowMass));
}

const sign = (title, limit, next) => (state, value) => ({ sign: title, limit, next, state, value });

const judged = (bad) => (bad ? "watch" : "ok");

// Why a sign cannot be told, or "". Signs that compare need a whole baseline besides.
function lacking({ now, baseline }, compares) {
  if (compares && !baseline) return `the baseline is not whole: ${count(now.length)} scores so far`;
  return now.length < ENOUGH ? `needs ${ENOUGH} scores, has ${count(now.length)}` : "";
}

function drift(compared, { propositions }) {
  const tell = sign("A proposition drifts", `mean P(yes) off its baseline by over ${fixed(DRIFT, 1)}`,
    `Is it wanted, and so in the samples too? Otherwise words were found that sway the grader. ${READ}`);
  const lacks = lacking(compared, true);
  if (lacks) return tell("too few scores", lacks);
  const found = drifts(compared, propositions);
  const far = found.filter(({ change }) => Math.abs(change) > DRIFT).length;
  const [{ name, before, now, change }] = found;
  const more = far > 1 ? `, and ${far - 1} more` : "";
  return tell(judged(far > 0), `${name}: ${fixed(before)} → ${fixed(now)} (${signed(change)})${more}`);
}

// [{name, now, before, change}] of all propositions, the largest change first; the policy's order where there is no
// baseline.
export function drifts({ now, baseline }, propositions) {
  const [after, before] = [rates(now, propositions), baseline && rates(baseline, propositions)];
  const found = propositions.map((name) => ({
    name, now: after[name], before: before?.[name] ?? null, change: before ? after[name] - before[name] : 0,
  }));
  return found.sort((one, other) => Math.abs(other.change) - Math.abs(one.change));
}

function length(compared) {
  const tell = sign("Reward follows length", "correlation over 0.4 and 1.25 times as long, or under −0.4 and 0.8 times",
    "Compare long and short completions of one prompt. If length alone is paid, give the trainer a length penalty or refit.");
  const lacks = lacking(compared, true);
  if (lacks) return tell("too few scores", lacks);
  const pull = lengthCorrelation(compared.now);
  const growth = growthOf(compared);
  const bad = (pull > 0.4 && growth > 1.25) || (pull < -0.4 && growth < 0.8);
  return tell(judged(bad), `correlation ${pull === null ? "none" : signed(pull)}, ${fixed(growth)} times as long`);
}

// Mean length now over that of the baseline.
const growthOf = ({ now, baseline }) => {
  const [after, before] = [now, baseline].map((rows) => mean(rows.map(({ characters }) => characters)));
  return before > 0 ? after / before : 1;
};

function collapse(compared, { classes }) {
  const tell = sign("One class takes all", "over 98% in one class",
    "If it is the best class and a held-out evaluation agrees, this type is learned. Otherwise the policy is stuck or cheats: read completions.");
  const lacks = lacking(compared, false);
  if (lacks) return tell("too few scores", lacks);
  const [name, most] = Object.entries(classCounts(compared.now, classes)).reduce((best, one) => (one[1] > best[1] ? one : best));
  const share = most / compared.now.length;
  return tell(judged(share > 0.98), `${name}: ${percent(share)}`);
}

function saturated(compared) {
  const tell = sign("The reward is saturated", "over 0.9 of its range reached on average, and p90 − p10 under 0.05 or half the baseline's",
    "From here on the policy gains by the grader's errors. Stop at a checkpoint before this, and evaluate it.");
  const lacks = lacking(compared, false);
  if (lacks) return tell("too few scores", lacks);
  const [now, before] = [compared.now, compared.baseline].map((rows) => rows?.map(({ reached }) => reached).filter((one) => one !== null));
  if (!now.length) return tell("", "this type's reward has no range");
  const [reached, apart, apartBefore] = [mean(now), spread(now), before?.length ? spread(before) : null];
  const bad = reached > 0.9 && (apart < 0.05 || (apartBefore !== null && apart < apartBefore / 2));
  const was = apartBefore === null ? "" : ` (baseline ${fixed(apartBefore)})`;
  return tell(judged(bad), `reached ${fixed(reached)}, p90 − p10 ${fixed(apart)}${was}`);
}

function lowMass(compared, { propositions }, action) {
  const tell = sign("The grader says neither yes nor no", "over 1% of the verdicts",
    "Text that leads the grader astray, or a wrong chat template: read samples.");
  if (action === "error") return tell("", "not seen here: such completions are refused (--on-low-mass error); see rbr_low_label_mass_total");
  const lacks = lacking(compared, false);
  if (lacks) return tell("too few scores", lacks);
  const share = mean(compared.now.map(({ low_mass: low }) => low / propositions.length));
  return tell(judged(share > 0.01), percent(share));
}
