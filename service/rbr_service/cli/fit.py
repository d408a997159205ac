"""`rbr fit`: weights from ranked completions, with the evidence that they rank as the policy wants."""

import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from rbr_service import files
from rbr_service.build import fit_command, identity, policy_path, weights_path
from rbr_service.cli import findings
from rbr_service.cli.comparison import (
    NAMES,
    Backends,
    Comparison,
    Experiment,
    compare,
    comparison_options,
    taken,
)
from rbr_service.cli.grading import Graded
from rbr_service.cli.options import BASE_REWARD, GRADER, outputs, read, said, settings_options, sources
from rbr_service.errors import SettingsError
from rbr_service.rbr import evidence
from rbr_service.rbr.evidence import Strength, Strong
from rbr_service.rbr.model import TypeWeights, Weights, version
from rbr_service.rbr.policy import Policy, load
from rbr_service.rbr.ranked import Ranked

LEAST_RESAMPLES = 20
CHOSEN = (*NAMES, "strength", "wanted_error", "bootstrap")  # options that decide what is in the file


class StrengthType(click.ParamType[Strength]):
    """A positive number, or auto."""

    name = "NUMBER|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Strength:
        """The strength."""
        if value == "auto":
            return "auto"
        try:
            number = float(value)
        except ValueError:
            number = 0.0
        if not 0 < number < 1e6:
            self.fail(f"{value}: a number over 0, or auto", param, ctx)
        return number


class Resamples(click.ParamType[int]):
    """0, or enough for a 95% interval."""

    name = "N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number."""
        number = click.IntRange(0).convert(value, param, ctx)
        if 0 < number < LEAST_RESAMPLES:
            self.fail(f"{number} say nothing of a 95% interval: {LEAST_RESAMPLES} or more, or 0", param, ctx)
        return number


@click.command()
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Weights file. Default: POLICY.GRADER.json beside the policy.",
)
@click.option(
    "--strength",
    type=StrengthType(),
    default=1.0,
    show_default=True,
    help="Multiplies all weights; auto takes the smallest that reaches --wanted-error held out.",
)
@click.option(
    "--wanted-error",
    type=click.FloatRange(0, 1),
    default=0.01,
    show_default=True,
    help="Held-out ranking error that --strength auto goes for.",
)
@click.option(
    "--bootstrap",
    type=Resamples(),
    default=100,
    show_default=True,
    help="Fits on resampled prompts, for the intervals of the weights; 0 for none.",
)
@click.option("--report", type=click.Path(path_type=Path), help="Write the evidence as one HTML page.")
@click.option("--json", "figures", type=click.Path(path_type=Path), help="Write the evidence as JSON.")
@comparison_options
@settings_options(["policy", "calibration", *GRADER, *BASE_REWARD])
def fit(
    output: Path | None, strength: Strength, wanted_error: float, bootstrap: int, report: Path | None,
    figures: Path | None, config: Path | None, **flags: Any,
) -> None:  # fmt: skip
    """Fit the weights of a policy on ranked completions, and show what they are worth.

    \b
    A line:  {"id": "7", "response_type": "hard_refusal", "prompt": [{"role": "user", "content": "..."}],
              "completions": [{"class": "ideal", "content": "..."},
                              {"class": "disallowed", "content": "..."}]}

    `rbr synthesize` writes such lines. A completion that also says which "propositions" hold is ranked by
    what the policy's rules make of them now: after a changed rule fit again, no new labels are needed.

    With --base-reward given, every completion also holds its helpful-only "base_reward"; with upstream
    or classify the reward model is asked. The weights file is bound to the policy, the grader, the
    calibration and the base reward's source.

    \b
    Ranking error: the share of held-out (best class, other class) pairs of a prompt in which the other
    one has no smaller reward. Rank correlation: how far the base reward still orders the best class.
    """  # noqa: D301 - click's mark: keep these lines as they are
    asked = taken(flags)
    settings = read(config, flags)
    path = policy_path(settings.policy)
    policy = load(path)
    experiment = Experiment.read(asked, path, policy, settings)
    if strength == "auto" and experiment.held_out == 0:
        raise SettingsError("--strength auto: is chosen by held-out data: give --held-out more than 0")
    backends = Backends.make(settings, policy, path)
    output = output or weights_path(settings, backends.grader, path)
    outputs([*sources(settings, config, backends.grader), *experiment.files], output, report, figures)
    compared = asyncio.run(compare(experiment, policy, backends, settings))
    strong = {name: _fit(one, experiment, strength, wanted_error) for name, one in compared.items()}
    wanted = wanted_error if strength == "auto" else None
    types = _evidence(compared, strong, experiment, bootstrap, wanted)
    origin = {
        "command": f"{fit_command(settings)} {said(CHOSEN)}".strip(),
        **findings.origin(experiment, strength, types),
    }
    weights = _weights(policy, backends, strong, origin)
    if report or figures:
        held_out = [one.held_out for one in compared.values() if one.held_out]
        shown = findings.whole(weights, types) | findings.grading(policy, held_out, experiment.seed)
        findings.publish(shown, figures, report)
    files.write(output, json.dumps(weights.model_dump(), indent=1) + "\n")
    click.echo(findings.table(types))
    if strength == "auto":
        click.echo(
            "The strength was chosen on the same held-out prompts, so their error is a little optimistic."
        )
    click.echo(f"{output}: written")


def _weights(
    policy: Policy, backends: Backends, strong: Mapping[str, Strong], origin: dict[str, Any]
) -> Weights:
    return Weights(
        policy=policy.name, grader=identity(backends.grader), calibration=version(backends.calibration),
        base_reward=backends.base.source, origin=origin,
        response_types={
            name: TypeWeights(hash=policy.response_types[name].hash, weights=one.weights)
            for name, one in strong.items()
        },
    )  # fmt: skip


def _fit(one: Comparison, experiment: Experiment, strength: Strength, wanted_error: float) -> Strong:
    held_out = one.held_out.ranked if one.held_out else None
    return evidence.fit_strong(one.train.ranked, held_out, experiment.objective, strength, wanted_error)


def _evidence(
    compared: Mapping[str, Comparison],
    strong: Mapping[str, Strong],
    experiment: Experiment,
    resamples: int,
    wanted_error: float | None,
) -> dict[str, dict[str, Any]]:
    """What each response type's weights have to show (the shape is evidence.py's)."""
    with click.progressbar(
        length=resamples * len(strong), label="intervals of the weights", file=sys.stderr
    ) as bar:
        return {
            name: evidence.of_type(
                compared[name].train.ranked, _ranked(compared[name].held_out), experiment.objective, one,
                resamples=resamples, wanted_error=wanted_error, seed=experiment.seed,
                progress=lambda: bar.update(1),
            )
            for name, one in strong.items()
        }  # fmt: skip


def _ranked(graded: Graded | None) -> Ranked | None:
    return graded.ranked if graded else None
