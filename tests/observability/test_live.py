"""Dashboard and rules against a real Prometheus that scrapes a real service under load."""

import math
import re
from pathlib import Path

import pytest

from .dashboard import Asked, asked, label_values
from .prometheus import Prometheus


@pytest.mark.parametrize("one", asked(), ids=lambda one: one.place)
def test_every_expression_of_the_dashboard_gives_numbers(watched: Prometheus, one: Asked) -> None:
    series = watched.history(one.expression)
    values = [float(value) for found in series for _, value in found["values"]]
    assert any(map(math.isfinite, values)), one.expression
    named = set(re.findall(r"\{\{(\w+)\}\}", one.legend))
    assert any(named <= found["metric"].keys() for found in series), (
        "a legend names a label that is not there"
    )


@pytest.mark.parametrize(("series", "label"), label_values())
def test_every_variable_has_values(watched: Prometheus, series: str, label: str) -> None:
    found = watched.get(f"label/{label}/values", **{"match[]": series})
    assert found == (
        ["rbr"] if label == "job" else ["comply", "hard_refusal", "soft_refusal_1", "soft_refusal_2"]
    )


def test_every_rule_is_evaluated_without_error(watched: Prometheus) -> None:
    rules = [rule for group in watched.get("rules")["groups"] for rule in group["rules"]]
    assert len(rules) > 20
    assert {(rule["name"], rule.get("lastError", "")) for rule in rules if rule["health"] != "ok"} == set()


def test_every_recorded_series_is_there(watched: Prometheus) -> None:
    rules = [rule for group in watched.get("rules")["groups"] for rule in group["rules"]]
    recorded = [rule["name"] for rule in rules if rule["type"] == "recording"]
    assert [name for name in recorded if not watched.history(name)] == []


@pytest.mark.parametrize("file", ["rules.yml", "alerts.yml"])
def test_rules_and_their_tests_use_metrics_that_the_service_has(
    watched: Prometheus, shipped: Path, file: str
) -> None:
    path = shipped / "prometheus" / file if file == "rules.yml" else Path(__file__).parent / file
    used = set(re.findall(r"\b(?:rbr|process)_\w+", path.read_text()))
    assert used - set(watched.get("label/__name__/values")) == set()
    assert used


def test_the_empty_completions_of_the_load_are_told(watched: Prometheus) -> None:
    alerts = watched.history('ALERTS{alertname="RBRSamplesRefused", alertstate="firing"}')
    assert {alert["metric"]["code"] for alert in alerts} == {"empty_completion"}
