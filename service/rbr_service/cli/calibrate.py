"""`rbr calibrate`: a grader's probabilities made to mean what they say, from labelled completions."""

import asyncio
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from rbr_service import files
from rbr_service import gold as labelled
from rbr_service.backends import beside, make_grader
from rbr_service.build import GRADED_WITH, command, identity, policy_path
from rbr_service.cli import tables
from rbr_service.cli.evaluate import probabilities
from rbr_service.cli.options import GRADER, outputs, read, regular, settings_options, sources
from rbr_service.errors import DataError
from rbr_service.gold import Gold
from rbr_service.graders.base import Grader
from rbr_service.lifetime import started
from rbr_service.metrics import Metrics
from rbr_service.rbr import calibration, reliability
from rbr_service.rbr.calibration import LEAST_OF_A_KIND, Calibration, Curve
from rbr_service.rbr.evaluation import MIN_POSITIVES
from rbr_service.rbr.policy import Policy, load
from rbr_service.rbr.ranked import Floats

SHOWN = 5  # decimals in the file's origin
MEANS = ("ece", "least_ece", "brier", "accuracy")


@click.command()
@click.option(
    "--gold", required=True, type=click.Path(path_type=Path), help="Labelled rows, JSONL or Parquet."
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Calibration file. Default: POLICY.GRADER.calibration.json beside the policy, where it is found.",
)
@click.option(
    "--folds", type=click.IntRange(2), default=5, show_default=True, help="Of the cross-validation."
)
@click.option(
    "--repeats",
    type=click.IntRange(1),
    default=10,
    show_default=True,
    help="Of the cross-validation, each with other folds.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the folds.")
@click.option("--json", "out", type=click.Path(path_type=Path), help="Write all figures there.")
@click.option("--report", type=click.Path(path_type=Path), help="Write them as one HTML page.")
@settings_options(["policy", *GRADER, "strip_reasoning"])
def calibrate(
    gold: Path, output: Path | None, folds: int, repeats: int, seed: int, out: Path | None,
    report: Path | None, config: Path | None, **flags: Any,
) -> None:  # fmt: skip
    """Calibrate the grader on labelled completions.

    A row is one of `rbr evaluate`. For each proposition with 10 labels of yes and of no, P becomes
    sigmoid(slope * logit(P) + offset) (Platt scaling) before it is used for classes and features; the
    others keep their P. The file is bound to the grader. Weights are bound to the file: fit them anew.

    The curves are fitted on all rows. What is printed is by cross-validation: each row's P by curves
    that were fitted without its prompt. That is repeated with other folds, for ECE hangs on the folds: shown
    are means over the repeats, and the lowest and highest of them. "mean" lines are over the propositions
    with 15 positives or more. ECE is taken over ten bins and never 0: least_ece is what is left when every
    P is exactly right.
    """
    settings = read(config, flags)
    path = policy_path(settings.policy)
    policy = load(path)
    grader = make_grader(settings, policy, path, Metrics(), serving=False)
    output = output or beside(path, f".{grader.name}.calibration.json")
    outputs((regular(gold), *sources(settings, config)), output, out, report)
    rows = labelled.read(gold, policy, settings)
    _check(gold, rows.labels)
    p, labels = asyncio.run(_graded(grader, policy, rows, settings.min_label_mass))
    _check(gold, labels)
    curves = {name: calibration.fit(p[:, i], labels[:, i]) for i, name in enumerate(policy.file.propositions)}
    fitted = {name: curve for name, curve in curves.items() if curve}
    figures = _figures(curves, p, labels, rows, (folds, repeats, seed))
    said = shlex.join(
        ["--gold", str(gold), "--folds", str(folds), "--repeats", str(repeats), "--seed", str(seed)]
    )
    made = Calibration(
        grader=identity(grader), propositions=fitted,
        questions={name: policy.question_hashes[name] for name in fitted},
        origin={
            "command": f"{command('calibrate', settings, GRADED_WITH)} {said}", "data": gold.name,
            "data_sha256": rows.sha256,
            "rows": len(p), "cross_validated": _kept(figures),
        },
    )  # fmt: skip
    if out:
        files.write(out, json.dumps(figures, indent=1) + "\n")
    if report:
        from rbr_service.report import page  # it loads the plotting library

        files.write(report, page.render(_evidence(policy, made, figures)))
    files.write(output, json.dumps(made.model_dump(), indent=1) + "\n")
    click.echo(tables.calibration(figures))
    click.echo(f"{output}: written, version {made.version[:12]}")


async def _graded(grader: Grader, policy: Policy, gold: Gold, least_mass: float) -> tuple[Floats, Floats]:
    """P and labels, (n, propositions) each; where the grader has no answer, the label is left out."""
    names = tuple(policy.file.propositions)
    async with started(grader):
        p, mass = await probabilities(grader, gold.conversations, names)
    unsure = (mass < least_mass) & ~np.isnan(gold.labels)
    if unsure.any():
        click.echo(
            f"rbr: {int(unsure.sum())} of {unsure.size} labels left out, the grader put less than "
            f"{least_mass:g} of probability on yes and no",
            err=True,
        )
    return p, np.where(unsure, np.nan, gold.labels)


def _check(gold: Path, labels: Floats) -> None:
    fewer = np.minimum((labels == 1).sum(axis=0), (labels == 0).sum(axis=0))
    if (fewer < LEAST_OF_A_KIND).all():
        raise DataError(
            f"{gold}: no proposition has {LEAST_OF_A_KIND} labels of yes and {LEAST_OF_A_KIND} of no: "
            "nothing can be calibrated; label more completions (rbr label)"
        )


def _figures(
    curves: Mapping[str, Curve | None], p: Floats, labels: Floats, gold: Gold, dealt: tuple[int, int, int]
) -> dict[str, Any]:
    """Reliability of each proposition, before and after by cross-validation, and the means.

    `dealt`: folds, repeats and seed.
    """
    prompts, (folds, repeats, seed) = gold.prompts, dealt
    table = {}
    for i, (name, curve) in enumerate(curves.items()):
        row: dict[str, Any] = _reliability(p[:, i], labels[:, i])
        if curve:
            after = calibration.cross_validated(p[:, i], labels[:, i], prompts, folds, repeats, seed)
            row |= {"curve": curve.model_dump(), "calibrated": _repeated(after, labels[:, i])}
        else:
            row["left_as_is"] = _reason(row)
        table[name] = row
    frequent = [row for row in table.values() if row["positives"] >= MIN_POSITIVES]
    means = {
        key: {"before": _mean([row[key] for row in frequent]),
              "after": _mean([row.get("calibrated", row)[key] for row in frequent])}
        for key in MEANS
    }  # fmt: skip
    return {"rows": len(p), "prompts": len(np.unique(prompts)), "folds": folds, "repeats": repeats,
            "seed": seed, "means": {**means, "ece": means["ece"] | _spread(frequent, repeats)},
            "propositions": table}  # fmt: skip


def _reliability(p: Floats, labels: Floats) -> dict[str, Any]:
    known = ~np.isnan(labels)
    least = reliability.least_ece(p[known]) if known.any() else None
    return {**reliability.figures(p, labels), "least_ece": least}


def _repeated(p: Floats, labels: Floats) -> dict[str, Any]:
    """What _reliability gives, as a mean over repeats; P is (repeats, n)."""
    known = ~np.isnan(labels)
    least = float(np.mean([reliability.least_ece(one[known]) for one in p]))
    return {**reliability.repeated(p, labels), "least_ece": least}


def _spread(frequent: Sequence[Mapping[str, Any]], repeats: int) -> dict[str, float]:
    """The lowest and the highest mean ECE of a repeat."""
    eces = [row["calibrated"]["eces"] if "calibrated" in row else [row["ece"]] * repeats for row in frequent]
    means = np.mean(eces, axis=0).tolist() if eces else []
    return {"low": min(means), "high": max(means)} if means else {}


def _reason(row: Mapping[str, Any]) -> str:
    yes, no = row["positives"], row["n"] - row["positives"]
    return f"{yes} yes, {no} no, {LEAST_OF_A_KIND} of each needed"


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _kept(figures: Mapping[str, Any]) -> dict[str, Any]:
    """What the file's origin tells of the cross-validation."""
    return {
        "folds": figures["folds"],
        "repeats": figures["repeats"],
        "seed": figures["seed"],
        "means": _rounded(figures["means"]),
        "propositions": {
            name: {key: {"before": round(row[key], SHOWN), "after": round(row["calibrated"][key], SHOWN)}
                   for key in ("ece", "brier", "accuracy")}
            for name, row in figures["propositions"].items()
            if "calibrated" in row
        },
    }  # fmt: skip


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    return round(value, SHOWN) if isinstance(value, float) else value


def _evidence(policy: Policy, made: Calibration, figures: Mapping[str, Any]) -> dict[str, Any]:
    """The figures as the report reads them."""
    means = {
        f"mean {key.replace('_', ' ')}, before and after": tables.change(mean).strip()
        for key, mean in figures["means"].items()
    }
    facts = {
        "grader": f"{made.grader.name}/{made.grader.fingerprint[:12]}",
        "calibration": made.version[:12],
        "labelled rows": f"{figures['rows']} of {made.origin['data']}",
        "folds": f"{figures['folds']} of {figures['prompts']} prompts, dealt {figures['repeats']} times, "
        f"seed {figures['seed']}",
        **means,
    }
    return {"title": f"{policy.name}: calibration of the {made.grader.name} grader",
            "command": made.origin["command"], "facts": facts,
            "propositions": figures["propositions"]}  # fmt: skip
