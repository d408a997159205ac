"""`rbr policy`: check, show and compare policies."""

import click

from rbr_service.build import policy_path
from rbr_service.rbr.policy import Policy, load
from rbr_service.rbr.schema import Condition


@click.group()
def policy() -> None:
    """Check, show and compare policies (a shipped name or a YAML file)."""


@policy.command()
@click.argument("name")
def check(name: str) -> None:
    """Validate a policy whole: names, derivations, and that its rules are exclusive and exhaustive."""
    found = load(policy_path(name))
    click.echo(f"{found.name}: sound; version {found.version}")
    for kind in found.response_types.values():
        diagram = kind.diagram
        click.echo(
            f"  {kind.name} {kind.hash[:12]}: {len(kind.classes)} classes, proved exclusive and exhaustive "
            f"over {len(diagram.variables)} propositions ({len(diagram.nodes)} decision nodes)"
        )


@policy.command()
@click.argument("name")
def show(name: str) -> None:
    """Print a policy: questions, rules, features, labels and hashes."""
    found = load(policy_path(name))
    file = found.file
    click.echo(f"{found.name}  {found.version}\n{file.description}\n\nQuestions")
    for key, question in file.propositions.items():
        click.echo(f"  {key:40} {found.question_hashes[key][:12]}  {question.question}")
    click.echo("\nDerived")
    for key, condition in file.derived.items():
        click.echo(f"  {key}: {spell(condition)}")
    for key, kind in found.response_types.items():
        spec = file.response_types[key]
        click.echo(f"\n{key}  {kind.hash[:12]}\n  {spec.description}")
        click.echo(f"  aliases: {', '.join(spec.aliases) or '-'}")
        click.echo(f"  good: {', '.join(spec.good) or '-'}\n  bad: {', '.join(spec.bad) or '-'}")
        for name_ in kind.classes:
            click.echo(f"  {name_}: {spell(file.rules[key][name_])}")
        click.echo(f"  features: {', '.join(kind.features)}")
    click.echo(f"\nContent policy (unlabelled: {file.unlabelled})")
    for key, category in file.content_policy.items():
        click.echo(f"  {key:10} -> {category.response_type:20} {category.description}")


@policy.command()
@click.argument("old")
@click.argument("new")
def diff(old: str, new: str) -> None:
    """Say what changes between two policies, what must be graded again and whose weights are void."""
    before, after = load(policy_path(old)), load(policy_path(new))
    if before.version == after.version:
        click.echo("the same policy")
        return
    click.echo(f"{before.version[:12]} -> {after.version[:12]}")
    questions = changes(before.question_hashes, after.question_hashes)
    types = changes(_hashes(before), _hashes(after))
    _print_regraded(before, after, questions)
    _print("questions no longer asked", [key for key, how in questions if how == "removed"])
    _print(
        "response types whose weights are void",
        [f"{key} ({how})" for key, how in types if how != "added"],
    )
    _print("response types that need weights", [key for key, how in types if how == "added"])
    rest = [
        key
        for key in type(before.file).model_fields
        if key not in ("propositions", "rules", "derived")
        and getattr(before.file, key) != getattr(after.file, key)
    ]
    _print("other keys that changed", rest)


def _print_regraded(before: Policy, after: Policy, questions: list[tuple[str, str]]) -> None:
    """What verdicts kept by content no longer cover, which depends on the prompt layout."""
    edited = [f"{key} ({how})" for key, how in questions if how != "removed"]
    # The book holds every question in the file's order.
    same_book = list(before.question_hashes.items()) == list(after.question_hashes.items())
    everything = f"all {len(after.question_hashes)}, each at the cost of about one line"
    _print("questions to grade again with layout book", [] if same_book else [everything])
    _print("questions to grade again with layout conversation-first or released", edited)
    _print("response types whose weights are void with layout book", [] if same_book else ["all"])


def changes(before: dict[str, str], after: dict[str, str]) -> list[tuple[str, str]]:
    """(name, added | removed | changed), in order of the names."""
    return [
        (key, "added" if key not in before else "removed" if key not in after else "changed")
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]


def spell(condition: Condition) -> str:
    """A condition in words."""
    if isinstance(condition, list):
        return " or ".join(f"({spell(part)})" for part in condition)
    return " and ".join(name if wanted else f"not {name}" for name, wanted in condition.items())


def _hashes(found: Policy) -> dict[str, str]:
    return {name: kind.hash for name, kind in found.response_types.items()}


def _print(title: str, entries: list[str]) -> None:
    click.echo(f"{title}: {', '.join(entries) or 'none'}")
