"""Configuration and alerts by promtool: they are sound, each alert fires and keeps quiet where it should."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from .dashboard import FOLDER
from .prometheus import binary

RULES = FOLDER / "prometheus/rules.yml"
TESTS = Path(__file__).parent / "alerts.yml"


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


@pytest.mark.parametrize(
    "words",
    [
        ("check", "config", str(FOLDER / "prometheus/prometheus.yml")),
        ("check", "rules", str(RULES)),
        ("test", "rules", str(TESTS)),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_promtool_is_content(words: tuple[str, ...]) -> None:
    done = subprocess.run([binary("promtool"), *words], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_an_alert_says_what_to_do_and_is_tested_both_ways(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in ("critical", "warning")
    assert "for" in alert, "one bad scrape would wake somebody"
    assert len(alert["annotations"]["summary"]) < 100
    assert len(alert["annotations"]["description"]) > 100
    names = [test["name"] for test in yaml.safe_load(TESTS.read_text())["tests"]]
    for outcome in ("fires", "quiet"):
        assert any(name.startswith(f"{alert['alert']}: {outcome}") for name in names), outcome


def test_every_alert_is_explained() -> None:
    page = (FOLDER.parents[1] / "docs/observability.md").read_text()
    assert set(re.findall(r"\bRBR[A-Z]\w+", page)) == {alert["alert"] for alert in alerts()}
