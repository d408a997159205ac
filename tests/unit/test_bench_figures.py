"""From outcomes and counters to figures: exact, and silent where they cannot be told."""

import json
from collections.abc import Sequence

import pytest
from prometheus_client import generate_latest

from rbr_service.bench import counters
from rbr_service.bench.counters import Counters
from rbr_service.bench.figures import CPU, HITS, TOKENS, Asked, figures, lost, percentile, table
from rbr_service.bench.outcome import DEADLINE_MISSED, SCORED, Answer, Outcome
from rbr_service.bench.target import Service
from rbr_service.errors import RBRError
from rbr_service.metrics import Metrics

LLM = "llm/0123456789ab"
CPU_SECONDS = """\
# TYPE process_cpu_seconds_total counter
process_cpu_seconds_total 2.5
"""
ENGINE = """\
# TYPE vllm:prompt_tokens_by_source_total counter
vllm:prompt_tokens_by_source_total{engine="0",model_name="m",source="local_compute"} 700.0
vllm:prompt_tokens_by_source_total{engine="1",model_name="m",source="local_compute"} 300.0
vllm:prompt_tokens_by_source_total{engine="0",model_name="m",source="local_cache_hit"} 9000.0
"""


def asked(grader: str = LLM, *, engines: bool = False) -> Asked:
    service = Service("safety", frozenset({"comply"}), grader, "v1")
    return Asked("http://host", service, 8, 180.0, engines=engines)


def outcomes(*faults: str, scored: int = 0) -> list[Outcome]:
    """Scored ones, answered after 1, 2, 3 ... seconds, then others, at once; all due at 0."""
    sound = [Outcome(Answer(SCORED, "v1"), 0.0, 0.5, float(n)) for n in range(1, scored + 1)]
    return sound + [Outcome(Answer(fault), 0.0, 0.5, 0.75) for fault in faults]


def latency(found: Sequence[Outcome]) -> dict[str, float | None]:
    told: dict[str, float | None] = figures(asked(), found, None)["latency"]
    return told


@pytest.mark.parametrize(
    ("share", "value"), [(0.5, 50), (0.95, 95), (0.99, 99), (0.991, 100), (1, 100), (0, 1)]
)
def test_a_percentile_is_a_value_that_was_measured(share: float, value: int) -> None:
    assert percentile(range(100, 0, -1), share) == value
    assert percentile([7], share) == 7


def test_what_was_not_scored_is_slower_than_all_that_was() -> None:
    assert latency(outcomes(scored=100)) == {"p50": 50, "p95": 95, "p99": 99, "most": 100}
    one = outcomes("grader_failed", scored=99)
    assert latency(one) == {"p50": 50, "p95": 95, "p99": 99, "most": None}
    few = outcomes("grader_failed", DEADLINE_MISSED, scored=98)
    assert latency(few) == {"p50": 50, "p95": 95, "p99": None, "most": None}
    assert set(latency(outcomes(*["grader_failed"] * 9)).values()) == {None}


def test_every_sample_is_counted_once() -> None:
    found = figures(
        asked(), outcomes(*["grader_failed"] * 2, *[DEADLINE_MISSED] * 3, "http_502", scored=4), None
    )
    assert (found["asked"], found["scored"], found["deadline_misses"]) == (10, 4, 3)
    assert found["failures"] == {"grader_failed": 2, "http_502": 1}
    assert lost(found) == 6
    assert (found["seconds"], found["scores_per_second"]) == (4.0, 1.0)
    assert found["reward_versions"] == ["v1"]
    assert found["client_late"] == {"p99": 0.5, "most": 0.5}
    json.dumps(found, allow_nan=False)


def test_most_in_flight() -> None:
    spans = [(0.0, 3.0), (1.0, 2.0), (1.5, 4.0), (3.5, 5.0)]
    found = [Outcome(Answer(SCORED, "v1"), sent, sent, ended) for sent, ended in spans]
    assert figures(asked(), found, None)["most_in_flight"] == 3


def test_the_counters_tell_cost() -> None:
    counted = Counters(answered=4, graded=30, found=10, cpu=0.02, computed=4800)
    found = figures(asked(), outcomes(scored=4), counted)
    assert (found[TOKENS], found[HITS], found[CPU]) == (1200.0, 0.25, 5.0)
    assert found["tokens_per_second"] == 1200.0
    assert found["untold"] == {}


def test_named_engines_tell_tokens() -> None:
    counted = Counters(answered=4, graded=40, engine=6000)
    assert figures(asked(engines=True), outcomes(scored=4), counted)[TOKENS] == 1500.0


def test_what_the_cache_answered_costs_no_tokens() -> None:
    found = figures(asked(), outcomes(scored=4), Counters(answered=4, found=40))
    assert (found[TOKENS], found[HITS]) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("grader", "engines", "why"),
    [("lexical", False, "lexical"), (LLM, False, "--engine"), (LLM, True, "counted none")],
)
def test_why_tokens_are_not_told(grader: str, engines: bool, why: str) -> None:
    counted = Counters(answered=4, graded=0 if grader == "lexical" else 40)
    found = figures(asked(grader, engines=engines), outcomes(scored=4), counted)
    assert found[TOKENS] is None
    assert why in found["untold"][TOKENS]
    assert (found[HITS] is None) == (grader == "lexical")
    assert why in table(found)


@pytest.mark.parametrize("answered", [3, 7])
def test_nothing_is_told_where_others_were_served(answered: int) -> None:
    found = figures(
        asked(), outcomes(DEADLINE_MISSED, DEADLINE_MISSED, scored=4), Counters(answered=answered, graded=9)
    )
    assert [found[key] for key in (TOKENS, HITS, CPU)] == [None] * 3
    assert f"{answered} answers to the 4 scored" in found["untold"][TOKENS]


def test_a_lost_sample_leaves_the_cost_of_the_others_untold() -> None:
    counted = Counters(answered=4, graded=30, found=10, cpu=0.02, computed=4800)
    found = figures(asked(), outcomes("grader_failed", scored=4), counted)
    assert (found[TOKENS], found[CPU], found[HITS]) == (None, None, 0.25)


def test_counters_are_read_from_the_services_own_page() -> None:
    metrics = Metrics()
    metrics.requests.labels("/score", "200").inc(5)
    metrics.requests.labels("/score", "503").inc(3)
    metrics.requests.labels("/v1/score", "200").inc(2)
    metrics.graded_verdicts.inc(14)
    metrics.cached_verdicts.inc(6)
    metrics.tokens.labels("computed").inc(1288)
    metrics.tokens.labels("cached").inc(5000)
    page = (
        generate_latest(metrics.registry).decode()
        + "# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total 2.5\n"
    )
    found = counters.read(page, [ENGINE, ENGINE])
    assert found == Counters(5, 14, 6, 2.5, 1288, 2000)
    assert found - found == Counters()


def test_what_is_no_metrics_page_is_refused() -> None:
    with pytest.raises(RBRError, match="/metrics"):
        counters.read("<html>what?</html>", [])
