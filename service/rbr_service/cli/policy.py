"""`rbr policy`: check, show and compare policies."""

from collections.abc import Sequence

import click

from rbr_service.build import policy_path
from rbr_service.rbr.difference import Difference, difference
from rbr_service.rbr.policy import load, spell


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
    found = difference(before, after)
    if found.same:
        click.echo("the same policy")
        return
    click.echo(f"{before.version[:12]} -> {after.version[:12]}")
    _print_regraded(found)
    _print("questions no longer asked", [one.name for one in found.questions if one.how == "removed"])
    _print("response types whose weights are void", [f"{one.name} ({one.how})" for one in found.void])
    _print("response types that need weights", found.needy)
    _print("other keys that changed", found.keys)


def _print_regraded(found: Difference) -> None:
    """What verdicts kept by content no longer cover, which depends on the prompt layout."""
    edited = [f"{one.name} ({one.how})" for one in found.questions if one.how != "removed"]
    book = found.graded_again(book=True)
    everything = [f"all {len(book)}, each at the cost of about one line"] if book else []
    _print("questions to grade again with layout book", everything)
    _print("questions to grade again with layout conversation-first or released", edited)
    _print("response types whose weights are void with layout book", ["all"] if book else [])


def _print(title: str, entries: Sequence[str]) -> None:
    click.echo(f"{title}: {', '.join(entries) or 'none'}")
