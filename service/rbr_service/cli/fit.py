"""`rbr fit`: weights from ranked completions, with the evidence that they rank as the policy wants."""

import asyncio
import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np

from rbr_service.build import fit_command, identity, policy_path, weights_path
from rbr_service.cli.comparison import (
    NAMES,
    Backends,
    Comparison,
    Question,
    compare,
    comparison_options,
    taken,
)
from rbr_service.cli.grading import Graded
from rbr_service.cli.options import BASE_REWARD, GRADER, read, said, settings_options, writable
from rbr_service.errors import SettingsError
from rbr_service.rbr import evaluation, evidence, reliability, slices
from rbr_service.rbr.evidence import Strength, Strong
from rbr_service.rbr.model import TypeWeights, Weights, version
from rbr_service.rbr.policy import Policy, load
from rbr_service.rbr.ranked import Ranked

PERMUTATIONS = 999  # for the slices of a few thousand completions


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
    type=click.IntRange(0),
    default=40,
    show_default=True,
    help="Fits on resampled prompts, for the intervals of the weights.",
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
    question = Question.read(asked, path, policy, settings)
    if strength == "auto" and question.held_out == 0:
        raise SettingsError("--strength auto: is chosen by held-out data: give --held-out more than 0")
    backends = Backends.make(settings, policy, path)
    output = writable(output or weights_path(settings, backends.grader, path))
    for page in filter(None, (report, figures)):
        writable(page)
    compared = asyncio.run(compare(question, policy, backends, settings))
    strong = {name: _fit(one, question, strength, wanted_error) for name, one in compared.items()}
    wanted = wanted_error if strength == "auto" else None
    types = _evidence(compared, strong, question, bootstrap, wanted)
    weights = Weights(
        policy=policy.name, grader=identity(backends.grader), calibration=version(backends.calibration),
        base_reward=backends.base.source,
        response_types={
            name: TypeWeights(hash=policy.response_types[name].hash, weights=one.weights)
            for name, one in strong.items()
        },
        origin={
            "command": f"{fit_command(settings)} {said((*NAMES, 'strength', 'wanted_error'))}".strip(),
            **_origin(question, strength, types),
        },
    )  # fmt: skip
    output.write_text(json.dumps(weights.model_dump(), indent=1) + "\n")
    if report or figures:
        whole = _whole(weights, types) | _grading(policy, compared, question.seed)
        if figures:
            figures.write_text(json.dumps(whole, indent=1) + "\n")
        if report:
            from rbr_service.report import page as drawn  # it loads the plotting library

            report.write_text(drawn.render(whole), encoding="utf-8")
    click.echo(_table(types))
    click.echo(f"{output}: written")


def _fit(one: Comparison, question: Question, strength: Strength, wanted_error: float) -> Strong:
    held_out = one.held_out.ranked if one.held_out else None
    return evidence.fit_strong(one.train.ranked, held_out, question.objective, strength, wanted_error)


def _evidence(
    compared: Mapping[str, Comparison],
    strong: Mapping[str, Strong],
    question: Question,
    resamples: int,
    wanted_error: float | None,
) -> dict[str, dict[str, Any]]:
    """What each response type's weights have to show (the shape is evidence.py's)."""
    with click.progressbar(
        length=resamples * len(strong), label="intervals of the weights", file=sys.stderr
    ) as bar:
        return {
            name: evidence.of_type(
                compared[name].train.ranked, _ranked(compared[name].held_out), question.objective, one,
                resamples=resamples, wanted_error=wanted_error, seed=question.seed,
                progress=lambda: bar.update(1),
            )
            for name, one in strong.items()
        }  # fmt: skip


def _ranked(graded: Graded | None) -> Ranked | None:
    return graded.ranked if graded else None


def _origin(question: Question, strength: Strength, types: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """How the weights came about, and what they reached."""
    held_out = question.held_out
    return {
        "data": question.data.name,
        "data_sha256": _sha256(question.data),
        "held_out": held_out.name if isinstance(held_out, Path) else held_out,
        **({"held_out_sha256": _sha256(held_out)} if isinstance(held_out, Path) else {}),
        "seed": question.seed,
        "objective": question.objective.describe(),
        "simulated_base_reward": dict(question.simulated),
        "strength": strength,
        "response_types": {
            name: {
                "strength": found["strength"]["chosen"],
                "train": found["train"],
                **({"held_out": found["held_out"]} if "held_out" in found else {}),
            }
            for name, found in types.items()
        },
    }


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _whole(weights: Weights, types: Mapping[str, Any]) -> dict[str, Any]:
    """The evidence of all types, as the report reads it."""
    origin = weights.origin
    facts = {
        "grader": f"{weights.grader.name}/{weights.grader.fingerprint[:12]}",
        "calibration": weights.calibration[:12],
        "base reward": weights.base_reward,
        "simulated base reward, error": origin["simulated_base_reward"] or "none",
        "data": f"{origin['data']} ({origin['data_sha256'][:12]})",
        "held out": origin["held_out"],
        "objective": ", ".join(f"{key} {value}" for key, value in origin["objective"].items() if value != {}),
        "strength": origin["strength"],
        "seed": origin["seed"],
        "weights version": weights.version[:12],
    }
    title = f"{weights.policy}: weights for {weights.grader.name}"
    return {"title": title, "command": origin["command"], "facts": {k: str(v) for k, v in facts.items()},
            "response_types": dict(types)}  # fmt: skip


def _grading(policy: Policy, compared: Mapping[str, Comparison], seed: int) -> dict[str, Any]:
    """How the grader agrees with what the writers of the held-out completions meant, overall and by group."""
    sets = [one.held_out for one in compared.values() if one.held_out]
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
    outcomes = evaluation.outcomes(policy, types, p, labels)
    return {
        "propositions": {
            name: reliability.figures(p[:, i], labels[:, i])
            for i, name in enumerate(names)
            if not np.isnan(labels[:, i]).all()
        },
        "slices": slices.compare(groups, outcomes, "holm", seed, PERMUTATIONS),
    }


def _table(types: Mapping[str, dict[str, Any]]) -> str:
    """Ranking errors on held-out prompts, one response type a line."""
    head = f"{'response type':20}{'pairs':>8}{'loss':>8}{'strength':>10}   held out:{'pairs':>6}"
    lines = [f"{head}{'base':>8}{'rbr':>8}{'both':>8}  95%{'':11}rank corr."]
    for name, found in types.items():
        train, held = found["train"], found.get("held_out")
        line = f"{name:20}{train['pairs']:8}{train['loss']:8.4f}{found['strength']['chosen']:10.4g}"
        if held:
            errors = held["ranking_error"]
            cells = [errors[key]["value"] if errors[key] else None for key in ("base", "rbr", "total")]
            total, left = errors["total"], held["rank_correlation"]
            line += f"{held['pairs']:18}" + "".join(f"{_share(cell):>8}" for cell in cells)
            line += f"  [{total['low']:.4f}, {total['high']:.4f}]" if total else f"{'':18}"
            line += f"{_share(left['value'] if left else None):>8}"
        lines.append(line)
    constant = {f"{name}/{f}" for name, found in types.items() for f in found["train"]["constant_features"]}
    if constant:
        lines.append(f"the same in every pair, so nothing is learned of it: {', '.join(sorted(constant))}")
    return "\n".join(lines)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
