"""`rbr rank`: whether weights that are there rank completions as the policy wants."""

import asyncio
from pathlib import Path
from typing import Any

import click

from rbr_service.build import GRADED_WITH, command, how_to_fit, identity, policy_path, weights_path
from rbr_service.cli import findings
from rbr_service.cli.comparison import Backends, Experiment, compare, data_options, taken
from rbr_service.cli.options import BASE_REWARD, GRADER, outputs, read, settings_options, sources
from rbr_service.rbr import evidence
from rbr_service.rbr.model import Weights, bind
from rbr_service.rbr.policy import load


@click.command()
@click.option("--report", type=click.Path(path_type=Path), help="Write the evidence as one HTML page.")
@click.option("--json", "figures", type=click.Path(path_type=Path), help="Write the evidence as JSON.")
@data_options
@settings_options(["policy", "weights", "calibration", *GRADER, *BASE_REWARD])
def rank(report: Path | None, figures: Path | None, config: Path | None, **flags: Any) -> None:
    """Judge the weights in force by ranked completions, which should be none that they were fitted on.

    Prints, per response type, the ranking error of the base reward, of the RBR reward and of their sum,
    and the rank correlation of that sum with the base reward inside the best class: see `rbr fit`, which
    shows the same for weights it has just made. Ranked data is as `rbr fit` reads it.
    """
    asked = taken(flags)
    settings = read(config, flags)
    path = policy_path(settings.policy)
    policy = load(path)
    experiment = Experiment.read(asked, path, policy, settings)
    backends = Backends.make(settings, policy, path)
    file = weights_path(settings, backends.grader, path)
    outputs([file, *sources(settings, config, backends.grader), *experiment.files], report, figures)
    remedy = how_to_fit(settings, file)
    model = bind(
        policy, Weights.load(file, remedy), identity(backends.grader), backends.base.source,
        calibration=backends.calibration, accept_mismatch=False, remedy=remedy,
    )  # fmt: skip
    compared = asyncio.run(compare(experiment, policy, backends, settings))
    judged = {name: one.train for name, one in compared.items() if one.train.entries}
    types = {
        name: evidence.of_weights(model.types[name].weights, graded.ranked, experiment.seed)
        for name, graded in judged.items()
    }
    shown = {
        "title": f"{policy.name}: how its weights rank {experiment.data.name}",
        "command": f"{command('rank', settings, (*GRADED_WITH, 'calibration'))} --data {experiment.data}",
        "response_types": types,
        **(findings.grading(policy, list(judged.values()), experiment.seed) if report or figures else {}),
    }
    findings.publish(shown, figures, report)
    click.echo(findings.table(types))
