"""`rbr-train prepare`: prompts and a content policy become a trainer's dataset.

files -> prompts, each once -> held out | mixed for training -> OUT.heldout.*, OUT, and a table of all
"""

from collections.abc import Sequence
from math import inf, nan
from pathlib import Path

import click

from rbr_trainer.cli.options import column_options, policy_options, policy_source
from rbr_trainer.data import dataset, prompts
from rbr_trainer.data.dataset import FORMATS, Format, typed
from rbr_trainer.data.files import outputs, replacing
from rbr_trainer.data.policy import AUTO, OUT_OF_SCOPE, Policy
from rbr_trainer.data.prompts import Columns, Prompt, Reader, by_kind
from rbr_trainer.data.split import Mix, Split, Splitter
from rbr_trainer.errors import InputError

SUFFIXES = (".jsonl", ".parquet")  # each trainer takes these two, and each refuses or misreads some other


@click.command()
@click.argument("sources", metavar="IN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="Where the rows to train on go: NAME.jsonl or NAME.parquet. What is held out goes beside it, as "
    "NAME.heldout.jsonl or .parquet.",
)
@policy_options
@click.option(
    "--for",
    "trainer",
    type=click.Choice(list(FORMATS)),
    default="openrlhf",
    show_default=True,
    help="Whose rows to write.",
)
@column_options
@click.option(
    "--label",
    "defaults",
    metavar="NAME",
    multiple=True,
    help="What rows without a label are; once, or once for each IN in order.",
)
@click.option(
    "--refusal-share",
    type=click.FloatRange(0, 1),
    metavar="SHARE",
    help="Share of prompts to refuse among those in scope. Which types are to comply with, the policy's "
    "metrics.overrefusal says. Prompts out of scope are all kept.",
)
@click.option(
    "--mix",
    metavar="TYPE=SHARE",
    multiple=True,
    help="Share of a response type, or of out_of_scope, relative to the others'; types that are not "
    "named are left out.",
)
@click.option(
    "--multiple-of",
    type=click.IntRange(1),
    default=1,
    metavar="N",
    help="Train on whole batches of N: OpenRLHF logs a step for a last, smaller one and may update nothing.",
)
@click.option(
    "--hold-out",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.1,
    show_default=True,
    metavar="SHARE",
    help="Share of each response type to hold out, whatever the mix.",
)
@click.option(
    "--hold-out-key",
    metavar="COLUMN",
    default="",
    help="Hold out whole groups, such as topics: those that share this column's value.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of all that is drawn.")
def prepare(
    sources: tuple[Path, ...], output: Path, policy: Path | None, service: str | None, trainer: str,
    prompt_key: str | None, label_key: str | None, defaults: tuple[str, ...], unlabelled: bool,
    refusal_share: float | None, mix: tuple[str, ...], multiple_of: int, hold_out: float,
    hold_out_key: str, seed: int,
) -> None:  # fmt: skip
    """Make a trainer's dataset of the prompts in IN: JSONL, Parquet, or a folder of save_to_disk.

    \b
    A row:  {"prompt": "How do I pick a lock?", "category": "K-R"}
    or:     {"messages": [{"role": "user", "content": "..."}], "response_type": "hard_refusal"}

    The label may be a response type, an alias or a category of the policy, or an object of these. All rows
    that are not sound are told with file and line, and then nothing is written. A prompt that stands there
    twice is taken once; with two different labels it is an error. Prompts are never repeated to reach a mix:
    of what there is too much, some is left out.

    A row's base_reward goes into its label. It is the same for all answers to that prompt, and wanted only by
    a service that runs with --base-reward given.

    \b
    Exit codes:
      0  the files are there, whole
      1  they could not be written, or the service not be asked
      2  bad usage or bad input
    """  # noqa: D301 - click's mark: keep these lines as they are
    held_out = output.with_name(f"{output.stem}.heldout{output.suffix}")
    _writable(sources, output, held_out, policy, trainer)
    rules = policy_source(policy, service).policy
    columns = Columns(prompt_key, label_key, hold_out_key, unlabelled=unlabelled)
    splitter = Splitter(seed, hold_out, _mix(rules, refusal_share, mix), multiple_of)
    found = [
        prompt
        for source, default in zip(sources, _defaults(rules, defaults, len(sources)), strict=True)
        for prompt in prompts.read(source, Reader(rules, columns.with_default(default)))
    ]
    if not found:
        raise InputError(f"{', '.join(map(str, sources))}: no rows")
    split = splitter.split(prompts.distinct(found))
    if not split.held_out and held_out.exists():
        raise InputError(
            f"{held_out}: was held out from another run, and what it holds may now be trained on: "
            "remove it, or hold out anew with --hold-out"
        )
    _write(FORMATS[trainer], split, output, held_out if split.held_out else None)
    click.echo(table(rules, found, split), err=True)
    click.echo(f"\n{trainer} reads it with\n  {_use(FORMATS[trainer], output, held_out, split)}", err=True)


def table(policy: Policy, found: Sequence[Prompt], split: Split) -> str:
    """What became of the rows, a kind a line."""
    columns = [by_kind(part) for part in (found, split.train, split.held_out, split.left_out)]
    kinds = [k for k in (*policy.response_types, OUT_OF_SCOPE, AUTO) if k in columns[0]]
    lines = [
        f"{'response type':24}{'rows':>9}{'repeated':>10}{'held out':>10}{'left out':>10}{'train':>9}   share"
    ]
    for kind in [*kinds, "all"]:
        rows, train, held, left = (
            sum(counts.values()) if kind == "all" else counts.get(kind, 0) for counts in columns
        )
        share = f"{train / len(split.train):8.1%}"
        lines.append(f"{kind:24}{rows:9}{rows - train - held - left:10}{held:10}{left:10}{train:9}{share}")
    return "\n".join(lines)


def _writable(
    sources: Sequence[Path], output: Path, held_out: Path, policy: Path | None, trainer: str
) -> None:
    outputs((*sources, policy), output, held_out)
    if output.suffix not in SUFFIXES:
        raise InputError(f"{output}: trainers read a file by its name's end: name it .jsonl or .parquet")
    if trainer == "openrlhf" and set(str(output)) & set(",@"):
        raise InputError(f"{output}: OpenRLHF splits what it reads at ',' and '@': choose another path")


def _mix(policy: Policy, refusal_share: float | None, given: Sequence[str]) -> Mix | None:
    if refusal_share is not None and given:
        raise click.UsageError("--refusal-share and --mix: give one")
    if refusal_share is not None:
        return Mix.of_refusals(policy, refusal_share)
    shares = dict(map(_part, given))
    if len(shares) < len(given):
        raise click.UsageError("--mix: a type has one share")
    for kind in shares:
        if kind not in (*policy.response_types, OUT_OF_SCOPE, AUTO):
            raise InputError(
                f"--mix {kind}: the policy {policy.name!r} has {', '.join(policy.response_types)}"
            )
    return Mix([(frozenset({kind}), share) for kind, share in shares.items()]) if shares else None


def _part(text: str) -> tuple[str, float]:
    kind, _, share = text.partition("=")
    try:
        number = float(share)
    except ValueError:
        number = nan
    if not 0 < number < inf:
        raise click.BadParameter(
            f"{text!r} is no type and share, such as hard_refusal=0.4", param_hint="--mix"
        )
    return kind, number


def _defaults(policy: Policy, given: Sequence[str], files: int) -> list[str | None]:
    for name in given:
        policy.meaning(name)
    if len(given) not in (0, 1, files):
        raise click.UsageError(f"--label: give it once, or {files} times, once for each IN")
    return [*given] if len(given) == files else [given[0] if given else None] * files


def _write(kind: Format, split: Split, output: Path, held_out: Path | None) -> None:
    """Both files; what is held out first, so that rows to train on never stand beside an older one."""
    paths = [path for path in (held_out, output) if path]
    with replacing(*paths) as partials:
        if held_out:
            dataset.write(partials[0], kind, typed(split.held_out), held_out)
        dataset.write(partials[-1], kind, typed(split.train), output)


def _use(kind: Format, output: Path, held_out: Path, split: Split) -> str:
    use = kind.use + (f" {kind.use_held_out}" if split.held_out else "")
    loader = "parquet" if output.suffix == ".parquet" else "json"
    return use.format(train=output, held_out=held_out, kind=loader)
