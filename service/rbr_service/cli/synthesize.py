"""`rbr synthesize`: ranked completions for a policy, written to order."""

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from rbr_service import prompts as prompting
from rbr_service.backends import beside, make_grader, make_writer
from rbr_service.build import load_calibration, policy_path
from rbr_service.cli.options import GRADER, WRITER, outputs, read, settings_options, sources
from rbr_service.cli.progress import Progress, say
from rbr_service.errors import DataError, GraderError, OutputError, RBRError, SettingsError, WriterError
from rbr_service.graders.base import Grader
from rbr_service.journal import journal_path
from rbr_service.lifetime import started
from rbr_service.metrics import Metrics
from rbr_service.prompts import Prompts
from rbr_service.rbr.calibration import Calibration
from rbr_service.rbr.model import version
from rbr_service.rbr.policy import Policy, ResponseType, load
from rbr_service.settings import Settings
from rbr_service.synthesis import Judge, Summary, Synthesizer, Wish, Yield
from rbr_service.synthesis import synthesize as run
from rbr_service.writers import pieces
from rbr_service.writers.base import Writer
from rbr_service.writers.pieces import Templates

COUNT = 200


@click.command()
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Where the ranked rows go; JSONL."
)
@click.option(
    "--prompts", "source", type=click.Path(path_type=Path),
    help="Rows with a prompt and its response type or category, JSONL or Parquet; for a model as the writer. "
    "Default: the templates' own requests.",
)  # fmt: skip
@click.option(
    "--count", type=click.IntRange(1),
    help=f"Most of the templates' requests per response type.  [default: {COUNT}]",
)  # fmt: skip
@click.option(
    "--templates", "texts", type=click.Path(path_type=Path),
    help="Requests and pieces of answers. Default: POLICY.templates.yaml beside the policy.",
)  # fmt: skip
@click.option("--response-types", help="Only these, such as hard_refusal,comply.")
@click.option(
    "--classes",
    help="One completion of each, by the names of classes with commas between; a name may stand twice. "
    "Default: the best class, two in between, the worst.",
)
@click.option(
    "--tries", type=click.IntRange(1), default=4, show_default=True,
    help="Attempts at a completion until the grader finds the class that was asked for.",
)  # fmt: skip
@click.option(
    "--unfiltered",
    is_flag=True,
    help="Keep the first text whatever the grader says: for evaluation.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of all random choices.")
@click.option(
    "--sft", type=click.Path(path_type=Path),
    help='Write the completions of the best class there, as {"messages": [...]} lines to fine-tune on.',
)  # fmt: skip
@click.option("--json", "figures", type=click.Path(path_type=Path), help="Write the yields there.")
@settings_options(["policy", *WRITER, "calibration", *GRADER])
def synthesize(
    output: Path, source: Path | None, count: int | None, texts: Path | None, response_types: str | None,
    classes: str | None, tries: int, unfiltered: bool, seed: int, sft: Path | None, figures: Path | None,
    config: Path | None, **flags: Any,
) -> None:  # fmt: skip
    """Write ranked completions for a policy, as `rbr fit` reads them.

    For each prompt completions of several classes are asked of a writer, which is told which propositions
    must be true and false; the grader judges each, and those of another class are written again. The rows
    keep both: "class" and "propositions" as they were meant, "graded_class" as the grader found it.

    \b
    Without a model:  rbr synthesize -o ranked.jsonl
    With one:         rbr synthesize -o ranked.jsonl --prompts prompts.jsonl --writer openai \\
                          --writer-url http://127.0.0.1:8003 --writer-model MODEL
    A prompt:         {"prompt": "..." or [messages], "response_type": "hard_refusal"}, or its category

    The template writer puts answers together from a few ready texts about its own requests: enough to try
    everything, too uniform to train on alone. What is true of them is known, so that a weak grader had
    better not filter them (--unfiltered). RBR_WRITER_KEY holds a server's key. An interrupted run goes on
    where it was when started again: OUTPUT.journal holds the prompts that are done. Those that it was
    writing for, --writer-concurrency of them at most, it begins anew.
    """  # noqa: D301 - click's mark: keep these lines as they are
    settings = read(config, flags)
    path = policy_path(settings.policy)
    texts = texts or beside(path, ".templates.yaml")
    policy = load(path)
    grader = make_grader(settings, policy, path, Metrics(), serving=False)
    outputs((source, texts, *sources(settings, config, grader)), output, journal_path(output), sft, figures)
    kinds = _kinds(policy, response_types)
    wish = Wish(_classes(policy, kinds, classes), tries, unfiltered, seed)
    templates = _templates(settings, policy, texts, source)
    prompts = _prompts(policy, kinds, templates, source, count, seed)
    writer = make_writer(settings, policy, grader, templates)
    calibration = load_calibration(settings, policy, path, grader)
    if templates and settings.writer == "templates":
        _note_gaps(kinds, templates)
    try:
        summary = asyncio.run(
            _run(prompts, output, sft, figures, policy, grader, calibration, writer, wish, settings)
        )
    except (GraderError, WriterError, OutputError, OSError) as error:
        raise RBRError(f"{error}: what is done is kept, run the same command again to go on") from error
    click.echo(_table(summary))
    _note_empty(summary)
    click.echo(_conclusion(output, summary), err=True)


async def _run(
    prompts: Prompts, output: Path, sft: Path | None, figures: Path | None, policy: Policy, grader: Grader,
    calibration: Calibration | None, writer: Writer, wish: Wish, settings: Settings,
) -> Summary:  # fmt: skip
    binding = {
        "policy": policy.version, "grader": grader.fingerprint, "calibration": version(calibration),
        "writer": [writer.name, writer.fingerprint], "min_label_mass": settings.min_label_mass,
        "wish": asdict(wish), "sft": sft is not None,
    }  # fmt: skip
    async with started(grader), started(writer):
        judge = Judge(grader, calibration, settings.min_label_mass)
        with Progress("writing", "prompts") as progress:
            return await run(
                prompts, output, sft, figures, Synthesizer(writer, judge, wish), binding,
                concurrency=settings.writer_concurrency, progress=progress.show,
            )  # fmt: skip


def _kinds(policy: Policy, named: str | None) -> list[ResponseType]:
    """The response types named, or all. Raises SettingsError."""
    if named is None:
        return list(policy.response_types.values())
    unknown = [name for name in _names(named) if name not in policy.response_types]
    if unknown or not _names(named):
        raise SettingsError(
            f"--response-types: {', '.join(unknown) or 'no name'}: not of the policy {policy.name!r}: "
            f"{', '.join(policy.response_types)}"
        )
    return [kind for name, kind in policy.response_types.items() if name in _names(named)]


def _classes(policy: Policy, kinds: list[ResponseType], named: str | None) -> tuple[str, ...] | None:
    """The classes named. Raises SettingsError for a type of which fewer than two are named."""
    if named is None:
        return None
    unknown = [name for name in _names(named) if name not in policy.file.classes]
    if unknown:
        raise SettingsError(
            f"--classes: {', '.join(unknown)}: no classes of the policy {policy.name!r}: "
            f"{', '.join(policy.file.classes)}"
        )
    for kind in kinds:
        if len(set(_names(named)).intersection(kind.classes)) < 2:
            raise SettingsError(
                f"--classes: {kind.name} needs two or more of its own, as only differences rank: "
                f"{', '.join(kind.classes)}; or leave it out by --response-types"
            )
    return tuple(_names(named))


def _names(listed: str) -> list[str]:
    return [name for name in map(str.strip, listed.split(",")) if name]


def _templates(settings: Settings, policy: Policy, file: Path, source: Path | None) -> Templates | None:
    """The texts, where the writer or the prompts come from them. Raises SettingsError, PolicyError."""
    if settings.writer == "templates" and source:
        raise SettingsError(
            "--prompts: the template writer can answer its own requests only, since its texts speak of "
            "their topics: leave --prompts out, or let a model write (--writer openai or vllm)"
        )
    if source:
        return None
    if not file.is_file():
        raise SettingsError(
            f"{file}: no templates there: write them (the shipped safety.templates.yaml shows how; "
            "rbr_service/writers/pieces.py has the format), or give --prompts and let a model write "
            "(--writer openai or vllm)"
        )
    return pieces.load(file, policy)


def _prompts(
    policy: Policy, kinds: list[ResponseType], templates: Templates | None, source: Path | None,
    count: int | None, seed: int,
) -> Prompts:  # fmt: skip
    if source or templates is None:
        if count is not None:
            raise SettingsError("--count: is for the templates' requests: leave it out, or --prompts")
        prompts = prompting.read(Path(str(source)), policy, kinds)
    else:
        asked = [kind for kind in kinds if kind.name in templates.requests]
        prompts = prompting.of_templates(templates, asked, count or COUNT, seed)
    if not prompts.found:
        raise DataError(f"{source or 'the templates'}: no prompt for {', '.join(k.name for k in kinds)}")
    return prompts


def _note_gaps(kinds: list[ResponseType], templates: Templates) -> None:
    for kind in kinds:
        if kind.name not in templates.requests:
            say(f"note: {kind.name}: the templates have no requests for it")
        elif unsaid := templates.unsaid(kind):
            say(f"note: {kind.name}: no piece says {', '.join(unsaid)}")


def _note_empty(summary: Summary) -> None:
    for kind, yields in summary.yields.items():
        empty = ", ".join(name for name, made in yields.items() if not made.kept)
        if empty:
            say(
                f"note: {kind}: no completion of {empty} was kept; where the writer is sounder than the "
                "grader, --unfiltered keeps what it meant"
            )


def _table(summary: Summary) -> str:
    columns = list(asdict(Yield()))
    lines = [f"{'response type / class':40}" + "".join(f"{name:>10}" for name in columns)]
    for kind, yields in summary.yields.items():
        for name, made in yields.items():
            lines.append(f"{f'{kind} / {name}':40}" + "".join(f"{n:10}" for n in asdict(made).values()))
    return "\n".join(lines)


def _conclusion(output: Path, summary: Summary) -> str:
    facts = [f"{summary.completions} completions of {summary.written} prompts"]
    for number, why in (
        (summary.left_out, "left out with fewer than two classes"),
        (summary.out_of_scope, "rows of other types or out of scope"),
        (summary.repeated, "rows that repeat a prompt"),
    ):
        facts += [f"{number} {why}"] if number else []
    return f"{output}: {', '.join(facts)}"
