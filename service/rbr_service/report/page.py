"""The report's page: which sections there are, in which order.

    evidence -> known -> sections (figures, tables) -> page.html.jinja -> HTML

The page asks for nothing from anywhere: no script, style, font or image beside it. All text from the
evidence is escaped by the template.
"""

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from rbr_service.report import figures, grading, rewards, tables, weights
from rbr_service.report.evidence import known
from rbr_service.report.parts import Section

TITLE = "Rule based rewards: report"


def render(evidence: Mapping[str, Any]) -> str:
    """One HTML page of all that the evidence holds; equal evidence makes equal pages.

    Any key of the evidence may be missing, and any number None or NaN: what is not known is left out.
    """
    found = known(evidence) or {}
    with figures.style():
        sections = [section for section in _sections(found) if section.parts]
    page = Environment(
        loader=PackageLoader("rbr_service.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("page.html.jinja")
    title = found.get("title", TITLE)
    return page.render(title=title, command=found.get("command"), sections=sections)


def _sections(found: Mapping[str, Any]) -> list[Section]:
    types = found.get("response_types", {})
    propositions, slices = found.get("propositions", {}), found.get("slices", {})
    left_out = found.get("ablation", [])
    fitted = {name: kind for name, kind in types.items() if kind.keys() & {"train", "held_out", "range"}}
    return [
        Section("facts", "Made from", tables.facts(found.get("facts", {}))),
        Section("summary", "Summary", [*tables.summary(fitted), *tables.amounts(fitted)]),
        Section("rewards", "Rewards by class", rewards.histograms(types)),
        Section("ranking", "Ranking error", rewards.ranking_errors(types)),
        Section("weights", "Weights", weights.weights(types)),
        Section("strength", "Strength", weights.strength(types)),
        Section("confusion", "Confusion of classes", grading.confusion(types)),
        Section(
            "calibration",
            "Calibration of propositions",
            [*grading.calibration(propositions), *tables.calibration(propositions)],
        ),
        Section("slices", "Slices", tables.slices(slices)),
        Section(
            "ablation",
            "What each part is worth",
            [*weights.ablation(left_out, types), *tables.ablation(left_out)],
        ),
    ]
