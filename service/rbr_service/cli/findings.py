"""What a fit, or a look at weights, has found: as origin, evidence, page and table.

Comparison, Strong -> evidence of each type -> origin of the weights, JSON, HTML, lines on the terminal
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rbr_service import files
from rbr_service.cli.comparison import Experiment
from rbr_service.cli.grading import Graded
from rbr_service.rbr import evaluation, reliability, slices
from rbr_service.rbr.evidence import Strength
from rbr_service.rbr.model import Weights
from rbr_service.rbr.policy import Policy
from rbr_service.rbr.ranked import codes


def origin(experiment: Experiment, strength: Strength, types: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """How the weights came about, and what they reached."""
    held_out = experiment.held_out
    return {
        "data": experiment.data.name,
        "data_sha256": _sha256(experiment.data),
        "held_out": held_out.name if isinstance(held_out, Path) else held_out,
        **({"held_out_sha256": _sha256(held_out)} if isinstance(held_out, Path) else {}),
        "seed": experiment.seed,
        "objective": experiment.objective.describe(),
        "simulated_base_reward": dict(experiment.simulated),
        "strength": strength,
        "response_types": {
            name: {
                "strength": found["strength"]["chosen"],
                "train": found["train"],
                "intervals": {
                    feature: {"low": weight["low"], "high": weight["high"]}
                    for feature, weight in found["weights"].items()
                    if "low" in weight
                },
                **({"held_out": found["held_out"]} if "held_out" in found else {}),
            }
            for name, found in types.items()
        },
    }


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def whole(weights: Weights, types: Mapping[str, Any]) -> dict[str, Any]:
    """The evidence of all types, as the report reads it."""
    origin = weights.origin
    facts = {
        "grader": f"{weights.grader.name}/{weights.grader.fingerprint[:12]}",
        "calibration": weights.calibration[:12],
        "base reward": weights.base_reward,
        "simulated base reward, error": _listed(origin["simulated_base_reward"]) or "none",
        "data": f"{origin['data']} ({origin['data_sha256'][:12]})",
        "held out": origin["held_out"],
        "objective": _listed({key: value for key, value in origin["objective"].items() if value != {}}),
        "strength": origin["strength"],
        "seed": origin["seed"],
        "weights version": weights.version[:12],
    }
    title = f"{weights.policy}: weights for {weights.grader.name}"
    return {"title": title, "command": origin["command"], "facts": {k: str(v) for k, v in facts.items()},
            "response_types": dict(types)}  # fmt: skip


def _listed(facts: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in facts.items())


def grading(policy: Policy, sets: Sequence[Graded], seed: int) -> dict[str, Any]:
    """How the grader agrees with what the completions' writers meant, overall and by group."""
    rows = [(graded.kind.name, entry) for graded in sets for entry in graded.entries]
    if not rows:
        return {}
    names = list(policy.file.propositions)
    p, labels = (np.full((len(rows), len(names)), fill) for fill in (0.0, np.nan))
    begin = 0
    for graded in sets:
        columns = [names.index(name) for name in graded.kind.propositions]
        end = begin + len(graded.entries)
        p[begin:end, columns], labels[begin:end, columns] = graded.ranked.p, graded.labels
        begin = end
    types = [name for name, _ in rows]
    groups = {
        "category": [entry.category or slices.NONE for _, entry in rows],
        "response_type": types,
        "length": slices.groups([len(entry.conversation.completion.split()) for _, entry in rows]),
    }
    prompts = codes([f"{name} {entry.prompt}" for name, entry in rows])
    outcomes = evaluation.outcomes(policy, types, p, labels)
    return {
        "propositions": {
            name: reliability.figures(p[:, i], labels[:, i])
            for i, name in enumerate(names)
            if not np.isnan(labels[:, i]).all()
        },
        "slices": slices.compare(groups, outcomes, "holm", seed, prompts=prompts),
    }


def table(types: Mapping[str, dict[str, Any]]) -> str:
    """Ranking errors on held-out prompts, one response type a line."""
    head = f"{'response type':20}{'pairs':>8}{'loss':>8}{'strength':>10}   held out:{'pairs':>6}"
    lines = [f"{head}{'base':>8}{'rbr':>8}{'both':>8}  95%{'':11}rank corr."]
    for name, found in types.items():
        held = found.get("held_out")
        line = f"{name:20}{_fitted(found):26}"
        if held:
            errors = held["ranking_error"]
            cells = [errors[key]["value"] if errors[key] else None for key in ("base", "rbr", "total")]
            total, left = errors["total"], held["rank_correlation"]
            line += f"{held['pairs']:18}" + "".join(f"{_share(cell):>8}" for cell in cells)
            line += f"  [{total['low']:.4f}, {total['high']:.4f}]" if total else f"{'':18}"
            line += f"{_share(left['value'] if left else None):>8}"
        lines.append(line)
    constant = {
        f"{name}/{f}"
        for name, found in types.items()
        if "train" in found
        for f in found["train"]["constant_features"]
    }
    if constant:
        lines.append(f"the same in every pair, so nothing is learned of it: {', '.join(sorted(constant))}")
    return "\n".join(lines)


def _fitted(found: Mapping[str, Any]) -> str:
    if "train" not in found:
        return ""
    return f"{found['train']['pairs']:8}{found['train']['loss']:8.4f}{found['strength']['chosen']:10.4g}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def publish(evidence: Mapping[str, Any], figures: Path | None, report: Path | None) -> None:
    """Write the evidence as JSON and as a page, where asked. Raises OutputError."""
    if report:
        from rbr_service.report import page  # it loads the plotting library

        files.write(report, page.render(evidence))
    if figures:
        files.write(figures, json.dumps(evidence, indent=1) + "\n")
