"""`rbr fit`: weights from ranked completions."""

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Annotated, Any

import click
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from rbr_service import rows
from rbr_service.backends import beside, make_base_reward, make_grader
from rbr_service.build import fit_command, identity, policy_path, weights_path
from rbr_service.cli import grading
from rbr_service.cli.options import BASE_REWARD, GRADER, read, settings_options, writable
from rbr_service.completion import clean
from rbr_service.conversation import Conversation
from rbr_service.errors import DataError, whole
from rbr_service.graders.base import Grader, GradeRequest
from rbr_service.labels import BaseReward as Number
from rbr_service.labels import MessageIn
from rbr_service.lifetime import started
from rbr_service.metrics import Metrics
from rbr_service.rbr import fit as fitting
from rbr_service.rbr.fit import Fit, RankedRow
from rbr_service.rbr.model import TypeWeights, Weights
from rbr_service.rbr.policy import Policy, ResponseType, load
from rbr_service.rewards.base import BaseReward, RewardRequest


class RankedCompletion(BaseModel):
    """A completion and the class it was written to be in."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    rank_class: str = Field(alias="class")
    content: str
    base_reward: Number | None = None


class RankedPrompt(BaseModel):
    """One line of ranked data: a prompt and completions of different classes."""

    model_config = ConfigDict(extra="forbid")

    id: str
    response_type: str
    prompt: list[MessageIn]
    completions: Annotated[list[RankedCompletion], Field(min_length=2)]


@click.command()
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Ranked completions. Default: POLICY.ranked.jsonl beside the policy.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Weights file. Default: POLICY.GRADER.json beside the policy.",
)
@settings_options(["policy", *GRADER, *BASE_REWARD])
def fit(data: Path | None, output: Path | None, config: Path | None, **flags: Any) -> None:
    """Fit the weights of a policy on ranked completions.

    \b
    A line:  {"id": "7", "response_type": "hard_refusal", "prompt": [{"role": "user", "content": "..."}],
              "completions": [{"class": "ideal", "content": "..."},
                              {"class": "disallowed", "content": "..."}]}

    With --base-reward given, every completion also holds its helpful-only "base_reward"; with upstream
    or classify the reward model is asked. The weights file is bound to the policy, the grader and the
    base reward's source.
    """  # noqa: D301 - click's mark: keep these lines as they are
    settings = read(config, flags)
    path = policy_path(settings.policy)
    policy = load(path)
    ranked = data or beside(path, ".ranked.jsonl")
    if not ranked.is_file():
        raise DataError(f"{ranked}: no ranked completions there: write some (rbr fit --help) or name --data")
    grader = make_grader(settings, policy, path, Metrics(), serving=False)
    base = make_base_reward(settings, serving=False)
    output = writable(output or weights_path(settings, grader, path))
    prompts = _read(ranked, policy, given=settings.base_reward == "given")
    fits = asyncio.run(_fit(policy, grader, base, prompts, settings.min_label_mass))
    weights = Weights(
        policy=policy.name, grader=identity(grader), calibration="none", base_reward=base.source,
        response_types={
            name: TypeWeights(hash=policy.response_types[name].hash, weights=found.weights)
            for name, found in fits.items()
        },
        origin={
            "command": fit_command(settings, str(data or "")),
            **_origin(ranked, fits),
        },
    )  # fmt: skip
    output.write_text(json.dumps(weights.model_dump(), indent=1) + "\n")
    for name, found in fits.items():
        click.echo(
            f"{name:20} {found.pairs:6} pairs   loss {found.loss:.4f}   ranked wrongly {found.error:.2%}"
        )
    click.echo(f"{output}: written")


def _read(data: Path, policy: Policy, *, given: bool) -> dict[str, list[RankedPrompt]]:
    """The prompts of each response type; `given`: whether completions bring their base reward."""
    prompts: dict[str, list[RankedPrompt]] = {name: [] for name in policy.response_types}
    for number, row in rows.read(data):
        with rows.placed(data, number):
            prompt = RankedPrompt.model_validate(rows.whole(row))
            kind = policy.resolve(prompt.response_type)
        if kind is None:
            raise DataError(f"{data}:{number}: {prompt.response_type!r} is out of the policy's scope")
        for completion in prompt.completions:
            if completion.rank_class not in kind.classes:
                raise DataError(
                    f"{data}:{number}: {completion.rank_class!r} is not a class of {kind.name!r}: "
                    + ", ".join(kind.classes)
                )
            if (completion.base_reward is not None) != given:
                what = "lacks its base_reward" if given else "brings a base_reward that is not asked for"
                raise DataError(
                    f"{data}:{number}: a completion {what}: only --base-reward given takes them from the data"
                )
        prompts[kind.name].append(prompt)
    return prompts


async def _fit(
    policy: Policy, grader: Grader, base: BaseReward, prompts: dict[str, list[RankedPrompt]],
    least_mass: float,
) -> dict[str, Fit]:  # fmt: skip
    async with started(grader), started(base):
        return {
            name: fitting.fit(kind, await _rows(kind, grader, base, prompts[name], least_mass))
            for name, kind in policy.response_types.items()
        }


async def _rows(
    kind: ResponseType, grader: Grader, base: BaseReward, prompts: list[RankedPrompt], least_mass: float
) -> list[RankedRow]:
    asked, paid, facts = [], [], []
    for number, prompt in enumerate(prompts):
        turns = tuple(message.message() for message in prompt.prompt)
        for one in prompt.completions:
            completion = clean(one.content, strip_reasoning=True, allow_empty=True)
            conversation = Conversation(turns, completion)
            asked.append(GradeRequest(conversation, kind.propositions))
            paid.append(RewardRequest(conversation, one.base_reward))
            facts.append((str(number), kind.classes.index(one.rank_class)))
    grades = await grading.grades(grader, asked, f"grading {kind.name}")
    bases = whole(await base.rewards(paid))
    found = [
        RankedRow(group, rank, np.array([v.p for v in grade.verdicts]), reward)
        for (group, rank), grade, reward in zip(facts, grades, bases, strict=True)
        if all(verdict.label_mass >= least_mass for verdict in grade.verdicts)
    ]
    if len(found) < len(facts):
        click.echo(
            f"rbr: {kind.name}: {len(facts) - len(found)} of {len(facts)} completions left out, the grader "
            f"put less than {least_mass:g} of probability on yes and no",
            err=True,
        )
    return found


def _origin(data: Path, fits: dict[str, Fit]) -> dict[str, Any]:
    return {
        "data": data.name,
        "data_sha256": hashlib.sha256(data.read_bytes()).hexdigest(),
        "objective": f"mean hinge, margin {fitting.MARGIN}, L2 {fitting.L2}",
        "response_types": {
            name: {"pairs": f.pairs, "loss": round(f.loss, 6), "ranked_wrongly": round(f.error, 6)}
            for name, f in fits.items()
        },
    }
