"""`rbr label`: gold rows from a person, question by question.

IN -> tasks -> a dialogue over Labelling -> OUT, with OUT.journal beside it
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import click

from rbr_service import jsontext, labelling, rows
from rbr_service.build import policy_path
from rbr_service.cli.options import outputs, read, regular, settings_options
from rbr_service.cli.progress import say
from rbr_service.cli.terminal import ENTER, QUIT, Terminal, terminal, wrapped
from rbr_service.errors import DataError, OutputError, RBRError, SettingsError
from rbr_service.files import write
from rbr_service.journal import journal, journal_path
from rbr_service.labelling import Asked, Labelling, Question, Task
from rbr_service.rbr.policy import Policy, load
from rbr_service.rbr.schema import Proposition
from rbr_service.reading import Reader

ANSWERS = {"y": True, "n": False, "s": None}
SAID = {True: "yes", False: "no", None: "skipped"}
KEYS = "y yes, n no, s skip (stays unlabelled), b back, r read again, ? definition, q quit"


@click.command()
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Where the gold rows go, JSONL."
)
@click.option("--annotator", metavar="NAME", help="Who labels; stands in every row of OUT.")
@click.option("--propositions", metavar="A,B", help="Ask about these only, whatever the response type.")
@click.option("--all", "everything", is_flag=True, help="Ask about all of the policy's propositions.")
@click.option("--missing", is_flag=True, help="Keep the labels that IN's rows have and ask about the rest.")
@click.option("--sample", type=click.IntRange(min=1), metavar="N", help="Label N rows drawn by chance.")
@click.option("--seed", default=0, show_default=True, help="Of the draw.")
@settings_options(["policy", "strip_reasoning", "max_completion_chars"])
def label(
    source: Path, output: Path, annotator: str | None, propositions: str | None, everything: bool,
    missing: bool, sample: int | None, seed: int, config: Path | None, **flags: Any,
) -> None:  # fmt: skip
    """Label the completions of IN (JSONL or Parquet, rows as of `rbr score`) in the terminal.

    Each is asked about proposition by proposition: those that its response type asks about. One key
    answers; where stdin is no terminal, one line does. ? shows the definition and examples.

    Each answer is on disk, in OUT.journal, before the next question comes: whatever ends a run, the same
    command goes on at the question it was at. OUT is written when a run ends. Its rows are what
    `rbr evaluate --gold` and `rbr calibrate` read; `rbr agreement` compares those of two annotators.
    """
    settings = read(config, flags)
    path = policy_path(settings.policy)
    policy = load(path)
    asked = _asked(policy, propositions, everything=everything)
    journaled = journal_path(output)
    outputs((regular(source), config, path), output, journaled)
    _spare(output, journaled)
    # Read as served rows are, but for empty answers, which are labelled too.
    reader = Reader(settings.model_copy(update={"empty_completion": "grade"}))
    tasks, passed = labelling.read(source, policy, reader, asked, say, only_missing=missing)
    say(f"{len(tasks)} rows to label; {passed.out_of_scope} out of the policy's scope, {passed.bad} bad")
    tasks = labelling.sampled(tasks, sample, seed) if sample else tasks
    try:
        with journal(journaled, labelling.binding(tasks, policy, annotator)) as kept:
            session = Labelling(tasks, kept)
            try:
                with terminal() as person:
                    _dialogue(session, policy, person)
            finally:
                _finish(session, policy, annotator, output)
    except (OutputError, OSError) as error:
        raise RBRError(
            f"{error}: the answers so far are in {journaled}; run the same command again"
        ) from error


def _asked(policy: Policy, propositions: str | None, *, everything: bool) -> Asked:
    if propositions is None:
        known = tuple(policy.file.propositions)
        return lambda kind: known if everything else kind.propositions
    if everything:
        raise SettingsError("--propositions and --all exclude each other")
    chosen: Collection[str] = [name.strip() for name in propositions.split(",")]
    for name in chosen:
        if name not in policy.file.propositions:
            raise SettingsError(f"--propositions: the policy {policy.name!r} has no {name!r}")
    return lambda _: chosen


def _spare(output: Path, journaled: Path) -> None:
    """Raises DataError where labels would be lost."""
    if rows.is_parquet(output):
        raise DataError(f"{output}: labels are written as JSONL: name it so")
    if output.exists() and not journaled.exists():
        raise DataError(
            f"{output}: is there, without {journaled.name}: labels are not overwritten, name another"
        )


def _dialogue(session: Labelling, policy: Policy, person: Terminal) -> None:
    """Ask until the person quits, or has answered all and does not want to go back."""
    seen = 0
    click.echo(KEYS)
    while True:
        question = session.question
        if question and question.row != seen:
            seen = question.row
            if not person.show(_conversation(question.task, person.columns)):
                return
        key = person.key(_prompt(session, question, policy, person.columns))
        if key == QUIT:
            return
        if key == "b":
            session.back()
        elif key == "r":
            seen = 0
        elif question:
            _take(key, session, question, policy, person)


def _take(key: str, session: Labelling, question: Question, policy: Policy, person: Terminal) -> None:
    """Do what a key asks for at a question."""
    if key in ANSWERS:
        session.answer(ANSWERS[key])
    elif key == ENTER and question.answered:
        session.answer(question.label)
    elif key == "?":
        person.show(_explained(policy.file.propositions[question.proposition], person.columns))
    else:
        click.echo(KEYS)


def _conversation(task: Task, columns: int) -> list[str]:
    """What is judged, in lines: the messages, then the completion."""
    turns = [(message.role, message.content) for message in task.conversation.prompt]
    turns.append(("COMPLETION", task.conversation.completion or "(empty)"))
    lines = ["", "=" * columns]
    for role, content in turns:
        lines += [*wrapped(f"{role}:", columns), *(f"  {line}" for line in wrapped(content, columns - 2))]
    return [*lines, "-" * columns]


def _prompt(session: Labelling, question: Question | None, policy: Policy, columns: int) -> str:
    if question is None:
        return f"\nAll {len(session.tasks)} rows are done: b goes back, q quits > "
    task = question.task
    named = f" (id {task.id})" if task.id is not None else ""
    text = policy.file.propositions[question.proposition].question
    lines = [
        "",
        *wrapped(
            f"row {question.row} of {len(session.tasks)}{named}, "
            f"question {question.number} of {len(task.questions)}: {question.proposition}",
            columns,
        ),
        *wrapped(text, columns),
        f"(now {SAID[question.label]}, Enter keeps it) y n s b r ? q > "
        if question.answered
        else "y n s b r ? q > ",
    ]
    return "\n".join(lines)


def _explained(proposition: Proposition, columns: int) -> list[str]:
    """A proposition's definition and examples, in lines."""
    lines = ["", *wrapped(proposition.definition, columns)]
    for example in proposition.examples:
        turns = [("user", example.user), ("assistant", example.assistant), ("because", example.because)]
        lines += ["", f"example: {SAID[example.answer]}"]
        for role, text in turns:
            if text is not None:
                lines += [f"  {line}" for line in wrapped(f"{role}: {text}", columns - 2)]
    return lines


def _finish(session: Labelling, policy: Policy, annotator: str | None, output: Path) -> None:
    gold = list(session.gold(policy.file.propositions, annotator))
    if gold or output.exists():
        write(output, b"".join(map(jsontext.line, gold)))
    rest = f"; {session.left} questions are left: the same command goes on" if session.left else ""
    say(f"{output}: {len(gold)} rows with labels{rest}")
