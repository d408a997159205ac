"""What makes a policy file valid, each fault told with file, line, key and what to do.

Document -> check(shape, names, derivations, rules) -> PolicyFile, or the first PolicyError
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from graphlib import CycleError, TopologicalSorter
from itertools import chain

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from rbr_service.faults import sentence
from rbr_service.rbr.diagram import Conditions, RuleBook
from rbr_service.rbr.document import Document, Key
from rbr_service.rbr.schema import OUT_OF_SCOPE, PolicyFile

Fold = Callable[[str], str]
Fault = tuple[Key, str]
MAX_LITERALS = 10_000
MAX_STEPS = 50


def check(source: Document, fold: Fold) -> PolicyFile:
    """The file's content if every rule about policy files holds. Raises PolicyError."""
    file = _shape(source)
    _distinct(source, file)
    _labels(source, file, fold)
    _types(source, file)
    _conditions(source, file)
    _derivations(source, file)
    _metrics(source, file)
    _rules(source, file)
    _all_used(source, file)
    return file


def _shape(source: Document) -> PolicyFile:
    if source.data is None:
        raise source.error((), "is empty")
    try:
        return PolicyFile.model_validate(source.data)
    except ValidationError as error:
        fault = max(error.errors(include_url=False), key=lambda e: _nearness(source, e))
        problem = sentence(fault)
        if fault["type"] == "string_type":
            problem += " (in YAML put quotes around yes, no, on, off and numbers)"
        if fault["type"] == "missing":
            problem = f"lacks the key {fault['loc'][-1]!r}: add it"
        raise source.error(_key(source, fault["loc"]), problem) from error


def _nearness(source: Document, fault: ErrorDetails) -> tuple[int, bool]:
    """The deepest fault tells most; where a mapping or a list may stand, that of the one that stands."""
    return len(_key(source, fault["loc"])), fault["type"] not in ("dict_type", "list_type")


def _key(source: Document, loc: tuple[str | int, ...]) -> Key:
    """The location pydantic gives, without the names of union members that stand in it."""
    key: Key = ()
    for part in loc:
        if (*key, part) in source.lines:
            key = (*key, part)
    return key


def _distinct(source: Document, file: PolicyFile) -> None:
    for i, name in enumerate(file.classes):
        if name in file.classes[:i]:
            raise source.error(("classes", i), f"{name!r} stands twice: remove one")
    for name in file.derived:
        if name in file.propositions:
            raise source.error(("derived", name), "is also a proposition: give the derived one another name")


def _labels(source: Document, file: PolicyFile, fold: Fold) -> None:
    """Types, aliases and categories share one namespace, since a label may be any of them."""
    taken: dict[str, str] = {}

    def take(label: str, key: Key, owner: str) -> None:
        folded = fold(label)
        if not folded:
            raise source.error(key, "is empty: a label needs a name")
        if folded in (OUT_OF_SCOPE, "error"):
            raise source.error(key, f"the label {label!r} is reserved: choose another")
        if taken.setdefault(folded, owner) != owner:
            raise source.error(
                key,
                f"the label {label!r} already means {taken[folded]}: labels must be distinct "
                "(case, spaces, '_' and '-' do not count)",
            )

    for name, spec in file.response_types.items():
        take(name, ("response_types", name), f"the response type {name!r}")
        for i, alias in enumerate(spec.aliases):
            place = ("response_types", name, "aliases", i)
            take(alias, place, f"the alias {alias!r} of {name!r}")
    for category, entry in file.content_policy.items():
        take(category, ("content_policy", category), f"the category {category!r}")
        if entry.response_type != OUT_OF_SCOPE:
            _known(
                source,
                ("content_policy", category, "response_type"),
                entry.response_type,
                file.response_types,
                "response type",
            )
    if file.unlabelled not in (OUT_OF_SCOPE, "error"):
        _known(source, ("unlabelled",), file.unlabelled, file.response_types, "response type")


def _types(source: Document, file: PolicyFile) -> None:
    for name, spec in file.response_types.items():
        lists: dict[tuple[str, ...], list[str]] = {
            ("good",): spec.good,
            ("bad",): spec.bad,
            ("features", "propositions"): spec.features.propositions,
        }
        for key, entries in lists.items():
            for i, entry in enumerate(entries):
                place: Key = ("response_types", name, *key, i)
                _known(source, place, entry, file.propositions, "proposition")
                if entry in entries[:i]:
                    raise source.error(place, f"{entry!r} stands twice: remove one")
        both = set(spec.good) & set(spec.bad)
        if both:
            raise source.error(
                ("response_types", name, "bad"),
                f"{min(both)!r} is also a good trait: a trait is one or the other",
            )
        if not spec.features.propositions and not spec.features.classes:
            raise source.error(
                ("response_types", name, "features"),
                "has no feature at all: name propositions or set classes: true",
            )
        if name not in file.rules:
            raise source.error(("rules",), f"has no rules for the response type {name!r}: add them")


def _conditions(source: Document, file: PolicyFile) -> None:
    names = {**file.propositions, **file.derived}
    for derived, condition in file.derived.items():
        _condition(source, ("derived", derived), condition, names)
    for response_type, rules in file.rules.items():
        _known(source, ("rules", response_type), response_type, file.response_types, "response type")
        for name, condition in rules.items():
            _known(source, ("rules", response_type, name), name, file.classes, "class")
            _condition(source, ("rules", response_type, name), condition, names)


def _condition(source: Document, key: Key, condition: Conditions, names: Iterable[str]) -> None:
    if isinstance(condition, Mapping):
        for name in condition:
            _known(source, (*key, name), name, names, "proposition or derived proposition")
    else:
        for i, part in enumerate(condition):
            _condition(source, (*key, i), part, names)


def _derivations(source: Document, file: PolicyFile) -> None:
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


def _metrics(source: Document, file: PolicyFile) -> None:
    for metric, table in (
        ("unsafe", file.metrics.unsafe),
        ("overrefusal", file.metrics.overrefusal),
    ):
        for response_type, classes in table.items():
            key = ("metrics", metric, response_type)
            _known(source, key, response_type, file.response_types, "response type")
            for i, name in enumerate(classes):
                _known(
                    source,
                    (*key, i),
                    name,
                    file.rules[response_type],
                    f"class of {response_type!r}",
                )


def _rules(source: Document, file: PolicyFile) -> None:
    """Each response type's classes are reachable, exclusive and exhaustive: proved, not sampled."""
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


def _all_used(source: Document, file: PolicyFile) -> None:
    """What nothing reads is a mistake: a proposition that feeds no class and no feature."""
    conditions = chain(file.derived.values(), *(rules.values() for rules in file.rules.values()))
    used = set(chain.from_iterable(map(mentions, conditions)))
    used |= set(chain.from_iterable(t.features.propositions for t in file.response_types.values()))
    for section, names in (("propositions", file.propositions), ("derived", file.derived)):
        for name in names:
            if name not in used:
                raise source.error((section, name), "is used by no rule and no feature: use or remove it")


def mentions(condition: Conditions) -> set[str]:
    """The names that a condition reads."""
    if isinstance(condition, Mapping):
        return set(condition)
    return set(chain.from_iterable(map(mentions, condition)))


def _known(source: Document, key: Key, name: str, names: Iterable[str], kind: str) -> None:
    known = list(names)
    if name not in known:
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
        raise source.error(key, f"{name!r} is not a {kind} of this policy; {hint}")


def _spell(example: Mapping[str, bool]) -> str:
    return ", ".join(f"{name} is {str(value).lower()}" for name, value in example.items()) or "anything"
