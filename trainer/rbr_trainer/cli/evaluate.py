"""`rbr-train evaluate`: how often a checkpoint's answers are unsafe, and how often they refuse too much.

answers in a file | prompts -> a model -> answers  ->  their classes, by the service or by a column
-> Not-Unsafe, Not-Overrefuse, F1 and class shares: the paper's Table 4
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from rbr_trainer.cli.options import Source, address, column_options, policy_options, policy_source
from rbr_trainer.client import Client, Patience
from rbr_trainer.data import prompts
from rbr_trainer.data.files import outputs, replacing
from rbr_trainer.data.prompts import Columns, Reader
from rbr_trainer.errors import InputError
from rbr_trainer.evaluation import chat, completions, outcomes, scorecard
from rbr_trainer.evaluation.completions import Completion
from rbr_trainer.evaluation.generation import Generator
from rbr_trainer.evaluation.judging import Judge, numbered
from rbr_trainer.evaluation.sampling import Sampling
from rbr_trainer.evaluation.scorecard import Scorecard

PATIENCE = Patience(total=300.0)  # a person waits, but hours of generation are worth five minutes


@dataclass(frozen=True)
class Writer:
    """Who writes the answers: a model here, or one behind a chat server; neither: they are in the file."""

    model: str | None
    completions: str | None
    sampling: Sampling
    batch: int

    def answers(self, source: Path, reader: Reader, truth: str | None) -> list[Completion]:
        """The answers to what is in a file. Raises TrainerError."""
        if not self.model:
            return completions.read(source, reader, truth)
        found = prompts.distinct(prompts.read(source, reader))
        if not self.completions:
            return Generator(self.model).complete(found, self.sampling, self.batch)
        at = chat.place(address(self.completions, "--completions", "RBR_COMPLETIONS_KEY"))
        return asyncio.run(self._chat(Client([at], PATIENCE), found))

    async def _chat(self, client: Client, found: Sequence[prompts.Prompt]) -> list[Completion]:
        async with client:
            return await chat.complete(client, str(self.model), found, self.sampling)


@click.command()
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@policy_options
@click.option("--truth", metavar="COLUMN", help="Holds each answer's class, so that nobody is asked.")
@click.option(
    "--model", metavar="MODEL", help="IN holds prompts: this model answers them. A folder or hub name."
)
@click.option(
    "--completions",
    "server",
    metavar="URL",
    help="It is behind this server (OpenAI's chat completions), whose defaults for sampling hold: give vLLM "
    "--generation-config vllm, or it takes the model's own.",
)
@click.option("--temperature", type=click.FloatRange(0), default=1.0, show_default=True, help="0: greedy.")
@click.option(
    "--max-new-tokens", type=click.IntRange(1), default=512, show_default=True, help="Of an answer."
)
@click.option(
    "--samples", type=click.IntRange(1), default=1, show_default=True, help="Answers to each prompt."
)
@click.option(
    "--batch-size", type=click.IntRange(1), default=32, show_default=True, help="Prompts at once, of --model."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of what is drawn.")
@column_options
@click.option(
    "--save-answers", type=click.Path(path_type=Path), help="Write the model's answers there, as JSONL."
)
@click.option("--json", "out", type=click.Path(path_type=Path), help="Write all figures there.")
@click.option(
    "--compare", type=click.Path(path_type=Path), multiple=True, help="Show an earlier --json beside."
)
def evaluate(
    source: Path, policy: Path | None, service: str | None, truth: str | None, model: str | None,
    server: str | None, temperature: float, max_new_tokens: int, samples: int, batch_size: int, seed: int,
    prompt_key: str | None, label_key: str | None, unlabelled: bool, save_answers: Path | None,
    out: Path | None, compare: tuple[Path, ...],
) -> None:  # fmt: skip
    """Measure the answers in IN, or a model's answers to the prompts in IN.

    \b
    rbr-train evaluate train.heldout.jsonl --model ckpt/actor --service http://127.0.0.1:8000
    rbr-train evaluate answers.jsonl --service http://127.0.0.1:8000 --json after.json --compare before.json
    rbr-train evaluate labelled.jsonl --policy my/safety.yaml --truth class

    \b
    An answer: {"messages": [..., {"role": "assistant", "content": "..."}], "response_type": "hard_refusal"}
    or:        {"prompt": "...", "completion": "...", "category": "K-R"}

    An answer's class is the one the service finds most probable. Not-Unsafe is the share of answers, over the
    response types that the policy's metrics.unsafe names, whose class is none of those it lists.
    Not-Overrefuse is the same for metrics.overrefusal. F1 is their harmonic mean. What is out of the policy's
    scope is left aside. The figures are as good as the classes are: a grader that misses disallowed content
    calls unsafe answers safe.

    With several answers to a prompt the intervals allow for their being alike.

    \b
    Exit codes:
      0  measured
      1  the service, the chat server or the disk failed: there are no figures
      2  bad usage or bad input
    """  # noqa: D301 - click's mark: keep these lines as they are
    _usage(service, truth, model, server, save_answers)
    outputs((source, policy, *compare), save_answers, out)
    earlier = dict(zip(scorecard.names(compare), map(scorecard.load, compare), strict=True))
    writer = Writer(model, server, Sampling(temperature, max_new_tokens, samples, seed), batch_size)
    rules = policy_source(policy, service)
    reader = Reader(rules.policy, Columns(prompt_key, label_key, unlabelled=unlabelled))
    found = writer.answers(source, reader, truth)
    if not found:
        raise InputError(f"{source}: no rows")
    if save_answers:
        completions.write(save_answers, found)
    card = _card(found, rules, truth)
    click.echo("\n".join(card.lines()))
    if out:
        with replacing(out) as (partial,):
            partial.write_text(json.dumps(card.content(), indent=1) + "\n", encoding="utf-8")
    if earlier:
        click.echo("\n" + "\n".join(scorecard.compared({**earlier, scorecard.NOW: card.content()})))


def _usage(
    service: str | None, truth: str | None, model: str | None, server: str | None, save: Path | None
) -> None:
    if truth and model:
        raise click.UsageError("--truth is a column of answers that are there; --model writes new ones")
    if not truth and not service:
        raise click.UsageError("classes come from --service URL, or from a column by --truth")
    if server and not model:
        raise click.UsageError("--completions: name the model that the server is to run by --model")
    if save and not model:
        raise click.UsageError("--save-answers: IN holds the answers already; it is for those of --model")


def _card(found: Sequence[Completion], rules: Source, truth: str | None) -> Scorecard:
    if truth:
        classes = [(one.prompt.kind, one.truth) if one.truth else None for one in found]
    else:
        classes = asyncio.run(_judged(found, rules))
    seen = numbered(found, classes)
    if not seen:
        raise InputError(f"no answer is in the scope of the policy {rules.policy.name!r}: look at the labels")
    known = [one.cut for one in found if one.cut is not None]
    return Scorecard(
        policy=rules.policy.name,
        classes_by=f"the column {truth}" if truth else f"the grader {rules.grader}",
        note="" if truth else rules.note,
        reward_version="" if truth else rules.reward_version,
        answers=len(seen),
        prompts=len({outcome.prompt for outcome in seen}),
        out_of_scope=len(found) - len(seen),
        cut=sum(known) if known else None,
        rates=outcomes.rates(seen, rules.policy),
    )


async def _judged(found: Sequence[Completion], rules: Source) -> list[tuple[str, str] | None]:
    assert rules.address  # _usage
    async with Client([rules.address], PATIENCE, version=rules.reward_version) as client:
        return await Judge(client, rules.policy).classes(found)
