"""What is proved of a policy file's conditions, for every completion there can be: not sampled.

Document, PolicyFile (its names checked) -> decision diagrams -> nothing, or the first PolicyError
"""

from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from itertools import chain

from rbr_service.rbr.diagram import Conditions, RuleBook
from rbr_service.rbr.document import Document, Key
from rbr_service.rbr.schema import PolicyFile

Fault = tuple[Key, str]
MAX_LITERALS = 10_000
MAX_STEPS = 50


def derivations(source: Document, file: PolicyFile) -> None:
    """Each derived proposition is small, not constant and no twin of another. Raises PolicyError."""
    graph = {name: mentions(condition) & file.derived.keys() for name, condition in file.derived.items()}
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        circle: list[str] = error.args[1]
        raise source.error(
            ("derived", circle[0]),
            f"is derived from itself ({' <- '.join(circle)}): break the circle",
        ) from error
    _bounded(source, file, order)
    _raise_first(source, _derived_faults(file, order))


def _derived_faults(file: PolicyFile, order: Iterable[str]) -> Iterator[Fault]:
    book = RuleBook(file.propositions, file.derived)
    known = {book.node(name): name for name in file.propositions}
    for name in order:
        node = book.node(name)
        constant = book.constant(node)
        if constant is not None:
            yield ("derived", name), f"is always {str(constant).lower()}: mend or remove it"
        twin = known.setdefault(node, name)
        if twin != name:
            yield ("derived", name), f"means the same as {twin!r}: use that one"


def _bounded(source: Document, file: PolicyFile, order: Iterable[str]) -> None:
    """A few lines can stand for billions once names are written out, as their hashes do."""
    literals: dict[str, int] = {}
    steps: dict[str, int] = {}
    for name in order:
        condition = file.derived[name]
        parts = [condition] if isinstance(condition, Mapping) else condition
        literals[name] = sum(literals.get(other, 1) for part in parts for other in part)
        steps[name] = 1 + max(steps.get(other, 0) for other in mentions(condition))
        if literals[name] > MAX_LITERALS or steps[name] > MAX_STEPS:
            raise source.error(
                ("derived", name),
                f"is too large: written out it has {literals[name]} conditions in {steps[name]} steps, over "
                f"the limits of {MAX_LITERALS} and {MAX_STEPS}; simplify it",
            )


def rules(source: Document, file: PolicyFile) -> None:
    """Each response type's classes are reachable, exclusive and exhaustive. Raises PolicyError."""
    _raise_first(source, _rule_faults(file))
    for i, name in enumerate(file.classes):
        if not any(name in rules for rules in file.rules.values()):
            raise source.error(("classes", i), f"no response type reaches {name!r}: add a rule or remove it")


def _rule_faults(file: PolicyFile) -> Iterator[Fault]:
    book = RuleBook(file.propositions, file.derived)
    for kind, rules in file.rules.items():
        for name, condition in rules.items():
            if book.constant(book.condition(condition)) is False:
                problem = "can never hold: no completion reaches this class; mend or remove it"
                yield ("rules", kind, name), problem
        overlap = book.overlap(rules)
        if overlap:
            first, second, example = overlap
            problem = f"both hold when {_spell(example)}; add a condition that tells them apart"
            yield ("rules", kind, second), f"overlaps {first!r}: {problem}"
        hole = book.hole(rules)
        if hole is not None:
            problem = f"no class holds when {_spell(hole)}; widen a class or add one"
            yield ("rules", kind), f"leave a hole: {problem}"


def _raise_first(source: Document, faults: Iterator[Fault]) -> None:
    """Raise with the diagrams already gone: dd complains when a traceback keeps one alive."""
    found = next(faults, None)
    del faults
    if found:
        raise source.error(*found)


def mentions(condition: Conditions) -> set[str]:
    """The names that a condition reads."""
    if isinstance(condition, Mapping):
        return set(condition)
    return set(chain.from_iterable(map(mentions, condition)))


def _spell(example: Mapping[str, bool]) -> str:
    return ", ".join(f"{name} is {str(value).lower()}" for name, value in example.items()) or "anything"
