"""From outcomes to figures, and figures as a table.

A sample that was not scored has no latency: it counts as slower than any that was, so that failures cannot
make a percentile look better. What cannot be told is None, and `untold` says why.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rbr_service.bench.counters import Counters
from rbr_service.bench.outcome import DEADLINE_MISSED, SCORED, Outcome
from rbr_service.bench.target import Service

RANKS = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
TOKENS, HITS, CPU = "tokens_per_completion", "cache_hit_share", "cpu_ms_per_score"


@dataclass(frozen=True)
class Asked:
    """Of whom, and how: `group` samples to a prompt, each given up `deadline` seconds after it was due.

    `engines`: whether vLLM servers were named, whose tokens count.
    """

    url: str
    service: Service
    group: int
    deadline: float
    engines: bool


def figures(asked: Asked, outcomes: Sequence[Outcome], counted: Counters | None) -> dict[str, Any]:
    """All that is told of a run, ready for JSON. Times in seconds; `counted` None: /metrics told nothing."""
    faults = Counter(one.answer.fault for one in outcomes)
    scored, missed = faults.pop(SCORED, 0), faults.pop(DEADLINE_MISSED, 0)
    seconds = max(one.ended for one in outcomes)
    last = max(one.due for one in outcomes)
    late = [one.late for one in outcomes]
    told, untold = _counted(asked, counted, scored, missed, len(outcomes))
    return {
        "url": asked.url,
        "policy": asked.service.policy,
        "grader": asked.service.grader,
        "reward_versions": sorted({one.answer.version for one in outcomes if one.answer.version}),
        "asked": len(outcomes),
        "group": asked.group,
        "asked_per_second": len(outcomes) / last if last else None,
        "scored": scored,
        "failures": dict(sorted(faults.items())),
        "deadline_misses": missed,
        "deadline": asked.deadline,
        "seconds": seconds,
        "scores_per_second": scored / seconds,
        "latency": _latencies(outcomes),
        "most_in_flight": _most_in_flight(outcomes),
        "client_late": {"p99": percentile(late, 0.99), "most": max(late)},
        **dict.fromkeys((TOKENS, HITS, CPU)),
        **told,
        "tokens_per_second": told[TOKENS] * scored / seconds if TOKENS in told else None,
        "untold": untold,
    }


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed (the nearest rank)."""
    return sorted(values)[max(math.ceil(share * len(values)), 1) - 1]


def lost(found: Mapping[str, Any]) -> int:
    """How many samples were not scored."""
    return int(found["asked"] - found["scored"])


def table(found: Mapping[str, Any]) -> str:
    """The figures as lines, a name and what is told."""
    return "\n".join(f"{name:<22}{value}" for name, value in _lines(found))


def _latencies(outcomes: Sequence[Outcome]) -> dict[str, float | None]:
    found = [math.inf if one.answer.fault else one.latency for one in outcomes]
    shares = RANKS | {"most": 1.0}
    values = {name: percentile(found, share) for name, share in shares.items()}
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def _most_in_flight(outcomes: Sequence[Outcome]) -> int:
    changes = [(one.sent, 1) for one in outcomes] + [(one.ended, -1) for one in outcomes]
    now = most = 0
    for _, change in sorted(changes):
        now += change
        most = max(most, now)
    return most


def _counted(
    asked: Asked, counted: Counters | None, scored: int, missed: int, samples: int
) -> tuple[dict[str, float], dict[str, str]]:
    """What the counters tell, and why they do not tell the rest."""
    told, untold = dict[str, float](), dict[str, str]()
    if counted is None:
        return told, dict.fromkeys((TOKENS, HITS, CPU), "the service told no metrics in the end")
    # An answer that came too late for this client may be among the answered, or not.
    if not scored <= counted.answered <= scored + missed:
        why = (
            f"the service counted {counted.answered:g} answers to the {scored} scored here: it has other "
            "callers, began anew, or is one of several behind the URL"
        )
        return told, dict.fromkeys((TOKENS, HITS, CPU), why)
    if verdicts := counted.graded + counted.found:
        told[HITS] = counted.found / verdicts
    else:
        untold[HITS] = "this grader keeps no verdicts"
    if scored < samples:
        why = f"what {samples - scored} samples cost that were not scored cannot be told from the rest"
        return told, untold | dict.fromkeys((TOKENS, CPU), why)
    told[CPU] = 1000 * counted.cpu / scored
    tokens = counted.engine if asked.engines else counted.computed
    if tokens or (counted.found and not counted.graded):
        told[TOKENS] = tokens / scored
    else:
        untold[TOKENS] = _no_tokens(asked)
    return told, untold


def _no_tokens(asked: Asked) -> str:
    if asked.service.grader.startswith("lexical"):
        return "the lexical grader computes none"
    if asked.engines:
        return "the server that --engine names counted none"
    return "a grader over HTTP does not tell: name its vLLM server with --engine"


def _lines(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "service", f"{found['url']}, policy {found['policy']}, grader {found['grader']}"
    yield "reward version", ", ".join(found["reward_versions"]) or "none was told"
    rate = found["asked_per_second"]
    arrival = "all at once" if rate is None else f"{rate:,.1f} per second"
    yield "asked", f"{found['asked']:,} samples, {found['group']} to a prompt, {arrival}"
    yield "scored", f"{found['scored']:,}"
    failures = [f"{count:,} {code}" for code, count in found["failures"].items()]
    yield "failures", ", ".join(failures) or "0"
    yield "deadline misses", f"{found['deadline_misses']:,} of {found['deadline']:g} s"
    yield "scores per second", f"{found['scores_per_second']:,.1f} over {found['seconds']:,.2f} s"
    yield "latency", "  ".join(f"{name} {_seconds(value)}" for name, value in found["latency"].items())
    yield "most in flight", f"{found['most_in_flight']:,}"
    late = found["client_late"]
    yield "client late by", f"p99 {_seconds(late['p99'])}  most {_seconds(late['most'])}"
    yield "tokens/completion", _told(found, TOKENS, ",.1f")
    if found["tokens_per_second"] is not None:
        yield "tokens per second", f"{found['tokens_per_second']:,.1f}"
    yield "service's CPU", _told(found, CPU, ",.2f", " ms a score")
    yield "cache hits", _told(found, HITS, ".1%")


def _seconds(value: float | None) -> str:
    if value is None:
        return "not scored"
    return f"{value * 1000:,.1f} ms" if value < 1 else f"{value:,.2f} s"


def _told(found: Mapping[str, Any], name: str, form: str, unit: str = "") -> str:
    value = found[name]
    return f"not told: {found['untold'][name]}" if value is None else f"{value:{form}}{unit}"
