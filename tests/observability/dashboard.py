"""What the dashboard asks Prometheus for.

rbr.json -> its expressions with the variables filled in as Grafana does -> (place, expression, legend)
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[2] / "deploy/observability"
FILE = FOLDER / "grafana/dashboards/rbr.json"
VARIABLES = {"__rate_interval": "5s", "job": "rbr", "response_type": "hard_refusal"}


@dataclass(frozen=True)
class Asked:
    """One expression: where it stands, what it is, and what is written beside its curve."""

    place: str
    expression: str
    legend: str


def load() -> dict[str, Any]:
    """The dashboard."""
    return dict(json.loads(FILE.read_text()))


def filled(text: str) -> str:
    """The text with its variables' values."""
    return re.sub(r"\$([a-z_]\w*)", lambda found: VARIABLES[found[1]], text)


def asked() -> list[Asked]:
    """All expressions of panels and annotations."""
    content = load()
    panels = [
        Asked(f"{p['title']} {t['refId']}", filled(t["expr"]), t["legendFormat"])
        for p in content["panels"]
        for t in p.get("targets", [])
    ]
    notes = [
        Asked(f"annotation {n['name']}", filled(n["expr"]), n["titleFormat"] + n["textFormat"])
        for n in content["annotations"]["list"]
    ]
    return panels + notes


def label_values() -> list[tuple[str, str]]:
    """(series, label) of the variables that list a label's values."""
    queries = [v["query"]["query"] for v in load()["templating"]["list"] if v["type"] == "query"]
    found = [re.fullmatch(r"label_values\((.+), (\w+)\)", query) for query in queries]
    return [(filled(one[1]), one[2]) for one in found if one]
