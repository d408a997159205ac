"""`rbr ablate`: what each part of a policy's reward is worth."""

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from rbr_service.build import policy_path
from rbr_service.cli import findings
from rbr_service.cli.comparison import Backends, Comparison, Experiment, compare, comparison_options, taken
from rbr_service.cli.options import BASE_REWARD, GRADER, outputs, read, settings_options, sources
from rbr_service.errors import DataError, SettingsError
from rbr_service.rbr import ablation
from rbr_service.rbr.ablation import Without
from rbr_service.rbr.policy import load
from rbr_service.rbr.ranking import best_pairs


@click.command()
@click.option("--report", type=click.Path(path_type=Path), help="Write table and plot as one HTML page.")
@click.option("--json", "figures", type=click.Path(path_type=Path), help="Write the figures as JSON.")
@comparison_options
@settings_options(["policy", "calibration", *GRADER, *BASE_REWARD])
def ablate(report: Path | None, figures: Path | None, config: Path | None, **flags: Any) -> None:
    """Held-out ranking error without each part of the reward: what a part is worth.

    Fits the weights again without each proposition (it then says the same of every completion), without
    the class features, without the base reward, and on a small part of the data. A proposition without
    which the error does not rise costs grading and adds noise: consider removing it from the policy.
    Ranked data and options are those of `rbr fit`.
    """
    asked = taken(flags)
    settings = read(config, flags)
    path = policy_path(settings.policy)
    policy = load(path)
    experiment = Experiment.read(asked, path, policy, settings)
    if experiment.held_out == 0:
        raise SettingsError("--held-out 0: nothing would be left to judge by: give a share or a file")
    backends = Backends.make(settings, policy, path)
    outputs([*sources(settings, config, backends.grader), *experiment.files], report, figures)
    compared = asyncio.run(compare(experiment, policy, backends, settings))
    _check(compared)
    found = _ablated(compared, experiment)
    evidence = {
        "title": f"{policy.name}: what each part is worth",
        "ablation": [
            {"left_out": one.left_out, "response_type": name, "error": asdict(one.error)}
            for name, rows in found.items()
            for one in rows
        ],
    }
    findings.publish(evidence, figures, report)
    click.echo(_table(found, list(policy.file.propositions)))


def _check(compared: Mapping[str, Comparison]) -> None:
    """Every type has something to fit on and to judge by. Raises DataError."""
    for name, one in compared.items():
        for part, graded in (("the data", one.train), ("the held-out data", one.held_out)):
            if graded is None or not len(best_pairs(graded.ranked)):
                raise DataError(
                    f"{name}: {part} has no prompt with a completion of the best class and one of another"
                )


def _ablated(compared: Mapping[str, Comparison], experiment: Experiment) -> dict[str, list[Without]]:
    fits = sum(ablation.count(one.train.ranked) for one in compared.values())
    with click.progressbar(length=fits, label="fitting without", file=sys.stderr) as bar:
        return {
            name: ablation.ablate(
                one.train.ranked, one.held_out.ranked, experiment.objective, experiment.seed,
                lambda: bar.update(1),
            )
            for name, one in compared.items()
            if one.held_out
        }  # fmt: skip


def _table(found: Mapping[str, list[Without]], propositions: list[str]) -> str:
    """Left out parts as lines, nothing and the propositions first; response types as columns."""
    said = dict.fromkeys(one.left_out for rows in found.values() for one in rows)
    first = [part for part in (ablation.NOTHING, *propositions) if part in said]
    parts = dict.fromkeys([*first, *said])
    errors = {name: {one.left_out: one.error for one in rows} for name, rows in found.items()}
    lines = [f"{'held-out ranking error without':38}" + "".join(f"{name[-16:]:>18}" for name in found)]
    for part in parts:
        cells = (errors[name].get(part) for name in found)
        shown = (f"{'-' if cell is None else format(cell.value, '.4f'):>18}" for cell in cells)
        lines.append(f"{part[-38:]:38}" + "".join(shown))
    return "\n".join(lines)
